/* The f32 scan: rows as they are stored against queries of length 1, in f32 on the ordinary
 * cores. docs/SEARCH.md, The bound of the f32 scan.
 *
 * k_scan_f32<dtype, queries of a tile>
 * Shapes    rows of any dtype and width, row_bytes apart; what lies between dim and row_bytes is
 *           not looked at. Queries f32 [tiles][queries of a tile][dim, to a multiple of 128].
 * Grid      blocks of 4 warps. blockIdx.x % tiles is the tile of queries, so that blocks which read
 *           the same rows run side by side and all but one of them find the rows in L2. A warp
 *           takes four rows at a time; a row block of 256 rows is 16 such turns of four warps.
 *           Shared memory: the tile's queries, 48 KiB or a chunk of them.
 * Sums      a lane holds elements 4 lane .. 4 lane + 3 of each 128, one chain of fused
 *           multiply-adds per row and query; a tree adds the 32 lanes. No product passes more
 *           than 4 ceil(D / 128) + 5 roundings (zeros add none), which is at most ceil(D / 16) + 5
 *           where D > 64, and for narrower rows at most 4 + log2(D / 4, rounded up) <= the same: as
 *           if there were 16 lanes, and so says ms_scan_f32_lanes. The 4 x queries sums of a warp
 *           are added together, each step halving what a lane holds: one shuffle a sum instead of
 *           five.
 * Flops     2 a query and element. 12 queries on f32 rows of width 512: 192 multiply-add
 *           instructions of a warp, 20 loads and about 40 instructions of sums a row of 2,048
 *           bytes, 8 bytes an instruction; an SM issues four in a cycle and is given 15 bytes by
 *           HBM3 (3.3 TB/s, 132 SMs, 1.7 GHz), so 12 queries stay bound by memory. 32 registers of
 *           a lane are loads under way: 4 KiB a warp, 12 warps an SM with 12 queries and more with
 *           fewer. Not measured.
 * Bytes     the rows once from memory (for more than 12 queries, again from L2).
 * Needs     16-byte aligned rows; values of ms_row_values_cuda.
 * Tests     test/gpu/test_gpu_scan.c against the score in double; reference
 *           src/cpu/kernels/ref/scan_f32_ref.c. */
#include "kernels/search/common.cuh"

enum { THREADS = 128, WARPS = THREADS / 32, ROWS = 4, QUERY_BYTES = 48 * 1024 };

struct alignas(16) Four {
    float x[4];
};
struct alignas(8) Words {
    uint32_t x[2];
};

/* Four elements as they are stored: words of a dtype, and how many steps of 128 elements are loaded
 * at once. */
template <int DTYPE> struct Raw {
    enum {
        WORDS = DTYPE == MSIM_DTYPE_F32   ? 4
                : DTYPE == MSIM_DTYPE_F64 ? 8
                                          : 2,
        AHEAD = 8 / WORDS
    };
};

/* Elements j .. j + 3 of a row, of which those before dim are read. */
template <int DTYPE>
static __device__ __forceinline__ void load_raw(uint32_t (&w)[Raw<DTYPE>::WORDS],
                                                const unsigned char *row, int j, int dim) {
#pragma unroll
    for (int i = 0; i < Raw<DTYPE>::WORDS; i++) w[i] = 0;
    if (j >= dim) return;
    if (DTYPE == MSIM_DTYPE_F32 || DTYPE == MSIM_DTYPE_F64) {
        const unsigned char *at = row + (int64_t)j * (DTYPE == MSIM_DTYPE_F32 ? 4 : 8);
        uint4 v = load_once16(at);
        w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
        if (DTYPE == MSIM_DTYPE_F64 && j + 2 < dim) {
            v = load_once16(at + 16);
            w[Raw<DTYPE>::WORDS - 4] = v.x, w[Raw<DTYPE>::WORDS - 3] = v.y;
            w[Raw<DTYPE>::WORDS - 2] = v.z, w[Raw<DTYPE>::WORDS - 1] = v.w;
        }
    } else {
        Words v = *(const Words *)(row + (int64_t)j * 2);
        w[0] = v.x[0], w[1] = v.x[1];
    }
}

/* The same as f32: widened exactly, f64 rounded; 0 from dim on, whatever lies there. */
template <int DTYPE>
static __device__ __forceinline__ void widen(float (&x)[4], const uint32_t (&w)[Raw<DTYPE>::WORDS],
                                             int j, int dim) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (DTYPE == MSIM_DTYPE_F32) x[i] = f32_of_bits(w[i % Raw<DTYPE>::WORDS]);
        if (DTYPE == MSIM_DTYPE_BF16) x[i] = i % 2 ? high_f32(w[i / 2]) : low_f32(w[i / 2]);
        if (DTYPE == MSIM_DTYPE_F16) x[i] = f32_of_f16((uint16_t)(w[i / 2] >> i % 2 * 16));
        if (DTYPE == MSIM_DTYPE_F64) {
            uint64_t bits = (uint64_t)w[(2 * i + 1) % Raw<DTYPE>::WORDS] << 32 |
                            w[2 * i % Raw<DTYPE>::WORDS];
            double wide;
            memcpy(&wide, &bits, sizeof wide);
            x[i] = (float)wide;
        }
    }
    if (j + 4 <= dim) return;
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = j + i < dim ? x[i] : 0.0f;
}

