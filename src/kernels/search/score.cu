/* Scores in double, to the bit of docs/SEARCH.md ("The score"), and what else is computed from rows
 * in double: the values that the f32 scan needs of each row, and the plain scan.
 *
 * All three kernels hold a row in half a warp: lane l of it is lane l of the definition, with
 * elements l, l + 16, .. in one chain of fused multiply-adds; the tree of 8, 4, 2, 1 follows, and
 * adding lanes l and l + 8 in both of them gives the same bits as adding them in one. Square root
 * and division are the correctly rounded ones. So scores have the CPU's bits.
 *
 * k_row_values<dtype>  a row each half warp, 16 loads of a lane under way; reads the rows once.
 * k_scan_f64<dtype>    the plain scan: two rows and eight queries each half warp at a time, 16 sums
 *                      in two registers each, added together as in sum_across: then each lane has
 *                      the score of one row and query. Queries as doubles [to a multiple of 8][dim,
 *                      to a multiple of 16], through L1. Upper bound: the score, rounded up.
 * k_score_f64<dtype>   a candidate each half warp; blockIdx.y is the query. Rows lie anywhere: 64
 *                      bytes (f32) a load. Excluded rows get -infinity, which ranks last.
 *
 * Grid      blocks of 8 warps. No shared memory, no barrier.
 * Flops     2 a query and element, and 2 an element for the square: bound by double arithmetic
 *           where cards are poor in it.
 * Needs     16-byte aligned rows; any dim, any dtype; nothing behind dim is read.
 * Tests     test/gpu/test_gpu_topk.c and test_gpu_scan.c, against dots_f64 and squares_f64 of
 *           src/cpu/kernels/ref/encoder_ref.c, equal to the bit. */
#include "kernels/search/common.cuh"

enum { THREADS = 256, WARPS = THREADS / 32, QUERIES = SCAN_F64_TILE };
#define PLAIN_LEAST \
    0x1p-60 /* squares between which f32 neither over- nor underflows
                             * (search/bound.h) */
#define PLAIN_MOST 0x1p60

/* ---- Values of rows ---- */

template <int DTYPE>
static __global__ void __launch_bounds__(THREADS)
    k_row_values(float *values, uint32_t *n_nonfinite, ms_gpu_rows rows, int is_ip) {
    int lane = (int)threadIdx.x % 32, half = lane / 16, l = lane % 16;
    int64_t begin = ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32) * 2,
            step = (int64_t)gridDim.x * WARPS * 2;
    for (int64_t first = begin; first < rows.n_rows; first += step) { /* alike for the warp */
        bool is_here = first + half < rows.n_rows;
        int64_t row = is_here ? first + half : first;
        const unsigned char *at = (const unsigned char *)rows.data + row * (int64_t)rows.row_bytes;
        double square = sum_half_warp(square_of<DTYPE>(at, rows.dim, l));
        bool is_bad = !(square < INFINITY),
             is_plain = square >= PLAIN_LEAST && square <= PLAIN_MOST;
        if (is_here && l == 0) {
            double norm = sqrt_f64(square);
            float value = is_plain ? (float)(is_ip ? norm : div_f64(1.0, norm)) : NAN;
            if (square == 0.0 && !is_ip) value = 0.0f;
            values[row] = is_bad ? -1.0f : value;
        }
        uint32_t bad = vote_ballot(is_bad && is_here && l == 0);
        if (bad != 0 && lane == 0) atomic_add(n_nonfinite, (uint32_t)count_bits(bad));
    }
}

/* ---- The plain scan ---- */

/* Dots of two rows with eight queries: sums[r * QUERIES + q], this lane's part. */
template <int DTYPE>
static __device__ __forceinline__ void add_dots(double (&sums)[2 * QUERIES],
                                                const unsigned char *const (&rows)[2],
                                                const double *queries, int64_t stride, int64_t dim,
                                                int l) {
#pragma unroll 2
    for (int64_t j = l; j < dim; j += 16) {
        double x0 = element_f64<DTYPE>(rows[0], j), x1 = element_f64<DTYPE>(rows[1], j);
#pragma unroll
        for (int q = 0; q < QUERIES; q++) {
            double y = queries[q * stride + j];
            sums[q] = fma_f64(x0, y, sums[q]);
            sums[QUERIES + q] = fma_f64(x1, y, sums[QUERIES + q]);
        }
    }
}

