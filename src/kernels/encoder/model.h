/* Weights on a CUDA device: converted and uploaded once at open, immutable, shared by every context
 * of that device. Nothing of the checkpoint is needed afterwards. docs/MODEL.md, Types and
 * roundings (bf16). */
#ifndef MS_KERNELS_ENCODER_MODEL_H
#define MS_KERNELS_ENCODER_MODEL_H
#include "kernels/device.h"
#include "model/weights.h"

enum { MS_GPU_MAX_DIM = 2048 }; /* a warp holds a row in registers */

/* Device memory, all of it in ms_gpu_model.storage. */
typedef struct {
    const float *attn_scale; /* [dim]             1 + gamma */
    const ms_bf16 *wqkv;     /* [3 * inner, dim]  wq, then wk, then wv */
    const ms_bf16 *wo;       /* [dim, inner] */
    const float *ff_scale;   /* [dim]             1 + gamma */
    const ms_bf16 *w1;       /* [ff, dim] */
    const float *b1;         /* [ff]              rounded to bf16 */
    const ms_bf16 *b1_bf16;  /* [ff]              the same values, for cuBLASLt */
    const ms_bf16 *w2;       /* [dim, ff] */
    const float *b2;         /* [dim]             rounded to bf16 */
} ms_gpu_block;

typedef struct {
    int device; /* index */
    int64_t dim, depth, heads, inner, ff, vocab;
    float inv_freq[MS_ROTARY_PAIRS]; /* host memory */
    const float *token_emb;          /* [vocab, dim], f32 */
    const float *final_scale;        /* [dim]             1 + gamma */
    ms_gpu_block block[MS_MAX_DEPTH];
    ms_gpu_stream *stream; /* owned: for the upload and to free the memory; no context uses
                                * it */
    void *storage;         /* owned: device memory, everything above */
} ms_gpu_model;

/* Refuses precisions other than bf16, widths (dim, inner, ff) that are not multiples of 64, and dim
 * above MS_GPU_MAX_DIM: MSIM_E_UNSUPPORTED. MSIM_E_MEMORY when it does not fit the device. */
int ms_gpu_model_open(int device, const ms_weights *weights, int precision, ms_gpu_model **out,
                      msim_error *err);
void ms_gpu_model_close(ms_gpu_model *model); /* accepts NULL; after every context on it */

#endif
