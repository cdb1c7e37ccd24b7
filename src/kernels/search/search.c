/* Exact search on a CUDA device: what is loaded, what a request asks for, and the answer put
 * together. kernels/search/rounds.c does the work for queries in groups of 64,
 * kernels/search/rows.c keeps the rows. What the device need not see is done here: a query of zeros
 * (every score is 0, so the lowest rows are its results), rows of zeros and rows with NaN or
 * infinity, whose scores are known. Working memory is taken by load; a search allocates nothing.
 * One thread at a time. docs/SEARCH.md defines scores and order, docs/GPU.md how they come about
 * here. */
#include "base/mem.h"
#include "kernels/search/state.h"
#include <math.h>
#include <string.h>

enum { ALIGN = 256, EXCLUDED_CAP = 65536, SLOT_BYTES = 64 << 20, LEAST_CAP = 2 * MS_GPU_SCAN_TILE };

int ms_gpu_search_open(ms_gpu_stream *stream, const msim_options *options, ms_gpu_search **out,
                       msim_error *err) {
    *out = NULL;
    ms_gpu_search *s = ms_alloc(1, sizeof *s, "search", err);
    if (!s) return -MSIM_E_MEMORY;
    s->stream = stream;
    s->max_queries = options->max_queries;
    s->max_k = options->max_k;
    s->threads = options->threads;
    int rc = ms_gpu_stream_open(ms_gpu_stream_device(stream), &s->copies, err);
    for (int i = 0; i < MS_GPU_BUFFERS && rc >= 0; i++)
        rc = ms_gpu_event_open(stream, &s->uploaded[i], err);
    if (rc < 0)
        ms_gpu_search_close(s);
    else
        *out = s;
    return rc;
}

static void unload(ms_gpu_search *s) {
    if (s->copies)
        (void)ms_gpu_sync(s->copies, NULL); /* after a failure something may be under
                                                        * way */
    ms_gpu_rows_unload(s);
    ms_gpu_free(s->stream, s->device_work);
    ms_gpu_host_free(s->stream, s->host_work);
    s->device_work = s->host_work = NULL;
    s->sample.n_wanted = 0;
    for (size_t i = 0; i < MS_GPU_SLOTS; i++) s->slot_centre[i] = SIZE_MAX;
}

void ms_gpu_search_close(ms_gpu_search *s) {
    if (!s) return;
    unload(s);
    for (int i = 0; i < MS_GPU_BUFFERS; i++) ms_gpu_event_close(s->uploaded[i]);
    ms_gpu_stream_close(s->copies);
    ms_free(s);
}

void ms_gpu_search_set_limits(ms_gpu_search *s, const ms_gpu_search_limits *limits) {
    s->limits = *limits;
}

void ms_gpu_search_set_shift(ms_gpu_search *s, double shift) { s->shift = shift; }

int64_t ms_gpu_search_samples(const ms_gpu_search *s) { return s->sample.n_made; }

ms_gpu_residence ms_gpu_search_residence(const ms_gpu_search *s) { return s->residence; }

/* ---- Working memory ---- */

/* Room for n items at *at, if *fits stays true. */
static void *carve(unsigned char *base, size_t *at, size_t n, size_t item_bytes, bool *fits) {
    size_t bytes, from = *at;
    *fits = *fits && ms_mul_size(n, item_bytes, &bytes) && ms_add_size(bytes, ALIGN - 1, &bytes) &&
            ms_add_size(from, bytes / ALIGN * ALIGN, at);
    return base && *fits ? base + from : NULL;
}

/* Bytes of the working memory, of the device or of the host; with `base`, also where everything
 * lies in it. */
