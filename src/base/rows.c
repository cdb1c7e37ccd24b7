/* Reading stored rows, for every backend: see rows.h. */
#include "base/rows.h"
#include "base/bf16.h"
#include <math.h>
#include <string.h>

enum { LANES = 16 };

/* memcpy, because rows have any alignment. */
static float get_half(const unsigned char *at, int dtype) {
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return dtype == MSIM_DTYPE_F16 ? ms_f32_of_f16(half) : ms_f32_of_bf16((ms_bf16){half});
}

static float get_f32(const unsigned char *at) {
    float single;
    memcpy(&single, at, sizeof single);
    return single;
}

static double get_f64(const unsigned char *at) {
    double wide;
    memcpy(&wide, at, sizeof wide);
    return wide;
}

void ms_row_to_f32(float *out, const unsigned char *at, ptrdiff_t step, int dtype, size_t n) {
    if (dtype == MSIM_DTYPE_F32 && step == (ptrdiff_t)sizeof *out) {
        memcpy(out, at, n * sizeof *out);
        return;
    }
    for (size_t j = 0; j < n; j++, at += step) {
        if (dtype == MSIM_DTYPE_F32) /* not through a register: a NaN keeps its bits */
            memcpy(out + j, at, sizeof *out);
        else
            out[j] = dtype == MSIM_DTYPE_F64 ? (float)get_f64(at) : get_half(at, dtype);
    }
}

/* A loop for each type: this one is where the time of making codes goes. */
void ms_row_to_f64(double *out, const unsigned char *row, int dtype, size_t n) {
    switch (dtype) {
    case MSIM_DTYPE_F32:
        for (size_t j = 0; j < n; j++) out[j] = get_f32(row + 4 * j);
        break;
    case MSIM_DTYPE_F16:
        for (size_t j = 0; j < n; j++) out[j] = get_half(row + 2 * j, MSIM_DTYPE_F16);
        break;
    case MSIM_DTYPE_BF16:
        for (size_t j = 0; j < n; j++) out[j] = get_half(row + 2 * j, MSIM_DTYPE_BF16);
        break;
    default: memcpy(out, row, 8 * n); break;
    }
}

double ms_row_value(const unsigned char *row, int dtype, size_t j) {
    switch (dtype) {
    case MSIM_DTYPE_F32: return get_f32(row + 4 * j);
    case MSIM_DTYPE_F64: return get_f64(row + 8 * j);
    default: return get_half(row + 2 * j, dtype);
    }
}

double ms_row_square(const unsigned char *row, int dtype, size_t dim) {
    double lane[LANES] = {0};
    for (size_t j = 0; j < dim; j++) {
        double x = ms_row_value(row, dtype, j);
        lane[j % LANES] = fma(x, x, lane[j % LANES]);
    }
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

void ms_rows_mean(const float *rows, size_t n, size_t dim, float *out) {
    for (size_t j = 0; j < dim; j++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += (double)rows[i * dim + j];
        out[j] = (float)(sum / (double)n);
    }
}

size_t ms_rows_lower_bound(const int64_t *rows, size_t n, int64_t row) {
    size_t low = 0;
    while (n) {
        size_t half = n / 2;
        if (rows[low + half] < row) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}
