/* Exact search on the CPU: what is loaded, what a request asks for, and the K best of each query.
 * One pass over the rows serves all queries of a call; the pool hands out blocks of rows. The bits
 * of a score depend on row and query alone, and the order of hits is total. So neither blocks,
 * threads, kernel level nor scan change a result. Memory is allocated at open and when rows are
 * loaded; a search allocates nothing. One thread at a time. docs/SEARCH.md defines the score. */
#include "base/mem.h"
#include "cpu/search/state.h"
#include <math.h>

enum { LEAST_CANDIDATES = 4096, MOST_CANDIDATES = 1 << 20 };

static const ms_scan_method *const methods[MS_SEARCH_SCANS] = {&ms_scan_int8, &ms_scan_bf16,
                                                               &ms_scan_f32};

/* Candidates that a query holds before it evaluates the best of them: enough that K of them are a
 * good sample of the rest, and that a block's always find room. */
static size_t candidate_cap(size_t max_k) {
    size_t cap = max_k < MOST_CANDIDATES / 4 ? 4 * max_k : MOST_CANDIDATES;
    return (cap < LEAST_CANDIDATES ? LEAST_CANDIDATES : cap) + MS_SCAN_ROWS;
}

static int open_worker(ms_search_worker *w, size_t n_queries, msim_error *err) {
    size_t n_upper;
    if (!ms_mul_size(n_queries, MS_SCAN_ROWS, &n_upper))
        return ms_fail(err, MSIM_E_LIMIT,
                       "search: %zu queries do not fit in memory; set max_queries or max_k lower",
                       n_queries);
    w->dots = ms_alloc(MS_PLAIN_ROWS * MS_PLAIN_QUERIES, sizeof *w->dots, "search", err);
    if (w->dots) w->upper = ms_alloc(n_upper, sizeof *w->upper, "search", err);
    if (w->upper) w->thresholds = ms_alloc(n_queries, sizeof *w->thresholds, "search", err);
    if (w->thresholds)
        w->upper_thresholds = ms_alloc(n_queries, sizeof *w->upper_thresholds, "search", err);
    return w->upper_thresholds ? MSIM_OK : -MSIM_E_MEMORY;
}

int ms_cpu_search_open(ms_pool *pool, int isa, const msim_options *options, ms_cpu_search **out,
                       msim_error *err) {
    size_t n_hits, n_candidates;
    *out = NULL;
    const ms_cpu_kernels *kernels = ms_cpu_kernels_get(isa);
    if (!kernels)
        return ms_fail(err, MSIM_E_UNSUPPORTED, "search: msim_isa %d is not a level of this CPU",
                       isa);
    if (!ms_mul_size((size_t)options->max_queries, (size_t)options->max_k, &n_hits))
        return ms_fail(err, MSIM_E_LIMIT,
                       "search: results of max_queries x max_k, %lld x %lld, do not fit in memory",
                       (long long)options->max_queries, (long long)options->max_k);
    ms_cpu_search *s = ms_alloc(1, sizeof *s, "search", err);
    if (!s) return -MSIM_E_MEMORY;
    s->pool = pool;
    s->kernels = kernels;
    s->scan_kernels = ms_scan_kernels_get(isa);
    s->max_k = (size_t)options->max_k;
    pthread_mutex_init(&s->sink_lock, NULL);
    s->isa = isa;
    s->candidate_cap = candidate_cap(s->max_k);
    size_t n_queries = (size_t)options->max_queries, n_workers = (size_t)ms_pool_size(pool);
    s->queries = ms_alloc(n_queries, sizeof *s->queries, "search", err);
    s->norms = s->queries ? ms_alloc(n_queries, sizeof *s->norms, "search", err) : NULL;
    s->workers = s->norms ? ms_alloc(n_workers, sizeof *s->workers, "search", err) : NULL;
    int rc = s->workers ? MSIM_OK : -MSIM_E_MEMORY;
    if (rc >= 0 && !ms_mul_size(n_queries, s->candidate_cap, &n_candidates))
        rc = ms_fail(err, MSIM_E_LIMIT,
                     "search: %zu queries do not fit in memory; set max_queries or max_k lower",
                     n_queries);
    if (rc >= 0 &&
        !(s->candidates = ms_alloc(n_candidates, sizeof *s->candidates, "search candidates", err)))
        rc = -MSIM_E_MEMORY;
    for (; rc >= 0 && s->max_queries < n_queries; s->max_queries++) {
        ms_cpu_query *q = &s->queries[s->max_queries];
        pthread_mutex_init(&q->lock, NULL);
        q->candidates = s->candidates + s->max_queries * s->candidate_cap;
    }
    while (rc >= 0 && s->n_workers < n_workers)
        rc = open_worker(&s->workers[s->n_workers++], n_queries, err);
    if (rc < 0)
        ms_cpu_search_close(s);
    else
        *out = s;
    return rc;
}

