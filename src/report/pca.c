/* Principal components: the two axes on which rows vary most, by power iteration of both at once.
 * The rows themselves are multiplied, so memory is theirs and a few vectors. */
#include "base/random.h"
#include "report/report.h"
#include <math.h>
#include <string.h>

enum { AXES = 2, MOST_ROUNDS = 300, ROWS_BETWEEN = 4096 /* two looks at progress */ };

/* An axis has come to rest when it turns by less: 1 - cosine. */
#define AT_REST 1e-9

/* Each row at length 1, then less the mean. Returns the sum of squares that is left. */
static double centre(float *rows, size_t n, size_t dim, double *mean) {
    double total = 0;
    memset(mean, 0, dim * sizeof *mean);
    for (size_t i = 0; i < n; i++) {
        float *row = rows + i * dim;
        double length = 0;
        for (size_t k = 0; k < dim; k++) length += (double)row[k] * row[k];
        length = sqrt(length);
        for (size_t k = 0; k < dim; k++) {
            if (!isfinite(row[k]) || !isfinite(length) || length == 0)
                row[k] = 0;
            else
                row[k] = (float)(row[k] / length);
            mean[k] += row[k] / (double)n;
        }
    }
    for (size_t i = 0; i < n * dim; i++) {
        rows[i] -= (float)mean[i % dim];
        total += (double)rows[i] * rows[i];
    }
    return total;
}

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Length 1, at a right angle to `other` (NULL: to none). Returns the length before. */
static double straighten(double *axis, const double *other, size_t dim) {
    if (other) {
        const double share = dot(axis, other, dim);
        for (size_t k = 0; k < dim; k++) axis[k] -= share * other[k];
    }
    const double length = sqrt(dot(axis, axis, dim));
    for (size_t k = 0; k < dim; k++) axis[k] = length > 0 ? axis[k] / length : 0;
    return length;
}

/* next = R^T R axes */
static int multiply(const msim_report *r, int round, const float *rows, size_t n, size_t dim,
                    const double *axes, double *next, msim_error *err) {
    memset(next, 0, AXES * dim * sizeof *next);
    for (size_t i = 0; i < n; i++) {
        int rc = i % ROWS_BETWEEN ? MSIM_OK : ms_report_progress(r, "rounds", round, -1, err);
        if (rc < 0) return rc;
        const float *row = rows + i * dim;
        double x[AXES] = {0};
        for (size_t k = 0; k < dim; k++) {
            x[0] += row[k] * axes[k];
            x[1] += row[k] * axes[dim + k];
        }
        for (size_t k = 0; k < dim; k++) {
            next[k] += x[0] * row[k];
            next[dim + k] += x[1] * row[k];
        }
    }
    return MSIM_OK;
}

static int find_axes(const msim_report *r, const float *rows, size_t n, size_t dim, double *axes,
                     double *next, double *variance, msim_error *err) {
    uint64_t seed = 1;
    for (size_t k = 0; k < AXES * dim; k++)
        axes[k] = (double)(int64_t)ms_random_next(&seed) / 9223372036854775808.0;
    (void)straighten(axes, NULL, dim);
    (void)straighten(axes + dim, axes, dim);
    for (int round = 0; round < MOST_ROUNDS; round++) {
        int rc = multiply(r, round, rows, n, dim, axes, next, err);
        if (rc < 0) return rc;
        variance[0] = straighten(next, NULL, dim);
        variance[1] = straighten(next + dim, next, dim);
        const double turned =
            fmax(1 - fabs(dot(axes, next, dim)), 1 - fabs(dot(axes + dim, next + dim, dim)));
        memcpy(axes, next, AXES * dim * sizeof *axes);
        if (turned < AT_REST) break;
    }
    return MSIM_OK;
}

/* The sign of an axis is anybody's choice: its largest component is positive. */
static void turn(double *axis, size_t dim) {
    size_t largest = 0;
    for (size_t k = 1; k < dim; k++)
        if (fabs(axis[k]) > fabs(axis[largest])) largest = k;
    if (axis[largest] < 0)
        for (size_t k = 0; k < dim; k++) axis[k] = -axis[k];
}

int ms_report_pca(const msim_report *r, float *rows, size_t n, size_t dim, double *points,
                  double *shares, msim_error *err) {
    double *axes = ms_alloc(2 * AXES * dim + dim, sizeof *axes, "axes of the map", err);
    double variance[AXES] = {0};
    if (!axes) return -MSIM_E_MEMORY;
    const double total = centre(rows, n, dim, axes + 2 * AXES * dim);
    int rc = find_axes(r, rows, n, dim, axes, axes + AXES * dim, variance, err);
    for (int a = 0; a < AXES && rc >= 0; a++) {
        turn(axes + (size_t)a * dim, dim);
        shares[a] = total > 0 ? variance[a] / total : 0;
    }
    for (size_t i = 0; i < n && rc >= 0; i++)
        for (size_t a = 0; a < AXES; a++) {
            double x = 0;
            for (size_t k = 0; k < dim; k++) x += rows[i * dim + k] * axes[a * dim + k];
            points[AXES * i + a] = x;
        }
    ms_free(axes);
    return rc;
}
