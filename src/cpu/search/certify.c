/* The certified scan. A method (cpu/search/scan.h) passes over the rows. Only rows that it cannot
 * leave out are scored in double, by the plain scan's own operations. So the results are the plain
 * scan's to the last bit; docs/SEARCH.md proves it.
 *
 * Each query keeps a threshold, which is its K-th best exact score so far, and a buffer of
 * candidates.
 *   1. A sample of blocks spread over the rows is scanned first. All its rows are candidates. The K
 *      with the best bounds are scored, which gives the first threshold.
 *   2. The other blocks are scanned. When a buffer is full, its K best candidates are scored, which
 *      raises the threshold; candidates below it are dropped.
 *   3. At the end, candidates are scored by falling bound, until the threshold passes the next
 *      bound.
 *
 * A stale threshold keeps more rows than it must, never fewer. So threads change the work, but not
 * the result. */
#include "cpu/search/state.h"
#include "search/score.h"
#include <math.h>

enum { GROUP = 32 }; /* candidates evaluated between two looks at threshold */

/* ---- Evaluation ---- */

static double score_row(ms_cpu_search *s, const ms_rows *view, const unsigned char *row, size_t q) {
    double square, dot;
    s->kernels->squares_f64(&square, row, view->row_bytes, view->dtype, 1, s->dim);
    s->kernels->dots_f64(&dot, row, view->row_bytes, view->dtype,
                         s->plan.request->queries + q * s->dim, 1, 1, s->dim);
    return ms_score(dot, square, sqrt(square), s->norms[q], s->plan.is_ip);
}

/* Ask for rows that are evaluated soon: they lie anywhere, and the first touch of each would
 * wait. */
static void prefetch_row(const ms_cpu_search *s, const ms_rows *view, const unsigned char *row) {
    size_t bytes = s->dim * ms_dtype_bytes(view->dtype);
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i);
}

/* ---- Candidates: a heap by bound while it is drained, else in no order ---- */

static void sift_down(ms_search_candidate *c, size_t n, size_t i) {
    ms_search_candidate moving = c[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && c[child + 1].bound > c[child].bound) child++;
        if (!(c[child].bound > moving.bound)) break;
        c[i] = c[child];
    }
    c[i] = moving;
}

/* Evaluate candidates of query q by falling bound: at most `most`, none that threshold has passed.
 * Those taken leave the buffer; the others stay, as a heap. The query's lock is held, or nothing
 * else runs. */
static void evaluate_best(ms_cpu_search *s, ms_search_worker *w, size_t q, size_t most) {
    ms_cpu_query *query = &s->queries[q];
    ms_search_candidate *c = query->candidates;
    size_t n = query->n_candidates;
    for (size_t i = n / 2; i-- > 0;) sift_down(c, n, i);
    while (n && most && !(c[0].bound < query->threshold)) {
        int64_t rows[GROUP];
        const ms_rows *views[GROUP];
        const unsigned char *at[GROUP];
        size_t n_group = 0;
        while (n && n_group < most && n_group < GROUP && !(c[0].bound < query->threshold)) {
            rows[n_group] = c[0].row;
            at[n_group] = ms_slices_row(&s->rows, c[0].row, &views[n_group]);
            prefetch_row(s, views[n_group], at[n_group]);
            n_group++;
            c[0] = c[--n];
            if (n) sift_down(c, n, 0);
        }
        for (size_t i = 0; i < n_group; i++)
            ms_topk_push(&query->best, (ms_hit){score_row(s, views[i], at[i], q), rows[i]});
        if (ms_topk_is_full(&query->best)) query->threshold = ms_topk_kth_score(&query->best);
        w->n_evaluated += (int64_t)n_group;
        most -= n_group;
    }
    query->n_candidates = n;
}

static void drop_failing(ms_cpu_query *query) {
    size_t n = 0;
    double threshold = query->threshold;
    for (size_t i = 0; i < query->n_candidates; i++) {
        query->candidates[n] = query->candidates[i];
        n += !(query->candidates[i].bound < threshold);
    }
    query->n_candidates = n;
}

