/* 512-bit f32 multiply-adds and reading: bench/limits.h. */
#define VECTOR __m512
#define ZERO _mm512_setzero_ps()
#define FACTORS VECTOR x = _mm512_set1_ps(1e-3f), y = _mm512_set1_ps(1e-3f);
#define ADD(a) _mm512_fmadd_ps(x, y, a)
#define SUMS MS_LIMITS_24
#define LOAD_LINE(p)                                   \
    __m512i v = _mm512_loadu_si512((const void *)(p)); \
    __asm__ volatile("" : : "v"(v));
#include "bench/x86/loops.h"

const ms_limits_table ms_limits_avx512 = {.dot = {.per_step = 24 * 16 * 2, .run = dot_loop},
                                          .read = read_loop};
