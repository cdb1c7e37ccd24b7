/* Scan of stored rows at level avx2. cpu/search/scan.h says what is computed, and how things lie.
 *
 * Shapes    up to 256 rows of any type and width at any alignment; any number of queries, two at a
 *           time.
 * How       a tile is 4 rows x up to 2 queries, each sum a register of 8 lanes: 8 sums, 4 more for
 *           the squares when they are wanted, the queries' 2 vectors and one of a row fill 15 of
 *           the 16 registers. How tiles pass over a block: cpu/kernels/scan_tiles.h.
 * Numerics  f32 with fused multiply-adds, 8 lanes and then a tree: search/bound.h charges it.
 * Needs     queries 32-byte aligned, padded with zeros to 16 elements.
 * Tests     test/unit/cpu/test_scan.c against long double, test/unit/search/test_certify.c. */
#include "cpu/kernels/scan_tiles.h"
#include <immintrin.h>
#include <string.h>

enum { LANES = 8, WIDTH = 2, CHUNK_BYTES = 32 << 10 };

/* Eight elements of a row. */
INLINE __m256 load8(const byte *at, const int dtype) {
    if (dtype == MSIM_DTYPE_F32) return _mm256_loadu_ps((const float *)(const void *)at);
    if (dtype == MSIM_DTYPE_F64) {
        __m128 low = _mm256_cvtpd_ps(_mm256_loadu_pd((const double *)(const void *)at));
        __m128 high = _mm256_cvtpd_ps(_mm256_loadu_pd((const double *)(const void *)(at + 32)));
        return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
    }
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)at);
    if (dtype == MSIM_DTYPE_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* Sums across lanes of four registers, side by side. */
INLINE void store_sums(const __m256 a[TILE], float *out) {
    __m256 four = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1)));
}

/* One step of 8 elements: rows at at[r], queries from element j. */
INLINE void step(__m256 acc[WIDTH][TILE], __m256 square[TILE], const byte *const at[TILE],
                 const tile *t, size_t j, const int dtype, const int n_query,
                 const int has_squares) {
    __m256 y[WIDTH];
    UNROLL
    for (int q = 0; q < n_query; q++) y[q] = _mm256_load_ps(t->queries + (size_t)q * t->stride + j);
    UNROLL
    for (int r = 0; r < TILE; r++) {
        __m256 x = load8(at[r], dtype);
        if (has_squares) square[r] = _mm256_fmadd_ps(x, x, square[r]);
        UNROLL
        for (int q = 0; q < n_query; q++) acc[q][r] = _mm256_fmadd_ps(x, y[q], acc[q][r]);
    }
}

INLINE void dot_tile(const tile *t, const int dtype, const int n_query, const int is_first) {
    __m256 acc[WIDTH][TILE], square[TILE];
    const size_t bytes = dtype == MSIM_DTYPE_F32 ? 4 : dtype == MSIM_DTYPE_F64 ? 8 : 2;
    size_t whole = t->dim / LANES * LANES;
    UNROLL
    for (int r = 0; r < TILE; r++) {
        square[r] = _mm256_setzero_ps();
        UNROLL
        for (int q = 0; q < n_query; q++) acc[q][r] = _mm256_setzero_ps();
    }
    for (size_t j = 0; j < whole; j += LANES) {
        const byte *at[TILE] = {t->rows[0] + j * bytes, t->rows[1] + j * bytes,
                                t->rows[2] + j * bytes, t->rows[3] + j * bytes};
        if (j * bytes % 64 == 0) ask_for_next(t, j * bytes, LANES * bytes);
        step(acc, square, at, t, j, dtype, n_query, is_first);
    }
    if (whole < t->dim) {
        byte tail[TILE][LANES * sizeof(double)] = {{0}};
        for (int r = 0; r < TILE; r++)
            memcpy(tail[r], t->rows[r] + whole * bytes, (t->dim - whole) * bytes);
        const byte *at[TILE] = {tail[0], tail[1], tail[2], tail[3]};
        step(acc, square, at, t, whole, dtype, n_query, is_first);
    }
    store_sums(acc[0], t->dst);
    if (n_query > 1) store_sums(acc[1], t->dst + MS_SCAN_ROWS);
    if (is_first) store_sums(square, t->squares);
}

#define TILES_OF(name, dtype)                                                                   \
    __attribute__((noinline)) static void name##_first_2(const tile *t) {                       \
        dot_tile(t, dtype, 2, 1);                                                               \
    }                                                                                           \
    __attribute__((noinline)) static void name##_first_1(const tile *t) {                       \
        dot_tile(t, dtype, 1, 1);                                                               \
    }                                                                                           \
    __attribute__((noinline)) static void name##_2(const tile *t) { dot_tile(t, dtype, 2, 0); } \
    __attribute__((noinline)) static void name##_1(const tile *t) { dot_tile(t, dtype, 1, 0); }
TILES_OF(f32, MSIM_DTYPE_F32)
TILES_OF(f16, MSIM_DTYPE_F16)
TILES_OF(bf16, MSIM_DTYPE_BF16)
TILES_OF(f64, MSIM_DTYPE_F64)

#define SET_OF(name)                                                         \
    {                                                                        \
        {NULL, name##_first_1, name##_first_2}, { NULL, name##_1, name##_2 } \
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
    size_t n_plain = 0;
    const __m256 least = _mm256_set1_ps(MS_SCAN_LEAST), most = _mm256_set1_ps(MS_SCAN_MOST);
    for (size_t r = 0; r < n_rows; r += LANES) {
        unsigned here = n_rows - r < LANES ? (1u << (n_rows - r)) - 1 : 0xff;
        __m256 square = _mm256_loadu_ps(squares + r), norm = _mm256_sqrt_ps(square);
        __m256 plain = _mm256_and_ps(_mm256_cmp_ps(square, least, _CMP_GE_OQ),
                                     _mm256_cmp_ps(square, most, _CMP_LE_OQ));
        n_plain += (size_t)__builtin_popcount((unsigned)_mm256_movemask_ps(plain) & here);
        __m256 factor = margin == 0.0f ? _mm256_div_ps(_mm256_set1_ps(1.0f), norm)
                                       : _mm256_mul_ps(_mm256_set1_ps(margin), norm);
        for (size_t q = 0; q < n_query; q++) {
            float *d = dst + q * MS_SCAN_ROWS + r;
            __m256 x = _mm256_loadu_ps(d);
            _mm256_storeu_ps(d,
                             margin == 0.0f ? _mm256_mul_ps(x, factor) : _mm256_add_ps(x, factor));
        }
    }
    return n_rows - n_plain;
}

static size_t keep(uint16_t *kept, const float *upper, size_t n, float cut) {
    size_t n_kept = 0;
    for (size_t r = 0; r < n; r += LANES) {
        unsigned here = n - r < LANES ? (1u << (n - r)) - 1 : 0xff;
        __m256 is_kept =
            _mm256_cmp_ps(_mm256_loadu_ps(upper + r), _mm256_set1_ps(cut), _CMP_NLT_UQ);
        unsigned mask = (unsigned)_mm256_movemask_ps(is_kept) & here;
        for (; mask; mask &= mask - 1)
            kept[n_kept++] = (uint16_t)(r + (unsigned)__builtin_ctz(mask));
    }
    return n_kept;
}

const ms_scan_kernels ms_scan_f32_avx2 = {
    .lanes = LANES, .dots = dots, .finish = finish, .keep = keep};
