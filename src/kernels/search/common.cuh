/* What the kernels of search share: elements of stored rows, sums that are spread over lanes, and
 * how a row that is kept gets into its query's list. docs/SEARCH.md defines scores and bounds. */
#ifndef MS_KERNELS_SEARCH_COMMON_CUH
#define MS_KERNELS_SEARCH_COMMON_CUH
#include "kernels/prim.cuh"
#include "kernels/kernels.h"
#include "search/rank.h"
#include "search/score.h"
#include <assert.h>
#include <string.h>

/* The scans behind ms_scan_cuda, one per file. They take what ms_scan_cuda takes. */
extern "C" {
int ms_scan_codes_cuda(ms_gpu_stream *s, const ms_gpu_scan *scan, msim_error *err);
int ms_scan_f32_cuda(ms_gpu_stream *s, const ms_gpu_scan *scan, msim_error *err);
int ms_scan_f64_cuda(ms_gpu_stream *s, const ms_gpu_scan *scan, msim_error *err);
}

/* How scans want queries laid out: kernels/search/prepare.cu puts them so. */
enum {
    SCAN_F64_TILE = 8,   /* queries of a tile of the f64 scan; widths are padded to 16 */
    SCAN_F32_STEP = 128, /* elements of a row that a warp reads at once; widths are padded to it */
    SCAN_CODES_STEP = 8  /* groups of a tile of codes that a matrix operation takes */
};

/* Tiles of 8 queries that a kernel of codes takes: 1, 2, 4 or 8. */
static inline int scan_codes_tiles(int64_t n_query) {
    return n_query <= 8 ? 1 : n_query <= 16 ? 2 : n_query <= 32 ? 4 : 8;
}
/* Queries of a tile of the f32 scan. */
static inline int scan_f32_tile(int64_t n_query) {
    int64_t tiles = (n_query + 11) / 12, each = (n_query + tiles - 1) / tiles;
    return each <= 1 ? 1 : each <= 4 ? 4 : each <= 8 ? 8 : 12;
}
static inline int64_t scan_round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
/* Components of a row that a matrix operation takes: codes, or bf16 values. */
static __host__ __device__ constexpr int scan_codes_step(int scan) {
    return scan == MSIM_SCAN_INT8 ? 32 : 16;
}
/* Elements from one query to the next, or of a query in its fragments; queries with those that fill
 * up the last tile. Both are zeros past dim and n_query. */
static inline int64_t scan_query_stride(int scan, int64_t dim) {
    return scan_round_up(dim, scan == MSIM_SCAN_F64   ? 16
                              : scan == MSIM_SCAN_F32 ? SCAN_F32_STEP
                                                      : scan_codes_step(scan));
}
static inline int64_t scan_padded_queries(int scan, int64_t n_query) {
    return scan == MSIM_SCAN_F64   ? scan_round_up(n_query, SCAN_F64_TILE)
           : scan == MSIM_SCAN_F32 ? scan_round_up(n_query, scan_f32_tile(n_query))
                                   : 8 * scan_codes_tiles(n_query);
}
/* Thread blocks of a pass over n blocks of work on a device of that many multiprocessors. Each
 * thread block takes enough work to pay for loading its queries, but not so much that
 * multiprocessors stay idle: eight blocks for each, or more. */
static inline unsigned scan_grid(int64_t n, int multiprocessors) {
    int64_t each = n / (8 * (int64_t)multiprocessors);
    each = each < 1 ? 1 : each > 8 ? 8 : each;
    return (unsigned)((n + each - 1) / each);
}

/* ---- Elements ---- */

static __device__ __forceinline__ float f32_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

template <int DTYPE>
static __device__ __forceinline__ double element_f64(const unsigned char *row, int64_t j) {
    if (DTYPE == MSIM_DTYPE_F32) return ((const float *)row)[j];
    if (DTYPE == MSIM_DTYPE_F16) return f32_of_f16(((const uint16_t *)row)[j]);
    if (DTYPE == MSIM_DTYPE_BF16) return to_f32(((const bf16 *)row)[j]);
    return ((const double *)row)[j];
}

