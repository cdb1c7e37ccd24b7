/* Contract: whiten/sums.h. A round of rows is read and laid out in panels by all threads. Then each
 * thread takes panels of the matrix's columns and adds the products of the whole round to them. So
 * no two threads add to one number, and nothing is merged.
 *
 *   panel p of a round:   row 0: columns 16 p .. 16 p + 15 | row 1: the same columns | ...
 */
#include "whiten/sums.h"
#include "base/mem.h"
#include <string.h>

enum {
    LANES = MS_WHITEN_LANES,
    HEIGHT = MS_WHITEN_HEIGHT,
    BLOCK = 256,    /* rows whose products are summed before they go to the matrix */
    READ_ROWS = 16, /* of an item of reading */
    /* Rows between two panels: one more than a round has, or all panels of a row would fall into
     * one set of the cache. */
    PANEL_ROWS = MS_WHITEN_ROUND + 1
};

struct ms_whiten_sums {
    size_t dim, n_panels;
    const ms_whiten_kernels *kernels;
    ms_pool *pool;    /* borrowed */
    double *sum;      /* owned: [n_panels * LANES] */
    double *products; /* owned: [n_panels * LANES] squared; its lower triangle counts */
    double *panels;   /* owned: [n_panels, PANEL_ROWS, LANES], of a round */
    float *rows;      /* owned: [workers, dim], what a worker reads */
    uint64_t *hashes; /* owned: [MS_WHITEN_ROUND], of the rows of a round */
    bool *is_used;    /* owned: [MS_WHITEN_ROUND] */
    uint64_t *seen;   /* owned: [seen_cap], hashes of all rows so far; 0: free */
    size_t seen_cap, n_seen;
    int64_t n_rows; /* that were neither zero nor not finite */

    /* The round under way. */
    int64_t first, n;
    ms_whiten_read read;
    void *user;
    int *failed;        /* owned: [workers] */
    msim_error *errors; /* owned: [workers] */
};

int ms_whiten_sums_open(int64_t dim, const ms_whiten_kernels *kernels, ms_pool *pool,
                        ms_whiten_sums **out, msim_error *err) {
    *out = NULL;
    if (dim < 1 || dim > MS_WHITEN_DIM_MAX)
        return ms_fail(err, MSIM_E_LIMIT, "whitening: expected rows of 1..%d components, got %lld",
                       MS_WHITEN_DIM_MAX, (long long)dim);
    ms_whiten_sums *s = ms_alloc(1, sizeof *s, "whitening", err);
    if (!s) return -MSIM_E_MEMORY;
    size_t n_panels = ms_whiten_panel_count((size_t)dim), wide = n_panels * LANES,
           workers = (size_t)ms_pool_size(pool);
    *s = (ms_whiten_sums){
        .dim = (size_t)dim, .n_panels = n_panels, .kernels = kernels, .pool = pool};
    const struct {
        void **to;
        size_t n_items, item_bytes;
    } blocks[] = {{(void **)&s->sum, wide, sizeof *s->sum},
                  {(void **)&s->products, wide * wide, sizeof *s->products},
                  {(void **)&s->panels, n_panels * PANEL_ROWS * LANES, sizeof *s->panels},
                  {(void **)&s->rows, workers * (size_t)dim, sizeof *s->rows},
                  {(void **)&s->hashes, MS_WHITEN_ROUND, sizeof *s->hashes},
                  {(void **)&s->is_used, MS_WHITEN_ROUND, sizeof *s->is_used},
                  {(void **)&s->failed, workers, sizeof *s->failed},
                  {(void **)&s->errors, workers, sizeof *s->errors}};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (!(*blocks[i].to =
                  ms_alloc(blocks[i].n_items, blocks[i].item_bytes, "whitening", err))) {
            ms_whiten_sums_close(s);
            return -MSIM_E_MEMORY;
        }
    *out = s;
    return MSIM_OK;
}

void ms_whiten_sums_close(ms_whiten_sums *s) {
    if (!s) return;
    void *const owned[] = {s->sum,     s->products, s->panels, s->rows,  s->hashes,
                           s->is_used, s->seen,     s->failed, s->errors};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) ms_free(owned[i]);
    ms_free(s);
}

/* ---- Reading ---- */

/* A hash of a row's numbers, never 0. */
static uint64_t hash_of(const float *unit, size_t dim) {
    uint64_t h = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t j = 0; j < dim; j++) {
        uint32_t bits;
        memcpy(&bits, unit + j, sizeof bits);
        h = (h ^ bits) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    return h ? h : 1;
}

/* A row in its place in the panels; NULL: zeros. */
static void put_row(ms_whiten_sums *s, int64_t r, const float *unit) {
    for (size_t p = 0; p < s->n_panels; p++) {
        double *to = s->panels + (p * PANEL_ROWS + (size_t)r) * LANES;
        size_t left = s->dim - p * LANES, n = !unit ? 0 : left < LANES ? left : LANES;
        for (size_t l = 0; l < n; l++) to[l] = unit[p * LANES + l];
        for (size_t l = n; l < LANES; l++) to[l] = 0.0;
    }
}

