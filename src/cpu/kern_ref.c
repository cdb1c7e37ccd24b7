/* Level `ref`: scalar kernels written to be read, the permanent reference of every other level (cpu_isa.h says what
 * each computes, docs/MODEL.md why). Plain C, no intrinsics; runs on any machine. */
#include "core/bf16.h"
#include "cpu/cpu_isa.h"
#include <math.h>

/* Element j of a stored row as double. memcpy, because rows have any alignment. */
static double row_element(const unsigned char *row, int dtype, size_t j) {
    uint16_t half;
    float single;
    double wide;
    switch (dtype) {
    case MSIM_DTYPE_F32: memcpy(&single, row + 4 * j, 4); return single;
    case MSIM_DTYPE_F16: memcpy(&half, row + 2 * j, 2); return ms_f32_of_f16(half);
    case MSIM_DTYPE_BF16: memcpy(&half, row + 2 * j, 2); return ms_f32_of_bf16((ms_bf16){half});
    default: memcpy(&wide, row + 8 * j, 8); return wide;
    }
}

static double sum_lanes(double lane[16]) {
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static void dots_f64(double *dst, const unsigned char *rows, size_t row_bytes, int dtype, const float *queries,
                     size_t n_query, size_t n_rows, size_t dim) {
    for (size_t r = 0; r < n_rows; r++)
        for (size_t q = 0; q < n_query; q++) {
            double lane[16] = {0};
            for (size_t j = 0; j < dim; j++)
                lane[j % 16] = fma(row_element(rows + r * row_bytes, dtype, j), queries[q * dim + j], lane[j % 16]);
            dst[r * n_query + q] = sum_lanes(lane);
        }
}

static void squares_f64(double *dst, const unsigned char *rows, size_t row_bytes, int dtype, size_t n_rows,
                        size_t dim) {
    for (size_t r = 0; r < n_rows; r++) {
        double lane[16] = {0};
        for (size_t j = 0; j < dim; j++) {
            double x = row_element(rows + r * row_bytes, dtype, j);
            lane[j % 16] = fma(x, x, lane[j % 16]);
        }
        dst[r] = sum_lanes(lane);
    }
}

const ms_cpu_kernels ms_kernels_ref = {
    .name = "ref",
    .isa = MSIM_ISA_REF,
    .dots_f64 = dots_f64,
    .squares_f64 = squares_f64,
};
