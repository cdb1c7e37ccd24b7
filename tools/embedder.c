/* Contract: tools/embedder.h. The window fills itself while the encoder works: after the first batch's worth, only what
 * is ready is taken, so a slow source never holds the encoder up and a fast one gives more to sort. */
#define _GNU_SOURCE
#include "embedder.h"
#include "reader.h"
#include <stdlib.h>
#include <string.h>

#define BATCH_TOKENS 4096  /* about 0.4 TFLOP with the small model: a signal is answered within seconds */
#define BATCH_SEQS 256
#define WINDOW_TOKENS (64 * BATCH_TOKENS)
#define WINDOW_SEQS 2048

typedef struct {
    const ms_embedder_request *request;
    const ms_sequences *sequences;
    ms_embedder_stats *stats;
    int64_t dim;
    msim_context *context;  /* owned */
    int64_t context_tokens; /* what the context was opened for */
    ms_sequence *window;      /* owned: [WINDOW_SEQS] */
    size_t n_window, n_taken;
    int32_t *ids;           /* owned: one batch */
    size_t ids_cap;
    float *out;             /* owned: [BATCH_SEQS, dim] */
} embedder;

static int open_context(embedder *e, int64_t tokens, msim_error *err) {
    msim_options options = e->request->options;
    if (e->context && tokens <= e->context_tokens) return 0;
    int64_t room = e->context_tokens ? e->context_tokens : BATCH_TOKENS;
    while (room < tokens) room = room > INT64_MAX / 2 ? tokens : room * 2;
    options.max_batch_tokens = room;
    options.max_batch_seqs = BATCH_SEQS;
    msim_context_close(e->context);
    e->context = NULL;
    int rc = msim_context_open(e->request->model, &options, &e->context, err);
    if (rc >= 0) e->context_tokens = room;
    return rc;
}

/* Take sequences until the window is full, the source has no more ready, or it ends. False when nothing is left. */
static bool fill_window(embedder *e) {
    int64_t tokens = 0;
    while (e->n_window < WINDOW_SEQS && tokens < WINDOW_TOKENS) {
        ms_sequence *p = e->window + e->n_window;
        bool may_wait = tokens < BATCH_TOKENS;
        double began = may_wait ? ms_cli_now() : 0;
        int state = e->sequences->next(e->sequences->source, may_wait, p);
        if (may_wait) e->stats->wait_seconds += ms_cli_now() - began;
        if (state != MS_READER_ITEM) break;
        p->order = e->n_taken++;
        e->n_window++;
        tokens += p->n_ids;
    }
    return e->n_window > 0;
}

static int longest_first(const void *a, const void *b) {
    const ms_sequence *x = a, *y = b;
    if (x->n_ids != y->n_ids) return x->n_ids < y->n_ids ? 1 : -1;
    return (x->order > y->order) - (x->order < y->order);
}

static int embed_batch(embedder *e, const ms_sequence *batch, size_t n, msim_error *err) {
    int64_t starts[BATCH_SEQS + 1] = {0};
    for (size_t i = 0; i < n; i++) starts[i + 1] = starts[i] + batch[i].n_ids;
    e->ids = ms_cli_grow(e->ids, &e->ids_cap, (size_t)starts[n] + 1, sizeof *e->ids);
    for (size_t i = 0; i < n; i++)
        memcpy(e->ids + starts[i], batch[i].ids, (size_t)batch[i].n_ids * sizeof *e->ids);
    int rc = open_context(e, starts[n], err);
    if (rc < 0) return rc;
    double began = ms_cli_now();
    rc = msim_context_embed(e->context, e->ids, starts, n, e->request->type_weights, e->out, err);
    e->stats->encoder_seconds += ms_cli_now() - began;
    if (rc < 0) return rc;
    e->stats->n_tokens += starts[n];
    if (e->request->is_normalized) msim_normalize(e->out, n, (size_t)e->dim);
    return e->request->keep ? e->request->keep(e->request->user, batch, e->out, n, err) : 0;
}

/* Cut the sorted window into batches: each as many sequences as fit, at least one. */
static int embed_window(embedder *e, msim_error *err) {
    int rc = 0;
    qsort(e->window, e->n_window, sizeof *e->window, longest_first);
    int64_t budget = e->context_tokens;
    for (size_t from = 0, to; rc == 0 && from < e->n_window && !ms_cli_stopped(); from = to) {
        int64_t tokens = 0;
        for (to = from; to < e->n_window && to - from < BATCH_SEQS; to++) {
            if (to > from && tokens + e->window[to].n_ids > budget) break;
            tokens += e->window[to].n_ids;
        }
        rc = embed_batch(e, e->window + from, to - from, err);
        ms_cli_progress("files", e->sequences->n_done(e->sequences->source) - (int64_t)(e->n_window - to),
                        e->sequences->n_all);
    }
    for (size_t i = 0; i < e->n_window; i++) free(e->window[i].ids);
    e->n_window = 0;
    return rc;
}

int ms_embedder_run(const ms_embedder_request *request, const ms_sequences *sequences, ms_embedder_stats *stats,
                    msim_error *err) {
    msim_info info;
    embedder e = {.request = request, .sequences = sequences, .stats = stats};
    msim_model_info(request->model, &info);
    e.dim = info.dim;
    e.window = ms_cli_alloc(WINDOW_SEQS, sizeof *e.window);
    e.out = ms_cli_alloc(BATCH_SEQS * (size_t)info.dim, sizeof *e.out);
    int rc = open_context(&e, request->longest ? request->longest : BATCH_TOKENS, err);
    ms_cli_progress("files", 0, sequences->n_all);
    while (rc == 0 && !ms_cli_stopped() && fill_window(&e)) rc = embed_window(&e, err);
    ms_cli_progress_end();
    for (size_t i = 0; i < e.n_window; i++) free(e.window[i].ids);
    msim_context_close(e.context);
    free(e.window);
    free(e.ids);
    free(e.out);
    return rc;
}
