/* Small kernels with one fault each, and the same kernels repaired: every build must end the broken
 * ones, with a line or a wrong number, where the table at the end says so, and pass the repaired
 * ones. This is what the emulator is trusted for. */
#include "kernel_test.h"

static int wrong(const char *what) {
    printf("wrong number: %s\n", what);
    return 1;
}

static std::vector<float> ramp(size_t n) {
    std::vector<float> v(n);
    for (size_t i = 0; i < n; i++) v[i] = (float)(i + 1);
    return v;
}

/* ---- Barriers and shared memory ---- */

/* Every thread copies 16 bytes and reads those of another warp's thread. */
template <bool BROKEN> static __global__ void k_copy_barrier(float *out, const float *x) {
    Carve c = carve_begin();
    float *to = carve<float>(c, 4 * 64);
    cp_async16(to + 4 * threadIdx.x, x + 4 * threadIdx.x);
    cp_commit();
    cp_wait<0>();
    if (!BROKEN) sync_block();
    out[threadIdx.x] = to[4 * (63 - threadIdx.x)];
}
template <bool BROKEN> static int copy_barrier() {
    Buffer<float> x(ramp(256)), out(64);
    run_kernel(k_copy_barrier<BROKEN>, dim3(1), dim3(64), 1024, out.p, x.p);
    std::vector<float> got = out.get();
    for (size_t i = 0; i < 64; i++)
        if (got[i] != (float)(4 * (63 - i) + 1)) return wrong("a row that had not come");
    return 0;
}