/* Two rows each half warp, the second of which may be past `end`. */
template <int DTYPE>
static __device__ __forceinline__ void scan_rows(const ms_gpu_scan &a, int64_t first, int64_t end,
                                                 int64_t stride, int lane) {
    int l = lane % 16;
    int64_t mine = first + lane / 16 * 2, row = mine + l / 8;
    const unsigned char *rows[2];
    double squares[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int64_t at = mine + r < end ? mine + r : end - 1;
        rows[r] = (const unsigned char *)a.rows.data + at * (int64_t)a.rows.row_bytes;
        squares[r] = sum_half_warp(square_of<DTYPE>(rows[r], a.rows.dim, l));
    }
    for (int q0 = 0; q0 < a.n_query; q0 += QUERIES) {
        double sums[2 * QUERIES] = {};
        add_dots<DTYPE>(sums, rows, (const double *)a.queries + q0 * stride, stride, a.rows.dim, l);
        sum_across<16>(sums, 8, lane);
        sum_across<8>(sums, 4, lane);
        sum_across<4>(sums, 2, lane);
        sum_across<2>(sums, 1, lane);
        int q = q0 + lane % 8, asked = q < a.n_query ? q : 0;
        float upper =
            f32_above(score_of(sums[0], l / 8 ? squares[1] : squares[0], a.norms[asked], a.is_ip));
        bool keep = row < end && q < a.n_query && !(upper < a.upper_threshold[asked]);
        if (vote_ballot(keep) != 0)
            keep_row(a, q, a.rows.first_row + row, upper, keep, 0x01010101u << lane % 8, lane);
    }
}

template <int DTYPE>
static __global__ void __launch_bounds__(THREADS, 2) k_scan_f64(ms_gpu_scan a, int64_t stride) {
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    for (int64_t block = blockIdx.x; block < a.n_blocks; block += gridDim.x) {
        int64_t begin = block * a.block_step * MS_GPU_BLOCK_ROWS;
        int64_t end = begin + MS_GPU_BLOCK_ROWS < a.rows.n_rows ? begin + MS_GPU_BLOCK_ROWS
                                                                : a.rows.n_rows;
        for (int64_t first = begin + warp * 4; first < end; first += WARPS * 4)
            scan_rows<DTYPE>(a, first, end, stride, lane);
    }
}

/* ---- Scores of candidates ---- */

template <int DTYPE> static __global__ void __launch_bounds__(THREADS) k_score_f64(ms_gpu_score a) {
    int lane = (int)threadIdx.x % 32, half = lane / 16, l = lane % 16, q = (int)blockIdx.y;
    bool is_shared = a.n_shared > 0;
    int64_t counted = is_shared ? a.n_shared : (int64_t)a.n_candidates[q],
            n = counted < a.candidate_cap ? counted : a.candidate_cap;
    const float *query = a.queries + q * a.rows.dim;
    int64_t begin = ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32) * 2,
            step = (int64_t)gridDim.x * WARPS * 2;
    for (int64_t first = begin; first < n; first += step) { /* alike for the warp */
        int64_t i = first + half < n ? first + half : first, at = q * a.candidate_cap + i;
        int64_t number = a.candidates[is_shared ? i : at].row,
                slot = a.gathered ? a.gathered[q] + i : number - a.rows.first_row;
        const unsigned char *row = (const unsigned char *)a.rows.data +
                                   slot * (int64_t)a.rows.row_bytes;
        double dot = 0.0, square = 0.0;
#pragma unroll 8
        for (int64_t j = l; j < a.rows.dim; j += 16) {
            double x = element_f64<DTYPE>(row, j);
            dot = fma_f64(x, (double)query[j], dot);
            square = fma_f64(x, x, square);
        }
        dot = sum_half_warp(dot);
        square = sum_half_warp(square);
        if (l != 0 || first + half >= n) continue;
        double score = score_of(dot, square, a.norms[q], a.is_ip);
        if (a.n_excluded > 0 && is_in_list(a.excluded, a.n_excluded, number)) score = -INFINITY;
        a.scores[at] = score;
    }
}

/* ---- Launchers ---- */

