/* Pairs of rows that the codes of a join leave over. docs/SEARCH.md, Joins, has the proof;
 * search/join/kernels.h says which pairs are kept.
 *
 * k_join_int8
 * Shapes    tiles of 16 rows [components / 4][16 rows][4] of signed codes, components a multiple of
 *           64; a least share for each row; a list of pairs with its counter.
 * Grid      blocks of 4 warps for 128 x 128 rows; each warp has 64 x 64 of them, 128 sums a thread.
 *           Blocks wholly below the diagonal return at once. Shared memory: three stages of 64
 *           components of both sides, 48 KiB, filled by asynchronous copies.
 * Fragments Lane (g, t) = (lane / 4, lane % 4) loads 16 bytes: rows 4 (g % 4) .. + 3 of tile g / 4,
 *           group t; and the same of group t + 4. Which row sits where in a fragment is free, as in
 *           kernels/search/scan_codes.cu: on the left words 0, 1 and 2, 3 are two operands of 16
 *           rows, on the right each word is one of 8 rows. So a lane's rows are 4 g .. + 3 on the
 *           left, and 8 t .. + 7 on the right, of each 32.
 * Swizzle   Eight lanes that load together have two quarters of four groups. Groups 2 and 3 of four
 *           have their halves exchanged in shared memory, so these are eight different 16 bytes of
 *           128.
 * Bytes     (128 + 128) components for 16,384 pairs, so 64 operations a byte of L2. Shared memory
 *           gives a warp 4 KiB for 32 operations. Bound by the tensor cores by this count, and with
 *           64 components about as much by what is around them. Not measured.
 * Numerics  integers alone. A sum begins with minus both least shares, so its sign decides.
 *           Nothing overflows: least shares are from -2^28 to 2^29, sums of codes below 2^27.
 * Tests     test/gpu/test_gpu_join.c, against the definition. */
#include "kernels/search/common.cuh"
#include "search/join/kernels.h"

enum {
    THREADS = 128,
    SIDE = 128,     /* rows of a block on each side */
    WARP_SIDE = 64, /* rows of a warp on each side */
    HALVES = WARP_SIDE / 32,
    STAGES = 3,
    TILES = SIDE / MS_JOIN_TILE,
    CHUNK_BYTES = MS_JOIN_TILE * MS_JOIN_STEP, /* of a tile in a stage */
    GROUP_BYTES = MS_JOIN_TILE * MS_JOIN_GROUP,
    STEP_BYTES = 8 * GROUP_BYTES, /* 32 components: one matrix operation */
    SIDE_BYTES = TILES * CHUNK_BYTES,
    STAGE_BYTES = 2 * SIDE_BYTES
};

typedef int32_t sums[2 * HALVES][4 * HALVES][4]; /* [16 rows][8 rows][of a lane] */

/* 64 components of a block's rows on one side. Rows past the last tile are those of the last tile:
 * nothing is kept of them. */
static __device__ __forceinline__ void copy_side(unsigned char *to, const ms_gpu_join_rows &rows,
                                                 int64_t first_tile, int64_t tile_bytes,
                                                 int chunk) {
#pragma unroll
    for (int i = 0; i < SIDE_BYTES / 16 / THREADS; i++) {
        int at = (int)threadIdx.x + i * THREADS, part = at % (CHUNK_BYTES / 16);
        int64_t tile = first_tile + at / (CHUNK_BYTES / 16);
        if (tile >= rows.n_tiles) tile = rows.n_tiles - 1;
        cp_async16(to + at / (CHUNK_BYTES / 16) * CHUNK_BYTES + (part ^ (part >> 2 & 2)) * 16,
                   (const unsigned char *)rows.codes + tile * tile_bytes +
                       (int64_t)chunk * CHUNK_BYTES + part * 16);
    }
}

/* 32 rows of a side as a lane has them: groups t and t + 4 of a step. */
static __device__ __forceinline__ void load_rows(uint4 (&v)[2], const unsigned char *lane_at) {
    v[0] = *(const uint4 *)lane_at;
    v[1] = *(const uint4 *)(lane_at + STEP_BYTES / 2);
}