/* The tile is used again for the output while other warps may still read. */
template <bool BROKEN> static __global__ void k_epilogue_barrier(float *out, const float *x) {
    SHARED_VAR(float, tile, 64);
    tile[threadIdx.x] = x[threadIdx.x];
    sync_block();
    float v = tile[63 - threadIdx.x];
    if (!BROKEN) sync_block();
    tile[threadIdx.x] = v;
    out[threadIdx.x] = tile[threadIdx.x];
}
template <bool BROKEN> static int epilogue_barrier() {
    Buffer<float> x(ramp(64)), out(64);
    run_kernel(k_epilogue_barrier<BROKEN>, dim3(1), dim3(64), 0, out.p, x.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_never_written(float *out) {
    SHARED_VAR(float, tile, 64);
    if (!BROKEN || threadIdx.x < 63) tile[threadIdx.x] = 1.0f;
    sync_block();
    float v = tile[63 - threadIdx.x];
    out[threadIdx.x] = v > 2.0f ? 0.0f : 1.0f;
}
template <bool BROKEN> static int never_written() {
    Buffer<float> out(64);
    run_kernel(k_never_written<BROKEN>, dim3(1), dim3(64), 0, out.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_one_word(float *out) {
    SHARED_VAR(float, word, 1);
    if (BROKEN || threadIdx.x == 0) word[0] = 5.0f;
    sync_block();
    out[threadIdx.x] = word[0];
}
template <bool BROKEN> static int one_word() {
    Buffer<float> out(64);
    run_kernel(k_one_word<BROKEN>, dim3(1), dim3(64), 0, out.p);
    return out.get()[63] == 5.0f ? 0 : wrong("the word");
}

/* Lanes of a warp exchange through shared memory; shuffles order nothing. */
template <bool BROKEN> static __global__ void k_warp_barrier(float *out) {
    SHARED_VAR(float, tile, 32);
    tile[threadIdx.x] = (float)threadIdx.x;
    float v = shuffle(0.0f, 0);
    if (!BROKEN) sync_warp();
    out[threadIdx.x] = v + tile[31 - threadIdx.x];
}
template <bool BROKEN> static int warp_barrier() {
    Buffer<float> out(32);
    run_kernel(k_warp_barrier<BROKEN>, dim3(1), dim3(32), 0, out.p);
    return 0;
}

/* A barrier of the warp does not order two warps. */
template <bool BROKEN> static __global__ void k_wrong_barrier(float *out) {
    SHARED_VAR(float, tile, 64);
    tile[threadIdx.x] = (float)threadIdx.x;
    if (BROKEN)
        sync_warp();
    else
        sync_block();
    out[threadIdx.x] = tile[63 - threadIdx.x];
}
template <bool BROKEN> static int wrong_barrier() {
    Buffer<float> out(64);
    run_kernel(k_wrong_barrier<BROKEN>, dim3(1), dim3(64), 0, out.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_write_after_read(float *out) {
    SHARED_VAR(float, word, 1);
    if (threadIdx.x == 0) word[0] = 1.0f;
    sync_block();
    float v = word[0];
    if (!BROKEN) sync_block();
    if (threadIdx.x == 63) word[0] = 2.0f;
    out[threadIdx.x] = v;
}
template <bool BROKEN> static int write_after_read() {
    Buffer<float> out(64);
    run_kernel(k_write_after_read<BROKEN>, dim3(1), dim3(64), 0, out.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_beside_atomics(uint32_t *out) {
    SHARED_VAR(uint32_t, count, 1);
    if (threadIdx.x == 0) count[0] = 0;
    sync_block();
    atomic_add(&count[0], 1);
    if (!BROKEN) sync_block();
    out[threadIdx.x] = count[0];
}
template <bool BROKEN> static int beside_atomics() {
    Buffer<uint32_t> out(64);
    run_kernel(k_beside_atomics<BROKEN>, dim3(1), dim3(64), 0, out.p);
    return 0;
}

/* ---- Copies that do not wait ---- */

enum { WAIT_MISSING = 1, WAIT_ONE, COMMIT_MISSING, STAGE_IN_USE, NEVER_WAITED };

/* Two stages of 16 rows of 16 bytes, read by ldmatrix. */
template <int FAULT> static __global__ void k_stages(uint32_t *out, const uint32_t *x) {
    Carve c = carve_begin();
    uint32_t *stage = carve<uint32_t>(c, 2 * 32 * 4);
    uint32_t r[4], sum = 0;
    int l = threadIdx.x;
    cp_async16(stage + 4 * l, x + 4 * l);
    if (FAULT != COMMIT_MISSING) cp_commit();
    for (int i = 0; i < 4; i++) {
        if (i + 1 < 4) cp_async16(stage + (i + 1) % 2 * 128 + 4 * l, x + (i + 1) * 128 + 4 * l);
        cp_commit();
        if (FAULT == WAIT_ONE && i == 3)
            cp_wait<2>();
        else if (FAULT != WAIT_MISSING)
            cp_wait<1>();
        sync_warp();
        if (FAULT == STAGE_IN_USE && i == 1) cp_async16(stage + i % 2 * 128 + 4 * l, x + 4 * l);
        ldmatrix_x4(r, stage + i % 2 * 128 + 4 * l);
        for (int j = 0; j < 4; j++) sum += r[j];
        sync_warp();
    }
    if (FAULT == NEVER_WAITED) cp_async16(stage + 4 * l, x + 4 * l);
    out[l] = sum;
}
template <int FAULT> static int stages() {
    Buffer<uint32_t> x(std::vector<uint32_t>(512, 1)), out(32);
    run_kernel(k_stages<FAULT>, dim3(1), dim3(32), 1024, out.p, x.p);
    return out.get()[5] == 16 ? 0 : wrong("the sum");
}

template <bool BROKEN> static __global__ void k_copy_plain_read(float *out, const float *x) {
    Carve c = carve_begin();
    float *to = carve<float>(c, 4);
    cp_async16(to, x);
    cp_commit();
    if (!BROKEN) cp_wait<0>();
    out[0] = to[0];
    cp_wait<0>();
}
template <bool BROKEN> static int copy_plain_read() {
    Buffer<float> x(ramp(4)), out(1);
    run_kernel(k_copy_plain_read<BROKEN>, dim3(1), dim3(1), 16, out.p, x.p);
    return out.get()[0] == 1.0f ? 0 : wrong("read too early");
}

/* ---- Matrices ---- */

enum { WRONG_CHUNK = 1, SWAPPED_B, PAST_TILE, MISALIGNED };

/* d = a b^T of 16 x 16 and 8 x 16 small whole numbers. */
template <int FAULT>
static __global__ void k_product(float *out, const uint32_t *a, const uint32_t *b) {
    Carve c = carve_begin();
    uint32_t *ta = carve<uint32_t>(c, 16 * 8), *tb = carve<uint32_t>(c, 8 * 8);
    uint32_t ra[4], rb[2];
    float d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    int l = threadIdx.x;
    for (int i = l; i < 128; i += 32) ta[i] = a[i];
    for (int i = l; i < 64; i += 32) tb[i] = b[i];
    sync_warp();
    int row = l % 16 + (FAULT == PAST_TILE ? 1 : 0),
        chunk = FAULT == WRONG_CHUNK ? 1 - l / 16 : l / 16;
    ldmatrix_x4(ra, ta + row * 8 + chunk * 4 + (FAULT == MISALIGNED ? 1 : 0));
    ldmatrix_x2(rb, tb + l % 8 * 8 + l / 8 % 2 * 4);
    mma_bf16(d, ra, rb[FAULT == SWAPPED_B ? 1 : 0], rb[FAULT == SWAPPED_B ? 0 : 1]);
    for (int r = 0; r < 4; r++) out[(l / 4 + 8 * (r / 2)) * 8 + 2 * (l % 4) + r % 2] = d[r];
}
template <int FAULT> static int product() {
    std::vector<uint32_t> a(128), b(64);
    std::vector<float> want(128);
    for (uint32_t i = 0; i < 128; i++) a[i] = pack_bf16((float)(i % 11), (float)(i * 5 % 13));
    for (uint32_t i = 0; i < 64; i++) b[i] = pack_bf16((float)(i % 7), (float)(i * 3 % 17));
    for (size_t i = 0; i < 16; i++)
        for (size_t j = 0; j < 8; j++)
            for (size_t k = 0; k < 8; k++)
                want[i * 8 + j] += low_f32(a[i * 8 + k]) * low_f32(b[j * 8 + k]) +
                                   high_f32(a[i * 8 + k]) * high_f32(b[j * 8 + k]);
    Buffer<uint32_t> da(a), db(b);
    Buffer<float> out(128);
    run_kernel(k_product<FAULT>, dim3(1), dim3(32), 768, out.p, da.p, db.p);
    return out.get() == want ? 0 : wrong("the product");
}

/* ---- Bounds ---- */

template <bool BROKEN> static __global__ void k_past_carved(float *out) {
    Carve c = carve_begin();
    float *a = carve<float>(c, 64), *b = carve<float>(c, 64);
    b[threadIdx.x] = 0.0f;
    a[threadIdx.x + (BROKEN ? 1 : 0)] = 1.0f;
    out[threadIdx.x] = b[threadIdx.x];
}
template <bool BROKEN> static int past_carved() {
    Buffer<float> out(64);
    run_kernel(k_past_carved<BROKEN>, dim3(1), dim3(64), 512, out.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_past_var(float *out, int n) {
    SHARED_VAR(float, a, 64);
    volatile float *p = a;
    for (int i = threadIdx.x; i < n + (BROKEN ? 1 : 0); i += 64) p[i] = 1.0f;
    out[threadIdx.x] = a[threadIdx.x];
}
template <bool BROKEN> static int past_var() {
    Buffer<float> out(64);
    run_kernel(k_past_var<BROKEN>, dim3(1), dim3(64), 0, out.p, 64);
    return 0;
}

template <bool BROKEN> static __global__ void k_registers(float *out, int n) {
    volatile float r[8];
    float sum = 0.0f;
    for (int i = 0; i < 8; i++) r[i] = (float)i;
    for (int i = 0; i < n + (BROKEN ? 1 : 0); i++) sum += r[i];
    out[threadIdx.x] = sum;
}
template <bool BROKEN> static int registers() {
    Buffer<float> out(32);
    run_kernel(k_registers<BROKEN>, dim3(1), dim3(32), 0, out.p, 8);
    return 0;
}

template <bool BROKEN> static __global__ void k_misaligned(float4 *out, const float *x) {
    out[threadIdx.x] = *(const float4 *)(x + 4 * threadIdx.x + (BROKEN ? 1 : 0));
}
template <bool BROKEN> static int misaligned() {
    Buffer<float> x(ramp(132));
    Buffer<float4> out(32);
    run_kernel(k_misaligned<BROKEN>, dim3(1), dim3(32), 0, out.p, x.p);
    return out.get()[1].x == 5.0f ? 0 : wrong("the vector");
}

template <bool BROKEN> static __global__ void k_past_output(float *out, int n) {
    int i = blockIdx.x * 32 + threadIdx.x;
    if (i < n + (BROKEN ? 1 : 0)) out[i] = 1.0f;
}
template <bool BROKEN, int N> static int past_output() {
    Buffer<float> out(N);
    run_kernel(k_past_output<BROKEN>, dim3(N / 32 + 1), dim3(32), 0, out.p, N);
    return 0;
}

template <bool BROKEN> static __global__ void k_past_input(float *out, const float *x) {
    Carve c = carve_begin();
    float *to = carve<float>(c, 4);
    cp_async16(to, x + 4, BROKEN ? 16 : 0);
    cp_wait<0>();
    cp_commit();
    cp_wait<0>();
    out[0] = to[0];
}
template <bool BROKEN> static int past_input() {
    Buffer<float> x(ramp(7)), out(1);
    run_kernel(k_past_input<BROKEN>, dim3(1), dim3(1), 16, out.p, x.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_host_memory(float *out, const float *x) {
    out[0] = x[0];
}
template <bool BROKEN> static int host_memory() {
    std::vector<float> host(4, 1.0f);
    Buffer<float> x(host), out(1);
    run_kernel(k_host_memory<BROKEN>, dim3(1), dim3(1), 0, out.p,
               BROKEN ? (const float *)host.data() : x.p);
    return 0;
}

template <bool BROKEN> static int host_touches() {
    Buffer<float> x(ramp(4));
    return *(BROKEN ? (volatile float *)x.p : x.get().data()) == 1.0f ? 0
                                                                      : wrong("what was touched");
}

template <bool BROKEN> static __global__ void k_freed(float *out, const float *x) { out[0] = x[0]; }
template <bool BROKEN> static int freed() {
    Buffer<float> out(1), x(ramp(1));
    float *old;
    if (cudaMalloc((void **)&old, 4096) != cudaSuccess || cudaFree(old) != cudaSuccess) return 2;
    run_kernel(k_freed<BROKEN>, dim3(1), dim3(1), 0, out.p, BROKEN ? (const float *)old : x.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_carve(float *out) {
    Carve c = carve_begin();
    float *a = carve<float>(c, BROKEN ? 65 : 64);
    a[threadIdx.x] = 1.0f;
    out[threadIdx.x] = a[threadIdx.x];
}
template <bool BROKEN> static int too_much_carved() {
    Buffer<float> out(64);
    run_kernel(k_carve<BROKEN>, dim3(1), dim3(64), 256, out.p);
    return 0;
}

/* ---- Divergence ---- */

template <bool BROKEN> static __global__ void k_two_barriers(float *out) {
    if (threadIdx.x < 32 || !BROKEN)
        sync_block();
    else
        sync_block();
    out[threadIdx.x] = 1.0f;
}
template <bool BROKEN> static int two_barriers() {
    Buffer<float> out(64);
    run_kernel(k_two_barriers<BROKEN>, dim3(1), dim3(64), 0, out.p);
    return 0;
}

/* Half a warp waits for the block, the other half for a shuffle of the whole warp. */
template <bool BROKEN> static __global__ void k_divergent(float *out) {
    float v = 1.0f;
    if (threadIdx.x % 32 < 16 || !BROKEN)
        sync_block();
    else
        v = shuffle(v, 0);
    out[threadIdx.x] = v;
}
template <bool BROKEN> static int divergent() {
    Buffer<float> out(64);
    run_kernel(k_divergent<BROKEN>, dim3(1), dim3(64), 0, out.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_two_shuffles(float *out) {
    float v = 1.0f;
    if (threadIdx.x < 16 || !BROKEN)
        v = shuffle(v, 0);
    else
        v = shuffle_xor(v, 1);
    out[threadIdx.x] = v;
}
template <bool BROKEN> static int two_shuffles() {
    Buffer<float> out(32);
    run_kernel(k_two_shuffles<BROKEN>, dim3(1), dim3(32), 0, out.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_ended_lane(float *out) {
    if (BROKEN && threadIdx.x == 5) return;
    out[threadIdx.x] = shuffle_xor(1.0f, 1);
}
template <bool BROKEN> static int ended_lane() {
    Buffer<float> out(32);
    run_kernel(k_ended_lane<BROKEN>, dim3(1), dim3(32), 0, out.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_half_warp(float *out) {
    out[threadIdx.x] = shuffle(1.0f, 0);
}
template <bool BROKEN> static int half_warp() {
    Buffer<float> out(48);
    run_kernel(k_half_warp<BROKEN>, dim3(1), dim3(BROKEN ? 48 : 32), 0, out.p);
    return 0;
}

/* ---- Blocks and device memory ---- */

template <bool BROKEN> static __global__ void k_two_blocks(float *out) {
    out[(BROKEN ? blockIdx.x / 2 : blockIdx.x) * 32 + threadIdx.x] = 1.0f;
}
template <bool BROKEN> static int two_blocks() {
    Buffer<float> out(128);
    run_kernel(k_two_blocks<BROKEN>, dim3(4), dim3(32), 0, out.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_blocks_read(float *out, float *x) {
    if (BROKEN && blockIdx.x == 1) x[threadIdx.x] = 2.0f;
    out[blockIdx.x * 32 + threadIdx.x] = x[threadIdx.x];
}
template <bool BROKEN> static int blocks_read() {
    Buffer<float> x(ramp(32)), out(128);
    run_kernel(k_blocks_read<BROKEN>, dim3(4), dim3(32), 0, out.p, x.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_threads_global(float *out) {
    out[threadIdx.x] = 1.0f;
    if (!BROKEN) sync_block();
    out[64 + threadIdx.x] = out[63 - threadIdx.x];
}
template <bool BROKEN> static int threads_global() {
    Buffer<float> out(ramp(128));
    run_kernel(k_threads_global<BROKEN>, dim3(1), dim3(64), 0, out.p);
    return 0;
}

template <bool BROKEN> static __global__ void k_new_memory(float *out, const float *x) {
    out[0] = x[0] > 1.0f ? 1.0f : 0.0f;
}
template <bool BROKEN> static int new_memory() {
    Buffer<float> out(1), x(1);
    if (!BROKEN) cudaMemset(x.p, 0, 4);
    run_kernel(k_new_memory<BROKEN>, dim3(1), dim3(1), 0, out.p, x.p);
    return 0;
}

/* ---- The table ---- */

#define NAN_ "wrong number"
#define ASAN_ "AddressSanitizer"
#define UBSAN_ "runtime error"

static const struct Case {
    const char *name;
    int (*broken)(), (*repaired)();
    const char *says[3]; /* fast, race, asan; NULL: may stay silent there */
} cases[] = {
    {"copy_barrier", copy_barrier<true>, copy_barrier<false>, {NAN_, "of the shared array", NAN_}},
    {"epilogue_barrier",
     epilogue_barrier<true>,
     epilogue_barrier<false>,
     {nullptr, "race: ", nullptr}},
    {"never_written",
     never_written<true>,
     never_written<false>,
     {nullptr, "has not written", nullptr}},
    {"one_word", one_word<true>, one_word<false>, {nullptr, "race: write", nullptr}},
    {"warp_barrier", warp_barrier<true>, warp_barrier<false>, {nullptr, "race: read", nullptr}},
    {"wrong_barrier",
     wrong_barrier<true>,
     wrong_barrier<false>,
     {nullptr, "of the shared array", nullptr}},
    {"write_after_read",
     write_after_read<true>,
     write_after_read<false>,
     {nullptr, "race: ", nullptr}},
    {"beside_atomics", beside_atomics<true>, beside_atomics<false>, {nullptr, "race: ", nullptr}},
    {"wait_missing",
     stages<WAIT_MISSING>,
     stages<0>,
     {"still being copied", "still being copied", "still being copied"}},
    {"wait_one",
     stages<WAIT_ONE>,
     stages<0>,
     {"still being copied", "still being copied", "still being copied"}},
    {"commit_missing",
     stages<COMMIT_MISSING>,
     stages<0>,
     {"still being copied", "still being copied", "still being copied"}},
    {"stage_in_use",
     stages<STAGE_IN_USE>,
     stages<0>,
     {"still being copied", "still being copied", "still being copied"}},
    {"never_waited",
     stages<NEVER_WAITED>,
     stages<0>,
     {"nobody waited for", "nobody waited for", "nobody waited for"}},
    {"copy_plain_read",
     copy_plain_read<true>,
     copy_plain_read<false>,
     {NAN_, "still being copied", NAN_}},
    {"wrong_chunk", product<WRONG_CHUNK>, product<0>, {NAN_, NAN_, NAN_}},
    {"swapped_b", product<SWAPPED_B>, product<0>, {NAN_, NAN_, NAN_}},
    {"ldmatrix_past_tile",
     product<PAST_TILE>,
     product<0>,
     {"ldmatrix: 16 bytes", "ldmatrix: 16 bytes", "ldmatrix: 16 bytes"}},
    {"ldmatrix_misaligned",
     product<MISALIGNED>,
     product<0>,
     {"multiple of 16", "multiple of 16", "multiple of 16"}},
    {"past_carved",
     past_carved<true>,
     past_carved<false>,
     {"written behind", "write of byte 256", ASAN_}},
    {"past_var", past_var<true>, past_var<false>, {"written behind", "write of byte 256", ASAN_}},
    {"registers", registers<true>, registers<false>, {nullptr, nullptr, UBSAN_}},
    {"misaligned", misaligned<true>, misaligned<false>, {"emu: ", "which is not aligned", UBSAN_}},
    {"past_output_by_one",
     past_output<true, 33>,
     past_output<false, 33>,
     {"byte 132 of", "byte 132 of", ASAN_}},
    {"past_output_page",
     past_output<true, 1024>,
     past_output<false, 1024>,
     {"byte 4096 of", "byte 4096 of", "SEGV"}},
    {"past_input",
     past_input<true>,
     past_input<false>,
     {"cp_async16: 16 bytes", "cp_async16: 16 bytes", "cp_async16: 16 bytes"}},
    {"host_memory",
     host_memory<true>,
     host_memory<false>,
     {nullptr, "memory of the host", nullptr}},
    {"host_touches",
     host_touches<true>,
     host_touches<false>,
     {"the host touched byte 0", "the host touched byte 0", "SEGV"}},
    {"freed", freed<true>, freed<false>, {"not allocated", "not allocated", ASAN_}},
    {"too_much_carved",
     too_much_carved<true>,
     too_much_carved<false>,
     {"carved 260", "carved 260", "carved 260"}},
    {"two_barriers",
     two_barriers<true>,
     two_barriers<false>,
     {"different barriers", "different barriers", "different barriers"}},
    {"divergent",
     divergent<true>,
     divergent<false>,
     {"nobody can run", "nobody can run", "nobody can run"}},
    {"two_shuffles",
     two_shuffles<true>,
     two_shuffles<false>,
     {"different operations", "different operations", "different operations"}},
    {"ended_lane", ended_lane<true>, ended_lane<false>, {"has ended", "has ended", "has ended"}},
    {"half_warp", half_warp<true>, half_warp<false>, {"names 32", "names 32", "names 32"}},
    {"two_blocks",
     two_blocks<true>,
     two_blocks<false>,
     {nullptr, "another block's thread", nullptr}},
    {"blocks_read",
     blocks_read<true>,
     blocks_read<false>,
     {nullptr, "another block's thread", nullptr}},
    {"threads_global",
     threads_global<true>,
     threads_global<false>,
     {nullptr, "with no barrier since", nullptr}},
    {"new_memory", new_memory<true>, new_memory<false>, {nullptr, "nothing has written", nullptr}},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

/* The line of a fault names this file, as the kernel stands in it. */
static void test_case(void **state) {
    const Case *c = (const Case *)*state;
    const char *says = c->says[MODE];
    std::string out;
    int code = run_case((std::string("good:") + c->name).c_str(), nullptr, &out);
    if (code) fail_msg("%s, repaired: exit code %d: %s", c->name, code, out.c_str());
    if (!says) return;
    code = run_case((std::string("bad:") + c->name).c_str(), nullptr, &out);
    if (!code) fail_msg("%s: not found", c->name);
    if (out.find(says) == std::string::npos)
        fail_msg("%s: expected '%s', got exit code %d: %s", c->name, says, code, out.c_str());
    if (out.compare(0, 5, "emu: ") == 0 && out.find("test_faults.cpp:") == std::string::npos &&
        out.find("launch's end") == std::string::npos)
        fail_msg("%s: no line in %s", c->name, out.c_str());
}

int main(int argc, char **argv) {
    CMUnitTest tests[N_CASES];
    for (int i = 0; i < N_CASES; i++) {
        const std::string name = cases[i].name;
        if (argc > 1 && argv[1] == "bad:" + name) return cases[i].broken();
        if (argc > 1 && argv[1] == "good:" + name) return cases[i].repaired();
        tests[i] = {cases[i].name, test_case, nullptr, nullptr, (void *)&cases[i]};
    }
    return _cmocka_run_group_tests("faults", tests, N_CASES, nullptr, nullptr);
}
