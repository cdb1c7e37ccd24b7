/* Scans of codes (codes/layout.h) by matrix operations: an upper bound for each row and
 * query, and the rows that are not left out. docs/SEARCH.md, Scans of codes, has the meaning of
 * every number and the proof.
 *
 * k_scan_codes<scan, tiles of 8 queries>
 * Shapes    tiles of 16 rows [group][16 rows][4 bytes] + constants, read as they lie in the file;
 *           queries as fragments [step][tile of queries][lane][2 words] (kernels/search/scan.cu),
 *           one step = 8 groups = 32 codes or 16 bf16 values.
 * Grid      blocks of 6 warps (8 for 32 queries); each warp takes parts of 32 rows, which are two
 *           tiles, as far apart as the grid has warps. Shared memory: the queries, in chunks of at
 *           most 64 KiB when they are longer, five constants of each, and 16 bytes a thread.
 * Fragments Lane (g, t) = (lane / 4, lane % 4) loads 16 bytes: four rows 4 (g % 4) .. + 3 of tile g
 * / 4, group t; and the same
 *           of group t + 4. Words 0, 1 are rows g and g + 8 of one m16n8 operation, words 2, 3 of
 *           a second: which row of the
 *           tiles sits where in a fragment is free, as long as the lane knows, and so 512 bytes
 *           come in one load
 *           instruction. A lane ends with four rows and two queries of each tile of queries.
 * Bytes     all of the tiles once (528 or 1,032 per row of width 512). A warp asks for 4 steps at
 *           once, 4 KiB; registers leave 18 warps an SM with up to 16 queries, 16 with 32, 12 with
 *           64: 72 to 48 KiB in flight, where latency times bandwidth of an SM is about 20 KiB
 *           (HBM3, 3.3 TB/s, 800 ns, 132 SMs). A KiB costs 2 operations and one shared load of 256
 *           bytes for each tile of queries, and few other instructions: bound by memory up to 64
 *           queries by this count. Not measured.
 * Numerics  int8: code ^ 0x80 is the signed code, the integer sum is exact, then the CPU kernels'
 *           operations in their order: 9 roundings as docs/SEARCH.md charges. bf16: f32 sums in an
 *           order that is the hardware's, charged by ms_scan_bf16_chain. A row's value depends
 *           neither on its place nor on the other queries.
 * Needs     16-byte aligned tiles; constants with rho_factor > 0. The tail of dim and rows past
 *           n_rows are handled.
 * Tests     test/gpu/test_gpu_scan.c against the definition in C; reference
 * src/cpu/kernels/ref/scan_int8_ref.c and scan_bf16_ref.c. */
#include "kernels/search/common.cuh"
#include "codes/layout.h"

enum {
    AHEAD = 4,
    CHUNK_BYTES = 64 * 1024,
    PART_ROWS = 32,
    BLOCK_PARTS = MS_GPU_BLOCK_ROWS / PART_ROWS
};
enum { SCALE, LAMBDA, THRESHOLD, RHO_FACTOR, UPPER_THRESHOLD, N_CONSTANTS };

/* Threads of a block and blocks of an SM: as many as the registers allow without spilling at any
 * architecture. */
template <int TILES> struct Size {
    enum { THREADS = TILES == 4 ? 256 : 192, WARPS = THREADS / 32, BLOCKS = TILES > 2 ? 2 : 3 };
};

struct alignas(8) Pair {
    uint32_t x[2];
};
struct alignas(16) Four {
    float x[4];
};

struct CodesShape {
    int64_t tile_bytes, codes_bytes;
    int groups, steps, chunk_steps;
};

/* What a scan adds to the common kernel: its operation and its upper bound. */
struct Int8 {
    typedef int32_t sum;
    static __device__ __forceinline__ void multiply(sum (&d)[4], uint32_t a0, uint32_t a1,
                                                    uint32_t a2, uint32_t a3, Pair b) {
        uint32_t a[4] = {a0 ^ 0x80808080u, a1 ^ 0x80808080u, a2 ^ 0x80808080u, a3 ^ 0x80808080u};
        mma_s8(d, a, b.x[0], b.x[1]);
    }
};
struct Bf16 {
    typedef float sum;
    static __device__ __forceinline__ void multiply(sum (&d)[4], uint32_t a0, uint32_t a1,
                                                    uint32_t a2, uint32_t a3, Pair b) {
        uint32_t a[4] = {a0, a1, a2, a3};
        mma_bf16(d, a, b.x[0], b.x[1]);
    }
};

