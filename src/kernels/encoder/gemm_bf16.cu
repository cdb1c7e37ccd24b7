/* Products with weight matrices on tensor cores: dst [m, n] (+)= a [m, k] w [n, k]^T, bf16 in, f32
 * sums, and what follows the product while it is in registers: bias, rotation, GELU, or addition to
 * the residual stream.
 *
 * Shapes    k_gemm_bf16<tile>: a block computes rows x cols of dst, each warp warp_rows x warp_cols
 *           of it in registers; m is ragged (rows past m are zeros in shared memory, neither read
 *           nor written), n and k are multiples of 64.
 * Grid      one block for each tile of dst, in groups of GROUP_ROWS tile rows, rows before columns:
 *           the ~200 blocks that run at a time then touch about as many tile rows as tile columns,
 *           and what they share stays in L2.
 * Shared    `stages` slots of a [rows, depth] and w [cols, depth], filled by cp.async `stages` - 1
 *           steps ahead; 16-byte chunks of a row are permuted (chunk_at) so that neither copies nor
 *           ldmatrix meet a bank twice. The end of the product passes through a slot of `a` that is
 *           free by then, 2 KiB for each warp, to be stored 16 bytes per lane.
 * Numerics  every sum begins at 0 and takes its k in steps of 16, ascending, whatever the tile: all
 *           tiles give the same bits, a row's do not depend on m, and the choice of a tile may. No
 *           sum is split. Rounded as kernels/kernels.h says; inside an mma the order and the
 *           rounding of 16 products are the hardware's.
 * Needs     16-byte aligned pointers, n and k as above, what the epilogue reads (asserted by the
 *           launcher).
 * Cost      2 m n k flops; 2 (m k + n k) bytes read where L2 holds what blocks share, n m bytes
 *           written: 2 each for bf16; ADD reads and writes 4 each. A block moves 2 (rows + cols) k
 *           bytes into its SM for 2 rows cols k flops: 85 flops a byte for 256 x 128, 64 for 128 x
 *           128, 32 for 64 x 64.
 * Tested    test/gpu/test_gemm.c against f64, test/emu/test_gemm.cpp;
 *           cpu/kernels/ref/encoder_ref.c's product, rotate and gelu are the reference.
 *
 * Tiles, by reasoning, no figure measured yet. Warps of 64 x 64 need 8 ldmatrix for 32 mma, two
 * thirds of the shared-memory traffic of 64 x 32; their 128 sums and two sets of fragments fit 255
 * registers. With 128 x 128 two such blocks run on an SM and one's beginning and end hide behind
 * the other's product, which counts at k = 512, 16 steps long; 48 KiB each let two stay on the
 * smallest SM (100 KiB) too. At larger k beginnings and ends are rare, and 256 x 128, alone on its
 * SM, takes a quarter less from L2. 64 x 64 fills the card when dst has few tiles. */
#include "kernels/encoder/act.cuh"
#include "kernels/prim.cuh"
#include "kernels/kernels.h"
#include "model/constants.h"
#include <assert.h>

static constexpr uint32_t GROUP_ROWS = 16, MMA_DEPTH = 16, ROTARY_COLS = MS_ROTARY_DIMS,
                          ROTARY_PAIRS = MS_ROTARY_PAIRS, HEAD_COLS = MS_HEAD_DIM;

/* What a kernel is given: ms_gpu_gemm in its own types. */
struct Product {
    const bf16 *a, *w;
    void *dst;
    const float *bias;
    int64_t m;
    uint32_t n, k, epilogue, rotated;
    uint32_t tile_rows, tile_cols; /* tiles of dst */
    const float *cos, *sin;
    const int32_t *positions;
};

