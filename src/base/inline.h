/* How a small function is declared that the host's code and CUDA kernels share. kernels/prim.cuh
 * says it for kernels, before it includes such functions. */
#ifndef MS_BASE_INLINE_H
#define MS_BASE_INLINE_H

#ifndef MS_INLINE
#define MS_INLINE static inline
#endif

#endif
