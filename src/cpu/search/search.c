/* Exact search on the CPU: what is loaded, what a request asks for, and the K best of each query.
 * One pass over the rows serves all queries of a call; the pool hands out blocks of rows. A score's
 * bits depend on row and query alone and the order of hits is total, so neither blocks nor threads
 * nor kernel level nor form of scan change a result. Scratch is sized when opened and, for the
 * width of the rows, when they are loaded; a search allocates nothing. One thread at a time.
 * docs/SEARCH.md defines the score. */
#include "base/mem.h"
#include "cpu/search/state.h"
#include <math.h>

enum { LEAST_CANDIDATES = 4096, MOST_CANDIDATES = 1 << 20, SMALL_ROWS = 2048 };

static const ms_scan_method *const forms[MS_SEARCH_SCANS] = {&ms_scan_int8, &ms_scan_bf16,
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
        return ms_fail(err, MSIM_E_LIMIT, "search: expected queries that fit in memory, got %zu",
                       n_queries);
    w->dots = ms_alloc(MS_PLAIN_ROWS * MS_PLAIN_QUERIES, sizeof *w->dots, "search", err);
    if (w->dots) w->upper = ms_alloc(n_upper, sizeof *w->upper, "search", err);
    if (w->upper) w->theta = ms_alloc(n_queries, sizeof *w->theta, "search", err);
    if (w->theta) w->cut = ms_alloc(n_queries, sizeof *w->cut, "search", err);
    return w->cut ? MSIM_OK : -MSIM_E_MEMORY;
}