template <int ROWS, int COLS, int DEPTH, int WARP_ROWS, int WARP_COLS, int STAGES, int BLOCKS>
struct Tile {
    static constexpr uint32_t rows = ROWS, cols = COLS, depth = DEPTH, warp_rows = WARP_ROWS,
                              warp_cols = WARP_COLS;
    static constexpr uint32_t stages = STAGES, blocks_per_sm = BLOCKS;
    static constexpr uint32_t warps_down = ROWS / WARP_ROWS,
                              warps = warps_down * (COLS / WARP_COLS);
    static constexpr uint32_t threads = 32 * warps;
    static constexpr uint32_t chunks = DEPTH / 8;        /* 16-byte chunks of a row in a
                                                                * slot */
    static constexpr uint32_t steps = DEPTH / MMA_DEPTH; /* mma steps of a slot */
    static constexpr uint32_t m_tiles = WARP_ROWS / 16, n_tiles = WARP_COLS / 8;
    static constexpr uint32_t a_slot = ROWS * chunks, w_slot = COLS * chunks; /* in chunks */
    static constexpr uint32_t warp_stage = 16 * WARP_COLS / 8; /* chunks: 16 rows of bf16 or 8 of
                                                                * f32 */
    static constexpr size_t shared = carve_bytes<uint4>(STAGES * a_slot) +
                                     carve_bytes<uint4>(STAGES * w_slot);
    static_assert(steps % 2 == 0, "two sets of fragments take turns");
    static_assert(a_slot % threads == 0 && w_slot % threads == 0,
                  "every thread copies as many chunks");
    static_assert(warps * warp_stage <= a_slot,
                  "the end of the product passes through a slot of a");
    static_assert(64 % WARP_COLS == 0 && shared <= 99 * 1024,
                  "gpu_kernels.h: n in 64s; the smallest SM");
};

/* The guarded table: index = tile of ms_gemm_bf16_tile_cuda, largest first. */
using Tile0 = Tile<256, 128, 32, 64, 64, 4, 1>;
using Tile1 = Tile<128, 128, 32, 64, 64, 3, 2>;
using Tile2 = Tile<64, 64, 64, 32, 32, 3, 2>;

/* Place of a chunk in rows of `chunks` (4 or 8): 8 rows of one chunk, and one row's chunks, lie in
 * different banks. */
static __device__ __forceinline__ uint32_t chunk_at(uint32_t chunks, uint32_t row, uint32_t chunk) {
    return row * chunks + (chunk ^ (chunks == 4 ? row / 2 % 4 : row % 8));
}

/* One matrix on its way into the slots, step by step: this thread's chunks are `every` rows apart,
 * all in one column of chunks, and lie `every` rows apart in a slot too. Rows that do not exist
 * have an address, of which nothing is read. */
template <class T, uint32_t N_ROWS> struct Feed {
    static constexpr uint32_t n = N_ROWS * T::chunks / T::threads, every = T::threads / T::chunks;
    static_assert(every % 8 == 0, "rows `every` apart are permuted alike");
    const bf16 *from;
    uint4 *to;
    size_t stride;  /* elements between this thread's rows */
    uint32_t valid; /* bit i: its i-th row exists */

    __device__ __forceinline__ void begin(const bf16 *rows, uint4 *slots, int64_t n_valid,
                                          uint32_t k) {
        uint32_t row = threadIdx.x / T::chunks, chunk = threadIdx.x % T::chunks;
        from = rows + (size_t)row * k + chunk * 8;
        to = slots + chunk_at(T::chunks, row, chunk);
        stride = (size_t)every * k;
        valid = 0;
#pragma unroll
        for (uint32_t i = 0; i < n; i++) valid |= (uint32_t)(row + i * every < n_valid) << i;
    }
    __device__ __forceinline__ void copy(uint32_t slot) {
#pragma unroll
        for (uint32_t i = 0; i < n; i++)
            cp_async16(to + slot * N_ROWS * T::chunks + i * every * T::chunks, from + i * stride,
                       (valid >> i & 1) * 16);
        from += T::depth;
    }
};

template <class T> struct Fragments {
    uint32_t a[T::m_tiles][4], w[T::n_tiles / 2][4];

    /* 16 of k from a slot; a and w begin at the warp's first row. */
    __device__ __forceinline__ void load(const uint4 *a_rows, const uint4 *w_rows, uint32_t step,
                                         uint32_t lane) {
#pragma unroll
        for (uint32_t i = 0; i < T::m_tiles; i++)
            ldmatrix_x4(a[i],
                        a_rows + chunk_at(T::chunks, i * 16 + lane % 16, step * 2 + lane / 16));
#pragma unroll
        for (uint32_t j = 0; j < T::n_tiles / 2; j++)
            ldmatrix_x4(w[j], w_rows + chunk_at(T::chunks, j * 16 + lane % 8 + lane / 16 * 8,
                                                step * 2 + lane / 8 % 2));
    }
    __device__ __forceinline__ void multiply(float (&sums)[T::m_tiles][T::n_tiles][4]) const {
#pragma unroll
        for (uint32_t i = 0; i < T::m_tiles; i++)
#pragma unroll
            for (uint32_t j = 0; j < T::n_tiles; j++)
                mma_bf16(sums[i][j], a[i], w[j / 2][j % 2 * 2], w[j / 2][j % 2 * 2 + 1]);
    }
};

