/* Precision int8 in plain C, the reference of every level's. cpu/encoder/int8.h says what is
 * computed.
 *
 * Shapes    any m; n and k multiples of 16, in panels of 32 columns; rows of f32 or bf16 to codes.
 * How       one element after another.
 * Numerics  exact integer sums, then three operations in f32.
 * Needs     nothing of the CPU.
 * Tests     test/unit/cpu/test_int8.c against integers and f64. */
#include "base/bf16.h"
#include "cpu/encoder/int8.h"
#include <math.h>

static float element(const void *row, size_t src_bytes, size_t j) {
    return src_bytes == 2 ? ms_f32_of_bf16(((const ms_bf16 *)row)[j]) : ((const float *)row)[j];
}

static void quantise(const ms_int8_rows *dst, const void *src, size_t src_bytes, size_t src_stride,
                     size_t n_rows, size_t k) {
    for (size_t i = 0; i < n_rows; i++) {
        const void *row = (const char *)src + i * src_stride * src_bytes;
        float low = INFINITY, high = -INFINITY, poison = 0.0f;
        for (size_t j = 0; j < k; j++) {
            float x = element(row, src_bytes, j);
            low = fminf(low, x);
            high = fmaxf(high, x);
            poison += x * 0.0f;
        }
        float range = high - low, inverse = range > MS_INT8_LEAST ? (float)dst->most / range : 0.0f;
        dst->scale[i] = range / (float)dst->most;
        dst->low[i] = low + poison;
        for (size_t j = 0; j < k; j++) {
            float code = rintf((element(row, src_bytes, j) - low) * inverse);
            ((uint8_t *)dst->codes)[i * dst->stride + j] =
                code > 0.0f ? (uint8_t)fminf(code, (float)dst->most) : 0;
        }
    }
}

static void product(const ms_product *p) {
    const uint8_t *a = p->a;
    for (size_t i = 0; i < p->m; i++, a += p->a_stride)
        for (size_t j = 0; j < p->n; j++) {
            const int8_t *w = (const int8_t *)p->w + j / MS_INT8_COLS * p->w_stride +
                              j % MS_INT8_COLS * MS_INT8_GROUP;
            int32_t sum = 0;
            for (size_t l = 0; l < p->k; l++)
                sum += a[l] *
                       w[l / MS_INT8_GROUP * MS_INT8_GROUP * MS_INT8_COLS + l % MS_INT8_GROUP];
            float y = fmaf((float)sum, p->a_scale[i] * p->w_scale[j], p->a_low[i] * p->w_sum[j]);
            float *dst = (float *)p->dst + i * p->dst_stride + j;
            if (p->bias) y += p->bias[j];
            if (p->epilogue == MS_EPILOGUE_STORE) *dst = y;
            if (p->epilogue == MS_EPILOGUE_ADD) *dst += y;
            if (p->epilogue == MS_EPILOGUE_GELU)
                *dst = 0.5f * y * (1.0f + erff(y * 0.70710678118654752f));
        }
}

const ms_int8_kernels ms_int8_ref = {
    .name = "ref", .most = 255, .quantise = quantise, .product = product};
