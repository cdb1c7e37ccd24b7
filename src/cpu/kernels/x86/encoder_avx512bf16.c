/* Level `avx512bf16`: the encoder's kernels on AVX-512 with AVX512_BF16. cpu/encoder/kernels.h says
 * what each computes. Precision f32 runs level avx512's kernels.
 *
 * Shapes    as level avx512, but that elements of k lie in pairs: panels [k / 2][32 columns][2],
 *           keys k [head][row / 16][64 / 2][16][2], v in pairs of rows [64][2].
 * How       as level avx512: 12 rows x 32 columns, with vdpbf16ps for two multiply-adds.
 * Numerics  bf16 operands, also p in attention. vdpbf16ps adds both products of a pair to an f32
 *           lane and rounds after each; subnormal operands count as 0: at most 2^-126 |b| a term,
 *           nothing beside bf16's own rounding. exp2 is of degree 3 here: docs/MODEL.md.
 * Needs     k even; nothing aligned.
 * Tests     test/unit/cpu/test_kernels.c and test_encoder.c against `ref` and f64, test_dots.c. */
#include "cpu/encoder/kernels.h"
#include "cpu/kernels/x86/avx512bf16_common.h"

INLINE __m512bh pairs(const void *p) { return (__m512bh)_mm512_loadu_si512(p); }

INLINE __m512bh same_pair(const char *p) {
    int both;
    memcpy(&both, p, sizeof both);
    return (__m512bh)_mm512_set1_epi32(both);
}

/* As sum_f32, over pairs: w and w2 hold 16 pairs a step. */
INLINE void sum_bf16(__m512 acc[TILE_ROWS][2], const ms_bf16 *a, size_t a_stride, const ms_bf16 *w,
                     const ms_bf16 *w2, size_t step, size_t k, const int rows) {
    const char *base[3] = {(const char *)a, (const char *)(a + 4 * a_stride),
                           (const char *)(a + 8 * a_stride)};
    size_t stride = a_stride * sizeof *a, stride3 = 3 * stride;
    UNROLL
    for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    for (size_t n = k / PAIRS; n; n--, w += step, w2 += step) {
        __m512bh w0 = pairs(w), w1 = pairs(w2);
        UNROLL
        for (int r = 0; r < rows; r++) {
            __m512bh x = same_pair(tile_row(base, stride, stride3, r));
            acc[r][0] = _mm512_dpbf16_ps(acc[r][0], x, w0);
            acc[r][1] = _mm512_dpbf16_ps(acc[r][1], x, w1);
        }
        for (int b = 0; b < 3; b++) base[b] += PAIRS * sizeof *a;
    }
}

/* ---- Products ---- */

INLINE void product_tile_bf16(const ms_product *p, size_t i, size_t j, const int rows) {
    const ms_bf16 *w = (const ms_bf16 *)p->w + j / WIDE_COLS * p->w_stride;
    __m512 acc[TILE_ROWS][2];
    sum_bf16(acc, (const ms_bf16 *)p->a + i * p->a_stride, p->a_stride, w, w + 16 * PAIRS,
             WIDE_COLS * PAIRS, p->k, rows);
    UNROLL
    for (int r = 0; r < rows; r++) finish_row(p, i + (size_t)r, j, acc[r], store16_bf16);
}

__attribute__((noinline)) static void product_12_bf16(const ms_product *p, size_t i, size_t j) {
    product_tile_bf16(p, i, j, TILE_ROWS);
}
__attribute__((noinline)) static void product_4_bf16(const ms_product *p, size_t i, size_t j) {
    product_tile_bf16(p, i, j, 4);
}
__attribute__((noinline)) static void product_1_bf16(const ms_product *p, size_t i, size_t j) {
    product_tile_bf16(p, i, j, 1);
}

static void product(const ms_product *p) {
    if (p->precision == MSIM_PRECISION_BF16)
        product_by_tiles(p, product_12_bf16, product_4_bf16, product_1_bf16);
    else
        product_f32(p);
}

/* ---- Attention ---- */

INLINE void score_tile_bf16(float *score, const ms_bf16 *q, size_t q_stride, const ms_bf16 *k,
                            size_t n_keys, const int rows) {
    __m512 acc[TILE_ROWS][2];
    for (size_t j = 0; j < n_keys; j += 32) {
        const ms_bf16 *k1 = k + j * MS_HEAD_DIM,
                      *k2 = j + 16 < n_keys ? k1 + MS_KEY_GROUP * MS_HEAD_DIM : k1;
        sum_bf16(acc, q, q_stride, k1, k2, MS_KEY_GROUP * PAIRS, MS_HEAD_DIM, rows);
        UNROLL
        for (int r = 0; r < rows; r++) {
            _mm512_storeu_ps(score + (size_t)r * SCORE_STRIDE + j, acc[r][0]);
            _mm512_storeu_ps(score + (size_t)r * SCORE_STRIDE + j + 16, acc[r][1]);
        }
    }
}

