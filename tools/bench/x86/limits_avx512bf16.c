/* Pairs of bf16 products added to f32 (vdpbf16ps, 512 bits): see bench/limits.h. */
#include "bench/limits.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define START(i) __m512 a##i = _mm512_setzero_ps();
#define STEP(i)                          \
    a##i = _mm512_dpbf16_ps(a##i, x, y); \
    __asm__ volatile("" : "+v"(a##i));

static void dot_loop(size_t steps) {
    __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1e-3f), _mm512_set1_ps(1e-3f)), y = x;
    __asm__ volatile("" : "+v"(x), "+v"(y));
    MS_LIMITS_24(START)
    for (size_t i = 0; i < steps; i++) {
        MS_LIMITS_24(STEP)
    }
}

const ms_limits_table ms_limits_avx512bf16 = {.dot = {.per_step = 24 * 32 * 2, .run = dot_loop}};
#else
const ms_limits_table ms_limits_avx512bf16 = {{0, NULL}, NULL};
#endif
