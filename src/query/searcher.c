/* The searcher (include/midisim.h, Searcher): its options, its memory, and the queries that wait in
 * it. */
#include "query/searcher.h"
#include "base/mem.h"
#include "base/sized.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- Options ---- */

static const msim_searcher_options defaults = {.size = sizeof defaults,
                                               .k = 16,
                                               .transpose = 6,
                                               .max_tokens = MSIM_TRAINED_TOKENS,
                                               .max_vectors = 60};

void msim_searcher_options_init(msim_searcher_options *options) {
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

/* Put the caller's options over the defaults: fields that the caller's version lacks keep the
 * defaults. */
static int read_options(const msim_searcher_options *from, msim_searcher_options *to,
                        msim_error *err) {
    *to = defaults;
    return from ? ms_sized_in(to, sizeof *to, from, "searcher options", err) : MSIM_OK;
}

static int check_options(const msim_searcher_options *o, msim_error *err) {
    if (o->k < 1 && !o->has_threshold)
        return ms_fail(err, MSIM_E_ARG, "searcher: k: expected at least 1, got %" PRId64, o->k);
    if (o->has_threshold && isnan(o->threshold))
        return ms_fail(err, MSIM_E_ARG, "searcher: threshold: expected a number, got NaN");
    if (o->keep < MSIM_KEEP_BEST || o->keep > MSIM_KEEP_EACH)
        return ms_fail(err, MSIM_E_ARG, "searcher: keep: expected best, all or each, got %d",
                       o->keep);
    if (o->max_tokens < 0)
        return ms_fail(err, MSIM_E_ARG,
                       "searcher: max_tokens: expected 0 (all) or more, got %" PRId64,
                       o->max_tokens);
    if (o->max_vectors < 1 || o->max_vectors > 65536)
        return ms_fail(err, MSIM_E_ARG, "searcher: max_vectors: expected 1..65536, got %" PRId64,
                       o->max_vectors);
    int rc = ms_files_check_windows("searcher", o->window_tokens, o->window_step, err);
    if (rc < 0) return rc;
    if (o->likely_keys < 0 || o->likely_keys > 11)
        return ms_fail(err, MSIM_E_ARG, "searcher: likely_keys: expected 0..11, got %d",
                       o->likely_keys);
    if (o->likely_keys && (o->window_tokens || o->keep == MSIM_KEEP_EACH))
        return ms_fail(err, MSIM_E_ARG,
                       "searcher: likely_keys is for whole pieces, and not for matches in each "
                       "key: leave it 0");
    if (o->n_excluded && !o->excluded)
        return ms_fail(err, MSIM_E_ARG, "searcher: excluded is NULL, n_excluded is %zu",
                       o->n_excluded);
    return MSIM_OK;
}

/* ---- Opening ---- */

int64_t ms_searcher_fetched(const msim_searcher *s, int64_t extra) {
    return ms_variants_fetched(s->n_rows, s->n_pieces, s->set.k, extra);
}

static int copy_excluded(msim_searcher *s, msim_error *err) {
    int64_t *rows = ms_alloc(s->set.n_excluded, sizeof *rows, "excluded rows", err);
    if (rows && s->set.n_excluded) memcpy(rows, s->set.excluded, s->set.n_excluded * sizeof *rows);
    s->set.excluded = rows;
    if (!rows) return -MSIM_E_MEMORY;
    ms_variants_sort_rows(rows, &s->set.n_excluded);
    return MSIM_OK;
}

static int open_context(msim_searcher *s, const msim_options *options, msim_error *err) {
    msim_options o = msim_options_default();
    int rc = options ? ms_sized_in(&o, sizeof o, options, "options", err) : MSIM_OK;
    if (rc < 0) return rc;
    o.precision = MSIM_PRECISION_BF16; /* of a model; there is none here */
    o.max_queries = s->set.max_vectors;
    o.max_k = s->fetched;
    o.max_batch_tokens = msim_options_default().max_batch_tokens;
    o.max_batch_seqs = msim_options_default().max_batch_seqs;
    rc = msim_context_open(NULL, &o, &s->context, err);
    return rc < 0 ? rc : msim_context_load_corpus(s->context, s->corpus, err);
}

static int open_embedder(msim_searcher *s, const msim_model *model, const msim_options *options,
                         msim_error *err) {
    msim_model_info info = {.size = sizeof info};
    int rc = msim_model_get_info(model, &info);
    if (rc < 0) return ms_fail(err, -rc, "searcher: cannot describe the model");
    rc = ms_files_check_weights("searcher", s->set.class_weights, s->set.n_class_weights, &info,
                                err);
    return rc < 0 ? rc : ms_query_embedder_open(model, options, &s->embedder, err);
}

static int open_parts(msim_searcher *s, const msim_model *model, const msim_options *options,
                      msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    size_t n_hits;
    int rc = copy_excluded(s, err);
    if (rc < 0) return rc;
    if ((rc = msim_corpus_get_info(s->corpus, &info)) < 0)
        return ms_fail(err, -rc, "searcher: this corpus cannot say what it is");
    s->n_rows = info.rows;
    s->dim = info.dim;
    if ((rc = msim_corpus_whitening(s->corpus, &s->whitening, err)) < 0) return rc;
    s->n_pieces = msim_corpus_pieces(s->corpus, err);
    if (s->n_pieces < 0) return (int)s->n_pieces;
    s->has_spans = msim_corpus_has_spans(s->corpus, err) > 0 ||
                   (s->set.window_tokens && !s->set.is_pooled);
    if (model) rc = open_embedder(s, model, options, err);
    if (rc < 0) return rc;
    s->embedder.class_weights = s->set.class_weights;
    s->embedder.should_stop = s->set.should_stop;
    s->embedder.stop_user = s->set.stop_user;
    if (model && s->embedder.dim != s->dim)
        return ms_fail(err, MSIM_E_ARG,
                       "searcher: expected rows of the model's width %" PRId64 ", got %" PRId64,
                       s->embedder.dim, s->dim);
    s->fetched = s->set.has_threshold
                     ? 1
                     : ms_searcher_fetched(s, s->set.excludes_self ? MS_QUERY_EXTRA : 0);
    if (s->fetched < 1) s->fetched = 1;
    if (!ms_mul_size((size_t)s->set.max_vectors, (size_t)s->fetched, &n_hits))
        return ms_fail(err, MSIM_E_LIMIT, "searcher: max_vectors x k does not fit in memory");
    s->hit_rows = ms_alloc(n_hits, sizeof *s->hit_rows, "search results", err);
    s->hit_scores = s->hit_rows ? ms_alloc(n_hits, sizeof *s->hit_scores, "search results", err)
                                : NULL;
    if (!s->hit_scores) return -MSIM_E_MEMORY;
    if ((rc = ms_searcher_open_meaning(s, err)) < 0) return rc;
    return s->set.passes ? MSIM_OK : open_context(s, options, err);
}

int msim_searcher_open(const msim_model *model, const msim_corpus *corpus,
                       const msim_options *options, const msim_searcher_options *searcher_options,
                       msim_searcher **out, msim_error *err) {
    msim_searcher_options set;
    *out = NULL;
    int rc = read_options(searcher_options, &set, err);
    if (rc >= 0) rc = check_options(&set, err);
    if (rc < 0) return rc;
    msim_searcher *s = ms_alloc(1, sizeof *s, "searcher", err);
    if (!s) return -MSIM_E_MEMORY;
    s->corpus = corpus;
    s->set = set;
    s->stats.size = sizeof s->stats;
    rc = open_parts(s, model, options, err);
    if (rc < 0)
        msim_searcher_close(s);
    else
        *out = s;
    return rc;
}

void ms_searcher_forget(msim_searcher *s) {
    for (size_t i = 0; i < s->n_queries; i++) {
        ms_free(s->queries[i].own);
        ms_free(s->queries[i].spans);
        ms_free(s->queries[i].bars);
        ms_free(s->queries[i].ids);
    }
    s->n_queries = s->n_vectors = 0;
}

void msim_searcher_close(msim_searcher *s) {
    if (!s) return;
    ms_searcher_forget(s);
    msim_context_close(s->context);
    ms_query_embedder_close(&s->embedder);
    ms_searcher_close_meaning(s);
    ms_files_buffer_free(&s->bytes);
    ms_free((void *)s->set.excluded);
    ms_free(s->queries);
    ms_free(s->vectors);
    ms_free(s->hit_rows);
    ms_free(s->hit_scores);
    ms_free(s->hits);
    ms_free(s->matches);
    ms_free(s->match_spans);
    ms_free(s->match_bars);
    ms_free(s->found);
    ms_free(s);
}

/* ---- Queries ---- */

/* Make room for one more query of n vectors, which go to *to. */
static int reserve(msim_searcher *s, size_t n, float **to, msim_error *err) {
    int rc = ms_grow((void **)&s->queries, &s->queries_cap, s->n_queries + 1, sizeof *s->queries,
                     "queries", err);
    if (rc >= 0)
        rc = ms_grow((void **)&s->vectors, &s->vectors_cap, s->n_vectors + n,
                     (size_t)s->dim * sizeof *s->vectors, "vectors of queries", err);
    if (rc >= 0) *to = s->vectors + s->n_vectors * (size_t)s->dim;
    return rc;
}

/* Add a query whose vectors are now in place: keys, and windows of each. Returns its number. */
static int64_t append(msim_searcher *s, size_t n_keys, size_t n_windows) {
    ms_query *q = s->queries + s->n_queries;
    *q = (ms_query){.first = s->n_vectors, .n_variants = n_keys, .n_windows = n_windows};
    for (size_t i = 0; i < n_keys; i++) q->keys[i] = (int8_t)ms_variants_semitones(i, n_keys);
    s->n_vectors += n_keys * n_windows;
    return (int64_t)s->n_queries++;
}

static int check_finite(const float *vector, int64_t dim, msim_error *err) {
    for (int64_t i = 0; i < dim; i++)
        if (!isfinite(vector[i]))
            return ms_fail(err, MSIM_E_ARG,
                           "query vector: component %" PRId64 ": expected a finite number, got %g",
                           i, (double)vector[i]);
    return MSIM_OK;
}

int ms_searcher_whiten(const msim_searcher *s, float *vectors, size_t n, msim_error *err) {
    return s->whitening ? msim_whitening_apply(s->whitening, vectors, n, vectors, 1, err) : MSIM_OK;
}

static int64_t add_vector(msim_searcher *s, const float *vector, bool is_stored, msim_error *err) {
    float *to;
    int rc = check_finite(vector, s->dim, err);
    if (rc >= 0) rc = reserve(s, 1, &to, err);
    if (rc < 0) return rc;
    memcpy(to, vector, (size_t)s->dim * sizeof *to);
    if (!is_stored) rc = ms_searcher_whiten(s, to, 1, err);
    return rc < 0 ? rc : append(s, 1, 1);
}

int64_t msim_searcher_add_vector(msim_searcher *s, const float *vector, msim_error *err) {
    return add_vector(s, vector, false, err);
}

int64_t msim_searcher_add_stored(msim_searcher *s, const float *vector, msim_error *err) {
    return add_vector(s, vector, true, err);
}

/* Leave the rows of a row's piece out of a query's matches. */
static int exclude_piece(msim_searcher *s, int64_t query, int64_t row, msim_error *err) {
    int64_t piece = msim_corpus_piece_of(s->corpus, row, err),
            first = piece < 0 ? piece : msim_corpus_piece_first(s->corpus, piece, err),
            end = first < 0 ? first : msim_corpus_piece_first(s->corpus, piece + 1, err);
    if (end < 0) return (int)end;
    int64_t *rows = ms_alloc((size_t)(end - first), sizeof *rows, "rows of a piece", err);
    if (!rows) return -MSIM_E_MEMORY;
    for (int64_t i = first; i < end; i++) rows[i - first] = i;
    int rc = msim_searcher_exclude(s, query, rows, (size_t)(end - first), err);
    ms_free(rows);
    return rc;
}

int64_t msim_searcher_add_row(msim_searcher *s, int64_t row, msim_error *err) {
    float *to;
    int rc = reserve(s, 1, &to, err);
    if (rc >= 0) rc = msim_corpus_vector(s->corpus, row, to, err);
    if (rc >= 0) rc = check_finite(to, s->dim, err);
    if (rc < 0) return rc;
    int64_t query = append(s, 1, 1);
    if (!s->set.excludes_self) return query;
    rc = exclude_piece(s, query, row, err);
    if (rc >= 0) return query;
    s->n_queries--;
    s->n_vectors--;
    return rc;
}

static int check_room(const msim_searcher *s, size_t n, msim_error *err) {
    if (n <= (size_t)s->set.max_vectors) return MSIM_OK;
    return ms_fail(err, MSIM_E_LIMIT,
                   "searcher: expected queries of at most max_vectors = %" PRId64
                   " vectors, got one of %zu",
                   s->set.max_vectors, n);
}

/* A MIDI query of one vector for each key. */
static int64_t add_keys(msim_searcher *s, const void *midi, size_t n_bytes, msim_error *err) {
    float *to;
    size_t n = (size_t)msim_tokenizer_variants(s->set.transpose);
    bool is_likely = s->set.likely_keys && (size_t)s->set.likely_keys < n;
    int rc = check_room(s, n, err);
    if (rc >= 0) rc = reserve(s, n, &to, err);
    if (rc >= 0)
        rc = is_likely ? ms_query_embed_beginning(&s->embedder, midi, n_bytes, s->set.transpose,
                                                  s->set.max_tokens, to, err)
                       : ms_query_embed_keys(&s->embedder, midi, n_bytes, s->set.transpose,
                                             s->set.max_tokens, to, err);
    if (rc < 0) return rc;
    int cut = rc;
    if ((rc = ms_searcher_whiten(s, to, n, err)) < 0) return rc;
    const int64_t *starts = s->embedder.starts;
    bool is_whole = true;
    for (size_t i = 0; i < n && is_likely; i++)
        is_whole &= starts[i + 1] - starts[i] <= MS_QUERY_LIKELY_TOKENS;
    int32_t *ids = NULL;
    size_t n_ids = is_whole ? 0 : (size_t)starts[n];
    if (!is_whole && !(ids = ms_alloc(n_ids, sizeof *ids, "token ids", err))) return -MSIM_E_MEMORY;
    if (ids) memcpy(ids, s->embedder.ids, n_ids * sizeof *ids);
    int64_t query = append(s, n, 1);
    s->queries[query].ids = ids;
    memcpy(s->queries[query].starts, starts, sizeof s->queries[query].starts);
    s->stats.cut += cut;
    return query;
}

/* The piece that was cut becomes a query: its windows in every key, or their mean. */
static int64_t append_windows(msim_searcher *s, msim_error *err) {
    const ms_query_embedder *e = &s->embedder;
    const bool is_pooled = s->set.is_pooled != 0;
    size_t n_windows = is_pooled ? 1 : e->n_windows;
    float *to;
    int rc = reserve(s, e->n_keys * n_windows, &to, err);
    if (rc < 0) return rc;
    msim_span *spans = is_pooled ? NULL : ms_alloc(n_windows, sizeof *spans, "windows", err);
    msim_bar_span *bars = spans ? ms_alloc(n_windows, sizeof *bars, "windows", err) : NULL;
    if (!is_pooled && !bars) {
        ms_free(spans);
        return -MSIM_E_MEMORY;
    }
    rc = is_pooled ? ms_query_embed_pooled(&s->embedder, to, err)
                   : ms_query_embed_windows(&s->embedder, to, err);
    if (rc >= 0) rc = ms_searcher_whiten(s, to, e->n_keys * n_windows, err);
    if (rc < 0) {
        ms_free(spans);
        ms_free(bars);
        return rc;
    }
    if (spans) memcpy(spans, e->spans, n_windows * sizeof *spans);
    if (bars) memcpy(bars, e->bars, n_windows * sizeof *bars);
    int64_t query = append(s, e->n_keys, n_windows);
    s->queries[query].spans = spans;
    s->queries[query].bars = bars;
    return query;
}

static int64_t add_windows(msim_searcher *s, const void *midi, size_t n_bytes, msim_error *err) {
    int is_cut = ms_query_cut(&s->embedder, midi, n_bytes, s->set.transpose, s->set.max_tokens,
                              s->set.window_tokens, s->set.window_step, err);
    int64_t query = is_cut < 0 ? is_cut : append_windows(s, err);
    if (query >= 0) s->stats.cut += is_cut;
    return query;
}

int64_t msim_searcher_add_midi(msim_searcher *s, const void *midi, size_t n_bytes,
                               msim_error *err) {
    if (!s->embedder.model)
        return ms_fail(err, MSIM_E_ARG,
                       "searcher: a MIDI query needs a model, and this searcher has none");
    int64_t query = s->set.window_tokens ? add_windows(s, midi, n_bytes, err)
                                         : add_keys(s, midi, n_bytes, err);
    s->outcome = msim_tokenizer_outcome(s->embedder.tokenizer);
    s->stats.embed_seconds = s->embedder.seconds;
    return query;
}

int64_t msim_searcher_add_file(msim_searcher *s, const char *path, msim_error *err) {
    msim_error why = {0};
    int64_t rc = ms_query_read(path, &s->bytes, err);
    if (rc < 0) return rc;
    rc = msim_searcher_add_midi(s, s->bytes.data, s->bytes.n_bytes, &why);
    return rc < 0 ? ms_fail(err, (int)-rc, "%.200s: %s", path, why.text) : rc;
}

int msim_searcher_exclude(msim_searcher *s, int64_t query, const int64_t *rows, size_t n,
                          msim_error *err) {
    if (query < 0 || (size_t)query >= s->n_queries)
        return ms_fail(err, MSIM_E_ARG,
                       "searcher: query: expected one of the %zu that wait, got "
                       "%" PRId64,
                       s->n_queries, query);
    ms_query *q = s->queries + query;
    int rc = ms_grow((void **)&q->own, &q->own_cap, q->n_own + n, sizeof *q->own,
                     "rows left out of a query", err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++)
        if (rows[i] >= 0 && rows[i] < s->n_rows &&
            !ms_variants_has_row(s->set.excluded, s->set.n_excluded, rows[i]))
            q->own[q->n_own++] = rows[i];
    ms_variants_sort_rows(q->own, &q->n_own);
    return MSIM_OK;
}

int64_t msim_searcher_waiting(const msim_searcher *s) { return (int64_t)s->n_vectors; }
int msim_searcher_outcome(const msim_searcher *s) { return s->outcome; }

int msim_searcher_get_stats(const msim_searcher *s, msim_searcher_stats *out) {
    return ms_sized_out(out, &s->stats, sizeof s->stats);
}