/* Add 64 components. left and right: of the warp's rows in a stage, where this lane reads. */
static __device__ __forceinline__ void add_chunk(sums &d, const unsigned char *left,
                                                 const unsigned char *right) {
#pragma unroll
    for (int step = 0; step < CHUNK_BYTES / STEP_BYTES; step++) {
        uint4 b[HALVES][2];
#pragma unroll
        for (int h = 0; h < HALVES; h++)
            load_rows(b[h], right + h * 2 * CHUNK_BYTES + step * STEP_BYTES);
#pragma unroll
        for (int h = 0; h < HALVES; h++) {
            uint4 v[2];
            load_rows(v, left + h * 2 * CHUNK_BYTES + step * STEP_BYTES);
            uint32_t low[4] = {v[0].x, v[0].y, v[1].x, v[1].y},
                     high[4] = {v[0].z, v[0].w, v[1].z, v[1].w};
#pragma unroll
            for (int n = 0; n < HALVES; n++) {
                uint4 x = b[n][0], y = b[n][1];
                mma_s8(d[2 * h][4 * n], low, x.x, y.x);
                mma_s8(d[2 * h][4 * n + 1], low, x.y, y.y);
                mma_s8(d[2 * h][4 * n + 2], low, x.z, y.z);
                mma_s8(d[2 * h][4 * n + 3], low, x.w, y.w);
                mma_s8(d[2 * h + 1][4 * n], high, x.x, y.x);
                mma_s8(d[2 * h + 1][4 * n + 1], high, x.y, y.y);
                mma_s8(d[2 * h + 1][4 * n + 2], high, x.z, y.z);
                mma_s8(d[2 * h + 1][4 * n + 3], high, x.w, y.w);
            }
        }
    }
}

/* The least shares of four rows; rows past the last are in no pair. */
static __device__ __forceinline__ int4 least_of(const ms_gpu_join_rows &rows, int64_t row) {
    int4 never = {MS_JOIN_NEVER, MS_JOIN_NEVER, MS_JOIN_NEVER, MS_JOIN_NEVER};
    return row < rows.n_tiles * MS_JOIN_TILE ? *(const int4 *)(rows.least + row) : never;
}

/* Which rows a lane has sums of: the first of its four (left) or eight (right) of 32. */
struct Place {
    int64_t left, right;
};

/* Sums begin with what their rows ask for. */
static __device__ __forceinline__ void begin_sums(sums &d, const ms_gpu_join &a, Place at) {
    int right[4 * HALVES][2];
#pragma unroll
    for (int n = 0; n < HALVES; n++)
#pragma unroll
        for (int k = 0; k < 2; k++) {
            int4 v = least_of(a.right, at.right + 32 * n + 4 * k);
            right[4 * n][k] = v.x, right[4 * n + 1][k] = v.y;
            right[4 * n + 2][k] = v.z, right[4 * n + 3][k] = v.w;
        }
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        int4 v = least_of(a.left, at.left + 32 * h);
        int left[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int n = 0; n < 4 * HALVES; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    d[2 * h + m][n][i] = -left[2 * m + i / 2] - right[n][i % 2];
    }
}

/* Visit a lane's sums: `visit` gets left row, right row (of the warp's 64) and whether the pair is
 * kept. */
