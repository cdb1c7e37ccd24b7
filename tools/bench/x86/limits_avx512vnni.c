/* Fours of u8 x s8 products added to s32 (vpdpbusd, 512 bits): see bench/limits.h. */
#include "bench/limits.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define START(i) __m512i a##i = _mm512_setzero_si512();
#define STEP(i)                             \
    a##i = _mm512_dpbusd_epi32(a##i, x, y); \
    __asm__ volatile("" : "+v"(a##i));

static void dot_loop(size_t steps) {
    __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-5);
    __asm__ volatile("" : "+v"(x), "+v"(y));
    MS_LIMITS_24(START)
    for (size_t i = 0; i < steps; i++) {
        MS_LIMITS_24(STEP)
    }
}

const ms_limits_table ms_limits_avx512vnni = {.dot = {.per_step = 24 * 64 * 2, .run = dot_loop}};
#else
const ms_limits_table ms_limits_avx512vnni = {{0, NULL}, NULL};
#endif
