/* Pooling: weighted means of the final rows of each sequence. docs/MODEL.md, Pooling; reference
 * cpu/encoder/encoder.c pool_item; tests test/gpu/test_norms.c. L2 normalising stays on the host
 * (msim_l2_normalize): it is the caller's choice and costs nothing beside the download of the
 * vectors.
 *
 * Two kernels: sums over chunks of 64 tokens, then chunks in order. Chunks are counted from the
 * sequence's first token, so the shape of every sum is the sequence's alone. Sums are in double, as
 * on the CPU: a component's error is at most n 2^-53 sum |weight * row| before its rounding to f32,
 * for n tokens. One double addition for each element read is cheap even where double is slow (1/64
 * of the rate): the rows' bytes cost more. Bench: gpu-bench, row pool. */
#include "kernels/prim.cuh"
#include "kernels/kernels.h"
#include <assert.h>

enum {
    CHUNK = 64,    /* tokens of one partial sum */
    THREADS = 128, /* of a block; each takes 4 columns at a time */
    VEC = 4,
    AT_ONCE = 8 /* rows whose loads are under way together */
};

/* A token's weight by the class of its id (ms_token_classes); is_mean: 1 for all. */
namespace {
struct Weights {
    float of[MS_MAX_CLASSES];
    int32_t end[MS_MAX_CLASSES]; /* 0: no such class */
    int is_mean;
};
} // namespace

/* Partial sums of sequence i begin at this place: it grows by at least ceil(length / CHUNK) from
 * each sequence to the next, so no list of places is needed. */
static __device__ __forceinline__ int64_t first_place(const int64_t *starts, int64_t i) {
    return starts[i] / CHUNK + i;
}

static int64_t n_places(int64_t n_tokens, int64_t n_seq) { return n_tokens / CHUNK + n_seq; }

/* Sums of chunks.
 *   shapes     sums f64 [places, dim], weight_sums f64 [places], rows f32 [n, dim], ids [n], starts
 *              [n_seq + 1]
 *   grid       a block of 128 threads for each place; it finds its sequence by bisection, and
 *              leaves when the sequence has fewer chunks; a thread owns columns 4 t .. 4 t + 3,
 *              then those 512 further; no shared memory
 *   numerics   double, tokens in order
 *   needs      dim a multiple of 4, rows 16-byte aligned
 *   bytes      4 n dim read, 8 n dim / 64 written; 2 n dim flops
 *   reference  cpu/encoder/encoder.c pool_item; test_norms.c */
static __global__ void __launch_bounds__(THREADS)
    k_pool_chunks_f64(double *sums, double *weight_sums, const float *rows, const int32_t *ids,
                      const int64_t *starts, int64_t n_seq, int dim, Weights weights) {
    int64_t place = blockIdx.x, seq = 0;
    for (int64_t hi = n_seq; hi - seq > 1;) {
        int64_t mid = seq + (hi - seq) / 2;
        if (first_place(starts, mid) <= place)
            seq = mid;
        else
            hi = mid;
    }
    int64_t first = starts[seq] + (place - first_place(starts, seq)) * CHUNK, end = starts[seq + 1];
    if (first >= end) return;
    int n = end - first < CHUNK ? (int)(end - first) : CHUNK;
    for (int c = (int)threadIdx.x * VEC; c < dim; c += THREADS * VEC) {
        const float *row = rows + first * dim + c;
        double x = 0.0, y = 0.0, z = 0.0, w = 0.0, weight_sum = 0.0;
        for (int t0 = 0; t0 < n; t0 += AT_ONCE) {
            float4 v[AT_ONCE];
            int32_t id[AT_ONCE];
#pragma unroll
            for (int t = 0; t < AT_ONCE; t++) {
                bool is_there = t0 + t < n;
                v[t] = is_there ? *(const float4 *)(row + (int64_t)(t0 + t) * dim)
                                : float4{0.0f, 0.0f, 0.0f, 0.0f};
                id[t] = is_there ? ids[first + t0 + t] : 0;
            }
#pragma unroll
            for (int t = 0; t < AT_ONCE; t++) {
                float chosen = 1.0f;
#pragma unroll
                for (int k = MS_MAX_CLASSES - 1; k >= 0; k--)
                    chosen = id[t] < weights.end[k] ? weights.of[k] : chosen;
                double weight = weights.is_mean ? 1.0 : (double)chosen;
                if (t0 + t >= n) continue;
                x = fma_f64(weight, (double)v[t].x, x); /* the product is exact */
                y = fma_f64(weight, (double)v[t].y, y);
                z = fma_f64(weight, (double)v[t].z, z);
                w = fma_f64(weight, (double)v[t].w, w);
                weight_sum += weight;
            }
        }
        double2 *at = (double2 *)(sums + place * dim + c);
        at[0] = double2{x, y};
        at[1] = double2{z, w};
        if (c == 0) weight_sums[place] = weight_sum;
    }
}

