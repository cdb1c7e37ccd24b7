/* What the tests of the whole GPU encoder share: a seeded model on device 0 with an encoder, and
 * batches of given lengths. */
#ifndef TEST_GPU_RIG_H
#define TEST_GPU_RIG_H
#include "support/goldens.h"
#include "device_rows.h"
#include "kernels/encoder/encoder.h"

enum { RIG_TOKENS = 1200, RIG_SEQS = 8 };

typedef struct {
    ms_weights *weights;
    ms_gpu_model *model;
    ms_gpu_stream *stream;
    ms_gpu_encoder *encoder;
    int64_t dim;
} gpu_rig;

/* The encoder of a model that is on the device already; rig_stop undoes it. */
static inline void rig_start(gpu_rig *r, int64_t max_tokens, int64_t max_seqs) {
    msim_options o = {
        .size = sizeof(msim_options), .max_batch_tokens = max_tokens, .max_batch_seqs = max_seqs};
    r->dim = r->model->dim;
    rows_ok(ms_gpu_stream_open(0, &r->stream, err));
    rows_ok(ms_gpu_encoder_open(r->model, r->stream, &o, &r->encoder, err));
}

static inline void rig_stop(gpu_rig *r) {
    ms_gpu_encoder_close(r->encoder);
    ms_gpu_stream_close(r->stream);
}

static inline gpu_rig gpu_rig_open(int64_t dim, int64_t heads, int64_t depth, int64_t max_tokens,
                                   int64_t max_seqs) {
    gpu_rig r = {.weights = seeded_open(dim, heads, depth)};
    rows_ok(ms_gpu_model_open(0, r.weights, MSIM_PRECISION_BF16, &r.model, err));
    rig_start(&r, max_tokens, max_seqs);
    return r;
}

static inline void gpu_rig_close(gpu_rig *r) {
    rig_stop(r);
    ms_gpu_model_close(r->model);
    seeded_close(r->weights);
}

/* Sequences of given lengths, each of its own ids: those of its name, which is its place unless
 * `names` are given. */
typedef struct {
    int32_t ids[RIG_TOKENS];
    int64_t starts[RIG_SEQS + 1];
    ms_batch batch;
} rig_batch;

static inline void rig_fill(rig_batch *b, const int64_t *lengths, const int *names, int n_seq) {
    *b = (rig_batch){
        .batch = {.n_seq = n_seq, .classes = &ms_family_of(MSIM_FAMILY_MIDISIM)->classes}};
    for (int i = 0; i < n_seq; i++) {
        int name = names ? names[i] : i;
        seeded_ids(b->ids + b->starts[i], (int)lengths[i], 29 + 2 * name, 7 + name);
        if (lengths[i] > 5) b->ids[b->starts[i] + 5] = 385; /* one that no weight is for */
        b->starts[i + 1] = b->starts[i] + lengths[i];
        if (lengths[i] > b->batch.longest) b->batch.longest = lengths[i];
    }
    b->batch.n_tokens = b->starts[n_seq];
    b->batch.ids = b->ids;
    b->batch.starts = b->starts;
}

static inline void rig_vectors(gpu_rig *r, const rig_batch *b, const float *class_weights,
                               float *out) {
    rows_ok(ms_gpu_encoder_embed(r->encoder, &b->batch, class_weights, out, err));
}
#endif
