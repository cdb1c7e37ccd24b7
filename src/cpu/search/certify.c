/* The certified scan: a form (cpu/search/scan.h) passes over the rows, and only what it cannot
 * leave out is evaluated in double, by the plain scan's own operations, so that results are the
 * plain scan's to the last bit. docs/SEARCH.md proves it.
 *
 * Each query keeps theta, its K-th best exact score so far, and a buffer of candidates. A sample of
 * blocks spread over the rows is scanned first: all its rows are candidates, and the K with the
 * best bounds, evaluated, give the first theta. Then the other blocks follow; a buffer that is full
 * evaluates its K best, which raises theta, and drops what fails. At the end candidates are
 * evaluated by falling bound until theta passes the next one. A stale theta keeps more than it
 * must, never less, so threads change the work and not the result. */
#include "cpu/search/state.h"
#include <math.h>

enum {
    GROUP = 32,
    LEAST_SAMPLE = 1024
}; /* candidates evaluated between two looks at theta; rows
                                           * of the sample */

/* ---- Evaluation ---- */

static const ms_search_part *part_of(const ms_cpu_search *s, int64_t row) {
    size_t low = 0, high = s->n_parts;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->parts[middle].first_row <= row)
            low = middle;
        else
            high = middle;
    }
    return &s->parts[low];
}

static double score_row(ms_cpu_search *s, const ms_rows *view, const unsigned char *row, size_t q) {
    double square, dot;
    s->kernels->squares_f64(&square, row, view->row_bytes, view->dtype, 1, s->dim);
    s->kernels->dots_f64(&dot, row, view->row_bytes, view->dtype, s->request->queries + q * s->dim,
                         1, 1, s->dim);
    return ms_search_score(dot, square, sqrt(square), s->norms[q], s->is_ip);
}

/* Ask for rows that are evaluated soon: they lie anywhere, and the first touch of each would
 * wait. */
static void prefetch_row(const ms_cpu_search *s, const ms_rows *view, const unsigned char *row) {
    size_t bytes = s->dim * ms_dtype_bytes(view->dtype);
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i);
}

