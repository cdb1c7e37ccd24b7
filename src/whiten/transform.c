/* Rows through the map: t(x) = M (u - mu), then length 1, where u is the row at length 1 and M the
 * inverse of the Cholesky factor. u - mu and M are f32, sums are f64. Contract: whiten/whitening.h.
 *
 * Rows go in items of 32, turned over into panels: [component][16 rows]. Panel p of the factor has
 * the rows 16 p .. 16 p + 15 of M as columns, as far as they are not zero:
 *
 *   k = 0 .. 16 p + 15:   M[16 p][k] | M[16 p + 1][k] | ... | M[16 p + 15][k]
 */
#include "base/mem.h"
#include "whiten/whitening.h"
#include <math.h>

enum { LANES = MS_WHITEN_LANES, HEIGHT = MS_WHITEN_HEIGHT, ITEM_ROWS = 2 * LANES };

typedef struct {
    const msim_whitening *w;
    const ms_whiten_kernels *kernels;
    const float *rows;
    float *out;
    size_t n, dim;
    double *scratch; /* [workers, scratch_each] */
    size_t scratch_each;
    float *units; /* [workers, dim] */
} apply_job;

/* dot(x, x): 16 lanes, then halves onto halves. Products of f32 are exact. */
static double square_of(const float *x, size_t dim) {
    double lane[LANES] = {0};
    size_t j = 0;
    for (; j + LANES <= dim; j += LANES)
        for (size_t l = 0; l < LANES; l++) lane[l] += (double)x[j + l] * x[j + l];
    for (; j < dim; j++) lane[j % LANES] += (double)x[j] * x[j];
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

enum ms_whiten_class ms_whiten_unit(float *unit, const float *row, size_t dim) {
    double square = square_of(row, dim), length = sqrt(square);
    if (!isfinite(square)) return MS_WHITEN_NONFINITE;
    if (square == 0.0) return MS_WHITEN_ZERO;
    double inverse = 1.0 / (length > 1e-12 ? length : 1e-12);
    for (size_t j = 0; j < dim; j++) unit[j] = (float)(row[j] * inverse);
    return MS_WHITEN_PLAIN;
}

/* Row r of an item, into its lane of a panel [padded dim][16]. */
static enum ms_whiten_class put_row(const apply_job *job, const float *row, float *unit,
                                    double *panel, size_t lane) {
    size_t wide = ms_whiten_panel_count(job->dim) * LANES;
    enum ms_whiten_class class = ms_whiten_unit(unit, row, job->dim);
    for (size_t j = 0; j < job->dim; j++) {
        float moved = class == MS_WHITEN_PLAIN ? unit[j] - job->w->mean[j] : 0.0f;
        panel[j * LANES + lane] = moved;
    }
    for (size_t j = job->dim; j < wide; j++) panel[j * LANES + lane] = 0.0;
    return class;
}

/* A finished row y [padded dim], of stride LANES * HEIGHT per panel: at length 1 into out. */
static void take_row(const apply_job *job, const double *y, float *out,
                     enum ms_whiten_class class) {
    double lane[LANES] = {0};
    size_t n_panels = ms_whiten_panel_count(job->dim);
    for (size_t p = 0; p < n_panels; p++)
        for (size_t l = 0; l < LANES; l++) {
            double v = y[p * HEIGHT * LANES + l];
            lane[l] += v * v;
        }
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    double length = sqrt(lane[0]), inverse = 1.0 / (length > 1e-12 ? length : 1e-12);
    for (size_t j = 0; j < job->dim; j++) {
        double v = y[j / LANES * HEIGHT * LANES + j % LANES] * inverse;
        out[j] = class == MS_WHITEN_PLAIN ? (float)v : class == MS_WHITEN_ZERO ? 0.0f : NAN;
    }
}

/* Eight rows of a panel, whose numbers begin at `first`. */
static void apply_tile(const apply_job *job, const double *panel, double *y, size_t first, size_t n,
                       const enum ms_whiten_class *class) {
    const double *factor = job->w->panels;
    size_t n_panels = ms_whiten_panel_count(job->dim);
    for (size_t p = 0; p < n_panels; p++) {
        size_t n_k = (p + 1) * LANES;
        job->kernels->tile(y + p * HEIGHT * LANES, panel, factor, n_k);
        factor += n_k * LANES;
    }
    for (size_t i = 0; i < n; i++)
        take_row(job, y + i * LANES, job->out + (first + i) * job->dim, class[i]);
}

static void apply_item(void *arg, int64_t item, int worker) {
    const apply_job *job = arg;
    size_t first = (size_t)item * ITEM_ROWS, wide = ms_whiten_panel_count(job->dim) * LANES,
           left = job->n - first, n = left < ITEM_ROWS ? left : ITEM_ROWS;
    double *panels = job->scratch + (size_t)worker * job->scratch_each,
           *y = panels + 2 * wide * LANES;
    float *unit = job->units + (size_t)worker * job->dim;
    enum ms_whiten_class class[ITEM_ROWS] = {MS_WHITEN_PLAIN};
    for (size_t r = 0; r < n; r++)
        class[r] = put_row(job, job->rows + (first + r) * job->dim, unit,
                           panels + r / LANES * wide * LANES, r % LANES);
    /* lanes without a row hold what was there before, and nobody takes what becomes of them */
    for (size_t r = 0; r < n; r += HEIGHT)
        apply_tile(job, panels + r / LANES * wide * LANES + r % LANES, y, first + r,
                   n - r < HEIGHT ? n - r : HEIGHT, class + r);
}

int ms_whiten_apply(const msim_whitening *w, const ms_whiten_kernels *kernels, ms_pool *pool,
                    const float *rows, size_t n, float *out, msim_error *err) {
    size_t dim = (size_t)w->stats.dim, wide = ms_whiten_panel_count(dim) * LANES,
           workers = pool ? (size_t)ms_pool_size(pool) : 1;
    int64_t n_items = (int64_t)((n + ITEM_ROWS - 1) / ITEM_ROWS);
    apply_job job = {.w = w,
                     .kernels = kernels,
                     .rows = rows,
                     .out = out,
                     .n = n,
                     .dim = dim,
                     .scratch_each = (2 * LANES + HEIGHT) * wide};
    job.scratch = ms_alloc(workers * job.scratch_each, sizeof *job.scratch, "whitening", err);
    if (job.scratch) job.units = ms_alloc(workers * dim, sizeof *job.units, "whitening", err);
    int rc = job.units ? MSIM_OK : -MSIM_E_MEMORY;
    if (rc >= 0 && pool) ms_pool_run(pool, n_items, apply_item, &job);
    for (int64_t i = 0; rc >= 0 && !pool && i < n_items; i++) apply_item(&job, i, 0);
    ms_free(job.units);
    ms_free(job.scratch);
    return rc;
}
