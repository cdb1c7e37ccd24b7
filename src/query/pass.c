/* The passes of a searcher (include/midisim.h, Searcher). A pass answers a group of queries: it
 * gets the k best rows of each vector, or all rows above the threshold, and makes each query's
 * matches from them. */
#include "query/pass.h"
#include "base/clock.h"
#include "base/mem.h"
#include "search/variants.h"
#include <stdlib.h>
#include <string.h>

static bool should_stop(const msim_searcher *s) {
    return s->set.should_stop && s->set.should_stop(s->set.stop_user) != 0;
}

/* ---- Searching, here or by the caller ---- */

static void take_stats(ms_query_pass *p) {
    msim_stats stats = {.size = sizeof stats};
    if (msim_context_stats(p->s->context, &stats) < 0) return;
    p->stats.rows_nonfinite = stats.rows_nonfinite;
    p->stats.rows_evaluated = stats.rows_evaluated;
    p->stats.scan = stats.scan;
    p->stats.device = stats.search_device;
}

int64_t ms_query_search_top(ms_query_pass *p, int64_t k, int64_t *rows, double *scores,
                            msim_error *err) {
    msim_searcher *s = p->s;
    const msim_passes *own = s->set.passes;
    double began = ms_clock_now();
    int64_t n = own ? own->top(own->user, &p->options, p->vectors, p->n_vectors, k, rows, scores,
                               &p->stats, err)
                    : msim_context_search_with(s->context, &p->options, p->vectors, p->n_vectors, k,
                                               rows, scores, err);
    if (n >= 0 && !own) take_stats(p);
    s->stats.search_seconds += ms_clock_now() - began;
    return n;
}

static int keep_hit(void *user, size_t vector, int64_t row, double score) {
    ms_query_pass *p = user;
    msim_searcher *s = p->s;
    p->is_out_of_memory = ms_grow((void **)&s->hits, &s->hits_cap, s->n_hits + 1, sizeof *s->hits,
                                  "matches", NULL) < 0;
    if (p->is_out_of_memory) return 1;
    s->hits[s->n_hits++] = (ms_query_hit){.vector = vector, .row = row, .score = score};
    return should_stop(s);
}

static int64_t search_above(ms_query_pass *p, double threshold, msim_error *err) {
    msim_searcher *s = p->s;
    const msim_passes *own = s->set.passes;
    double began = ms_clock_now();
    s->n_hits = 0;
    int64_t n = own ? own->above(own->user, &p->options, p->vectors, p->n_vectors, threshold,
                                 keep_hit, p, &p->stats, err)
                    : msim_context_search_above(s->context, &p->options, p->vectors, p->n_vectors,
                                                threshold, keep_hit, p, err);
    if (n >= 0 && !own) take_stats(p);
    s->stats.search_seconds += ms_clock_now() - began;
    return n;
}

/* ---- Answers ---- */

static int stopped(msim_error *err) {
    return ms_fail(err, MSIM_E_STOPPED, "search: stopped by the caller");
}

int ms_query_answer(ms_query_pass *p, size_t query, int64_t n, msim_error *err) {
    const ms_query *q = p->s->queries + query;
    int rc = ms_searcher_find_z(p->s, q, n, err);
    if (rc < 0) return rc;
    msim_answer a = {.size = sizeof a,
                     .query = (int64_t)query,
                     .variants = (int64_t)q->n_variants,
                     .n_vectors = (int64_t)ms_query_vectors(q),
                     .query_spans = q->spans ? p->s->match_spans : NULL,
                     .query_bars = q->spans ? p->s->match_bars : NULL,
                     .matches = p->s->matches,
                     .n_matches = n,
                     .z = p->s->cohort.n ? p->s->z : NULL,
                     .pass = &p->stats};
    p->s->stats.answered++;
    p->s->stats.matches += n;
    return p->sink(p->user, &a) == 0 ? MSIM_OK : stopped(err);
}

int ms_query_reserve_matches(msim_searcher *s, size_t n, msim_error *err) {
    return ms_grow((void **)&s->matches, &s->matches_cap, n ? n : 1, sizeof *s->matches, "matches",
                   err);
}

