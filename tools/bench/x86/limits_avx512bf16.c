/* Pairs of bf16 products added to f32 (vdpbf16ps, 512 bits): bench/limits.h. */
#define VECTOR __m512
#define ZERO _mm512_setzero_ps()
#define FACTORS \
    __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1e-3f), _mm512_set1_ps(1e-3f)), y = x;
#define ADD(a) _mm512_dpbf16_ps(a, x, y)
#define SUMS MS_LIMITS_24
#include "bench/x86/loops.h"

const ms_limits_table ms_limits_avx512bf16 = {.dot = {.per_step = 24 * 32 * 2, .run = dot_loop}};
