/* Scans of codes: which kernels a level has, how their weights lie, and the scalar kernels
 * that are the others' reference. cpu/search/codes.h says what is computed. No state, no memory of
 * its own. */
#include "cpu/search/codes.h"
#include "base/bf16.h"
#include "cpu/levels.h"
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

const ms_codes_kernels *ms_codes_kernels_get(int isa, int is_int8) {
    if (isa == MSIM_ISA_REF) return is_int8 ? &ms_scan_int8_ref : &ms_scan_bf16_ref;
#if defined(__x86_64__)
    unsigned a, b, c, d; /* AVX512_VNNI: CPUID leaf 7, ECX bit 11 */
    if (!ms_cpu_kernels_get(isa)) return NULL;
    if (isa == MSIM_ISA_AVX2) return is_int8 ? &ms_scan_int8_avx2 : &ms_scan_bf16_avx2;
    if (!is_int8) return &ms_scan_bf16_avx512;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & 1u << 11) ? &ms_scan_int8_avx512vnni
                                                                     : &ms_scan_int8_avx2;
#else
    return NULL;
#endif
}

size_t ms_codes_weights_bytes(const ms_codes_kernels *k, size_t n_query, size_t dim) {
    return (dim + k->group - 1) / k->group * k->group * k->weight_bytes * n_query;
}

void ms_codes_put_weights(const ms_codes_kernels *k, void *weights, size_t q, size_t n_query,
                          size_t dim, const void *weight) {
    size_t first = 0, size = 0;
    for (size_t s = 0; first + size <= q; s += first + k->sizes[s] > n_query) {
        first += size; /* the block before was whole and q lies behind it */
        while (first + k->sizes[s] > n_query) s++;
        size = k->sizes[s];
    }
    char *block = (char *)weights + ms_codes_weights_bytes(k, first, dim);
    char *dst = block + (q - first) * k->group * k->weight_bytes;
    for (size_t j = 0; j < dim; j += k->group, dst += size * k->group * k->weight_bytes) {
        size_t n = dim - j < k->group ? dim - j : k->group;
        if (k->weight_bytes > 1)
            memcpy(dst, (const char *)weight + j * k->weight_bytes, n * k->weight_bytes);
        for (size_t i = 0; i < n && k->weight_bytes == 1; i++)
            dst[i] = (char)((const int16_t *)weight)[j + i];
    }
}

/* ---- Scalar kernels: one query a block ---- */

static float constant(const unsigned char *tail, size_t which, size_t row) {
    float x;
    memcpy(&x, tail + (which * MS_CODES_TILE + row) * sizeof x, sizeof x);
    return x;
}

static void scan_int8(float *upper, size_t stride, const unsigned char *tiles, size_t n_tiles,
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
                sum += (uint32_t)(tile[j / 4 * 64 + lane * 4 + j % 4] * w[j]);
            float x = constant(tail, 0, lane) * q->scale[i] * (float)(int32_t)sum +
                      q->lambda[i] * constant(tail, 3, lane);
            x += constant(tail, 2, lane) * q->theta[i];
            upper[i * stride + r] = x + constant(tail, 1, lane) * q->reach[i];
        }
    }
}

static void scan_bf16(float *upper, size_t stride, const unsigned char *tiles, size_t n_tiles,
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
                    memcpy(&x, tile + j / 2 * 64 + lane * 4 + j % 2 * 2, sizeof x);
                    part += ms_f32_of_bf16(x) * w[j];
                }
                sum += part;
            }
            float x = sum + constant(tail, 1, lane) * q->theta[i];
            upper[i * stride + r] = x + constant(tail, 0, lane) * q->reach[i];
        }
    }
}

const ms_codes_kernels ms_scan_int8_ref = {.name = "ref",
                                           .sizes = {1},
                                           .group = MS_CODES_INT8_GROUP,
                                           .weight_bytes = 2,
                                           .weight_max = 32639,
                                           .scan = scan_int8};
const ms_codes_kernels ms_scan_bf16_ref = {.name = "ref",
                                           .sizes = {1},
                                           .group = MS_CODES_BF16_GROUP,
                                           .weight_bytes = 4,
                                           .scan = scan_bf16};