/* Make room: at least half of the buffer is free afterwards. */
static void compact(ms_cpu_search *s, ms_search_worker *w, size_t q) {
    ms_cpu_query *query = &s->queries[q];
    evaluate_best(s, w, q, query->best.cap);
    drop_failing(query);
    if (query->n_candidates > s->candidate_cap / 2) evaluate_best(s, w, q, SIZE_MAX);
    drop_failing(query);
}

/* ---- One block ---- */

static void keep_candidates(ms_cpu_search *s, ms_search_worker *w, size_t q,
                            const ms_search_candidate *kept, size_t n) {
    ms_cpu_query *query = &s->queries[q];
    pthread_mutex_lock(&query->lock);
    if (s->candidate_cap - query->n_candidates < n) compact(s, w, q);
    for (size_t i = 0; i < n; i++) query->candidates[query->n_candidates++] = kept[i];
    pthread_mutex_unlock(&query->lock);
}

static void hand_over_hits(ms_cpu_search *s, ms_search_worker *w, size_t q,
                           const ms_search_candidate *kept, size_t n) {
    ms_hit hits[MS_SCAN_ROWS];
    size_t n_hits = 0;
    for (size_t i = 0; i < n; i++) {
        const ms_rows *view;
        const unsigned char *row = ms_slices_row(&s->rows, kept[i].row, &view);
        double score = score_row(s, view, row, q);
        if (ms_plan_is_hit(&s->plan, score)) hits[n_hits++] = (ms_hit){score, kept[i].row};
    }
    w->n_evaluated += (int64_t)n;
    if (n_hits) ms_search_hand_over(s, q, hits, n_hits);
}

/* What the scan kept of one query: rows whose bound reaches threshold, excluded ones left out. */
static size_t collect(ms_cpu_search *s, ms_search_worker *w, const ms_search_block *b, size_t q,
                      const uint16_t *indices, size_t n, ms_search_candidate *kept) {
    size_t n_kept = 0, worker = (size_t)(w - s->workers);
    const float *upper = w->upper + q * MS_SCAN_ROWS;
    for (size_t i = 0; i < n; i++) {
        int64_t at = b->start + indices[i], row = b->slice->first_row + (at - b->slice->start);
        float u = upper[indices[i]];
        double bound = isnan(u)
                           ? INFINITY
                           : s->method->bound(s->method_state, worker, b->slice->index, at, q, u);
        if (bound < w->thresholds[q] || ms_row_list_has(s->plan.excluded, row)) continue;
        kept[n_kept++] = (ms_search_candidate){bound, row};
    }
    return n_kept;
}

static void scan_block(ms_cpu_search *s, int64_t block, size_t worker) {
    ms_search_worker *w = &s->workers[worker];
    ms_search_block b = ms_search_get_block(s, block, s->method->block_rows);
    size_t n_query = s->plan.request->n_query;
    uint16_t indices[MS_SCAN_ROWS];
    ms_search_candidate kept[MS_SCAN_ROWS];
    if (ms_search_is_stopped(s, worker)) return;
    for (size_t q = 0; q < n_query; q++) {
        double threshold = atomic_load_explicit(&s->queries[q].threshold, memory_order_relaxed);
        if (w->set_for == b.slice && threshold == w->thresholds[q]) continue;
        w->thresholds[q] = threshold;
        w->upper_thresholds[q] =
            s->method->set_threshold(s->method_state, worker, b.slice->index, q, threshold);
    }
    w->set_for = b.slice;
    w->n_nonfinite +=
        s->method->block(s->method_state, worker, b.slice->index, b.start, b.n, w->upper);
    for (size_t q = 0; q < n_query; q++) {
        size_t n = s->scan_kernels->keep(indices, w->upper + q * MS_SCAN_ROWS, b.n,
                                         w->upper_thresholds[q]);
        if (n) n = collect(s, w, &b, q, indices, n, kept);
        if (n == 0) continue;
        if (s->plan.request->sink)
            hand_over_hits(s, w, q, kept, n);
        else
            keep_candidates(s, w, q, kept, n);
    }
}

