/* Attention of packed sequences: heads = softmax(q k^T / 8) v of each head, bf16 in and out, f32
 * inside, no L x L storage (the streaming softmax of FlashAttention, arXiv 2205.14135, laid out as
 * in FlashAttention-2, arXiv 2307.08691). docs/MODEL.md, Attention; the tests are
 * test/gpu/test_attention.c and test/emu/test_attention.cpp.
 *
 * q and k come rotated: the projection's epilogue does that. Rotating here would rotate a key once
 * for each query tile that reads it (24 times in a sequence of 3,072 tokens) instead of once, on
 * the way between two asynchronous copies.
 *
 * Layout. Block (x, y): query tile x, head y; neighbours in x read the same keys and run together,
 * so L2 serves all but the first. 4 warps; warp w owns query rows 32 w .. 32 w + 31 of the tile, as
 * two groups of 16 (one group, rows 16 w .., where the tile has 64 rows or fewer; a warp without
 * rows only helps with the copies). Keys and values come in tiles of 64, three in a ring: one in
 * use, two under way, one barrier a tile. A ring's place holds 64 keys and 64 values, 16 KiB: 48
 * KiB in all, two blocks on every multiprocessor since sm_80. The queries pass through the third
 * place before the first tile needs it, and results through the one that is free at the end. In
 * shared memory a row has 8 chunks of 16 bytes; chunk c of row r lies at c ^ (r % 8), so the 8 rows
 * of a matrix that ldmatrix takes lie in different banks.
 *
 * Fragments (PTX manual, 'Matrix fragments for mma.m16n8k16'; lane = 4 g + t). A [16, 16]: register
 * r holds row g + 8 (r % 2), columns 2 t + 8 (r / 2) and the next. B [16, 8]: register r holds rows
 * 2 t + 8 r and the next, column g. C [16, 8]: register r is row g + 8 (r / 2), column 2 t + r % 2.
 * What a warp does for one group, key tile and n of 0..7, written without fragments:
 *     s[i][8 n + j]  = sum over d of q[i][d] k[8 n + j][d]        k lies as [key][d] = [n][k] of B:
 *                                                                 ldmatrix
 *     p[i][key]      = exp2(s[i][key] c - m[i])                   c = log2(e) / 8
 *     o[i][8 n + j] += sum over keys of bf16(p[i][key]) v[key][8 n + j]     v lies as [k][n] of B:
 *                                                                           ldmatrix.trans
 * so lane (g, t) has the scores of rows g and g + 8 with keys 2 t, 2 t + 1 mod 8, four lanes share
 * a row's maximum and sum, and p of n = 2 k, 2 k + 1 is, packed in place, A of the k-th 16 keys: no
 * score leaves its lane.
 *
 * Numerics. Scores, softmax and sums in f32; p is rounded to bf16 for its product, the row's sum
 * takes it unrounded. m is the row's largest s c so far, rounded; it only moves when a tile exceeds
 * it by more than 8: p stays below 2^8, which costs no precision, only that much of f32's room
 * above the values (the idea is FlashAttention-4's). A warp multiplies o and sum only when one of
 * its rows moved: for the others the factor is 1, so what is skipped changes no bit. Tiles run in
 * order and a row's operations name neither the tile's height nor its place: its bits depend on its
 * sequence alone. Keys past the sequence's end have score -infinity, and zeros for values: 0 x NaN
 * of a neighbour never occurs.
 *
 * Work. Per 128 query rows and 64 keys: 2 x 128 x 64 x 64 multiply-adds (2.1 MFLOP), 8,192 exp2,
 * and per score besides it about one each of maximum, fused multiply-add, addition and half a
 * conversion; 16 KiB from L2; 64 KiB read by ldmatrix. Two groups a warp make each matrix of keys
 * serve four products: with one group (8 warps) ldmatrix would move twice as much, as many cycles
 * at 128 bytes each as sm_80's tensor cores need at 1,024 multiply-adds each, and would bound the
 * kernel; FlashAttention-2's launch table has 4 warps for this width too. The price is registers:
 * 128 threads with up to 255, two blocks, 8 warps. Two warps a scheduler, in step with nothing but
 * their own block, let one's products hide the other's exp2 (16 a cycle and multiprocessor, CUDA
 * programming guide, 'Arithmetic instructions'). Bytes from memory at the least: 6 inner + 2 inner
 * a token. Not measured: no figure of this kernel is known yet. */
#include "kernels/prim.cuh"
#include "kernels/kernels.h"
#include "model/constants.h"
#include <assert.h>

