/* Norms and codes of one side of a join: see side.h. */
#include "search/join/side.h"
#include "base/mem.h"
#include <math.h>
#include <string.h>

int ms_join_side_open(ms_join_side *side, const ms_rows *views, size_t n_views, msim_error *err) {
    int64_t n = 0;
    *side = (ms_join_side){0};
    for (size_t i = 0; i < n_views; i++) n += views[i].n_rows;
    int rc = ms_slices_open(&side->rows, views, n_views, 0, n, err);
    if (rc < 0) return rc;
    side->n_rows = n;
    side->n_tiles = ((size_t)n + MS_JOIN_TILE - 1) / MS_JOIN_TILE;
    side->norms = ms_alloc(side->n_tiles, MS_JOIN_TILE * sizeof *side->norms, "norms", err);
    if (side->norms) return MSIM_OK;
    ms_join_side_close(side);
    return -MSIM_E_MEMORY;
}

void ms_join_side_close(ms_join_side *side) {
    ms_slices_close(&side->rows);
    ms_free(side->norms);
    ms_free(side->codes);
    ms_free(side->least);
    ms_free(side->sum);
    *side = (ms_join_side){0};
}

ms_join_rows ms_join_side_tiles(const ms_join_side *side, size_t first, size_t n) {
    return (ms_join_rows){.codes = side->codes + first * ms_join_tile_bytes(side->components),
                          .least = side->least + first * MS_JOIN_TILE,
                          .sum = side->sum + first * MS_JOIN_TILE,
                          .n_tiles = n};
}

typedef struct {
    ms_join_side *side;
    const ms_join_space *space; /* NULL: norms alone */
    ms_join_squares squares;
    int keeps_zeros;
    float *rows, *scratch; /* owned: of each worker [16][dim] and [16][components] */
    _Atomic int64_t n_nonfinite;
} encoding;

/* The row at length 1, or zeros where it has none. Returns its norm. */
static double unit_row(const encoding *e, int64_t row, float *unit) {
    const ms_rows *view;
    const unsigned char *at = ms_slices_row(&e->side->rows, row, &view);
    size_t dim = (size_t)view->dim;
    double square;
    e->squares(&square, at, view->row_bytes, view->dtype, 1, dim);
    double norm = sqrt(square), inverse = norm > 0 && norm < INFINITY ? 1 / norm : 0;
    if (!e->space) return norm;
    ms_row_to_f32(unit, at, (ptrdiff_t)ms_dtype_bytes(view->dtype), view->dtype, dim);
    for (size_t j = 0; j < dim; j++) unit[j] = inverse > 0 ? (float)(unit[j] * inverse) : 0.0f;
    return norm;
}

static void encode_tile(void *arg, int64_t tile, int worker) {
    encoding *e = arg;
    ms_join_side *side = e->side;
    size_t dim = (size_t)side->rows.dim, at = (size_t)tile * MS_JOIN_TILE;
    float *rows = e->rows ? e->rows + (size_t)worker * MS_JOIN_TILE * dim : NULL;
    ms_join_numbers numbers[MS_JOIN_TILE];
    double *norms = side->norms + at;
    for (size_t r = 0; r < MS_JOIN_TILE; r++) {
        float *unit = rows ? rows + r * dim : NULL;
        norms[r] = 0;
        if ((int64_t)(at + r) < side->n_rows)
            norms[r] = unit_row(e, (int64_t)(at + r), unit);
        else if (unit)
            memset(unit, 0, dim * sizeof *unit);
        e->n_nonfinite += !(norms[r] < INFINITY);
    }
    if (!e->space) return;
    ms_join_space_encode(e->space, rows,
                         side->codes + (size_t)tile * ms_join_tile_bytes(side->components), numbers,
                         e->scratch + (size_t)worker * MS_JOIN_TILE * side->components);
    for (size_t r = 0; r < MS_JOIN_TILE; r++) {
        side->sum[at + r] = numbers[r].sum;
        side->least[at + r] = numbers[r].least;
        if ((int64_t)(at + r) >= side->n_rows || !(norms[r] < INFINITY))
            side->least[at + r] = MS_JOIN_NEVER; /* in no pair */
        else if (norms[r] == 0)
            side->least[at + r] = e->keeps_zeros ? MS_JOIN_ALWAYS : MS_JOIN_NEVER;
    }
}

int ms_join_side_encode(ms_join_side *side, const ms_join_space *space, ms_join_squares squares,
                        int keeps_zeros, ms_pool *pool, msim_error *err) {
    encoding e = {.side = side, .space = space, .squares = squares, .keeps_zeros = keeps_zeros};
    size_t n_workers = (size_t)ms_pool_size(pool), dim = (size_t)side->rows.dim;
    int rc = MSIM_OK;
    if (space) {
        side->components = space->components;
        if (!(side->codes = ms_alloc(side->n_tiles, ms_join_tile_bytes(space->components),
                                     "codes of a join", err)) ||
            !(side->least = ms_alloc(side->n_tiles, MS_JOIN_TILE * sizeof *side->least,
                                     "codes of a join", err)) ||
            !(side->sum = ms_alloc(side->n_tiles, MS_JOIN_TILE * sizeof *side->sum,
                                   "codes of a join", err)) ||
            !(e.rows = ms_alloc(n_workers, MS_JOIN_TILE * dim * sizeof *e.rows, "codes of a join",
                                err)) ||
            !(e.scratch = ms_alloc(n_workers, MS_JOIN_TILE * space->components * sizeof *e.scratch,
                                   "codes of a join", err)))
            rc = -MSIM_E_MEMORY;
    }
    if (rc >= 0) ms_pool_run(pool, (int64_t)side->n_tiles, encode_tile, &e);
    side->n_nonfinite = e.n_nonfinite;
    ms_free(e.rows);
    ms_free(e.scratch);
    return rc;
}
