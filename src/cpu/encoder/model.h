/* Weights in the layout of a kernel level. They are packed once at open, never change, and every
 * context shares them. Nothing of the checkpoint is needed afterwards. docs/MODEL.md, weights. */
#ifndef MS_CPU_ENCODER_MODEL_H
#define MS_CPU_ENCODER_MODEL_H
#include "cpu/encoder/int8.h"
#include "model/weights.h"

enum { MS_FF_CHUNK = 512 }; /* feed-forward columns at a time */

/* A matrix [n, k] in panels. */
typedef struct {
    const void *data;
    size_t n, k;
    const float *scale, *sums; /* in 8-bit codes only: [n]; [chunks of MS_FF_CHUNK of k, n] */
} ms_cpu_panels;

typedef struct {
    const float *attn_scale;  /* [dim]             1 + gamma */
    ms_cpu_panels wq, wk, wv; /* [inner, dim]; wq and wk in codes at int8 */
    ms_cpu_panels wo;         /* [dim, inner] */
    const float *ff_scale;    /* [dim]             1 + gamma */
    ms_cpu_panels w1;         /* [ff, dim]; in codes at int8 */
    const float *b1;          /* [ff] */
    ms_cpu_panels w2;         /* [dim, ff]; in codes at int8 */
    const float *b2;          /* [dim] */
} ms_cpu_block;

typedef struct {
    const ms_cpu_kernels *kernels; /* static */
    const ms_int8_kernels *int8;   /* static; NULL unless that is the precision */
    int precision;                 /* msim_precision of all but int8's codes: bf16 there */
    size_t dim, depth, heads, inner, ff, vocab;
    const float *token_emb;   /* [vocab, dim] */
    const float *final_scale; /* [dim]        1 + gamma */
    const float *inv_freq;    /* [16] */
    ms_cpu_block block[MS_MAX_DEPTH];
    void *storage; /* owned: everything above */
} ms_cpu_model;

/* f32 is refused for weights that are not f32 throughout (MSIM_E_UNSUPPORTED), int8 where the level
 * has no kernels for it, and widths that are no multiple of 16. */
int ms_cpu_model_open(const ms_cpu_kernels *kernels, const ms_weights *weights, int precision,
                      ms_cpu_model **out, msim_error *err);
void ms_cpu_model_close(ms_cpu_model *model);

#endif
