/* How to declare a small function that the host's code and CUDA kernels share. For kernels,
 * kernels/prim.cuh defines MS_INLINE before it includes such functions. */
#ifndef MS_BASE_INLINE_H
#define MS_BASE_INLINE_H

#ifndef MS_INLINE
#define MS_INLINE static inline
#endif

#endif