static size_t lay_out(const ms_gpu_search *s, ms_gpu_work *w, bool is_device, unsigned char *base,
                      bool *fits) {
    size_t at = 0, n_query = (size_t)s->n_queries, n_list, n_best, n_values, n_bounds, n_centres;
    if (!ms_mul_size(n_query, (size_t)s->candidate_cap, &n_list) ||
        !ms_mul_size(n_query, (size_t)s->k_cap, &n_best) ||
        !ms_mul_size(n_query, (size_t)s->rows.dim, &n_values) ||
        !ms_mul_size(n_query, s->n_slots, &n_bounds) ||
        !ms_mul_size(s->n_slots, (size_t)s->rows.dim, &n_centres)) {
        *fits = false;
        return 0;
    }
    w->report = carve(base, &at, 1, sizeof *w->report, fits);
    w->best = carve(base, &at, n_best, sizeof *w->best, fits);
    w->lists = carve(base, &at, 1, sizeof *w->lists, fits);
    w->candidates = carve(base, &at, n_list, sizeof *w->candidates, fits);
    w->scores = carve(base, &at, n_list, sizeof *w->scores, fits);
    w->sample = carve(base, &at, (size_t)s->candidate_cap, sizeof *w->sample, fits);
    w->queries = carve(base, &at, n_values, sizeof *w->queries, fits);
    w->excluded =
        carve(base, &at, MS_GPU_SCAN_TILE + (size_t)s->excluded_cap, sizeof *w->excluded, fits);
    w->centres = carve(base, &at, n_centres, sizeof *w->centres, fits);
    if (!is_device) return at;
    w->norms = carve(base, &at, n_query, sizeof *w->norms, fits);
    w->kth_score = carve(base, &at, n_query, sizeof *w->kth_score, fits);
    w->constants = carve(base, &at, s->n_slots, sizeof *w->constants, fits);
    w->bounds = carve(base, &at, n_bounds, sizeof *w->bounds, fits);
    w->weights = carve(base, &at, s->n_slots, s->weights_bytes, fits);
    return at;
}

static void size_work(ms_gpu_search *s) {
    const ms_gpu_search_limits *l = &s->limits;
    s->n_queries = s->max_queries < MS_GPU_SCAN_QUERIES ? (int)s->max_queries : MS_GPU_SCAN_QUERIES;
    s->k_cap = s->max_k < MS_GPU_MAX_K ? s->max_k : MS_GPU_MAX_K;
    s->candidate_cap = l->candidate_cap ? l->candidate_cap : MS_GPU_MAX_CANDIDATES;
    if (s->candidate_cap < LEAST_CAP) s->candidate_cap = LEAST_CAP;
    s->candidate_cap &= ~(int64_t)1; /* every list of scores begins on 16 bytes */
    s->excluded_cap = l->excluded_cap                 ? l->excluded_cap
                      : s->rows.n_rows < EXCLUDED_CAP ? s->rows.n_rows
                                                      : EXCLUDED_CAP;
    if (s->excluded_cap < LEAST_CAP) s->excluded_cap = LEAST_CAP;
    s->weights_bytes = 0;
    for (int scan = MSIM_SCAN_F64; scan <= MSIM_SCAN_INT8; scan++) {
        if ((scan == MSIM_SCAN_INT8 && !s->rows.has_int8) ||
            (scan == MSIM_SCAN_BF16 && !s->rows.has_bf16))
            continue;
        size_t bytes = ms_scan_queries_bytes(scan, s->n_queries, s->rows.dim);
        if (bytes > s->weights_bytes) s->weights_bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    }
    s->n_slots = s->rows.has_int8 || s->rows.has_bf16 ? SLOT_BYTES / s->weights_bytes : 1;
    if (s->n_slots > s->rows.n) s->n_slots = s->rows.n;
    if (s->n_slots > MS_GPU_SLOTS) s->n_slots = MS_GPU_SLOTS;
    if (l->slots && s->n_slots > (size_t)l->slots) s->n_slots = (size_t)l->slots;
    if (s->n_slots == 0) s->n_slots = 1;
}

