/* Scan of rows in bf16 in plain C, the reference of every level's. cpu/search/codes.h says what is
 * computed.
 *
 * Shapes    tiles of 16 rows; one query after another.
 * How       one element after another.
 * Numerics  f32, products and sums rounded apart; sums of 128 components are added up apart.
 * Needs     nothing of the CPU.
 * Tests     test/unit/cpu/test_scan_codes.c against f64, test/unit/codes/test_codes.c. */
#include "base/bf16.h"
#include "cpu/search/codes.h"

static void scan(float *upper, size_t stride, const unsigned char *tiles, size_t n_tiles,
                 const ms_codes_queries *q) {
    size_t tile_bytes = ms_codes_bf16_tile(q->dim), codes = ms_codes_bf16(q->dim);
    size_t padded = codes / MS_CODES_TILE / sizeof(uint16_t);
    for (size_t i = 0; i < q->n_query; i++) {
        const float *w = (const float *)q->weights + i * padded;
        for (size_t r = 0; r < n_tiles * MS_CODES_TILE; r++) {
            const unsigned char *tile = tiles + r / MS_CODES_TILE * tile_bytes,
                                *tail = tile + codes;
            size_t lane = r % MS_CODES_TILE;
            float sum = 0.0f;
            for (size_t j0 = 0; j0 < q->dim; j0 += 2 * MS_CODES_SUM_GROUPS) {
                float part = 0.0f;
                for (size_t j = j0; j < q->dim && j < j0 + 2 * MS_CODES_SUM_GROUPS; j++) {
                    ms_bf16 x;
                    memcpy(&x,
                           tile + j / MS_CODES_BF16_GROUP * MS_CODES_GROUP_BYTES +
                               lane * MS_CODES_ROW_BYTES + j % MS_CODES_BF16_GROUP * sizeof x,
                           sizeof x);
                    part += ms_f32_of_bf16(x) * w[j];
                }
                sum += part;
            }
            float x = sum + ms_codes_constant(tail + MS_CODES_BF16_T, lane) * q->threshold[i];
            upper[i * stride + r] = x + ms_codes_constant(tail + MS_CODES_BF16_RHO, lane) *
                                            q->rho_factor[i];
        }
    }
}

const ms_codes_kernels ms_scan_bf16_ref = {
    .name = "ref", .sizes = {1}, .group = MS_CODES_BF16_GROUP, .weight_bytes = 4, .scan = scan};