/* ---- The end of a product: one warp's rows x cols, from (row, col) of dst on ---- */

template <class T> struct Corner {
    int64_t row;
    uint32_t col, lane;
    uint4 *stage; /* the warp's own, T::warp_stage */
};

/* Bias of this lane's two columns in each n-tile. */
template <class T>
static __device__ __forceinline__ void load_bias(float2 (&bias)[T::n_tiles], const Product &p,
                                                 const Corner<T> &at) {
#pragma unroll
    for (uint32_t j = 0; j < T::n_tiles; j++)
        bias[j] = p.bias ? *(const float2 *)(p.bias + at.col + j * 8 + at.lane % 4 * 2)
                         : make_float2(0.0f, 0.0f);
}

static __device__ __forceinline__ uint32_t gelu_pair(uint32_t u) {
    return pack_bf16(gelu_f32(low_f32(u)), gelu_f32(high_f32(u)));
}

/* Eight columns of a row, rounded to bf16, on their way to dst. */
template <int EPILOGUE>
static __device__ __forceinline__ uint4 finish(const Product &p, uint4 v, int64_t row,
                                               uint32_t col) {
    if (EPILOGUE == MS_GPU_GELU)
        return make_uint4(gelu_pair(v.x), gelu_pair(v.y), gelu_pair(v.z), gelu_pair(v.w));
    if (EPILOGUE == MS_GPU_ROTATE && col < p.rotated && col % HEAD_COLS < ROTARY_COLS) {
        size_t angle = (size_t)p.positions[row] * ROTARY_PAIRS + col % HEAD_COLS / 2;
        float4 c = *(const float4 *)(p.cos + angle), s = *(const float4 *)(p.sin + angle);
        return make_uint4(rotate_pair(v.x, c.x, s.x), rotate_pair(v.y, c.y, s.y),
                          rotate_pair(v.z, c.z, s.z), rotate_pair(v.w, c.w, s.w));
    }
    return v;
}

/* bf16 out, 16 rows at a time. Lane l of an mma holds columns 2 (l % 4), + 1 of rows l / 4 and l /
 * 4 + 8. */
template <class T, int EPILOGUE>
static __device__ __forceinline__ void end_bf16(const Product &p,
                                                const float (&sums)[T::m_tiles][T::n_tiles][4],
                                                const Corner<T> &at) {
    constexpr uint32_t chunks = T::warp_cols / 8;
    float2 bias[T::n_tiles];
    load_bias<T>(bias, p, at);
    uint32_t *words = (uint32_t *)at.stage, g = at.lane / 4, chunk = at.lane % chunks;
#pragma unroll
    for (uint32_t i = 0; i < T::m_tiles; i++) {
#pragma unroll
        for (uint32_t j = 0; j < T::n_tiles; j++) {
            const float(&x)[4] = sums[i][j];
            words[chunk_at(chunks, g, j) * 4 + at.lane % 4] =
                pack_bf16(x[0] + bias[j].x, x[1] + bias[j].y);
            words[chunk_at(chunks, g + 8, j) * 4 + at.lane % 4] =
                pack_bf16(x[2] + bias[j].x, x[3] + bias[j].y);
        }
        sync_warp(); /* staged by all lanes */
#pragma unroll
        for (uint32_t r = at.lane / chunks; r < 16; r += 32 / chunks) {
            int64_t row = at.row + i * 16 + r;
            uint32_t col = at.col + chunk * 8;
            if (row < p.m)
                *(uint4 *)((bf16 *)p.dst + row * p.n + col) =
                    finish<EPILOGUE>(p, at.stage[chunk_at(chunks, r, chunk)], row, col);
        }
        sync_warp(); /* read by all lanes: the next rows may be staged */
    }
}

/* f32 added to dst, 8 rows at a time. A row has 8 or 16 chunks of 4 columns; rows of equal r % 4
 * keep their order, so that 16 lanes storing 8 bytes each (4 rows of two chunks) meet every bank
 * once. */