template <typename VISIT>
static __device__ __forceinline__ void each_sum(const sums &d, int lane, VISIT visit) {
#pragma unroll
    for (int m = 0; m < 2 * HALVES; m++)
#pragma unroll
        for (int n = 0; n < 4 * HALVES; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                visit(m / 2 * 32 + lane / 4 * 4 + m % 2 * 2 + i / 2,
                      n / 4 * 32 + lane % 4 * 8 + i % 2 * 4 + n % 4, d[m][n][i] >= 0);
}

/* Put the pairs that are kept into the list. All lanes of the warp call this; they share one atomic
 * addition. The counter goes on past the capacity, the list does not. left, right: the warp's first
 * rows. */
static __device__ __forceinline__ void keep_pairs(const ms_gpu_join &a, const sums &d, int64_t left,
                                                  int64_t right, int lane) {
    int64_t off = a.diagonal + right - left; /* kept: right row + off > left row, of the warp's */
    int above = off > WARP_SIDE ? WARP_SIDE : off < -WARP_SIDE ? -WARP_SIDE : (int)off;
    uint32_t n = 0, base = 0;
    each_sum(d, lane, [&](int i, int k, bool is_kept) { n += is_kept && k + above > i; });
    uint32_t until = n; /* of this lane and those before */
#pragma unroll
    for (int by = 1; by < 32; by *= 2) {
        uint32_t other = shuffle_up(until, by);
        if (lane >= by) until += other;
    }
    uint32_t all = shuffle(until, 31);
    if (all == 0) return;
    if (lane == 0) base = atomic_add(a.n_pairs, all);
    uint64_t at = (uint64_t)shuffle(base, 0) + until - n, cap = a.cap;
    uint32_t first = (uint32_t)(a.left_first + left) << 16 | (uint32_t)(a.right_first + right);
    each_sum(d, lane, [&](int i, int k, bool is_kept) {
        if (!is_kept || k + above <= i) return;
        if (at < cap) a.pairs[at] = first + ((uint32_t)i << 16) + (uint32_t)k;
        at++;
    });
}

static __global__ void __launch_bounds__(THREADS, 2) k_join_int8(ms_gpu_join a) {
    int64_t left = (int64_t)blockIdx.x * SIDE, right = (int64_t)blockIdx.y * SIDE;
    int64_t tile_bytes = a.components * MS_JOIN_TILE;
    if (right + a.diagonal + SIDE - 1 <= left) return; /* no right row is above a left one */
    Carve c = carve_begin();
    unsigned char *stages = carve<unsigned char>(c, STAGES * STAGE_BYTES);
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int64_t warp_left = left + warp / 2 * WARP_SIDE, warp_right = right + warp % 2 * WARP_SIDE;
    int n_chunks = (int)(a.components / MS_JOIN_STEP), begun = 0;
    /* groups t and t + 4 are exchanged alike */
    int at = lane / 16 * CHUNK_BYTES + lane % 4 * GROUP_BYTES + (lane / 4 % 4 ^ (lane & 2)) * 16;
    for (; begun < STAGES - 1; begun++) {
        unsigned char *to = stages + begun * STAGE_BYTES;
        if (begun < n_chunks) {
            copy_side(to, a.left, left / MS_JOIN_TILE, tile_bytes, begun);
            copy_side(to + SIDE_BYTES, a.right, right / MS_JOIN_TILE, tile_bytes, begun);
        }
        cp_commit();
    }
    sums d;
    begin_sums(d, a, Place{warp_left + lane / 4 * 4, warp_right + lane % 4 * 8});
    for (int chunk = 0; chunk < n_chunks; chunk++, begun++) {
        const unsigned char *from = stages + chunk % STAGES * STAGE_BYTES + at;
        unsigned char *to = stages + begun % STAGES * STAGE_BYTES;
        cp_wait<STAGES - 2>();
        sync_block(); /* this chunk is here, and the one before has been used */
        if (begun < n_chunks) {
            copy_side(to, a.left, left / MS_JOIN_TILE, tile_bytes, begun);
            copy_side(to + SIDE_BYTES, a.right, right / MS_JOIN_TILE, tile_bytes, begun);
        }
        cp_commit();
        add_chunk(d, from + warp / 2 * (SIDE_BYTES / 2),
                  from + SIDE_BYTES + warp % 2 * (SIDE_BYTES / 2));
    }
    int32_t signs = -1;
#pragma unroll
    for (int m = 0; m < 2 * HALVES; m++)
#pragma unroll
        for (int n = 0; n < 4 * HALVES; n++)
            signs &= d[m][n][0] & d[m][n][1] & d[m][n][2] & d[m][n][3];
    if (vote_ballot(signs >= 0) != 0) keep_pairs(a, d, warp_left, warp_right, lane);
}

extern "C" int ms_join_codes_cuda(ms_gpu_stream *s, const ms_gpu_join *join, msim_error *err) {
    int64_t down = (join->left.n_tiles + TILES - 1) / TILES,
            across = (join->right.n_tiles + TILES - 1) / TILES;
    assert(join->components % MS_JOIN_STEP == 0 && join->components >= MS_JOIN_STEP);
    assert(join->components <= MS_JOIN_MOST_COMPONENTS && down >= 1 && across >= 1);
    assert(join->left_first + join->left.n_tiles * MS_JOIN_TILE <= 65536 &&
           join->right_first + join->right.n_tiles * MS_JOIN_TILE <= 65536);
    cudaError_t rc = launch(k_join_int8, dim3((unsigned)down, (unsigned)across), dim3(THREADS),
                            carve_bytes<unsigned char>(STAGES * STAGE_BYTES),
                            (cudaStream_t)ms_gpu_stream_raw(s), *join);
    return ms_gpu_check_launch((int)rc, "k_join_int8", err);
}
