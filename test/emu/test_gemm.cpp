/* What only the emulator can show of k_gemm_bf16: ldmatrix without bank conflicts, every barrier
 * needed, and results that no order of blocks and warps changes. Settings are read once in a
 * process, so each run is this program again, with --case: all tiles and epilogues at a shape in
 * which slots come round, tiles are cut off and groups of blocks are incomplete. */
#include "emu.h"
#include "kernels/prim.cuh" /* before what host and kernels share */
#include "kernels/kernels.h"
#include "kernel_test.h" /* last: cmocka has a macro for `fail` */

enum { M = 300, N = 192, K = 320, POSITIONS = 64, PAIRS = 16 };

/* ---- One run ---- */

static ms_gpu_stream *stream;

static void need(bool ok, const msim_error &err) {
    if (ok) return;
    printf("%s\n", err.text);
    exit(1);
}

static float value(uint64_t *state) {
    return (float)((int64_t)(emu::next_random(state) >> 40) - 8388608) / 8388608.0f;
}

template <typename T> static T *on_device(const std::vector<T> &host) {
    msim_error err;
    T *p = (T *)ms_gpu_alloc(stream, host.size() * sizeof(T), 1, "test", &err);
    need(p && ms_gpu_upload(stream, p, host.data(), host.size() * sizeof(T), &err) >= 0 &&
             ms_gpu_sync(stream, &err) >= 0,
         err);
    return p;
}

/* Prints one line for each result: tile, epilogue, a hash of its bytes. */
static void run_product(ms_gpu_gemm g, int tile) {
    msim_error err;
    std::vector<uint32_t> result((size_t)M * N / (g.epilogue == MS_GPU_ADD ? 1 : 2), 0);
    g.dst = on_device(result);
    need(ms_gemm_bf16_tile_cuda(stream, &g, tile, &err) >= 0, err);
    need(ms_gpu_download(stream, result.data(), g.dst, result.size() * 4, &err) >= 0 &&
             ms_gpu_sync(stream, &err) >= 0,
         err);
    ms_gpu_free(stream, g.dst);
    uint64_t hash = 0;
    for (uint32_t x : result) hash = (hash ^ x) * 0x9e3779b97f4a7c15u, hash ^= hash >> 29;
    printf("tile %d epilogue %d: %016llx\n", tile, g.epilogue, (unsigned long long)hash);
}

static int print_results() {
    msim_error err;
    uint64_t state = 1;
    std::vector<ms_bf16> a((size_t)M * K), w((size_t)N * K);
    std::vector<float> bias(N), cosines(POSITIONS * PAIRS), sines(POSITIONS * PAIRS);
    std::vector<int32_t> positions(M);
    for (ms_bf16 &x : a) x = ms_bf16_of_f32(value(&state));
    for (ms_bf16 &x : w) x = ms_bf16_of_f32(value(&state));
    for (std::vector<float> *v : {&bias, &cosines, &sines})
        for (float &x : *v) x = value(&state);
    for (int i = 0; i < M; i++) positions[i] = i % POSITIONS;
    need(ms_gpu_stream_open(0, &stream, &err) >= 0, err);
    ms_gpu_gemm g = {on_device(a),
                     on_device(w),
                     nullptr,
                     nullptr,
                     nullptr,
                     M,
                     N,
                     K,
                     0,
                     on_device(cosines),
                     on_device(sines),
                     on_device(positions),
                     128};
    float *d_bias = on_device(bias);
    for (int tile = 0; tile < MS_GPU_GEMM_TILES; tile++)
        for (g.epilogue = MS_GPU_STORE; g.epilogue <= MS_GPU_ADD; g.epilogue++) {
            g.bias = g.epilogue == MS_GPU_ROTATE ? nullptr : d_bias;
            run_product(g, tile);
        }
    for (const void *p : {(const void *)g.a, (const void *)g.w, (const void *)g.cos,
                          (const void *)g.sin, (const void *)g.positions, (const void *)d_bias})
        ms_gpu_free(stream, (void *)p);
    ms_gpu_stream_close(stream);
    printf("conflicts %llu\n", (unsigned long long)emu::bank_conflicts());
    return 0;
}

typedef struct {
    int rc;
    std::vector<std::string> lines; /* of both streams */
} outcome;

/* This program with --case and a setting, "NAME=value". */
static outcome run(const std::string &setting) {
    std::string text;
    outcome result = {run_case("--case", setting.c_str(), &text), {}};
    for (size_t at = 0, end; at < text.size(); at = end) {
        end = text.find('\n', at);
        end = end == std::string::npos ? text.size() : end + 1;
        result.lines.push_back(text.substr(at, end - at));
    }
    return result;
}

/* ---- Tests ---- */

static void test_any_order_and_no_conflicts(void **) {
    outcome first = run("EMU_SEED=1");
    assert_int_equal(first.rc, 0);
    assert_int_equal(first.lines.size(), 4 * MS_GPU_GEMM_TILES + 1);
    assert_string_equal(first.lines.back().c_str(), "conflicts 0\n");
    for (int i = 4; i < 4 * MS_GPU_GEMM_TILES; i++) /* what follows "tile T" */
        assert_string_equal(first.lines[i].c_str() + 6, first.lines[i - 4].c_str() + 6);
    for (int seed = 2; seed <= 4; seed++) {
        outcome other = run("EMU_SEED=" + std::to_string(seed));
        assert_int_equal(other.rc, 0);
        assert_true(other.lines == first.lines);
    }
}

/* With a barrier gone, the race checks must name the kernel: otherwise it is superfluous. */
static void test_every_barrier(void **) {
    outcome whole = run("EMU_BARRIERS=/dev/stdout");
    assert_int_equal(whole.rc, 0);
    int n_barriers = 0;
    for (const std::string &line : whole.lines) {
        if (line.compare(0, 5, "tile ") == 0 || line.compare(0, 9, "conflicts") == 0) continue;
        std::string barrier = line.substr(0, line.size() - 1);
        assert_true(barrier.find("gemm_bf16.cu:") != std::string::npos);
        n_barriers++;
        if (MODE != RACE) continue;
        outcome o = run("EMU_DROP=" + barrier);
        if (o.rc != emu::EXIT_CODE || o.lines.back().find("k_gemm_bf16") == std::string::npos)
            fail_msg("without the barrier of %s: exit code %d", barrier.c_str(), o.rc);
    }
    assert_int_equal(n_barriers, 6); /* first step, each step; bf16 and f32 results: staged, read */
}

int main(int argc, char **argv) {
    if (argc == 2 && std::string(argv[1]) == "--case") return print_results();
    const CMUnitTest tests[] = {cmocka_unit_test(test_any_order_and_no_conflicts),
                                cmocka_unit_test(test_every_barrier)};
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
