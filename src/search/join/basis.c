/* Finds the directions in which a sample varies most: see basis.h. Nothing here needs to be exact:
 * whatever the basis is, ms_basis_stretch measures what proofs need of it. */
#include "search/join/basis.h"
#include "base/mem.h"
#include "base/random.h"
#include <math.h>
#include <string.h>

enum { ITERATIONS = 4 }; /* of the power method: further ones changed no figure */
#define SEED 20261129u
#define NOTHING 1e-24 /* a column whose square is smaller has no direction */

/* Memory for a while. */
typedef struct {
    float *transpose; /* owned: [dim][MS_BASIS_ROWS] */
    float *square;    /* owned: [dim][dim]: rows^T rows */
    float *next;      /* owned: [dim][n_columns] */
    double *columns;  /* owned: [n_columns][dim] */
} workspace;

/* ---- The sample ---- */

static void take_row(float *out, const ms_slices *rows, int64_t row, size_t dim) {
    const ms_rows *view;
    const unsigned char *at = ms_slices_row(rows, rows->first_row + row, &view);
    double square = ms_row_square(at, view->dtype, dim);
    double inverse = isfinite(square) && square > 0 ? 1 / sqrt(square) : 0;
    ms_row_to_f32(out, at, (ptrdiff_t)ms_dtype_bytes(view->dtype), view->dtype, dim);
    for (size_t j = 0; j < dim; j++) out[j] = inverse > 0 ? (float)(out[j] * inverse) : 0.0f;
}

/* Rows of both sides, spread evenly, less their mean. */
static void take_sample(ms_basis *s, const ms_slices *a, const ms_slices *b) {
    int64_t n = a->n_rows + (b == a ? 0 : b->n_rows);
    for (int64_t i = 0; i < MS_BASIS_ROWS; i++) {
        int64_t row = n / MS_BASIS_ROWS * i + n % MS_BASIS_ROWS * i / MS_BASIS_ROWS;
        float *out = s->rows + (size_t)i * s->dim;
        if (row < a->n_rows)
            take_row(out, a, row, s->dim);
        else
            take_row(out, b, row - a->n_rows, s->dim);
    }
    for (size_t j = 0; j < s->dim; j++) {
        double sum = 0;
        for (size_t i = 0; i < MS_BASIS_ROWS; i++) sum += s->rows[i * s->dim + j];
        s->mean[j] = (float)(sum / MS_BASIS_ROWS);
        for (size_t i = 0; i < MS_BASIS_ROWS; i++) s->rows[i * s->dim + j] -= s->mean[j];
    }
}

/* ---- The basis ---- */

/* dst [n][n_out] = rows [n][dim] x map [dim][n_out]; n is a multiple of 16. */
static void multiply(const ms_basis *s, float *dst, const float *rows, const float *map, size_t n,
                     size_t dim, size_t n_out) {
    for (size_t i = 0; i < n; i += MS_JOIN_PROJECTED)
        s->kernels->project(dst + i * n_out, rows + i * dim, map, dim, n_out);
}

/* As many doubles as the width of any row that gets a basis is a multiple of. */
typedef double basis_vector __attribute__((vector_size(64), may_alias));
enum { LANES = sizeof(basis_vector) / sizeof(double) };

/* x -= (x.y) y, n vectors each. */
static void take_off(basis_vector *x, const basis_vector *y, size_t n) {
    basis_vector sum = {0};
    double dot = 0;
    for (size_t j = 0; j < n; j++) sum += x[j] * y[j];
    for (size_t l = 0; l < LANES; l++) dot += sum[l];
    for (size_t j = 0; j < n; j++) x[j] -= dot * y[j];
}

/* Make column c of the basis orthogonal to those before it, and of length 1. A column that is
 * nothing becomes zeros: a basis may have fewer directions. */
static void straighten(ms_basis *s, double *columns, size_t c, size_t passes) {
    double *x = columns + c * s->dim, square = 0;
    for (size_t j = 0; j < s->dim; j++) x[j] = s->basis[j * s->n_columns + c];
    for (size_t i = 0; i < passes * c; i++)
        take_off((basis_vector *)(void *)x, (basis_vector *)(void *)(columns + i % c * s->dim),
                 s->dim / LANES);
    for (size_t j = 0; j < s->dim; j++) square += x[j] * x[j];
    double inverse = square > NOTHING ? 1 / sqrt(square) : 0;
    for (size_t j = 0; j < s->dim; j++) {
        x[j] *= inverse;
        s->basis[j * s->n_columns + c] = (float)x[j];
    }
}

