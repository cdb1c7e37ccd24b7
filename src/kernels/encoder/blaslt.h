/* cuBLASLt, opened at run time: products a w^T of bf16 matrices with f32 sums. Nothing is linked;
 * where the library, or one of its functions, is missing, `open` says so and the caller has a
 * kernel of its own. The emulated build has a stand-in that is always missing.
 *
 * A plan is an algorithm for one (n, k, result, bias), chosen once for a nominal number of rows:
 * the same algorithm, with neither split sums nor a reduction between blocks, serves every batch,
 * so a row's bits do not depend on its batch. */
#ifndef MS_KERNELS_ENCODER_BLASLT_H
#define MS_KERNELS_ENCODER_BLASLT_H
#include "base/bf16.h"
#include "kernels/device.h"

typedef struct ms_gpu_blaslt ms_gpu_blaslt;
typedef struct ms_gpu_blaslt_plan ms_gpu_blaslt_plan;

enum ms_gpu_blaslt_result {
    MS_GPU_BLASLT_BF16, /* dst bf16 = product (+ bias) */
    MS_GPU_BLASLT_ADD   /* dst f32 += product (+ bias) */
};

/* The library on a stream (borrowed). Fails with MSIM_E_DEVICE where it is missing, of another
 * major version than this was compiled for, or does not start; with MSIM_E_MEMORY where the device
 * has none left for its workspace. */
int ms_gpu_blaslt_open(ms_gpu_stream *stream, ms_gpu_blaslt **out, msim_error *err);
void ms_gpu_blaslt_close(ms_gpu_blaslt *lt);           /* accepts NULL; plans are closed before */
size_t ms_gpu_blaslt_version(const ms_gpu_blaslt *lt); /* 130100: 13.1.0 */

/* A plan for w [n, k], bias f32 [n] or none. MSIM_E_UNSUPPORTED where the library has no such
 * product, or none that takes every number of rows. */
int ms_gpu_blaslt_plan_open(ms_gpu_blaslt *lt, int64_t n, int64_t k, int result, bool has_bias,
                            ms_gpu_blaslt_plan **out, msim_error *err);
void ms_gpu_blaslt_plan_close(ms_gpu_blaslt_plan *plan); /* accepts NULL */

/* Put dst [m, n] from a [m, k] and w [n, k] into the stream, m at least 1. bias: NULL unless the
 * plan has one. All pointers 16-byte aligned. Fails with MSIM_E_DEVICE, nothing done, where the
 * plan's algorithm does not take m rows. */
int ms_gpu_blaslt_multiply(ms_gpu_blaslt_plan *plan, void *dst, const ms_bf16 *a, const ms_bf16 *w,
                           const float *bias, int64_t m, msim_error *err);

#endif
