/* What all 512-bit levels share: norms, rotation, products and attention on f32 operands, and the
 * double dots of search. The levels' files, encoder_avx512.c and those that include
 * avx512bf16_common.h, compile it with their own flags; everything here is static. Shapes and
 * meaning of each kernel: cpu/encoder/kernels.h. */
#ifndef MS_CPU_KERNELS_X86_AVX512_COMMON_H
#define MS_CPU_KERNELS_X86_AVX512_COMMON_H
#include "cpu/kernels/x86/avx512_vector.h"
#include <math.h>

enum {
    VALUE_ROWS = 6,  /* of p x v: 6 rows x 64 columns */
    SCORE_ROWS = 16, /* most query rows whose scores are held at a time */
    KEY_BLOCK = 256, /* most keys between two updates of the running maximum; a multiple
                                     * of MS_KEY_GROUP */
    SCORE_STRIDE = KEY_BLOCK + 32, /* from row to row of scores: no power of two, so that rows fall
                                    * into different cache sets */
    ATTEND_ROWS = 96
};

#define SCORE_LOG2 \
    (MS_SCORE_SCALE * 1.44269504088896341f) /* scores enter exp2: 1 / sqrt(64) x
                                                         * log2(e) */
#define FAR_BELOW \
    (-1e30f) /* below any score; exp2 of its distance is
                                                         * 0 */

/* ---- Sums of a tile ---- */

/* acc[r] = sum over l of a[r][l] * (w[l], w2[l]), l rising: w and w2 are two groups of 16 columns,
 * step bytes from one l to the next. */
INLINE void sum_f32(__m512 acc[TILE_ROWS][2], const float *a, size_t a_stride, const float *w,
                    const float *w2, size_t step, size_t k, const int rows) {
    const char *base[3] = {(const char *)a, (const char *)(a + 4 * a_stride),
                           (const char *)(a + 8 * a_stride)};
    size_t stride = a_stride * sizeof *a, stride3 = 3 * stride;
    UNROLL
    for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    for (; k; k--, w += step, w2 += step) {
        __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w2);
        UNROLL
        for (int r = 0; r < rows; r++) {
            __m512 x =
                _mm512_set1_ps(*(const float *)(const void *)tile_row(base, stride, stride3, r));
            acc[r][0] = _mm512_fmadd_ps(x, w0, acc[r][0]);
            acc[r][1] = _mm512_fmadd_ps(x, w1, acc[r][1]);
        }
        for (int b = 0; b < 3; b++) base[b] += sizeof *a;
    }
}

/* ---- Products ---- */

INLINE void product_tile_f32(const ms_product *p, size_t i, size_t j, const int rows) {
    const float *w = (const float *)p->w + j / WIDE_COLS * p->w_stride;
    __m512 acc[TILE_ROWS][2];
    sum_f32(acc, (const float *)p->a + i * p->a_stride, p->a_stride, w, w + 16, WIDE_COLS, p->k,
            rows);
    UNROLL
    for (int r = 0; r < rows; r++) finish_row(p, i + (size_t)r, j, acc[r], store16_f32);
}

/* Each tile size is a function of its own: inlined together they would share registers, and
 * spill. */
__attribute__((noinline)) static void product_12_f32(const ms_product *p, size_t i, size_t j) {
    product_tile_f32(p, i, j, TILE_ROWS);
}
__attribute__((noinline)) static void product_4_f32(const ms_product *p, size_t i, size_t j) {
    product_tile_f32(p, i, j, 4);
}
__attribute__((noinline)) static void product_1_f32(const ms_product *p, size_t i, size_t j) {
    product_tile_f32(p, i, j, 1);
}

static void product_f32(const ms_product *p) {
    product_by_tiles(p, product_12_f32, product_4_f32, product_1_f32);
}

/* w [n, k] to panels [n / 32][k][32]. */
static void pack_f32(float *out, const float *w, size_t n, size_t k) {
    for (size_t j0 = 0; j0 < n; j0 += WIDE_COLS)
        for (size_t l = 0; l < k; l++)
            for (size_t j = j0; j < j0 + WIDE_COLS; j++) *out++ = j < n ? w[j * k + l] : 0.0f;
}

/* ---- Norm ---- */

