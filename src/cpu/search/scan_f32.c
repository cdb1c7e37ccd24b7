/* The f32 scan: rows as they are stored, widened or rounded to f32 on the way, against queries of
 * length 1 in f32. The same pass computes the row's norm, so nothing about the rows must be known
 * before. A row whose square is outside the range in which f32 is safe (zero, tiny, huge, NaN,
 * infinite) is scored in double at once. Interface: cpu/search/scan.h; bounds: search/bound.h. */
#include "search/bound.h"
#include "base/mem.h"
#include "cpu/levels.h"
#include "cpu/search/state.h"
#include "search/score.h"
#include <math.h>

enum { BLOCK_ROWS = MS_SCAN_ROWS };

typedef struct {
    ms_scan_setup setup;
    const ms_scan_kernels *scan; /* static */
    ms_scan_queries queries;
    ms_bound_f32 bound;
    size_t stride; /* dim, up to a multiple of 16 */
    float *unit;   /* owned: [max_queries, stride], queries of length 1 */
    double *dots;  /* owned: [n_workers, max_queries], of a row that is not plain */
} f32_scan;

static void close_state(void *arg) {
    f32_scan *s = arg;
    if (!s) return;
    ms_free(s->unit);
    ms_free(s->dots);
    ms_free(s);
}

static int open_state(const ms_scan_setup *setup, void **out, msim_error *err) {
    size_t n_floats, n_dots;
    *out = NULL;
    const ms_scan_kernels *scan = ms_scan_kernels_get(setup->isa);
    if (!scan || setup->n_views == 0) return MSIM_OK;
    f32_scan *s = ms_alloc(1, sizeof *s, "scan", err);
    if (!s) return -MSIM_E_MEMORY;
    s->setup = *setup;
    s->scan = scan;
    s->stride = (setup->dim + 15) / 16 * 16;
    s->bound = ms_bound_f32_make(setup->dim, scan->lanes);
    int rc = MSIM_OK;
    if (!ms_mul_size(setup->max_queries, s->stride, &n_floats) ||
        !ms_mul_size(setup->max_queries, setup->n_workers, &n_dots))
        rc = ms_fail(err, MSIM_E_LIMIT, "scan: %zu queries of width %zu do not fit in memory",
                     setup->max_queries, setup->dim);
    if (rc >= 0 && !(s->unit = ms_alloc(n_floats, sizeof *s->unit, "scan", err)))
        rc = -MSIM_E_MEMORY;
    if (rc >= 0 && !(s->dots = ms_alloc(n_dots, sizeof *s->dots, "scan", err))) rc = -MSIM_E_MEMORY;
    if (rc < 0)
        close_state(s);
    else
        *out = s;
    return rc;
}

static void prepare(void *arg, const ms_scan_queries *queries) {
    f32_scan *s = arg;
    s->queries = *queries;
    for (size_t q = 0; q < queries->n_query; q++) {
        const float *from = queries->queries + q * s->setup.dim;
        float *to = s->unit + q * s->stride; /* past dim it stays 0 */
        for (size_t j = 0; j < s->setup.dim; j++)
            to[j] = queries->norms[q] > 0 ? (float)(from[j] / queries->norms[q]) : 0.0f;
    }
}

static float set_threshold(void *arg, size_t worker, size_t view, size_t q, double threshold) {
    const f32_scan *s = arg;
    (void)worker;
    (void)view;
    return s->queries.is_ip ? ms_bound_f32_threshold_ip(threshold, s->queries.norms[q])
                            : ms_bound_f32_threshold(&s->bound, threshold);
}

/* Score one row in double and take that for its upper bounds. Returns 1 when it holds NaN or
 * infinity. */
static int64_t take_odd_row(f32_scan *s, size_t worker, const ms_rows *view,
                            const unsigned char *row, size_t r, float *upper) {
    const ms_scan_queries *q = &s->queries;
    double *dots = s->dots + worker * s->setup.max_queries, square;
    s->setup.kernels->squares_f64(&square, row, view->row_bytes, view->dtype, 1, s->setup.dim);
    s->setup.kernels->dots_f64(dots, row, view->row_bytes, view->dtype, q->queries, q->n_query, 1,
                               s->setup.dim);
    for (size_t i = 0; i < q->n_query; i++) {
        double score = ms_score(dots[i], square, sqrt(square), q->norms[i], q->is_ip);
        upper[i * MS_SCAN_ROWS + r] = ms_bound_f32_upper_of(score, q->is_ip, q->norms[i]);
    }
    return !isfinite(square);
}

static int64_t block(void *arg, size_t worker, size_t view_index, int64_t start, size_t n_rows,
                     float *upper) {
    f32_scan *s = arg;
    const ms_rows *view = &s->setup.views[view_index];
    const unsigned char *rows[MS_SCAN_ROWS];
    float squares[MS_SCAN_ROWS] __attribute__((aligned(64)));
    int64_t n_nonfinite = 0;
    for (size_t r = 0; r < n_rows; r++) rows[r] = ms_rows_at(view, start + (int64_t)r);
    s->scan->dots(upper, squares, rows, view->dtype, s->unit, s->stride, s->queries.n_query, n_rows,
                  s->setup.dim);
    float margin = s->queries.is_ip ? s->bound.margin : 0.0f;
    if (s->scan->finish(upper, squares, s->queries.n_query, n_rows, margin))
        for (size_t r = 0; r < n_rows; r++)
            if (!ms_scan_is_plain(squares[r]))
                n_nonfinite += take_odd_row(s, worker, view, rows[r], r, upper);
    return n_nonfinite;
}

static double bound(void *arg, size_t worker, size_t view, int64_t row, size_t q, float upper) {
    const f32_scan *s = arg;
    (void)worker;
    (void)view;
    (void)row;
    return s->queries.is_ip ? ms_bound_f32_score_ip(upper, s->queries.norms[q])
                            : ms_bound_f32_score(&s->bound, upper);
}

const ms_scan_method ms_scan_f32 = {.scan = MSIM_SCAN_F32,
                                    .block_rows = BLOCK_ROWS,
                                    .open = open_state,
                                    .close = close_state,
                                    .prepare = prepare,
                                    .set_threshold = set_threshold,
                                    .block = block,
                                    .bound = bound};
