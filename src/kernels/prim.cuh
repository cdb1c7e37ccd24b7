/* What kernels are written with, and the only thing they include beside their own headers: copies,
 * matrix operations, shuffles, barriers, shared memory, launches. This file holds the PTX; where a
 * kernel is compiled as C++ (test/emu: a block's threads as fibers on a CPU) emu_prim.h gives the
 * same names by their definitions. So kernels hold neither asm nor #ifdef, and every one runs on
 * machines without a GPU. docs/GPU.md.
 *
 * Rules that make this work: a barrier stands alone on its source line; a kernel owns nothing that
 * must be destroyed; arrays in shared memory come from carve or SHARED_VAR and are never assumed to
 * be neighbours; matrix operations sum in f32 in an order and with a rounding that nothing may
 * depend on (PTX manual, mma). Contraction is off (--fmad=false): a multiply-add is fused exactly
 * where fma_f32 or fma_f64 stands. */
#ifndef MS_KERNELS_PRIM_CUH
#define MS_KERNELS_PRIM_CUH
#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* Functions that host and kernels share (base/inline.h) are device functions in a kernel's file. */
#define MS_INLINE static __device__ __forceinline__

#if !defined(__CUDACC__)
#include "emu_prim.h"
#else
#include <cuda_runtime.h>

/* ---- bfloat16: bits, so that arithmetic on it does not compile ---- */

struct bf16 {
    uint16_t bits;
};

static __device__ __forceinline__ float to_f32(bf16 x) {
    return __uint_as_float((uint32_t)x.bits << 16);
}

/* Two values to the nearest, ties to even; `low` fills the lower half. */
static __device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

static __device__ __forceinline__ bf16 to_bf16(float x) {
    return bf16{(uint16_t)pack_bf16(x, 0.0f)};
}
static __device__ __forceinline__ float low_f32(uint32_t pair) {
    return __uint_as_float(pair << 16);
}
static __device__ __forceinline__ float high_f32(uint32_t pair) {
    return __uint_as_float(pair & 0xffff0000u);
}

/* ---- Numbers: each operation rounds once, to the nearest even ---- */

static __device__ __forceinline__ float fma_f32(float a, float b, float c) {
    return __fmaf_rn(a, b, c);
}
static __device__ __forceinline__ double fma_f64(double a, double b, double c) {
    return __fma_rn(a, b, c);
}
static __device__ __forceinline__ double sqrt_f64(double x) { return __dsqrt_rn(x); }
static __device__ __forceinline__ double div_f64(double a, double b) { return __ddiv_rn(a, b); }
static __device__ __forceinline__ float sqrt_f32(float x) { return __fsqrt_rn(x); }
static __device__ __forceinline__ float div_f32(float a, float b) { return __fdiv_rn(a, b); }
/* 2^x, within 2 ulp (PTX manual, ex2.approx.ftz); -infinity gives 0. */
static __device__ __forceinline__ float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
/* The larger of two; NaN where one is. */
static __device__ __forceinline__ float max_nan(float a, float b) {
    float y;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
}
/* f16 bits to f32, exact. */
static __device__ __forceinline__ float f32_of_f16(uint16_t bits) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(bits));
    return y;
}

/* ---- Shared memory ---- */

struct Carve {
    size_t used;
};

static __device__ __forceinline__ unsigned char *shared_arena() {
    extern __shared__ __align__(1024) unsigned char arena[];
    return arena;
}

/* The launch's dynamic shared memory, array by array: each begins on 128 bytes. carve_bytes counts
 * for the host. */
static __device__ __forceinline__ Carve carve_begin() { return Carve{0}; }
template <typename T> static __device__ __forceinline__ T *carve(Carve &c, size_t n) {
    T *p = (T *)(shared_arena() + c.used);
    c.used += (n * sizeof(T) + 127) / 128 * 128;
    return p;
}
/* SHARED_VAR(float, x, 32): `x` is a float [32] of the block. */
#define SHARED_VAR(T, name, n) __shared__ __align__(16) T name[n]

/* ---- Barriers, shuffles, votes: all 32 lanes of a warp, or all threads of a block, take part */

static __device__ __forceinline__ void sync_block() { __syncthreads(); }
static __device__ __forceinline__ void sync_warp() { __syncwarp(); }
template <typename T> static __device__ __forceinline__ T shuffle(T v, int lane, int width = 32) {
    return __shfl_sync(0xffffffffu, v, lane, width);
}
template <typename T>
static __device__ __forceinline__ T shuffle_xor(T v, int lanes, int width = 32) {
    return __shfl_xor_sync(0xffffffffu, v, lanes, width);
}
template <typename T>
static __device__ __forceinline__ T shuffle_down(T v, int by, int width = 32) {
    return __shfl_down_sync(0xffffffffu, v, by, width);
}
template <typename T> static __device__ __forceinline__ T shuffle_up(T v, int by, int width = 32) {
    return __shfl_up_sync(0xffffffffu, v, by, width);
}
static __device__ __forceinline__ uint32_t vote_ballot(bool yes) {
    return __ballot_sync(0xffffffffu, yes);
}
static __device__ __forceinline__ int count_bits(uint32_t x) { return __popc(x); }

