/* Sequences into batches, and batches through the encoder; pipeline/batcher.h says what callers
 * see.
 *
 * The window fills itself while the encoder works. Once it has the first batch's worth, it takes
 * only what is ready: a slow source never holds the encoder up, and a fast one gives more to sort.
 *
 * On a GPU two batches are under way. While the GPU works on one, this thread takes sequences,
 * packs the next batch and keeps the vectors of the last. Batches are kept in the order in which
 * they were made, so the records of a run have the same order on every device that makes the same
 * batches. Before this thread waits for the source, it finishes and keeps everything under way. */
#define _GNU_SOURCE
#include "pipeline/batcher.h"
#include "base/clock.h"
#include "pipeline/input/reader.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

/* How much is done at a time. */
typedef struct {
    int64_t batch_tokens, window_tokens;
    size_t batch_seqs, window_seqs;
    int most_under_way;
} amounts;

/* One batch that was submitted. */
typedef struct {
    ms_sequence *sequences; /* owned: [batch_seqs], without their ids */
    float *out;             /* owned: [batch_seqs, dim] */
    size_t n;
    int64_t n_tokens;
} under_way;

typedef struct {
    const ms_batcher_request *request;
    const ms_sequences *sequences;
    ms_batcher_stats *stats;
    int64_t dim;
    amounts most;
    msim_context *context;  /* owned */
    int64_t context_tokens; /* what the context was opened for */
    ms_sequence *window;    /* owned: [window_seqs] */
    size_t n_window, n_taken;
    int64_t tokens_taken, tokens_done; /* of the sequences taken so far, and finished */
    int32_t *ids;                      /* owned: one batch */
    size_t ids_cap;
    int64_t *starts;                           /* owned: [batch_seqs + 1] */
    under_way batches[MSIM_BATCHES_UNDER_WAY]; /* a ring of most_under_way */
    int oldest, n_under_way;
    size_t seqs_under_way;
} embedder;

/* On the CPU 4,096 tokens: about 0.4 TFLOP with the small model, so a caller that wants to stop
 * waits for seconds at most. A GPU does that in milliseconds and needs more at a time: 32,768
 * tokens are hundreds of tiles for each product, so that the last ones, which leave some of its
 * multiprocessors idle, weigh little. The window is what length-sorted batches are cut from. */
static amounts amounts_for(const msim_model_info *info, const msim_options *options) {
    if (info->device != MSIM_DEVICE_CUDA)
        return (amounts){.batch_tokens = 4096,
                         .window_tokens = 64 * 4096,
                         .batch_seqs = 256,
                         .window_seqs = 2048,
                         .most_under_way = 1};
    int devices = options->gpu < 0 ? msim_gpu_count() : 1;
    if (devices < 1) devices = 1;
    return (amounts){.batch_tokens = (int64_t)32768 * devices,
                     .window_tokens = (int64_t)8 * 32768 * devices,
                     .batch_seqs = (size_t)512 * (size_t)devices,
                     .window_seqs = (size_t)4096 * (size_t)devices,
                     .most_under_way = MSIM_BATCHES_UNDER_WAY};
}

/* ---- Batches ---- */

/* Wait for the oldest batch and hand its vectors on. */
static int finish_oldest(embedder *e, msim_error *err) {
    under_way *b = &e->batches[e->oldest];
    double began = ms_clock_now();
    int rc = msim_context_embed_wait(e->context, err);
    e->stats->encoder_seconds += ms_clock_now() - began;
    e->oldest = (e->oldest + 1) % e->most.most_under_way;
    e->n_under_way--;
    e->seqs_under_way -= b->n;
    if (rc >= 0) e->tokens_done += b->n_tokens;
    if (rc < 0) return rc;
    if (e->request->is_normalized) msim_l2_normalize(b->out, b->n, (size_t)e->dim);
    return e->request->keep ? e->request->keep(e->request->user, b->sequences, b->out, b->n, err)
                            : 0;
}

static int finish_all(embedder *e, msim_error *err) {
    int rc = 0;
    while (rc == 0 && e->n_under_way) rc = finish_oldest(e, err);
    return rc;
}

