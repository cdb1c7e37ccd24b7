/* Products by cuBLASLt, and the trial of its algorithms on this device: which of those of a plan
 * may compute a shape, and the fastest of them. docs/GPU.md. */
#ifndef MS_KERNELS_ENCODER_TRIAL_H
#define MS_KERNELS_ENCODER_TRIAL_H
#include "kernels/encoder/blaslt.h"
#include "kernels/kernels.h"

/* What a trial found of a plan's algorithms. */
typedef struct {
    int n_wrong;    /* values unlike our kernel's */
    int n_unsteady; /* a row's bits depend on how many rows there are; looked at fastest first */
    int n_apart;    /* other bits than the first that serves */
    int n_agreeing; /* the first that serves, and those with its bits */
    double seconds; /* of a product of MS_GPU_TRIAL_TIMED rows by the chosen one; below 0: not
                     * known, and then it is the first */
} ms_gpu_trial;

enum { MS_GPU_TRIAL_TIMED = 8192 };

/* Put the product g by the plan, and the kernels behind it that the library cannot fuse, into the
 * stream. */
int ms_gpu_library_multiply(ms_gpu_stream *s, ms_gpu_blaslt_plan *plan, const ms_gpu_gemm *g,
                            msim_error *err);

/* Try the plan's algorithms on the shape (of which n, k, epilogue, rotated and whether there is a
 * bias count) and leave the chosen one in use. An algorithm serves when its values are our kernel's
 * within bf16's rounding and a row's bits are the same for every number of rows tried. Of those
 * with the bits of the first that serves the fastest is chosen, so the clock decides nothing but
 * speed. Waits for the device and takes memory of it for the time of the call. Where none serves,
 * the error is that of the first. */
int ms_gpu_trial_run(ms_gpu_stream *s, ms_gpu_blaslt_plan *plan, const ms_gpu_gemm *shape,
                     ms_gpu_trial *out, msim_error *err);

#endif
