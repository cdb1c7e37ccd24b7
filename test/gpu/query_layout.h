/* How a scan wants its queries, in plain C: what ms_prepare_cuda must give. Written apart from the
 * kernel, and used to give scans queries that no preparation would make. */
#ifndef TEST_GPU_QUERY_LAYOUT_H
#define TEST_GPU_QUERY_LAYOUT_H
#include "base/bf16.h"
#include "kernels/kernels.h"
#include <string.h>

static inline int64_t whole(int64_t n, int64_t of) { return (n + of - 1) / of * of; }

/* Fragments of B: [step][tile of 8 queries][lane][2 words]. Lane l has query l / 4 of its tile and,
 * of the step's eight groups of components, l % 4 in the first word and l % 4 + 4 in the second. */
static inline void put_fragments(int scan, unsigned char *dst, int64_t q, int64_t n_query,
                                 int64_t dim, const void *query) {
    int64_t step = scan == MSIM_SCAN_INT8 ? 32 : 16, group = step / 8,
            tiles = n_query <= 8    ? 1
                    : n_query <= 16 ? 2
                    : n_query <= 32 ? 4
                                    : 8;
    for (int64_t j = 0; j < dim; j++) {
        int64_t in_step = j % step, g = in_step / group, e = in_step % group,
                lane = q % 8 * 4 + g % 4;
        size_t word = (size_t)(((j / step * tiles + q / 8) * 32 + lane) * 2 + g / 4);
        if (scan == MSIM_SCAN_INT8) {
            int16_t weight = ((const int16_t *)query)[j];
            dst[word * 4 + (size_t)e] = (unsigned char)(signed char)weight;
        } else {
            ms_bf16 x = ms_bf16_of_f32(((const float *)query)[j]);
            memcpy(dst + word * 4 + (size_t)e * 2, &x, sizeof x);
        }
    }
}

/* Queries of a tile of the f32 scan: as few tiles as 12 allow, as even as 1, 4, 8 and 12 allow. */
static inline int64_t f32_tile(int64_t n_query) {
    int64_t tiles = (n_query + 11) / 12, each = (n_query + tiles - 1) / tiles;
    return each <= 1 ? 1 : each <= 4 ? 4 : each <= 8 ? 8 : 12;
}

/* Query q into its place; the buffer was zeros before. query: F64 f32 [dim]; F32 f32 [dim], divided
 * by its norm; BF16 f32 [dim] of bf16's values; INT8 s16 [dim] of weights within -127..127. */
static inline void put_query(int scan, void *queries, int64_t q, int64_t n_query, int64_t dim,
                             const void *query) {
    if (scan == MSIM_SCAN_F64) {
        double *to = (double *)queries + q * whole(dim, 16);
        for (int64_t j = 0; j < dim; j++) to[j] = ((const float *)query)[j];
    } else if (scan == MSIM_SCAN_F32) {
        memcpy((float *)queries + q * whole(dim, 128), query, (size_t)dim * sizeof(float));
    } else {
        put_fragments(scan, (unsigned char *)queries, q, n_query, dim, query);
    }
}

/* Bytes of all of them. */
static inline size_t queries_bytes(int scan, int64_t n_query, int64_t dim) {
    int64_t filled = n_query <= 8 ? 8 : n_query <= 16 ? 16 : n_query <= 32 ? 32 : 64;
    if (scan == MSIM_SCAN_F64) return (size_t)(whole(n_query, 8) * whole(dim, 16)) * 8;
    if (scan == MSIM_SCAN_F32)
        return (size_t)(whole(n_query, f32_tile(n_query)) * whole(dim, 128)) * 4;
    return (size_t)filled * (size_t)(scan == MSIM_SCAN_INT8 ? whole(dim, 32) : 2 * whole(dim, 16));
}

#endif