template <class T>
static __device__ __forceinline__ void end_add(const Product &p,
                                               const float (&sums)[T::m_tiles][T::n_tiles][4],
                                               const Corner<T> &at) {
    constexpr uint32_t chunks = T::warp_cols / 4, every = 32 / chunks;
    float2 bias[T::n_tiles];
    load_bias<T>(bias, p, at);
    uint32_t g = at.lane / 4, t = at.lane % 4, r0 = at.lane / chunks, chunk = at.lane % chunks;
#pragma unroll
    for (uint32_t half = 0; half < 2 * T::m_tiles; half++) {
        float4 old[8 / every];
        int64_t row = at.row + half * 8 + r0;
        float *to = (float *)p.dst + row * p.n + at.col + chunk * 4;
#pragma unroll
        for (uint32_t i = 0; i < 8 / every; i++)
            if (row + i * every < p.m) old[i] = *(const float4 *)(to + (size_t)(i * every) * p.n);
#pragma unroll
        for (uint32_t j = 0; j < T::n_tiles; j++) {
            const float *x = sums[half / 2][j] + half % 2 * 2;
            float2 *pairs = (float2 *)(at.stage + g * chunks + ((j * 2 + t / 2) ^ (g % 4 * 2)));
            pairs[t % 2] = make_float2(x[0] + bias[j].x, x[1] + bias[j].y);
        }
        sync_warp(); /* staged by all lanes */
#pragma unroll
        for (uint32_t i = 0; i < 8 / every; i++) {
            uint32_t r = r0 + i * every;
            float4 v = *(const float4 *)(at.stage + r * chunks + (chunk ^ (r % 4 * 2)));
            if (row + i * every < p.m)
                store16(
                    to + (size_t)(i * every) * p.n,
                    make_float4(old[i].x + v.x, old[i].y + v.y, old[i].z + v.z, old[i].w + v.w));
        }
        sync_warp(); /* read by all lanes: the next rows may be staged */
    }
}

/* ---- The kernel ---- */

/* Tile of dst that this block computes. */
static __device__ __forceinline__ void place(const Product &p, uint32_t *row, uint32_t *col) {
    uint32_t per_group = GROUP_ROWS * p.tile_cols, first = blockIdx.x / per_group * GROUP_ROWS;
    uint32_t rows = p.tile_rows - first < GROUP_ROWS ? p.tile_rows - first : GROUP_ROWS,
             at = blockIdx.x % per_group;
    *row = first + at % rows;
    *col = at / rows;
}

template <class T>
static __global__ void __launch_bounds__(T::threads, T::blocks_per_sm) k_gemm_bf16(Product p) {
    Carve shared = carve_begin();
    uint4 *a_slots = carve<uint4>(shared, T::stages * T::a_slot),
          *w_slots = carve<uint4>(shared, T::stages * T::w_slot);
    uint32_t tile_row, tile_col, lane = threadIdx.x % 32, warp = threadIdx.x / 32,
                                 n_steps = p.k / T::depth;
    uint32_t warp_row = warp % T::warps_down * T::warp_rows,
             warp_col = warp / T::warps_down * T::warp_cols;
    place(p, &tile_row, &tile_col);
    int64_t row = (int64_t)tile_row * T::rows;
    uint32_t col = tile_col * T::cols;

    Feed<T, T::rows> a;
    Feed<T, T::cols> w;
    a.begin(p.a + row * p.k, a_slots, p.m - row, p.k);
    w.begin(p.w + (size_t)col * p.k, w_slots, p.n - col, p.k);
#pragma unroll
    for (uint32_t s = 0; s + 1 < T::stages; s++) {
        if (s < n_steps) {
            a.copy(s);
            w.copy(s);
        }
        cp_commit();
    }

    float sums[T::m_tiles][T::n_tiles][4] = {};
    Fragments<T> fragments[2];
    const uint4 *a_warp = a_slots + warp_row * T::chunks, *w_warp = w_slots + warp_col * T::chunks;
    cp_wait<T::stages - 2>();
    sync_block(); /* every thread's copies of step 0 have landed */
    fragments[0].load(a_warp, w_warp, 0, lane);

    /* Slot of the step; of the one before it, which takes the copies of the one `stages` - 1
     * ahead. */
    uint32_t slot = 0, behind = T::stages - 1;
    for (uint32_t step = 0; step < n_steps; step++) {
        uint32_t next = slot + 1 < T::stages ? slot + 1 : 0;
#pragma unroll
        for (uint32_t i = 0; i < T::steps; i++) {
            if (i + 1 < T::steps) {
                fragments[(i + 1) % 2].load(a_warp + slot * T::a_slot, w_warp + slot * T::w_slot,
                                            i + 1, lane);
            } else if (step + 1 < n_steps) {
                cp_wait<T::stages - 2>();
                sync_block(); /* the next step's copies have landed, and this step's slot has been
                               * read by all */
                fragments[0].load(a_warp + next * T::a_slot, w_warp + next * T::w_slot, 0, lane);
            }
            if (i == 0) {
                if (step + T::stages - 1 < n_steps) {
                    a.copy(behind);
                    w.copy(behind);
                }
                cp_commit(); /* empty towards the end, so that the count of groups stays that of
                              * steps */
            }
            fragments[i % 2].multiply(sums);
        }
        behind = slot;
        slot = next;
    }

    /* The slot behind the last step's holds a step that all warps left behind before the last
     * barrier, or none. */
    Corner<T> at = {row + warp_row, col + warp_col, lane,
                    a_slots + slot * T::a_slot + warp * T::warp_stage};
    if (at.col >= p.n || at.row >= p.m) return;
    if (p.epilogue == MS_GPU_ADD)
        end_add<T>(p, sums, at);
    else if (p.epilogue == MS_GPU_GELU)
        end_bf16<T, MS_GPU_GELU>(p, sums, at);
    else if (p.epilogue == MS_GPU_ROTATE)
        end_bf16<T, MS_GPU_ROTATE>(p, sums, at);
    else
        end_bf16<T, MS_GPU_STORE>(p, sums, at);
}

