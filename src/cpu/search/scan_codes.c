/* The int8 and bf16 scans: they read the codes of the rows (codes/layout.h), which must be attached
 * to every view with rows. The codes of each view have a centre of their own, so a search prepares
 * its queries once for each view. The kernels of a level compute upper bounds for tiles of 16 rows.
 * The bounds are those of search/bound_codes.h. Interface: cpu/search/scan.h. */
#include "search/bound_codes.h"
#include "base/mem.h"
#include "cpu/levels.h"
#include "cpu/search/codes.h"
#include "cpu/search/scan.h"
#include <string.h>

typedef struct {
    ms_scan_setup setup;
    const ms_codes_kernels *kernels; /* static */
    int is_int8;
    size_t n_query;                 /* of this search */
    size_t weights_bytes;           /* of max_queries queries */
    char *weights;                  /* owned: [n_views, weights_bytes] */
    ms_bound_codes *bounds;         /* owned: [n_views, max_queries] */
    float *scale, *lambda;          /* owned: [n_views, max_queries] */
    int32_t *start;                 /* owned: [n_views, max_queries] */
    ms_bound_threshold *thresholds; /* owned: [n_workers, max_queries] */
    float *threshold, *rho_factor;  /* owned: [n_workers, max_queries] */
    void *weight;                   /* owned: [dim] of the widest kind */
} codes_scan;

static void close_state(void *arg) {
    codes_scan *s = arg;
    if (!s) return;
    void *all[] = {s->weights,    s->bounds,    s->scale,      s->lambda, s->start,
                   s->thresholds, s->threshold, s->rho_factor, s->weight};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) ms_free(all[i]);
    ms_free(s);
}

static const unsigned char *tiles_of(const ms_rows *view, int is_int8) {
    if (!view->codes) return NULL;
    return is_int8 ? view->codes->int8 : view->codes->bf16;
}

/* *p = n * each items of item_bytes. */
static int take(void *p, size_t n, size_t each, size_t item_bytes, msim_error *err) {
    size_t count;
    if (!ms_mul_size(n, each, &count))
        return ms_fail(err, MSIM_E_LIMIT,
                       "scan: queries (%zu, for %zu parts or threads) do not fit in memory", each,
                       n);
    void *got = ms_alloc(count, item_bytes, "scan", err);
    memcpy(p, &got, sizeof got);
    return got ? MSIM_OK : -MSIM_E_MEMORY;
}

static int open_state(const ms_scan_setup *setup, int is_int8, void **out, msim_error *err) {
    const ms_codes_kernels *kernels = ms_codes_kernels_get(setup->isa, is_int8);
    size_t views = setup->n_views, queries = setup->max_queries, workers = setup->n_workers;
    *out = NULL;
    for (size_t i = 0; i < views; i++)
        if (setup->views[i].n_rows > 0 && !tiles_of(&setup->views[i], is_int8)) return MSIM_OK;
    if (!kernels || views == 0) return MSIM_OK;
    codes_scan *s = ms_alloc(1, sizeof *s, "scan", err);
    if (!s) return -MSIM_E_MEMORY;
    s->setup = *setup;
    s->kernels = kernels;
    s->is_int8 = is_int8;
    s->weights_bytes = (ms_codes_weights_bytes(kernels, queries, setup->dim) + MS_ALIGN - 1) /
                       MS_ALIGN * MS_ALIGN;
    int rc = take(&s->weights, views, s->weights_bytes, 1, err);
    if (rc >= 0) rc = take(&s->bounds, views, queries, sizeof *s->bounds, err);
    if (rc >= 0) rc = take(&s->scale, views, queries, sizeof *s->scale, err);
    if (rc >= 0) rc = take(&s->lambda, views, queries, sizeof *s->lambda, err);
    if (rc >= 0) rc = take(&s->start, views, queries, sizeof *s->start, err);
    if (rc >= 0) rc = take(&s->thresholds, workers, queries, sizeof *s->thresholds, err);
    if (rc >= 0) rc = take(&s->threshold, workers, queries, sizeof *s->threshold, err);
    if (rc >= 0) rc = take(&s->rho_factor, workers, queries, sizeof *s->rho_factor, err);
    if (rc >= 0) rc = take(&s->weight, 1, setup->dim, sizeof(float), err);
    if (rc < 0)
        close_state(s);
    else
        *out = s;
    return rc;
}

static int open_int8(const ms_scan_setup *setup, void **out, msim_error *err) {
    return open_state(setup, 1, out, err);
}
static int open_bf16(const ms_scan_setup *setup, void **out, msim_error *err) {
    return open_state(setup, 0, out, err);
}

