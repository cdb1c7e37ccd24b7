/* bf16 and f16 by their bits: conversions (to the nearest, ties to even), and a test for finite
 * numbers that no compiler flag can remove. ms_bf16 is a struct, so arithmetic on it does not
 * compile. CUDA kernels have the same functions (base/inline.h). */
#ifndef MS_BASE_BF16_H
#define MS_BASE_BF16_H
#include "base/inline.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    uint16_t bits;
} ms_bf16;

MS_INLINE uint32_t ms_f32_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

MS_INLINE float ms_f32_from_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

MS_INLINE bool ms_is_finite_f32(float x) { return (ms_f32_bits(x) & 0x7f800000u) != 0x7f800000u; }

MS_INLINE float ms_f32_of_bf16(ms_bf16 x) { return ms_f32_from_bits((uint32_t)x.bits << 16); }

MS_INLINE ms_bf16 ms_bf16_of_f32(float x) {
    uint32_t u = ms_f32_bits(x);
    ms_bf16 r;
    if ((u & 0x7fffffffu) > 0x7f800000u)
        r.bits = (uint16_t)((u >> 16) | 0x40u); /* NaN stays NaN, quiet */
    else
        r.bits = (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    return r;
}

/* x rounded to the nearest bf16 and widened again. */
MS_INLINE float ms_round_bf16(float x) { return ms_f32_of_bf16(ms_bf16_of_f32(x)); }

/* Exact widening of an IEEE binary16. */
MS_INLINE float ms_f32_of_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 0x1fu,
             mantissa = h & 0x3ffu;
    if (exponent == 0) {
        float tiny = (float)mantissa * 0x1p-24f; /* subnormal or zero: exact */
        return ms_f32_from_bits(ms_f32_bits(tiny) | sign);
    }
    if (exponent == 31) return ms_f32_from_bits(sign | 0x7f800000u | mantissa << 13);
    return ms_f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* Nearest binary16, ties to even; overflow goes to infinity. */
MS_INLINE uint16_t ms_f16_of_f32(float x) {
    uint32_t u = ms_f32_bits(x), sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above round to infinity */
    if (u < 0x38800000u) {                                   /* below 2^-14: subnormal; the adder
                                                              * rounds */
        float shifted = ms_f32_from_bits(u) + 0.5f;          /* 0.5 has an ulp of 2^-24, that of f16
                                                              * subnormals */
        return (uint16_t)(sign | (ms_f32_bits(shifted) - 0x3f000000u));
    }
    u += 0xfffu + ((u >> 13) & 1u) - ((uint32_t)112 << 23);
    return (uint16_t)(sign | u >> 13);
}

#endif