/* The constants of a lane's four rows. */
struct RowConstants {
    Four a, rho, t, y;
};

static __device__ __forceinline__ Four load_four(const unsigned char *at) {
    uint4 v = load_once16(at);
    Four f = {{f32_of_bits(v.x), f32_of_bits(v.y), f32_of_bits(v.z), f32_of_bits(v.w)}};
    return f;
}

/* Where a lane reads: its four rows of its tile. */
struct LaneRows {
    const unsigned char *groups, *constants; /* group 0, constants */
    int64_t row;                             /* the first of the four, in the rows */
};

static __device__ __forceinline__ LaneRows lane_rows(const ms_gpu_scan &a, const CodesShape &shape,
                                                     int64_t first, int lane) {
    int64_t tile = first / MS_CODES_TILE + lane / 16, last = (a.rows.n_rows - 1) / MS_CODES_TILE;
    /* rows past the end are dropped */
    const unsigned char *at = a.tiles + (tile < last ? tile : last) * shape.tile_bytes;
    int four = lane / 4 % 4;
    LaneRows l = {at + lane % 4 * MS_CODES_GROUP_BYTES + four * 16,
                  at + shape.codes_bytes + four * 16, tile * MS_CODES_TILE + four * 4};
    return l;
}

/* Groups `group` and `group` + 4 of the lane's rows; zeros behind the last group. */
template <bool IS_WHOLE>
static __device__ __forceinline__ void load_step(uint4 (&v)[2], const unsigned char *groups,
                                                 int step, int lane, int n_groups, int end) {
    int group = step * SCAN_CODES_STEP + lane % 4;
    const unsigned char *at = groups + (int64_t)step * (SCAN_CODES_STEP * MS_CODES_GROUP_BYTES);
    bool is_here = IS_WHOLE || step < end;
    v[0] = v[1] = uint4{0, 0, 0, 0};
    if (IS_WHOLE || (is_here && group < n_groups)) v[0] = load_once16(at);
    if (IS_WHOLE || (is_here && group + 4 < n_groups))
        v[1] = load_once16(at + 4 * MS_CODES_GROUP_BYTES);
}

/* Add steps from .. end - 1 to the sums; `fragments` are those of step `from`. */
template <typename SCAN, int TILES, bool IS_WHOLE>
static __device__ __forceinline__ void add_steps(typename SCAN::sum (&sums)[2][TILES][4],
                                                 const unsigned char *groups, const Pair *fragments,
                                                 int from, int end, int n_groups, int lane) {
#pragma unroll 1
    for (int step = from; step < end; step += AHEAD, fragments += AHEAD * TILES * 32) {
        uint4 v[AHEAD][2];
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
            load_step<IS_WHOLE>(v[i], groups, step + i, lane, n_groups, end);
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            if (!IS_WHOLE && step + i >= end) break; /* the whole warp */
#pragma unroll
            for (int n = 0; n < TILES; n++) {
                Pair b = fragments[(i * TILES + n) * 32 + lane];
                SCAN::multiply(sums[0][n], v[i][0].x, v[i][0].y, v[i][1].x, v[i][1].y, b);
                SCAN::multiply(sums[1][n], v[i][0].z, v[i][0].w, v[i][1].z, v[i][1].w, b);
            }
        }
    }
}

static __device__ __forceinline__ void load_constants(RowConstants &r, const unsigned char *at,
                                                      Int8) {
    r.a = load_four(at + MS_CODES_INT8_A);
    r.rho = load_four(at + MS_CODES_INT8_RHO);
    r.t = load_four(at + MS_CODES_INT8_T);
    r.y = load_four(at + MS_CODES_INT8_Y);
}

static __device__ __forceinline__ void load_constants(RowConstants &r, const unsigned char *at,
                                                      Bf16) {
    r.rho = load_four(at + MS_CODES_BF16_RHO);
    r.t = load_four(at + MS_CODES_BF16_T);
}