INLINE void norm_rows(void *dst, size_t dst_stride, const float *x, const float *scale,
                      size_t n_rows, size_t dim, int precision, store16_fn store) {
    for (size_t i = 0; i < n_rows; i++, x += dim) {
        __m512 s0 = _mm512_setzero_ps(), s1 = s0, v0 = s0, v1 = s0;
        size_t even = dim / 32 * 32; /* two sums, named: in an array they would stay in memory */
        for (size_t j = 0; j < even; j += 32) {
            s0 = _mm512_add_ps(s0, _mm512_loadu_ps(x + j));
            s1 = _mm512_add_ps(s1, _mm512_loadu_ps(x + j + 16));
        }
        if (even < dim) s0 = _mm512_add_ps(s0, _mm512_loadu_ps(x + even));
        __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_add_ps(s0, s1)) / (float)dim);
        for (size_t j = 0; j < even; j += 32) {
            __m512 d0 = _mm512_sub_ps(_mm512_loadu_ps(x + j), mean),
                   d1 = _mm512_sub_ps(_mm512_loadu_ps(x + j + 16), mean);
            v0 = _mm512_fmadd_ps(d0, d0, v0);
            v1 = _mm512_fmadd_ps(d1, d1, v1);
        }
        if (even < dim) {
            __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + even), mean);
            v0 = _mm512_fmadd_ps(d, d, v0);
        }
        float variance = _mm512_reduce_add_ps(_mm512_add_ps(v0, v1)) / (float)dim;
        __m512 inverse = _mm512_set1_ps(1.0f / sqrtf(variance + MS_NORM_EPS));
        for (size_t j = 0; j < dim; j += 16) {
            __m512 y = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + j), mean), inverse);
            store(dst, i * dst_stride + j, _mm512_mul_ps(y, _mm512_loadu_ps(scale + j)), precision);
        }
    }
}

/* ---- Heads ---- */

/* One head of one row, rounded as the product's result; with cosines its first 32 dims rotated in
 * f32 (interleaved pairs; products and sums rounded one by one) and rounded again. */
INLINE void take_head(__m512 t[4], const float *src, const float *cosines, const float *sines,
                      int precision) {
    const __m512i lo = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (int i = 0; i < 4; i++) t[i] = operand_f32(_mm512_loadu_ps(src + 16 * i), precision);
    if (!cosines) return;
    __m512 c = _mm512_loadu_ps(cosines), s = _mm512_loadu_ps(sines);
    for (int i = 0; i < 2; i++) {
        __m512i twice = _mm512_add_epi32(lo, _mm512_set1_epi32(8 * i));
        __m512 a = _mm512_mul_ps(t[i], _mm512_permutexvar_ps(twice, c));
        __m512 b = _mm512_mul_ps(_mm512_permute_ps(t[i], 0xb1), _mm512_permutexvar_ps(twice, s));
        t[i] = operand_f32(_mm512_mask_sub_ps(_mm512_add_ps(a, b), 0x5555, a, b), precision);
    }
}

/* Head `head` of row i. */
INLINE void take(__m512 t[4], const ms_heads *h, size_t i, size_t head, int rotated) {
    take_head(t, h->src + i * h->src_stride + head * MS_HEAD_DIM,
              rotated ? h->cos + i * MS_ROTARY_PAIRS : NULL, h->sin + i * MS_ROTARY_PAIRS,
              h->precision);
}

/* The row of the keys that row i of head `head` takes. */
INLINE size_t key_row(const ms_heads *h, const ms_keys *keys, size_t i, size_t head) {
    return head * keys->rows + h->first_row + h->first_position + i;
}

static void store_q_f32(const ms_heads *h, float *dst, size_t dst_stride) {
    __m512 t[4];
    for (size_t i = 0; i < h->n_rows; i++)
        for (size_t head = 0; head < h->heads; head++) {
            take(t, h, i, head, 1);
            for (int d = 0; d < 4; d++)
                _mm512_storeu_ps(dst + i * dst_stride + head * MS_HEAD_DIM + 16 * d, t[d]);
        }
}

/* Keys: groups of 16 rows, [64 dims][16 rows]. */
static void store_k_f32(const ms_heads *h, float *keys_k, const ms_keys *keys) {
    __m512 t[4];
    float row[MS_HEAD_DIM] __attribute__((aligned(64)));
    for (size_t head = 0; head < h->heads; head++)
        for (size_t i = 0; i < h->n_rows; i++) {
            size_t at = key_row(h, keys, i, head);
            float *out = keys_k + at / MS_KEY_GROUP * MS_KEY_GROUP * MS_HEAD_DIM +
                         at % MS_KEY_GROUP;
            take(t, h, i, head, 1);
            for (int d = 0; d < 4; d++) _mm512_store_ps(row + 16 * d, t[d]);
            for (size_t d = 0; d < MS_HEAD_DIM; d++) out[d * MS_KEY_GROUP] = row[d];
        }
}

