/* Keys that are likely: msim_searcher_options.likely_keys. A query of 3,072 tokens in twelve keys
 * costs twelve passes of the encoder. Here its first tokens are searched in every key; in the keys
 * whose best row was best, the whole query is embedded. All other keys are left out, so this is no
 * proof: docs/SEARCH.md says how often it was wrong. */
#include "query/pass.h"
#include "base/mem.h"
#include <string.h>

/* The score of the best row of each key of a query: best [n_variants]. Its own rows do not
 * count. */
static int search_keys(msim_searcher *s, size_t query, double *best, msim_error *err) {
    const ms_query *q = s->queries + query;
    int64_t rows[MS_QUERY_VARIANTS];
    ms_query_pass p = ms_query_pass_of(s, query, query + 1);
    int64_t *excluded = ms_query_exclude(&p, q->own, q->n_own, err);
    if (!excluded) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < q->n_variants; i++) best[i] = 0;
    int64_t n = ms_query_search_top(&p, 1, rows, best, err);
    ms_free(excluded);
    return n < 0 ? (int)n : MSIM_OK;
}

/* The n best keys in rising order (equal scores: the lower key): chosen [n] are their numbers. */
static void choose(const double *best, size_t n_keys, size_t n, size_t *chosen) {
    size_t n_chosen = 0;
    for (size_t i = 0; i < n_keys; i++) {
        size_t n_better = 0;
        for (size_t k = 0; k < n_keys; k++)
            n_better += best[k] > best[i] || (best[k] == best[i] && k < i);
        if (n_better < n) chosen[n_chosen++] = i;
    }
}

/* Embed all of a query in the chosen keys, in the place of its beginning. */
static int embed_keys(msim_searcher *s, ms_query *q, const size_t *chosen, size_t n,
                      msim_error *err) {
    int64_t starts[MS_QUERY_VARIANTS + 1] = {0};
    float *to = s->vectors + q->first * (size_t)s->dim;
    for (size_t i = 0; i < n; i++) {
        const int64_t *from = q->starts + chosen[i], n_ids = from[1] - from[0];
        q->keys[i] = q->keys[chosen[i]];
        memmove(q->ids + starts[i], q->ids + from[0], (size_t)n_ids * sizeof *q->ids);
        starts[i + 1] = starts[i] + n_ids;
    }
    q->n_variants = n;
    int rc = ms_query_embed_batches(&s->embedder, q->ids, starts, n, to, err);
    return rc < 0 ? rc : ms_searcher_whiten(s, to, n, err);
}

/* Vectors follow each other without gaps again. */
static void close_gaps(msim_searcher *s) {
    size_t at = 0, dim = (size_t)s->dim;
    for (size_t i = 0; i < s->n_queries; i++) {
        ms_query *q = s->queries + i;
        memmove(s->vectors + at * dim, s->vectors + q->first * dim,
                ms_query_vectors(q) * dim * sizeof *s->vectors);
        q->first = at;
        at += ms_query_vectors(q);
    }
    s->n_vectors = at;
}

int ms_query_choose_keys(msim_searcher *s, msim_error *err) {
    double best[MS_QUERY_VARIANTS];
    size_t chosen[MS_QUERY_VARIANTS], n = (size_t)s->set.likely_keys;
    int rc = MSIM_OK;
    for (size_t i = 0; i < s->n_queries && rc >= 0; i++) {
        ms_query *q = s->queries + i;
        if (!q->ids) continue;
        rc = search_keys(s, i, best, err);
        if (rc < 0) break;
        choose(best, q->n_variants, n, chosen);
        rc = embed_keys(s, q, chosen, n, err);
        ms_free(q->ids);
        q->ids = NULL;
    }
    s->stats.embed_seconds = s->embedder.seconds;
    if (rc >= 0) close_gaps(s);
    return rc;
}
