/* Level `ref`: the encoder's kernels in plain C, written to be read, the permanent reference of
 * every other level. cpu/encoder/kernels.h says what each computes, docs/MODEL.md why.
 *
 * Shapes    any m; n and k multiples of 16, in panels of 16 columns. Keys: k and v as rows of 64,
 *           [head][row][64].
 * How       one element after another. The four choices that are easiest to get wrong have REF_
 *           names.
 * Numerics  operands are f32 in both precisions (bf16 values widened); a mean and a variance are
 *           summed in double.
 * Needs     nothing of the CPU.
 * Tests     test/unit/cpu/test_kernels.c against f64, test_encoder.c against the original;
 *           test_planted.c gives REF_ names wrong values and shows that the goldens notice. */
#include "base/rows.h"
#include "cpu/kernels/common.h"
#include <math.h>

#ifndef REF_GELU
/* exact, not the tanh form */
#define REF_GELU(u) (0.5f * (u) * (1.0f + erff((u)*0.70710678118654752f)))
#define REF_LN_EPS MS_NORM_EPS
#define REF_ROTARY_DIMS MS_ROTARY_DIMS /* the first 32 of 64 */
#define REF_PAIR_FIRST(j) (2 * (j))    /* interleaved pairs (2j, 2j + 1), not halves */
#define REF_PAIR_SECOND(j) (2 * (j) + 1)
#endif

enum { KEY_BLOCK = 64, ATTEND_ROWS = 64 };

/* A value on its way into an operand. */
static float operand(float x, int precision) {
    return precision == MSIM_PRECISION_BF16 ? ms_round_bf16(x) : x;
}

/* Sums in double: the reference should not add an error of its own to a comparison. */
static void norm(void *dst, size_t dst_stride, const float *x, const float *scale, size_t n_rows,
                 size_t dim, int precision) {
    float *out = dst;
    for (size_t i = 0; i < n_rows; i++, x += dim, out += dst_stride) {
        double sum = 0.0, squares = 0.0;
        for (size_t j = 0; j < dim; j++) sum += x[j];
        float mean = (float)(sum / (double)dim);
        for (size_t j = 0; j < dim; j++) squares += ((double)x[j] - mean) * ((double)x[j] - mean);
        float inverse = 1.0f / sqrtf((float)(squares / (double)dim) + REF_LN_EPS);
        for (size_t j = 0; j < dim; j++)
            out[j] = operand((x[j] - mean) * inverse * scale[j], precision);
    }
}

static void product(const ms_product *p) {
    for (size_t i = 0; i < p->m; i++)
        for (size_t j0 = 0; j0 < p->n; j0 += PANEL_COLS) {
            const float *a = (const float *)p->a + i * p->a_stride;
            const float *w = (const float *)p->w + j0 / PANEL_COLS * p->w_stride;
            float sum[PANEL_COLS] = {0};
            for (size_t l = 0; l < p->k; l++)
                for (size_t j = 0; j < PANEL_COLS; j++) sum[j] += a[l] * w[l * PANEL_COLS + j];
            float *dst = (float *)p->dst + i * p->dst_stride + j0;
            for (size_t j = 0; j < PANEL_COLS; j++) {
                float y = p->bias ? sum[j] + p->bias[j0 + j] : sum[j];
                if (p->epilogue == MS_EPILOGUE_STORE) dst[j] = y;
                if (p->epilogue == MS_EPILOGUE_ADD) dst[j] += y;
                if (p->epilogue == MS_EPILOGUE_GELU) dst[j] = operand(REF_GELU(y), p->precision);
            }
        }
}

/* One head of one row: rounded as the product's result, rotated in f32, rounded again where it was
 * rotated. */
static void rotate(float *t, const float *src, const float *c, const float *s, int precision) {
    for (int d = 0; d < MS_HEAD_DIM; d++) t[d] = operand(src[d], precision);
    for (int j = 0; j < REF_ROTARY_DIMS / 2; j++) {
        float *first = t + REF_PAIR_FIRST(j), *second = t + REF_PAIR_SECOND(j), a = *first,
              b = *second;
        *first = operand(a * c[j % MS_ROTARY_PAIRS] - b * s[j % MS_ROTARY_PAIRS], precision);
        *second = operand(b * c[j % MS_ROTARY_PAIRS] + a * s[j % MS_ROTARY_PAIRS], precision);
    }
}

static void store_q(const ms_heads *h, void *dst, size_t dst_stride) {
    for (size_t i = 0; i < h->n_rows; i++)
        for (size_t head = 0; head < h->heads; head++)
            rotate((float *)dst + i * dst_stride + head * MS_HEAD_DIM,
                   h->src + i * h->src_stride + head * MS_HEAD_DIM, h->cos + i * MS_ROTARY_PAIRS,
                   h->sin + i * MS_ROTARY_PAIRS, h->precision);
}