/* Values: rows of 64. */
static void store_v_f32(const ms_heads *h, float *keys_v, const ms_keys *keys) {
    __m512 t[4];
    for (size_t head = 0; head < h->heads; head++)
        for (size_t i = 0; i < h->n_rows; i++) {
            take(t, h, i, head, 0);
            for (int d = 0; d < 4; d++)
                _mm512_storeu_ps(keys_v + key_row(h, keys, i, head) * MS_HEAD_DIM + 16 * d, t[d]);
        }
}

/* ---- Attention ---- */

/* 2^x for x <= 0 of degree 3, for values that bf16 rounds at once: relative error below 7.6e-5,
 * bf16's own is 2e-3. */
INLINE __m512 exp2_nonpositive_bf16(__m512 x) {
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
           f = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(0x1.c3f760p-5f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.f0de1cp-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62f31ap-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.fff692p-1f));
    return _mm512_scalef_ps(p, n);
}

typedef struct {
    float score[SCORE_ROWS][SCORE_STRIDE]; /* q k of some query rows and one block of keys */
    float p[SCORE_ROWS][SCORE_STRIDE];     /* their exponentials, as operands */
    float acc[ATTEND_ROWS][MS_HEAD_DIM];   /* sum of p v so far, relative to the running maximum */
    float sum[ATTEND_ROWS][16];            /* sum of p, 16 lanes */
    float maximum[ATTEND_ROWS];
} scratch_512;

INLINE void score_tile_f32(float *score, const float *q, size_t q_stride, const float *k,
                           size_t n_keys, const int rows) {
    __m512 acc[TILE_ROWS][2];
    for (size_t j = 0; j < n_keys; j += 32) {
        /* A last group may stand alone; its neighbour's scores are then copies that nobody
         * reads. */
        const float *k1 = k + j * MS_HEAD_DIM,
                    *k2 = j + 16 < n_keys ? k1 + MS_KEY_GROUP * MS_HEAD_DIM : k1;
        sum_f32(acc, q, q_stride, k1, k2, MS_KEY_GROUP, MS_HEAD_DIM, rows);
        UNROLL
        for (int r = 0; r < rows; r++) {
            _mm512_storeu_ps(score + (size_t)r * SCORE_STRIDE + j, acc[r][0]);
            _mm512_storeu_ps(score + (size_t)r * SCORE_STRIDE + j + 16, acc[r][1]);
        }
    }
}

__attribute__((noinline)) static void score_12_f32(float *score, const void *q, size_t q_stride,
                                                   const void *k, size_t n_keys) {
    score_tile_f32(score, q, q_stride, k, n_keys, TILE_ROWS);
}
__attribute__((noinline)) static void score_1_f32(float *score, const void *q, size_t q_stride,
                                                  const void *k, size_t n_keys) {
    score_tile_f32(score, q, q_stride, k, n_keys, 1);
}

INLINE void value_tile_f32(float (*acc)[MS_HEAD_DIM], const float *p, const float *v, size_t n_keys,
                           const int rows) {
    __m512 c[VALUE_ROWS][4];
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int d = 0; d < 4; d++) c[r][d] = _mm512_loadu_ps(acc[r] + 16 * d);
    }
    for (size_t l = 0; l < n_keys; l++) {
        __m512 x[4];
        UNROLL
        for (int d = 0; d < 4; d++) x[d] = _mm512_loadu_ps(v + l * MS_HEAD_DIM + (size_t)(16 * d));
        UNROLL
        for (int r = 0; r < rows; r++) {
            __m512 w = _mm512_set1_ps(p[(size_t)r * SCORE_STRIDE + l]);
            UNROLL
            for (int d = 0; d < 4; d++) c[r][d] = _mm512_fmadd_ps(w, x[d], c[r][d]);
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int d = 0; d < 4; d++) _mm512_storeu_ps(acc[r] + 16 * d, c[r][d]);
    }
}

