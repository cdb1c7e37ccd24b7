/* cuBLASLt, opened at run time: products a w^T of bf16 matrices with f32 sums. Nothing is linked;
 * where the library, or one of its functions, is missing, `open` says so and the caller has a
 * kernel of its own. The emulated build has a stand-in that is always missing.
 *
 * A plan holds the algorithms for one (n, k, result, bias) that serve every batch alike: neither
 * split sums nor a reduction between blocks, so a row's bits need not depend on its batch. */
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

/* What became of the algorithms that the library offered for a plan. */
typedef struct {
    int n_offered;        /* by its heuristic, best first */
    int n_split;          /* left out: sums are split, or reduced between blocks */
    int n_refusing;       /* left out: some number of rows is refused */
    int64_t refused_rows; /* the first number of rows that one of those refused; 0: none */
    int n_kept;
} ms_gpu_blaslt_counts;

/* A plan for w [n, k] and a bias [n] or none: all algorithms that compute whole sums and take every
 * number of rows up to MS_GPU_BLASLT_ROWS; the first of them is in use. MSIM_E_UNSUPPORTED, with
 * the counts in the message, where the library has no such product or no algorithm is left. */
enum { MS_GPU_BLASLT_ROWS = 1 << 20, MS_GPU_BLASLT_ALGORITHMS = 8 /* of a plan, at most */ };
int ms_gpu_blaslt_plan_open(ms_gpu_blaslt *lt, int64_t n, int64_t k, int result, bool has_bias,
                            ms_gpu_blaslt_plan **out, msim_error *err);
void ms_gpu_blaslt_plan_close(ms_gpu_blaslt_plan *plan); /* accepts NULL */
ms_gpu_blaslt_counts ms_gpu_blaslt_plan_counts(const ms_gpu_blaslt_plan *plan);
/* Use algorithm i, 0 <= i < n_kept, from now on. */
void ms_gpu_blaslt_plan_use(ms_gpu_blaslt_plan *plan, int i);
/* The algorithm in use, as the library numbers it: 'algorithm 66, tile 20, stages 4'. */
void ms_gpu_blaslt_plan_describe(const ms_gpu_blaslt_plan *plan, char *out, size_t cap);

/* Put dst [m, n] from a [m, k] and w [n, k] into the stream, m at least 1; more than
 * MS_GPU_BLASLT_ROWS rows go in parts. bias: NULL unless the plan has one; of the result's type
 * (bf16 or f32), because cuBLASLt takes no other. All pointers 16-byte aligned. Fails with
 * MSIM_E_DEVICE where the plan's algorithm does not take m rows. */
int ms_gpu_blaslt_multiply(ms_gpu_blaslt_plan *plan, void *dst, const ms_bf16 *a, const ms_bf16 *w,
                           const void *bias, int64_t m, msim_error *err);

#endif
