/* Answers in corpora whose pieces have several rows: the k best pieces, each by its best row. See
 * query/pass.h.
 *
 * A pass gives the best rows of each vector. All other rows rank behind the last row that it gave.
 * So a piece has its true place as long as it ranks before the last row of every vector, and
 * mostly k pieces do.
 *
 * When many rows of one piece fill the lists, fewer do. Then the pass is repeated without the
 * pieces that are known, until k pieces are known. The score of the last of them is a bound: the k
 * best pieces have rows that reach it. A last pass for all rows that reach the bound gives the
 * answer. */
#include "query/pass.h"
#include "base/mem.h"
#include <math.h>
#include <string.h>

/* Vectors first .. first + n - 1 of a query, the best k of which are wanted. */
typedef struct {
    ms_query_pass *p;
    const ms_query *query;
    size_t first, n;
    int64_t k;
    bool keeps_keys;
    size_t begin; /* of its pieces in the searcher's list */
} piece_search;

static int add_hit(piece_search *x, size_t vector, int64_t row, double score, msim_error *err) {
    msim_searcher *s = x->p->s;
    if (ms_variants_has_row(x->query->own, x->query->n_own, row)) return MSIM_OK;
    int64_t piece = msim_corpus_piece_of(s->corpus, row, err);
    if (piece < 0) return (int)piece;
    int rc = ms_grow((void **)&s->found, &s->found_cap, s->n_found + 1, sizeof *s->found, "matches",
                     err);
    if (rc < 0) return rc;
    size_t at = x->first + vector;
    s->found[s->n_found++] =
        (ms_piece_match){.piece = piece,
                         .window = (int64_t)(at % x->query->n_windows),
                         .match = ms_variants_match(row, score, ms_query_semitones(x->query, at))};
    return MSIM_OK;
}

/* The best of each piece alone stays. */
static void rank(piece_search *x) {
    msim_searcher *s = x->p->s;
    s->n_found = x->begin + (size_t)ms_variants_rank_pieces(s->found + x->begin,
                                                            (int64_t)(s->n_found - x->begin),
                                                            x->keeps_keys);
}

static int add_top(piece_search *x, const int64_t *rows, const double *scores, int64_t n,
                   int64_t stride, msim_error *err) {
    int rc = MSIM_OK;
    for (size_t v = 0; v < x->n && rc >= 0; v++)
        for (int64_t i = 0; i < n && rc >= 0; i++)
            rc = add_hit(x, v, rows[(int64_t)v * stride + i], scores[(int64_t)v * stride + i], err);
    rank(x);
    return rc;
}

static int64_t n_known(const piece_search *x) { return (int64_t)(x->p->s->n_found - x->begin); }

/* True when k pieces rank before the last row of every vector. */
static bool is_certain(const piece_search *x, const int64_t *rows, const double *scores, int64_t n,
                       int64_t stride) {
    if (n == 0 || n_known(x) < x->k) return false;
    const msim_match *worst = &x->p->s->found[x->begin + (size_t)x->k - 1].match;
    for (size_t v = 0; v < x->n; v++) {
        int64_t last = (int64_t)v * stride + n - 1;
        msim_match end =
            ms_variants_match(rows[last], scores[last], ms_query_semitones(x->query, x->first + v));
        if (!ms_variants_is_before(worst, &end)) return false;
    }
    return true;
}

/* ---- More passes ---- */

/* The query's own rows and the rows of all known pieces, one list after the other: *rows [*n], to
 * be freed with ms_free. */
static int known_rows(const piece_search *x, int64_t **rows, size_t *n, msim_error *err) {
    const msim_searcher *s = x->p->s;
    const ms_query *q = x->query;
    size_t cap = 0;
    *rows = NULL;
    *n = q->n_own;
    int rc = ms_grow((void **)rows, &cap, *n + 1, sizeof **rows, "excluded rows", err);
    if (rc >= 0 && *n) memcpy(*rows, q->own, *n * sizeof **rows);
    for (size_t i = x->begin; i < s->n_found && rc >= 0; i++) {
        int64_t at = msim_corpus_piece_first(s->corpus, s->found[i].piece, err),
                end = at < 0 ? at : msim_corpus_piece_first(s->corpus, s->found[i].piece + 1, err);
        if (end < 0) return (int)end;
        rc = ms_grow((void **)rows, &cap, *n + (size_t)(end - at), sizeof **rows, "excluded rows",
                     err);
        for (; at < end && rc >= 0; at++) (*rows)[(*n)++] = at;
    }
    return rc;
}

/* A pass for the search's vectors alone, without some rows: *excluded, to be freed with ms_free
 * after it. */