/* The power method: each product with rows^T rows turns a basis further to where they vary most. */
static void find_basis(ms_basis *s, workspace *w) {
    for (size_t i = 0; i < MS_BASIS_ROWS; i++)
        for (size_t j = 0; j < s->dim; j++)
            w->transpose[j * MS_BASIS_ROWS + i] = s->rows[i * s->dim + j];
    multiply(s, w->square, w->transpose, s->rows, s->dim, MS_BASIS_ROWS, s->dim);
    for (size_t i = 0; i < s->dim * s->n_columns; i++)
        s->basis[i] = (float)(ms_random_at(SEED, i) >> 40) * 0x1p-23f - 1.0f;
    for (int i = 0; i < ITERATIONS; i++) {
        multiply(s, w->next, w->square, s->basis, s->dim, s->dim, s->n_columns);
        memcpy(s->basis, w->next, s->dim * s->n_columns * sizeof *s->basis);
        for (size_t c = 0; c < s->n_columns; c++)
            straighten(s, w->columns, c, i + 1 < ITERATIONS ? 1 : 2); /* a pass leaves a rest */
    }
    multiply(s, s->mapped, s->rows, s->basis, MS_BASIS_ROWS, s->dim, s->n_columns);
}

/* Its square is at most 1 plus the size of P P^T - 1. (A column of zeros makes nothing longer.) */
double ms_basis_stretch(const ms_basis *s, size_t n) {
    double sum = 0;
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b <= a; b++) {
            double dot = 0;
            for (size_t j = 0; j < s->dim; j++)
                dot += (double)s->basis[j * s->n_columns + a] * s->basis[j * s->n_columns + b];
            double off = a == b && dot > 0 ? dot - 1 : dot;
            sum += (a == b ? 1 : 2) * off * off;
        }
    return sqrt(1 + sqrt(sum)) + 1e-9;
}

/* ---- Memory ---- */

static int open_workspace(workspace *w, const ms_basis *s, msim_error *err) {
    const char *what = "basis of a join";
    if ((w->transpose = ms_alloc(MS_BASIS_ROWS * s->dim, sizeof *w->transpose, what, err)) &&
        (w->square = ms_alloc(s->dim * s->dim, sizeof *w->square, what, err)) &&
        (w->next = ms_alloc(s->dim * s->n_columns, sizeof *w->next, what, err)) &&
        (w->columns = ms_alloc(s->dim * s->n_columns, sizeof *w->columns, what, err)))
        return MSIM_OK;
    return -MSIM_E_MEMORY;
}

static void close_workspace(workspace *w) {
    ms_free(w->transpose);
    ms_free(w->square);
    ms_free(w->next);
    ms_free(w->columns);
}

int ms_basis_open(ms_basis *s, const ms_join_kernels *kernels, const ms_slices *a,
                  const ms_slices *b, int has_columns, msim_error *err) {
    const char *what = "basis of a join";
    workspace w = {0};
    size_t dim = (size_t)a->dim, half = dim / 2 / MS_JOIN_STEP * MS_JOIN_STEP;
    *s = (ms_basis){.kernels = kernels, .dim = dim};
    /* the products that find it take whole registers */
    if (has_columns && dim % MS_JOIN_PROJECTED == 0 && dim <= MS_BASIS_DIM)
        s->n_columns = half < MS_BASIS_COLUMNS ? half : MS_BASIS_COLUMNS;
    int rc = -MSIM_E_MEMORY;
    if ((s->mean = ms_alloc(dim, sizeof *s->mean, what, err)) &&
        (s->rows = ms_alloc(MS_BASIS_ROWS * dim, sizeof *s->rows, what, err)) &&
        (s->basis = ms_alloc(dim * s->n_columns, sizeof *s->basis, what, err)) &&
        (s->mapped = ms_alloc(MS_BASIS_ROWS * s->n_columns, sizeof *s->mapped, what, err)))
        rc = MSIM_OK;
    if (rc >= 0 && s->n_columns) rc = open_workspace(&w, s, err);
    if (rc >= 0) take_sample(s, a, b);
    if (rc >= 0 && s->n_columns) find_basis(s, &w);
    close_workspace(&w);
    if (rc < 0) ms_basis_close(s);
    return rc;
}

void ms_basis_close(ms_basis *s) {
    ms_free(s->mean);
    ms_free(s->rows);
    ms_free(s->basis);
    ms_free(s->mapped);
    *s = (ms_basis){0};
}
