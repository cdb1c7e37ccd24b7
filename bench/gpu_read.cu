/* Contract: gpu_read.h. */
#include "gpu_read.h"
#include "kernels/prim.cuh"

enum { READ_THREADS = 256, READ_AHEAD = 8 };

/* purpose: read every byte once, with eight 16-byte loads of a thread in flight grid: any number of
 * blocks of 256 threads; each takes the next 8 x 256 vectors, a grid further at a time numerics:
 * none: the words are combined by exclusive or, so that no load can be left out bytes: n_vectors x
 * 16 read, flops: 0; bench row: 'read' of bench/gpu_bench.c, whose test compares nothing */
static __global__ void __launch_bounds__(READ_THREADS)
    k_read_u32(uint32_t *sink, const uint4 *data, size_t n_vectors) {
    size_t step = (size_t)gridDim.x * READ_THREADS * READ_AHEAD;
    uint32_t all = 0;
    for (size_t at = (size_t)blockIdx.x * READ_THREADS * READ_AHEAD + threadIdx.x; at < n_vectors;
         at += step) {
        uint4 v[READ_AHEAD];
#pragma unroll
        for (int i = 0; i < READ_AHEAD; i++) {
            size_t from = at + (size_t)i * READ_THREADS;
            v[i] = load_once16(data + (from < n_vectors ? from : at));
        }
#pragma unroll
        for (int i = 0; i < READ_AHEAD; i++) all ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
    }
    if (all == 0x5eed1234u) atomic_add(sink, 1u);
}

extern "C" int ms_bench_read_cuda(ms_gpu_stream *s, uint32_t *sink, const void *data,
                                  size_t n_bytes, msim_error *err) {
    size_t n_vectors = n_bytes / 16, per_block = (size_t)READ_THREADS * READ_AHEAD;
    size_t blocks = (n_vectors + per_block - 1) / per_block;
    if (blocks > 4096) blocks = 4096;
    if (blocks == 0) return MSIM_OK;
    int rc = launch(k_read_u32, dim3((unsigned)blocks), dim3(READ_THREADS), 0,
                    (cudaStream_t)ms_gpu_stream_raw(s), sink, (const uint4 *)data, n_vectors);
    return ms_gpu_check_launch(rc, "k_read_u32", err);
}

/* purpose: rows of random numbers without the host. grid: any number of blocks of 256 threads.
 * numerics: each value from its index alone, near enough to normal, of variance 1/3: the sum of
 * four 16-bit numbers of a hash (the finaliser of MurmurHash3). bytes: 4 n written, 16 a thread */
static __global__ void __launch_bounds__(READ_THREADS)
    k_fill_f32(float4 *to, size_t n_vectors, uint32_t seed) {
    size_t step = (size_t)gridDim.x * READ_THREADS;
    for (size_t at = (size_t)blockIdx.x * READ_THREADS + threadIdx.x; at < n_vectors; at += step) {
        float v[4];
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            uint64_t h = (at * 4 + i + 1) * 0x9e3779b97f4a7c15u + seed;
            h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
            h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
            h ^= h >> 33;
            uint32_t sum = (uint32_t)(h & 0xffff) + (uint32_t)(h >> 16 & 0xffff) +
                           (uint32_t)(h >> 32 & 0xffff) + (uint32_t)(h >> 48);
            v[i] = (float)sum * 0x1p-16f - 2.0f;
        }
        to[at] = make_float4(v[0], v[1], v[2], v[3]);
    }
}

extern "C" int ms_bench_fill_cuda(ms_gpu_stream *s, float *to, size_t n, uint32_t seed,
                                  msim_error *err) {
    size_t blocks = (n / 4 + READ_THREADS - 1) / READ_THREADS;
    if (blocks > 4096) blocks = 4096;
    if (blocks == 0) return MSIM_OK;
    int rc = launch(k_fill_f32, dim3((unsigned)blocks), dim3(READ_THREADS), 0,
                    (cudaStream_t)ms_gpu_stream_raw(s), (float4 *)to, n / 4, seed);
    return ms_gpu_check_launch(rc, "k_fill_f32", err);
}