static int open_context(embedder *e, int64_t tokens, msim_error *err) {
    msim_options options = e->request->options;
    if (e->context && tokens <= e->context_tokens) return 0;
    int rc = finish_all(e, err);
    if (rc != 0) return rc;
    int64_t room = e->context_tokens ? e->context_tokens : e->most.batch_tokens;
    while (room < tokens) room = room > INT64_MAX / 2 ? tokens : room * 2;
    options.max_batch_tokens = room;
    options.max_batch_seqs = (int64_t)e->most.batch_seqs;
    msim_context_close(e->context);
    e->context = NULL;
    rc = msim_context_open(e->request->model, &options, &e->context, err);
    if (rc >= 0) e->context_tokens = room;
    return rc;
}

static int embed_batch(embedder *e, const ms_sequence *batch, size_t n, msim_error *err) {
    int64_t *starts = e->starts;
    for (size_t i = 0; i < n; i++) starts[i + 1] = starts[i] + batch[i].n_ids;
    int rc = ms_grow((void **)&e->ids, &e->ids_cap, (size_t)starts[n] + 1, sizeof *e->ids,
                     "ids of a batch", err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++)
        memcpy(e->ids + starts[i], batch[i].ids, (size_t)batch[i].n_ids * sizeof *e->ids);
    rc = open_context(e, starts[n], err);
    if (rc < 0) return rc;
    under_way *b = &e->batches[(e->oldest + e->n_under_way) % e->most.most_under_way];
    double began = ms_clock_now();
    rc = msim_context_embed_submit(e->context, e->ids, starts, n, e->request->class_weights, b->out,
                                   err);
    e->stats->encoder_seconds += ms_clock_now() - began;
    if (rc < 0) return rc;
    e->stats->n_tokens += starts[n];
    memcpy(b->sequences, batch, n * sizeof *batch);
    for (size_t i = 0; i < n; i++) b->sequences[i].ids = NULL; /* the window frees them */
    b->n = n;
    b->n_tokens = starts[n];
    e->n_under_way++;
    e->seqs_under_way += n;
    return e->n_under_way == e->most.most_under_way ? finish_oldest(e, err) : 0;
}

/* ---- The window ---- */

/* The next sequence. Nobody knows how long a source that has nothing ready will take: what is under
 * way is finished before this thread waits for it. Returns ms_reader_state, or < 0. */
static int next_sequence(embedder *e, bool may_wait, ms_sequence *out, msim_error *err) {
    while (may_wait && e->n_under_way) {
        int state = e->sequences->next(e->sequences->source, false, out, err);
        if (state != MS_READER_LATER) return state;
        int rc = finish_oldest(e, err);
        if (rc < 0) return rc;
    }
    double began = may_wait ? ms_clock_now() : 0;
    int state = e->sequences->next(e->sequences->source, may_wait, out, err);
    if (may_wait) e->stats->wait_seconds += ms_clock_now() - began;
    return state;
}

/* Take sequences until the window is full, the source has no more ready, or it ends. < 0: a batch
 * under way failed. */
static int fill_window(embedder *e, msim_error *err) {
    int64_t tokens = 0;
    while (e->n_window < e->most.window_seqs && tokens < e->most.window_tokens) {
        ms_sequence *p = e->window + e->n_window;
        int state = next_sequence(e, tokens < e->most.batch_tokens, p, err);
        if (state < 0) return state;
        if (state != MS_READER_ITEM) break;
        p->order = e->n_taken++;
        e->tokens_taken += p->n_ids;
        e->n_window++;
        tokens += p->n_ids;
    }
    return 0;
}

static int longest_first(const void *a, const void *b) {
    const ms_sequence *x = a, *y = b;
    if (x->n_ids != y->n_ids) return x->n_ids < y->n_ids ? 1 : -1;
    return (x->order > y->order) - (x->order < y->order);
}