/* Add elements from .. end - 1 of four rows to their sums with each query; queries: the chunk that
 * begins at `from`. */
template <int DTYPE, int QUERIES>
static __device__ __forceinline__ void add_chunk(float (&sums)[ROWS * QUERIES],
                                                 const unsigned char *const (&rows)[ROWS],
                                                 const float *queries, int stride, int from,
                                                 int end, int dim, int lane) {
    const int AHEAD = Raw<DTYPE>::AHEAD;
#pragma unroll 1
    for (int start = from; start < end; start += AHEAD * SCAN_F32_STEP) {
        uint32_t raw[AHEAD][ROWS][Raw<DTYPE>::WORDS];
        int first = start + lane * 4;
        int limit = end < dim ? end : dim; /* the next chunk's elements are not asked for in vain */
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                load_raw<DTYPE>(raw[i][r], rows[r], first + i * SCAN_F32_STEP, limit);
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            if (start + i * SCAN_F32_STEP >= end) break; /* the whole block */
            float x[ROWS][4];
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                widen<DTYPE>(x[r], raw[i][r], first + i * SCAN_F32_STEP, limit);
            const float *at = queries + (start - from) + i * SCAN_F32_STEP + lane * 4;
#pragma unroll
            for (int q = 0; q < QUERIES; q++) {
                Four y = *(const Four *)(at + q * stride);
#pragma unroll
                for (int e = 0; e < 4; e++)
#pragma unroll
                    for (int r = 0; r < ROWS; r++)
                        sums[r * QUERIES + q] = fma_f32(x[r][e], y.x[e], sums[r * QUERIES + q]);
            }
        }
    }
}

static __device__ __forceinline__ float upper_value(float dot, float value, int is_ip,
                                                    float margin) {
    if (value == -1.0f) return -INFINITY;
    if (is_ip) return dot + margin * value;
    return value == 0.0f ? 0.0f : dot * value;
}

/* What a lane is left with of QUERIES sums after log2(8) steps of halving: HELD of them, from
 * `first` on; the lanes of odd steps hold the same and the one without those bits takes them. */
template <int QUERIES> struct Held {
    enum {
        AFTER_4 = QUERIES % 2 ? QUERIES : QUERIES / 2,
        AFTER_2 = AFTER_4 % 2 ? AFTER_4 : AFTER_4 / 2,
        COUNT = AFTER_2 % 2 ? AFTER_2 : AFTER_2 / 2,
        STEP_4 = QUERIES % 2 ? 0 : AFTER_4,
        STEP_2 = AFTER_4 % 2 ? 0 : AFTER_2,
        STEP_1 = AFTER_2 % 2 ? 0 : COUNT,
        /* bits of a lane that tell no queries apart */
        SAME = (STEP_4 ? 0 : 4) | (STEP_2 ? 0 : 2) | (STEP_1 ? 0 : 1)
    };
};

template <int DTYPE, int QUERIES>
static __device__ __forceinline__ void keep_rows(const ms_gpu_scan &a,
                                                 float (&sums)[ROWS * QUERIES], int64_t first_row,
                                                 int64_t end_row, int first_query, int lane) {
    typedef Held<QUERIES> H;
    sum_across<ROWS * QUERIES>(sums, 16, lane);
    sum_across<ROWS / 2 * QUERIES>(sums, 8, lane);
    sum_across<QUERIES>(sums, 4, lane);
    sum_across<H::AFTER_4>(sums, 2, lane);
    sum_across<H::AFTER_2>(sums, 1, lane);
    int64_t row = first_row + (lane / 16 * 2 + lane / 8 % 2);
    int q0 = first_query + lane / 4 % 2 * H::STEP_4 + lane / 2 % 2 * H::STEP_2 +
             lane % 2 * H::STEP_1;
    bool is_here = row < end_row && (lane & H::SAME) == 0;
    float value = is_here ? a.values[row] : 0.0f;
#pragma unroll
    for (int i = 0; i < H::COUNT; i++) {
        int q = q0 + i;
        float upper = upper_value(sums[i], value, a.is_ip, a.margin);
        bool keep = is_here && q < a.n_query && !(upper < a.upper_threshold[q < a.n_query ? q : 0]);
        if (vote_ballot(keep) != 0)
            keep_row(a, q, a.rows.first_row + row, upper, keep, 0x01010101u << lane % 8, lane);
    }
}

