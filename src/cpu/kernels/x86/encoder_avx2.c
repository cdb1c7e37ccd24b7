/* Level `avx2`: the encoder's kernels on AVX2, FMA and F16C. cpu/encoder/kernels.h says what each
 * computes.
 *
 * Shapes    products m x n x k with n and k multiples of 16, in panels of 16 columns; attention of
 *           up to 96 query rows of a head of 64. Keys: k as [head][row / 16][64][16], v as
 *           [head][64 / 16][row][16], so that both products of attention read them as panels.
 * How       whatever multiplies matrices goes through sum_tile: 6 rows x 16 columns in 12 of the 16
 *           registers, one broadcast and two loads feeding 12 fused multiply-adds. Attention takes
 *           512 keys between two updates of a row's maximum.
 * Numerics  operands are f32 in both precisions (bf16 values widened), so that one product serves
 *           both; sums in f32, k rising. exp2 and GELU are approximated: docs/MODEL.md.
 * Needs     32-byte aligned panels and scratch.
 * Tests     test/unit/cpu/test_kernels.c and test_encoder.c against `ref` and f64, test_dots.c. */
#include "cpu/kernels/common.h"
#include "cpu/kernels/x86/avx2_vector.h"
#include <math.h>

enum { TILE_ROWS = 6, ATTEND_ROWS = 96, KEY_BLOCK = 512, SCORE_STRIDE = KEY_BLOCK + 16 };

/* ---- Tiles ---- */

/* c[r][0..1] += sum over l of a[r][l] * w[l][0..15], l rising: the one loop that every flop of the
 * model goes through. `rows` is a constant at each call, so that c stays in registers. */
#define EACH_ROW(STEP) STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5)
INLINE void sum_tile(__m256 c[TILE_ROWS][2], const float *a, size_t a_stride, const float *w,
                     size_t k, int rows) {
    const float *row0 = a, *row3 = a + (rows > 3 ? 3 * a_stride : 0);
    for (size_t l = 0; l < k; l++, row0++, row3++, w += PANEL_COLS) {
        __m256 w0 = _mm256_load_ps(w), w1 = _mm256_load_ps(w + 8), x;
#define STEP(r)                                                                                 \
    if (r < rows) {                                                                             \
        x = _mm256_broadcast_ss(r < 3 ? row0 + (r % 3) * a_stride : row3 + (r % 3) * a_stride); \
        c[r][0] = _mm256_fmadd_ps(x, w0, c[r][0]);                                              \
        c[r][1] = _mm256_fmadd_ps(x, w1, c[r][1]);                                              \
    }
        EACH_ROW(STEP)
#undef STEP
    }
}

/* Calls F(..., rows) with `rows` as a constant. */
#define WITH_CONSTANT_ROWS(n, F, ...)          \
    switch (n) {                               \
    case 1: F(__VA_ARGS__, 1); break;          \
    case 2: F(__VA_ARGS__, 2); break;          \
    case 3: F(__VA_ARGS__, 3); break;          \
    case 4: F(__VA_ARGS__, 4); break;          \
    case 5: F(__VA_ARGS__, 5); break;          \
    default: F(__VA_ARGS__, TILE_ROWS); break; \
    }

INLINE size_t tile_rows(size_t left) { return left < TILE_ROWS ? left : TILE_ROWS; }

/* ---- Products ---- */

static void gelu_tile(float *dst, size_t dst_stride, const float *sums, const float *bias,
                      size_t rows, int precision) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < PANEL_COLS; j += 8) {
            __m256 u =
                _mm256_add_ps(_mm256_load_ps(sums + r * PANEL_COLS + j), _mm256_loadu_ps(bias + j));
            _mm256_storeu_ps(dst + r * dst_stride + j, operand(gelu(u), precision));
        }
}