/* Progress, while n_waiting sequences are not finished. True: stop. */
static bool tell(const embedder *e, size_t n_waiting) {
    const ms_sequences *from = e->sequences;
    double share = from->share_read ? from->share_read(from->source) : -1;
    double all = share > 0 ? (double)e->tokens_taken / share : -1;
    ms_watch_tokens(e->request->watch, e->tokens_done, (int64_t)all);
    return ms_watch_step(e->request->watch, MSIM_STEP_EMBED,
                         from->n_done(from->source, (int64_t)n_waiting), from->n_all);
}

/* Cut the sorted window into batches: each as many sequences as fit, at least one. */
static int embed_window(embedder *e, msim_error *err) {
    int rc = 0;
    qsort(e->window, e->n_window, sizeof *e->window, longest_first);
    int64_t budget = e->context_tokens;
    for (size_t from = 0, to; rc == 0 && from < e->n_window; from = to) {
        int64_t tokens = 0;
        for (to = from; to < e->n_window && to - from < e->most.batch_seqs; to++) {
            if (to > from && tokens + e->window[to].n_ids > budget) break;
            tokens += e->window[to].n_ids;
        }
        rc = embed_batch(e, e->window + from, to - from, err);
        if (tell(e, e->n_window - to + e->seqs_under_way) && rc == 0)
            rc = ms_watch_stop(err, "while embedding");
    }
    for (size_t i = 0; i < e->n_window; i++) ms_free(e->window[i].ids);
    e->n_window = 0;
    return rc;
}

static void close_all(embedder *e) {
    for (size_t i = 0; i < e->n_window; i++) ms_free(e->window[i].ids);
    msim_context_close(e->context); /* what is under way is dropped before its memory goes */
    for (int i = 0; i < MSIM_BATCHES_UNDER_WAY; i++) {
        ms_free(e->batches[i].sequences);
        ms_free(e->batches[i].out);
    }
    ms_free(e->window);
    ms_free(e->ids);
    ms_free(e->starts);
}

static int open_all(embedder *e, msim_error *err) {
    size_t dim = (size_t)e->dim;
    bool has_all = (e->window = ms_alloc(e->most.window_seqs, sizeof *e->window, "window", err)) &&
                   (e->starts = ms_alloc(e->most.batch_seqs + 1, sizeof *e->starts, "batch", err));
    for (int i = 0; has_all && i < e->most.most_under_way; i++) {
        under_way *b = &e->batches[i];
        has_all =
            (b->sequences = ms_alloc(e->most.batch_seqs, sizeof *b->sequences, "batch", err)) &&
            (b->out = ms_alloc(e->most.batch_seqs, dim * sizeof *b->out, "batch", err));
    }
    if (!has_all) return -MSIM_E_MEMORY;
    return open_context(e, e->request->longest ? e->request->longest : e->most.batch_tokens, err);
}

/* One window after the other, until the sequences end. */
static int embed_all(embedder *e, msim_error *err) {
    int rc = 0;
    while (rc == 0) {
        if (ms_watch_is_stopped(e->request->watch)) return ms_watch_stop(err, "while embedding");
        rc = fill_window(e, err);
        if (rc < 0 || !e->n_window) break;
        rc = embed_window(e, err);
    }
    return rc;
}

int ms_batcher_run(const ms_batcher_request *request, const ms_sequences *sequences,
                   ms_batcher_stats *stats, msim_error *err) {
    msim_model_info info = {.size = sizeof info};
    embedder e = {.request = request, .sequences = sequences, .stats = stats};
    msim_error why;
    int rc = msim_model_get_info(request->model, &info);
    e.dim = info.dim;
    e.most = amounts_for(&info, &request->options);
    if (rc >= 0) rc = open_all(&e, err);
    if (rc >= 0) {
        (void)ms_watch_step(request->watch, MSIM_STEP_EMBED,
                            sequences->n_done(sequences->source, 0), sequences->n_all);
        rc = embed_all(&e, err);
    }
    if (rc == 0 || rc == -MSIM_E_STOPPED) {
        int finished = finish_all(&e, &why);
        if (finished < 0) rc = ms_fail(err, why.code, "%s", why.text);
    }
    ms_watch_end_step(request->watch);
    close_all(&e);
    return rc;
}