static int begin_pass(const piece_search *x, const int64_t *rows, size_t n, ms_query_pass *out,
                      int64_t **excluded, msim_error *err) {
    const msim_searcher *s = x->p->s;
    *out = *x->p;
    out->vectors = s->vectors + (x->query->first + x->first) * (size_t)s->dim;
    out->n_vectors = x->n;
    *excluded = ms_query_exclude(out, rows, n, err);
    return *excluded ? MSIM_OK : -MSIM_E_MEMORY;
}

/* The numbers of a further pass belong to the answer too. */
static void end_pass(const piece_search *x, const ms_query_pass *more, int64_t *excluded) {
    x->p->stats.rows_evaluated += more->stats.rows_evaluated;
    ms_free(excluded);
}

/* Fetch the best rows without the known pieces. Returns 1, or 0 when there are no more. */
static int fetch_more(piece_search *x, int64_t stride, int64_t *rows, double *scores,
                      msim_error *err) {
    int64_t *known, *excluded = NULL, n = 0;
    size_t n_excluded;
    ms_query_pass more;
    int rc = known_rows(x, &known, &n_excluded, err);
    if (rc >= 0) rc = begin_pass(x, known, n_excluded, &more, &excluded, err);
    ms_free(known);
    if (rc < 0) return rc;
    n = ms_query_search_top(&more, stride, rows, scores, err);
    end_pass(x, &more, excluded);
    if (n < 0) return (int)n;
    rc = add_top(x, rows, scores, n, stride, err);
    return rc < 0 ? rc : n == stride;
}

/* Until k pieces are known. */
static int find_pieces(piece_search *x, int64_t stride, msim_error *err) {
    int64_t *rows = ms_alloc(x->n, (size_t)stride * sizeof *rows, "search results", err);
    double *scores = rows ? ms_alloc(x->n, (size_t)stride * sizeof *scores, "search results", err)
                          : NULL;
    int rc = scores ? 1 : -MSIM_E_MEMORY;
    while (rc == 1 && n_known(x) < x->k) rc = fetch_more(x, stride, rows, scores, err);
    ms_free(rows);
    ms_free(scores);
    return rc < 0 ? rc : MSIM_OK;
}

/* Fetch all rows that reach the score of the last of the k best known pieces. */
static int complete(piece_search *x, msim_error *err) {
    msim_searcher *s = x->p->s;
    int64_t n = n_known(x), *excluded;
    ms_query_pass more;
    double bound = n == 0 ? -INFINITY
                          : s->found[x->begin + (size_t)(n < x->k ? n : x->k) - 1].match.score;
    int rc = begin_pass(x, x->query->own, x->query->n_own, &more, &excluded, err);
    if (rc < 0) return rc;
    rc = ms_query_search_above(&more, bound, err);
    end_pass(x, &more, excluded);
    for (size_t i = 0; i < s->n_hits && rc >= 0; i++)
        rc = add_hit(x, s->hits[i].vector, s->hits[i].row, s->hits[i].score, err);
    rank(x);
    return rc;
}

/* The k best pieces of the search's vectors behind those in the searcher's list. */
static int find(piece_search *x, const int64_t *rows, const double *scores, int64_t n,
                int64_t stride, bool is_all, msim_error *err) {
    msim_searcher *s = x->p->s;
    x->begin = s->n_found;
    int rc = add_top(x, rows, scores, n, stride, err);
    if (rc >= 0 && !is_all && !is_certain(x, rows, scores, n, stride)) {
        rc = find_pieces(x, stride, err);
        if (rc >= 0) rc = complete(x, err);
    }
    if (n_known(x) > x->k) s->n_found = x->begin + (size_t)x->k;
    return rc;
}

/* ---- Answers ---- */

/* The pieces that were found, as matches with their spans. */
static int answer(ms_query_pass *p, size_t query, msim_error *err) {
    msim_searcher *s = p->s;
    const msim_span *spans = s->queries[query].spans;
    const msim_bar_span *bars = s->queries[query].bars;
    msim_span span;
    int rc = ms_query_reserve_matches(s, s->n_found, err);
    if (rc >= 0 && spans)
        rc = ms_grow((void **)&s->match_spans, &s->match_spans_cap, s->n_found + 1,
                     sizeof *s->match_spans, "matches", err);
    if (rc >= 0 && spans)
        rc = ms_grow((void **)&s->match_bars, &s->match_bars_cap, s->n_found + 1,
                     sizeof *s->match_bars, "matches", err);
    for (size_t i = 0; i < s->n_found && rc >= 0; i++) {
        msim_match *m = s->matches + i;
        *m = s->found[i].match;
        rc = msim_corpus_span(s->corpus, m->row, &span, err);
        if (rc < 0) break;
        m->from_seconds = span.from_seconds;
        m->to_seconds = span.to_seconds;
        m->from_token = span.from_token;
        m->to_token = span.to_token;
        if (spans) s->match_spans[i] = spans[s->found[i].window];
        if (spans) s->match_bars[i] = bars[s->found[i].window];
    }
    return rc < 0 ? rc : ms_query_answer(p, query, (int64_t)s->n_found, err);
}

