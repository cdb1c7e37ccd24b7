/* Scan of int8 codes at level avx2, and at all above it on a CPU without AVX512_VNNI.
 * cpu/search/codes.h says what is computed.
 *
 * Shapes    tiles of 16 rows; blocks of 6, 3, 2 and 1 queries.
 * How       vpmaddubsw would saturate, so codes are widened to 16 bits once for all queries and
 *           vpmaddwd multiplies by weights of 16 bits: two products and their sum per lane. A
 *           register holds 4 rows x 4 components, so 8 rows (half a tile) x 6 queries are 12 sums.
 * Numerics  exact integer sums: they may wrap on the way, but the last value, of codes less 128,
 *           fits (weight_max * 127 * dim < 2^31). Then at most 9 roundings in f32.
 * Needs     nothing aligned.
 * Tests     test/unit/cpu/test_scan_codes.c against f64, test/unit/codes/test_codes.c. */
#include "cpu/search/codes.h"
#include "cpu/kernels/unroll.h"
#include <immintrin.h>
#include <string.h>

INLINE __m256i four_weights(const char *p) {
    long long four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi64x(four);
}

INLINE __m256i codes_of_4_rows(const unsigned char *p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}

INLINE __m256 load8(const unsigned char *p) {
    return _mm256_loadu_ps((const float *)(const void *)p);
}

/* The test's left side for 8 rows and one query; constants of the rows begin at tail. */
INLINE void put_upper(float *dst, __m256i sum, const unsigned char *tail, const ms_codes_queries *q,
                      size_t i) {
    __m256 upper = _mm256_mul_ps(_mm256_set1_ps(q->lambda[i]), load8(tail + MS_CODES_INT8_Y));
    __m256 a = _mm256_mul_ps(load8(tail + MS_CODES_INT8_A), _mm256_set1_ps(q->scale[i]));
    upper = _mm256_fmadd_ps(a, _mm256_cvtepi32_ps(sum), upper);
    upper = _mm256_fmadd_ps(load8(tail + MS_CODES_INT8_T), _mm256_set1_ps(q->threshold[i]), upper);
    _mm256_storeu_ps(dst, _mm256_fmadd_ps(load8(tail + MS_CODES_INT8_RHO),
                                          _mm256_set1_ps(q->rho_factor[i]), upper));
}

/* `queries` queries of one block of weights against 8 rows, or 16 (halves 2); the next tile is
 * asked for meanwhile. */
INLINE void scan_rows(float *upper, size_t stride, const unsigned char *codes,
                      const unsigned char *tail, size_t groups, const char *weights,
                      const ms_codes_queries *q, size_t first, const int queries,
                      const int halves) {
    __m256i sum[6][4];
    size_t tile_bytes = groups * MS_CODES_GROUP_BYTES + MS_CODES_INT8_CONSTANTS;
    UNROLL
    for (int i = 0; i < queries; i++) UNROLL
    for (int h = 0; h < 2 * halves; h++) sum[i][h] = _mm256_setzero_si256();
    for (size_t g = 0; g < groups; g++, codes += MS_CODES_GROUP_BYTES, weights += 8 * queries) {
        __m256i x[4];
        _mm_prefetch((const char *)codes + tile_bytes, _MM_HINT_T0);
        UNROLL
        for (int h = 0; h < 2 * halves; h++) x[h] = codes_of_4_rows(codes + 16 * h);
        UNROLL
        for (int i = 0; i < queries; i++) {
            __m256i w = four_weights(weights + 8 * i);
            UNROLL
            for (int h = 0; h < 2 * halves; h++)
                sum[i][h] = _mm256_add_epi32(sum[i][h], _mm256_madd_epi16(x[h], w));
        }
    }
    UNROLL
    for (int i = 0; i < queries; i++) UNROLL
    for (int h = 0; h < halves; h++) {
        size_t at = first + (size_t)i;
        __m256i rows =
            _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[i][2 * h], sum[i][2 * h + 1]), 0xd8);
        rows = _mm256_add_epi32(rows, _mm256_set1_epi32(q->start[at]));
        put_upper(upper + at * stride + 8 * h, rows, tail + 32 * h, q, at);
    }
}

#define SCAN(name, queries, halves)                                                         \
    __attribute__((noinline)) static void name(                                             \
        float *upper, size_t stride, const unsigned char *codes, const unsigned char *tail, \
        size_t groups, const char *weights, const ms_codes_queries *q, size_t first) {      \
        scan_rows(upper, stride, codes, tail, groups, weights, q, first, queries, halves);  \
    }
SCAN(scan_6, 6, 1)
SCAN(scan_3, 3, 1)
SCAN(scan_2, 2, 2)
SCAN(scan_1, 1, 2)

typedef void (*int8_avx2_fn)(float *, size_t, const unsigned char *, const unsigned char *, size_t,
                             const char *, const ms_codes_queries *, size_t);
static const struct {
    size_t queries, halves;
    int8_avx2_fn rows;
} shapes[] = {{6, 1, scan_6}, {3, 1, scan_3}, {2, 2, scan_2}, {1, 2, scan_1}};

static void scan(float *upper, size_t stride, const unsigned char *tiles, size_t n_tiles,
                 const ms_codes_queries *q) {
    size_t tile_bytes = ms_codes_int8_tile(q->dim),
           groups = ms_codes_int8(q->dim) / MS_CODES_GROUP_BYTES;
    for (; n_tiles; n_tiles--, tiles += tile_bytes, upper += 16) {
        const char *weights = q->weights;
        const unsigned char *tail = tiles + MS_CODES_GROUP_BYTES * groups;
        for (size_t s = 0, first = 0; first < q->n_query; s++)
            for (; first + shapes[s].queries <= q->n_query; first += shapes[s].queries) {
                for (size_t h = 0; h < 2; h += shapes[s].halves)
                    shapes[s].rows(upper + 8 * h, stride, tiles + 32 * h, tail + 32 * h, groups,
                                   weights, q, first);
                weights += groups * 8 * shapes[s].queries;
            }
    }
}

const ms_codes_kernels ms_scan_int8_avx2 = {.name = "avx2",
                                            .sizes = {6, 3, 2, 1},
                                            .group = 4,
                                            .weight_bytes = 2,
                                            .weight_max = 32639,
                                            .scan = scan};