static void prepare_query(codes_scan *s, const ms_codes *codes, size_t view, size_t q,
                          const ms_scan_queries *queries) {
    size_t at = view * s->setup.max_queries + q, dim = s->setup.dim;
    const float *query = queries->queries + q * dim;
    ms_bound_codes *b = &s->bounds[at];
    if (!(queries->norms[q] > 0)) {
        ms_bound_codes_make_keeping_all(b);
        memset(s->weight, 0, dim * sizeof(float));
    } else if (s->is_int8) {
        ms_bound_int8_make(b, s->weight, query, queries->norms[q], codes, s->kernels->weight_max);
    } else {
        ms_bound_bf16_make(b, s->weight, query, queries->norms[q], codes, MS_CODES_CHAIN(dim));
    }
    ms_codes_put_weights(s->kernels, s->weights + view * s->weights_bytes, q, queries->n_query, dim,
                         s->weight);
    s->scale[at] = b->scale;
    s->lambda[at] = b->lambda;
    s->start[at] = b->start;
}

static void prepare(void *arg, const ms_scan_queries *queries) {
    codes_scan *s = arg;
    s->n_query = queries->n_query;
    for (size_t view = 0; view < s->setup.n_views; view++) {
        if (s->setup.views[view].n_rows == 0) continue; /* it may lack codes */
        memset(s->weights + view * s->weights_bytes, 0,
               ms_codes_weights_bytes(s->kernels, s->n_query, s->setup.dim));
        for (size_t q = 0; q < s->n_query; q++)
            prepare_query(s, s->setup.views[view].codes, view, q, queries);
    }
}

static float set_threshold(void *arg, size_t worker, size_t view, size_t q, double threshold) {
    codes_scan *s = arg;
    size_t at = worker * s->setup.max_queries + q;
    s->thresholds[at] =
        ms_bound_codes_set_threshold(&s->bounds[view * s->setup.max_queries + q], threshold);
    s->threshold[at] = s->thresholds[at].threshold;
    s->rho_factor[at] = s->thresholds[at].rho_factor;
    return s->thresholds[at].upper_threshold;
}

/* Whole tiles are scanned; rows before `start`, in a range that begins inside a tile, are then
 * dropped. */
static int64_t block(void *arg, size_t worker, size_t view, int64_t start, size_t n_rows,
                     float *upper) {
    codes_scan *s = arg;
    size_t of_view = view * s->setup.max_queries, of_worker = worker * s->setup.max_queries;
    size_t before = (size_t)(start % MS_CODES_TILE),
           n_tiles = (before + n_rows + MS_CODES_TILE - 1) / MS_CODES_TILE;
    size_t tile_bytes = s->is_int8 ? ms_codes_int8_tile(s->setup.dim)
                                   : ms_codes_bf16_tile(s->setup.dim);
    const unsigned char *tiles = tiles_of(&s->setup.views[view], s->is_int8) +
                                 (size_t)(start / MS_CODES_TILE) * tile_bytes;
    ms_codes_queries q = {.weights = s->weights + view * s->weights_bytes,
                          .start = s->start + of_view,
                          .scale = s->scale + of_view,
                          .lambda = s->lambda + of_view,
                          .threshold = s->threshold + of_worker,
                          .rho_factor = s->rho_factor + of_worker,
                          .n_query = s->n_query,
                          .dim = s->setup.dim};
    s->kernels->scan(upper, MS_SCAN_ROWS, tiles, n_tiles, &q);
    for (size_t i = 0; before && i < s->n_query; i++)
        memmove(upper + i * MS_SCAN_ROWS, upper + i * MS_SCAN_ROWS + before,
                n_rows * sizeof *upper);
    return 0; /* the codes list them */
}

static double bound(void *arg, size_t worker, size_t view, int64_t row, size_t q, float upper) {
    const codes_scan *s = arg;
    size_t dim = s->setup.dim, lane = (size_t)(row % MS_CODES_TILE),
           tile = (size_t)(row / MS_CODES_TILE);
    const unsigned char *constants = tiles_of(&s->setup.views[view], s->is_int8);
    float rho, t;
    constants += s->is_int8 ? tile * ms_codes_int8_tile(dim) + ms_codes_int8(dim)
                            : tile * ms_codes_bf16_tile(dim) + ms_codes_bf16(dim);
    rho = ms_codes_constant(constants + (s->is_int8 ? MS_CODES_INT8_RHO : MS_CODES_BF16_RHO), lane);
    t = ms_codes_constant(constants + (s->is_int8 ? MS_CODES_INT8_T : MS_CODES_BF16_T), lane);
    return ms_bound_codes_score(&s->bounds[view * s->setup.max_queries + q],
                                &s->thresholds[worker * s->setup.max_queries + q], rho, t, upper);
}

const ms_scan_method ms_scan_int8 = {.scan = MSIM_SCAN_INT8,
                                     .block_rows = MS_SCAN_ROWS,
                                     .open = open_int8,
                                     .close = close_state,
                                     .prepare = prepare,
                                     .set_threshold = set_threshold,
                                     .block = block,
                                     .bound = bound};
const ms_scan_method ms_scan_bf16 = {.scan = MSIM_SCAN_BF16,
                                     .block_rows = MS_SCAN_ROWS,
                                     .open = open_bf16,
                                     .close = close_state,
                                     .prepare = prepare,
                                     .set_threshold = set_threshold,
                                     .block = block,
                                     .bound = bound};