/* ---- Atomics, on global or shared memory; they return the value before ---- */

static __device__ __forceinline__ uint32_t atomic_add(uint32_t *at, uint32_t v) {
    return atomicAdd(at, v);
}
static __device__ __forceinline__ uint32_t atomic_max(uint32_t *at, uint32_t v) {
    return atomicMax(at, v);
}

/* ---- Loads and copies ---- */

/* 16 or 4 bytes of global memory that nothing writes while the kernel runs, and that are read once:
 * not kept in L1. */
static __device__ __forceinline__ uint4 load_once16(const void *at) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at));
    return v;
}
/* 16 bytes to global memory in one store: the compiler may take an ordinary one apart. */
static __device__ __forceinline__ void store16(void *to, float4 v) {
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v.x), "f"(v.y), "f"(v.z),
                 "f"(v.w)
                 : "memory");
}
static __device__ __forceinline__ uint32_t load_once4(const void *at) {
    uint32_t v;
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(at));
    return v;
}

static __device__ __forceinline__ uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* Copy 16 bytes to shared memory without waiting: n_bytes of them from global memory, zeros for the
 * rest. Both addresses are multiples of 16, also when n_bytes is 0. */
static __device__ __forceinline__ void cp_async16(void *to_shared, const void *from_global,
                                                  int n_bytes = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)),
                 "l"(from_global), "r"(n_bytes)
                 : "memory");
}
/* This thread's copies since the last commit become a group. */
static __device__ __forceinline__ void cp_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Wait until all but the newest N of this thread's groups have landed; other threads see them after
 * a barrier. */
template <int N> static __device__ __forceinline__ void cp_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* ---- Matrix operations of a warp (PTX manual, mma.m16n8k16 and .m16n8k32) */

/* 8 x 8 matrices of 16-bit elements from shared memory: lane 8 i + r names the 16 bytes of row r of
 * matrix i. */
static __device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
static __device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
}
/* The same, each matrix transposed. */
static __device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* d [16, 8] += a [16, 16] b [16, 8], bf16 in, f32 out. */
static __device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                                uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, "
                 "%6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/* d [16, 8] += a [16, 32] b [32, 8], signed 8-bit in, 32-bit out, exact modulo 2^32. */
static __device__ __forceinline__ void mma_s8(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                              uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, "
                 "%7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* ---- Launch ---- */

template <typename... P, typename... A>
static cudaError_t start_kernel(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                                cudaStream_t stream, A... args) {
    kernel<<<grid, block, shared_bytes, stream>>>(P(args)...);
    return cudaGetLastError();
}

#endif

/* For both compilers, which have the same runtime behind them. */

/* Allow a kernel more than 48 KiB of shared memory on the current device. The runtime keeps that
 * for as long as the process uses the device, so it is asked once and not at every launch: each
 * thread remembers what it has asked for, and asks again where two kernels share a place. */
static cudaError_t allow_shared(const void *kernel, size_t shared_bytes) {
    enum { PLACES = 32 };
    static thread_local struct {
        const void *kernel;
        int device;
        size_t bytes;
    } asked[PLACES];
    if (shared_bytes <= 48 * 1024) return cudaSuccess;
    int device = 0;
    cudaError_t rc = cudaGetDevice(&device);
    if (rc != cudaSuccess) return rc;
    auto &at = asked[((uintptr_t)kernel / 16 + (uintptr_t)device) % PLACES];
    if (at.kernel == kernel && at.device == device && at.bytes >= shared_bytes) return cudaSuccess;
    rc = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              (int)shared_bytes);
    if (rc != cudaSuccess) return rc;
    at.kernel = kernel;
    at.device = device;
    at.bytes = shared_bytes;
    return rc;
}

/* Start kernel(args...) on a stream, with shared_bytes of dynamic shared memory (more than 48 KiB
 * too). */
template <typename... P, typename... A>
static cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                          cudaStream_t stream, A... args) {
    cudaError_t rc = allow_shared((const void *)kernel, shared_bytes);
    return rc != cudaSuccess ? rc
                             : start_kernel(kernel, grid, block, shared_bytes, stream, args...);
}

/* Bytes that one carve of n items takes. */
template <typename T> static constexpr size_t carve_bytes(size_t n) {
    return (n * sizeof(T) + 127) / 128 * 128;
}

#endif
