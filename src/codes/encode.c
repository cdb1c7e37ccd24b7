/* Makes codes: the centre, the codes of each row, and the numbers that bound what they leave out.
 * docs/SEARCH.md, Scans of codes. The arithmetic is plain double in a fixed order, without fused
 * operations, so every machine, level and thread makes the same bytes. A file of codes is checked
 * by making them again. This file holds no state; the caller gives the scratch memory. */
#include "base/bf16.h"
#include "codes/codes.h"
#include <math.h>

enum { LANES = 16, CENTRE_ROWS = 4096 };
/* More than the rounding errors of the doubles here, relative and absolute. */
#define SLACK 1e-12
#define MOST_ALONG 0.25f /* the most of the residual along the row that a certificate allows */
/* Between these squares of a row's norm, no square or product underflows or overflows. */
#define LEAST_SQUARE 1e-200
#define MOST_SQUARE 1e200
#define CENTRE_LEAST 1e-6 /* square of the centre's norm: below it, rows are not centred */

/* Two doubles in a register that every x86-64 has. Each goes through the operations that a single
 * double would. */
typedef double pair __attribute__((vector_size(16), aligned(8), may_alias));
enum { PAIRS = LANES / 2 };

static size_t padded(size_t dim) { return (dim + LANES - 1) / LANES * LANES; }

size_t ms_codes_scratch(size_t dim) { return 3 * padded(dim); }