/* The query's matches from the n best hits of each variant, which stand `stride` apart. */
static int answer_top(ms_query_pass *p, size_t query, const int64_t *rows, const double *scores,
                      int64_t n, int64_t stride, msim_error *err) {
    msim_searcher *s = p->s;
    size_t n_variants = s->queries[query].n_variants;
    int64_t n_matches = 0;
    int rc = ms_query_reserve_matches(s, n_variants * (size_t)n, err);
    if (rc < 0) return rc;
    for (size_t v = 0; v < n_variants; v++)
        for (int64_t i = 0; i < n; i++)
            s->matches[n_matches++] = ms_variants_match(rows[(int64_t)v * stride + i],
                                                        scores[(int64_t)v * stride + i],
                                                        ms_query_semitones(s->queries + query, v));
    n_matches = ms_variants_rank(s->matches, n_matches, s->set.keep != MSIM_KEEP_BEST);
    if (n_matches > s->set.k && s->set.keep != MSIM_KEEP_EACH) n_matches = s->set.k;
    return ms_query_answer(p, query, n_matches, err);
}

/* ---- The k best ---- */

int64_t *ms_query_exclude(ms_query_pass *p, const int64_t *more, size_t n_more, msim_error *err) {
    const msim_searcher *s = p->s;
    size_t n = s->set.n_excluded;
    int64_t *rows = ms_alloc(n + n_more, sizeof *rows, "excluded rows", err);
    if (!rows) return NULL;
    if (n) memcpy(rows, s->set.excluded, n * sizeof *rows);
    if (n_more) memcpy(rows + n, more, n_more * sizeof *rows);
    n += n_more;
    ms_variants_sort_rows(rows, &n);
    p->options.excluded = rows;
    p->options.n_excluded = n;
    return rows;
}

static size_t most_extra(const msim_searcher *s) {
    return s->set.excludes_self ? MS_QUERY_EXTRA : 0;
}

/* The most own rows that a query of the pass has. */
static size_t most_own(const ms_query_pass *p) {
    size_t most = 0;
    for (size_t i = p->from; i < p->to; i++)
        if (p->s->queries[i].n_own > most) most = p->s->queries[i].n_own;
    return most;
}

static int answer_all_top(ms_query_pass *p, int64_t n, int64_t stride, bool drops_own,
                          msim_error *err) {
    msim_searcher *s = p->s;
    size_t first = s->queries[p->from].first;
    int rc = MSIM_OK;
    for (size_t i = p->from; i < p->to && rc >= 0; i++) {
        const ms_query *q = s->queries + i;
        int64_t at = (int64_t)(q->first - first) * stride,
                left = drops_own ? n - (int64_t)q->n_own : n;
        if (s->has_spans) {
            rc = ms_query_answer_pieces(p, i, s->hit_rows + at, s->hit_scores + at, n, stride,
                                        n < stride || n == s->n_rows, err);
            continue;
        }
        for (size_t v = 0; drops_own && v < q->n_variants; v++)
            ms_variants_drop(q->own, q->n_own, s->hit_rows + at + (int64_t)v * stride,
                             s->hit_scores + at + (int64_t)v * stride, n);
        rc = answer_top(p, i, s->hit_rows + at, s->hit_scores + at,
                        left < s->set.k ? left : s->set.k, stride, err);
    }
    return rc;
}

static int run_top(ms_query_pass *p, msim_error *err) {
    msim_searcher *s = p->s;
    size_t extra = most_own(p);
    int64_t *excluded = NULL;
    if (extra > most_extra(s)) {
        /* such a query comes alone */
        excluded = ms_query_exclude(p, s->queries[p->from].own, s->queries[p->from].n_own, err);
        if (!excluded) return -MSIM_E_MEMORY;
        extra = 0;
    }
    int64_t stride = ms_searcher_fetched(s, (int64_t)extra),
            n = ms_query_search_top(p, stride, s->hit_rows, s->hit_scores, err);
    ms_free(excluded);
    return n < 0 ? (int)n : answer_all_top(p, n, stride, extra > 0, err);
}

/* ---- All above the threshold ---- */

static int by_vector(const void *a, const void *b) {
    const ms_query_hit *x = a, *y = b;
    return (x->vector > y->vector) - (x->vector < y->vector);
}

static int answer_all_above(ms_query_pass *p, msim_error *err) {
    msim_searcher *s = p->s;
    size_t at = 0, first = s->queries[p->from].first;
    int rc = MSIM_OK;
    for (size_t i = p->from; i < p->to && rc >= 0; i++) {
        const ms_query *q = s->queries + i;
        size_t begin = q->first - first, end = begin + ms_query_vectors(q), from = at;
        int64_t n = 0;
        while (at < s->n_hits && s->hits[at].vector < end) at++;
        if (s->has_spans) {
            rc = ms_query_answer_pieces_above(p, i, s->hits + from, at - from, err);
            continue;
        }
        rc = ms_query_reserve_matches(s, at - from, err);
        for (size_t h = from; h < at && rc >= 0; h++)
            if (!ms_variants_has_row(q->own, q->n_own, s->hits[h].row))
                s->matches[n++] =
                    ms_variants_match(s->hits[h].row, s->hits[h].score,
                                      ms_query_semitones(q, s->hits[h].vector - begin));
        if (rc < 0) break;
        n = ms_variants_rank(s->matches, n, s->set.keep != MSIM_KEEP_BEST);
        rc = ms_query_answer(p, i, n, err);
    }
    return rc;
}

