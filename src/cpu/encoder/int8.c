/* Precision int8: packing of weights, the scalar kernels that are the reference of the others, and
 * which kernels a level has. cpu/encoder/int8.h says what is computed. No state, no memory of its
 * own. */
#include "cpu/encoder/int8.h"
#include "base/bf16.h"
#include <math.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

const ms_int8_kernels *ms_int8_kernels_get(int isa) {
    if (isa == MSIM_ISA_REF) return &ms_int8_ref;
#if defined(__x86_64__)
    if (isa == MSIM_ISA_AVX2) return ms_cpu_kernels_get(isa) ? &ms_int8_avx2 : NULL;
    unsigned a, b, c, d; /* AVX512_VNNI: CPUID leaf 7, ECX bit 11 */
    if ((isa == MSIM_ISA_AVX512 || isa == MSIM_ISA_AVX512BF16) && ms_cpu_kernels_get(isa) &&
        __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & 1u << 11))
        return &ms_int8_avx512vnni;
#endif
    return NULL;
}

/* What of a column becomes code 127: its largest magnitude, or what keeps each four within
 * MS_INT8_FOUR. Aiming at 256 leaves half a step for the rounding of each of the four. NaN and
 * infinity stay. */
static float column_reach(const float *w, size_t k, int most) {
    float largest = 0.0f, four = 0.0f;
    for (size_t l = 0; l < k; l++)
        if (fabsf(w[l]) > largest || isnan(w[l])) largest = fabsf(w[l]);
    for (size_t first = 0; most < 255 && first < k; first += 2 * MS_INT8_GROUP)
        for (size_t half = first; half < first + MS_INT8_GROUP; half += 2) {
            float above = 0.0f, below = 0.0f;
            for (size_t l = 0; l < 4; l++) {
                float x = w[half + l % 2 + l / 2 * MS_INT8_GROUP];
                above += fmaxf(x, 0.0f);
                below -= fminf(x, 0.0f);
            }
            four = fmaxf(four, fmaxf(above, below));
        }
    four *= 127.0f / (float)(MS_INT8_FOUR - 2);
    return four > largest ? four : largest;
}

void ms_int8_pack(int8_t *panels, float *scale, float *sums, const float *w, size_t n, size_t k,
                  size_t chunk, int most) {
    for (size_t j = 0; j < (n + MS_INT8_COLS - 1) / MS_INT8_COLS * MS_INT8_COLS; j++) {
        int8_t *out = panels + j / MS_INT8_COLS * MS_INT8_COLS * k +
                      j % MS_INT8_COLS * MS_INT8_GROUP;
        float reach = j < n ? column_reach(w + j * k, k, most) : 0.0f;
        float inverse = reach > MS_INT8_LEAST && reach < INFINITY ? 127.0f / reach : 0.0f;
        for (size_t first = 0; first < k; first += chunk) {
            int32_t sum = 0;
            for (size_t l = first; l < k && l < first + chunk; l++) {
                int code = inverse > 0.0f
                               ? (int)lrintf(fminf(fmaxf(w[j * k + l] * inverse, -127.0f), 127.0f))
                               : 0;
                out[l / MS_INT8_GROUP * MS_INT8_GROUP * MS_INT8_COLS + l % MS_INT8_GROUP] =
                    (int8_t)code;
                sum += code;
            }
            if (j < n) sums[first / chunk * n + j] = reach / 127.0f * (float)sum;
        }
        if (j < n) scale[j] = reach / 127.0f;
    }
}

/* ---- Scalar kernels ---- */

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
