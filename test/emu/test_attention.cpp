/* What only the emulator can show of k_attend_bf16: ldmatrix without bank conflicts, each barrier
 * needed, results that no order of blocks, warps and streams changes and that the matrix
 * operations' order and rounding change by their rounding alone. The settings are read once, so
 * each run is a process: this program again, with --case. */
#include "emu.h"
#include "kernels/prim.cuh" /* before what host and kernels share */
#include "kernels/kernels.h"
#include "kernel_test.h" /* last: cmocka has a macro for `fail` */

/* Five key tiles, so that the ring's places come round; the last tiles of 44, 1 and 20 rows; two
 * heads. */
static const int lengths[] = {300, 65, 20};
enum { N_SEQ = 3, N = 385, HEADS = 2, INNER = 64 * HEADS };

/* ---- One run ---- */

static void need(int rc, const msim_error *err) {
    if (rc == MSIM_OK) return;
    printf("%s\n", err->text);
    exit(1);
}

static ms_bf16 value(uint64_t *state, float scale) {
    uint64_t z = emu::next_random(state);
    return ms_bf16_of_f32((float)((int64_t)(z >> 40) - 8388608) / 8388608.0f * scale);
}

/* Prints the conflicts and all results, as hexadecimal digits. */
static int print_results() {
    std::vector<ms_bf16> qkv((size_t)N * 3 * INNER), out((size_t)N * INNER);
    uint64_t state = 1;
    for (size_t i = 0; i < qkv.size(); i++)
        qkv[i] = value(&state, i % (3 * INNER) < 2 * INNER ? 4.0f : 1.0f);
    std::vector<ms_gpu_query_tile> tiles;
    for (int seq = 0, start = 0; seq < N_SEQ; start += lengths[seq++])
        for (int first = 0; first < lengths[seq]; first += MS_GPU_QUERY_ROWS)
            tiles.push_back({start + first, start, start + lengths[seq]});

    msim_error err;
    ms_gpu_stream *s;
    need(ms_gpu_stream_open(0, &s, &err), &err);
    size_t in_bytes = qkv.size() * sizeof qkv[0], out_bytes = out.size() * sizeof out[0];
    size_t tile_bytes = tiles.size() * sizeof tiles[0];
    auto *d_in = (ms_bf16 *)ms_gpu_alloc(s, in_bytes, 1, "test", &err);
    auto *d_out = (ms_bf16 *)ms_gpu_alloc(s, out_bytes, 1, "test", &err);
    auto *d_tiles = (ms_gpu_query_tile *)ms_gpu_alloc(s, tile_bytes, 1, "test", &err);
    need(d_in && d_out && d_tiles ? MSIM_OK : -1, &err);
    need(ms_gpu_upload(s, d_in, qkv.data(), in_bytes, &err), &err);
    need(ms_gpu_upload(s, d_tiles, tiles.data(), tile_bytes, &err), &err);
    need(ms_attend_bf16_cuda(s, d_out, d_in, d_tiles, (int64_t)tiles.size(), HEADS, &err), &err);
    need(ms_gpu_download(s, out.data(), d_out, out_bytes, &err), &err);
    need(ms_gpu_sync(s, &err), &err);
    ms_gpu_free(s, d_in);
    ms_gpu_free(s, d_out);
    ms_gpu_free(s, d_tiles);
    ms_gpu_stream_close(s);
    printf("conflicts %llu\n", (unsigned long long)emu::bank_conflicts());
    for (ms_bf16 x : out) printf("%04x", x.bits);
    return 0;
}

typedef struct {
    int rc;
    std::string text; /* of both streams */
} outcome;

/* This program with --case and a setting, "NAME=value". */
static outcome run(const std::string &setting) {
    outcome result;
    result.rc = run_case("--case", setting.c_str(), &result.text);
    return result;
}

static std::string digits(const outcome &o) { return o.text.substr(o.text.find('\n') + 1); }

/* ---- Tests ---- */

static void test_conflicts(void **) {
    outcome o = run("EMU_SEED=1");
    assert_int_equal(o.rc, 0);
    assert_int_equal(o.text.compare(0, 12, "conflicts 0\n"), 0);
    assert_int_equal(digits(o).size(), 4 * N * INNER);
}

static void test_any_order(void **) {
    std::string first = digits(run("EMU_SEED=1"));
    for (int seed = 2; seed <= 6; seed++) {
        outcome o = run("EMU_SEED=" + std::to_string(seed));
        assert_int_equal(o.rc, 0);
        assert_true(digits(o) == first);
    }
}

/* Values are within 1: p rounded to bf16 costs a result at most 2^-8 in each mode, its own rounding
 * as much, and f32's roundings less than a quarter of that. test/gpu/test_attention.c has the
 * bounds; here the modes must differ, and little. */
static void test_both_sums(void **) {
    outcome a = run("EMU_MMA=f32"), b = run("EMU_MMA=f64");
    assert_int_equal(a.rc, 0);
    assert_int_equal(b.rc, 0);
    std::string x = digits(a), y = digits(b);
    assert_int_equal(x.size(), y.size());
    assert_true(x != y);
    for (size_t i = 0; i < x.size(); i += 4) {
        float u = ms_f32_from_bits((uint32_t)strtoul(x.substr(i, 4).c_str(), nullptr, 16) << 16);
        float v = ms_f32_from_bits((uint32_t)strtoul(y.substr(i, 4).c_str(), nullptr, 16) << 16);
        assert_true(u - v <= 4.5f / 256 && v - u <= 4.5f / 256);
    }
}

/* With a barrier gone, the race checks must name the kernel: otherwise it is superfluous. */
static void test_every_barrier(void **) {
    outcome whole = run("EMU_BARRIERS=/dev/stdout");
    assert_int_equal(whole.rc, 0);
    std::vector<std::string> barriers;
    for (size_t from = 0, to; whole.text.compare(from, 9, "conflicts") &&
                              (to = whole.text.find('\n', from)) < whole.text.size();
         from = to + 1)
        barriers.push_back(whole.text.substr(from, to - from));
    assert_int_equal(barriers.size(), 3); /* queries, tiles, results */
    for (const std::string &barrier : barriers) {
        assert_true(barrier.find("attn_bf16.cu:") != std::string::npos);
        if (MODE != RACE) continue;
        outcome o = run("EMU_DROP=" + barrier);
        if (o.rc != emu::EXIT_CODE || o.text.find("k_attend_bf16") == std::string::npos)
            fail_msg("without the barrier of %s: exit code %d", barrier.c_str(), o.rc);
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && std::string(argv[1]) == "--case") return print_results();
    const CMUnitTest tests[] = {cmocka_unit_test(test_conflicts), cmocka_unit_test(test_any_order),
                                cmocka_unit_test(test_both_sums),
                                cmocka_unit_test(test_every_barrier)};
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