static void rank_found(msim_searcher *s, bool keeps_keys) {
    s->n_found = (size_t)ms_variants_rank_pieces(s->found, (int64_t)s->n_found, keeps_keys);
}

static piece_search search_of(ms_query_pass *p, size_t query) {
    const msim_searcher *s = p->s;
    return (piece_search){.p = p,
                          .query = s->queries + query,
                          .n = ms_query_vectors(s->queries + query),
                          .k = s->set.k,
                          .keeps_keys = s->set.keep != MSIM_KEEP_BEST};
}

/* Vectors of which the k best pieces are wanted together: those of one key, or all. */
static size_t vectors_together(const msim_searcher *s, const ms_query *q) {
    return s->set.keep == MSIM_KEEP_EACH ? q->n_windows : ms_query_vectors(q);
}

int ms_query_answer_pieces(ms_query_pass *p, size_t query, const int64_t *rows,
                           const double *scores, int64_t n, int64_t stride, bool is_all,
                           msim_error *err) {
    msim_searcher *s = p->s;
    piece_search x = search_of(p, query);
    int rc = MSIM_OK;
    s->n_found = 0;
    x.n = vectors_together(s, x.query);
    for (; x.first < ms_query_vectors(x.query) && rc >= 0; x.first += x.n)
        rc = find(&x, rows + (int64_t)x.first * stride, scores + (int64_t)x.first * stride, n,
                  stride, is_all, err);
    rank_found(s, x.keeps_keys);
    return rc < 0 ? rc : answer(p, query, err);
}

int ms_query_answer_pieces_above(ms_query_pass *p, size_t query, const ms_query_hit *hits, size_t n,
                                 msim_error *err) {
    msim_searcher *s = p->s;
    piece_search x = search_of(p, query);
    size_t begin = x.query->first - s->queries[p->from].first;
    int rc = MSIM_OK;
    s->n_found = 0;
    for (size_t i = 0; i < n && rc >= 0; i++)
        rc = add_hit(&x, hits[i].vector - begin, hits[i].row, hits[i].score, err);
    rank_found(s, x.keeps_keys);
    return rc < 0 ? rc : answer(p, query, err);
}

/* ---- Long queries ---- */

/* Search some vectors of a long query: as many at a time as a pass has room for. */
static int find_some(piece_search *x, msim_error *err) {
    msim_searcher *s = x->p->s;
    int64_t *excluded = NULL, stride = ms_searcher_fetched(s, 0), n;
    ms_query_pass part;
    int rc = begin_pass(x, x->query->own, x->query->n_own, &part, &excluded, err);
    if (rc < 0) return rc;
    if (s->set.has_threshold) {
        rc = ms_query_search_above(&part, s->set.threshold, err);
        for (size_t i = 0; i < s->n_hits && rc >= 0; i++)
            rc = add_hit(x, s->hits[i].vector, s->hits[i].row, s->hits[i].score, err);
    } else {
        n = ms_query_search_top(&part, stride, s->hit_rows, s->hit_scores, err);
        rc = n < 0 ? (int)n
                   : find(x, s->hit_rows, s->hit_scores, n, stride, n < stride || n == s->n_rows,
                          err);
    }
    int64_t evaluated = x->p->stats.rows_evaluated;
    x->p->stats = part.stats;
    x->p->stats.rows_evaluated = evaluated;
    end_pass(x, &part, excluded);
    return rc;
}

/* The k best pieces of vectors first .. end - 1 are among the k best of each of their parts. */
static int find_together(piece_search *x, size_t first, size_t end, msim_error *err) {
    msim_searcher *s = x->p->s;
    size_t begin = s->n_found, most = (size_t)s->set.max_vectors;
    int rc = MSIM_OK;
    for (x->first = first; x->first < end && rc >= 0; x->first += x->n) {
        x->n = end - x->first < most ? end - x->first : most;
        rc = find_some(x, err);
    }
    x->begin = begin;
    rank(x);
    if (!s->set.has_threshold && n_known(x) > x->k) s->n_found = begin + (size_t)x->k;
    return rc;
}

int ms_query_answer_long(ms_query_pass *p, size_t query, msim_error *err) {
    msim_searcher *s = p->s;
    piece_search x = search_of(p, query);
    size_t n = vectors_together(s, x.query), all = ms_query_vectors(x.query);
    int rc = MSIM_OK;
    s->n_found = 0;
    for (size_t first = 0; first < all && rc >= 0; first += n)
        rc = find_together(&x, first, first + n, err);
    rank_found(s, x.keeps_keys);
    return rc < 0 ? rc : answer(p, query, err);
}