int ms_cpu_search_open(ms_pool *pool, int isa, const msim_options *options, ms_cpu_search **out,
                       msim_error *err) {
    size_t n_hits, n_candidates;
    *out = NULL;
    const ms_cpu_kernels *kernels = ms_cpu_kernels_get(isa);
    if (!kernels)
        return ms_fail(err, MSIM_E_UNSUPPORTED, "search: expected a level of this CPU, got %d",
                       isa);
    if (!ms_mul_size((size_t)options->max_queries, (size_t)options->max_k, &n_hits))
        return ms_fail(err, MSIM_E_LIMIT,
                       "search: expected max_queries x max_k that fits in memory, got %lld x %lld",
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
        rc = ms_fail(err, MSIM_E_LIMIT, "search: expected queries that fit in memory, got %zu",
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
        forms[i]->close(s->states[i]);
        s->states[i] = NULL;
    }
    ms_free(s->parts);
    ms_free(s->first_block);
    s->parts = NULL;
    s->first_block = NULL;
    s->n_parts = 0;
    s->n_rows = 0;
    s->dim = 0;
}

void ms_cpu_search_close(ms_cpu_search *s) {
    if (!s) return;
    unload(s);
    for (size_t i = 0; i < s->n_workers; i++) {
        ms_free(s->workers[i].dots);
        ms_free(s->workers[i].upper);
        ms_free(s->workers[i].theta);
        ms_free(s->workers[i].cut);
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
    int64_t row = 0;
    unload(s);
    for (size_t i = 0; i < n_views; i++) {
        if (views[i].dim != views[0].dim)
            return ms_fail(err, MSIM_E_ARG,
                           "corpus part %zu: expected rows of width %lld, got %lld", i,
                           (long long)views[0].dim, (long long)views[i].dim);
        if (__builtin_add_overflow(row, views[i].n_rows, &row))
            return ms_fail(err, MSIM_E_LIMIT, "corpus: expected fewer than 2^63 rows, got more");
    }
    s->parts = ms_alloc(n_views, sizeof *s->parts, "search", err);
    s->first_block = s->parts ? ms_alloc(n_views + 1, sizeof *s->first_block, "search", err) : NULL;
    if (!s->first_block) {
        unload(s);
        return -MSIM_E_MEMORY;
    }
    row = 0;
    for (size_t i = 0; i < n_views; row += views[i++].n_rows) {
        int64_t start = first > row ? first - row : 0, end = views[i].n_rows;
        if (first + n < row + end) end = first + n - row;
        if (start < end)
            s->parts[s->n_parts++] = (ms_search_part){.view = &views[i],
                                                      .start = start,
                                                      .n_rows = end - start,
                                                      .first_row = row + start,
                                                      .index = i};
    }
    s->n_rows = n;
    s->dim = n_views ? (size_t)views[0].dim : 0;
    int rc = MSIM_OK;
    ms_scan_setup setup = {.views = views,
                           .n_views = n_views,
                           .dim = s->dim,
                           .max_queries = s->max_queries,
                           .n_workers = s->n_workers,
                           .isa = s->isa,
                           .kernels = s->kernels};
    for (size_t i = 0; i < MS_SEARCH_SCANS && rc >= 0; i++)
        rc = forms[i]->open(&setup, &s->states[i], err);
    if (rc < 0) unload(s);
    return rc;
}

int64_t ms_search_cut(ms_cpu_search *s, size_t block_rows) {
    int64_t n = 0, step = (int64_t)block_rows;
    for (size_t i = 0; i < s->n_parts; i++) {
        const ms_search_part *p = &s->parts[i];
        s->first_block[i] = n;
        n += (p->start + p->n_rows - 1) / step - p->start / step + 1;
    }
    s->first_block[s->n_parts] = n;
    return n;
}

ms_search_block ms_search_get_block(const ms_cpu_search *s, int64_t block, size_t block_rows) {
    size_t low = 0, high = s->n_parts; /* first_block[low] <= block < first_block[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->first_block[middle] <= block)
            low = middle;
        else
            high = middle;
    }
    const ms_search_part *p = &s->parts[low];
    int64_t step = (int64_t)block_rows,
            start = (p->start / step + block - s->first_block[low]) * step;
    int64_t end = start + step < p->start + p->n_rows ? start + step : p->start + p->n_rows;
    if (start < p->start) start = p->start;
    return (ms_search_block){.part = p, .start = start, .n = (size_t)(end - start)};
}

/* ---- Hits ---- */

int ms_search_is_excluded(const ms_cpu_search *s, int64_t row) {
    if (s->n_excluded == 0) return 0;
    size_t i = ms_rows_lower_bound(s->excluded, s->n_excluded, row);
    return i < s->n_excluded && s->excluded[i] == row;
}

double ms_search_score(double dot, double row_square, double row_norm, double query_norm,
                       int is_ip) {
    if (!isfinite(row_square)) return -INFINITY;
    if (is_ip) return dot + 0.0; /* the addition makes -0 the 0 it equals */
    if (row_square == 0.0 || query_norm == 0.0) return 0.0;
    return dot / (query_norm * row_norm) + 0.0;
}

void ms_search_offer(ms_cpu_search *s, size_t q, const ms_hit *hits, size_t n) {
    ms_cpu_query *query = &s->queries[q];
    pthread_mutex_lock(&query->lock);
    for (size_t i = 0; i < n; i++) ms_topk_push(&query->best, hits[i]);
    if (query->best.n == query->best.cap)
        atomic_store_explicit(&query->theta, query->best.hits[0].score, memory_order_relaxed);
    pthread_mutex_unlock(&query->lock);
}

void ms_search_hand_over(ms_cpu_search *s, size_t q, const ms_hit *hits, size_t n) {
    pthread_mutex_lock(&s->sink_lock);
    for (size_t i = 0; i < n && !s->is_stopped; i++) {
        s->n_handed++;
        if (s->request->sink(s->request->user, q, hits[i].row, hits[i].score)) s->is_stopped = 1;
    }
    pthread_mutex_unlock(&s->sink_lock);
}

/* ---- Requests ---- */

/* The form of scan for a request. A form's reading saves nothing where most rows are results, or
 * where there are few. */
static int choose_form(ms_cpu_search *s, const ms_search_request *request, msim_error *err) {
    int wanted = request->options->scan,
        is_small = s->n_rows < SMALL_ROWS || request->k > s->n_rows / 8;
    s->form = NULL;
    for (size_t i = 0; i < MS_SEARCH_SCANS; i++) {
        int fits = wanted == forms[i]->scan || (wanted == MSIM_SCAN_AUTO && !is_small);
        if (s->form || !s->states[i] || !fits) continue;
        if (request->options->metric == MSIM_METRIC_IP && forms[i]->scan != MSIM_SCAN_F32) continue;
        s->form = forms[i];
        s->form_state = s->states[i];
    }
    if (!s->form && (wanted == MSIM_SCAN_BF16 || wanted == MSIM_SCAN_INT8))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "search: scan: expected a copy of the rows to be attached for %s, got none",
                       msim_scan_name(wanted));
    s->scan = s->form ? s->form->scan : MSIM_SCAN_F64;
    return MSIM_OK;
}

/* Take up a request; *n_candidates: loaded rows that are not excluded. */
static int begin(ms_cpu_search *s, const ms_search_request *request, int64_t *n_candidates,
                 msim_error *err) {
    const msim_search_options *o = request->options;
    if (request->n_query > s->max_queries || request->k < 0 || (size_t)request->k > s->max_k)
        return ms_fail(err, MSIM_E_LIMIT,
                       "search: expected at most %zu queries and k %zu, got %zu and %lld",
                       s->max_queries, s->max_k, request->n_query, (long long)request->k);
    int rc = choose_form(s, request, err);
    if (rc < 0) return rc;
    s->request = request;
    s->is_ip = o->metric == MSIM_METRIC_IP;
    s->excluded = o->excluded;
    s->n_excluded = 0;
    if (o->n_excluded && s->n_parts) {
        int64_t first = s->parts[0].first_row;
        size_t from = ms_rows_lower_bound(o->excluded, o->n_excluded, first);
        s->excluded += from;
        s->n_excluded = ms_rows_lower_bound(o->excluded, o->n_excluded, first + s->n_rows) - from;
    }
    *n_candidates = s->n_rows - (int64_t)s->n_excluded;
    s->n_handed = 0;
    s->is_stopped = 0;
    for (size_t i = 0; i < s->n_workers; i++) {
        s->workers[i].n_nonfinite = s->workers[i].n_evaluated = 0;
        s->workers[i].aimed = NULL;
    }
    for (size_t q = 0; q < request->n_query; q++) {
        double square;
        s->kernels->squares_f64(&square, (const unsigned char *)(request->queries + q * s->dim),
                                s->dim * sizeof *request->queries, MSIM_DTYPE_F32, 1, s->dim);
        s->norms[q] = sqrt(square);
        s->queries[q].theta = request->sink ? request->threshold : -INFINITY;
        s->queries[q].n_candidates = 0;
    }
    return MSIM_OK;
}

static void scan(ms_cpu_search *s) {
    if (s->form)
        ms_certify(s);
    else
        ms_pool_run(s->pool, ms_search_cut(s, MS_PLAIN_ROWS), ms_plain_block, s);
    s->request = NULL;
    s->excluded = NULL;
}

int64_t ms_cpu_search_topk(ms_cpu_search *s, const ms_search_request *request, ms_hit *hits,
                           msim_error *err) {
    int64_t n_hits;
    int rc = begin(s, request, &n_hits, err);
    if (rc < 0) return rc;
    if (n_hits > request->k) n_hits = request->k;
    if (n_hits == 0 || request->n_query == 0) return n_hits;
    for (size_t q = 0; q < request->n_query; q++)
        ms_topk_init(&s->queries[q].best, hits + q * (size_t)request->k, (size_t)n_hits);
    scan(s);
    for (size_t q = 0; q < request->n_query; q++) ms_topk_sort(&s->queries[q].best);
    return n_hits;
}

int64_t ms_cpu_search_above(ms_cpu_search *s, const ms_search_request *request, msim_error *err) {
    int64_t n_candidates;
    int rc = begin(s, request, &n_candidates, err);
    if (rc < 0) return rc;
    if (n_candidates && request->n_query) scan(s);
    return s->n_handed;
}

void ms_cpu_search_outcome(const ms_cpu_search *s, ms_search_outcome *out) {
    *out = (ms_search_outcome){.scan = s->scan};
    for (size_t i = 0; i < s->n_workers; i++) {
        out->rows_nonfinite += s->workers[i].n_nonfinite;
        out->rows_evaluated += s->workers[i].n_evaluated;
    }
}