/* Each line rounds as docs/SEARCH.md charges; q: constants of the query, `each` apart. */
static __device__ __forceinline__ float upper_value(int32_t sum, const RowConstants &r, int i,
                                                    const float *q, int each) {
    float x = r.a.x[i] * q[SCALE * each] * (float)sum + q[LAMBDA * each] * r.y.x[i];
    x += r.t.x[i] * q[THRESHOLD * each];
    return x + r.rho.x[i] * q[RHO_FACTOR * each];
}

static __device__ __forceinline__ float upper_value(float sum, const RowConstants &r, int i,
                                                    const float *q, int each) {
    float x = sum + r.t.x[i] * q[THRESHOLD * each];
    return x + r.rho.x[i] * q[RHO_FACTOR * each];
}

/* Upper values of a lane's four rows and two queries of each tile; those that are kept go to the
 * lists. stash: the lane's own words of shared memory, for what is indexed by a loop that is not
 * worth unrolling. */
template <typename SCAN, int TILES>
static __device__ __forceinline__ void keep_rows(const ms_gpu_scan &a,
                                                 const typename SCAN::sum (&sums)[2][TILES][4],
                                                 const CodesShape &shape, int64_t first,
                                                 const float *constants, Four *stash, int lane) {
    LaneRows rows = lane_rows(a, shape, first, lane);
    RowConstants r;
    load_constants(r, rows.constants, SCAN());
#pragma unroll
    for (int n = 0; n < TILES * 2; n++) {
        int q = n / 2 * 8 + lane % 4 * 2 + n % 2;
        Four upper;
        uint32_t kept = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            upper.x[i] =
                upper_value(sums[i / 2][n / 2][i % 2 * 2 + n % 2], r, i, constants + q, TILES * 8);
            bool keep = !(upper.x[i] < constants[UPPER_THRESHOLD * TILES * 8 + q]) &&
                        q < a.n_query && rows.row + i < a.rows.n_rows;
            kept |= (uint32_t)keep << i;
        }
        if (vote_ballot(kept != 0) == 0) continue;
        *stash = upper;
#pragma unroll 1
        for (int i = 0; i < 4; i++)
            keep_row(a, q, a.rows.first_row + rows.row + i, stash->x[i], (kept >> i & 1) != 0,
                     0x11111111u << lane % 4, lane);
    }
}

/* Fragments of steps from .. end - 1, as they lie. */
static __device__ __forceinline__ void copy_fragments(Pair *to, const void *queries, int from,
                                                      int end, int per_step, int threads) {
    const Pair *source = (const Pair *)queries + (int64_t)from * per_step;
    for (int i = (int)threadIdx.x; i < (end - from) * per_step; i += threads) to[i] = source[i];
}

template <typename SCAN, int TILES>
static __global__ void __launch_bounds__(Size<TILES>::THREADS, Size<TILES>::BLOCKS)
    k_scan_codes(ms_gpu_scan a, CodesShape shape) {
    const int THREADS = Size<TILES>::THREADS, WARPS = Size<TILES>::WARPS;
    const int64_t n_parts = a.n_blocks * BLOCK_PARTS;
    Carve c = carve_begin();
    Pair *fragments = carve<Pair>(c, (size_t)shape.chunk_steps * TILES * 32);
    float *constants = carve<float>(c, N_CONSTANTS * TILES * 8);
    Four *stash = carve<Four>(c, THREADS) + threadIdx.x;
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    bool is_one_chunk = shape.steps <= shape.chunk_steps;
    if ((int)threadIdx.x < TILES * 8) {
        /* those past the last are never kept */
        int q = (int)threadIdx.x < a.n_query ? (int)threadIdx.x : 0;
        float *to = constants + threadIdx.x;
        to[SCALE * TILES * 8] = a.scale ? a.scale[q] : 1.0f;
        to[LAMBDA * TILES * 8] = a.lambda ? a.lambda[q] : 0.0f;
        to[THRESHOLD * TILES * 8] = a.threshold[q];
        to[RHO_FACTOR * TILES * 8] = a.rho_factor[q];
        to[UPPER_THRESHOLD * TILES * 8] = a.upper_threshold[q];
    }
    if (is_one_chunk) copy_fragments(fragments, a.queries, 0, shape.steps, TILES * 32, THREADS);
    sync_block();
    for (int64_t begin = (int64_t)blockIdx.x * WARPS; begin < n_parts;
         begin += (int64_t)gridDim.x * WARPS) {
        int64_t part = begin + warp;
        int64_t first = part / BLOCK_PARTS * a.block_step * MS_GPU_BLOCK_ROWS +
                        part % BLOCK_PARTS * PART_ROWS;
        bool is_here = part < n_parts && first < a.rows.n_rows;
        const unsigned char *groups = lane_rows(a, shape, first, lane).groups;
        typename SCAN::sum sums[2][TILES][4] = {};
        for (int from = 0; from < shape.steps; from += shape.chunk_steps) {
            int end = from + shape.chunk_steps < shape.steps ? from + shape.chunk_steps
                                                             : shape.steps;
            /* steps without a guard end here */
            int whole = from + (shape.groups / SCAN_CODES_STEP - from) / AHEAD * AHEAD;
            if (!is_one_chunk) {
                sync_block(); /* the chunk before has been used */
                copy_fragments(fragments, a.queries, from, end, TILES * 32, THREADS);
                sync_block(); /* all of this one is here */
            }
            if (!is_here) continue;
            if (whole > end) whole = from + (end - from) / AHEAD * AHEAD;
            if (whole < from) whole = from;
            add_steps<SCAN, TILES, true>(sums, groups, fragments, from, whole, shape.groups, lane);
            add_steps<SCAN, TILES, false>(sums, groups, fragments + (whole - from) * TILES * 32,
                                          whole, end, shape.groups, lane);
        }
        if (is_here) keep_rows<SCAN, TILES>(a, sums, shape, first, constants, stash, lane);
    }
}

