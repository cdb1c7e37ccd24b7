/* Products with weight matrices: who computes each (the kernel of gemm_bf16.cu, or cuBLASLt where
 * it is installed), and the kernels behind a product that the library cannot fuse. One projector
 * for each stream, used by its thread.
 *
 * Which of the two computes a shape is settled when the shape is first seen (or by
 * ms_gpu_projector_plan) and never by the number of rows, so a row's bits depend on that row alone,
 * whatever batch it is in. docs/GPU.md. */
#ifndef MS_KERNELS_ENCODER_PROJECT_H
#define MS_KERNELS_ENCODER_PROJECT_H
#include "kernels/kernels.h"

typedef struct ms_gpu_projector ms_gpu_projector;

enum ms_gpu_product {
    MS_GPU_PRODUCT_AUTO,   /* the library where it opens and agrees with our kernel, else our
                             * kernel */
    MS_GPU_PRODUCT_OWN,    /* gemm_bf16.cu alone */
    MS_GPU_PRODUCT_LIBRARY /* cuBLASLt or an error: for tests and measurements */
};

/* Projector of a stream (borrowed: closed later). LIBRARY fails with MSIM_E_DEVICE where cuBLASLt
 * is missing. */
int ms_gpu_projector_open(ms_gpu_stream *stream, int product, ms_gpu_projector **out,
                          msim_error *err);
void ms_gpu_projector_close(ms_gpu_projector *p); /* accepts NULL */

/* Settle a shape ahead: n, k, epilogue, rotated and whether there is a bias count; other fields,
 * pointers too, may be 0 but bias and bias_bf16, which are compared with NULL alone. Waits for the
 * device and takes memory of it for the time of the call, so a caller that must not allocate later
 * plans all its shapes at open. */
int ms_gpu_projector_plan(ms_gpu_projector *p, const ms_gpu_gemm *shape, msim_error *err);

/* Put the product into the projector's stream; m = 0 does nothing. A shape not planned before is
 * planned here. */
int ms_gpu_project(ms_gpu_projector *p, const ms_gpu_gemm *g, msim_error *err);

/* Who computes this shape: MS_GPU_PRODUCT_OWN or _LIBRARY; AUTO while it is not planned. */
int ms_gpu_projector_choice(const ms_gpu_projector *p, const ms_gpu_gemm *shape);
/* Who computes this shape, in words, cut at cap: our kernel and its tile for shape->m rows (and why
 * not the library, where it was asked), or the library's algorithm and what became of
 * the others. */
void ms_gpu_projector_describe(const ms_gpu_projector *p, const ms_gpu_gemm *shape, char *out,
                               size_t cap);
/* What AUTO means for projectors opened from now on in this process: for measurements, and for
 * tools that must not look into the library's kernels. Before any other thread opens one. */
void ms_gpu_projector_set_auto(int product);
/* The library's version (130100: 13.1.0); 0: not in use. */
size_t ms_gpu_projector_library(const ms_gpu_projector *p);

#endif