/* ---- The whole pass ---- */

static void scan_sample(void *arg, int64_t item, int worker) {
    ms_cpu_search *s = arg;
    scan_block(s, ms_plan_sample_block(&s->sample, item), (size_t)worker);
}

static void scan_rest(void *arg, int64_t item, int worker) {
    ms_cpu_search *s = arg;
    scan_block(s, ms_plan_other_block(&s->sample, item), (size_t)worker);
}

static void tighten(void *arg, int64_t q, int worker) {
    ms_cpu_search *s = arg;
    if (ms_search_is_stopped(s, (size_t)worker)) return;
    evaluate_best(s, &s->workers[worker], (size_t)q, s->queries[q].best.cap);
    drop_failing(&s->queries[q]);
}

static void drain(void *arg, int64_t q, int worker) {
    ms_cpu_search *s = arg;
    if (ms_search_is_stopped(s, (size_t)worker)) return;
    evaluate_best(s, &s->workers[worker], (size_t)q, SIZE_MAX);
}

/* A threshold stays as it is, so its scan needs no sample. */
static ms_plan_blocks plan_sample(const ms_cpu_search *s, int64_t n_blocks) {
    if (s->plan.request->sink) return (ms_plan_blocks){0};
    double n_rows =
        ms_plan_sample_rows(s->rows.n_rows, s->plan.request->k, (int64_t)s->candidate_cap);
    return ms_plan_sample_blocks(n_rows, n_blocks, (int64_t)s->method->block_rows);
}

/* Rows that the codes list, all with this score: of the k best no more than k are wanted. */
static void take_listed(ms_cpu_search *s, size_t q, ms_row_list (*list)(const ms_slice *),
                        double score) {
    int is_above = s->plan.request->sink != NULL;
    size_t n_left = is_above ? SIZE_MAX : s->queries[q].best.cap;
    ms_listed_walk walk = {.slices = &s->rows, .excluded = s->plan.excluded, .list = list};
    int64_t row;
    if (is_above && !ms_plan_is_hit(&s->plan, score)) return;
    while (n_left-- && !s->is_stopped && (row = ms_listed_next(&walk)) >= 0)
        if (is_above)
            ms_search_hand_over(s, q, &(ms_hit){score, row}, 1);
        else
            ms_search_offer(s, q, &(ms_hit){score, row}, 1);
}

static void take_all_listed(ms_cpu_search *s) {
    for (size_t q = 0; q < s->plan.request->n_query; q++) {
        take_listed(s, q, ms_slice_zeros, 0.0);
        take_listed(s, q, ms_slice_nonfinite, -INFINITY);
    }
    s->workers[0].n_nonfinite += ms_slices_count_nonfinite(&s->rows);
}

void ms_certify(ms_cpu_search *s) {
    int64_t n_blocks = ms_search_count_blocks(s, s->method->block_rows),
            n_query = (int64_t)s->plan.request->n_query;
    s->method->prepare(s->method_state, &(ms_scan_queries){.queries = s->plan.request->queries,
                                                           .norms = s->norms,
                                                           .n_query = s->plan.request->n_query,
                                                           .is_ip = s->plan.is_ip});
    s->sample = plan_sample(s, n_blocks);
    if (ms_plan_reads_codes(s->plan.scan)) take_all_listed(s);
    if (s->sample.n) {
        ms_pool_run(s->pool, s->sample.n, scan_sample, s);
        ms_pool_run(s->pool, n_query, tighten, s);
    }
    ms_pool_run(s->pool, n_blocks - s->sample.n, scan_rest, s);
    if (!s->plan.request->sink) ms_pool_run(s->pool, n_query, drain, s);
}
