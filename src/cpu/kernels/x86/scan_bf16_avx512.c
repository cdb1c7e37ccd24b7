/* Scan of rows in bf16, for level avx512 and all above it. cpu/search/codes.h says what is
 * computed.
 *
 * Shapes    tiles of 16 rows; blocks of 12, 6, 3, 2 and 1 queries.
 * How       a lane is a row; 64 bytes are 16 rows x 2 components, of which the odd ones stand in
 *           place and the even ones are shifted there. 12 queries x 2 tiles are 24 sums.
 * Numerics  values are widened to f32 and multiplied there, for vdpbf16ps would round after each
 *           product and drop subnormals. Sums of 128 components are added up apart, so that an
 *           error grows with 128 + dim / 128 (search/bound_codes.c counts on it).
 * Needs     nothing aligned.
 * Tests     test/unit/cpu/test_scan_codes.c against f64, test/unit/codes/test_codes.c. */
#include "cpu/search/codes.h"
#include "cpu/kernels/unroll.h"
#include <immintrin.h>

enum { MAX_TILES = 8 }; /* a few, so that further blocks of queries find them in the cache */

/* The test's left side for one tile and one query. */
INLINE void put_upper(float *dst, __m512 sum, const unsigned char *tail, const ms_codes_queries *q,
                      size_t i) {
    __m512 rho = _mm512_loadu_ps(tail + MS_CODES_BF16_RHO),
           t = _mm512_loadu_ps(tail + MS_CODES_BF16_T);
    __m512 upper = _mm512_fmadd_ps(t, _mm512_set1_ps(q->threshold[i]), sum);
    _mm512_storeu_ps(dst, _mm512_fmadd_ps(rho, _mm512_set1_ps(q->rho_factor[i]), upper));
}

/* Sums over `groups` <= MS_CODES_SUM_GROUPS pairs of components, put into upper (is_first) or added
 * to it. */
INLINE void scan_part(float *upper, size_t stride, const unsigned char *at, size_t tile_bytes,
                      size_t groups, const float *weights, int is_first, const int queries,
                      const int tiles) {
    __m512 sum[24];
    const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    UNROLL
    for (int i = 0; i < queries; i++) UNROLL
    for (int t = 0; t < tiles; t++) sum[i * tiles + t] = _mm512_setzero_ps();
    for (size_t g = 0; g < groups; g++, at += MS_CODES_GROUP_BYTES, weights += 2 * queries) {
        __m512 x0[2], x1[2];
        UNROLL
        for (int t = 0; t < tiles; t++) {
            __m512i x = _mm512_loadu_si512(at + (size_t)t * tile_bytes);
            _mm_prefetch((const char *)at + (size_t)(t + 2) * tile_bytes, _MM_HINT_T0);
            x0[t] = _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
            x1[t] = _mm512_castsi512_ps(_mm512_and_si512(x, high));
        }
        UNROLL
        for (int i = 0; i < queries; i++) {
            __m512 w = _mm512_set1_ps(weights[2 * i]);
            UNROLL
            for (int t = 0; t < tiles; t++)
                sum[i * tiles + t] = _mm512_fmadd_ps(x0[t], w, sum[i * tiles + t]);
        }
        UNROLL
        for (int i = 0; i < queries; i++) {
            __m512 w = _mm512_set1_ps(weights[2 * i + 1]);
            UNROLL
            for (int t = 0; t < tiles; t++)
                sum[i * tiles + t] = _mm512_fmadd_ps(x1[t], w, sum[i * tiles + t]);
        }
    }
    UNROLL
    for (int i = 0; i < queries; i++) UNROLL
    for (int t = 0; t < tiles; t++) {
        float *dst = upper + (size_t)i * stride + 16 * t;
        _mm512_storeu_ps(dst, is_first ? sum[i * tiles + t]
                                       : _mm512_add_ps(_mm512_loadu_ps(dst), sum[i * tiles + t]));
    }
}

#define SCAN(name, queries, tiles)                                                              \
    __attribute__((noinline)) static void name(                                                 \
        float *upper, size_t stride, const unsigned char *at, size_t tile_bytes, size_t groups, \
        const float *weights, int is_first) {                                                   \
        scan_part(upper, stride, at, tile_bytes, groups, weights, is_first, queries, tiles);    \
    }
SCAN(scan_12_2, 12, 2)
SCAN(scan_12_1, 12, 1)
SCAN(scan_6_2, 6, 2)
SCAN(scan_6_1, 6, 1)
SCAN(scan_3_2, 3, 2)
SCAN(scan_3_1, 3, 1)
SCAN(scan_2_2, 2, 2)
SCAN(scan_2_1, 2, 1)
SCAN(scan_1_2, 1, 2)
SCAN(scan_1_1, 1, 1)

typedef void (*bf16_avx512_fn)(float *, size_t, const unsigned char *, size_t, size_t,
                               const float *, int);
static const struct {
    size_t queries;
    bf16_avx512_fn two, one; /* tiles */
} shapes[] = {{12, scan_12_2, scan_12_1},
              {6, scan_6_2, scan_6_1},
              {3, scan_3_2, scan_3_1},
              {2, scan_2_2, scan_2_1},
              {1, scan_1_2, scan_1_1}};

/* One block of weights, in parts of MS_CODES_SUM_GROUPS, against n <= MAX_TILES tiles. */
static void scan_block(float *upper, size_t stride, const unsigned char *tiles, size_t n,
                       size_t tile_bytes, size_t groups, const float *weights, size_t shape) {
    for (size_t t = 0; t < n; t += 2)
        for (size_t g = 0; g < groups; g += MS_CODES_SUM_GROUPS)
            (t + 1 < n ? shapes[shape].two : shapes[shape].one)(
                upper + 16 * t, stride, tiles + t * tile_bytes + MS_CODES_GROUP_BYTES * g,
                tile_bytes, groups - g < MS_CODES_SUM_GROUPS ? groups - g : MS_CODES_SUM_GROUPS,
                weights + 2 * shapes[shape].queries * g, g == 0);
}

static void scan(float *upper, size_t stride, const unsigned char *tiles, size_t n_tiles,
                 const ms_codes_queries *q) {
    size_t tile_bytes = ms_codes_bf16_tile(q->dim),
           groups = ms_codes_bf16(q->dim) / MS_CODES_GROUP_BYTES;
    for (size_t n; n_tiles; n_tiles -= n, tiles += n * tile_bytes, upper += 16 * n) {
        const float *weights = q->weights;
        n = n_tiles < MAX_TILES ? n_tiles : MAX_TILES;
        for (size_t s = 0, first = 0; first < q->n_query; s++)
            for (; first + shapes[s].queries <= q->n_query; first += shapes[s].queries) {
                scan_block(upper + first * stride, stride, tiles, n, tile_bytes, groups, weights,
                           s);
                weights += groups * 2 * shapes[s].queries;
            }
        for (size_t i = 0; i < q->n_query; i++)
            for (size_t t = 0; t < n; t++) {
                float *dst = upper + i * stride + 16 * t;
                put_upper(dst, _mm512_loadu_ps(dst),
                          tiles + t * tile_bytes + MS_CODES_GROUP_BYTES * groups, q, i);
            }
    }
}

const ms_codes_kernels ms_scan_bf16_avx512 = {
    .name = "avx512", .sizes = {12, 6, 3, 2, 1}, .group = 2, .weight_bytes = 4, .scan = scan};