INLINE void product_tile(const ms_product *p, size_t i, size_t j, int rows) {
    __m256 c[TILE_ROWS][2];
    float sums[TILE_ROWS * PANEL_COLS] __attribute__((aligned(32)));
    float *dst = (float *)p->dst + i * p->dst_stride + j;
#define STEP(r) c[r][0] = c[r][1] = _mm256_setzero_ps();
    EACH_ROW(STEP)
#undef STEP
    sum_tile(c, (const float *)p->a + i * p->a_stride, p->a_stride,
             (const float *)p->w + j / PANEL_COLS * p->w_stride, p->k, rows);
    switch (p->epilogue) {
    case MS_EPILOGUE_STORE:
#define STEP(r)                                                 \
    if (r < rows) {                                             \
        _mm256_storeu_ps(dst + r * p->dst_stride, c[r][0]);     \
        _mm256_storeu_ps(dst + r * p->dst_stride + 8, c[r][1]); \
    }
        EACH_ROW(STEP)
#undef STEP
        break;
    case MS_EPILOGUE_ADD: {
        __m256 b0 = p->bias ? _mm256_loadu_ps(p->bias + j) : _mm256_setzero_ps();
        __m256 b1 = p->bias ? _mm256_loadu_ps(p->bias + j + 8) : _mm256_setzero_ps();
#define STEP(r)                                                                              \
    if (r < rows) {                                                                          \
        float *d = dst + r * p->dst_stride;                                                  \
        _mm256_storeu_ps(d, _mm256_add_ps(_mm256_loadu_ps(d), _mm256_add_ps(c[r][0], b0)));  \
        _mm256_storeu_ps(d + 8,                                                              \
                         _mm256_add_ps(_mm256_loadu_ps(d + 8), _mm256_add_ps(c[r][1], b1))); \
    }
        EACH_ROW(STEP)
#undef STEP
        break;
    }
    default:
#define STEP(r)                                              \
    if (r < rows) {                                          \
        _mm256_store_ps(sums + r * PANEL_COLS, c[r][0]);     \
        _mm256_store_ps(sums + r * PANEL_COLS + 8, c[r][1]); \
    }
        EACH_ROW(STEP)
#undef STEP
        gelu_tile(dst, p->dst_stride, sums, p->bias + j, (size_t)rows, p->precision);
    }
}

/* Panel by panel: 16 columns of weights stay in L1 while all rows of the block (in L2) pass.
 * Meanwhile the next panel is fetched, a share with each tile, because weights come from beyond
 * L2. */
static void product(const ms_product *p) {
    size_t n_tiles = (p->m + TILE_ROWS - 1) / TILE_ROWS, share = (p->k + n_tiles - 1) / n_tiles;
    for (size_t j = 0; j < p->n; j += PANEL_COLS) {
        const float *next = (const float *)p->w + (j / PANEL_COLS + 1) * p->w_stride;
        for (size_t i = 0; i < p->m; i += TILE_ROWS) {
            for (size_t l = 0; l < share; l++, next += PANEL_COLS)
                _mm_prefetch((const char *)next, _MM_HINT_T1);
            WITH_CONSTANT_ROWS(tile_rows(p->m - i), product_tile, p, i, j)
        }
    }
}

/* ---- Norm ---- */

static void norm(void *dst, size_t dst_stride, const float *x, const float *scale, size_t n_rows,
                 size_t dim, int precision) {
    float *out = dst;
    for (size_t i = 0; i < n_rows; i++, x += dim, out += dst_stride) {
        __m256 s0 = _mm256_setzero_ps(), s1 = s0, v0 = s0, v1 = s0;
        for (size_t j = 0; j < dim; j += 16) {
            s0 = _mm256_add_ps(s0, _mm256_loadu_ps(x + j));
            s1 = _mm256_add_ps(s1, _mm256_loadu_ps(x + j + 8));
        }
        __m256 mean = _mm256_set1_ps(sum8(_mm256_add_ps(s0, s1)) / (float)dim);
        for (size_t j = 0; j < dim; j += 16) {
            __m256 d0 = _mm256_sub_ps(_mm256_loadu_ps(x + j), mean);
            __m256 d1 = _mm256_sub_ps(_mm256_loadu_ps(x + j + 8), mean);
            v0 = _mm256_fmadd_ps(d0, d0, v0);
            v1 = _mm256_fmadd_ps(d1, d1, v1);
        }
        __m256 inverse =
            _mm256_set1_ps(1.0f / sqrtf(sum8(_mm256_add_ps(v0, v1)) / (float)dim + MS_NORM_EPS));
        for (size_t j = 0; j < dim; j += 8) {
            __m256 y = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + j), mean), inverse);
            _mm256_storeu_ps(out + j,
                             operand(_mm256_mul_ps(y, _mm256_loadu_ps(scale + j)), precision));
        }
    }
}

/* ---- Heads ---- */

