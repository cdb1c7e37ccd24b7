/* What every file of 512-bit kernels shares: functions of one vector, and how a product's tiles
 * walk over rows and panels and finish their sums. Static inline functions only; each file compiles
 * its own copy with its own flags.
 *
 * A product's tile is 12 rows x 32 columns: 24 sums, two vectors of weights and one broadcast input
 * fill 27 of the 32 registers, and 24 multiply-adds meet 14 loads, so that the two multiply pipes,
 * not the two load ports, are full. Tail rows run the same steps in smaller tiles: a row's bits
 * never depend on its place. */
#ifndef MS_CPU_KERNELS_X86_AVX512_VECTOR_H
#define MS_CPU_KERNELS_X86_AVX512_VECTOR_H
#include "cpu/kernels/common.h"
#include "cpu/kernels/unroll.h"
#include <immintrin.h>

enum { WIDE_COLS = 32, TILE_ROWS = 12 }; /* of a product and of scores */

/* ---- Functions of one vector ---- */

/* Nearest bf16 value (ties to even) of finite numbers, still as f32. */
INLINE __m512 round_bf16(__m512 x) {
    __m512i u = _mm512_castps_si512(x),
            odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    u = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return _mm512_castsi512_ps(_mm512_and_si512(u, _mm512_set1_epi32((int)0xffff0000u)));
}

INLINE __m512 operand_f32(__m512 x, int precision) {
    return precision == MSIM_PRECISION_BF16 ? round_bf16(x) : x;
}

/* 2^x for x <= 0, to 0 far below: degree-5 minimax on [-1/2, 1/2], relative error below 2e-7 with
 * its roundings. */
INLINE __m512 exp2_nonpositive(__m512 x) {
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
           f = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(0x1.5c08e6p-10f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.3d0c54p-7f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.c6b6e4p-5f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ebf918p-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62e428p-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.000002p+0f));
    return _mm512_scalef_ps(p, n);
}

/* x Phi(x), the exact (erf) form: with Q = erfc(|x| / sqrt 2) / 2 it is x - x Q above zero and x Q
 * below. Q by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: absolute error
 * 1.5e-7 in erf, so 0.75e-7 |x| here. */
INLINE __m512 gelu(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678118654752f));
    __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), one));
    __m512 p = _mm512_set1_ps(0.5f * 1.061405429f);
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.5f * -1.453152027f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.5f * 1.421413741f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.5f * -0.284496736f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.5f * 0.254829592f));
    __m512 e =
        exp2_nonpositive(_mm512_mul_ps(_mm512_mul_ps(z, z), _mm512_set1_ps(-1.44269504088896341f)));
    __m512 xq = _mm512_mul_ps(x, _mm512_mul_ps(_mm512_mul_ps(p, t), e));
    __mmask16 negative = _mm512_movepi32_mask(_mm512_castps_si512(x));
    return _mm512_mask_mov_ps(_mm512_sub_ps(x, xq), negative, xq);
}

/* ---- Tiles of a product ---- */

/* Row r of a tile without a pointer for each: three bases, and the multiples 0..3 of the stride. */
INLINE const char *tile_row(const char *const base[3], size_t stride, size_t stride3, int r) {
    return base[r / 4] + (r % 4 == 3 ? stride3 : (size_t)(r % 4) * stride);
}

/* What becomes of one row's 32 sums. `store` writes 16 values as operands; a last panel may be
 * half. */
typedef void (*store16_fn)(void *dst, size_t at, __m512 x, int precision);

INLINE void finish_row(const ms_product *p, size_t i, size_t j, const __m512 sum[2],
                       store16_fn store) {
    for (size_t h = 0; h < 2 && j + 16 * h < p->n; h++) {
        size_t at = i * p->dst_stride + j + 16 * h;
        float *d = (float *)p->dst + at;
        __m512 x = p->bias ? _mm512_add_ps(sum[h], _mm512_loadu_ps(p->bias + j + 16 * h)) : sum[h];
        if (p->epilogue == MS_EPILOGUE_GELU)
            store(p->dst, at, gelu(x), p->precision);
        else
            _mm512_storeu_ps(
                d, p->epilogue == MS_EPILOGUE_ADD ? _mm512_add_ps(_mm512_loadu_ps(d), x) : x);
    }
}

INLINE void store16_f32(void *dst, size_t at, __m512 x, int precision) {
    _mm512_storeu_ps((float *)dst + at, operand_f32(x, precision));
}

typedef void (*product_tile_fn)(const ms_product *p, size_t i, size_t j);

/* Panel by panel, so that 32 columns of weights stay near while all rows of the block pass. */
INLINE void product_by_tiles(const ms_product *p, product_tile_fn tile12, product_tile_fn tile4,
                             product_tile_fn tile1) {
    for (size_t j = 0; j < p->n; j += WIDE_COLS) {
        size_t i = 0;
        for (; i + 12 <= p->m; i += 12) tile12(p, i, j);
        for (; i + 4 <= p->m; i += 4) tile4(p, i, j);
        for (; i < p->m; i++) tile1(p, i, j);
    }
}

#endif