__attribute__((noinline)) static void value_6_f32(float (*acc)[MS_HEAD_DIM], const void *p,
                                                  const void *v, size_t n_keys) {
    value_tile_f32(acc, p, v, n_keys, VALUE_ROWS);
}
__attribute__((noinline)) static void value_1_f32(float (*acc)[MS_HEAD_DIM], const void *p,
                                                  const void *v, size_t n_keys) {
    value_tile_f32(acc, p, v, n_keys, 1);
}

/* Exponentials of 32 scores as operands at p + j; returns them unrounded in e. */
typedef void (*exponent_fn)(void *p, size_t j, const float *score, __m512 scale, __m512 shift,
                            __m512 e[2], int precision);

INLINE void exponents_f32(void *p, size_t j, const float *score, __m512 scale, __m512 shift,
                          __m512 e[2], int precision) {
    for (size_t h = 0; h < 2; h++) {
        e[h] = exp2_nonpositive(_mm512_fmsub_ps(_mm512_loadu_ps(score + j + 16 * h), scale, shift));
        _mm512_storeu_ps((float *)p + j + 16 * h, operand_f32(e[h], precision));
    }
}

/* Largest of a row's n_keys scores; their number is a multiple of 32. */
INLINE float largest_score(const float *score, size_t n_keys) {
    __m512 m0 = _mm512_loadu_ps(score), m1 = _mm512_loadu_ps(score + 16);
    for (size_t j = 32; j < n_keys; j += 32) {
        m0 = _mm512_max_ps(m0, _mm512_loadu_ps(score + j));
        m1 = _mm512_max_ps(m1, _mm512_loadu_ps(score + j + 16));
    }
    return _mm512_reduce_max_ps(_mm512_max_ps(m0, m1));
}

/* Scores of `rows` query rows from row `first` on, and a block, to p = exp(score / 8 - maximum);
 * maximum, sum and acc brought up to date. Scores past the last key are far below. All maxima come
 * first, one lane a row: row by row each would wait for the one before. */
INLINE void softmax_rows(scratch_512 *s, size_t first, size_t rows, size_t n_keys, int precision,
                         size_t bytes, exponent_fn exponents) {
    float most[SCORE_ROWS], shifts[SCORE_ROWS], shrinks[SCORE_ROWS];
    __mmask16 lanes = (__mmask16)((1u << rows) - 1);
    for (size_t r = 0; r < rows; r++) most[r] = largest_score(s->score[r], n_keys);
    __m512 log2 = _mm512_set1_ps(SCORE_LOG2), old, now, e[2];
    old = _mm512_maskz_loadu_ps(lanes, s->maximum + first);
    now = _mm512_max_ps(_mm512_maskz_loadu_ps(lanes, most), old);
    _mm512_storeu_ps(shifts, _mm512_mul_ps(now, log2));
    _mm512_storeu_ps(shrinks, exp2_nonpositive(_mm512_mul_ps(_mm512_sub_ps(old, now), log2)));
    _mm512_mask_storeu_ps(s->maximum + first, lanes, now);
    unsigned grown = _mm512_cmp_ps_mask(old, now, _CMP_NEQ_UQ);
    for (size_t r = 0; r < rows; r++) {
        __m512 shift = _mm512_set1_ps(shifts[r]), shrink = _mm512_set1_ps(shrinks[r]);
        float *sum = s->sum[first + r], *acc = s->acc[first + r];
        __m512 t0 = _mm512_mul_ps(_mm512_loadu_ps(sum), shrink), t1 = _mm512_setzero_ps();
        for (size_t j = 0; j < n_keys; j += 32) {
            exponents((char *)s->p + r * SCORE_STRIDE * bytes, j, s->score[r], log2, shift, e,
                      precision);
            t0 = _mm512_add_ps(t0, e[0]);
            t1 = _mm512_add_ps(t1, e[1]);
        }
        _mm512_storeu_ps(sum, _mm512_add_ps(t0, t1));
        for (int d = 0; grown >> r & 1 && d < MS_HEAD_DIM; d += 16)
            _mm512_storeu_ps(acc + d, _mm512_mul_ps(_mm512_loadu_ps(acc + d), shrink));
    }
}

/* Scores [rows][SCORE_STRIDE] of rows of q, and acc += p v, over a block's groups of 16 keys. */
typedef void (*score_fn)(float *score, const void *q, size_t q_stride, const void *k, size_t n_keys,
                         size_t rows);
