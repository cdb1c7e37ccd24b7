/* prim.cuh for a C++ compiler: every name of its PTX half, carried out by its definition on a CPU.
 * Kernels reach this through prim.cuh alone. A block's threads are fibers (emu_block.cpp); an
 * operation of a warp is done by the last lane that reaches it (emu_warp.cpp). Whatever breaks a
 * rule stops the process with one line that names kernel, source line, block and thread; so every
 * function takes the place that calls it. docs/GPU.md. */
#ifndef EMU_PRIM_H
#define EMU_PRIM_H
#include <cmath>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "cuda_runtime.h"

#define EMU_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()

/* ---- The language ---- */

#define __global__
#define __device__
#define __host__
#define __constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
#define EMU_VECTOR2(T, N)             \
    struct alignas(2 * sizeof(T)) N { \
        T x, y;                       \
    };                                \
    static inline N make_##N(T x, T y) { return N{x, y}; }
#define EMU_VECTOR4(T, N, A) \
    struct alignas(A) N {    \
        T x, y, z, w;        \
    };                       \
    static inline N make_##N(T x, T y, T z, T w) { return N{x, y, z, w}; }
EMU_VECTOR2(float, float2)
EMU_VECTOR2(double, double2)
EMU_VECTOR2(int, int2)
EMU_VECTOR2(unsigned, uint2)
EMU_VECTOR2(long long, longlong2)
EMU_VECTOR4(float, float4, 16)
EMU_VECTOR4(int, int4, 16)
EMU_VECTOR4(unsigned, uint4, 16)

/* Where the running thread is. */
struct EmuHere {
    uint3 thread, block;
    dim3 threads, blocks;
};
extern "C" const EmuHere *emu_here(void);
#define threadIdx (emu_here()->thread)
#define blockIdx (emu_here()->block)
#define blockDim (emu_here()->threads)
#define gridDim (emu_here()->blocks)

/* CUDA has these for every pair of types; of different types none here, so that nothing is
 * converted unseen. */
template <typename T> static inline T min(T a, T b) { return b < a ? b : a; }
template <typename T> static inline T max(T a, T b) { return a < b ? b : a; }

template <typename To, typename From> static inline To emu_same_bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "one size");
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}
static inline float __uint_as_float(unsigned x) { return emu_same_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return emu_same_bits<unsigned>(x); }
static inline float __int_as_float(int x) { return emu_same_bits<float>(x); }
static inline int __float_as_int(float x) { return emu_same_bits<int>(x); }
static inline double __longlong_as_double(long long x) { return emu_same_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return emu_same_bits<long long>(x); }

/* ---- bfloat16 and numbers ---- */

struct bf16 {
    uint16_t bits;
};
static inline float to_f32(bf16 x) { return __uint_as_float((uint32_t)x.bits << 16); }
/* A NaN becomes the one that cvt.rn.bf16x2 gives (PTX manual, cvt: canonical NaN 0x7fff). */
static inline uint32_t emu_bf16_bits(float x) {
    uint32_t u = __float_as_uint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}