/* One head of one row, rounded as the product's result; with cosines also rotated in f32 and
 * rounded again. Products and sums are rounded one by one, as at `ref`. */
INLINE void take_head(__m256 t[8], const float *src, const float *cosines, const float *sines,
                      int precision) {
    const __m256i twice_lo = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3),
                  twice_hi = _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7);
    for (int i = 0; i < 8; i++) t[i] = operand(_mm256_loadu_ps(src + 8 * i), precision);
    if (!cosines) return;
    for (int i = 0; i < 2; i++) {
        __m256 c = _mm256_loadu_ps(cosines + 8 * i), s = _mm256_loadu_ps(sines + 8 * i);
        for (int half = 0; half < 2; half++) {
            __m256i twice = half ? twice_hi : twice_lo;
            __m256 x = t[2 * i + half], swapped = _mm256_permute_ps(x, 0xb1);
            x = _mm256_addsub_ps(_mm256_mul_ps(x, _mm256_permutevar8x32_ps(c, twice)),
                                 _mm256_mul_ps(swapped, _mm256_permutevar8x32_ps(s, twice)));
            t[2 * i + half] = operand(x, precision);
        }
    }
}

static void store_q(const ms_heads *h, void *dst, size_t dst_stride) {
    __m256 t[8];
    for (size_t i = 0; i < h->n_rows; i++)
        for (size_t head = 0; head < h->heads; head++) {
            float *out = (float *)dst + i * dst_stride + head * MS_HEAD_DIM;
            take_head(t, h->src + i * h->src_stride + head * MS_HEAD_DIM,
                      h->cos + i * MS_ROTARY_PAIRS, h->sin + i * MS_ROTARY_PAIRS, h->precision);
            for (int d = 0; d < 8; d++) _mm256_storeu_ps(out + 8 * d, t[d]);
        }
}

static void store_k(const ms_heads *h, const ms_keys *keys) {
    __m256 t[8];
    float row[MS_HEAD_DIM] __attribute__((aligned(32)));
    for (size_t head = 0; head < h->heads; head++)
        for (size_t i = 0; i < h->n_rows; i++) {
            size_t at = head * keys->rows + h->first_row + h->first_position + i;
            float *out = (float *)keys->k + at / MS_KEY_GROUP * MS_KEY_GROUP * MS_HEAD_DIM +
                         at % MS_KEY_GROUP;
            take_head(t, h->src + i * h->src_stride + head * MS_HEAD_DIM,
                      h->cos + i * MS_ROTARY_PAIRS, h->sin + i * MS_ROTARY_PAIRS, h->precision);
            for (int d = 0; d < 8; d++) _mm256_store_ps(row + 8 * d, t[d]);
            for (size_t d = 0; d < MS_HEAD_DIM; d++) out[d * MS_KEY_GROUP] = row[d];
        }
}

static void store_v(const ms_heads *h, const ms_keys *keys) {
    __m256 t[8];
    for (size_t head = 0; head < h->heads; head++)
        for (size_t i = 0; i < h->n_rows; i++) {
            float *out = (float *)keys->v + head * keys->rows * MS_HEAD_DIM +
                         (h->first_row + h->first_position + i) * PANEL_COLS;
            take_head(t, h->src + i * h->src_stride + head * MS_HEAD_DIM, NULL, NULL, h->precision);
            for (size_t d = 0; d < 8; d++)
                _mm256_store_ps(out + d / 2 * keys->rows * PANEL_COLS + d % 2 * 8, t[d]);
        }
}

/* ---- Attention ---- */

typedef struct {
    float q[ATTEND_ROWS][MS_HEAD_DIM];
    float acc[ATTEND_ROWS][MS_HEAD_DIM];    /* sum of p v so far, relative to the running
                                                * maximum */
    float score[ATTEND_ROWS][SCORE_STRIDE]; /* q k of one block of keys, then p */
    float maximum[ATTEND_ROWS], sum[ATTEND_ROWS], shrink[ATTEND_ROWS];
} scratch_avx2;

INLINE void score_tile(scratch_avx2 *s, const float *k, size_t i, size_t j, int rows) {
    __m256 c[TILE_ROWS][2];
#define STEP(r) c[r][0] = c[r][1] = _mm256_setzero_ps();
    EACH_ROW(STEP)
#undef STEP
    sum_tile(c, s->q[i], MS_HEAD_DIM, k, MS_HEAD_DIM, rows);
#define STEP(r)                                            \
    if (r < rows) {                                        \
        _mm256_store_ps(&s->score[i + r][j], c[r][0]);     \
        _mm256_store_ps(&s->score[i + r][j + 8], c[r][1]); \
    }
    EACH_ROW(STEP)
#undef STEP
}

INLINE void value_tile(scratch_avx2 *s, const float *v, size_t n_keys, size_t i, size_t d,
                       int rows) {
    __m256 c[TILE_ROWS][2];
#define STEP(r)                                                                 \
    if (r < rows) {                                                             \
        __m256 shrink = _mm256_set1_ps(s->shrink[i + r]);                       \
        c[r][0] = _mm256_mul_ps(shrink, _mm256_load_ps(&s->acc[i + r][d]));     \
        c[r][1] = _mm256_mul_ps(shrink, _mm256_load_ps(&s->acc[i + r][d + 8])); \
    } else                                                                      \
        c[r][0] = c[r][1] = _mm256_setzero_ps();
    EACH_ROW(STEP)
#undef STEP
    sum_tile(c, s->score[i], SCORE_STRIDE, v, n_keys, rows);
#define STEP(r)                                          \
    if (r < rows) {                                      \
        _mm256_store_ps(&s->acc[i + r][d], c[r][0]);     \
        _mm256_store_ps(&s->acc[i + r][d + 8], c[r][1]); \
    }
    EACH_ROW(STEP)
#undef STEP
}

/* Scores of one block of keys to p = exp(score / 8 - maximum), with the row's maximum and sum
 * brought up to date. The scale and log2(e) enter as one fused multiply-add. Scores past the last
 * key become 2^-126, which no sum notices; the product with v stops before them. */
static void softmax_row(scratch_avx2 *s, size_t i, size_t n_keys) {
    const float log2_scale = MS_SCORE_SCALE * 1.44269504088896341f;
    float *x = s->score[i];
    size_t n = (n_keys + 15) & ~(size_t)15;
    for (size_t j = n_keys; j < n; j++) x[j] = -INFINITY;
    __m256 m0 = _mm256_set1_ps(s->maximum[i]), m1 = m0;
    for (size_t j = 0; j < n; j += 16) {
        m0 = _mm256_max_ps(m0, _mm256_load_ps(x + j));
        m1 = _mm256_max_ps(m1, _mm256_load_ps(x + j + 8));
    }
    float maximum = max8(_mm256_max_ps(m0, m1));
    const __m256 scale = _mm256_set1_ps(log2_scale), shift = _mm256_set1_ps(maximum * log2_scale);
    __m256 s0 = _mm256_setzero_ps(), s1 = s0;
    for (size_t j = 0; j < n; j += 16) {
        __m256 p0 = exp2_nonpositive(_mm256_fmsub_ps(_mm256_load_ps(x + j), scale, shift));
        __m256 p1 = exp2_nonpositive(_mm256_fmsub_ps(_mm256_load_ps(x + j + 8), scale, shift));
        _mm256_store_ps(x + j, p0);
        _mm256_store_ps(x + j + 8, p1);
        s0 = _mm256_add_ps(s0, p0);
        s1 = _mm256_add_ps(s1, p1);
    }
    __m256 old = _mm256_fmsub_ps(_mm256_set1_ps(s->maximum[i]), scale, shift);
    s->shrink[i] = _mm256_cvtss_f32(exp2_nonpositive(old));
    s->sum[i] = s->sum[i] * s->shrink[i] + sum8(_mm256_add_ps(s0, s1));
    s->maximum[i] = maximum;
}

/* Blocks of 512 keys, from the sequence's first. In each product the panel is the outer loop: 16
 * keys (or 16 of the 64 value columns) stay in L1 while all query rows pass. */
static void attend(const ms_attend *a) {
    scratch_avx2 *s = a->scratch;
    size_t rows = a->keys->rows, n_query = a->n_query;
    const float *k = (const float *)a->keys->k + (a->head * rows + a->first_row) * MS_HEAD_DIM;
    const float *v = (const float *)a->keys->v + a->head * rows * MS_HEAD_DIM +
                     a->first_row * PANEL_COLS;
    for (size_t i = 0; i < n_query; i++) {
        memcpy(s->q[i], (const float *)a->q + i * a->q_stride, sizeof s->q[i]);
        memset(s->acc[i], 0, sizeof s->acc[i]);
        s->maximum[i] = -INFINITY;
        s->sum[i] = 0.0f;
    }
    for (size_t k0 = 0; k0 < a->n_keys; k0 += KEY_BLOCK) {
        size_t n = a->n_keys - k0 < KEY_BLOCK ? a->n_keys - k0 : KEY_BLOCK;
        for (size_t j = 0; j < n; j += PANEL_COLS)
            for (size_t i = 0; i < n_query; i += TILE_ROWS)
                WITH_CONSTANT_ROWS(tile_rows(n_query - i), score_tile, s,
                                   k + (k0 + j) * MS_HEAD_DIM, i, j)
        for (size_t i = 0; i < n_query; i++) softmax_row(s, i, n);
        for (size_t d = 0; d < MS_HEAD_DIM; d += PANEL_COLS)
            for (size_t i = 0; i < n_query; i += TILE_ROWS)
                WITH_CONSTANT_ROWS(tile_rows(n_query - i), value_tile, s,
                                   v + d * rows + k0 * PANEL_COLS, n, i, d)
    }
    for (size_t i = 0; i < n_query; i++) {
        __m256 sum = _mm256_set1_ps(s->sum[i]);
        for (size_t d = 0; d < MS_HEAD_DIM; d += 8)
            _mm256_storeu_ps(
                (float *)a->dst + i * a->dst_stride + d,
                operand(_mm256_div_ps(_mm256_load_ps(&s->acc[i][d]), sum), a->precision));
    }
}

/* ---- Search ---- */

/* 16 stored elements, from any alignment, as four vectors of doubles. */
INLINE void load_row16(const unsigned char *p, int dtype, __m256d x[4]) {
    __m256 lo, hi;
    if (dtype == MSIM_DTYPE_F64) {
        for (int i = 0; i < 4; i++)
            x[i] = _mm256_loadu_pd((const double *)(const void *)(p + 32 * i));
        return;
    }
    if (dtype == MSIM_DTYPE_F32) {
        lo = _mm256_loadu_ps((const float *)(const void *)p);
        hi = _mm256_loadu_ps((const float *)(const void *)(p + 32));
    } else {
        __m128i h0 = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i h1 = _mm_loadu_si128((const __m128i *)(const void *)(p + 16));
        if (dtype == MSIM_DTYPE_F16) {
            lo = _mm256_cvtph_ps(h0);
            hi = _mm256_cvtph_ps(h1);
        } else {
            lo = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h0), 16));
            hi = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h1), 16));
        }
    }
    x[0] = _mm256_cvtps_pd(_mm256_castps256_ps128(lo));
    x[1] = _mm256_cvtps_pd(_mm256_extractf128_ps(lo, 1));
    x[2] = _mm256_cvtps_pd(_mm256_castps256_ps128(hi));
    x[3] = _mm256_cvtps_pd(_mm256_extractf128_ps(hi, 1));
}

