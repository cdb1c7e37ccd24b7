/* Row work of the forward pass between the products: token rows, LayerNorm, and GELU and rotary for
 * products that could not fuse them. docs/MODEL.md, Steps; reference
 * src/cpu/kernels/ref/encoder_ref.c; tests test/gpu/test_norms.c.
 *
 * All of these read and write each byte once, so what counts is bytes in flight: 16-byte loads,
 * several per lane. bench: midisim's gpu-bench, rows norm and act. */
#include "kernels/encoder/act.cuh"
#include "kernels/prim.cuh"
#include "kernels/kernels.h"
#include "model/constants.h"
#include <assert.h>

enum {
    ROW_WARPS = 8, /* rows of a block: 256 threads, so that eight blocks fill a multiprocessor */
    VEC = 4,       /* columns of a 16-byte load of f32 */
    WARP_COLS = 32 * VEC,
    FLAT_THREADS = 256,
    PAIRS = 4 /* rotary pairs in 16 bytes */
};

/* Sum over the warp, in one fixed shape: every lane ends with the same bits, because each step adds
 * the same two values (in either order, and addition commutes). */
static __device__ __forceinline__ float warp_sum(float v) {
    for (int lanes = 16; lanes > 0; lanes /= 2) v += shuffle_xor(v, lanes);
    return v;
}

/* One row in a warp's registers: vector i of lane l holds columns 128 i + 4 l .. + 3, those at dim
 * and beyond 0. */
namespace {
template <int STEPS> struct Row { float4 v[STEPS]; };
} // namespace

template <int STEPS>
static __device__ __forceinline__ Row<STEPS> load_row(const float *x, int lane, int dim) {
    Row<STEPS> row;
#pragma unroll
    for (int i = 0; i < STEPS; i++) {
        int c = i * WARP_COLS + lane * VEC;
        row.v[i] = c < dim ? *(const float4 *)(x + c) : float4{0.0f, 0.0f, 0.0f, 0.0f};
    }
    return row;
}

/* row = (row - mean) / sqrt(variance + epsilon) * scale. Two passes over the registers: the squares
 * are of distances, so nothing cancels. */
template <int STEPS>
static __device__ __forceinline__ void norm_row(Row<STEPS> &row, const float *scale, int lane,
                                                int dim) {
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < STEPS; i++) sum += (row.v[i].x + row.v[i].y) + (row.v[i].z + row.v[i].w);
    float mean = div_f32(warp_sum(sum), (float)dim);
#pragma unroll
    for (int i = 0; i < STEPS; i++) {
        if (i * WARP_COLS + lane * VEC >= dim) continue;
        float4 &v = row.v[i];
        v.x -= mean;
        v.y -= mean;
        v.z -= mean;
        v.w -= mean;
        squares += (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
    }
    float inverse = div_f32(1.0f, sqrt_f32(div_f32(warp_sum(squares), (float)dim) + MS_NORM_EPS));
#pragma unroll
    for (int i = 0; i < STEPS; i++) {
        int c = i * WARP_COLS + lane * VEC;
        if (c >= dim) continue;
        float4 g = *(const float4 *)(scale + c), &v = row.v[i];
        v.x = v.x * inverse * g.x;
        v.y = v.y * inverse * g.y;
        v.z = v.z * inverse * g.z;
        v.w = v.w * inverse * g.w;
    }
}

template <int STEPS>
static __device__ __forceinline__ void store_f32(float *out, const Row<STEPS> &row, int lane,
                                                 int dim) {
#pragma unroll
    for (int i = 0; i < STEPS; i++) {
        int c = i * WARP_COLS + lane * VEC;
        if (c < dim) *(float4 *)(out + c) = row.v[i];
    }
}

template <int STEPS>
static __device__ __forceinline__ void store_bf16(bf16 *out, const Row<STEPS> &row, int lane,
                                                  int dim) {
#pragma unroll
    for (int i = 0; i < STEPS; i++) {
        int c = i * WARP_COLS + lane * VEC;
        uint2 both{pack_bf16(row.v[i].x, row.v[i].y), pack_bf16(row.v[i].z, row.v[i].w)};
        if (c < dim) *(uint2 *)(out + c) = both;
    }
}

/* Token rows and the first norm: x = table[id], h = norm(x).
 *   shapes     h bf16 [n, dim], x f32 [n, dim], ids [n], table f32 [vocab, dim], scale f32 [dim]
 *   grid       ceil(n / 8) blocks of 256 threads; warp w of block b owns row 8 b + w; no shared
 *              memory
 *   numerics   f32; sums of a lane's columns, then 5 shuffles: the shape is dim's alone
 *   needs      dim a multiple of 64 (so of 4), at most 128 STEPS; ids within the table
 *   bytes      n dim (4 + 4 + 2), the table's reads mostly from L2; 8 n dim flops
 *   reference  cpu/kernels/ref/encoder_ref.c norm; test_norms.c */