/* Forget the rows. */
static void unload(ms_cpu_search *s) {
    for (size_t i = 0; i < MS_SEARCH_SCANS; i++) {
        methods[i]->close(s->states[i]);
        s->states[i] = NULL;
    }
    ms_slices_close(&s->rows);
    ms_free(s->first_block);
    s->first_block = NULL;
    s->dim = 0;
}

void ms_cpu_search_close(ms_cpu_search *s) {
    if (!s) return;
    unload(s);
    for (size_t i = 0; i < s->n_workers; i++) {
        ms_free(s->workers[i].dots);
        ms_free(s->workers[i].upper);
        ms_free(s->workers[i].thresholds);
        ms_free(s->workers[i].upper_thresholds);
    }
    for (size_t q = 0; q < s->max_queries; q++) pthread_mutex_destroy(&s->queries[q].lock);
    ms_free(s->candidates);
    ms_free(s->norms);
    pthread_mutex_destroy(&s->sink_lock);
    ms_free(s->workers);
    ms_free(s->queries);
    ms_free(s);
}

/* ---- Rows ---- */

int ms_cpu_search_load(ms_cpu_search *s, const ms_rows *views, size_t n_views, int64_t first,
                       int64_t n, msim_error *err) {
    unload(s);
    int rc = ms_slices_open(&s->rows, views, n_views, first, n, err);
    if (rc < 0) return rc;
    s->dim = (size_t)s->rows.dim;
    s->first_block = ms_alloc(n_views + 1, sizeof *s->first_block, "search", err);
    if (!s->first_block) {
        unload(s);
        return -MSIM_E_MEMORY;
    }
    ms_scan_setup setup = {.views = views,
                           .n_views = n_views,
                           .dim = s->dim,
                           .max_queries = s->max_queries,
                           .n_workers = s->n_workers,
                           .isa = s->isa,
                           .kernels = s->kernels};
    for (size_t i = 0; i < MS_SEARCH_SCANS && rc >= 0; i++)
        rc = methods[i]->open(&setup, &s->states[i], err);
    if (rc < 0) unload(s);
    return rc;
}

int64_t ms_search_count_blocks(ms_cpu_search *s, size_t block_rows) {
    int64_t n = 0, step = (int64_t)block_rows;
    for (size_t i = 0; i < s->rows.n; i++) {
        const ms_slice *p = &s->rows.slices[i];
        s->first_block[i] = n;
        n += (p->start + p->n_rows - 1) / step - p->start / step + 1;
    }
    s->first_block[s->rows.n] = n;
    return n;
}

