/* Every primitive against its definition in the PTX manual, spelled out here once more: where each
 * element of a fragment lies is found with one element at a time, which a product of full matrices
 * cannot show (k permuted alike in A and B gives the same sums). make gpu-check repeats what it can
 * on a GPU. */
#include "emu.h"
#include "kernel_test.h"

/* ---- Where a thread is ---- */

static __global__ void k_places(uint32_t *out) {
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    atomic_add(&out[block * blockDim.x * blockDim.y * blockDim.z + thread], 1);
}

static void test_places(void **) {
    Buffer<uint32_t> out(std::vector<uint32_t>(2 * 3 * 2 * 40));
    assert_int_equal(run_kernel(k_places, dim3(2, 3, 2), dim3(5, 4, 2), 0, out.p), cudaSuccess);
    for (uint32_t n : out.get()) assert_int_equal(n, 1);
}

/* ---- Numbers ---- */

static void test_bf16(void **) {
    const struct {
        float x;
        uint16_t bits;
    } cases[] = {{1.0f, 0x3f80},
                 {-2.5f, 0xc020},
                 {1.0f + 0x1p-8f, 0x3f80},
                 {1.0f + 3 * 0x1p-8f, 0x3f82},
                 {1.0f + 0x1.01p-8f, 0x3f81},
                 {INFINITY, 0x7f80},
                 {3.4e38f, 0x7f80},
                 {0x1p-133f, 0x0001},
                 {-0.0f, 0x8000},
                 {NAN, 0x7fff}};
    for (auto &c : cases) {
        assert_int_equal(to_bf16(c.x).bits, c.bits);
        assert_int_equal(pack_bf16(c.x, 1.0f), c.bits | 0x3f800000u);
    }
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float x = to_f32(bf16{(uint16_t)bits});
        if (x == x) assert_int_equal(to_bf16(x).bits, bits);
        assert_int_equal(__float_as_uint(low_f32(bits)), bits << 16);
        assert_int_equal(__float_as_uint(high_f32(bits << 16 | 7)), bits << 16);
    }
}

static void test_f16(void **) {
    for (int bits = 0; bits < 0x8000; bits++) {
        int e = bits >> 10, m = bits & 1023;
        float x = f32_of_f16((uint16_t)bits), minus = f32_of_f16((uint16_t)(bits | 0x8000));
        if (e == 31 && m) {
            assert_true(x != x);
            continue;
        }
        double want = e == 31 ? INFINITY : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
        assert_true((double)x == want && (double)minus == -want && std::signbit(minus));
    }
}

static void test_functions(void **) {
    assert_true(fma_f32(1.0f + 0x1p-12f, 1.0f + 0x1p-12f, -1.0f) == 0x1p-11f + 0x1p-24f);
    assert_true(fma_f64(1.0 + 0x1p-30, 1.0 + 0x1p-30, -1.0) == 0x1p-29 + 0x1p-60);
    assert_true(sqrt_f32(2.0f) == sqrtf(2.0f) && sqrt_f64(2.0) == sqrt(2.0));
    assert_true(div_f32(1.0f, 3.0f) == 1.0f / 3.0f && div_f64(1.0, 3.0) == 1.0 / 3.0);
    assert_int_equal(count_bits(0xf0f00001u), 9);
    assert_true(max_nan(1.0f, 2.0f) == 2.0f && max_nan(-1.0f, 0.0f) == 0.0f);
    assert_true(isnan(max_nan(NAN, 1.0f)) && isnan(max_nan(1.0f, NAN)));
    assert_true(exp2_approx(-INFINITY) == 0.0f && exp2_approx(-130.0f) == 0.0f &&
                exp2_approx(0.0f) == 1.0f);
    for (float x = -125.9f; x < 127.0f; x += 0.37f) {
        double want = exp2((double)x), ulp = ldexp(1.0, ilogb(want) - 23);
        /* 2 ulp of the value rounded to f32 */
        assert_true(fabs((double)exp2_approx(x) - want) <= 2.5 * ulp);
    }
}

/* ---- Shuffles, votes, barriers ---- */

