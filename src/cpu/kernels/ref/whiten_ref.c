/* Products of fitting and applying a whitening, in plain C: the reference of every level's.
 * whiten/kernels.h says what is computed.
 *
 * Shapes    tiles of 8 x 16, any number of rows.
 * Numerics  exact products, f64 sums in the order of rows: the same bits at every level.
 * Tests     test/unit/whiten/test_whiten.c. */
#include "whiten/kernels.h"

enum { PART = 4 };

/* Four columns at a time: more sums would not stay in registers. */
static void tile(double *c, const double *a, const double *b, size_t n) {
    for (size_t i = 0; i < MS_WHITEN_HEIGHT; i += 2)
        for (size_t j = 0; j < MS_WHITEN_LANES; j += PART) {
            double sum[2][PART] = {{0}};
            for (size_t k = 0; k < n; k++)
                for (size_t l = 0; l < PART; l++) {
                    sum[0][l] += a[k * MS_WHITEN_LANES + i] * b[k * MS_WHITEN_LANES + j + l];
                    sum[1][l] += a[k * MS_WHITEN_LANES + i + 1] * b[k * MS_WHITEN_LANES + j + l];
                }
            for (size_t l = 0; l < PART; l++) {
                c[i * MS_WHITEN_LANES + j + l] = sum[0][l];
                c[(i + 1) * MS_WHITEN_LANES + j + l] = sum[1][l];
            }
        }
}

extern const ms_whiten_kernels ms_whiten_ref;
const ms_whiten_kernels ms_whiten_ref = {.tile = tile};