ms_search_block ms_search_get_block(const ms_cpu_search *s, int64_t block, size_t block_rows) {
    size_t low = 0, high = s->rows.n; /* first_block[low] <= block < first_block[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->first_block[middle] <= block)
            low = middle;
        else
            high = middle;
    }
    const ms_slice *p = &s->rows.slices[low];
    int64_t step = (int64_t)block_rows,
            start = (p->start / step + block - s->first_block[low]) * step;
    int64_t end = start + step < p->start + p->n_rows ? start + step : p->start + p->n_rows;
    if (start < p->start) start = p->start;
    return (ms_search_block){.slice = p, .start = start, .n = (size_t)(end - start)};
}

/* ---- Hits ---- */

void ms_search_offer(ms_cpu_search *s, size_t q, const ms_hit *hits, size_t n) {
    ms_cpu_query *query = &s->queries[q];
    pthread_mutex_lock(&query->lock);
    for (size_t i = 0; i < n; i++) ms_topk_push(&query->best, hits[i]);
    if (ms_topk_is_full(&query->best))
        atomic_store_explicit(&query->threshold, ms_topk_kth_score(&query->best),
                              memory_order_relaxed);
    pthread_mutex_unlock(&query->lock);
}

void ms_search_hand_over(ms_cpu_search *s, size_t q, const ms_hit *hits, size_t n) {
    pthread_mutex_lock(&s->sink_lock);
    for (size_t i = 0; i < n && !s->is_stopped; i++) {
        s->n_handed++;
        if (s->plan.request->sink(s->plan.request->user, q, hits[i].row, hits[i].score))
            s->is_stopped = 1;
    }
    pthread_mutex_unlock(&s->sink_lock);
}

bool ms_search_is_stopped(ms_cpu_search *s, size_t worker) {
    if (worker == 0 && !s->is_stopped && ms_plan_should_stop(&s->plan)) {
        s->is_given_up = true;
        s->is_stopped = 1;
    }
    return s->is_stopped;
}

/* ---- Requests ---- */

/* The scans that can serve the loaded rows; all are as good for AUTO, since nothing is loaded. */
static ms_plan_backend able(const ms_cpu_search *s) {
    ms_plan_backend b = {.max_queries = s->max_queries,
                         .max_k = (int64_t)s->max_k,
                         .scans = MS_SCAN_BIT(MSIM_SCAN_F64)};
    for (size_t i = 0; i < MS_SEARCH_SCANS; i++)
        if (s->states[i]) b.scans |= MS_SCAN_BIT(methods[i]->scan);
    b.preferred = b.scans;
    return b;
}

static void set_method(ms_cpu_search *s) {
    s->method = NULL;
    for (size_t i = 0; i < MS_SEARCH_SCANS; i++) {
        if (methods[i]->scan != s->plan.scan) continue;
        s->method = methods[i];
        s->method_state = s->states[i];
    }
}

/* Take up a request. */
static int begin(ms_cpu_search *s, const ms_search_request *request, msim_error *err) {
    ms_plan_backend backend = able(s);
    int rc = ms_plan_begin(&s->plan, request, &s->rows, &backend, err);
    if (rc < 0) return rc;
    set_method(s);
    s->n_handed = 0;
    s->is_stopped = 0;
    s->is_given_up = false;
    for (size_t i = 0; i < s->n_workers; i++) {
        s->workers[i].n_nonfinite = s->workers[i].n_evaluated = 0;
        s->workers[i].set_for = NULL;
    }
    for (size_t q = 0; q < request->n_query; q++) {
        double square;
        s->kernels->squares_f64(&square, (const unsigned char *)(request->queries + q * s->dim),
                                s->dim * sizeof *request->queries, MSIM_DTYPE_F32, 1, s->dim);
        s->norms[q] = sqrt(square);
        s->queries[q].threshold = s->plan.threshold;
        s->queries[q].n_candidates = 0;
    }
    return MSIM_OK;
}

static void scan(ms_cpu_search *s) {
    if (s->method)
        ms_certify(s);
    else
        ms_pool_run(s->pool, ms_search_count_blocks(s, MS_PLAIN_ROWS), ms_plain_block, s);
}

int64_t ms_cpu_search_topk(ms_cpu_search *s, const ms_search_request *request, ms_hit *hits,
                           msim_error *err) {
    int rc = begin(s, request, err);
    if (rc < 0) return rc;
    int64_t n_hits = s->plan.n_rows < request->k ? s->plan.n_rows : request->k;
    size_t n_query = n_hits ? request->n_query : 0;
    for (size_t q = 0; q < n_query; q++)
        ms_topk_init(&s->queries[q].best, hits + q * (size_t)request->k, (size_t)n_hits);
    if (n_query) scan(s);
    for (size_t q = 0; q < n_query; q++) ms_topk_sort(&s->queries[q].best);
    ms_plan_end(&s->plan);
    if (s->is_given_up) return ms_plan_stopped(err);
    return n_hits;
}

int64_t ms_cpu_search_above(ms_cpu_search *s, const ms_search_request *request, msim_error *err) {
    int rc = begin(s, request, err);
    if (rc < 0) return rc;
    if (s->plan.n_rows && request->n_query) scan(s);
    ms_plan_end(&s->plan);
    if (s->is_given_up) return ms_plan_stopped(err);
    return s->n_handed;
}

void ms_cpu_search_outcome(const ms_cpu_search *s, ms_search_outcome *out) {
    *out = (ms_search_outcome){.scan = s->plan.scan};
    for (size_t i = 0; i < s->n_workers; i++) {
        out->rows_nonfinite += s->workers[i].n_nonfinite;
        out->rows_evaluated += s->workers[i].n_evaluated;
    }
}
