/* Precision int8 on AVX512_VNNI, for level avx512 and all above it. cpu/encoder/int8.h says what
 * is computed.
 *
 * Shapes    products m x n x k with n and k multiples of 16, in panels of 32 columns; rows of f32
 *           or bf16 to codes.
 * How       vpdpbusd adds four products u8 x s8 to each lane of 32 bits, for 12 rows x 32 columns
 *           in 24 registers: avx512_vector.h.
 * Numerics  integer sums are exact. Then the three operations in f32 of every level.
 * Needs     weights packed for `most` 255; nothing aligned.
 * Tests     test/unit/cpu/test_int8.c against `ref`. */
#include "cpu/encoder/int8.h"
#include "cpu/kernels/x86/avx512_vector.h"
#include "cpu/kernels/x86/dot4_avx512vnni.h"

INLINE void product_tile(const ms_product *p, size_t i, size_t j, const int rows) {
    const char *a = (const char *)p->a + i * p->a_stride,
               *base[3] = {a, a + 4 * p->a_stride, a + 8 * p->a_stride};
    const char *w = (const char *)p->w + j / WIDE_COLS * p->w_stride;
    size_t stride = p->a_stride, stride3 = 3 * stride;
    __m512i acc[TILE_ROWS][2];
    UNROLL
    for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_si512();
    for (size_t n = p->k / MS_INT8_GROUP; n; n--, w += WIDE_COLS * MS_INT8_GROUP) {
        __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
        UNROLL
        for (int r = 0; r < rows; r++) {
            __m512i x = same_four(tile_row(base, stride, stride3, r));
            acc[r][0] = dot4(acc[r][0], x, w0);
            acc[r][1] = dot4(acc[r][1], x, w1);
        }
        for (int b = 0; b < 3; b++) base[b] += MS_INT8_GROUP;
    }
    __mmask16 more = j + 16 < p->n ? 0xffff : 0; /* a last panel may be half */
    __m512 scale0 = _mm512_loadu_ps(p->w_scale + j),
           scale1 = _mm512_maskz_loadu_ps(more, p->w_scale + j + 16);
    __m512 sum0 = _mm512_loadu_ps(p->w_sum + j),
           sum1 = _mm512_maskz_loadu_ps(more, p->w_sum + j + 16);
    UNROLL
    for (int r = 0; r < rows; r++) {
        __m512 scale = _mm512_set1_ps(p->a_scale[i + (size_t)r]),
               low = _mm512_set1_ps(p->a_low[i + (size_t)r]);
        __m512 y[2] = {_mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r][0]), _mm512_mul_ps(scale, scale0),
                                       _mm512_mul_ps(low, sum0)),
                       _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r][1]), _mm512_mul_ps(scale, scale1),
                                       _mm512_mul_ps(low, sum1))};
        finish_row(p, i + (size_t)r, j, y, store16_f32);
    }
}

__attribute__((noinline)) static void product_12(const ms_product *p, size_t i, size_t j) {
    product_tile(p, i, j, TILE_ROWS);
}
__attribute__((noinline)) static void product_4(const ms_product *p, size_t i, size_t j) {
    product_tile(p, i, j, 4);
}
__attribute__((noinline)) static void product_1(const ms_product *p, size_t i, size_t j) {
    product_tile(p, i, j, 1);
}

static void product(const ms_product *p) { product_by_tiles(p, product_12, product_4, product_1); }

INLINE __m512 load16(const void *row, const size_t src_bytes, size_t j) {
    if (src_bytes == sizeof(float)) return _mm512_loadu_ps((const float *)row + j);
    __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)((const ms_bf16 *)row + j));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

INLINE void quantise_rows(const ms_int8_rows *dst, const void *src, const size_t src_bytes,
                          size_t src_stride, size_t n_rows, size_t k) {
    for (size_t i = 0; i < n_rows; i++) {
        const char *row = (const char *)src + i * src_stride * src_bytes;
        uint8_t *out = (uint8_t *)dst->codes + i * dst->stride;
        __m512 least = load16(row, src_bytes, 0), most = least, poison = _mm512_setzero_ps();
        for (size_t j = 0; j < k; j += 16) {
            __m512 x = load16(row, src_bytes, j);
            least = _mm512_min_ps(least, x);
            most = _mm512_max_ps(most, x);
            /* NaN and infinity times 0 are NaN */
            poison = _mm512_fmadd_ps(x, _mm512_setzero_ps(), poison);
        }
        float low = _mm512_reduce_min_ps(least), range = _mm512_reduce_max_ps(most) - low;
        dst->scale[i] = range / (float)dst->most;
        dst->low[i] = low + _mm512_reduce_add_ps(poison);
        __m512 from = _mm512_set1_ps(low),
               inverse = _mm512_set1_ps(range > MS_INT8_LEAST ? (float)dst->most / range : 0.0f);
        for (size_t j = 0; j < k; j += 16) {
            __m512 x = _mm512_mul_ps(_mm512_sub_ps(load16(row, src_bytes, j), from), inverse);
            __m512i code = _mm512_max_epi32(_mm512_cvtps_epi32(x), _mm512_setzero_si512());
            _mm_storeu_si128((__m128i *)(void *)(out + j), _mm512_cvtusepi32_epi8(code));
        }
    }
}

static void quantise(const ms_int8_rows *dst, const void *src, size_t src_bytes, size_t src_stride,
                     size_t n_rows, size_t k) {
    if (src_bytes == sizeof(float))
        quantise_rows(dst, src, sizeof(float), src_stride, n_rows, k);
    else
        quantise_rows(dst, src, sizeof(ms_bf16), src_stride, n_rows, k);
}

const ms_int8_kernels ms_int8_avx512vnni = {
    .name = "avx512vnni", .most = 255, .quantise = quantise, .product = product};