/* Elements from .. end - 1 of a tile's queries, stride apart. */
static __device__ __forceinline__ void copy_queries(float *to, const float *queries, int n,
                                                    int stride, int from, int end, int width) {
    int fours = (end - from) / 4;
    for (int i = (int)threadIdx.x; i < n * fours; i += THREADS) {
        int q = i / fours, j = i % fours * 4;
        *(Four *)(to + q * stride + j) = *(const Four *)(queries + (int64_t)q * width + from + j);
    }
}

template <int DTYPE, int QUERIES>
static __global__ void __launch_bounds__(THREADS, 3)
    k_scan_f32(ms_gpu_scan a, int n_tiles, int stride, int width) {
    Carve c = carve_begin();
    float *queries = carve<float>(c, (size_t)QUERIES * (size_t)stride);
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32,
        tile = (int)(blockIdx.x % (unsigned)n_tiles);
    const float *source = (const float *)a.queries + (int64_t)tile * QUERIES * width;
    bool is_one_chunk = width <= stride;
    if (is_one_chunk) copy_queries(queries, source, QUERIES, stride, 0, width, width);
    sync_block();
    for (int64_t block = blockIdx.x / (unsigned)n_tiles; block < a.n_blocks;
         block += gridDim.x / (unsigned)n_tiles) {
        int64_t begin = block * a.block_step * MS_GPU_BLOCK_ROWS;
        int64_t end = begin + MS_GPU_BLOCK_ROWS < a.rows.n_rows ? begin + MS_GPU_BLOCK_ROWS
                                                                : a.rows.n_rows;
        /* alike for the whole block */
        for (int64_t first = begin; first < end; first += WARPS * ROWS) {
            int64_t mine = first + warp * ROWS;
            const unsigned char *rows[ROWS];
            float sums[ROWS * QUERIES] = {};
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                rows[r] = (const unsigned char *)a.rows.data +
                          (mine + r < end ? mine + r : end - 1) * (int64_t)a.rows.row_bytes;
            for (int from = 0; from < width; from += stride) {
                int to = from + stride < width ? from + stride : width;
                if (!is_one_chunk) {
                    sync_block(); /* the chunk before has been used */
                    copy_queries(queries, source, QUERIES, stride, from, to, width);
                    sync_block(); /* all of this one is here */
                }
                if (mine < end)
                    add_chunk<DTYPE, QUERIES>(sums, rows, queries, stride, from, to,
                                              (int)a.rows.dim, lane);
            }
            if (mine < end) keep_rows<DTYPE, QUERIES>(a, sums, mine, end, tile * QUERIES, lane);
        }
    }
}

template <int DTYPE, int QUERIES> static int start(ms_gpu_stream *s, const ms_gpu_scan *scan) {
    int64_t width = (scan->rows.dim + SCAN_F32_STEP - 1) / SCAN_F32_STEP * SCAN_F32_STEP;
    int64_t most = QUERY_BYTES / (QUERIES * (int)sizeof(float)) / SCAN_F32_STEP * SCAN_F32_STEP;
    int stride = (int)(width < most ? width : most),
        n_tiles = (scan->n_query + QUERIES - 1) / QUERIES;
    return (int)launch(
        k_scan_f32<DTYPE, QUERIES>,
        dim3(scan_grid(scan->n_blocks, ms_gpu_stream_multiprocessors(s)) * (unsigned)n_tiles),
        dim3(THREADS), carve_bytes<float>((size_t)QUERIES * (size_t)stride),
        (cudaStream_t)ms_gpu_stream_raw(s), *scan, n_tiles, stride, (int)width);
}

template <int DTYPE> static int start_for(ms_gpu_stream *s, const ms_gpu_scan *scan) {
    switch (scan_f32_tile(scan->n_query)) {
    case 1: return start<DTYPE, 1>(s, scan);
    case 4: return start<DTYPE, 4>(s, scan);
    case 8: return start<DTYPE, 8>(s, scan);
    default: return start<DTYPE, 12>(s, scan);
    }
}

int ms_scan_f32_cuda(ms_gpu_stream *s, const ms_gpu_scan *scan, msim_error *err) {
    int rc;
    assert(scan->rows.data && (uintptr_t)scan->rows.data % 16 == 0 &&
           scan->rows.row_bytes % 16 == 0 && scan->values);
    assert(scan->rows.dim <= 65536);
    switch (scan->rows.dtype) {
    case MSIM_DTYPE_F32: rc = start_for<MSIM_DTYPE_F32>(s, scan); break;
    case MSIM_DTYPE_F16: rc = start_for<MSIM_DTYPE_F16>(s, scan); break;
    case MSIM_DTYPE_BF16: rc = start_for<MSIM_DTYPE_BF16>(s, scan); break;
    default: rc = start_for<MSIM_DTYPE_F64>(s, scan); break;
    }
    return ms_gpu_check_launch(rc, "k_scan_f32", err);
}

extern "C" size_t ms_scan_f32_lanes(void) { return 16; }
