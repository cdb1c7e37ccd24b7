/* What the levels with products of bf16 share beyond cpu/kernels/x86/avx512_common.h: packing,
 * norms and heads, as operands of bf16. encoder_avx512bf16.c and encoder_amxbf16.c include it, each
 * with its own flags; everything here is static. */
#ifndef MS_CPU_KERNELS_X86_AVX512BF16_COMMON_H
#define MS_CPU_KERNELS_X86_AVX512BF16_COMMON_H
#include "cpu/kernels/x86/avx512_common.h"

enum { PAIRS = 2 }; /* bf16 operands that meet in one lane */

INLINE void store16_bf16(void *dst, size_t at, __m512 x, int precision) {
    (void)precision;
    _mm256_storeu_si256((__m256i *)(void *)((ms_bf16 *)dst + at), (__m256i)_mm512_cvtneps_pbh(x));
}

/* ---- Operands: panels [n / 32][k / 2][32][2] ---- */

static void pack_bf16(ms_bf16 *out, const float *w, size_t n, size_t k) {
    for (size_t j0 = 0; j0 < n; j0 += WIDE_COLS)
        for (size_t l = 0; l < k; l += PAIRS)
            for (size_t j = j0; j < j0 + WIDE_COLS; j++)
                for (size_t o = 0; o < PAIRS; o++)
                    *out++ = j < n ? ms_bf16_of_f32(w[j * k + l + o]) : (ms_bf16){0};
}

static void pack(void *dst, const float *w, size_t n, size_t k, int precision) {
    if (precision == MSIM_PRECISION_BF16)
        pack_bf16(dst, w, n, k);
    else
        pack_f32(dst, w, n, k);
}

static void norm(void *dst, size_t dst_stride, const float *x, const float *scale, size_t n_rows,
                 size_t dim, int precision) {
    if (precision == MSIM_PRECISION_BF16)
        norm_rows(dst, dst_stride, x, scale, n_rows, dim, precision, store16_bf16);
    else
        norm_rows(dst, dst_stride, x, scale, n_rows, dim, precision, store16_f32);
}

/* ---- Heads ---- */

/* The 64 values of one head of one row, rounded: already bf16 values, so that taking the upper
 * halves is exact. */
INLINE void head_bf16(ms_bf16 out[MS_HEAD_DIM], const ms_heads *h, size_t i, size_t head,
                      int rotated) {
    __m512 t[4];
    take(t, h, i, head, rotated);
    for (size_t d = 0; d < 4; d++) store16_bf16(out, 16 * d, t[d], h->precision);
}

static void store_q(const ms_heads *h, void *dst, size_t dst_stride) {
    if (h->precision != MSIM_PRECISION_BF16) {
        store_q_f32(h, dst, dst_stride);
        return;
    }
    for (size_t i = 0; i < h->n_rows; i++)
        for (size_t head = 0; head < h->heads; head++)
            head_bf16((ms_bf16 *)dst + i * dst_stride + head * MS_HEAD_DIM, h, i, head, 1);
}

/* Keys: groups of 16 rows, [32 pairs of dims][16 rows][2]. */
static void store_k(const ms_heads *h, const ms_keys *keys) {
    if (h->precision != MSIM_PRECISION_BF16) {
        store_k_f32(h, keys->k, keys);
        return;
    }
    ms_bf16 row[MS_HEAD_DIM] __attribute__((aligned(64)));
    for (size_t head = 0; head < h->heads; head++)
        for (size_t i = 0; i < h->n_rows; i++) {
            size_t at = key_row(h, keys, i, head);
            ms_bf16 *out = (ms_bf16 *)keys->k + at / MS_KEY_GROUP * MS_KEY_GROUP * MS_HEAD_DIM +
                           at % MS_KEY_GROUP * PAIRS;
            head_bf16(row, h, i, head, 1);
            for (size_t d = 0; d < MS_HEAD_DIM; d += PAIRS)
                memcpy(out + d * MS_KEY_GROUP, row + d, PAIRS * sizeof *row);
        }
}

/* Values: pairs of rows, [64 dims][2]. */
static void store_v(const ms_heads *h, const ms_keys *keys) {
    if (h->precision != MSIM_PRECISION_BF16) {
        store_v_f32(h, keys->v, keys);
        return;
    }
    __m512 t[4];
    for (size_t head = 0; head < h->heads; head++)
        for (size_t i = 0; i < h->n_rows; i++) {
            size_t at = key_row(h, keys, i, head);
            ms_bf16 *out = (ms_bf16 *)keys->v + at / PAIRS * PAIRS * MS_HEAD_DIM;
            take(t, h, i, head, 0);
            /* A bf16 value is the upper half of its f32: the odd row's place in a pair. */
            for (size_t d = 0; d < 4; d++) {
                __m512i upper = _mm512_castps_si512(t[d]);
                _mm512_mask_storeu_epi16(out + 32 * d, at % PAIRS ? 0xaaaaaaaa : 0x55555555,
                                         at % PAIRS ? upper : _mm512_srli_epi32(upper, 16));
            }
        }
}

#endif