static int take_work(ms_gpu_search *s, msim_error *err) {
    bool fits = true;
    size_work(s);
    size_t bytes = lay_out(s, &s->device, true, NULL, &fits),
           host_bytes = lay_out(s, &s->host, false, NULL, &fits);
    if (!fits)
        return ms_fail(err, MSIM_E_LIMIT, "search: %d queries of width %lld do not fit in memory",
                       s->n_queries, (long long)s->rows.dim);
    s->device_work = ms_gpu_alloc(s->stream, bytes, 1, "working memory of the search", err);
    if (s->device_work)
        s->host_work =
            ms_gpu_host_alloc(s->stream, host_bytes, 1, "working memory of the search", err);
    if (!s->host_work) return ms_gpu_failed(err);
    lay_out(s, &s->device, true, s->device_work, &fits);
    lay_out(s, &s->host, false, s->host_work, &fits);
    return MSIM_OK;
}

int ms_gpu_search_load(ms_gpu_search *s, const ms_rows *views, size_t n_views, int64_t first,
                       int64_t n, msim_error *err) {
    unload(s);
    int rc = ms_gpu_rows_slice(s, views, n_views, first, n, err);
    if (rc >= 0 && s->rows.n) rc = take_work(s, err);
    if (rc >= 0 && s->rows.n) rc = ms_gpu_rows_settle(s, err);
    if (rc < 0) unload(s);
    return rc;
}

/* ---- Requests ---- */

/* The scans that can serve the loaded rows. AUTO takes codes if they lie on the device, or if the
 * rows do not either. */
static ms_plan_backend able(const ms_gpu_search *s) {
    ms_gpu_residence r = s->residence;
    ms_plan_backend b = {.max_queries = (size_t)s->max_queries,
                         .max_k = s->max_k,
                         .scans = MS_SCAN_BIT(MSIM_SCAN_F64) | MS_SCAN_BIT(MSIM_SCAN_F32)};
    b.preferred = b.scans;
    if (s->rows.has_int8) b.scans |= MS_SCAN_BIT(MSIM_SCAN_INT8);
    if (s->rows.has_bf16) b.scans |= MS_SCAN_BIT(MSIM_SCAN_BF16);
    if (r.has_int8 || !r.has_rows) b.preferred |= MS_SCAN_BIT(MSIM_SCAN_INT8);
    if (r.has_bf16 || !r.has_rows) b.preferred |= MS_SCAN_BIT(MSIM_SCAN_BF16);
    return b;
}

/* No excluded rows are on the device yet, but for those before the first slice: tiles of codes are
 * scanned whole, so in a range that begins inside one, the rows before it are no results. */
static void forget_excluded(ms_gpu_search *s) {
    const ms_slice *first = s->rows.slices;
    s->n_outside = 0;
    s->excluded_from = 0;
    s->excluded_to = -1;
    if (!s->rows.n || !ms_plan_reads_codes(s->plan.scan)) return;
    s->n_outside = (size_t)(first->start % MS_CODES_TILE);
    for (size_t i = 0; i < s->n_outside; i++)
        s->host.excluded[i] = first->first_row - (int64_t)(s->n_outside - i);
}

/* Take up a request. */
static int begin(ms_gpu_search *s, const ms_search_request *request, msim_error *err) {
    ms_plan_backend backend = able(s);
    if (request->k > MS_GPU_MAX_K && request->k <= s->max_k)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "search: k: expected at most %d on a CUDA device, got %lld", MS_GPU_MAX_K,
                       (long long)request->k);
    int rc = ms_plan_begin(&s->plan, request, &s->rows, &backend, err);
    if (rc < 0) return rc;
    forget_excluded(s);
    s->n_hits = s->plan.n_rows;
    if (s->n_hits > request->k && !request->sink) s->n_hits = request->k;
    s->n_evaluated = s->n_handed = 0;
    s->is_stopped = 0;
    if (s->rows.n) s->f32 = ms_bound_f32_make((size_t)s->rows.dim, ms_scan_f32_lanes());
    if (s->residence.has_rows && !ms_plan_reads_codes(s->plan.scan) &&
        s->values_are_ip != s->plan.is_ip)
        return ms_gpu_rows_revalue(s, err);
    return MSIM_OK;
}