static void store_k(const ms_heads *h, const ms_keys *keys) {
    for (size_t head = 0; head < h->heads; head++)
        for (size_t i = 0; i < h->n_rows; i++)
            rotate((float *)keys->k +
                       (head * keys->rows + h->first_row + h->first_position + i) * MS_HEAD_DIM,
                   h->src + i * h->src_stride + head * MS_HEAD_DIM, h->cos + i * MS_ROTARY_PAIRS,
                   h->sin + i * MS_ROTARY_PAIRS, h->precision);
}

static void store_v(const ms_heads *h, const ms_keys *keys) {
    for (size_t head = 0; head < h->heads; head++)
        for (size_t i = 0; i < h->n_rows; i++) {
            float *v = (float *)keys->v +
                       (head * keys->rows + h->first_row + h->first_position + i) * MS_HEAD_DIM;
            for (size_t d = 0; d < MS_HEAD_DIM; d++)
                v[d] = operand(h->src[i * h->src_stride + head * MS_HEAD_DIM + d], h->precision);
        }
}

/* One query row over all keys, a block at a time with a running maximum and sum. */
static void attend_row(float *dst, const float *q, const float *k, const float *v, size_t n_keys,
                       int precision) {
    float maximum = -INFINITY, sum = 0.0f, acc[MS_HEAD_DIM] = {0}, p[KEY_BLOCK];
    for (size_t k0 = 0; k0 < n_keys; k0 += KEY_BLOCK) {
        size_t n = n_keys - k0 < KEY_BLOCK ? n_keys - k0 : KEY_BLOCK;
        float old = maximum;
        for (size_t j = 0; j < n; j++) {
            p[j] = 0.0f;
            for (size_t d = 0; d < MS_HEAD_DIM; d++) p[j] += q[d] * k[(k0 + j) * MS_HEAD_DIM + d];
            p[j] *= MS_SCORE_SCALE;
            if (p[j] > maximum) maximum = p[j];
        }
        float shrink = expf(old - maximum); /* 0 at the first block */
        sum *= shrink;
        for (size_t d = 0; d < MS_HEAD_DIM; d++) acc[d] *= shrink;
        for (size_t j = 0; j < n; j++) {
            p[j] = expf(p[j] - maximum);
            sum += p[j];
            for (size_t d = 0; d < MS_HEAD_DIM; d++) acc[d] += p[j] * v[(k0 + j) * MS_HEAD_DIM + d];
        }
    }
    for (size_t d = 0; d < MS_HEAD_DIM; d++) dst[d] = operand(acc[d] / sum, precision);
}

static void attend(const ms_attend *a) {
    size_t first = (a->head * a->keys->rows + a->first_row) * MS_HEAD_DIM;
    for (size_t i = 0; i < a->n_query; i++)
        attend_row((float *)a->dst + i * a->dst_stride, (const float *)a->q + i * a->q_stride,
                   (const float *)a->keys->k + first, (const float *)a->keys->v + first, a->n_keys,
                   a->precision);
}

static double sum_lanes(double lane[16]) {
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static void dots_f64(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                     const float *queries, size_t n_query, size_t n_rows, size_t dim) {
    for (size_t r = 0; r < n_rows; r++)
        for (size_t q = 0; q < n_query; q++) {
            double lane[16] = {0};
            for (size_t j = 0; j < dim; j++)
                lane[j % 16] = fma(ms_row_value(rows + r * row_bytes, dtype, j),
                                   queries[q * dim + j], lane[j % 16]);
            dst[r * n_query + q] = sum_lanes(lane);
        }
}

static void squares_f64(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                        size_t n_rows, size_t dim) {
    for (size_t r = 0; r < n_rows; r++) dst[r] = ms_row_square(rows + r * row_bytes, dtype, dim);
}

const ms_cpu_kernels ms_encoder_ref = {
    .name = "ref",
    .isa = MSIM_ISA_REF,
    .panel_cols = PANEL_COLS,
    .tile_rows = 1,
    .operand_bytes = {sizeof(float), sizeof(float)},
    .attend_rows = ATTEND_ROWS,
    .attend_scratch_bytes = 0,
    .pack = pack_panels_f32,
    .norm = norm,
    .product = product,
    .store_q = store_q,
    .store_k = store_k,
    .store_v = store_v,
    .attend = attend,
    .dots_f64 = dots_f64,
    .squares_f64 = squares_f64,
};