static const unsigned char *find_row(const ms_cpu_search *s, int64_t row, const ms_rows **view) {
    const ms_search_part *p = part_of(s, row);
    *view = p->view;
    return ms_rows_at(p->view, p->start + (row - p->first_row));
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

/* Evaluate candidates of query q by falling bound: at most `most`, none that theta has passed.
 * Those taken leave the buffer; the others stay, as a heap. The query's lock is held, or nothing
 * else runs. */
static void evaluate_best(ms_cpu_search *s, ms_search_worker *w, size_t q, size_t most) {
    ms_cpu_query *query = &s->queries[q];
    ms_search_candidate *c = query->candidates;
    size_t n = query->n_candidates;
    for (size_t i = n / 2; i-- > 0;) sift_down(c, n, i);
    while (n && most && !(c[0].bound < query->theta)) {
        int64_t rows[GROUP];
        const ms_rows *views[GROUP];
        const unsigned char *at[GROUP];
        size_t n_group = 0;
        while (n && n_group < most && n_group < GROUP && !(c[0].bound < query->theta)) {
            rows[n_group] = c[0].row;
            at[n_group] = find_row(s, c[0].row, &views[n_group]);
            prefetch_row(s, views[n_group], at[n_group]);
            n_group++;
            c[0] = c[--n];
            if (n) sift_down(c, n, 0);
        }
        for (size_t i = 0; i < n_group; i++)
            ms_topk_push(&query->best, (ms_hit){score_row(s, views[i], at[i], q), rows[i]});
        if (query->best.n == query->best.cap) query->theta = query->best.hits[0].score;
        w->n_evaluated += (int64_t)n_group;
        most -= n_group;
    }
    query->n_candidates = n;
}

static void drop_failing(ms_cpu_query *query) {
    size_t n = 0;
    double theta = query->theta;
    for (size_t i = 0; i < query->n_candidates; i++) {
        query->candidates[n] = query->candidates[i];
        n += !(query->candidates[i].bound < theta);
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
        const unsigned char *row = find_row(s, kept[i].row, &view);
        double score = score_row(s, view, row, q);
        if (score >= s->request->threshold && score != -INFINITY)
            hits[n_hits++] = (ms_hit){score, kept[i].row};
    }
    w->n_evaluated += (int64_t)n;
    if (n_hits) ms_search_hand_over(s, q, hits, n_hits);
}

/* What the scan kept of one query: rows whose bound reaches theta, excluded ones left out. */
static size_t collect(ms_cpu_search *s, ms_search_worker *w, const ms_search_block *b, size_t q,
                      const uint16_t *indices, size_t n, ms_search_candidate *kept) {
    size_t n_kept = 0, worker = (size_t)(w - s->workers);
    const float *upper = w->upper + q * MS_SCAN_ROWS;
    for (size_t i = 0; i < n; i++) {
        int64_t at = b->start + indices[i], row = b->part->first_row + (at - b->part->start);
        float u = upper[indices[i]];
        double bound = isnan(u) ? INFINITY
                                : s->form->bound(s->form_state, worker, b->part->index, at, q, u);
        if (bound < w->theta[q] || ms_search_is_excluded(s, row)) continue;
        kept[n_kept++] = (ms_search_candidate){bound, row};
    }
    return n_kept;
}

static void scan_block(ms_cpu_search *s, int64_t block, size_t worker) {
    ms_search_worker *w = &s->workers[worker];
    ms_search_block b = ms_search_get_block(s, block, s->form->block_rows);
    size_t n_query = s->request->n_query;
    uint16_t indices[MS_SCAN_ROWS];
    ms_search_candidate kept[MS_SCAN_ROWS];
    if (s->is_stopped) return;
    for (size_t q = 0; q < n_query; q++) {
        double theta = atomic_load_explicit(&s->queries[q].theta, memory_order_relaxed);
        if (w->aimed == b.part && theta == w->theta[q]) continue;
        w->theta[q] = theta;
        w->cut[q] = s->form->aim(s->form_state, worker, b.part->index, q, theta);
    }
    w->aimed = b.part;
    w->n_nonfinite += s->form->block(s->form_state, worker, b.part->index, b.start, b.n, w->upper);
    for (size_t q = 0; q < n_query; q++) {
        size_t n = s->scan_kernels->keep(indices, w->upper + q * MS_SCAN_ROWS, b.n, w->cut[q]);
        if (n) n = collect(s, w, &b, q, indices, n, kept);
        if (n == 0) continue;
        if (s->request->sink)
            hand_over_hits(s, w, q, kept, n);
        else
            keep_candidates(s, w, q, kept, n);
    }
}

/* ---- The whole pass ---- */

static void scan_sample(void *arg, int64_t item, int worker) {
    ms_cpu_search *s = arg;
    scan_block(s, item * s->sample_stride, (size_t)worker);
}

static void scan_rest(void *arg, int64_t item, int worker) {
    ms_cpu_search *s = arg;
    int64_t between = s->sample_stride - 1; /* blocks from one of the sample to the next */
    if (s->n_samples && item < s->n_samples * between)
        item = item / between * s->sample_stride + 1 + item % between;
    else
        item += s->n_samples;
    scan_block(s, item, (size_t)worker);
}

static void tighten(void *arg, int64_t q, int worker) {
    ms_cpu_search *s = arg;
    evaluate_best(s, &s->workers[worker], (size_t)q, s->queries[q].best.cap);
    drop_failing(&s->queries[q]);
}

static void drain(void *arg, int64_t q, int worker) {
    ms_cpu_search *s = arg;
    evaluate_best(s, &s->workers[worker], (size_t)q, SIZE_MAX);
}

/* Blocks of the sample: sqrt(rows x K) rows leave about as many candidates after it as in it. */
static void plan_sample(ms_cpu_search *s, int64_t n_blocks) {
    int64_t block_rows = (int64_t)s->form->block_rows, k = s->request->k;
    double rows = sqrt((double)s->n_rows * (double)k);
    if (rows < LEAST_SAMPLE) rows = LEAST_SAMPLE;
    if (rows < 2.0 * (double)k) rows = 2.0 * (double)k;
    if (rows > (double)s->candidate_cap) rows = (double)s->candidate_cap;
    s->n_samples = (int64_t)rows / block_rows;
    s->sample_stride = s->n_samples ? n_blocks / s->n_samples : 0;
    if (s->sample_stride < 2 || s->request->sink) s->n_samples = 0;
}

/* Rows of a part whose score the form knows: `n` numbers within the view, ascending. */
static void take_known(ms_cpu_search *s, const ms_search_part *p, const int64_t *rows, size_t n,
                       double score) {
    for (size_t q = 0; q < s->request->n_query; q++) {
        /* more of one score are no results */
        size_t n_left = s->request->sink ? SIZE_MAX : s->queries[q].best.cap;
        if (s->request->sink && (score == -INFINITY || !(score >= s->request->threshold))) continue;
        for (size_t i = 0; i < n && n_left && !s->is_stopped; i++) {
            int64_t row = p->first_row + (rows[i] - p->start);
            if (rows[i] < p->start || rows[i] >= p->start + p->n_rows ||
                ms_search_is_excluded(s, row))
                continue;
            n_left--;
            if (s->request->sink)
                ms_search_hand_over(s, q, &(ms_hit){score, row}, 1);
            else
                ms_search_offer(s, q, &(ms_hit){score, row}, 1);
        }
    }
}

static void take_all_known(ms_cpu_search *s) {
    for (size_t i = 0; i < s->n_parts && s->form->known; i++) {
        const ms_search_part *p = &s->parts[i];
        ms_scan_known known;
        s->form->known(s->form_state, p->index, &known);
        take_known(s, p, known.zeros, known.n_zeros, 0.0);
        take_known(s, p, known.nonfinite, known.n_nonfinite, -INFINITY);
        for (size_t j = 0; j < known.n_nonfinite; j++)
            s->workers[0].n_nonfinite += known.nonfinite[j] >= p->start &&
                                         known.nonfinite[j] < p->start + p->n_rows;
    }
}

void ms_certify(ms_cpu_search *s) {
    int64_t n_blocks = ms_search_cut(s, s->form->block_rows),
            n_query = (int64_t)s->request->n_query;
    s->form->prepare(s->form_state, &(ms_scan_queries){.queries = s->request->queries,
                                                       .norms = s->norms,
                                                       .n_query = s->request->n_query,
                                                       .is_ip = s->is_ip});
    plan_sample(s, n_blocks);
    take_all_known(s);
    if (s->n_samples) {
        ms_pool_run(s->pool, s->n_samples, scan_sample, s);
        ms_pool_run(s->pool, n_query, tighten, s);
    }
    ms_pool_run(s->pool, n_blocks - s->n_samples, scan_rest, s);
    if (!s->request->sink) ms_pool_run(s->pool, n_query, drain, s);
}