/* Put a query into the group; 0 for one of zeros, which is not. */
static int add_query(ms_gpu_search *s, size_t q) {
    const float *query = s->plan.request->queries + q * (size_t)s->rows.dim;
    int64_t j = 0;
    while (j < s->rows.dim && query[j] == 0) j++;
    if (j == s->rows.dim) return 0;
    memcpy(s->host.queries + (size_t)s->n_active * (size_t)s->rows.dim, query,
           (size_t)s->rows.dim * sizeof *query);
    s->active[s->n_active++] = q;
    return 1;
}

/* ---- Rows in order, as the host sees them ---- */

typedef struct {
    size_t slice, excluded; /* of the last row; the next one */
    int64_t row;            /* the next one */
} row_walk;

static row_walk walk_begin(const ms_gpu_search *s) { return (row_walk){.row = s->rows.first_row}; }

/* The next loaded row that is not excluded, and whether it is free of NaN and infinity; -1 at the
 * end. */
static int64_t walk_next(const ms_gpu_search *s, row_walk *w, bool *is_finite) {
    while (w->row < s->rows.first_row + s->rows.n_rows) {
        int64_t row = w->row++;
        const ms_slice *p = &s->rows.slices[w->slice];
        if (row == p->first_row + p->n_rows) p = &s->rows.slices[++w->slice];
        if (w->excluded < s->plan.excluded.n && s->plan.excluded.rows[w->excluded] == row) {
            w->excluded++;
            continue;
        }
        const unsigned char *x = ms_rows_at(p->view, p->start + (row - p->first_row));
        *is_finite = isfinite(ms_row_square(x, p->view->dtype, (size_t)s->rows.dim));
        return row;
    }
    return -1;
}

/* Fill up n hits with rows of NaN or infinity, which rank last. There are few steps to the end of
 * this: all other rows that are not excluded are hits already. */
static void add_nonfinite(const ms_gpu_search *s, ms_hit *hits, int64_t n) {
    bool is_finite;
    int64_t row;
    for (row_walk w = walk_begin(s); n < s->n_hits && (row = walk_next(s, &w, &is_finite)) >= 0;)
        if (!is_finite) hits[n++] = (ms_hit){-INFINITY, row};
}

/* A query of zeros: every score is 0. */
static void answer_zero(ms_gpu_search *s, size_t q, ms_hit *hits) {
    bool is_finite;
    int64_t row, n = 0;
    row_walk w = walk_begin(s);
    if (s->plan.request->sink) {
        if (!(0.0 >= s->plan.request->threshold)) return;
        while (!s->is_stopped && (row = walk_next(s, &w, &is_finite)) >= 0)
            if (is_finite) ms_gpu_hand_over(s, q, 0.0, row);
        return;
    }
    while (n < s->n_hits && (row = walk_next(s, &w, &is_finite)) >= 0)
        if (is_finite) hits[n++] = (ms_hit){0.0, row};
    add_nonfinite(s, hits, n);
}

/* Rows of zeros as the codes list them: to the heap, or (NULL) to the sink. Without a threshold
 * the lowest n_hits that are not excluded are enough. */
static void take_zeros(ms_gpu_search *s, size_t q, ms_topk *top) {
    int64_t left = top ? s->n_hits : INT64_MAX, row;
    ms_listed_walk zeros = {
        .slices = &s->rows, .excluded = s->plan.excluded, .list = ms_slice_zeros};
    if (!ms_plan_reads_codes(s->plan.scan)) return;
    while (left-- && !s->is_stopped && (row = ms_listed_next(&zeros)) >= 0)
        if (top)
            ms_topk_push(top, (ms_hit){0.0, row});
        else
            ms_gpu_hand_over(s, q, 0.0, row);
}

