/* INLINE and UNROLL for kernels: sums held in an array live in registers only when every loop over
 * it is unrolled and the function stands in its caller with constant sizes. GCC and Clang are told
 * so differently, and each ignores the other. */
#ifndef MS_CPU_KERNELS_UNROLL_H
#define MS_CPU_KERNELS_UNROLL_H

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif
