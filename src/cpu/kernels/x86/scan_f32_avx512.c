/* Scan of stored rows, for level avx512 and all above it. cpu/search/scan.h says what is
 * computed, and how things lie.
 *
 * Shapes    up to 256 rows of any type and width at any alignment; any number of queries, four at a
 *           time.
 * How       a tile is 4 rows x up to 4 queries, each sum a register of 16 lanes along the
 *           dimension: 16 sums, 4 more for the rows' squares when they are wanted, 4 vectors of
 *           rows and one of a query. 16 multiply-adds meet 8 loads, so the multiply pipes are full
 *           even where rows lie across cache lines. Sums are added across lanes by transposing 16
 *           of them together. How tiles pass over a block: cpu/kernels/scan_tiles.h.
 * Numerics  f32 with fused multiply-adds, 16 lanes and then a tree: search/bound.h charges it.
 * Needs     queries 64-byte aligned, padded with zeros to 16 elements.
 * Tests     test/unit/cpu/test_scan.c against long double, test/unit/search/test_certify.c. */
#include "cpu/kernels/scan_tiles.h"
#include <immintrin.h>

enum { LANES = 16, WIDTH = 4, CHUNK_BYTES = 32 << 10 };

/* Elements j .. j + 15 of a row, those in `mask`. */
INLINE __m512 load16(const byte *row, const int dtype, size_t j, __mmask16 mask) {
    if (dtype == MSIM_DTYPE_F32) return _mm512_maskz_loadu_ps(mask, row + 4 * j);
    if (dtype == MSIM_DTYPE_F64) {
        __m256 low = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)mask, row + 8 * j));
        __m256 high =
            _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)(mask >> 8), row + 8 * j + 64));
        return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
    }
    __m256i half = _mm256_maskz_loadu_epi16(mask, row + 2 * j);
    if (dtype == MSIM_DTYPE_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* The sums of a tile: acc[g][r], g < n_groups, of 4 rows each; group g's four sums become 4 floats
 * at out[g]. */
INLINE __m512 sum_fours(const __m512 a[TILE]) {
    __m512 u = _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
    __m512 v = _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
    __m512d x = _mm512_castps_pd(u), y = _mm512_castps_pd(v);
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

INLINE __m512 sum_pairs(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

INLINE void store_sums(const __m512 acc[][TILE], const int n_groups, float *const out[]) {
    __m512 four[4];
    UNROLL
    for (int g = 0; g < 4; g++) four[g] = g < n_groups ? sum_fours(acc[g]) : _mm512_setzero_ps();
    __m512 all = sum_pairs(sum_pairs(four[0], four[1]), sum_pairs(four[2], four[3]));
    _mm_storeu_ps(out[0], _mm512_castps512_ps128(all));
    if (n_groups > 1) _mm_storeu_ps(out[1], _mm512_extractf32x4_ps(all, 1));
    if (n_groups > 2) _mm_storeu_ps(out[2], _mm512_extractf32x4_ps(all, 2));
    if (n_groups > 3) _mm_storeu_ps(out[3], _mm512_extractf32x4_ps(all, 3));
}

/* One step: elements j .. j + 15 of 4 rows, those in `mask`. */
INLINE void dot_step(__m512 acc[4][TILE], __m512 square[TILE], const tile *t, size_t j,
                     __mmask16 mask, const int dtype, const int n_query, const int has_squares) {
    __m512 x[TILE];
    UNROLL
    for (int r = 0; r < TILE; r++) {
        x[r] = load16(t->rows[r], dtype, j, mask);
        if (has_squares) square[r] = _mm512_fmadd_ps(x[r], x[r], square[r]);
    }
    UNROLL
    for (int q = 0; q < n_query; q++) {
        __m512 y = _mm512_load_ps(t->queries + (size_t)q * t->stride + j);
        UNROLL
        for (int r = 0; r < TILE; r++) acc[q][r] = _mm512_fmadd_ps(x[r], y, acc[q][r]);
    }
}

/* 4 rows x n_query queries, and the rows' squares. */
INLINE void dot_tile(const tile *t, const int dtype, const int n_query, const int has_squares) {
    __m512 acc[4][TILE], square[1][TILE];
    const size_t bytes = dtype == MSIM_DTYPE_F32 ? 4 : dtype == MSIM_DTYPE_F64 ? 8 : 2;
    const size_t dim = t->dim, whole = dim / LANES * LANES;
    UNROLL
    for (int r = 0; r < TILE; r++) {
        square[0][r] = _mm512_setzero_ps();
        UNROLL
        for (int q = 0; q < n_query; q++) acc[q][r] = _mm512_setzero_ps();
    }
    for (size_t j = 0; j < whole; j += LANES) {
        ask_for_next(t, j * bytes, LANES * bytes);
        dot_step(acc, square[0], t, j, 0xffff, dtype, n_query, has_squares);
    }
    if (whole < dim)
        dot_step(acc, square[0], t, whole, (__mmask16)((1u << (dim - whole)) - 1), dtype, n_query,
                 has_squares);
    float *out[4] = {t->dst, t->dst + MS_SCAN_ROWS, t->dst + 2 * MS_SCAN_ROWS,
                     t->dst + 3 * MS_SCAN_ROWS};
    store_sums(acc, n_query, out);
    if (has_squares) store_sums(square, 1, &t->squares);
}

/* Each tile size a function of its own: inlined together they would share registers, and spill. */
#define TILES_OF(name, dtype)                                                                   \
    __attribute__((noinline)) static void name##_first_4(const tile *t) {                       \
        dot_tile(t, dtype, 4, 1);                                                               \
    }                                                                                           \
    __attribute__((noinline)) static void name##_first_3(const tile *t) {                       \
        dot_tile(t, dtype, 3, 1);                                                               \
    }                                                                                           \
    __attribute__((noinline)) static void name##_first_2(const tile *t) {                       \
        dot_tile(t, dtype, 2, 1);                                                               \
    }                                                                                           \
    __attribute__((noinline)) static void name##_first_1(const tile *t) {                       \
        dot_tile(t, dtype, 1, 1);                                                               \
    }                                                                                           \
    __attribute__((noinline)) static void name##_4(const tile *t) { dot_tile(t, dtype, 4, 0); } \
    __attribute__((noinline)) static void name##_3(const tile *t) { dot_tile(t, dtype, 3, 0); } \
    __attribute__((noinline)) static void name##_2(const tile *t) { dot_tile(t, dtype, 2, 0); } \
    __attribute__((noinline)) static void name##_1(const tile *t) { dot_tile(t, dtype, 1, 0); }