__attribute__((noinline)) static void score_12_bf16(float *score, const void *q, size_t q_stride,
                                                    const void *k, size_t n_keys) {
    score_tile_bf16(score, q, q_stride, k, n_keys, TILE_ROWS);
}
__attribute__((noinline)) static void score_1_bf16(float *score, const void *q, size_t q_stride,
                                                   const void *k, size_t n_keys) {
    score_tile_bf16(score, q, q_stride, k, n_keys, 1);
}

static void score_rows_bf16(float *score, const void *q, size_t q_stride, const void *k,
                            size_t n_keys, size_t rows) {
    if (rows == TILE_ROWS) {
        score_12_bf16(score, q, q_stride, k, n_keys);
        return;
    }
    for (size_t r = 0; r < rows; r++)
        score_1_bf16(score + r * SCORE_STRIDE, (const ms_bf16 *)q + r * q_stride, q_stride, k,
                     n_keys);
}

INLINE void exponents_bf16(void *p, size_t j, const float *score, __m512 scale, __m512 shift,
                           __m512 e[2], int precision) {
    (void)precision;
    for (size_t h = 0; h < 2; h++)
        e[h] = exp2_nonpositive_bf16(
            _mm512_fmsub_ps(_mm512_loadu_ps(score + j + 16 * h), scale, shift));
    _mm512_storeu_si512((ms_bf16 *)p + j, (__m512i)_mm512_cvtne2ps_pbh(e[1], e[0]));
}

INLINE void value_tile_bf16(float (*acc)[MS_HEAD_DIM], const ms_bf16 *p, const ms_bf16 *v,
                            size_t n_keys, const int rows) {
    __m512 c[VALUE_ROWS][4];
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int d = 0; d < 4; d++) c[r][d] = _mm512_loadu_ps(acc[r] + 16 * d);
    }
    for (size_t l = 0; l < n_keys; l += PAIRS) {
        __m512bh x[4];
        UNROLL
        for (int d = 0; d < 4; d++) x[d] = pairs(v + l * MS_HEAD_DIM + (size_t)(32 * d));
        UNROLL
        for (int r = 0; r < rows; r++) {
            __m512bh w = same_pair((const char *)(p + (size_t)r * SCORE_STRIDE + l));
            UNROLL
            for (int d = 0; d < 4; d++) c[r][d] = _mm512_dpbf16_ps(c[r][d], w, x[d]);
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int d = 0; d < 4; d++) _mm512_storeu_ps(acc[r] + 16 * d, c[r][d]);
    }
}

__attribute__((noinline)) static void value_6_bf16(float (*acc)[MS_HEAD_DIM], const void *p,
                                                   const void *v, size_t n_keys) {
    value_tile_bf16(acc, p, v, n_keys, VALUE_ROWS);
}
__attribute__((noinline)) static void value_1_bf16(float (*acc)[MS_HEAD_DIM], const void *p,
                                                   const void *v, size_t n_keys) {
    value_tile_bf16(acc, p, v, n_keys, 1);
}

static void value_rows_bf16(float (*acc)[MS_HEAD_DIM], const void *p, const void *v, size_t n_keys,
                            size_t rows) {
    size_t r = 0;
    for (; r + VALUE_ROWS <= rows; r += VALUE_ROWS)
        value_6_bf16(acc + r, (const ms_bf16 *)p + r * SCORE_STRIDE, v, n_keys);
    for (; r < rows; r++) value_1_bf16(acc + r, (const ms_bf16 *)p + r * SCORE_STRIDE, v, n_keys);
}

static void attend(const ms_attend *a) {
    static const attend_steps steps = {sizeof(ms_bf16), TILE_ROWS,      KEY_BLOCK,
                                       score_rows_bf16, exponents_bf16, value_rows_bf16,
                                       store16_bf16};
    if (a->precision == MSIM_PRECISION_BF16)
        attend_by(a, &steps);
    else
        attend_f32(a);
}

const ms_cpu_kernels ms_encoder_avx512bf16 = {
    .name = "avx512bf16",
    .isa = MSIM_ISA_AVX512BF16,
    .panel_cols = WIDE_COLS,
    .tile_rows = TILE_ROWS,
    .operand_bytes =
        {[MSIM_PRECISION_BF16] = sizeof(ms_bf16), [MSIM_PRECISION_F32] = sizeof(float)},
    .attend_rows = ATTEND_ROWS,
    .attend_scratch_bytes = sizeof(scratch_512),
    .pack = pack,
    .norm = norm,
    .product = product,
    .store_q = store_q,
    .store_k = store_k,
    .store_v = store_v,
    .attend = attend,
    .dots_f64 = dots_f64,
    .squares_f64 = squares_f64,
};
