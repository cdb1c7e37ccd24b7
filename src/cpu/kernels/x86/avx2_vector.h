/* What both files of 256-bit kernels share: functions of one vector of 8 f32. Static inline
 * functions only; each file compiles its own copy with its own flags. docs/MODEL.md lists what is
 * approximated, and how well. */
#ifndef MS_CPU_KERNELS_X86_AVX2_VECTOR_H
#define MS_CPU_KERNELS_X86_AVX2_VECTOR_H
#include "cpu/kernels/common.h"
#include "cpu/kernels/unroll.h"
#include <immintrin.h>

/* Nearest bf16, ties to even, widened again; for finite values. */
INLINE __m256 round_bf16(__m256 x) {
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    u = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    return _mm256_castsi256_ps(_mm256_and_si256(u, _mm256_set1_epi32((int)0xffff0000u)));
}

INLINE __m256 operand(__m256 x, int precision) {
    return precision == MSIM_PRECISION_BF16 ? round_bf16(x) : x;
}

INLINE float sum8(__m256 x) {
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

INLINE float max8(__m256 x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

/* 2^x for x <= 0; below -126, -infinity included, it stays at 2^-126. The whole part comes from
 * adding 1.5 * 2^23, which leaves it in the low bits; 2^f by a polynomial of degree 5 on [-0.5,
 * 0.5]. Relative error below 2 ulp. */
INLINE __m256 exp2_nonpositive(__m256 x) {
    const __m256 magic = _mm256_set1_ps(0x1.8p23f);
    x = _mm256_max_ps(x, _mm256_set1_ps(-126.0f));
    __m256 n = _mm256_add_ps(x, magic), f = _mm256_sub_ps(x, _mm256_sub_ps(n, magic));
    __m256 y = _mm256_set1_ps(0.00132647238f);
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(0.00967151299f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(0.0555073358f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(0.240222424f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(0.693147004f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(1.0f)); /* in [0.7, 1.42]: the whole part adds to its
                                                      * exponent */
    __m256i power = _mm256_slli_epi32(_mm256_castps_si256(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), power));
}

/* 0.5 u (1 + erf(u / sqrt 2)): erf as u P(u^2) / Q(u^2) up to |u| = 5.6, beyond it 1 within 2.2e-8.
 * Largest error against f64: 1e-6 absolute up to |u| = 8, 2^-22 |u| everywhere. */
INLINE __m256 gelu(__m256 u) {
    const __m256 limit = _mm256_set1_ps(5.6f), one = _mm256_set1_ps(1.0f);
    __m256 c = _mm256_min_ps(_mm256_max_ps(u, _mm256_sub_ps(_mm256_setzero_ps(), limit)), limit);
    __m256 t = _mm256_mul_ps(c, c);
    __m256 p = _mm256_set1_ps(4.4591566e-08f), q = _mm256_set1_ps(1.17957381e-06f);
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(1.25786191e-05f));
    q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(7.33380657e-05f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.000337833189f));
    q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(0.00188542379f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.00935454387f));
    q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(0.0286770165f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.067856431f));
    q = _mm256_fmadd_ps(q, t, _mm256_set1_ps(0.251711756f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.797884524f));
    q = _mm256_fmadd_ps(q, t, one);
    __m256 erf = _mm256_div_ps(_mm256_mul_ps(c, p), q),
           half = _mm256_mul_ps(u, _mm256_set1_ps(0.5f));
    erf = _mm256_max_ps(_mm256_min_ps(erf, one), _mm256_sub_ps(_mm256_setzero_ps(), one));
    return _mm256_fmadd_ps(half, erf, half);
}

#endif
