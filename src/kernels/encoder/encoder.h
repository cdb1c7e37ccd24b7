/* The forward pass on a CUDA device: token ids to final rows, and their pooling; docs/MODEL.md,
 * Steps. It is the order of launches and nothing else: kernels are kernels/kernels.h's, products
 * kernels/encoder/project.h's.
 *
 * All memory, of the device and of the host, is planned at open for options->max_batch_tokens and
 * max_batch_seqs; nothing is allocated later. One caller at a time. Two batches may be under way:
 * while the device works on one, the host prepares the next. They share the device's memory,
 * because the stream runs them in order. */
#ifndef MS_KERNELS_ENCODER_ENCODER_H
#define MS_KERNELS_ENCODER_ENCODER_H
#include "kernels/encoder/model.h"
#include "search/backend.h"

typedef struct ms_gpu_encoder ms_gpu_encoder;

/* model and stream are borrowed; the stream is of the model's device. MSIM_E_MEMORY when the
 * buffers do not fit. */
int ms_gpu_encoder_open(const ms_gpu_model *model, ms_gpu_stream *stream,
                        const msim_options *options, ms_gpu_encoder **out, msim_error *err);
/* Accepts NULL. Waits for batches under way and drops their results. */
void ms_gpu_encoder_close(ms_gpu_encoder *e);

/* Take a batch (within the limits of open) and return while the device works on it. What batch
 * points to and class_weights may be reused at once; out [n_seq, dim] is written by the wait that
 * finishes this batch. MSIM_E_LIMIT when MSIM_BATCHES_UNDER_WAY batches are under way. A batch
 * whose submit fails is not under way. */
int ms_gpu_encoder_submit(ms_gpu_encoder *e, const ms_batch *batch, const float *class_weights,
                          float *out, msim_error *err);
/* Finish the oldest batch. MSIM_E_ARG when none is under way; after another failure that batch is
 * gone, its out as it was. */
int ms_gpu_encoder_wait(ms_gpu_encoder *e, msim_error *err);
/* submit and wait; only while no batch is under way. */
int ms_gpu_encoder_embed(ms_gpu_encoder *e, const ms_batch *batch, const float *class_weights,
                         float *out, msim_error *err);
/* out [n_tokens, dim]; only while no batch is under way. */
int ms_gpu_encoder_embed_tokens(ms_gpu_encoder *e, const ms_batch *batch, float *out,
                                msim_error *err);
/* Device seconds of each stage so far: out [MSIM_STAGE_COUNT]. The time of every batch is measured;
 * its shares are those of the last batch whose stages were measured one by one, which are one in 16
 * (the first is). */
void ms_gpu_encoder_stage_seconds(const ms_gpu_encoder *e, double *out);

/* Tests look at values on their way: rows [n_rows, n_cols] as f32, in host memory, for the call
 * alone. With a tap every step waits for the device and takes memory. */
enum ms_gpu_tap {
    MS_GPU_TAP_RESIDUAL,  /* x: embedding (layer 0), or after a feed-forward layer (layer: blocks
                           * done) */
    MS_GPU_TAP_ATTN_NORM, /* input of the q, k, v product */
    MS_GPU_TAP_QKV,       /* [n, 3 * inner], q and k rotated */
    MS_GPU_TAP_HEADS,     /* heads side by side */
    MS_GPU_TAP_MIDDLE,    /* x after the attention layer */
    MS_GPU_TAP_FF_NORM,   /* input of the first feed-forward product */
    MS_GPU_TAP_GELU,      /* its output, a chunk of rows */
    MS_GPU_TAP_FINAL      /* final rows */
};
typedef void (*ms_gpu_tap_fn)(void *arg, int tap, int64_t layer, int64_t first_row, int64_t n_rows,
                              int64_t n_cols, const float *rows);
void ms_gpu_encoder_set_tap(ms_gpu_encoder *e, ms_gpu_tap_fn fn, void *arg);
/* For tests: compute feed-forward layers in chunks of at most this many rows. */
void ms_gpu_encoder_set_ff_rows(ms_gpu_encoder *e, int64_t n_rows);

#endif
