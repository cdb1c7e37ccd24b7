/* Scan of int8 codes on AVX512_VNNI, for level avx512 and all above it. cpu/search/codes.h says
 * what is computed.
 *
 * Shapes    tiles of 16 rows; blocks of 12, 6, 3, 2 and 1 queries.
 * How       vpdpbusd adds four products u8 x s8 to each lane of 32 bits, and a lane is a row. 12
 *           queries x 2 tiles are 24 sums; with the codes and a broadcast they fill the registers.
 *           Two tiles for fewer queries, too: memory gives most when two streams rise, each asked
 *           for two tiles ahead.
 * Numerics  exact integer sums: 255 * 127 * dim stays below 2^31 up to dim 66,311, and no product
 *           saturates. Then at most 9 roundings in f32.
 * Needs     nothing aligned.
 * Tests     test/unit/cpu/test_scan_codes.c against f64, test/unit/codes/test_codes.c. */
#include "cpu/search/codes.h"
#include "cpu/kernels/unroll.h"
#include "cpu/kernels/x86/dot4_avx512vnni.h"
#include <string.h>

enum { MAX_TILES = 8 }; /* a few, so that further blocks of queries find them in the cache */

/* The test's left side for one tile and one query. */
INLINE void put_upper(float *dst, __m512i sum, const unsigned char *tail, const ms_codes_queries *q,
                      size_t i) {
    __m512 a = _mm512_loadu_ps(tail + MS_CODES_INT8_A),
           rho = _mm512_loadu_ps(tail + MS_CODES_INT8_RHO),
           t = _mm512_loadu_ps(tail + MS_CODES_INT8_T), y = _mm512_loadu_ps(tail + MS_CODES_INT8_Y);
    __m512 upper = _mm512_mul_ps(_mm512_set1_ps(q->lambda[i]), y);
    upper = _mm512_fmadd_ps(_mm512_mul_ps(a, _mm512_set1_ps(q->scale[i])), _mm512_cvtepi32_ps(sum),
                            upper);
    upper = _mm512_fmadd_ps(t, _mm512_set1_ps(q->threshold[i]), upper);
    _mm512_storeu_ps(dst, _mm512_fmadd_ps(rho, _mm512_set1_ps(q->rho_factor[i]), upper));
}

/* `queries` queries of one block of weights against `tiles` tiles. */
INLINE void scan_tiles(float *upper, size_t stride, const unsigned char *tile, size_t tile_bytes,
                       const char *weights, const ms_codes_queries *q, size_t first,
                       const int queries, const int tiles) {
    __m512i sum[24];
    size_t groups = tile_bytes / MS_CODES_GROUP_BYTES -
                    MS_CODES_INT8_CONSTANTS / MS_CODES_GROUP_BYTES;
    UNROLL
    for (int i = 0; i < queries; i++) UNROLL
    for (int t = 0; t < tiles; t++)
        sum[i * tiles + t] = _mm512_set1_epi32(q->start[first + (size_t)i]);
    const unsigned char *at = tile;
    for (size_t g = 0; g < groups; g++, at += MS_CODES_GROUP_BYTES, weights += 4 * queries) {
        __m512i x[2];
        UNROLL
        for (int t = 0; t < tiles; t++) {
            x[t] = _mm512_loadu_si512(at + (size_t)t * tile_bytes);
            _mm_prefetch((const char *)at + (size_t)(t + 2) * tile_bytes, _MM_HINT_T0);
        }
        UNROLL
        for (int i = 0; i < queries; i++) {
            __m512i w = same_four(weights + 4 * i);
            UNROLL
            for (int t = 0; t < tiles; t++) sum[i * tiles + t] = dot4(sum[i * tiles + t], x[t], w);
        }
    }
    UNROLL
    for (int t = 0; t < tiles; t++) UNROLL
    for (int i = 0; i < queries; i++)
        put_upper(upper + (first + (size_t)i) * stride + 16 * t, sum[i * tiles + t],
                  tile + (size_t)t * tile_bytes + MS_CODES_GROUP_BYTES * groups, q,
                  first + (size_t)i);
}

#define SCAN(name, queries, tiles)                                                      \
    __attribute__((noinline)) static void name(                                         \
        float *upper, size_t stride, const unsigned char *tile, size_t tile_bytes,      \
        const char *weights, const ms_codes_queries *q, size_t first) {                 \
        scan_tiles(upper, stride, tile, tile_bytes, weights, q, first, queries, tiles); \
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

typedef void (*int8_vnni_fn)(float *, size_t, const unsigned char *, size_t, const char *,
                             const ms_codes_queries *, size_t);
static const struct {
    size_t queries;
    int8_vnni_fn two, one; /* tiles */
} shapes[] = {{12, scan_12_2, scan_12_1},
              {6, scan_6_2, scan_6_1},
              {3, scan_3_2, scan_3_1},
              {2, scan_2_2, scan_2_1},
              {1, scan_1_2, scan_1_1}};

static void scan(float *upper, size_t stride, const unsigned char *tiles, size_t n_tiles,
                 const ms_codes_queries *q) {
    size_t tile_bytes = ms_codes_int8_tile(q->dim),
           groups = ms_codes_int8(q->dim) / MS_CODES_GROUP_BYTES;
    for (size_t n; n_tiles; n_tiles -= n, tiles += n * tile_bytes, upper += 16 * n) {
        const char *weights = q->weights;
        n = n_tiles < MAX_TILES ? n_tiles : MAX_TILES;
        for (size_t s = 0, first = 0; first < q->n_query; s++)
            for (; first + shapes[s].queries <= q->n_query; first += shapes[s].queries) {
                for (size_t t = 0; t < n; t += 2)
                    (t + 1 < n ? shapes[s].two : shapes[s].one)(upper + 16 * t, stride,
                                                                tiles + t * tile_bytes, tile_bytes,
                                                                weights, q, first);
                weights += groups * 4 * shapes[s].queries;
            }
    }
}

const ms_codes_kernels ms_scan_int8_avx512vnni = {.name = "avx512vnni",
                                                  .sizes = {12, 6, 3, 2, 1},
                                                  .group = 4,
                                                  .weight_bytes = 1,
                                                  .weight_max = 127,
                                                  .scan = scan};