/* Lanes l += l + 8, + 4, + 2, + 1. */
static double sum_lanes(double *lane) {
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static double sum_pairs(const pair *lanes) {
    double lane[LANES];
    memcpy(lane, lanes, sizeof lane);
    return sum_lanes(lane);
}

/* The least f32 that is >= x. */
static float round_up(double x) {
    float f = (float)x;
    return (double)f < x ? nextafterf(f, INFINITY) : f;
}

static void widen(double *x, const unsigned char *row, int dtype, size_t dim) {
    ms_row_to_f64(x, row, dtype, dim);
    for (size_t j = dim; j < padded(dim); j++) x[j] = 0.0;
}

/* The class of a row whose square, summed without fused operations, is zero, tiny, huge or not
 * finite. At these ends it may differ from the score's own square (docs/SEARCH.md), which
 * decides. */
static enum ms_codes_class class_of_extreme(const double *x, size_t n) {
    double lane[LANES] = {0};
    for (size_t j = 0; j < n; j++) lane[j % LANES] = fma(x[j], x[j], lane[j % LANES]);
    double square = sum_lanes(lane);
    if (!isfinite(square)) return MS_CODES_NONFINITE;
    return square == 0.0 ? MS_CODES_ZERO : MS_CODES_ODD;
}

/* Set unit [padded] to the row at length 1. It means nothing unless MS_CODES_CERTIFIED is
 * returned. */
static enum ms_codes_class unit_row(double *unit, const ms_rows *view, int64_t row) {
    size_t n = padded((size_t)view->dim);
    pair lanes[PAIRS] = {{0}}, *x = (pair *)(void *)unit;
    widen(unit, ms_rows_at(view, row), view->dtype, (size_t)view->dim);
    for (size_t j = 0; j < n / 2; j += PAIRS)
        for (size_t l = 0; l < PAIRS; l++) lanes[l] += x[j + l] * x[j + l];
    double square = sum_pairs(lanes);
    if (!(square >= LEAST_SQUARE && square <= MOST_SQUARE)) return class_of_extreme(unit, n);
    double inverse = 1.0 / sqrt(square);
    for (size_t j = 0; j < n / 2; j++) x[j] *= inverse;
    return MS_CODES_CERTIFIED;
}

void ms_codes_find_centre(float *centre, const ms_rows *view, double *scratch) {
    size_t dim = (size_t)view->dim, n = padded(dim);
    double *unit = scratch, *sum = scratch + n, square = 0.0;
    int64_t n_rows = view->n_rows < CENTRE_ROWS ? view->n_rows : CENTRE_ROWS, n_used = 0;
    for (size_t j = 0; j < n; j++) sum[j] = 0.0;
    for (int64_t i = 0; i < n_rows; i++) {
        int64_t row = view->n_rows / n_rows * i + view->n_rows % n_rows * i / n_rows;
        if (unit_row(unit, view, row) != MS_CODES_CERTIFIED) continue;
        for (size_t j = 0; j < n; j++) sum[j] += unit[j];
        n_used++;
    }
    for (size_t j = 0; j < dim; j++) {
        centre[j] = n_used ? (float)(sum[j] / (double)n_used) : 0.0f;
        square += (double)centre[j] * centre[j];
    }
    for (size_t j = 0; j < dim && square < CENTRE_LEAST; j++) centre[j] = 0.0f;
}

/* What a tile keeps of a row besides its codes. */
typedef struct {
    float a, rho, t, y;
} row_numbers;

/* The largest absolute value of a component. */
static double most_of(const double *x, size_t n) {
    double lane[4] = {0};
    for (size_t j = 0; j < n; j += 4)
        for (size_t l = 0; l < 4; l++)
            lane[l] = fabs(x[j + l]) > lane[l] ? fabs(x[j + l]) : lane[l];
    double low = lane[0] > lane[1] ? lane[0] : lane[1],
           high = lane[2] > lane[3] ? lane[2] : lane[3];
    return low > high ? low : high;
}

/* The numbers of the row `unit` = centre + rest. The codes replace `rest` [padded]. */
static row_numbers int8_row(double *rest, const double *unit, const double *centre, size_t n) {
    pair ee[PAIRS] = {{0}}, xe[PAIRS] = {{0}}, mz[PAIRS] = {{0}}, *r = (pair *)(void *)rest;
    const pair *x = (const pair *)(const void *)unit, *m = (const pair *)(const void *)centre;
    float a = (float)(most_of(rest, n) / 127.0);
    if (a < 0x1p-126f) a = 0.0f; /* the centre itself, or nearly: no codes */
    double step = a, inverse = a > 0.0f ? 1.0 / step : 0.0;
    for (size_t j = 0; j < n / 2; j += PAIRS)
        for (size_t l = 0; l < PAIRS; l++) {
            /* to the nearest whole number, ties to even */
            pair z = (r[j + l] * inverse + 0x1.8p52) - 0x1.8p52;
            pair e = r[j + l] - step * z;
            ee[l] += e * e;
            xe[l] += x[j + l] * e;
            mz[l] += m[j + l] * z;
            r[j + l] = z;
        }
    return (row_numbers){.a = a,
                         .rho = round_up(sqrt(sum_pairs(ee)) * (1.0 + SLACK) + SLACK),
                         .t = (float)sum_pairs(xe),
                         .y = (float)(step * sum_pairs(mz))};
}

/* The same for bf16. The rounded values replace `rest`. */
static row_numbers bf16_row(double *rest, const double *unit, size_t n) {
    double ee[LANES] = {0}, xe[LANES] = {0};
    for (size_t j = 0; j < n; j += LANES)
        for (size_t l = 0; l < LANES; l++) {
            double z = ms_round_bf16((float)rest[j + l]), e = rest[j + l] - z;
            ee[l] += e * e;
            xe[l] += unit[j + l] * e;
            rest[j + l] = z;
        }
    return (row_numbers){.rho = round_up(sqrt(sum_lanes(ee)) * (1.0 + SLACK) + SLACK),
                         .t = (float)sum_lanes(xe)};
}

/* Write one row's codes into its lane. codes [padded] are 0 past dim. */
static void put_codes(unsigned char *tile, size_t lane, const double *codes, size_t dim,
                      int codec) {
    unsigned char *dst = tile + MS_CODES_ROW_BYTES * lane;
    if (codec == MS_CODES_INT8) {
        for (size_t j = 0; j < dim; j += MS_CODES_INT8_GROUP, dst += MS_CODES_GROUP_BYTES)
            for (size_t i = 0; i < MS_CODES_INT8_GROUP; i++)
                dst[i] = (unsigned char)(128 + (int)codes[j + i]);
        return;
    }
    /* the values are bf16 already: take the upper half of their f32 */
    for (size_t j = 0; j < dim; j += MS_CODES_BF16_GROUP, dst += MS_CODES_GROUP_BYTES) {
        uint32_t both = ms_f32_bits((float)codes[j]) >> 16 |
                        (ms_f32_bits((float)codes[j + 1]) & 0xffff0000u);
        memcpy(dst, &both, sizeof both);
    }
}

/* Write one row's numbers into its lane of a tile's constants. */
static void put_constants(unsigned char *constants, size_t lane, row_numbers k, int codec) {
    unsigned char *at = constants + lane * sizeof(float);
    if (codec == MS_CODES_INT8) {
        memcpy(at + MS_CODES_INT8_A, &k.a, sizeof k.a);
        memcpy(at + MS_CODES_INT8_RHO, &k.rho, sizeof k.rho);
        memcpy(at + MS_CODES_INT8_T, &k.t, sizeof k.t);
        memcpy(at + MS_CODES_INT8_Y, &k.y, sizeof k.y);
        return;
    }
    memcpy(at + MS_CODES_BF16_RHO, &k.rho, sizeof k.rho);
    memcpy(at + MS_CODES_BF16_T, &k.t, sizeof k.t);
}

void ms_codes_make_tile(unsigned char *dst, unsigned char *class, const ms_rows *view, int64_t tile,
                        const float *centre, int codec, double *scratch) {
    size_t dim = (size_t)view->dim, n = padded(dim);
    size_t codes = codec == MS_CODES_INT8 ? ms_codes_int8(dim) : ms_codes_bf16(dim);
    double *unit = scratch, *rest = scratch + n, *wide = scratch + 2 * n; /* wide: the centre */
    memset(dst, codec == MS_CODES_INT8 ? 128 : 0, codes);
    for (size_t j = 0; j < n; j++) wide[j] = j < dim ? centre[j] : 0.0;
    for (size_t lane = 0; lane < MS_CODES_TILE; lane++) {
        int64_t row = tile * MS_CODES_TILE + (int64_t)lane;
        row_numbers k = {.rho = -INFINITY};
        class[lane] = row < view->n_rows ? (unsigned char)unit_row(unit, view, row)
                                         : MS_CODES_CERTIFIED;
        if (row < view->n_rows && class[lane] == MS_CODES_CERTIFIED) {
            for (size_t j = 0; j < n; j++) rest[j] = unit[j] - wide[j];
            k = codec == MS_CODES_INT8 ? int8_row(rest, unit, wide, n) : bf16_row(rest, unit, n);
            if (fabsf(k.t) > MOST_ALONG)
                class[lane] = MS_CODES_ODD;
            else
                put_codes(dst, lane, rest, dim, codec);
        }
        if (class[lane] == MS_CODES_ODD) k = (row_numbers){.rho = INFINITY};
        put_constants(dst + codes, lane, k, codec);
    }
}
