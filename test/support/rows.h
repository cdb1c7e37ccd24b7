/* Rows of every stored type, and the score of docs/SEARCH.md spelled out. */
#ifndef TEST_SUPPORT_ROWS_H
#define TEST_SUPPORT_ROWS_H
#include "base/bf16.h"
#include "base/rows.h"
#include "search/topk.h"
#include <math.h>
#include <string.h>

/* Store x at p, rounded to the type. */
static inline void put_value(unsigned char *p, int dtype, double x) {
    float single = (float)x;
    uint16_t half = dtype == MSIM_DTYPE_F16 ? ms_f16_of_f32(single) : ms_bf16_of_f32(single).bits;
    if (dtype == MSIM_DTYPE_F32)
        memcpy(p, &single, 4);
    else if (dtype == MSIM_DTYPE_F64)
        memcpy(p, &x, 8);
    else
        memcpy(p, &half, 2);
}

static inline double get_value(const unsigned char *p, int dtype) {
    float single;
    double wide;
    uint16_t half;
    if (dtype == MSIM_DTYPE_F32) return memcpy(&single, p, 4), single;
    if (dtype == MSIM_DTYPE_F64) return memcpy(&wide, p, 8), wide;
    memcpy(&half, p, 2);
    return dtype == MSIM_DTYPE_F16 ? ms_f32_of_f16(half) : ms_f32_of_bf16((ms_bf16){half});
}

/* Component j of a view's row. */
static inline double row_value(const ms_rows *view, int64_t row, size_t j) {
    return get_value(ms_rows_at(view, row) + j * ms_dtype_bytes(view->dtype), view->dtype);
}

/* The dot product that scores are made of: 16 lanes, then halves onto halves. */
static inline double defined_dot(const double *a, const double *b, size_t n) {
    double lane[16] = {0};
    for (size_t j = 0; j < n; j++) lane[j % 16] = fma(a[j], b[j], lane[j % 16]);
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

/* Orders ms_hit for qsort. */
static inline int by_rank(const void *a, const void *b) {
    const ms_hit *x = a, *y = b;
    return ms_hit_before(*x, *y) ? -1 : ms_hit_before(*y, *x) ? 1 : 0;
}
#endif