template <typename SCAN, int TILES>
static int start(ms_gpu_stream *s, const ms_gpu_scan *scan, CodesShape shape) {
    int most = CHUNK_BYTES / (TILES * 256);
    shape.chunk_steps = shape.steps < most ? shape.steps : most;
    size_t shared = carve_bytes<Pair>((size_t)shape.chunk_steps * TILES * 32) +
                    carve_bytes<float>(N_CONSTANTS * TILES * 8) +
                    carve_bytes<Four>(Size<TILES>::THREADS);
    int64_t turns = (scan->n_blocks * BLOCK_PARTS + Size<TILES>::WARPS - 1) / Size<TILES>::WARPS;
    return (int)launch(
        k_scan_codes<SCAN, TILES>, dim3(scan_grid(turns, ms_gpu_stream_multiprocessors(s))),
        dim3(Size<TILES>::THREADS), shared, (cudaStream_t)ms_gpu_stream_raw(s), *scan, shape);
}

template <typename SCAN>
static int start_for(ms_gpu_stream *s, const ms_gpu_scan *scan, const CodesShape &shape) {
    switch (scan_codes_tiles(scan->n_query)) {
    case 1: return start<SCAN, 1>(s, scan, shape);
    case 2: return start<SCAN, 2>(s, scan, shape);
    case 4: return start<SCAN, 4>(s, scan, shape);
    default: return start<SCAN, 8>(s, scan, shape);
    }
}

int ms_scan_codes_cuda(ms_gpu_stream *s, const ms_gpu_scan *scan, msim_error *err) {
    size_t dim = (size_t)scan->rows.dim;
    bool is_int8 = scan->scan == MSIM_SCAN_INT8;
    CodesShape shape;
    shape.codes_bytes = (int64_t)(is_int8 ? ms_codes_int8(dim) : ms_codes_bf16(dim));
    shape.tile_bytes = (int64_t)(is_int8 ? ms_codes_int8_tile(dim) : ms_codes_bf16_tile(dim));
    shape.groups = (int)(shape.codes_bytes / MS_CODES_GROUP_BYTES);
    shape.steps = (shape.groups + SCAN_CODES_STEP - 1) / SCAN_CODES_STEP;
    shape.chunk_steps = 0;
    assert(scan->tiles && (uintptr_t)scan->tiles % 16 == 0 && dim <= 65536);
    int rc = is_int8 ? start_for<Int8>(s, scan, shape) : start_for<Bf16>(s, scan, shape);
    return ms_gpu_check_launch(rc, is_int8 ? "k_scan_codes<Int8>" : "k_scan_codes<Bf16>", err);
}

/* The longest way of a product of the bf16 scan, in roundings of u (docs/SEARCH.md, Rounding): 17
 * additions of 2 u in each operation, one operation for 16 components. */
extern "C" size_t ms_scan_bf16_chain(int64_t dim) { return (size_t)((dim + 15) / 16) * 34; }