/* Means: chunks of a sequence in order, then the quotient.
 *   shapes     out f32 [n_seq, dim]; the others as above
 *   grid       a block of 128 threads for each sequence; a thread owns columns t, t + 128, ..
 *   numerics   sums in double, rounded to f32; the quotient in f32; an empty sequence gives 0 /
 *              least = 0
 *   bytes      8 n dim / 64 read, 4 n_seq dim written
 *   reference  cpu/encoder/encoder.c pool_item; test_norms.c */
static __global__ void __launch_bounds__(THREADS)
    k_pool_mean_f32(float *out, const double *sums, const double *weight_sums,
                    const int64_t *starts, int dim, float least) {
    int64_t seq = blockIdx.x, place = first_place(starts, seq);
    int64_t n = (starts[seq + 1] - starts[seq] + CHUNK - 1) / CHUNK;
    double weight_sum = 0.0;
    for (int64_t i = 0; i < n; i++) weight_sum += weight_sums[place + i];
    float divisor = (float)weight_sum > least ? (float)weight_sum : least;
    for (int c = (int)threadIdx.x; c < dim; c += THREADS) {
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) sum += sums[(place + i) * dim + c];
        out[seq * dim + c] = div_f32((float)sum, divisor);
    }
}

extern "C" size_t ms_pool_scratch_bytes(int64_t n_tokens, int64_t n_seq, int64_t dim) {
    size_t places = (size_t)n_places(n_tokens, n_seq), each, all;
    if (__builtin_mul_overflow((size_t)dim + 1, sizeof(double), &each) ||
        __builtin_mul_overflow(places, each, &all))
        return SIZE_MAX; /* which no allocation gives */
    return all;
}

extern "C" int ms_pool_cuda(ms_gpu_stream *s, float *out, const float *rows, const int32_t *ids,
                            const int64_t *starts, int64_t n_seq, int64_t n_tokens, int64_t dim,
                            const ms_token_classes *classes, const float *class_weights,
                            void *scratch, msim_error *err) {
    int64_t places = n_places(n_tokens, n_seq);
    double *sums = (double *)scratch, *weight_sums = sums + places * dim;
    Weights weights = {};
    weights.is_mean = class_weights == NULL;
    cudaStream_t stream = (cudaStream_t)ms_gpu_stream_raw(s);
    assert(dim >= 64 && dim % 64 == 0 && (uintptr_t)rows % 16 == 0 &&
           (uintptr_t)scratch % 16 == 0 && places <= INT32_MAX);
    if (n_seq == 0) return MSIM_OK;
    for (int i = 0; class_weights && i < classes->n; i++) {
        weights.of[i] = class_weights[i];
        weights.end[i] = classes->end[i];
    }
    int rc = MSIM_OK;
    if (n_tokens > 0)
        rc = ms_gpu_check_launch(launch(k_pool_chunks_f64, dim3((unsigned)places), dim3(THREADS), 0,
                                        stream, sums, weight_sums, rows, ids, starts, n_seq,
                                        (int)dim, weights),
                                 "k_pool_chunks_f64", err);
    if (rc < 0) return rc;
    return ms_gpu_check_launch(launch(k_pool_mean_f32, dim3((unsigned)n_seq), dim3(THREADS), 0,
                                      stream, out, sums, weight_sums, starts, (int)dim,
                                      class_weights ? 1e-6f : 1e-9f),
                               "k_pool_mean_f32", err);
}
