/* 256-bit f32 multiply-adds and reading: see bench/limits.h. */
#include "bench/limits.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define START(i) __m256 a##i = _mm256_setzero_ps();
#define STEP(i)                         \
    a##i = _mm256_fmadd_ps(x, y, a##i); \
    __asm__ volatile("" : "+x"(a##i));

static void fma_loop(size_t steps) {
    __m256 x = _mm256_set1_ps(1e-3f), y = _mm256_set1_ps(1e-3f);
    __asm__ volatile("" : "+x"(x), "+x"(y));
    MS_LIMITS_12(START)
    for (size_t i = 0; i < steps; i++) {
        MS_LIMITS_12(STEP)
    }
}

static void read_loop(const void *from, size_t n_bytes) {
    size_t part = n_bytes / MS_LIMITS_STREAMS;
    const char *base = from;
    for (size_t at = 0; at < part; at += 64)
        for (int s = 0; s < MS_LIMITS_STREAMS; s++) {
            const char *p = base + (size_t)s * part + at;
            _mm_prefetch(p + MS_LIMITS_AHEAD, _MM_HINT_T0);
            __m256i v = _mm256_loadu_si256((const void *)p),
                    w = _mm256_loadu_si256((const void *)(p + 32));
            __asm__ volatile("" : : "x"(v), "x"(w));
        }
}

const ms_limits_table ms_limits_avx2 = {.dot = {.per_step = 12 * 8 * 2, .run = fma_loop},
                                        .read = read_loop};
#else
const ms_limits_table ms_limits_avx2 = {{0, NULL}, NULL};
#endif