static void read_rows(void *arg, int64_t item, int worker) {
    ms_whiten_sums *s = arg;
    float *row = s->rows + (size_t)worker * s->dim;
    int64_t from = item * READ_ROWS, to = from + READ_ROWS < s->n ? from + READ_ROWS : s->n;
    for (int64_t r = from; r < to; r++) {
        int rc = s->failed[worker];
        if (rc >= 0) rc = s->read(s->user, s->first + r, row, s->errors + worker);
        s->failed[worker] = rc < 0 ? rc : 0;
        if (rc < 0) return;
        s->is_used[r] = ms_whiten_unit(row, row, s->dim) == MS_WHITEN_PLAIN;
        s->hashes[r] = s->is_used[r] ? hash_of(row, s->dim) : 0;
        put_row(s, r, s->is_used[r] ? row : NULL);
    }
}

/* ---- Repeated content ---- */

static bool insert(uint64_t *seen, size_t cap, uint64_t hash) {
    size_t at = (size_t)hash & (cap - 1);
    while (seen[at] && seen[at] != hash) at = (at + 1) & (cap - 1);
    if (seen[at]) return false;
    seen[at] = hash;
    return true;
}

/* Room for a round's hashes: at most half of the table is full. */
static int reserve_seen(ms_whiten_sums *s, msim_error *err) {
    size_t cap = s->seen_cap ? s->seen_cap : 4 * MS_WHITEN_ROUND;
    while (cap / 2 < s->n_seen + MS_WHITEN_ROUND) cap *= 2;
    if (cap == s->seen_cap) return MSIM_OK;
    uint64_t *wider = ms_alloc(cap, sizeof *wider, "hashes of rows", err);
    if (!wider) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < s->seen_cap; i++)
        if (s->seen[i]) (void)insert(wider, cap, s->seen[i]);
    ms_free(s->seen);
    s->seen = wider;
    s->seen_cap = cap;
    return MSIM_OK;
}

static int drop_repeated(ms_whiten_sums *s, msim_error *err) {
    int rc = reserve_seen(s, err);
    for (int64_t r = 0; r < s->n && rc >= 0; r++) {
        if (!s->is_used[r]) continue;
        s->n_rows++;
        if (insert(s->seen, s->seen_cap, s->hashes[r]))
            s->n_seen++;
        else
            put_row(s, r, NULL);
    }
    return rc;
}

/* ---- Adding ---- */

static void add_sums(ms_whiten_sums *s, size_t panel, int64_t from, int64_t n) {
    const double *at = s->panels + (panel * PANEL_ROWS + (size_t)from) * LANES;
    double sum[LANES] = {0}, *to = s->sum + panel * LANES;
    for (int64_t r = 0; r < n; r++, at += LANES)
        for (size_t l = 0; l < LANES; l++) sum[l] += at[l];
    for (size_t l = 0; l < LANES; l++) to[l] += sum[l];
}

/* The products of a panel's columns with all columns that are not before them. */
static void add_products(void *arg, int64_t item, int worker) {
    ms_whiten_sums *s = arg;
    size_t panel = (size_t)item, wide = s->n_panels * LANES;
    double tile[HEIGHT * LANES] __attribute__((aligned(MS_ALIGN)));
    (void)worker;
    for (int64_t from = 0; from < s->n; from += BLOCK) {
        int64_t n = s->n - from < BLOCK ? s->n - from : BLOCK;
        const double *b = s->panels + (panel * PANEL_ROWS + (size_t)from) * LANES;
        add_sums(s, panel, from, n);
        for (size_t row = panel * LANES; row < wide; row += HEIGHT) {
            const double *a = s->panels + (row / LANES * PANEL_ROWS + (size_t)from) * LANES +
                              row % LANES;
            double *to = s->products + row * wide + panel * LANES;
            s->kernels->tile(tile, a, b, (size_t)n);
            for (size_t i = 0; i < HEIGHT; i++)
                for (size_t j = 0; j < LANES; j++) to[i * wide + j] += tile[i * LANES + j];
        }
    }
}

int ms_whiten_sums_add(ms_whiten_sums *s, int64_t first, int64_t n, ms_whiten_read read, void *user,
                       msim_error *err) {
    s->first = first;
    s->n = n;
    s->read = read;
    s->user = user;
    for (int i = 0; i < ms_pool_size(s->pool); i++) s->failed[i] = 0;
    ms_pool_run(s->pool, (n + READ_ROWS - 1) / READ_ROWS, read_rows, s);
    for (int i = 0; i < ms_pool_size(s->pool); i++)
        if (s->failed[i] < 0) {
            if (err) *err = s->errors[i];
            return s->failed[i];
        }
    int rc = drop_repeated(s, err);
    if (rc >= 0) ms_pool_run(s->pool, (int64_t)s->n_panels, add_products, s);
    return rc;
}

int ms_whiten_sums_finish(const ms_whiten_sums *s, ms_whiten_stats *out, msim_error *err) {
    size_t wide = s->n_panels * LANES;
    double n = s->n_seen ? (double)s->n_seen : 1.0, *to;
    int rc = ms_whiten_stats_open(out, (int64_t)s->dim, err);
    if (rc < 0) return rc;
    out->rows = s->n_rows;
    out->distinct = (int64_t)s->n_seen;
    to = out->covariance;
    for (size_t i = 0; i < s->dim; i++) out->mean[i] = s->sum[i] / n;
    for (size_t i = 0; i < s->dim; i++)
        for (size_t j = 0; j <= i; j++)
            *to++ = s->products[i * wide + j] / n - out->mean[i] * out->mean[j];
    return MSIM_OK;
}