int ms_query_search_above(ms_query_pass *p, double threshold, msim_error *err) {
    msim_searcher *s = p->s;
    int64_t n = search_above(p, threshold, err);
    if (p->is_out_of_memory)
        return ms_fail(err, MSIM_E_MEMORY, "out of memory: %zu matches", s->n_hits);
    if (n < 0) return (int)n;
    if (should_stop(s)) return stopped(err); /* hits may be missing */
    if (s->n_hits) qsort(s->hits, s->n_hits, sizeof *s->hits, by_vector);
    return MSIM_OK;
}

static int run_above(ms_query_pass *p, msim_error *err) {
    int rc = ms_query_search_above(p, p->s->set.threshold, err);
    return rc < 0 ? rc : answer_all_above(p, err);
}

/* ---- Groups ---- */

/* Choose the queries of one pass: as many as have room in it. Among those that want the k best, a
 * query with many own rows gets a pass alone. */
static size_t group_end(const msim_searcher *s, size_t from) {
    const ms_query *q = s->queries;
    size_t to = from + 1, n_vectors = ms_query_vectors(q + from), extra = most_extra(s);
    bool is_top = !s->set.has_threshold;
    if (is_top && q[from].n_own > extra) return to;
    while (to < s->n_queries && !(is_top && q[to].n_own > extra) &&
           n_vectors + ms_query_vectors(q + to) <= (size_t)s->set.max_vectors)
        n_vectors += ms_query_vectors(q + to++);
    return to;
}

ms_query_pass ms_query_pass_of(msim_searcher *s, size_t from, size_t to) {
    const ms_query *first = s->queries + from, *last = s->queries + to - 1;
    ms_query_pass p = {.s = s,
                       .from = from,
                       .to = to,
                       .vectors = s->vectors + first->first * (size_t)s->dim,
                       .n_vectors = last->first + ms_query_vectors(last) - first->first,
                       .options = msim_search_options_default(),
                       .stats = {.size = sizeof p.stats}};
    p.options.metric = s->set.metric;
    p.options.scan = s->set.scan;
    p.options.should_stop = s->set.should_stop;
    p.options.stop_user = s->set.stop_user;
    p.options.excluded = s->set.excluded;
    p.options.n_excluded = s->set.n_excluded;
    return p;
}

static int run_pass(msim_searcher *s, size_t from, size_t to, msim_answer_sink sink, void *user,
                    msim_error *err) {
    ms_query_pass p = ms_query_pass_of(s, from, to);
    p.sink = sink;
    p.user = user;
    if (p.n_vectors > (size_t)s->set.max_vectors) return ms_query_answer_long(&p, from, err);
    return s->set.has_threshold ? run_above(&p, err) : run_top(&p, err);
}

int64_t msim_searcher_run(msim_searcher *s, msim_answer_sink sink, void *user, msim_error *err) {
    int64_t n = (int64_t)s->n_queries;
    int rc = s->set.likely_keys ? ms_query_choose_keys(s, err) : MSIM_OK;
    for (size_t from = 0, to; from < s->n_queries && rc >= 0; from = to) {
        to = group_end(s, from);
        rc = from && should_stop(s) ? stopped(err) : run_pass(s, from, to, sink, user, err);
    }
    ms_searcher_forget(s);
    return rc < 0 ? rc : n;
}

/* ---- One file ---- */

typedef struct {
    msim_match *matches; /* borrowed: [cap] */
    size_t cap;
    int64_t n;
} taken;

static int take(void *user, const msim_answer *a) {
    taken *t = user;
    size_t n = (size_t)a->n_matches < t->cap ? (size_t)a->n_matches : t->cap;
    if (n) memcpy(t->matches, a->matches, n * sizeof *t->matches);
    t->n = a->n_matches;
    return 0;
}

int64_t msim_searcher_file(msim_searcher *s, const char *path, msim_match *matches, size_t cap,
                           msim_error *err) {
    taken t = {.matches = matches, .cap = cap};
    if (s->n_queries)
        return ms_fail(err, MSIM_E_ARG, "searcher: %zu queries wait: answer them first",
                       s->n_queries);
    int64_t rc = msim_searcher_add_file(s, path, err);
    if (rc >= 0) rc = msim_searcher_run(s, take, &t, err);
    return rc < 0 ? rc : t.n;
}
