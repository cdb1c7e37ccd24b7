/* What every backend asks of stored rows: see rows.h. */
#include "base/rows.h"
#include "base/bf16.h"
#include <math.h>

enum { LANES = 16 };

/* memcpy, because rows have any alignment. */
double ms_row_value(const unsigned char *row, int dtype, size_t j) {
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
