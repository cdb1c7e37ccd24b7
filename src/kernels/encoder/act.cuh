/* Arithmetic of single values that more than one kernel does: fused behind a product (gemm_bf16.cu)
 * and alone (norm_act.cu) it must give the same bits. docs/MODEL.md has the formulas;
 * src/cpu/kernels/ref/encoder_ref.c is the reference. */
#ifndef MS_KERNELS_ENCODER_ACT_CUH
#define MS_KERNELS_ENCODER_ACT_CUH
#include "kernels/prim.cuh"

/* u / 2 (1 + erf(u / sqrt 2)) = max(u, 0) - |u| F(-|u|), F the normal distribution, and log2 F(-m)
 * is close to a polynomial of degree 8: least squares of the largest error over [0, 14], which is
 * 2.6e-4. So the result is off by less than a twentieth of a bf16 step for every bf16 number, tails
 * too, where 1 + erf would cancel, for half the instructions of erff (test/gpu/test_norms.c has all
 * numbers). 2^24 keeps F's tail above what exp2_approx flushes to 0. NaN stays NaN. */
static __device__ __forceinline__ float gelu_f32(float u) {
    float m = fminf(fabsf(u), 14.0f), p = 2.2078067374309285e-08f;
    p = fma_f32(p, m, -1.4758355746380403e-06f);
    p = fma_f32(p, m, 4.23697019868996e-05f);
    p = fma_f32(p, m, -0.0006891736993566155f);
    p = fma_f32(p, m, 0.00710345758125186f);
    p = fma_f32(p, m, -0.049826014786958694f);
    p = fma_f32(p, m, -0.46424731612205505f);
    p = fma_f32(p, m, -1.1482106447219849f);
    p = fma_f32(p, m, 24.0f - 1.0002598762512207f);
    return fma_f32(m * exp2_approx(p), -0x1p-24f, max_nan(u, 0.0f));
}

/* A pair of bf16 (lower half first) turned by an angle: in f32, each component rounded once to
 * bf16. */
static __device__ __forceinline__ uint32_t rotate_pair(uint32_t pair, float cosine, float sine) {
    float a = low_f32(pair), b = high_f32(pair);
    return pack_bf16(a * cosine - b * sine, b * cosine + a * sine);
}

#endif
