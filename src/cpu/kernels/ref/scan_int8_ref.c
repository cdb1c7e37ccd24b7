/* Scan of int8 codes in plain C, the reference of every level's. cpu/search/codes.h says what is
 * computed.
 *
 * Shapes    tiles of 16 rows; one query after another.
 * How       one element after another.
 * Numerics  exact integer sums modulo 2^32, then at most 9 roundings in f32.
 * Needs     nothing of the CPU.
 * Tests     test/unit/cpu/test_scan_codes.c against f64, test/unit/codes/test_codes.c. */
#include "cpu/search/codes.h"

static void scan(float *upper, size_t stride, const unsigned char *tiles, size_t n_tiles,
                 const ms_codes_queries *q) {
    size_t tile_bytes = ms_codes_int8_tile(q->dim), codes = ms_codes_int8(q->dim);
    for (size_t i = 0; i < q->n_query; i++) {
        const int16_t *w = (const int16_t *)q->weights + i * (codes / MS_CODES_TILE);
        for (size_t r = 0; r < n_tiles * MS_CODES_TILE; r++) {
            const unsigned char *tile = tiles + r / MS_CODES_TILE * tile_bytes,
                                *tail = tile + codes;
            size_t lane = r % MS_CODES_TILE;
            uint32_t sum = (uint32_t)q->start[i]; /* wraps on the way, as the vector kernels' sums
                                                   * do */
            for (size_t j = 0; j < q->dim; j++)
                sum += (uint32_t)(tile[j / MS_CODES_INT8_GROUP * MS_CODES_GROUP_BYTES +
                                       lane * MS_CODES_ROW_BYTES + j % MS_CODES_INT8_GROUP] *
                                  w[j]);
            float x = ms_codes_constant(tail + MS_CODES_INT8_A, lane) * q->scale[i] *
                          (float)(int32_t)sum +
                      q->lambda[i] * ms_codes_constant(tail + MS_CODES_INT8_Y, lane);
            x += ms_codes_constant(tail + MS_CODES_INT8_T, lane) * q->threshold[i];
            upper[i * stride + r] = x + ms_codes_constant(tail + MS_CODES_INT8_RHO, lane) *
                                            q->rho_factor[i];
        }
    }
}

const ms_codes_kernels ms_scan_int8_ref = {.name = "ref",
                                           .sizes = {1},
                                           .group = MS_CODES_INT8_GROUP,
                                           .weight_bytes = 2,
                                           .weight_max = 32639,
                                           .scan = scan};