/* The smallest f32 that is not below x. */
static __device__ __forceinline__ float f32_above(double x) {
    float f = (float)x;
    return (double)f < x ? nextafterf(f, INFINITY) : f;
}

/* This lane's part of dot(x, x): lane l of 16. */
template <int DTYPE>
static __device__ __forceinline__ double square_of(const unsigned char *row, int64_t dim, int l) {
    double sum = 0.0;
#pragma unroll 16
    for (int64_t j = l; j < dim; j += 16) {
        double x = element_f64<DTYPE>(row, j);
        sum = fma_f64(x, x, sum);
    }
    return sum;
}

/* The score from the sums that a kernel has. The dot product needs no square root. */
static __device__ __forceinline__ double score_of(double dot, double square, double query_norm,
                                                  int is_ip) {
    return ms_score(dot, square, is_ip ? 0.0 : sqrt_f64(square), query_norm, is_ip);
}

/* ---- Sums over lanes ---- */

/* Of the N values of each lane, this lane and the lane across `bit` keep one half each. v[0 .. N /
 * 2) becomes the sum of both lanes' lower halves in lanes without the bit, of the upper halves in
 * the others. With an odd N both lanes keep everything. The two operands of a sum are the same in
 * either lane, so the bits do not depend on N. */
template <int N, int CAP, typename T>
static __device__ __forceinline__ void sum_across(T (&v)[CAP], int bit, int lane) {
    if (N % 2) {
#pragma unroll
        for (int i = 0; i < N; i++) v[i] += shuffle_xor(v[i], bit);
        return;
    }
    bool upper = (lane & bit) != 0;
#pragma unroll
    for (int i = 0; i < N / 2; i++) {
        T mine = upper ? v[i + N / 2] : v[i], other = upper ? v[i] : v[i + N / 2];
        v[i] = mine + shuffle_xor(other, bit);
    }
}

/* The sum of 16 lanes in the order of docs/SEARCH.md. Every lane gets it. */
static __device__ __forceinline__ double sum_half_warp(double x) {
    x += shuffle_xor(x, 8);
    x += shuffle_xor(x, 4);
    x += shuffle_xor(x, 2);
    return x + shuffle_xor(x, 1);
}

/* ---- Rows that are kept ---- */

/* Whether a corpus row is in an ascending list. Only rows that would be kept are looked up. */
static __device__ __forceinline__ bool is_in_list(const int64_t *rows, int64_t n, int64_t row) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (rows[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && rows[low] == row;
}

/* Put `row` of the corpus into the list of query q if `keep` holds. All lanes of the warp call
 * this. `peers` are the lanes with the same q; they share one atomic addition. The counter of a
 * query goes on past the capacity, its list does not. */
static __device__ __forceinline__ void keep_row(const ms_gpu_scan &a, int q, int64_t row,
                                                float upper, bool keep, uint32_t peers, int lane) {
    if (keep && a.n_excluded > 0) keep = !is_in_list(a.excluded, a.n_excluded, row);
    uint32_t kept = vote_ballot(keep);
    if (kept == 0) return;
    uint32_t mine = kept & peers, base = 0;
    int first = count_bits((mine & (0u - mine)) - 1) & 31;
    if (keep && lane == first) base = atomic_add(a.n_candidates + q, (uint32_t)count_bits(mine));
    base = shuffle(base, first);
    uint64_t at = (uint64_t)base + (uint64_t)count_bits(mine & ((1u << lane) - 1u));
    if (!keep || at >= (uint64_t)a.candidate_cap) return;
    ms_gpu_candidate c;
    c.row = row;
    c.upper = upper;
    c.pad = 0.0f;
    a.candidates[(uint64_t)q * (uint64_t)a.candidate_cap + at] = c;
}

#endif