template <int STEPS>
static __global__ void __launch_bounds__(32 * ROW_WARPS)
    k_embed_norm_bf16(bf16 *h, float *x, const int32_t *ids, const float *table, const float *scale,
                      int64_t n, int dim) {
    int lane = (int)threadIdx.x % 32;
    int64_t r = (int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    if (r >= n) return;
    Row<STEPS> row = load_row<STEPS>(table + (int64_t)ids[r] * dim, lane, dim);
    store_f32(x + r * dim, row, lane, dim);
    norm_row(row, scale, lane, dim);
    store_bf16(h + r * dim, row, lane, dim);
}

/* h = norm(x), rounded once to bf16. Rows, grid, numerics and needs as k_embed_norm_bf16; n dim (4
 * + 2) bytes. */
template <int STEPS>
static __global__ void __launch_bounds__(32 * ROW_WARPS)
    k_norm_bf16(bf16 *h, const float *x, const float *scale, int64_t n, int dim) {
    int lane = (int)threadIdx.x % 32;
    int64_t r = (int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    if (r >= n) return;
    Row<STEPS> row = load_row<STEPS>(x + r * dim, lane, dim);
    norm_row(row, scale, lane, dim);
    store_bf16(h + r * dim, row, lane, dim);
}

/* out = norm(x) in f32; out may be x, as a warp has read its row before it writes. As above; n dim
 * (4 + 4) bytes. */
template <int STEPS>
static __global__ void __launch_bounds__(32 * ROW_WARPS)
    k_norm_f32(float *out, const float *x, const float *scale, int64_t n, int dim) {
    int lane = (int)threadIdx.x % 32;
    int64_t r = (int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    if (r >= n) return;
    Row<STEPS> row = load_row<STEPS>(x + r * dim, lane, dim);
    norm_row(row, scale, lane, dim);
    store_f32(out + r * dim, row, lane, dim);
}

/* u = gelu(u) in place, the erf form, rounded once.
 *   shapes     u bf16 [n], 16-byte aligned
 *   grid       a thread for each 8 elements, 256 per block; the thread after the last whole 8 takes
 *              the rest one by one
 *   numerics   f32, act.cuh: the same bits as fused behind a product
 *   bytes      4 n; some 20 n flops
 *   reference  cpu/kernels/ref/encoder_ref.c REF_GELU; test_norms.c */
static __global__ void __launch_bounds__(FLAT_THREADS) k_gelu_bf16(bf16 *u, int64_t n) {
    int64_t first = ((int64_t)blockIdx.x * FLAT_THREADS + threadIdx.x) * 8;
    if (first + 8 <= n) {
        uint4 *at = (uint4 *)(u + first);
        uint4 v = *at;
        v.x = pack_bf16(gelu_f32(low_f32(v.x)), gelu_f32(high_f32(v.x)));
        v.y = pack_bf16(gelu_f32(low_f32(v.y)), gelu_f32(high_f32(v.y)));
        v.z = pack_bf16(gelu_f32(low_f32(v.z)), gelu_f32(high_f32(v.z)));
        v.w = pack_bf16(gelu_f32(low_f32(v.w)), gelu_f32(high_f32(v.w)));
        *at = v;
        return;
    }
    for (int64_t i = first; i < n; i++) u[i] = to_bf16(gelu_f32(to_f32(u[i])));
}

/* Rotary of the first 32 columns of every head of q and k, in place.
 *   shapes     qkv bf16 [n, 3 inner], q then k then v; cos, sin f32 [max_tokens, 16]; positions [n]
 *   grid       a thread for 4 pairs (16 bytes), 256 per block: item i is pairs 4 (i % 4) .. + 3 of
 *              head i / 4 % (2 heads), q's and then k's, of row i / (8 heads); no shared memory
 *   numerics   bf16 in, f32, each component rounded once (act.cuh): the same bits as fused behind a
 *              product
 *   bytes      n heads (256 read and written, tables from L1 and L2); 96 n heads flops
 *   reference  cpu/kernels/ref/encoder_ref.c rotate; test_norms.c */
static __global__ void __launch_bounds__(FLAT_THREADS)
    k_rotate_bf16(bf16 *qkv, const float *cosines, const float *sines, const int32_t *positions,
                  int64_t n, int heads) {
    int64_t i = (int64_t)blockIdx.x * FLAT_THREADS + threadIdx.x;
    int64_t r = i / (8 * heads);
    if (r >= n) return;
    int rest = (int)(i - r * 8 * heads), head = rest / 4, first = rest % 4 * PAIRS;
    int64_t angle = (int64_t)positions[r] * MS_ROTARY_PAIRS + first;
    float4 c = *(const float4 *)(cosines + angle), s = *(const float4 *)(sines + angle);
    uint4 *at = (uint4 *)(qkv + r * 3 * heads * MS_HEAD_DIM + head * MS_HEAD_DIM + 2 * first);
    uint4 v = *at;
    v.x = rotate_pair(v.x, c.x, s.x);
    v.y = rotate_pair(v.y, c.y, s.y);
    v.z = rotate_pair(v.z, c.z, s.z);
    v.w = rotate_pair(v.w, c.w, s.w);
    *at = v;
}

/* ---- Launchers ---- */

/* Instances by width: registers for 128 STEPS columns, the next power of two. */
enum { N_INSTANCES = 5 };
static void (*const embed_norm_kernels[N_INSTANCES])(bf16 *, float *, const int32_t *,
                                                     const float *, const float *, int64_t, int) = {
    k_embed_norm_bf16<1>, k_embed_norm_bf16<2>, k_embed_norm_bf16<4>, k_embed_norm_bf16<8>,
    k_embed_norm_bf16<16>};
static void (*const norm_bf16_kernels[N_INSTANCES])(bf16 *, const float *, const float *, int64_t,
                                                    int) = {
    k_norm_bf16<1>, k_norm_bf16<2>, k_norm_bf16<4>, k_norm_bf16<8>, k_norm_bf16<16>};
static void (*const norm_f32_kernels[N_INSTANCES])(float *, const float *, const float *, int64_t,
                                                   int) = {
    k_norm_f32<1>, k_norm_f32<2>, k_norm_f32<4>, k_norm_f32<8>, k_norm_f32<16>};

static int instance(int64_t dim) {
    int i = 0;
    while (dim > (int64_t)WARP_COLS << i) i++;
    return i;
}

static bool is_aligned(const void *p) { return (uintptr_t)p % 16 == 0; }
static bool is_width(int64_t dim) {
    return dim >= 64 && dim % 64 == 0 && dim <= (int64_t)WARP_COLS << (N_INSTANCES - 1);
}
static cudaStream_t raw(ms_gpu_stream *s) { return (cudaStream_t)ms_gpu_stream_raw(s); }
static dim3 row_grid(int64_t n) { return dim3((unsigned)((n + ROW_WARPS - 1) / ROW_WARPS)); }

extern "C" int ms_embed_norm_cuda(ms_gpu_stream *s, ms_bf16 *h, float *x, const int32_t *ids,
                                  const float *table, const float *scale, int64_t n, int64_t dim,
                                  msim_error *err) {
    assert(is_width(dim) && is_aligned(h) && is_aligned(x) && is_aligned(table) &&
           is_aligned(scale));
    if (n == 0) return MSIM_OK;
    return ms_gpu_check_launch(launch(embed_norm_kernels[instance(dim)], row_grid(n),
                                      dim3(32 * ROW_WARPS), 0, raw(s), (bf16 *)h, x, ids, table,
                                      scale, n, (int)dim),
                               "k_embed_norm_bf16", err);
}

extern "C" int ms_norm_bf16_cuda(ms_gpu_stream *s, ms_bf16 *h, const float *x, const float *scale,
                                 int64_t n, int64_t dim, msim_error *err) {
    assert(is_width(dim) && is_aligned(h) && is_aligned(x) && is_aligned(scale));
    if (n == 0) return MSIM_OK;
    return ms_gpu_check_launch(launch(norm_bf16_kernels[instance(dim)], row_grid(n),
                                      dim3(32 * ROW_WARPS), 0, raw(s), (bf16 *)h, x, scale, n,
                                      (int)dim),
                               "k_norm_bf16", err);
}

extern "C" int ms_norm_f32_cuda(ms_gpu_stream *s, float *out, const float *x, const float *scale,
                                int64_t n, int64_t dim, msim_error *err) {
    assert(is_width(dim) && is_aligned(out) && is_aligned(x) && is_aligned(scale));
    if (n == 0) return MSIM_OK;
    return ms_gpu_check_launch(launch(norm_f32_kernels[instance(dim)], row_grid(n),
                                      dim3(32 * ROW_WARPS), 0, raw(s), out, x, scale, n, (int)dim),
                               "k_norm_f32", err);
}

extern "C" int ms_gelu_bf16_cuda(ms_gpu_stream *s, ms_bf16 *u, int64_t n, msim_error *err) {
    int64_t blocks = (n + 8 * FLAT_THREADS - 1) / (8 * FLAT_THREADS);
    assert(is_aligned(u) && blocks <= INT32_MAX);
    if (n == 0) return MSIM_OK;
    return ms_gpu_check_launch(
        launch(k_gelu_bf16, dim3((unsigned)blocks), dim3(FLAT_THREADS), 0, raw(s), (bf16 *)u, n),
        "k_gelu_bf16", err);
}

extern "C" int ms_rotate_bf16_cuda(ms_gpu_stream *s, ms_bf16 *qkv, const float *cosines,
                                   const float *sines, const int32_t *positions, int64_t n,
                                   int64_t heads, msim_error *err) {
    int64_t blocks = (n * 8 * heads + FLAT_THREADS - 1) / FLAT_THREADS;
    assert(is_aligned(qkv) && is_aligned(cosines) && is_aligned(sines) && heads > 0 &&
           blocks <= INT32_MAX);
    if (n == 0) return MSIM_OK;
    return ms_gpu_check_launch(launch(k_rotate_bf16, dim3((unsigned)blocks), dim3(FLAT_THREADS), 0,
                                      raw(s), (bf16 *)qkv, cosines, sines, positions, n,
                                      (int)heads),
                               "k_rotate_bf16", err);
}