static void check_rows(const ms_gpu_rows *rows) {
    assert(rows->n_rows >= 0 && rows->dim >= 1 && rows->row_bytes % 16 == 0 &&
           (uintptr_t)rows->data % 16 == 0);
    assert(rows->dtype >= MSIM_DTYPE_F32 && rows->dtype <= MSIM_DTYPE_F64);
    (void)rows;
}

/* The number of blocks for n items when a block takes `each` at a time. */
static dim3 grid_for(int64_t n, int64_t each, int64_t most, int n_query) {
    int64_t blocks = (n + each - 1) / each;
    return dim3((unsigned)(blocks < most ? blocks : most), (unsigned)n_query);
}

extern "C" int ms_row_values_cuda(ms_gpu_stream *s, float *values, uint32_t *n_nonfinite,
                                  const ms_gpu_rows *rows, int is_ip, msim_error *err) {
    cudaStream_t stream = (cudaStream_t)ms_gpu_stream_raw(s);
    check_rows(rows);
    if (rows->n_rows == 0) return MSIM_OK;
    void (*kernel)(float *, uint32_t *, ms_gpu_rows, int) =
        rows->dtype == MSIM_DTYPE_F32    ? k_row_values<MSIM_DTYPE_F32>
        : rows->dtype == MSIM_DTYPE_F16  ? k_row_values<MSIM_DTYPE_F16>
        : rows->dtype == MSIM_DTYPE_BF16 ? k_row_values<MSIM_DTYPE_BF16>
                                         : k_row_values<MSIM_DTYPE_F64>;
    cudaError_t rc = launch(kernel, grid_for(rows->n_rows, WARPS * 2, 1 << 16, 1), dim3(THREADS), 0,
                            stream, values, n_nonfinite, *rows, is_ip);
    return ms_gpu_check_launch((int)rc, "k_row_values", err);
}

int ms_scan_f64_cuda(ms_gpu_stream *s, const ms_gpu_scan *scan, msim_error *err) {
    cudaStream_t stream = (cudaStream_t)ms_gpu_stream_raw(s);
    int dtype = scan->rows.dtype;
    int64_t stride = (scan->rows.dim + 15) / 16 * 16;
    check_rows(&scan->rows);
    void (*kernel)(ms_gpu_scan, int64_t) = dtype == MSIM_DTYPE_F32    ? k_scan_f64<MSIM_DTYPE_F32>
                                           : dtype == MSIM_DTYPE_F16  ? k_scan_f64<MSIM_DTYPE_F16>
                                           : dtype == MSIM_DTYPE_BF16 ? k_scan_f64<MSIM_DTYPE_BF16>
                                                                      : k_scan_f64<MSIM_DTYPE_F64>;
    cudaError_t rc = launch(kernel,
                            dim3(scan_grid(scan->n_blocks, ms_gpu_stream_multiprocessors(s))),
                            dim3(THREADS), 0, stream, *scan, stride);
    return ms_gpu_check_launch((int)rc, "k_scan_f64", err);
}

extern "C" int ms_score_f64_cuda(ms_gpu_stream *s, const ms_gpu_score *score, msim_error *err) {
    cudaStream_t stream = (cudaStream_t)ms_gpu_stream_raw(s);
    int dtype = score->rows.dtype;
    check_rows(&score->rows);
    assert(score->n_query >= 1 && score->n_query <= MS_GPU_SCAN_QUERIES &&
           score->candidate_cap >= 0);
    if (score->candidate_cap == 0) return MSIM_OK;
    void (*kernel)(ms_gpu_score) = dtype == MSIM_DTYPE_F32    ? k_score_f64<MSIM_DTYPE_F32>
                                   : dtype == MSIM_DTYPE_F16  ? k_score_f64<MSIM_DTYPE_F16>
                                   : dtype == MSIM_DTYPE_BF16 ? k_score_f64<MSIM_DTYPE_BF16>
                                                              : k_score_f64<MSIM_DTYPE_F64>;
    /* two blocks for each multiprocessor where one query alone must fill them */
    int64_t most = 2 * (int64_t)ms_gpu_stream_multiprocessors(s) / score->n_query;
    dim3 grid = grid_for(score->candidate_cap, WARPS * 2, most < 64 ? 64 : most, score->n_query);
    return ms_gpu_check_launch((int)launch(kernel, grid, dim3(THREADS), 0, stream, *score),
                               "k_score_f64", err);
}