template <typename T> static __global__ void k_shuffles(T *out, int by, int width) {
    T v = (T)threadIdx.x;
    out[threadIdx.x] = shuffle(v, by, width);
    out[32 + threadIdx.x] = shuffle_xor(v, by, width);
    out[64 + threadIdx.x] = shuffle_down(v, by, width);
    out[96 + threadIdx.x] = shuffle_up(v, by, width);
}

/* PTX manual, shfl.sync: the lane that lane `l` reads. */
static int source(int kind, int l, int by, int width) {
    int mask = 32 - width, clamp = kind == 3 ? 0 : 31, b = by & 31;
    int last = (l & mask) | (clamp & ~mask), first = l & mask, j;
    switch (kind) {
    case 0: return first | (b & ~mask & 31);
    case 1: j = l ^ b; return j <= last ? j : l;
    case 2: j = l + b; return j <= last ? j : l;
    default: j = l - b; return j >= last ? j : l;
    }
}

template <typename T> static void check_shuffles() {
    for (int width = 1; width <= 32; width *= 2) {
        for (int by : {0, 1, 2, 3, 5, 8, 16, 31, 33}) {
            Buffer<T> out(128);
            assert_int_equal(run_kernel(k_shuffles<T>, dim3(1), dim3(32), 0, out.p, by, width),
                             cudaSuccess);
            std::vector<T> got = out.get();
            for (int kind = 0; kind < 4; kind++)
                for (int l = 0; l < 32; l++)
                    assert_true(got[kind * 32 + l] == (T)source(kind, l, by, width));
        }
    }
}

static void test_shuffles(void **) {
    check_shuffles<float>();
    check_shuffles<double>();
    check_shuffles<int64_t>();
    check_shuffles<uint32_t>();
}

static __global__ void k_votes(uint32_t *out, uint32_t yes) {
    uint32_t all = vote_ballot(yes >> (threadIdx.x % 32) & 1);
    if (threadIdx.x % 32 == 7) out[threadIdx.x / 32] = all;
}

static void test_votes(void **) {
    Buffer<uint32_t> out(3);
    assert_int_equal(run_kernel(k_votes, dim3(1), dim3(96), 0, out.p, 0x80c00035u), cudaSuccess);
    for (uint32_t v : out.get()) assert_int_equal(v, 0x80c00035u);
}

/* Threads that have returned do not count at a barrier; partial sums cross it. */
static __global__ void k_sum(float *out, const float *x, int n) {
    SHARED_VAR(float, part, 4);
    float sum = 0.0f;
    if (threadIdx.x >= 128) return;
    for (int i = threadIdx.x; i < n; i += 128) sum += x[i];
    for (int d = 16; d; d /= 2) sum += shuffle_xor(sum, d);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
    sync_block();
    if (threadIdx.x == 0) out[blockIdx.x] = part[0] + part[1] + part[2] + part[3];
}

static void test_barrier(void **) {
    std::vector<float> host(100);
    for (int i = 0; i < 100; i++) host[(size_t)i] = (float)i;
    Buffer<float> x(host), out(3);
    assert_int_equal(run_kernel(k_sum, dim3(3), dim3(192), 0, out.p, x.p, 100), cudaSuccess);
    for (float s : out.get()) assert_true(s == 4950.0f);
}

/* ---- Shared memory, atomics, loads ---- */

template <int N> static __global__ void k_arrays(uint64_t *out) {
    Carve c = carve_begin();
    char *a = carve<char>(c, 5);
    float *b = carve<float>(c, 33);
    SHARED_VAR(uint32_t, x, N);
    SHARED_VAR(uint32_t, y, 4);
    x[threadIdx.x] = y[threadIdx.x] = 0;
    a[threadIdx.x] = 1;
    b[32 - threadIdx.x] = 2.0f;
    if (threadIdx.x) return;
    out[0] = (uint64_t)c.used;
    out[1] = ((uintptr_t)a | (uintptr_t)b) % 128;
    out[2] = (uintptr_t)b - (uintptr_t)a;
    out[3] = (uintptr_t)y - (uintptr_t)x;
    out[4] = shared_address(a) % 128;
}

