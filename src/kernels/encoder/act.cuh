/* Arithmetic of single values that more than one kernel does: fused behind a product (gemm_bf16.cu)
 * and alone (norm_act.cu) it must give the same bits. docs/MODEL.md has the formulas;
 * src/cpu/kernels/ref/encoder_ref.c is the reference. */
#ifndef MS_KERNELS_ENCODER_ACT_CUH
#define MS_KERNELS_ENCODER_ACT_CUH
#include "kernels/prim.cuh"

/* u / 2 (1 + erf(u / sqrt 2)) in f32; erff is within 2 ulp (CUDA Programming Guide, 'Mathematical
 * Functions'). */
static __device__ __forceinline__ float gelu_f32(float u) {
    return 0.5f * u * (1.0f + erff(u * 0.70710678118654752f));
}

/* A pair of bf16 (lower half first) turned by an angle: in f32, each component rounded once to
 * bf16. */
static __device__ __forceinline__ uint32_t rotate_pair(uint32_t pair, float cosine, float sine) {
    float a = low_f32(pair), b = high_f32(pair);
    return pack_bf16(a * cosine - b * sine, b * cosine + a * sine);
}

#endif