enum {
    HEAD = MS_HEAD_DIM,
    KEYS = 64,  /* keys of a tile */
    CHUNKS = 8, /* of 16 bytes in a row of a head */
    BLOCKS = 8, /* of 8 keys in a tile, of 8 columns in a head */
    STEPS = 4,  /* of 16 columns for scores, of 16 keys for results */
    WARPS = 4,
    THREADS = 32 * WARPS,
    PLACES = 3,        /* of the ring */
    PLACE = 2 * KEYS,  /* rows of a place: keys, then values; or the tile's queries; or its
                        * results */
    SMALL = 16 * WARPS /* a tile of at most so many rows gives each warp one group */
};
static_assert(PLACE == (int)MS_GPU_QUERY_ROWS && 2 * SMALL == PLACE,
              "a place holds the rows of a query tile");
static_assert(8 * BLOCKS == KEYS && 8 * BLOCKS == HEAD && 16 * STEPS == HEAD,
              "scores and results have one shape");

#define SCALE (MS_SCORE_SCALE * 1.44269504088896341f) /* scores enter exp2: times log2(e) */
#define SLACK 8.0f /* how far scores may pass m, in powers of two */

typedef struct {
    uint4 chunk[CHUNKS];
} row; /* of one head: 64 bf16 */

/* What one block works on. */
typedef struct {
    row *ring;            /* shared, [PLACES, PLACE] */
    char *results;        /* this head's columns from the tile's first row on; rows are `bytes`
                          * apart */
    const char *queries;  /* likewise; 3 * bytes apart, as are keys and values, `bytes` further and
                          * once more */
    const char *sequence; /* q of the sequence's first row */
    int bytes;            /* 2 inner */
    int n_rows, n_keys;   /* of the tile, of the sequence */
} work;

static __device__ __forceinline__ uint4 *chunk_at(row *rows, int r, int c) {
    return &rows[r].chunk[c ^ (r & 7)];
}

/* Begin to copy a warp's 16 G query rows, those past the tile's end as zeros. */
template <int G>
static __device__ __forceinline__ void fetch_queries(const work &w, row *place, int first) {
    int lane = threadIdx.x % 32, c = lane % CHUNKS;
#pragma unroll
    for (int i = 0; i < 4 * G; i++) {
        int r = first + lane / CHUNKS + 4 * i;
        bool there = r < w.n_rows;
        cp_async16(chunk_at(place, r, c),
                   w.queries + 16 * c + (int64_t)(there ? r : 0) * (3 * w.bytes), there ? 16 : 0);
    }
}

/* Begin to copy keys and values of tile j, those past the sequence's end as zeros. */
static __device__ __forceinline__ void fetch_tile(const work &w, row *place, int j) {
    int c = threadIdx.x % CHUNKS;
    const char *k = w.sequence + w.bytes + 16 * c;
#pragma unroll
    for (int i = 0; i < KEYS * CHUNKS / THREADS; i++) {
        int r = threadIdx.x / CHUNKS + i * (THREADS / CHUNKS), key = j * KEYS + r;
        bool there = key < w.n_keys;
        const char *from = k + (int64_t)(there ? key : 0) * (3 * w.bytes);
        cp_async16(chunk_at(place, r, c), from, there ? 16 : 0);
        cp_async16(chunk_at(place + KEYS, r, c), from + w.bytes, there ? 16 : 0);
    }
}

template <int G>
static __device__ __forceinline__ void load_queries(uint32_t (&q)[G][STEPS][4], row *place,
                                                    int first) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int g = 0; g < G; g++)
#pragma unroll
        for (int k = 0; k < STEPS; k++)
            ldmatrix_x4(q[g][k], chunk_at(place, first + 16 * g + lane % 16, 2 * k + lane / 16));
}

/* s = q k^T: each ldmatrix brings 16 keys x 16 columns, for two blocks of keys. */
template <int G>
static __device__ __forceinline__ void score_tile(float (&s)[G][BLOCKS][4],
                                                  const uint32_t (&q)[G][STEPS][4], row *keys) {
    int lane = threadIdx.x % 32, r = lane % 8 + 8 * (lane / 16), c = lane / 8 % 2;
#pragma unroll
    for (int n = 0; n < BLOCKS; n += 2) {
#pragma unroll
        for (int g = 0; g < G; g++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[g][n][i] = s[g][n + 1][i] = 0.0f;
#pragma unroll
        for (int k = 0; k < STEPS; k++) {
            uint32_t b[4];
            ldmatrix_x4(b, chunk_at(keys, 8 * n + r, 2 * k + c));
#pragma unroll
            for (int g = 0; g < G; g++) {
                mma_bf16(s[g][n], q[g][k], b[0], b[1]);
                mma_bf16(s[g][n + 1], q[g][k], b[2], b[3]);
            }
        }
    }
}

/* Keys from `left` on are past the sequence's end. */
template <int G>
static __device__ __forceinline__ void mask_tile(float (&s)[G][BLOCKS][4], int left) {
    int key = threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < BLOCKS; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int g = 0; g < G; g++)
                if (8 * n + key + i % 2 >= left) s[g][n][i] = -INFINITY;
}