static void test_arrays(void **) {
    Buffer<uint64_t> out(5);
    assert_int_equal(carve_bytes<char>(5) + carve_bytes<float>(33), 384);
    for (int round = 0; round < 2; round++) {
        auto kernel = round ? k_arrays<4> : k_arrays<400>;
        assert_int_equal(run_kernel(kernel, dim3(1), dim3(1), 384, out.p), cudaSuccess);
        std::vector<uint64_t> got = out.get();
        assert_int_equal(got[0], 384);
        assert_int_equal(got[1], 0);
        assert_true(got[2] >= 128 + 64 && got[3] >= 16 + 64);
        assert_int_equal(got[4], 0);
    }
}

static __global__ void k_atomics(uint32_t *total, uint32_t *seen, const uint32_t *x) {
    SHARED_VAR(uint32_t, most, 1);
    if (threadIdx.x == 0) most[0] = 0;
    sync_block();
    atomic_max(&most[0], x[blockIdx.x * blockDim.x + threadIdx.x]);
    uint32_t before = atomic_add(&total[0], 2);
    atomic_add(&seen[before / 2], 1);
    sync_block();
    if (threadIdx.x == 0) atomic_max(&total[1], most[0]);
}

static void test_atomics(void **) {
    std::vector<uint32_t> host(256);
    for (uint32_t i = 0; i < 256; i++) host[i] = i * 37 % 256;
    Buffer<uint32_t> x(host), total(std::vector<uint32_t>(2)), seen(std::vector<uint32_t>(256));
    assert_int_equal(run_kernel(k_atomics, dim3(4), dim3(64), 0, total.p, seen.p, x.p),
                     cudaSuccess);
    assert_int_equal(total.get()[0], 512);
    assert_int_equal(total.get()[1], 255);
    for (uint32_t n : seen.get()) assert_int_equal(n, 1);
}

static __global__ void k_loads(uint32_t *out, const uint32_t *x) {
    uint4 v = load_once16(x + 4 * threadIdx.x);
    out[threadIdx.x] = v.x + 10 * v.y + 100 * v.z + 1000 * v.w;
    out[4 + threadIdx.x] = load_once4(x + threadIdx.x);
    float base = (float)(4 * threadIdx.x);
    store16(out + 8 + 4 * threadIdx.x, make_float4(base, base + 1.0f, base + 2.0f, base + 3.0f));
}

static void test_loads(void **) {
    Buffer<uint32_t> x(std::vector<uint32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6}),
        out(24);
    assert_int_equal(run_kernel(k_loads, dim3(1), dim3(4), 0, out.p, x.p), cudaSuccess);
    std::vector<uint32_t> got = out.get(), stored(got.begin() + 8, got.end());
    got.resize(8);
    assert_true(got == (std::vector<uint32_t>{4321, 8765, 2109, 6543, 1, 2, 3, 4}));
    for (int i = 0; i < 16; i++) {
        float v;
        memcpy(&v, &stored[(size_t)i], sizeof v);
        assert_true(v == (float)i);
    }
}

/* Copy j of thread 0 takes j bytes; groups of two; the newest is left until the end. */
static __global__ void k_copies(unsigned char *out, const unsigned char *from) {
    Carve c = carve_begin();
    unsigned char *to = carve<unsigned char>(c, 18 * 16);
    for (int j = 0; j <= 17; j++) {
        cp_async16(to + 16 * j, from, j < 17 ? j : 16);
        if (j % 2) cp_commit();
    }
    cp_wait<1>();
    for (int i = 0; i < 16 * 16; i++) out[i] = to[i];
    cp_wait<0>();
    for (int i = 16 * 16; i < 18 * 16; i++) out[i] = to[i];
}

static void test_copies(void **) {
    std::vector<unsigned char> host(16);
    for (size_t i = 0; i < 16; i++) host[i] = (unsigned char)(i + 1);
    Buffer<unsigned char> from(host), out(18 * 16);
    assert_int_equal(run_kernel(k_copies, dim3(1), dim3(1), 18 * 16, out.p, from.p), cudaSuccess);
    std::vector<unsigned char> got = out.get();
    for (size_t j = 0; j <= 17; j++)
        for (size_t i = 0; i < 16; i++) assert_int_equal(got[16 * j + i], i < j ? i + 1 : 0);
}

