/* The public API on a GPU: which device is chosen, what CUDA refuses by name, and what AUTO leaves
 * to the CPU, with the same answer. A model of the shipped checkpoints whose widths the GPU serves,
 * a corpus written here. include/midisim.h. */
#include "midisim.h"
#include "support/test.h"
#include <math.h>
#include <unistd.h>

enum { DIM = 128, ROWS = 300, TOKENS = 90, QUERIES = 2, K = 40 };

#define WIDE "test/data/checkpoints/wide.pth"
#define NARROW "test/data/checkpoints/tiny.safetensors"

static void ok(int64_t rc, const msim_error *e) {
    if (rc < 0) fail_msg("%s", e->text);
}

static msim_options options(int device) {
    msim_options o = msim_options_default();
    o.device = device;
    o.threads = 1;
    o.max_batch_tokens = 256;
    o.max_batch_seqs = 4;
    o.max_queries = QUERIES;
    return o;
}

static msim_model *model_of(const char *path, msim_options o) {
    msim_error e;
    msim_model *model = NULL;
    ok(msim_model_open(path, &o, &model, &e), &e);
    return model;
}

static int device_of(const msim_model *model) {
    msim_model_info info = {.size = sizeof info};
    msim_model_get_info(model, &info);
    return info.device;
}

static void refused(const char *path, msim_options o, int code, const char *says) {
    msim_error e = {0};
    msim_model *model = NULL;
    assert_int_equal(msim_model_open(path, &o, &model, &e), -code);
    assert_null(model);
    if (!strstr(e.text, says)) fail_msg("expected '%s', got '%s'", says, e.text);
    assert_int_equal(msim_model_open(path, &o, &model, NULL), -code);
}

static void devices_are_listed(void **state) {
    (void)state;
    msim_gpu_info info = {.size = sizeof info};
    msim_error e = {0};
    int n = msim_gpu_count();
    assert_true(n >= 1 && msim_has_cuda());
    ok(msim_gpu_get_info(n - 1, &info, &e), &e);
    assert_true(info.major >= 8 && info.memory_bytes > 0 && info.multiprocessors > 0 &&
                info.name[0]);
    assert_int_equal(msim_gpu_get_info(n, &info, &e), -MSIM_E_DEVICE);
    assert_int_equal(msim_gpu_get_info(-1, &info, NULL), -MSIM_E_DEVICE);
}

static void devices_are_chosen(void **state) {
    (void)state;
    msim_options o = options(MSIM_DEVICE_CUDA);
    o.precision = MSIM_PRECISION_INT8;
    refused(WIDE, o, MSIM_E_UNSUPPORTED, "expected bf16 on CUDA, got int8");
    o.precision = MSIM_PRECISION_BF16;
    refused(NARROW, o, MSIM_E_UNSUPPORTED, "multiple of 64");
    o.gpu = 99;
    refused(WIDE, o, MSIM_E_DEVICE, "cuda:99");
    o.gpu = -2;
    refused(WIDE, o, MSIM_E_ARG, "gpu: expected");

    static const struct {
        const char *path;
        int isa, precision, device;
    } autos[] = {{WIDE, MSIM_ISA_AUTO, MSIM_PRECISION_BF16, MSIM_DEVICE_CUDA},
                 {NARROW, MSIM_ISA_AUTO, MSIM_PRECISION_BF16, MSIM_DEVICE_CPU},
                 {WIDE, MSIM_ISA_REF, MSIM_PRECISION_BF16, MSIM_DEVICE_CPU},
                 {WIDE, MSIM_ISA_AUTO, MSIM_PRECISION_INT8, MSIM_DEVICE_CPU}};
    for (size_t i = 0; i < sizeof autos / sizeof *autos; i++) {
        o = options(MSIM_DEVICE_AUTO);
        o.isa = autos[i].isa;
        o.precision = autos[i].precision;
        msim_model *model = model_of(autos[i].path, o);
        assert_int_equal(device_of(model), autos[i].device);
        msim_model_close(model);
    }
}

/* ---- Searches ---- */

static msim_corpus *corpus_of(char *path) {
    msim_corpus_layout layout = {.size = sizeof(msim_corpus_layout),
                                 .rows = ROWS,
                                 .dim = DIM,
                                 .dtype = MSIM_DTYPE_F32,
                                 .format = MSIM_FORMAT_STRUCTURED,
                                 .name_chars = 3};
    msim_corpus_writer *w = NULL;
    msim_corpus *corpus = NULL;
    msim_error e;
    float row[DIM];
    ok(msim_corpus_writer_open(path, &layout, &w, &e), &e);
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < DIM; j++) row[j] = (float)((i * 37 + j * 101 + i * j) % 23 - 11);
        ok(msim_corpus_writer_add(w, "row", 3, row, &e), &e);
    }
    ok(msim_corpus_writer_finish(w, &e), &e);
    msim_corpus_writer_close(w);
    ok(msim_corpus_open(path, NULL, &corpus, &e), &e);
    return corpus;
}

typedef struct {
    int64_t n, rows[QUERIES * K];
    double scores[QUERIES * K];
    int device;
} answer;