typedef void (*value_fn)(float (*acc)[MS_HEAD_DIM], const void *p, const void *v, size_t n_keys,
                         size_t rows);

static void score_rows_f32(float *score, const void *q, size_t q_stride, const void *k,
                           size_t n_keys, size_t rows) {
    if (rows == TILE_ROWS) {
        score_12_f32(score, q, q_stride, k, n_keys);
        return;
    }
    for (size_t r = 0; r < rows; r++)
        score_1_f32(score + r * SCORE_STRIDE, (const float *)q + r * q_stride, q_stride, k, n_keys);
}

static void value_rows_f32(float (*acc)[MS_HEAD_DIM], const void *p, const void *v, size_t n_keys,
                           size_t rows) {
    size_t r = 0;
    for (; r + VALUE_ROWS <= rows; r += VALUE_ROWS)
        value_6_f32(acc + r, (const float *)p + r * SCORE_STRIDE, v, n_keys);
    for (; r < rows; r++) value_1_f32(acc + r, (const float *)p + r * SCORE_STRIDE, v, n_keys);
}

/* What differs between operands of f32 and of bf16, and between levels. */
typedef struct {
    size_t bytes; /* of an operand */
    size_t rows;  /* of a tile of scores, at most SCORE_ROWS */
    size_t keys;  /* of a block, at most KEY_BLOCK */
    score_fn scores;
    exponent_fn exponents;
    value_fn values;
    store16_fn store;
} attend_steps;

/* A tile of query rows against one block of keys. */
INLINE void attend_tile(const ms_attend *a, scratch_512 *s, size_t i, const char *k, const char *v,
                        size_t n_keys, const attend_steps *steps) {
    size_t rows = a->n_query - i < steps->rows ? a->n_query - i : steps->rows;
    size_t groups = (n_keys + 15) & ~(size_t)15, padded = (n_keys + 31) & ~(size_t)31;
    steps->scores(s->score[0], (const char *)a->q + i * a->q_stride * steps->bytes, a->q_stride, k,
                  groups, rows);
    for (size_t r = 0; r < rows; r++)
        for (size_t j = n_keys; j < padded; j++) s->score[r][j] = FAR_BELOW;
    softmax_rows(s, i, rows, padded, a->precision, steps->bytes, steps->exponents);
    steps->values(&s->acc[i], s->p, v, groups, rows);
}

/* Key blocks start at the sequence's first key. All query rows meet a block before the next one
 * comes, so that its keys and values (64 KiB in f32) stay in L2. */
INLINE void attend_by(const ms_attend *a, const attend_steps *steps) {
    scratch_512 *s = a->scratch;
    size_t head_at = (a->head * a->keys->rows + a->first_row) * MS_HEAD_DIM * steps->bytes;
    const char *k = (const char *)a->keys->k + head_at, *v = (const char *)a->keys->v + head_at;
    memset(s->acc, 0, a->n_query * sizeof s->acc[0]);
    memset(s->sum, 0, a->n_query * sizeof s->sum[0]);
    for (size_t i = 0; i < a->n_query; i++) s->maximum[i] = FAR_BELOW;
    for (size_t k0 = 0; k0 < a->n_keys; k0 += steps->keys) {
        size_t n = a->n_keys - k0 < steps->keys ? a->n_keys - k0 : steps->keys,
               at = k0 * MS_HEAD_DIM * steps->bytes;
        for (size_t i = 0; i < a->n_query; i += steps->rows)
            attend_tile(a, s, i, k + at, v + at, n, steps);
    }
    for (size_t i = 0; i < a->n_query; i++) {
        __m512 sum = _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_loadu_ps(s->sum[i])));
        for (size_t d = 0; d < MS_HEAD_DIM; d += 16)
            steps->store(a->dst, i * a->dst_stride + d,
                         _mm512_div_ps(_mm512_loadu_ps(s->acc[i] + d), sum), a->precision);
    }
}

static void attend_f32(const ms_attend *a) {
    static const attend_steps steps = {sizeof(float), TILE_ROWS,      KEY_BLOCK,  score_rows_f32,
                                       exponents_f32, value_rows_f32, store16_f32};
    attend_by(a, &steps);
}

/* ---- Search ---- */

/* Elements j..j+15 of a stored row (any alignment) as two vectors of doubles; `n` of them are
 * there. */