/* ---- Matrices ---- */

enum { X4, X2, X4_TRANS };

/* Element (m, i, j) is 100 m + 10 i + j; row (m, i) lies at place[8 m + i], in units of 16
 * bytes. */
static __global__ void k_ldmatrix(uint32_t *out, const uint32_t *place, int form) {
    Carve c = carve_begin();
    uint16_t *e = carve<uint16_t>(c, 64 * 8);
    uint32_t r[4] = {0, 0, 0, 0}, two[2];
    int l = threadIdx.x, row = (int)place[l];
    for (int j = 0; j < 8; j++) e[row * 8 + j] = (uint16_t)(l / 8 * 100 + l % 8 * 10 + j);
    sync_warp();
    if (form == X4) {
        ldmatrix_x4(r, e + row * 8);
    } else if (form == X4_TRANS) {
        ldmatrix_x4_trans(r, e + row * 8);
    } else {
        ldmatrix_x2(two, e + row * 8);
        r[0] = two[0];
        r[1] = two[1];
    }
    for (int m = 0; m < 4; m++) out[l * 4 + m] = r[m];
}

static void test_ldmatrix(void **) {
    std::vector<uint32_t> place(32);
    for (uint32_t i = 0; i < 32; i++) place[i] = i * 7 % 32 * 2; /* any rows, in any order */
    Buffer<uint32_t> where(place), out(128);
    for (int form : {X4, X2, X4_TRANS}) {
        assert_int_equal(run_kernel(k_ldmatrix, dim3(1), dim3(32), 64 * 16, out.p, where.p, form),
                         cudaSuccess);
        std::vector<uint32_t> got = out.get();
        for (uint32_t l = 0; l < 32; l++) {
            for (uint32_t m = 0; m < (form == X2 ? 2u : 4u); m++) {
                uint32_t g = l / 4, t = l % 4, low = 100 * m + 10 * g + 2 * t, high = low + 1;
                if (form == X4_TRANS) low = 100 * m + 10 * (2 * t) + g, high = low + 10;
                assert_int_equal(got[l * 4 + m], low | high << 16);
            }
        }
    }
}

/* Rows 16 * stride bytes apart; `swizzle` as kernels do it: chunk ^ row % 8. */
static __global__ void k_banks(uint32_t *out, int stride, int swizzle) {
    Carve c = carve_begin();
    uint4 *e = carve<uint4>(c, 32 * 9);
    uint32_t r[4];
    for (int i = threadIdx.x; i < 32 * 9; i += 32) e[i] = make_uint4(0, 0, 0, 0);
    sync_warp();
    ldmatrix_x4(r, e + threadIdx.x * stride + (swizzle ? threadIdx.x % 8 : 0));
    out[threadIdx.x] = r[0];
}

static void test_banks(void **) {
    const struct {
        int stride, swizzle, conflicts;
    } cases[] = {{8, 0, 28}, {8, 1, 0}, {1, 0, 0}, {9, 0, 0}, {4, 0, 24}, {2, 0, 16}};
    Buffer<uint32_t> out(32);
    for (auto &c : cases) {
        uint64_t before = emu::bank_conflicts();
        assert_int_equal(
            run_kernel(k_banks, dim3(1), dim3(32), 32 * 9 * 16, out.p, c.stride, c.swizzle),
            cudaSuccess);
        assert_int_equal(emu::bank_conflicts() - before, c.conflicts);
    }
}

/* One element of A (of B) is 1, the other operand holds a number for each place: the product shows
 * which row of A and which k that element is (which k and column). place: 8 lane + 2 register +
 * element. */