TILES_OF(f32, MSIM_DTYPE_F32)
TILES_OF(f16, MSIM_DTYPE_F16)
TILES_OF(bf16, MSIM_DTYPE_BF16)
TILES_OF(f64, MSIM_DTYPE_F64)

#define SET_OF(name)                                                              \
    {                                                                             \
        {NULL, name##_first_1, name##_first_2, name##_first_3, name##_first_4}, { \
            NULL, name##_1, name##_2, name##_3, name##_4                          \
        }                                                                         \
    }
static const tile_set sets[] = {[MSIM_DTYPE_F32] = SET_OF(f32),
                                [MSIM_DTYPE_F16] = SET_OF(f16),
                                [MSIM_DTYPE_BF16] = SET_OF(bf16),
                                [MSIM_DTYPE_F64] = SET_OF(f64)};

static void dots(float *dst, float *squares, const byte *const *rows, int dtype,
                 const float *queries, size_t query_stride, size_t n_query, size_t n_rows,
                 size_t dim) {
    const scan_block b = {dst, squares, rows, queries, query_stride, n_query, n_rows, dim};
    if (n_query <= WIDTH)
        pass_streams(&b, &sets[dtype], n_query > 1);
    else
        pass_chunks(&b, &sets[dtype], WIDTH, CHUNK_BYTES);
}

static size_t finish(float *dst, const float *squares, size_t n_query, size_t n_rows,
                     float margin) {
    size_t n_odd = 0;
    for (size_t r = 0; r < n_rows; r += LANES) {
        __mmask16 here = n_rows - r < LANES ? (__mmask16)((1u << (n_rows - r)) - 1)
                                            : (__mmask16)0xffff;
        __m512 square = _mm512_maskz_loadu_ps(here, squares + r), norm = _mm512_sqrt_ps(square);
        __mmask16 plain = _mm512_cmp_ps_mask(square, _mm512_set1_ps(MS_SCAN_LEAST), _CMP_GE_OQ) &
                          _mm512_cmp_ps_mask(square, _mm512_set1_ps(MS_SCAN_MOST), _CMP_LE_OQ);
        n_odd += (size_t)__builtin_popcount((unsigned)(here & ~plain));
        __m512 factor = margin == 0.0f ? _mm512_div_ps(_mm512_set1_ps(1.0f), norm)
                                       : _mm512_mul_ps(_mm512_set1_ps(margin), norm);
        for (size_t q = 0; q < n_query; q++) {
            float *d = dst + q * MS_SCAN_ROWS + r;
            __m512 x = _mm512_loadu_ps(d);
            _mm512_storeu_ps(d,
                             margin == 0.0f ? _mm512_mul_ps(x, factor) : _mm512_add_ps(x, factor));
        }
    }
    return n_odd;
}

static size_t keep(uint16_t *kept, const float *upper, size_t n, float cut) {
    size_t n_kept = 0;
    for (size_t r = 0; r < n; r += LANES) {
        __mmask16 here = n - r < LANES ? (__mmask16)((1u << (n - r)) - 1) : (__mmask16)0xffff;
        unsigned mask = _mm512_mask_cmp_ps_mask(here, _mm512_loadu_ps(upper + r),
                                                _mm512_set1_ps(cut), _CMP_NLT_UQ);
        for (; mask; mask &= mask - 1)
            kept[n_kept++] = (uint16_t)(r + (unsigned)__builtin_ctz(mask));
    }
    return n_kept;
}

const ms_scan_kernels ms_scan_f32_avx512 = {
    .lanes = LANES, .dots = dots, .finish = finish, .keep = keep};
