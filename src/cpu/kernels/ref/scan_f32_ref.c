/* Scan of stored rows in plain C, the reference of every level's. cpu/search/scan.h says what is
 * computed, and how things lie.
 *
 * Shapes    up to 256 rows of any type and width at any alignment; any number of queries.
 * How       16 lanes, one row and one query after another.
 * Numerics  f32, products and sums rounded apart, 16 lanes and then a tree.
 * Needs     queries padded with zeros to 16 elements.
 * Tests     test/unit/cpu/test_scan.c against long double, test/unit/search/test_certify.c. */
#include "base/bf16.h"
#include "cpu/search/scan.h"
#include <math.h>

enum { LANES = 16 };

/* Elements j .. j + 15 of a row; those past dim are 0. */
static void load16(float *out, const unsigned char *row, int dtype, size_t j, size_t dim) {
    size_t n = dim - j < LANES ? dim - j : LANES, bytes = ms_dtype_bytes(dtype);
    row += j * bytes;
    for (size_t l = 0; l < LANES; l++) out[l] = 0.0f;
    for (size_t l = 0; l < n; l++, row += bytes) {
        uint16_t half;
        double wide;
        switch (dtype) {
        case MSIM_DTYPE_F32: memcpy(&out[l], row, 4); break;
        case MSIM_DTYPE_F64: memcpy(&wide, row, 8), out[l] = (float)wide; break;
        case MSIM_DTYPE_F16: memcpy(&half, row, 2), out[l] = ms_f32_of_f16(half); break;
        default: memcpy(&half, row, 2), out[l] = ms_f32_of_bf16((ms_bf16){half}); break;
        }
    }
}

static float sum_lanes(float lane[LANES]) {
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static void dots(float *dst, float *squares, const unsigned char *const *rows, int dtype,
                 const float *queries, size_t query_stride, size_t n_query, size_t n_rows,
                 size_t dim) {
    for (size_t r = 0; r < n_rows; r++) {
        float x[LANES], sum[LANES] = {0};
        for (size_t j = 0; j < dim; j += LANES) {
            load16(x, rows[r], dtype, j, dim);
            for (size_t l = 0; l < LANES; l++) sum[l] += x[l] * x[l];
        }
        squares[r] = sum_lanes(sum);
        for (size_t q = 0; q < n_query; q++) {
            const float *y = queries + q * query_stride;
            for (size_t l = 0; l < LANES; l++) sum[l] = 0.0f;
            for (size_t j = 0; j < dim; j += LANES) {
                load16(x, rows[r], dtype, j, dim);
                for (size_t l = 0; l < LANES; l++) sum[l] += x[l] * y[j + l];
            }
            dst[q * MS_SCAN_ROWS + r] = sum_lanes(sum);
        }
    }
}

static size_t finish(float *dst, const float *squares, size_t n_query, size_t n_rows,
                     float margin) {
    size_t n_odd = 0;
    for (size_t r = 0; r < n_rows; r++) {
        float norm = sqrtf(squares[r]), inverse = 1.0f / norm;
        n_odd += !ms_scan_is_plain(squares[r]);
        for (size_t q = 0; q < n_query; q++) {
            float *d = &dst[q * MS_SCAN_ROWS + r];
            *d = margin == 0.0f ? *d * inverse : *d + margin * norm;
        }
    }
    return n_odd;
}

static size_t keep(uint16_t *kept, const float *upper, size_t n, float cut) {
    size_t n_kept = 0;
    for (size_t r = 0; r < n; r++) {
        kept[n_kept] = (uint16_t)r;
        n_kept += !(upper[r] < cut);
    }
    return n_kept;
}

const ms_scan_kernels ms_scan_f32_ref = {
    .lanes = LANES, .dots = dots, .finish = finish, .keep = keep};