static answer ask(const msim_model *model, msim_options o, const msim_corpus *corpus,
                  const float *queries) {
    answer a = {0};
    msim_context *ctx = NULL;
    msim_stats stats = {.size = sizeof stats};
    msim_error e;
    ok(msim_context_open(model, &o, &ctx, &e), &e);
    ok(msim_context_load_corpus(ctx, corpus, &e), &e);
    ok(a.n = msim_context_search(ctx, queries, QUERIES, K, a.rows, a.scores, &e), &e);
    msim_context_stats(ctx, &stats);
    a.device = stats.search_device;
    if (model) { /* embeds as before, whoever searches */
        int32_t ids[TOKENS];
        int64_t starts[] = {0, 30, TOKENS};
        float out[2 * DIM], both[2 * DIM];
        for (int i = 0; i < TOKENS; i++) ids[i] = (i * 131) % 384;
        ok(msim_context_embed(ctx, ids, starts, 2, NULL, out, &e), &e);
        ok(msim_context_embed_submit(ctx, ids, starts, 2, NULL, both, &e), &e);
        ok(msim_context_embed_wait(ctx, &e), &e);
        assert_memory_equal(out, both, sizeof out);
    }
    msim_context_close(ctx);
    return a;
}

static void auto_leaves_many_results_to_the_cpu(void **state) {
    (void)state;
    char path[] = "/tmp/midisim-gpu-api-XXXXXX", file[64];
    float queries[QUERIES * DIM];
    assert_non_null(mkdtemp(path));
    snprintf(file, sizeof file, "%s/c.npy", path);
    msim_corpus *corpus = corpus_of(file);
    for (int j = 0; j < QUERIES * DIM; j++) queries[j] = (float)((j * 53) % 19 - 9);
    msim_options o = options(MSIM_DEVICE_AUTO), many = o, named = options(MSIM_DEVICE_CUDA),
                 all = named, cpu = options(MSIM_DEVICE_CPU);
    many.max_k = named.max_k = MSIM_GPU_MAX_K + 1;
    all.gpu = MSIM_GPU_ALL;
    msim_model *model = model_of(WIDE, many); /* weights on the GPU all the same */
    assert_int_equal(device_of(model), MSIM_DEVICE_CUDA);
    answer wanted = ask(NULL, cpu, corpus, queries);
    assert_int_equal(wanted.device, MSIM_DEVICE_CPU);
    struct {
        const msim_model *model;
        msim_options o;
        int device;
    } asked[] = {{NULL, o, MSIM_DEVICE_CUDA},
                 {model, o, MSIM_DEVICE_CUDA},
                 {NULL, many, MSIM_DEVICE_CPU},
                 {model, many, MSIM_DEVICE_CPU},
                 {NULL, all, MSIM_DEVICE_CUDA}};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        answer a = ask(asked[i].model, asked[i].o, corpus, queries);
        assert_int_equal(a.device, asked[i].device);
        assert_int_equal(a.n, wanted.n);
        assert_memory_equal(a.rows, wanted.rows, sizeof a.rows);
        assert_memory_equal(a.scores, wanted.scores, sizeof a.scores);
    }
    for (int i = 0; i < 2; i++) {
        msim_context *ctx = NULL;
        msim_error e = {0};
        assert_int_equal(msim_context_open(i ? model : NULL, &named, &ctx, &e),
                         -MSIM_E_UNSUPPORTED);
        assert_null(ctx);
        assert_non_null(strstr(e.text, "max_k: expected at most 1024 on CUDA, got 1025"));
    }
    msim_model_close(model);
    msim_corpus_close(corpus);
    remove(file);
    rmdir(path);
}

/* A query with NaN or infinity is refused on either device with the same words, and the context
 * serves the next; one of zeros scores 0 with every row. */
static void odd_queries(void **state) {
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    char path[] = "/tmp/midisim-gpu-api-XXXXXX", file[64];
    float queries[QUERIES * DIM] = {0};
    assert_non_null(mkdtemp(path));
    snprintf(file, sizeof file, "%s/c.npy", path);
    msim_corpus *corpus = corpus_of(file);
    msim_context *ctx[2];
    int64_t rows[2][QUERIES * K];
    double scores[2][QUERIES * K];
    msim_error e[2];
    for (int i = 0; i < 2; i++) {
        msim_options o = options(i ? MSIM_DEVICE_CUDA : MSIM_DEVICE_CPU);
        ok(msim_context_open(NULL, &o, &ctx[i], &e[i]), &e[i]);
        ok(msim_context_load_corpus(ctx[i], corpus, &e[i]), &e[i]);
    }
    for (int turn = 0; turn < 4; turn++) {
        for (int j = 0; j < DIM; j++) queries[DIM + j] = turn == 3 ? 0.0f : (float)(j % 7 - 3);
        if (turn < 3) queries[DIM + 5] = odd[turn];
        int64_t n[2];
        for (int i = 0; i < 2; i++)
            n[i] = msim_context_search(ctx[i], queries, QUERIES, K, rows[i], scores[i], &e[i]);
        assert_int_equal(n[0], n[1]);
        assert_true(turn < 3 ? n[0] < 0 : n[0] == K);
        if (turn < 3) assert_string_equal(e[0].text, e[1].text);
        for (int j = 0; j < DIM; j++) queries[DIM + j] = (float)(j % 11 - 5);
        for (int i = 0; i < 2; i++)
            ok(msim_context_search(ctx[i], queries, QUERIES, K, rows[i], scores[i], &e[i]), &e[i]);
        assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
        assert_memory_equal(scores[0], scores[1], sizeof scores[0]);
        assert_true(scores[1][0] == 0.0 && scores[1][K] > 0.0); /* the first query is of zeros */
    }
    for (int i = 0; i < 2; i++) msim_context_close(ctx[i]);
    msim_corpus_close(corpus);
    remove(file);
    rmdir(path);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_listed),
        cmocka_unit_test(devices_are_chosen),
        cmocka_unit_test(auto_leaves_many_results_to_the_cpu),
        cmocka_unit_test(odd_queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