static __global__ void k_probe_bf16(float *out, int place, int of_b) {
    int l = threadIdx.x, g = l / 4, t = l % 4;
    uint32_t a[4] = {0, 0, 0, 0}, b[2] = {0, 0};
    float d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (of_b) {
        for (int r = 0; r < 4; r++) { /* A[i][k] = 16 i + k */
            int i = g + 8 * (r % 2), k = 2 * t + 8 * (r / 2);
            a[r] = pack_bf16((float)(16 * i + k), (float)(16 * i + k + 1));
        }
        if (l == place / 8) b[place % 4 / 2] = place % 2 ? 0x3f800000u : 0x3f80u;
    } else {
        for (int r = 0; r < 2; r++) { /* B[k][n] = 8 k + n */
            int k = 2 * t + 8 * r;
            b[r] = pack_bf16((float)(8 * k + g), (float)(8 * (k + 1) + g));
        }
        if (l == place / 8) a[place % 8 / 2] = place % 2 ? 0x3f800000u : 0x3f80u;
    }
    mma_bf16(d, a, b[0], b[1]);
    for (int r = 0; r < 4; r++) out[(g + 8 * (r / 2)) * 8 + 2 * t + r % 2] = d[r];
}

static void test_mma_bf16(void **) {
    Buffer<float> out(128);
    for (int of_b = 0; of_b < 2; of_b++) {
        for (int place = 0; place < 256; place++) {
            int l = place / 8, e = place % 2, r = place % 8 / 2;
            if (of_b && r > 1) continue;
            assert_int_equal(run_kernel(k_probe_bf16, dim3(1), dim3(32), 0, out.p, place, of_b),
                             cudaSuccess);
            std::vector<float> got = out.get();
            int row = l / 4 + 8 * (r % 2), k_of_a = 2 * (l % 4) + e + 8 * (r / 2),
                k_of_b = 2 * (l % 4) + e + 8 * r;
            for (int i = 0; i < 16; i++)
                for (int j = 0; j < 8; j++)
                    assert_true(got[(size_t)(i * 8 + j)] ==
                                (float)(of_b       ? j == l / 4 ? 16 * i + k_of_b : 0
                                        : i == row ? 8 * k_of_a + j
                                                   : 0));
        }
    }
}

/* The same with bytes: place 16 lane + 4 register + element; -1 for 1, so that signs show; d begins
 * near 2^31. */
