/* The forward pass on the CPU: token ids to final rows, and their pooling. docs/MODEL.md, steps.
 * One caller at a time; everything is allocated at open. Written against the kernel table, so it is
 * the same code at every level. */
#ifndef MS_CPU_ENCODER_ENCODER_H
#define MS_CPU_ENCODER_ENCODER_H
#include "base/pool.h"
#include "cpu/encoder/model.h"
#include "model/batch.h"

typedef struct ms_cpu_encoder ms_cpu_encoder;

/* model and pool are borrowed. */
int ms_cpu_encoder_open(const ms_cpu_model *model, ms_pool *pool, const msim_options *options,
                        ms_cpu_encoder **out, msim_error *err);
void ms_cpu_encoder_close(ms_cpu_encoder *e);
/* out [n_seq, dim]; class_weights as msim_context_embed. */
void ms_cpu_encoder_embed(ms_cpu_encoder *e, const ms_batch *batch, const float *class_weights,
                          float *out);
/* out [n_tokens, dim]. */
void ms_cpu_encoder_embed_tokens(ms_cpu_encoder *e, const ms_batch *batch, float *out);
/* Seconds inside each stage so far, summed over workers: out [MSIM_STAGE_COUNT]. Not during a
 * pass. */
void ms_cpu_encoder_stage_seconds(const ms_cpu_encoder *e, double *out);

/* Tests look at values on their way. Called from whichever worker computed the rows. */
enum ms_tap {
    MS_TAP_RESIDUAL,  /* x as a row stage leaves it: embedding, or after a feed-forward layer */
    MS_TAP_ATTN_NORM, /* input of the q, k, v product */
    MS_TAP_Q,
    MS_TAP_K,
    MS_TAP_V,       /* before rotary */
    MS_TAP_HEADS,   /* heads concatenated */
    MS_TAP_MIDDLE,  /* x after the attention layer */
    MS_TAP_FF_NORM, /* input of the first feed-forward product */
    MS_TAP_GELU,    /* the first columns of its output */
    MS_TAP_FINAL    /* out */
};
typedef void (*ms_tap_fn)(void *arg, int tap, size_t layer, size_t first_row, size_t n_rows,
                          const void *data, size_t stride);
void ms_cpu_encoder_set_tap(ms_cpu_encoder *e, ms_tap_fn fn, void *arg);

#endif
