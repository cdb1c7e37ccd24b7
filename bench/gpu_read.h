/* Kernels that only a benchmark needs: one that reads memory and does nothing else, as the measure
 * of what a scan can reach, and one that makes rows. */
#ifndef MS_BENCH_GPU_READ_H
#define MS_BENCH_GPU_READ_H
#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Read n_bytes (a multiple of 16) at data, 16-byte aligned; sink [1] is written in one case of
 * 2^32. Device memory. */
int ms_bench_read_cuda(ms_gpu_stream *s, uint32_t *sink, const void *data, size_t n_bytes,
                       msim_error *err);
/* Random numbers into to [n], device memory, 16-byte aligned, n a multiple of 4; the same for a
 * seed. */
int ms_bench_fill_cuda(ms_gpu_stream *s, float *to, size_t n, uint32_t seed, msim_error *err);

#ifdef __cplusplus
}
#endif

#endif
