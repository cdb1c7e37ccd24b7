/* Fours of u8 x s8 products added to s32 (vpdpbusd, 512 bits): bench/limits.h. */
#define VECTOR __m512i
#define ZERO _mm512_setzero_si512()
#define FACTORS VECTOR x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-5);
#define ADD(a) _mm512_dpbusd_epi32(a, x, y)
#define SUMS MS_LIMITS_24
#include "bench/x86/loops.h"

const ms_limits_table ms_limits_avx512vnni = {.dot = {.per_step = 24 * 64 * 2, .run = dot_loop}};
