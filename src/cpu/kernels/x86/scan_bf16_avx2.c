/* Scan of rows in bf16 at level avx2. cpu/search/codes.h says what is computed.
 *
 * Shapes    tiles of 16 rows; blocks of 6, 3, 2 and 1 queries.
 * How       a lane is a row. 8 rows (half a tile) x 6 queries are 12 sums; fewer queries take both
 *           halves. The next tile is asked for meanwhile.
 * Numerics  as scan_bf16_avx512.c.
 * Needs     nothing aligned.
 * Tests     test/unit/cpu/test_scan_codes.c against f64, test/unit/codes/test_codes.c. */
#include "cpu/search/codes.h"
#include "cpu/kernels/unroll.h"
#include <immintrin.h>

INLINE __m256 load8(const unsigned char *p) {
    return _mm256_loadu_ps((const float *)(const void *)p);
}

/* The test's left side for 8 rows and one query; constants of the rows begin at tail. */
INLINE void put_upper(float *dst, const unsigned char *tail, const ms_codes_queries *q, size_t i) {
    __m256 upper = _mm256_fmadd_ps(load8(tail + MS_CODES_BF16_T), _mm256_set1_ps(q->threshold[i]),
                                   _mm256_loadu_ps(dst));
    _mm256_storeu_ps(dst, _mm256_fmadd_ps(load8(tail + MS_CODES_BF16_RHO),
                                          _mm256_set1_ps(q->rho_factor[i]), upper));
}

/* Sums over `groups` <= MS_CODES_SUM_GROUPS pairs of components of 8 rows, or 16 (halves 2), put
 * into upper (is_first) or added to it; the next tile is asked for meanwhile. */
INLINE void scan_part(float *upper, size_t stride, const unsigned char *at, size_t tile_bytes,
                      size_t groups, const float *weights, int is_first, const int queries,
                      const int halves) {
    __m256 sum[6][2];
    const __m256i high = _mm256_set1_epi32((int)0xffff0000u);
    UNROLL
    for (int i = 0; i < queries; i++) sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g++, at += MS_CODES_GROUP_BYTES, weights += 2 * queries) {
        _mm_prefetch((const char *)at + tile_bytes, _MM_HINT_T0);
        UNROLL
        for (int h = 0; h < halves; h++) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32 * h));
            __m256 x0 = _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)),
                   x1 = _mm256_castsi256_ps(_mm256_and_si256(x, high));
            UNROLL
            for (int i = 0; i < queries; i++) {
                sum[i][h] = _mm256_fmadd_ps(x0, _mm256_set1_ps(weights[2 * i]), sum[i][h]);
                sum[i][h] = _mm256_fmadd_ps(x1, _mm256_set1_ps(weights[2 * i + 1]), sum[i][h]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < queries; i++) UNROLL
    for (int h = 0; h < halves; h++) {
        float *dst = upper + (size_t)i * stride + 8 * h;
        _mm256_storeu_ps(dst,
                         is_first ? sum[i][h] : _mm256_add_ps(_mm256_loadu_ps(dst), sum[i][h]));
    }
}

#define SCAN(name, queries, halves)                                                             \
    __attribute__((noinline)) static void name(                                                 \
        float *upper, size_t stride, const unsigned char *at, size_t tile_bytes, size_t groups, \
        const float *weights, int is_first) {                                                   \
        scan_part(upper, stride, at, tile_bytes, groups, weights, is_first, queries, halves);   \
    }
SCAN(scan_6, 6, 1)
SCAN(scan_3, 3, 2)
SCAN(scan_2, 2, 2)
SCAN(scan_1, 1, 2)

typedef void (*bf16_avx2_fn)(float *, size_t, const unsigned char *, size_t, size_t, const float *,
                             int);
static const struct {
    size_t queries, halves;
    bf16_avx2_fn rows;
} shapes[] = {{6, 1, scan_6}, {3, 2, scan_3}, {2, 2, scan_2}, {1, 2, scan_1}};

/* One block of weights, in parts of MS_CODES_SUM_GROUPS, against a tile. */
static void scan_block(float *upper, size_t stride, const unsigned char *tile, size_t tile_bytes,
                       size_t groups, const float *weights, size_t shape) {
    for (size_t h = 0; h < 2; h += shapes[shape].halves)
        for (size_t g = 0; g < groups; g += MS_CODES_SUM_GROUPS)
            shapes[shape].rows(upper + 8 * h, stride, tile + 32 * h + MS_CODES_GROUP_BYTES * g,
                               tile_bytes,
                               groups - g < MS_CODES_SUM_GROUPS ? groups - g : MS_CODES_SUM_GROUPS,
                               weights + 2 * shapes[shape].queries * g, g == 0);
}

static void scan(float *upper, size_t stride, const unsigned char *tiles, size_t n_tiles,
                 const ms_codes_queries *q) {
    size_t tile_bytes = ms_codes_bf16_tile(q->dim),
           groups = ms_codes_bf16(q->dim) / MS_CODES_GROUP_BYTES;
    for (; n_tiles; n_tiles--, tiles += tile_bytes, upper += 16) {
        const float *weights = q->weights;
        for (size_t s = 0, first = 0; first < q->n_query; s++)
            for (; first + shapes[s].queries <= q->n_query; first += shapes[s].queries) {
                scan_block(upper + first * stride, stride, tiles, tile_bytes, groups, weights, s);
                weights += groups * 2 * shapes[s].queries;
            }
        for (size_t i = 0; i < q->n_query; i++)
            for (size_t h = 0; h < 2; h++)
                put_upper(upper + i * stride + 8 * h,
                          tiles + MS_CODES_GROUP_BYTES * groups + 32 * h, q, i);
    }
}

const ms_codes_kernels ms_scan_bf16_avx2 = {
    .name = "avx2", .sizes = {6, 3, 2, 1}, .group = 2, .weight_bytes = 4, .scan = scan};