/* ---- Launchers ---- */

template <class T> static int64_t count_tiles(const ms_gpu_gemm *g) {
    return (g->m + T::rows - 1) / T::rows * ((g->n + T::cols - 1) / T::cols);
}

template <class T>
static int launch_tile(ms_gpu_stream *s, const ms_gpu_gemm *g, const char *name, msim_error *err) {
    Product p = {(const bf16 *)g->a,
                 (const bf16 *)g->w,
                 g->dst,
                 g->bias,
                 g->m,
                 (uint32_t)g->n,
                 (uint32_t)g->k,
                 (uint32_t)g->epilogue,
                 (uint32_t)g->rotated,
                 (uint32_t)((g->m + T::rows - 1) / T::rows),
                 (uint32_t)((g->n + T::cols - 1) / T::cols),
                 g->cos,
                 g->sin,
                 g->positions};
    cudaError_t rc = launch(k_gemm_bf16<T>, dim3((unsigned)count_tiles<T>(g)), dim3(T::threads),
                            T::shared, (cudaStream_t)ms_gpu_stream_raw(s), p);
    return ms_gpu_check_launch(rc, name, err);
}

extern "C" int ms_gemm_bf16_tile_cuda(ms_gpu_stream *s, const ms_gpu_gemm *g, int tile,
                                      msim_error *err) {
    assert(g->n > 0 && g->n % 64 == 0 && g->n < 1 << 24 && g->k > 0 && g->k % 64 == 0 &&
           g->k < 1 << 24);
    assert(g->m >= 0 && g->m < (int64_t)1 << 31 && count_tiles<Tile2>(g) < (int64_t)1 << 31);
    assert(((uintptr_t)g->a | (uintptr_t)g->w | (uintptr_t)g->dst | (uintptr_t)g->bias) % 16 == 0);
    assert(g->epilogue != MS_GPU_ROTATE ||
           (g->rotated % HEAD_COLS == 0 && g->cos && g->sin && g->positions && !g->bias));
    assert(((uintptr_t)g->cos | (uintptr_t)g->sin) % 16 == 0 && tile >= 0 &&
           tile < MS_GPU_GEMM_TILES);
    if (g->m == 0) return MSIM_OK;
    if (tile == 0) return launch_tile<Tile0>(s, g, "k_gemm_bf16 256x128", err);
    if (tile == 1) return launch_tile<Tile1>(s, g, "k_gemm_bf16 128x128", err);
    return launch_tile<Tile2>(s, g, "k_gemm_bf16 64x64", err);
}

/* The largest tile that has enough blocks for the device's multiprocessors: one for each (it runs
 * one at a time), or one and a half (it runs two, and a wave of three quarters is still faster than
 * tiles a quarter as large). */
extern "C" int ms_gemm_bf16_choose(ms_gpu_stream *s, const ms_gpu_gemm *g) {
    enum { LONG_K = 1024 };
    int64_t processors = ms_gpu_stream_multiprocessors(s);
    if (g->k >= LONG_K && count_tiles<Tile0>(g) >= processors) return 0;
    return count_tiles<Tile1>(g) >= processors * 3 / 2 ? 1 : 2;
}

extern "C" const char *ms_gemm_bf16_tile_name(int tile) {
    static const char *const names[] = {"256x128", "128x128", "64x64"};
    return names[tile];
}

extern "C" int ms_gemm_bf16_cuda(ms_gpu_stream *s, const ms_gpu_gemm *g, msim_error *err) {
    return ms_gemm_bf16_tile_cuda(s, g, ms_gemm_bf16_choose(s, g), err);
}