/* top, sum and o move to where p of this tile stays below 2^SLACK. Half h of a group is its rows g
 * + 8 h. */
template <int G>
static __device__ __forceinline__ void raise_top(float (&o)[G][BLOCKS][4], float (&top)[G][2],
                                                 float (&sum)[G][2],
                                                 const float (&s)[G][BLOCKS][4]) {
    float factor[G][2];
    bool moved = false;
#pragma unroll
    for (int g = 0; g < G; g++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float high = fmaxf(s[g][0][2 * h], s[g][0][2 * h + 1]);
#pragma unroll
            for (int n = 1; n < BLOCKS; n++)
                high = fmaxf(high, fmaxf(s[g][n][2 * h], s[g][n][2 * h + 1]));
            high = fmaxf(high, shuffle_xor(high, 1));
            high = fmaxf(high, shuffle_xor(high, 2)) * SCALE;
            bool moves = high > top[g][h] + SLACK;
            factor[g][h] = moves ? exp2_approx(top[g][h] - high) : 1.0f;
            if (moves) top[g][h] = high;
            moved = moved || moves;
        }
    if (vote_ballot(moved) == 0) return;
#pragma unroll
    for (int g = 0; g < G; g++) {
        sum[g][0] *= factor[g][0];
        sum[g][1] *= factor[g][1];
#pragma unroll
        for (int n = 0; n < BLOCKS; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) o[g][n][i] *= factor[g][i / 2];
    }
}

/* p = exp2(s c - top) as A of the values' product, and into the lane's share of the row's sum. */
template <int G>
static __device__ __forceinline__ void weigh_tile(uint32_t (&p)[G][STEPS][4], float (&sum)[G][2],
                                                  const float (&top)[G][2],
                                                  const float (&s)[G][BLOCKS][4]) {
#pragma unroll
    for (int n = 0; n < BLOCKS; n++)
#pragma unroll
        for (int g = 0; g < G; g++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float even = exp2_approx(fma_f32(s[g][n][2 * h], SCALE, -top[g][h]));
                float odd = exp2_approx(fma_f32(s[g][n][2 * h + 1], SCALE, -top[g][h]));
                sum[g][h] += even + odd;
                p[g][n / 2][n % 2 * 2 + h] = pack_bf16(even, odd);
            }
}

/* o += p v: each ldmatrix brings 16 keys x 16 columns, for two blocks of columns. */
template <int G>
static __device__ __forceinline__ void add_values(float (&o)[G][BLOCKS][4],
                                                  const uint32_t (&p)[G][STEPS][4], row *values) {
    int lane = threadIdx.x % 32, r = lane % 16, c = lane / 16;
#pragma unroll
    for (int k = 0; k < STEPS; k++)
#pragma unroll
        for (int n = 0; n < BLOCKS; n += 2) {
            uint32_t b[4];
            ldmatrix_x4_trans(b, chunk_at(values, 16 * k + r, n + c));
#pragma unroll
            for (int g = 0; g < G; g++) {
                mma_bf16(o[g][n], p[g][k], b[0], b[1]);
                mma_bf16(o[g][n + 1], p[g][k], b[2], b[3]);
            }
        }
}

/* o / sum, by way of shared memory (the warp's own rows of a free place), so that whole rows are
 * written. */
template <int G>
static __device__ __forceinline__ void store_rows(const work &w, row *place, int first,
                                                  const float (&o)[G][BLOCKS][4],
                                                  const float (&sum)[G][2]) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int g = 0; g < G; g++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float all = sum[g][h] + shuffle_xor(sum[g][h], 1);
            float share = div_f32(1.0f, all + shuffle_xor(all, 2));
            int r = first + 16 * g + 8 * h + lane / 4;
#pragma unroll
            for (int n = 0; n < BLOCKS; n++)
                ((uint32_t *)chunk_at(place, r, n))[lane % 4] =
                    pack_bf16(o[g][n][2 * h] * share, o[g][n][2 * h + 1] * share);
        }
    sync_warp();