/* Lanes 0..15 lie in s[0..3]: l += l + 8, + 4, + 2, + 1. */
static inline double sum_lanes(const __m256d s[4]) {
    __m256d eight0 = _mm256_add_pd(s[0], s[2]), eight1 = _mm256_add_pd(s[1], s[3]);
    __m256d four = _mm256_add_pd(eight0, eight1);
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/* One row against nq <= 2 queries; elements past the last whole 16 come zero-padded in `tail` (row)
 * and `qtail`. An added 0 * 0 leaves a lane's bits as they are, for a lane never holds -0: it
 * starts at +0. */
INLINE void dot_row(double *dst, const unsigned char *row, size_t elem, int dtype,
                    const float *const *q, int nq, size_t dim) {
    __m256d s[2][4], x[4];
    for (int i = 0; i < nq; i++)
        for (int l = 0; l < 4; l++) s[i][l] = _mm256_setzero_pd();
    size_t whole = dim & ~(size_t)15;
    for (size_t j = 0; j < whole; j += 16) {
        load_row16(row + j * elem, dtype, x);
        for (int i = 0; i < nq; i++)
            for (int l = 0; l < 4; l++)
                s[i][l] = _mm256_fmadd_pd(
                    x[l], _mm256_cvtps_pd(_mm_loadu_ps(q[i] + j + 4 * (size_t)l)), s[i][l]);
    }
    if (whole < dim) {
        unsigned char tail[16 * 8] = {0};
        memcpy(tail, row + whole * elem, (dim - whole) * elem);
        load_row16(tail, dtype, x);
        for (int i = 0; i < nq; i++) {
            float qtail[16] = {0};
            memcpy(qtail, q[i] + whole, (dim - whole) * sizeof *qtail);
            for (int l = 0; l < 4; l++)
                s[i][l] =
                    _mm256_fmadd_pd(x[l], _mm256_cvtps_pd(_mm_loadu_ps(qtail + 4 * l)), s[i][l]);
        }
    }
    for (int i = 0; i < nq; i++) dst[i] = sum_lanes(s[i]);
}

INLINE void dots_of(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                    size_t elem, const float *queries, size_t n_query, size_t n_rows, size_t dim) {
    for (size_t r = 0; r < n_rows; r++) {
        const unsigned char *row = rows + r * row_bytes;
        size_t i = 0;
        for (; i + 2 <= n_query; i += 2) {
            const float *q[2] = {queries + i * dim, queries + (i + 1) * dim};
            dot_row(dst + r * n_query + i, row, elem, dtype, q, 2, dim);
        }
        if (i < n_query) {
            const float *q[1] = {queries + i * dim};
            dot_row(dst + r * n_query + i, row, elem, dtype, q, 1, dim);
        }
    }
}

static void dots_f64(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                     const float *queries, size_t n_query, size_t n_rows, size_t dim) {
    switch (dtype) {
    case MSIM_DTYPE_F32:
        dots_of(dst, rows, row_bytes, MSIM_DTYPE_F32, 4, queries, n_query, n_rows, dim);
        break;
    case MSIM_DTYPE_F16:
        dots_of(dst, rows, row_bytes, MSIM_DTYPE_F16, 2, queries, n_query, n_rows, dim);
        break;
    case MSIM_DTYPE_BF16:
        dots_of(dst, rows, row_bytes, MSIM_DTYPE_BF16, 2, queries, n_query, n_rows, dim);
        break;
    default: dots_of(dst, rows, row_bytes, MSIM_DTYPE_F64, 8, queries, n_query, n_rows, dim); break;
    }
}

static inline __attribute__((always_inline)) void squares_of(double *dst, const unsigned char *rows,
                                                             size_t row_bytes, int dtype,
                                                             size_t elem, size_t n_rows,
                                                             size_t dim) {
    for (size_t r = 0; r < n_rows; r++) {
        const unsigned char *row = rows + r * row_bytes;
        __m256d s[4], x[4];
        for (int l = 0; l < 4; l++) s[l] = _mm256_setzero_pd();
        size_t whole = dim & ~(size_t)15;
        for (size_t j = 0; j < whole; j += 16) {
            load_row16(row + j * elem, dtype, x);
            for (int l = 0; l < 4; l++) s[l] = _mm256_fmadd_pd(x[l], x[l], s[l]);
        }
        if (whole < dim) {
            unsigned char tail[16 * 8] = {0};
            memcpy(tail, row + whole * elem, (dim - whole) * elem);
            load_row16(tail, dtype, x);
            for (int l = 0; l < 4; l++) s[l] = _mm256_fmadd_pd(x[l], x[l], s[l]);
        }
        dst[r] = sum_lanes(s);
    }
}

static void squares_f64(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                        size_t n_rows, size_t dim) {
    switch (dtype) {
    case MSIM_DTYPE_F32: squares_of(dst, rows, row_bytes, MSIM_DTYPE_F32, 4, n_rows, dim); break;
    case MSIM_DTYPE_F16: squares_of(dst, rows, row_bytes, MSIM_DTYPE_F16, 2, n_rows, dim); break;
    case MSIM_DTYPE_BF16: squares_of(dst, rows, row_bytes, MSIM_DTYPE_BF16, 2, n_rows, dim); break;
    default: squares_of(dst, rows, row_bytes, MSIM_DTYPE_F64, 8, n_rows, dim); break;
    }
}

const ms_cpu_kernels ms_encoder_avx2 = {
    .name = "avx2",
    .isa = MSIM_ISA_AVX2,
    .panel_cols = PANEL_COLS,
    .tile_rows = TILE_ROWS,
    .operand_bytes = {sizeof(float), sizeof(float)},
    .attend_rows = ATTEND_ROWS,
    .attend_scratch_bytes = sizeof(scratch_avx2),
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
