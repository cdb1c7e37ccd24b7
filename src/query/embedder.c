/* One piece to vectors, in one key or in twelve: query/embedder.h. */
#include "query/embedder.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sized.h"
#include <string.h>

/* On a CPU a batch is short, as in a job, so that whoever stops waits for less than a second. */
enum { GPU_BATCH_TOKENS = 16384, CPU_BATCH_TOKENS = 4096 };

int ms_query_embedder_open(const msim_model *model, const msim_options *options,
                           ms_query_embedder *out, msim_error *err) {
    msim_model_info info = {.size = sizeof info};
    ms_query_embedder e = {.model = model, .options = msim_options_default()};
    int rc = options ? ms_sized_in(&e.options, sizeof e.options, options, "options", err) : MSIM_OK;
    if (rc >= 0) rc = msim_tokenizer_open(model, &e.tokenizer, err);
    if (rc < 0) return rc;
    (void)msim_model_get_info(model, &info); /* refuses a size of zero alone */
    e.dim = info.dim;
    e.max_tokens = info.max_tokens;
    e.batch_least = info.device == MSIM_DEVICE_CUDA ? GPU_BATCH_TOKENS : CPU_BATCH_TOKENS;
    *out = e;
    return MSIM_OK;
}

void ms_query_embedder_close(ms_query_embedder *e) {
    msim_context_close(e->context);
    msim_tokenizer_close(e->tokenizer);
    ms_free(e->ids);
    ms_free(e->spans);
    ms_free(e->spans_moved);
    ms_free(e->bars);
    ms_free(e->window_ids);
    *e = (ms_query_embedder){0};
}

/* A context whose batches hold a sequence of n tokens; a longer piece than before gets a larger
 * one. */
static int ensure_context(ms_query_embedder *e, int64_t n_tokens, msim_error *err) {
    if (e->context && n_tokens <= e->batch_tokens) return MSIM_OK;
    msim_options o = e->options;
    o.max_batch_tokens = n_tokens > e->batch_least ? n_tokens : e->batch_least;
    o.max_batch_seqs = msim_options_default().max_batch_seqs;
    o.max_queries = o.max_k = 1;
    msim_context_close(e->context);
    e->context = NULL;
    e->batch_tokens = o.max_batch_tokens;
    return msim_context_open(e->model, &o, &e->context, err);
}

int ms_query_embed_batches(ms_query_embedder *e, const int32_t *ids, const int64_t *starts,
                           size_t n, float *out, msim_error *err) {
    int64_t batch_starts[MS_QUERY_BATCH + 1], longest = 0;
    for (size_t i = 0; i < n; i++)
        if (starts[i + 1] - starts[i] > longest) longest = starts[i + 1] - starts[i];
    int rc = ensure_context(e, longest, err);
    double began = ms_clock_now();
    for (size_t first = 0, n_batch; first < n && rc >= 0; first += n_batch) {
        if (e->should_stop && e->should_stop(e->stop_user) != 0) {
            rc = ms_fail(err, MSIM_E_STOPPED, "embedding: stopped by the caller");
            break;
        }
        for (n_batch = 0; first + n_batch < n && n_batch < MS_QUERY_BATCH; n_batch++) {
            batch_starts[n_batch] = starts[first + n_batch] - starts[first];
            if (n_batch && starts[first + n_batch + 1] - starts[first] > e->batch_tokens) break;
        }
        batch_starts[n_batch] = starts[first + n_batch] - starts[first];
        rc = msim_context_embed(e->context, ids + starts[first], batch_starts, n_batch,
                                e->class_weights, out + first * (size_t)e->dim, err);
    }
    e->seconds += ms_clock_now() - began;
    return rc;
}

/* Room in e->ids for a file. limit: its most tokens. */
static int reserve_ids(ms_query_embedder *e, size_t n_bytes, int transpose, int64_t limit,
                       msim_error *err) {
    size_t bound = msim_tokenizer_bound(n_bytes, transpose, limit);
    return ms_grow((void **)&e->ids, &e->ids_cap, bound ? bound : 1, sizeof *e->ids, "token ids",
                   err);
}

int ms_query_encode(ms_query_embedder *e, const void *midi, size_t n_bytes, int transpose,
                    int64_t max_tokens, msim_error *err) {
    int64_t limit = max_tokens ? max_tokens : INT64_MAX;
    int rc = reserve_ids(e, n_bytes, transpose, limit, err);
    if (rc < 0) return rc;
    int64_t n = msim_tokenizer_encode(e->tokenizer, midi, n_bytes, transpose, limit, e->ids,
                                      e->ids_cap, e->starts, err);
    if (n >= 0) e->is_cut = msim_tokenizer_full_length(e->tokenizer) > limit;
    return (int)n;
}

int ms_query_embed_keys(ms_query_embedder *e, const void *midi, size_t n_bytes, int transpose,
                        int64_t max_tokens, float *out, msim_error *err) {
    int n = ms_query_encode(e, midi, n_bytes, transpose, max_tokens, err);
    if (n < 0) return n;
    int rc = ms_query_embed_batches(e, e->ids, e->starts, (size_t)n, out, err);
    return rc < 0 ? rc : e->is_cut;
}

int ms_query_embed_beginning(ms_query_embedder *e, const void *midi, size_t n_bytes, int transpose,
                             int64_t max_tokens, float *out, msim_error *err) {
    int64_t starts[MS_QUERY_VARIANTS + 1] = {0};
    int32_t beginnings[MS_QUERY_VARIANTS * MS_QUERY_LIKELY_TOKENS];
    int n = ms_query_encode(e, midi, n_bytes, transpose, max_tokens, err);
    if (n < 0) return n;
    for (int i = 0; i < n; i++) {
        const int64_t all = e->starts[i + 1] - e->starts[i],
                      tried = all < MS_QUERY_LIKELY_TOKENS ? all : MS_QUERY_LIKELY_TOKENS;
        memcpy(beginnings + starts[i], e->ids + e->starts[i], (size_t)tried * sizeof *e->ids);
        starts[i + 1] = starts[i] + tried;
    }
    int rc = ms_query_embed_batches(e, beginnings, starts, (size_t)n, out, err);
    return rc < 0 ? rc : e->is_cut;
}

int ms_query_embed_at(ms_query_embedder *e, const void *midi, size_t n_bytes, int semitones,
                      int64_t max_tokens, float *out, msim_error *err) {
    int64_t starts[2] = {0}, limit = max_tokens ? max_tokens : INT64_MAX;
    int rc = reserve_ids(e, n_bytes, 0, limit, err);
    if (rc < 0) return rc;
    starts[1] = msim_tokenizer_encode_at(e->tokenizer, midi, n_bytes, semitones, limit, e->ids,
                                         e->ids_cap, err);
    return starts[1] < 0 ? (int)starts[1] : ms_query_embed_batches(e, e->ids, starts, 1, out, err);
}
