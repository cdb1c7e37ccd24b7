/* Products of fitting and applying a whitening at level avx2. whiten/kernels.h says what is
 * computed.
 *
 * Shapes    a tile of 8 x 16 in four parts of 4 x 8.
 * How       8 sums of 4 doubles; each factor of the left panel is broadcast.
 * Numerics  fused, which changes no bit: products are exact.
 * Needs     32-byte aligned panels and tile.
 * Tests     test/unit/whiten/test_whiten.c against ref. */
#include "whiten/kernels.h"
#include "cpu/kernels/unroll.h"
#include <immintrin.h>

enum { ROWS = 4, VECTORS = 2 };

INLINE void part(double *c, const double *a, const double *b, size_t n) {
    __m256d sum[ROWS][VECTORS];
    UNROLL
    for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = _mm256_setzero_pd();
    for (size_t k = 0; k < n; k++, a += MS_WHITEN_LANES, b += MS_WHITEN_LANES) {
        __m256d b0 = _mm256_load_pd(b), b1 = _mm256_load_pd(b + 4);
        UNROLL
        for (int i = 0; i < ROWS; i++) {
            __m256d x = _mm256_broadcast_sd(a + i);
            sum[i][0] = _mm256_fmadd_pd(x, b0, sum[i][0]);
            sum[i][1] = _mm256_fmadd_pd(x, b1, sum[i][1]);
        }
    }
    UNROLL
    for (int i = 0; i < ROWS; i++) {
        _mm256_store_pd(c + i * MS_WHITEN_LANES, sum[i][0]);
        _mm256_store_pd(c + i * MS_WHITEN_LANES + 4, sum[i][1]);
    }
}

static void tile(double *c, const double *a, const double *b, size_t n) {
    for (size_t i = 0; i < MS_WHITEN_HEIGHT; i += ROWS)
        for (size_t j = 0; j < MS_WHITEN_LANES; j += 4 * VECTORS)
            part(c + i * MS_WHITEN_LANES + j, a + i, b + j, n);
}

extern const ms_whiten_kernels ms_whiten_avx2;
const ms_whiten_kernels ms_whiten_avx2 = {.tile = tile};
