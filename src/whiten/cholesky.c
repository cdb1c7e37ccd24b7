/* Contract: whiten/cholesky.h. Golub and Van Loan, Matrix Computations, 4.2 (the factor, row by
 * row) and 3.1 (the inverse of a triangle). */
#include "whiten/cholesky.h"
#include <math.h>
#include <string.h>

enum { LANES = 4 };

static double *row_of(double *a, size_t i) { return a + i * (i + 1) / 2; }

static double dot(const double *a, const double *b, size_t n) {
    double lane[LANES] = {0};
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++) lane[l] += a[k + l] * b[k + l];
    for (; k < n; k++) lane[k % LANES] += a[k] * b[k];
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

bool ms_cholesky_factor(double *a, size_t dim) {
    for (size_t i = 0; i < dim; i++) {
        double *row = row_of(a, i);
        for (size_t j = 0; j < i; j++) {
            const double *other = row_of(a, j);
            row[j] = (row[j] - dot(row, other, j)) / other[j];
        }
        double pivot = row[i] - dot(row, row, i);
        if (!(pivot > 0.0) || !isfinite(pivot)) return false;
        row[i] = sqrt(pivot);
    }
    return true;
}

/* Row i of the inverse is (e_i - the sum of l[i][k] times row k over k < i) / l[i][i]. */
void ms_cholesky_invert(double *out, const double *l, size_t dim) {
    for (size_t i = 0; i < dim; i++) {
        const double *from = l + i * (i + 1) / 2;
        double *row = row_of(out, i);
        memset(row, 0, (i + 1) * sizeof *row);
        for (size_t k = 0; k < i; k++) {
            const double *above = out + k * (k + 1) / 2;
            for (size_t j = 0; j <= k; j++) row[j] -= from[k] * above[j];
        }
        for (size_t j = 0; j < i; j++) row[j] /= from[i];
        row[i] = 1.0 / from[i];
    }
}
