/* Products of fitting and applying a whitening, for level avx512 and all above it.
 * whiten/kernels.h says what is computed.
 *
 * Shapes    a tile of 8 x 16.
 * How       16 sums of 8 doubles; each factor of the left panel is broadcast.
 * Numerics  fused, which changes no bit: products are exact.
 * Needs     64-byte aligned panels and tile.
 * Tests     test/unit/whiten/test_whiten.c against ref. */
#include "whiten/kernels.h"
#include "cpu/kernels/unroll.h"
#include <immintrin.h>

static void tile(double *c, const double *a, const double *b, size_t n) {
    __m512d sum[MS_WHITEN_HEIGHT][2];
    UNROLL
    for (int i = 0; i < MS_WHITEN_HEIGHT; i++) sum[i][0] = sum[i][1] = _mm512_setzero_pd();
    for (size_t k = 0; k < n; k++, a += MS_WHITEN_LANES, b += MS_WHITEN_LANES) {
        __m512d b0 = _mm512_load_pd(b), b1 = _mm512_load_pd(b + 8);
        UNROLL
        for (int i = 0; i < MS_WHITEN_HEIGHT; i++) {
            __m512d x = _mm512_set1_pd(a[i]);
            sum[i][0] = _mm512_fmadd_pd(x, b0, sum[i][0]);
            sum[i][1] = _mm512_fmadd_pd(x, b1, sum[i][1]);
        }
    }
    UNROLL
    for (int i = 0; i < MS_WHITEN_HEIGHT; i++) {
        _mm512_store_pd(c + i * MS_WHITEN_LANES, sum[i][0]);
        _mm512_store_pd(c + i * MS_WHITEN_LANES + 8, sum[i][1]);
    }
}

extern const ms_whiten_kernels ms_whiten_avx512;
const ms_whiten_kernels ms_whiten_avx512 = {.tile = tile};