/* The answer to query i of the group: the device's best, rows of zeros, and what ranks last. */
static void finish(ms_gpu_search *s, int i, ms_hit *hits) {
    const ms_gpu_hit *best = s->host.best + (int64_t)i * s->n_hits;
    ms_topk top;
    ms_topk_init(&top, hits, (size_t)s->n_hits);
    for (uint32_t j = 0; j < s->host.report->n_best[i]; j++)
        if (best[j].score > -INFINITY) ms_topk_push(&top, (ms_hit){best[j].score, best[j].row});
    take_zeros(s, s->active[i], &top);
    ms_topk_sort(&top);
    add_nonfinite(s, hits, (int64_t)top.n);
}

/* ---- Searches ---- */

/* Rows with NaN or infinity where load did not count them: as the codes list them, as a pass over
 * all rows has counted them, or (no query needed a pass) by a look at every row. */
static int64_t count_nonfinite(const ms_gpu_search *s, int was_passed) {
    int64_t n = 0;
    if (ms_plan_reads_codes(s->plan.scan)) return ms_slices_count_nonfinite(&s->rows);
    if (was_passed) return s->host.report->n_nonfinite;
    for (size_t i = 0; i < s->rows.n; i++) {
        const ms_slice *p = &s->rows.slices[i];
        for (int64_t row = p->start; row < p->start + p->n_rows; row++)
            n += !isfinite(
                ms_row_square(ms_rows_at(p->view, row), p->view->dtype, (size_t)s->rows.dim));
    }
    return n;
}

/* All queries, group by group. */
static int run(ms_gpu_search *s, ms_hit *hits, msim_error *err) {
    int64_t k = s->plan.request->k;
    int was_passed = 0;
    for (size_t q = 0; q < s->plan.request->n_query && !s->is_stopped;) {
        for (s->n_active = 0; s->n_active < s->n_queries && q < s->plan.request->n_query; q++)
            if (!add_query(s, q)) answer_zero(s, q, hits ? hits + (int64_t)q * k : NULL);
        if (s->n_active == 0 || s->is_stopped) break;
        int rc = ms_gpu_rounds_run(s, err);
        if (rc < 0) return rc;
        was_passed = 1;
        if (s->n_nonfinite < 0 && !s->is_stopped) s->n_nonfinite = count_nonfinite(s, 1);
        for (int i = 0; i < s->n_active; i++) {
            if (s->plan.request->sink)
                take_zeros(s, s->active[i], NULL);
            else
                finish(s, i, hits + (int64_t)s->active[i] * k);
        }
    }
    if (s->n_nonfinite < 0 && !was_passed) s->n_nonfinite = count_nonfinite(s, 0);
    return MSIM_OK;
}

int64_t ms_gpu_search_topk(ms_gpu_search *s, const ms_search_request *request, ms_hit *hits,
                           msim_error *err) {
    int rc = begin(s, request, err);
    if (rc >= 0 && s->n_hits > 0 && request->n_query > 0) rc = run(s, hits, err);
    ms_plan_end(&s->plan);
    return rc < 0 ? rc : s->n_hits;
}

int64_t ms_gpu_search_above(ms_gpu_search *s, const ms_search_request *request, msim_error *err) {
    int rc = begin(s, request, err);
    if (rc >= 0 && s->n_hits > 0 && request->n_query > 0) rc = run(s, NULL, err);
    ms_plan_end(&s->plan);
    return rc < 0 ? rc : s->n_handed;
}

void ms_gpu_search_outcome(const ms_gpu_search *s, ms_search_outcome *out) {
    *out = (ms_search_outcome){.rows_nonfinite = s->n_nonfinite < 0 ? 0 : s->n_nonfinite,
                               .rows_evaluated = s->n_evaluated,
                               .scan = s->plan.scan};
}