static inline uint32_t pack_bf16(float low, float high) {
    return emu_bf16_bits(low) | emu_bf16_bits(high) << 16;
}
static inline bf16 to_bf16(float x) { return bf16{(uint16_t)emu_bf16_bits(x)}; }
static inline float low_f32(uint32_t pair) { return __uint_as_float(pair << 16); }
static inline float high_f32(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

static inline float fma_f32(float a, float b, float c) { return fmaf(a, b, c); }
static inline double fma_f64(double a, double b, double c) { return fma(a, b, c); }
static inline double sqrt_f64(double x) { return sqrt(x); }
static inline double div_f64(double a, double b) { return a / b; }
static inline float sqrt_f32(float x) { return sqrtf(x); }
static inline float div_f32(float a, float b) { return a / b; }
extern "C" float emu_exp2(float x);
static inline float exp2_approx(float x) { return emu_exp2(x); }
static inline float max_nan(float a, float b) { return a != a ? a : b != b ? b : fmaxf(a, b); }
extern "C" float emu_f32_of_f16(uint16_t bits);
static inline float f32_of_f16(uint16_t bits) { return emu_f32_of_f16(bits); }

/* ---- Shared memory ---- */

extern "C" {
void *emu_carve(size_t offset, size_t n_bytes, const char *file, int line);
void *emu_shared_var(const void *site, size_t n_bytes, const char *file, int line);
uint32_t emu_shared_address(const void *p);
}

struct Carve {
    size_t used;
};
static inline Carve carve_begin() { return Carve{0}; }
template <typename T> static inline T *carve(Carve &c, size_t n, EMU_AT) {
    T *p = (T *)emu_carve(c.used, n * sizeof(T), file, line);
    c.used += (n * sizeof(T) + 127) / 128 * 128;
    return p;
}
/* The address of a static names the site, and each instance of a template has its own. */
#define SHARED_VAR(T, name, n)             \
    static const char emu_site_##name = 0; \
    T(&name)[n] = *(T(*)[n])emu_shared_var(&emu_site_##name, sizeof(T[n]), __FILE__, __LINE__)
static inline uint32_t shared_address(const void *p) { return emu_shared_address(p); }

/* ---- Barriers, shuffles, votes ---- */

enum EmuShuffle { EMU_SHUFFLE_INDEX, EMU_SHUFFLE_XOR, EMU_SHUFFLE_DOWN, EMU_SHUFFLE_UP };
extern "C" {
void emu_sync_block(const char *file, int line);
void emu_sync_warp(const char *file, int line);
uint64_t emu_shuffle(int kind, uint64_t bits, int by, int width, const char *file, int line);
uint32_t emu_ballot(int yes, const char *file, int line);
}

static inline void sync_block(EMU_AT) { emu_sync_block(file, line); }
static inline void sync_warp(EMU_AT) { emu_sync_warp(file, line); }
template <typename T>
static inline T emu_shuffled(int kind, T v, int by, int width, const char *file, int line) {
    static_assert(std::is_arithmetic<T>::value && (sizeof(T) == 4 || sizeof(T) == 8),
                  "what __shfl_sync takes");
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    bits = emu_shuffle(kind, bits, by, width, file, line);
    memcpy(&v, &bits, sizeof v);
    return v;
}
template <typename T> static inline T shuffle(T v, int lane, int width = 32, EMU_AT) {
    return emu_shuffled(EMU_SHUFFLE_INDEX, v, lane, width, file, line);
}
template <typename T> static inline T shuffle_xor(T v, int lanes, int width = 32, EMU_AT) {
    return emu_shuffled(EMU_SHUFFLE_XOR, v, lanes, width, file, line);
}
template <typename T> static inline T shuffle_down(T v, int by, int width = 32, EMU_AT) {
    return emu_shuffled(EMU_SHUFFLE_DOWN, v, by, width, file, line);
}
template <typename T> static inline T shuffle_up(T v, int by, int width = 32, EMU_AT) {
    return emu_shuffled(EMU_SHUFFLE_UP, v, by, width, file, line);
}
static inline uint32_t vote_ballot(bool yes, EMU_AT) { return emu_ballot(yes, file, line); }
static inline int count_bits(uint32_t x) { return __builtin_popcount(x); }

/* ---- Atomics, loads, copies ---- */

extern "C" {
uint32_t emu_atomic_add(uint32_t *at, uint32_t v, const char *file, int line);
uint32_t emu_atomic_max(uint32_t *at, uint32_t v, const char *file, int line);
void emu_load_once(void *to, const void *at, size_t n_bytes, const char *file, int line);
void emu_cp_async16(void *to, const void *from, int n_bytes, const char *file, int line);
void emu_cp_commit(const char *file, int line);
void emu_cp_wait(int newest, const char *file, int line);
}

static inline uint32_t atomic_add(uint32_t *at, uint32_t v, EMU_AT) {
    return emu_atomic_add(at, v, file, line);
}
static inline uint32_t atomic_max(uint32_t *at, uint32_t v, EMU_AT) {
    return emu_atomic_max(at, v, file, line);
}
static inline uint4 load_once16(const void *at, EMU_AT) {
    uint4 v;
    emu_load_once(&v, at, 16, file, line);
    return v;
}
static inline void store16(void *to, float4 v) { *(float4 *)to = v; }
static inline uint32_t load_once4(const void *at, EMU_AT) {
    uint32_t v;
    emu_load_once(&v, at, 4, file, line);
    return v;
}
static inline void cp_async16(void *to_shared, const void *from_global, int n_bytes = 16, EMU_AT) {
    emu_cp_async16(to_shared, from_global, n_bytes, file, line);
}
static inline void cp_commit(EMU_AT) { emu_cp_commit(file, line); }
template <int N> static inline void cp_wait(EMU_AT) { emu_cp_wait(N, file, line); }

/* ---- Matrix operations ---- */

extern "C" {
void emu_ldmatrix(uint32_t *r, int n, int trans, const void *row, const char *file, int line);
void emu_mma_bf16(float *d, const uint32_t *a, uint32_t b0, uint32_t b1, const char *file,
                  int line);
void emu_mma_s8(int32_t *d, const uint32_t *a, uint32_t b0, uint32_t b1, const char *file,
                int line);
}

static inline void ldmatrix_x4(uint32_t (&r)[4], const void *row, EMU_AT) {
    emu_ldmatrix(r, 4, 0, row, file, line);
}
static inline void ldmatrix_x2(uint32_t (&r)[2], const void *row, EMU_AT) {
    emu_ldmatrix(r, 2, 0, row, file, line);
}
static inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row, EMU_AT) {
    emu_ldmatrix(r, 4, 1, row, file, line);
}
static inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                            EMU_AT) {
    emu_mma_bf16(d, a, b0, b1, file, line);
}
static inline void mma_s8(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                          EMU_AT) {
    emu_mma_s8(d, a, b0, b1, file, line);
}

/* ---- Launch ---- */

/* A kernel with its arguments, as a stream keeps it until it runs. */
struct EmuCall {
    const void *kernel;
    size_t n_bytes; /* of the object, arguments included */
    virtual void run() const = 0;
    virtual ~EmuCall() {}
};
/* Takes the call over. */
cudaError_t emu_launch(EmuCall *call, dim3 grid, dim3 block, size_t shared_bytes,
                       cudaStream_t stream);

template <typename... P> struct EmuCallOf final : EmuCall {
    void (*entry)(P...);
    std::tuple<P...> args;
    EmuCallOf(void (*entry_)(P...), P... args_) : entry(entry_), args(args_...) {
        static_assert(sizeof(std::tuple<P...>) <= 4096, "what a launch passes");
        kernel = (const void *)entry;
        n_bytes = sizeof *this;
    }
    void run() const override { std::apply(entry, args); }
};

template <typename... P, typename... A>
static inline cudaError_t start_kernel(void (*kernel)(P...), dim3 grid, dim3 block,
                                       size_t shared_bytes, cudaStream_t stream, A... args) {
    return emu_launch(new EmuCallOf<P...>(kernel, P(args)...), grid, block, shared_bytes, stream);
}

#endif
