/* A query in windows, cut as the rows of its corpus were: query/embedder.h. */
#include "base/mem.h"
#include "base/rows.h"
#include "base/span.h"
#include "pipeline/input/files.h"
#include "query/embedder.h"

static int cut(ms_query_embedder *e, int64_t window_tokens, int64_t window_step, int64_t limit,
               msim_error *err) {
    int64_t step = ms_files_window_step(window_tokens, window_step);
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
    msim_tokenizer_keep_bars(e->tokenizer, 1);
    int rc = ms_query_encode(e, midi, n_bytes, transpose, max_tokens, err);
    if (rc < 0) return rc;
    e->n_keys = (size_t)rc;
    e->max_cut = max_tokens ? max_tokens : INT64_MAX;
    rc = cut(e, window_tokens, window_step, e->max_cut, err);
    return rc < 0 ? rc : e->is_cut;
}

/* Embed windows first .. first + n - 1 of a key, at most MS_QUERY_BATCH. */
static int embed_some(ms_query_embedder *e, size_t key, size_t first, size_t n, float *out,
                      msim_error *err) {
    int64_t starts[MS_QUERY_BATCH + 1] = {0};
    const int32_t *ids = e->ids + e->starts[key];
    const msim_span *spans = e->spans_moved + first;
    for (size_t i = 0; i < n; i++) starts[i + 1] = starts[i] + (int64_t)ms_span_n_ids(spans + i);
    int rc = ms_grow((void **)&e->window_ids, &e->window_ids_cap, (size_t)starts[n],
                     sizeof *e->window_ids, "token ids", err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++) ms_span_copy_ids(spans + i, ids, e->window_ids + starts[i]);
    return ms_query_embed_batches(e, e->window_ids, starts, n, out, err);
}

static int embed_key(ms_query_embedder *e, size_t key, float *out, msim_error *err) {
    const int semitones = (int)key - (int)(e->n_keys / 2);
    int rc = ms_grow((void **)&e->spans_moved, &e->spans_moved_cap, e->n_windows,
                     sizeof *e->spans_moved, "windows of a query", err);
    if (rc >= 0)
        rc = msim_tokenizer_spans_at(e->tokenizer, semitones, e->max_cut, e->spans,
                                     (int64_t)e->n_windows, e->spans_moved, err);
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