static __global__ void k_probe_s8(uint32_t *out, int place, int of_b) {
    int l = threadIdx.x, g = l / 4, t = l % 4;
    uint32_t a[4] = {0, 0, 0, 0}, b[2] = {0, 0};
    int32_t d[4] = {INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
    for (int r = 0; r < 4; r++)
        for (int e = 0; e < 4; e++) {
            int i = g + 8 * (r % 2), k = 4 * t + e + 16 * (r / 2);
            if (of_b) a[r] |= (uint32_t)((i * 32 + k) % 127) << (8 * e); /* A[i][k] */
        }
    for (int r = 0; r < 2; r++)
        for (int e = 0; e < 4; e++) /* B[k][n] */
            if (!of_b) b[r] |= (uint32_t)(((4 * t + e + 16 * r) * 8 + g) % 127) << (8 * e);
    if (l == place / 16) (of_b ? b[place % 8 / 4] : a[place % 16 / 4]) = 0xffu << (8 * (place % 4));
    mma_s8(d, a, b[0], b[1]);
    for (int r = 0; r < 4; r++) out[(g + 8 * (r / 2)) * 8 + 2 * t + r % 2] = (uint32_t)d[r];
}

static void test_mma_s8(void **) {
    Buffer<uint32_t> out(128);
    for (int of_b = 0; of_b < 2; of_b++) {
        for (int place = 0; place < 512; place++) {
            int l = place / 16, e = place % 4, r = place % 16 / 4;
            if (of_b && r > 1) continue;
            assert_int_equal(run_kernel(k_probe_s8, dim3(1), dim3(32), 0, out.p, place, of_b),
                             cudaSuccess);
            std::vector<uint32_t> got = out.get();
            int row = l / 4 + 8 * (r % 2), k_of_a = 4 * (l % 4) + e + 16 * (r / 2),
                k_of_b = 4 * (l % 4) + e + 16 * r;
            for (int i = 0; i < 16; i++)
                for (int j = 0; j < 8; j++) {
                    int v = of_b       ? j == l / 4 ? (32 * i + k_of_b) % 127 : 0
                            : i == row ? (8 * k_of_a + j) % 127
                                       : 0;
                    assert_int_equal(got[(size_t)(i * 8 + j)], 0x80000000u - (uint32_t)v);
                }
        }
    }
}

/* Sums of the two modes: both near the exact one, and not the same. */
static __global__ void k_sums(float *out, const float *x) {
    uint32_t a[4], b[2];
    float d[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    for (int r = 0; r < 4; r++)
        a[r] = pack_bf16(x[threadIdx.x * 8 + r * 2], x[threadIdx.x * 8 + r * 2 + 1]);
    for (int r = 0; r < 2; r++)
        b[r] = pack_bf16(x[r * 64 + threadIdx.x], x[r * 64 + 32 + threadIdx.x]);
    mma_bf16(d, a, b[0], b[1]);
    for (int r = 0; r < 4; r++) out[threadIdx.x * 4 + r] = d[r];
}

static int print_sums() {
    std::vector<float> host(256);
    uint64_t state = 1;
    for (float &x : host) x = (float)((double)(emu::next_random(&state) >> 11) * 0x1p-53 - 0.5);
    Buffer<float> x(host), out(128);
    if (run_kernel(k_sums, dim3(1), dim3(32), 0, out.p, x.p) != cudaSuccess) return 1;
    for (float v : out.get()) printf("%.9g\n", (double)v);
    return 0;
}

static void test_sum_modes(void **) {
    std::string f32, f64, other;
    assert_int_equal(run_case("sums", "EMU_MMA=f32", &f32), 0);
    assert_int_equal(run_case("sums", "EMU_MMA=f64", &f64), 0);
    assert_true(f32 != f64);
    const char *p = f32.c_str(), *q = f64.c_str();
    for (int i = 0; i < 128; i++) {
        char *p_end, *q_end;
        double a = strtod(p, &p_end), b = strtod(q, &q_end);
        /* a rounding for each term */
        assert_true(p_end != p && fabs(a - b) <= 17 * 0x1p-24 * (1 + 16 * 0.25));
        p = p_end;
        q = q_end;
    }
    assert_int_not_equal(run_case("sums", "EMU_MMA=f16", &other), 0);
}

/* ---- Launches that CUDA refuses ---- */

static void test_refused(void **) {
    Buffer<uint32_t> out(std::vector<uint32_t>(1));
    assert_int_equal(run_kernel(k_places, dim3(0), dim3(1), 0, out.p),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(run_kernel(k_places, dim3(1), dim3(1025), 0, out.p),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(run_kernel(k_places, dim3(1, 65536), dim3(1), 0, out.p),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(run_kernel(k_places, dim3(1), dim3(1), 164 * 1024, out.p),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_int_equal(run_kernel(k_places, dim3(1), dim3(1), 163 * 1024, out.p), cudaSuccess);
    assert_int_equal(out.get()[0], 1);
}

static __global__ void k_large(uint32_t *out) {
    Carve c = carve_begin();
    uint32_t *x = carve<uint32_t>(c, 50 * 256);
    x[50 * 256 - 1 - threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = x[50 * 256 - 1 - threadIdx.x];
}

/* More than 48 KiB is asked for once, and again only where it is more. */
static void test_shared_is_allowed_once(void **) {
    Buffer<uint32_t> out(32);
    uint64_t before = emu::attribute_calls();
    for (int i = 0; i < 3; i++)
        assert_int_equal(run_kernel(k_large, dim3(1), dim3(32), 50 * 1024, out.p), cudaSuccess);
    assert_int_equal(emu::attribute_calls() - before, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(run_kernel(k_large, dim3(1), dim3(32), 52 * 1024, out.p), cudaSuccess);
    assert_int_equal(emu::attribute_calls() - before, 2);
    assert_int_equal(out.get()[31], 31);
}

int main(int argc, char **) {
    if (argc > 1) return print_sums();
    unsetenv("EMU_MMA"); /* sums of both modes are in a test of their own */
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_shuffles),
        cmocka_unit_test(test_votes),
        cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_atomics),
        cmocka_unit_test(test_loads),

        cmocka_unit_test(test_shared_is_allowed_once),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_ldmatrix),
        cmocka_unit_test(test_banks),
        cmocka_unit_test(test_mma_bf16),
        cmocka_unit_test(test_mma_s8),
        cmocka_unit_test(test_sum_modes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
