/* 256-bit f32 multiply-adds and reading: bench/limits.h. */
#define VECTOR __m256
#define ZERO _mm256_setzero_ps()
#define FACTORS VECTOR x = _mm256_set1_ps(1e-3f), y = _mm256_set1_ps(1e-3f);
#define ADD(a) _mm256_fmadd_ps(x, y, a)
#define SUMS MS_LIMITS_12
#define LOAD_LINE(p)                                          \
    __m256i v = _mm256_loadu_si256((const void *)(p)),        \
            w = _mm256_loadu_si256((const void *)((p) + 32)); \
    __asm__ volatile("" : : "x"(v), "x"(w));
#include "bench/x86/loops.h"

const ms_limits_table ms_limits_avx2 = {.dot = {.per_step = 12 * 8 * 2, .run = dot_loop},
                                        .read = read_loop};