#pragma unroll
    for (int i = 0; i < 4 * G; i++) {
        int r = first + lane / CHUNKS + 4 * i, c = lane % CHUNKS;
        if (r < w.n_rows)
            *(uint4 *)(w.results + (int64_t)r * w.bytes + 16 * c) = *chunk_at(place, r, c);
    }
}

/* A tile of at most 64 G rows. Copies of a thread are one group each: queries, tile 0, tile 1, ..;
 * a group may be empty. */
template <int G> static __device__ __forceinline__ void attend(const work &w) {
    int first = threadIdx.x / 32 * (16 * G), n_tiles = (w.n_keys + KEYS - 1) / KEYS, at = 0,
        next = 2;
    bool busy = first < w.n_rows; /* the same in a warp */
    if (busy) fetch_queries<G>(w, w.ring + next * PLACE, first);
    cp_commit();
    fetch_tile(w, w.ring, 0);
    cp_commit();
    if (n_tiles > 1) fetch_tile(w, w.ring + PLACE, 1);
    cp_commit();

    uint32_t q[G][STEPS][4];
    float o[G][BLOCKS][4] = {}, top[G][2], sum[G][2] = {};
#pragma unroll
    for (int g = 0; g < G; g++) top[g][0] = top[g][1] = -INFINITY;
    cp_wait<2>();
    sync_warp();
    if (busy) load_queries<G>(q, w.ring + next * PLACE, first);

    for (int j = 0; j < n_tiles; j++) {
        cp_wait<1>();
        sync_block(); /* tile j has landed for all; tile j - 1, before tile 0 the queries, are in
                       * nobody's use */
        if (j + 2 < n_tiles) fetch_tile(w, w.ring + next * PLACE, j + 2);
        cp_commit();
        if (busy) {
            float s[G][BLOCKS][4];
            uint32_t p[G][STEPS][4];
            row *keys = w.ring + at * PLACE;
            score_tile<G>(s, q, keys);
            if (j == n_tiles - 1) mask_tile<G>(s, w.n_keys - j * KEYS);
            raise_top<G>(o, top, sum, s);
            weigh_tile<G>(p, sum, top, s);
            add_values<G>(o, p, keys + KEYS);
        }
        next = at;
        at = at == PLACES - 1 ? 0 : at + 1;
    }
    /* Place `at` held tile n_tiles - 3 or the queries: behind the last barrier nobody reads it,
     * nothing is under way. */
    if (busy) store_rows<G>(w, w.ring + at * PLACE, first, o, sum);
}

static __global__ void __launch_bounds__(THREADS, 2)
    k_attend_bf16(ms_bf16 *heads_out, const ms_bf16 *qkv, const ms_gpu_query_tile *tiles,
                  int inner) {
    Carve c = carve_begin();
    ms_gpu_query_tile tile = tiles[blockIdx.x];
    int bytes = 2 * inner, column = (int)blockIdx.y * (int)sizeof(row);
    work w;
    w.ring = carve<row>(c, PLACES * PLACE);
    w.results = (char *)heads_out + (int64_t)tile.first * bytes + column;
    w.queries = (const char *)qkv + (int64_t)tile.first * (3 * bytes) + column;
    w.sequence = (const char *)qkv + (int64_t)tile.start * (3 * bytes) + column;
    w.bytes = bytes;
    w.n_rows = tile.end - tile.first < MS_GPU_QUERY_ROWS ? tile.end - tile.first
                                                         : MS_GPU_QUERY_ROWS;
    w.n_keys = tile.end - tile.start;
    if (w.n_rows <= SMALL)
        attend<1>(w);
    else
        attend<2>(w);
}

/* A second kernel for some device would be chosen here, and only here; this one is then its
 * reference. */
extern "C" int ms_attend_bf16_cuda(ms_gpu_stream *s, ms_bf16 *heads_out, const ms_bf16 *qkv,
                                   const ms_gpu_query_tile *tiles, int64_t n_tiles, int64_t heads,
                                   msim_error *err) {
    assert(n_tiles > 0 && n_tiles <= INT32_MAX && heads > 0 && heads <= 65535);
    assert((uintptr_t)heads_out % 16 == 0 && (uintptr_t)qkv % 16 == 0);
    dim3 grid((unsigned)n_tiles, (unsigned)heads);
    cudaError_t rc = launch(k_attend_bf16, grid, dim3(THREADS), carve_bytes<row>(PLACES * PLACE),
                            (cudaStream_t)ms_gpu_stream_raw(s), heads_out, qkv, tiles,
                            (int)(heads * HEAD));
    return ms_gpu_check_launch((int)rc, "k_attend_bf16", err);
}
