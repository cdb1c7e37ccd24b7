/* A query in windows, cut as the rows of its corpus were: query/embedder.h. */
#include "base/mem.h"
#include "base/rows.h"
#include "query/embedder.h"
#include <string.h>

static int cut(ms_query_embedder *e, int64_t window_tokens, int64_t window_step, int64_t limit,
               msim_error *err) {
    int64_t step = window_step ? window_step : window_tokens / 2;
    int64_t n = msim_tokenizer_windows(e->tokenizer, window_tokens, step, limit, NULL, 0, err);
    if (n < 0) return (int)n;
    int rc = ms_grow((void **)&e->spans, &e->spans_cap, (size_t)n, sizeof *e->spans,
                     "windows of a query", err);
    if (rc >= 0)
        rc = ms_grow((void **)&e->bars, &e->bars_cap, (size_t)n, sizeof *e->bars,
                     "windows of a query", err);
    if (rc < 0) return rc;
    e->n_windows = (size_t)n;
    n = msim_tokenizer_windows(e->tokenizer, window_tokens, step, limit, e->spans, (size_t)n, err);
    if (n < 0) return (int)n;
    for (size_t i = 0; i < e->n_windows && rc >= 0; i++) {
        e->spans[i].piece = (int64_t)i;
        rc = msim_tokenizer_bars(e->tokenizer, e->spans + i, e->bars + i, err);
    }
    return rc;
}

int ms_query_cut(ms_query_embedder *e, const void *midi, size_t n_bytes, int transpose,
                 int64_t max_tokens, int64_t window_tokens, int64_t window_step, msim_error *err) {
    int64_t starts[MS_QUERY_VARIANTS + 1], limit = max_tokens ? max_tokens : INT64_MAX;
    int rc = ms_query_reserve_ids(e, n_bytes, transpose, limit, err);
    if (rc < 0) return rc;
    msim_tokenizer_keep_bars(e->tokenizer, 1);
    int64_t n = msim_tokenizer_encode(e->tokenizer, midi, n_bytes, transpose, limit, e->ids,
                                      e->ids_cap, starts, err);
    if (n < 0) return (int)n;
    e->n_keys = (size_t)n;
    e->n_ids = starts[1];
    rc = cut(e, window_tokens, window_step, limit, err);
    return rc < 0 ? rc : msim_tokenizer_full_length(e->tokenizer) > e->n_ids;
}

/* The ids of a window in one key, to `to`: those of its span, behind the one that begins a
 * sequence. Returns how many there are. */
static int64_t put_window(const ms_query_embedder *e, size_t key, size_t window, int32_t *to) {
    const int32_t *ids = e->ids + (int64_t)key * e->n_ids;
    const msim_span *span = e->spans + window;
    int64_t n = span->to_token - span->from_token, n_begin = span->from_token > 0;
    to[0] = ids[0];
    memcpy(to + n_begin, ids + span->from_token, (size_t)n * sizeof *to);
    return n_begin + n;
}

/* Embed windows first .. first + n - 1 of a key, at most MS_QUERY_BATCH. */
static int embed_some(ms_query_embedder *e, size_t key, size_t first, size_t n, float *out,
                      msim_error *err) {
    int64_t starts[MS_QUERY_BATCH + 1] = {0};
    size_t n_ids = 0;
    for (size_t i = first; i < first + n; i++)
        n_ids += (size_t)(e->spans[i].to_token - e->spans[i].from_token) + 1;
    int rc = ms_grow((void **)&e->window_ids, &e->window_ids_cap, n_ids, sizeof *e->window_ids,
                     "token ids", err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++)
        starts[i + 1] = starts[i] + put_window(e, key, first + i, e->window_ids + starts[i]);
    return ms_query_embed_batches(e, e->window_ids, starts, n, out, err);
}

static int embed_key(ms_query_embedder *e, size_t key, float *out, msim_error *err) {
    int rc = MSIM_OK;
    for (size_t first = 0, n; first < e->n_windows && rc >= 0; first += n) {
        n = e->n_windows - first < MS_QUERY_BATCH ? e->n_windows - first : MS_QUERY_BATCH;
        rc = embed_some(e, key, first, n, out + first * (size_t)e->dim, err);
    }
    return rc;
}

int ms_query_embed_windows(ms_query_embedder *e, float *out, msim_error *err) {
    int rc = MSIM_OK;
    for (size_t key = 0; key < e->n_keys && rc >= 0; key++)
        rc = embed_key(e, key, out + key * e->n_windows * (size_t)e->dim, err);
    return rc;
}

int ms_query_embed_pooled(ms_query_embedder *e, float *out, msim_error *err) {
    size_t dim = (size_t)e->dim;
    float *windows = ms_alloc(e->n_windows, dim * sizeof *windows, "vectors of a query", err);
    int rc = windows ? MSIM_OK : -MSIM_E_MEMORY;
    for (size_t key = 0; key < e->n_keys && rc >= 0; key++) {
        rc = embed_key(e, key, windows, err);
        if (rc >= 0) ms_rows_mean(windows, e->n_windows, dim, out + key * dim);
    }
    ms_free(windows);
    return rc;
}