INLINE void load_row16(const unsigned char *row, int dtype, size_t j, size_t n, __m512d x[2]) {
    __mmask16 m = n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
    __m512 f;
    if (dtype == MSIM_DTYPE_F64) {
        x[0] = _mm512_maskz_loadu_pd((__mmask8)m, row + 8 * j);
        x[1] = _mm512_maskz_loadu_pd((__mmask8)(m >> 8), row + 8 * j + 64);
        return;
    }
    if (dtype == MSIM_DTYPE_F32) {
        f = _mm512_maskz_loadu_ps(m, row + 4 * j);
    } else {
        __m256i h = _mm256_maskz_loadu_epi16(m, row + 2 * j);
        f = dtype == MSIM_DTYPE_F16
                ? _mm512_cvtph_ps(h)
                : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
    }
    x[0] = _mm512_cvtps_pd(_mm512_castps512_ps256(f));
    x[1] = _mm512_cvtps_pd(_mm512_extractf32x8_ps(f, 1));
}

/* Lanes 0..15 lie in s[0], s[1]: l += l + 8, + 4, + 2, + 1. */
INLINE double sum_lanes(const __m512d s[2]) {
    __m512d eight = _mm512_add_pd(s[0], s[1]);
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/* One row against up to 4 queries, each with sums of its own. A lane without an element adds 0 x 0
 * to a sum that is never -0, which changes nothing. */
INLINE void dot_row(double *dst, const unsigned char *row, int dtype, const float *q,
                    const int n_query, size_t dim) {
    __m512d s[4][2], x[2], y[2];
    UNROLL
    for (int i = 0; i < n_query; i++) s[i][0] = s[i][1] = _mm512_setzero_pd();
    for (size_t j = 0; j < dim; j += 16) {
        size_t n = dim - j;
        load_row16(row, dtype, j, n, x);
        UNROLL
        for (int i = 0; i < n_query; i++) {
            load_row16((const unsigned char *)(q + (size_t)i * dim), MSIM_DTYPE_F32, j, n, y);
            s[i][0] = _mm512_fmadd_pd(x[0], y[0], s[i][0]);
            s[i][1] = _mm512_fmadd_pd(x[1], y[1], s[i][1]);
        }
    }
    UNROLL
    for (int i = 0; i < n_query; i++) dst[i] = sum_lanes(s[i]);
}

INLINE void dots_of(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                    const float *queries, size_t n_query, size_t n_rows, size_t dim) {
    for (size_t r = 0; r < n_rows; r++, rows += row_bytes) {
        size_t i = 0;
        for (; i + 4 <= n_query; i += 4)
            dot_row(dst + r * n_query + i, rows, dtype, queries + i * dim, 4, dim);
        for (; i < n_query; i++)
            dot_row(dst + r * n_query + i, rows, dtype, queries + i * dim, 1, dim);
    }
}

INLINE void squares_of(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                       size_t n_rows, size_t dim) {
    for (size_t r = 0; r < n_rows; r++, rows += row_bytes) {
        __m512d s[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()}, x[2];
        for (size_t j = 0; j < dim; j += 16) {
            load_row16(rows, dtype, j, dim - j, x);
            s[0] = _mm512_fmadd_pd(x[0], x[0], s[0]);
            s[1] = _mm512_fmadd_pd(x[1], x[1], s[1]);
        }
        dst[r] = sum_lanes(s);
    }
}

/* Calls F with the element type as a constant. */
#define WITH_CONSTANT_DTYPE(dtype, F, before, ...)                        \
    switch (dtype) {                                                      \
    case MSIM_DTYPE_F32: F(before, MSIM_DTYPE_F32, __VA_ARGS__); break;   \
    case MSIM_DTYPE_F16: F(before, MSIM_DTYPE_F16, __VA_ARGS__); break;   \
    case MSIM_DTYPE_BF16: F(before, MSIM_DTYPE_BF16, __VA_ARGS__); break; \
    default: F(before, MSIM_DTYPE_F64, __VA_ARGS__); break;               \
    }
#define ROWS_HERE dst, rows, row_bytes

static void dots_f64(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                     const float *queries, size_t n_query, size_t n_rows, size_t dim) {
    WITH_CONSTANT_DTYPE(dtype, dots_of, ROWS_HERE, queries, n_query, n_rows, dim)
}

static void squares_f64(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                        size_t n_rows, size_t dim) {
    WITH_CONSTANT_DTYPE(dtype, squares_of, ROWS_HERE, n_rows, dim)
}

#endif
