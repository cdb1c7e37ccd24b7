/* 512-bit f32 multiply-adds and reading: see bench/limits.h. */
#include "bench/limits.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define START(i) __m512 a##i = _mm512_setzero_ps();
#define STEP(i)                         \
    a##i = _mm512_fmadd_ps(x, y, a##i); \
    __asm__ volatile("" : "+v"(a##i));

static void fma_loop(size_t steps) {
    __m512 x = _mm512_set1_ps(1e-3f), y = _mm512_set1_ps(1e-3f);
    __asm__ volatile("" : "+v"(x), "+v"(y));
    MS_LIMITS_24(START)
    for (size_t i = 0; i < steps; i++) {
        MS_LIMITS_24(STEP)
    }
}

static void read_loop(const void *from, size_t n_bytes) {
    size_t part = n_bytes / MS_LIMITS_STREAMS;
    const char *base = from;
    for (size_t at = 0; at < part; at += 64)
        for (int s = 0; s < MS_LIMITS_STREAMS; s++) {
            const char *p = base + (size_t)s * part + at;
            _mm_prefetch(p + MS_LIMITS_AHEAD, _MM_HINT_T0);
            __m512i v = _mm512_loadu_si512((const void *)p);
            __asm__ volatile("" : : "v"(v));
        }
}

const ms_limits_table ms_limits_avx512 = {.dot = {.per_step = 24 * 16 * 2, .run = fma_loop},
                                          .read = read_loop};
#else
const ms_limits_table ms_limits_avx512 = {{0, NULL}, NULL};
#endif
