/* Weights in a level's own layout: packed once at open, immutable, shared by every context. Nothing of the checkpoint is
 * needed afterwards. docs/MODEL.md, weights. */
#ifndef MS_CPU_MODEL_H
#define MS_CPU_MODEL_H
#include "cpu/cpu_isa.h"
#include "model/weights.h"

typedef struct {
    const float *attn_scale;  /* [dim]             1 + gamma */
    const void *wqkv;         /* panels of [3 inner, dim]: q, k, v one below the other */
    const void *wo;           /* panels of [dim, inner] */
    const float *ff_scale;    /* [dim]             1 + gamma */
    const void *w1;           /* panels of [ff, dim] */
    const float *b1;          /* [ff] */
    const void *w2;           /* panels of [dim, ff] */
    const float *b2;          /* [dim] */
} ms_cpu_block;

typedef struct {
    const ms_cpu_kernels *kernels; /* static */
    int precision;                 /* msim_precision */
    size_t dim, depth, heads, inner, ff, vocab;
    const float *token_emb;        /* [vocab, dim] */
    const float *final_scale;      /* [dim]        1 + gamma */
    const float *inv_freq;         /* [16] */
    ms_cpu_block block[MS_MAX_DEPTH];
    void *storage;                 /* owned: everything above */
} ms_cpu_model;

/* f32 is refused for weights that are not f32 throughout (MSIM_E_UNSUPPORTED), as are widths that are no multiple of 16. */
int ms_cpu_model_open(const ms_cpu_kernels *kernels, const ms_weights *weights, int precision, ms_cpu_model **out,
                      msim_error *err);
void ms_cpu_model_close(ms_cpu_model *model);

#endif
