/* The whole GPU encoder: agreement with the CPU's f32 and bf16 and with the original's results,
 * bits that depend on nothing but the sequence, two batches under way, contexts side by side,
 * memory. Its steps one by one: test_gpu_stages.c. docs/MODEL.md, Agreement. */
#include "gpu_rig.h"
#include <pthread.h>

static const float some_weights[3] = {1, 1, 2};

/* Largest 1 - cosine that test_embed allows for bf16 against f32: docs/MODEL.md. */
#define BF16_BOUND 2e-4

/* ---- Agreement ---- */

/* One batch against the CPU's f32, and against what bf16 makes of it on the CPU. */
static void agree_on(gpu_rig *r, rig *f32, rig *bf16, const rig_batch *b,
                     const float *class_weights, double *worst) {
    size_t dim = (size_t)r->dim, n = (size_t)b->batch.n_seq;
    float *got = rows_host(n * dim, 4), *wide = rows_host(n * dim, 4),
          *narrow = rows_host(n * dim, 4);
    memset(got, ROWS_POISON, n * dim * 4);
    rig_vectors(r, b, class_weights, got);
    rig_embed(f32, b->ids, b->starts, b->batch.n_seq, class_weights, wide);
    rig_embed(bf16, b->ids, b->starts, b->batch.n_seq, class_weights, narrow);
    for (size_t i = 0; i < n; i++) {
        if (b->starts[i] == b->starts[i + 1]) {
            for (size_t c = 0; c < dim; c++) assert_true(got[i * dim + c] == 0.0f);
            continue;
        }
        double gpu = one_minus_cosine(wide + i * dim, got + i * dim, dim);
        double cpu = one_minus_cosine(wide + i * dim, narrow + i * dim, dim);
        if (!(gpu <= *worst)) *worst = gpu;
        if (!(gpu <= BF16_BOUND && gpu <= 2 * cpu + 1e-5))
            fail_msg("%lld tokens: 1 - cosine to f32: expected at most %.1e and twice the CPU's "
                     "%.1e, got %.1e",
                     (long long)(b->starts[i + 1] - b->starts[i]), BF16_BOUND, cpu, gpu);
    }
    ms_free(got);
    ms_free(wide);
    ms_free(narrow);
}

static void check_agreement(int64_t dim, int64_t heads, int64_t depth,
                            const int64_t (*batches)[RIG_SEQS], const int *n_seqs, int n_batches) {
    static rig_batch b;
    const ms_cpu_kernels *best = ms_cpu_kernels_get(ms_cpu_isa_best());
    gpu_rig r = gpu_rig_open(dim, heads, depth, RIG_TOKENS, RIG_SEQS);
    rig f32 = rig_open(best, r.weights, MSIM_PRECISION_F32, 1, RIG_TOKENS),
        bf16 = rig_open(best, r.weights, MSIM_PRECISION_BF16, 1, RIG_TOKENS);
    double worst = 0.0;
    for (int i = 0; i < n_batches; i++) {
        rig_fill(&b, batches[i], NULL, n_seqs[i]);
        agree_on(&r, &f32, &bf16, &b, i % 2 ? some_weights : NULL, &worst);
    }
    printf("  width %lld, depth %lld: 1 - cosine to the CPU's f32 at most %.1e\n", (long long)dim,
           (long long)depth, worst);
    assert_true(worst > 1e-9); /* and it is bf16 indeed */
    rig_close(&f32);
    rig_close(&bf16);
    gpu_rig_close(&r);
}

static void vectors_are_the_cpus(void **state) {
    (void)state;
    static const int64_t batches[][RIG_SEQS] = {
        {1}, {2, 63}, {64, 65, 127}, {0, 128, 129, 0}, {200, 1, 0, 64, 2}, {0}, {0, 0, 0}, {257}};
    static const int n_seqs[] = {1, 2, 3, 4, 5, 1, 3, 1};
    check_agreement(128, 2, 2, batches, n_seqs, 8);
    check_agreement(192, 2, 1, batches, n_seqs, 4);
    check_agreement(512, 8, SANITIZED ? 1 : 2, batches + 1, n_seqs + 1, 1);
}

/* The original's own results, which the CPU's f32 is within 5e-5 of: the GPU's vectors must be near
 * both. */
static void vectors_are_the_originals(void **state) {
    (void)state;
    if (SANITIZED) skip();
    static rig_batch b;
    float got[2 * GOLDEN_DIM], wide[2 * GOLDEN_DIM];
    gpu_rig r = gpu_rig_open(GOLDEN_DIM, 8, 8, 32, 2);
    rig f32 =
        rig_open(ms_cpu_kernels_get(ms_cpu_isa_best()), r.weights, MSIM_PRECISION_F32, 1, GOLDEN_C);
    seeded_ids(b.ids, 19, 37, 11);
    seeded_ids(b.ids + 19, 7, 53, 5);
    b.starts[1] = 19;
    b.starts[2] = 26;
    b.batch = (ms_batch){.ids = b.ids,
                         .starts = b.starts,
                         .n_seq = 2,
                         .n_tokens = 26,
                         .longest = 19,
                         .classes = &ms_family_of(MSIM_FAMILY_MIDISIM)->classes};
    rig_vectors(&r, &b, some_weights, got);
    rig_goldens(&f32, 1, 0, wide);
    for (int i = 0; i < N_GOLDENS; i++) {
        const golden *g = &goldens[i];
        if (g->depth != 8 || !g->weighted || g->sequence > 1) continue;
        const float *ours = got + g->sequence * GOLDEN_DIM,
                    *theirs = wide + g->sequence * GOLDEN_DIM;
        assert_true(golden_agrees(g, theirs));
        double distance = one_minus_cosine(ours, theirs, GOLDEN_DIM), squares = 0.0;
        printf("  sequence %c: 1 - cosine %.1e\n", 'A' + g->sequence, distance);
        assert_true(distance <= BF16_BOUND && distance > 1e-9);
        for (int j = 0; j < GOLDEN_DIM; j++) squares += (double)ours[j] * ours[j];
        /* An error as large as 1 - cosine d allows in any direction, sqrt(2 d) of the norm, may
         * also lie along it. */
        assert_true(fabs(sqrt(squares) - g->norm) <= sqrt(2 * BF16_BOUND) * g->norm);
    }
    rig_close(&f32);
    gpu_rig_close(&r);
}

/* ---- Bits ---- */

enum { N_LENGTHS = 7, DIM = 128 };
static const int64_t lengths[N_LENGTHS] = {1, 130, 2, 0, 65, 257, 17};

static void batch_of(rig_batch *b, const int *names, int n) {
    int64_t chosen[N_LENGTHS];
    for (int i = 0; i < n; i++) chosen[i] = lengths[names[i]];
    rig_fill(b, chosen, names, n);
}

static void same_bits_for_any_mates(void **state) {
    (void)state;
    static const int orders[][N_LENGTHS] = {
        {0, 1, 2, 3, 4, 5, 6}, {6, 5, 4, 3, 2, 1, 0}, {3, 1, 0, 5, 2, 6, 4}};
    static rig_batch b;
    static const int64_t ff_rows[] = {RIG_TOKENS, 96, 64}; /* feed-forward in chunks: a row's bits
                                                            * stay */
    float first[2][N_LENGTHS * DIM], got[N_LENGTHS * DIM];
    gpu_rig r = gpu_rig_open(DIM, 2, 1, RIG_TOKENS, RIG_SEQS);
    for (int i = 0; i < 3; i++) {
        ms_gpu_encoder_set_ff_rows(r.encoder, ff_rows[i]);
        for (int weighted = 0; weighted < 2; weighted++) {
            batch_of(&b, orders[i], N_LENGTHS);
            rig_vectors(&r, &b, weighted ? some_weights : NULL, got);
            for (int j = 0; j < N_LENGTHS; j++) {
                float *kept = first[weighted] + orders[i][j] * DIM;
                if (i == 0) memcpy(kept, got + j * DIM, DIM * sizeof *got);
                assert_memory_equal(kept, got + j * DIM, DIM * sizeof *got);
            }
        }
    }
    for (int j = 0; j < N_LENGTHS; j++) {
        batch_of(&b, &orders[0][j], 1);
        rig_vectors(&r, &b, NULL, got);
        assert_memory_equal(first[0] + j * DIM, got, DIM * sizeof *got);
    }
    gpu_rig_close(&r);
}

static void keep_final(void *arg, int what, int64_t layer, int64_t first, int64_t n, int64_t cols,
                       const float *rows) {
    (void)layer;
    if (what == MS_GPU_TAP_FINAL)
        memcpy((float *)arg + first * cols, rows, (size_t)(n * cols) * sizeof *rows);
}

/* Rows go to the caller in parts: more than one for each length here, as two sequences make parts
 * of two rows. */
static void token_rows_are_the_final_rows(void **state) {
    (void)state;
    static const int64_t cases[][2] = {{1, 0}, {2, 0}, {0, 3}, {5, 128}, {0, 0}};
    static rig_batch b;
    gpu_rig r = gpu_rig_open(DIM, 2, 1, 140, 2);
    float *seen = rows_host(141 * DIM, 4), *got = rows_host(141 * DIM, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rig_fill(&b, cases[i], NULL, 2);
        size_t n = (size_t)b.batch.n_tokens * DIM;
        memset(got, ROWS_POISON, 141 * DIM * 4);
        ms_gpu_encoder_set_tap(r.encoder, keep_final, seen);
        rows_ok(ms_gpu_encoder_embed_tokens(r.encoder, &b.batch, got, err));
        ms_gpu_encoder_set_tap(r.encoder, NULL, NULL);
        assert_memory_equal(got, seen, n * 4);
        for (size_t j = n; j < 141 * DIM; j++) assert_int_equal(ms_f32_bits(got[j]), 0xffffffff);
    }
    ms_free(seen);
    ms_free(got);
    gpu_rig_close(&r);
}

/* ---- Two batches under way ---- */

static void is_untouched(const float *out, size_t n) {
    for (size_t i = 0; i < n; i++) assert_int_equal(ms_f32_bits(out[i]), 0xffffffff);
}

/* Batches of which two are under way at any time. What was submitted is overwritten at once, so
 * that whatever is still read from the caller's memory later shows; nothing comes before its
 * wait. */
static void batches_under_way_are_independent(void **state) {
    (void)state;
    enum { N = 6 };
    static const int64_t cases[N][3] = {{65, 2, 0},   {1, 0, 0}, {0, 0, 0},
                                        {130, 64, 3}, {0, 0, 7}, {200, 0, 1}};
    static rig_batch b;
    float expected[N][3 * DIM], got[N][3 * DIM], weights[3];
    msim_error failed;
    gpu_rig r = gpu_rig_open(DIM, 2, 2, 256, 3);
    for (int i = 0; i < N; i++) {
        rig_fill(&b, cases[i], NULL, 3);
        rig_vectors(&r, &b, i % 2 ? some_weights : NULL, expected[i]);
    }
    assert_int_equal(ms_gpu_encoder_wait(r.encoder, &failed), -MSIM_E_ARG);
    assert_non_null(strstr(failed.text, "no batch is under way"));
    memset(got, ROWS_POISON, sizeof got);
    int64_t before = ms_mem_count();
    for (int i = 0; i < N + 1; i++) {
        if (i < N) {
            rig_fill(&b, cases[i], NULL, 3);
            memcpy(weights, some_weights, sizeof weights);
            rows_ok(
                ms_gpu_encoder_submit(r.encoder, &b.batch, i % 2 ? weights : NULL, got[i], err));
            memset(&b, ROWS_POISON, sizeof b);
            memset(weights, ROWS_POISON, sizeof weights);
            is_untouched(got[i], 3 * DIM);
        }
        if (i == 0) continue;
        if (i < N) {
            rig_fill(&b, cases[0], NULL, 3);
            assert_int_equal(ms_gpu_encoder_submit(r.encoder, &b.batch, NULL, got[0], &failed),
                             -MSIM_E_LIMIT);
            assert_non_null(strstr(failed.text, "2 batches are under way already"));
        }
        rows_ok(ms_gpu_encoder_wait(r.encoder, err));
        assert_memory_equal(got[i - 1], expected[i - 1], 3 * DIM * sizeof(float));
        if (i < N) is_untouched(got[i], 3 * DIM);
    }
    assert_int_equal(ms_gpu_encoder_wait(r.encoder, NULL), -MSIM_E_ARG);
    assert_int_equal(ms_mem_count(), before); /* R4: nothing was allocated */
    rig_fill(&b, cases[0], NULL, 3); /* closed with two under way: what they would have given is
                                      * dropped */
    memset(got, ROWS_POISON, sizeof got);
    rows_ok(ms_gpu_encoder_submit(r.encoder, &b.batch, NULL, got[0], err));
    rows_ok(ms_gpu_encoder_submit(r.encoder, &b.batch, NULL, got[1], err));
    gpu_rig_close(&r);
    is_untouched(got[0], 6 * DIM);
}

static void stages_are_timed(void **state) {
    (void)state;
    static rig_batch b;
    double seconds[MSIM_STAGE_COUNT], before[MSIM_STAGE_COUNT];
    float out[DIM];
    gpu_rig r = gpu_rig_open(DIM, 2, 2, 70, 1);
    ms_gpu_encoder_stage_seconds(r.encoder, before);
    for (int i = 0; i < MSIM_STAGE_COUNT; i++) assert_true(before[i] == 0.0);
    rig_fill(&b, (const int64_t[]){70}, NULL, 1);
    for (int batch = 0; batch < 18; batch++) { /* two of them have their stages measured */
        rig_vectors(&r, &b, NULL, out);
        ms_gpu_encoder_stage_seconds(r.encoder, seconds);
        for (int i = 0; i < MSIM_STAGE_COUNT; i++) {
            assert_true(seconds[i] >= before[i] && seconds[i] < 1e4);
            before[i] = seconds[i];
        }
    }
    gpu_rig_close(&r);
}

/* ---- Contexts side by side ---- */

typedef struct {
    gpu_rig rig;
    const rig_batch *batches;
    float got[3][RIG_SEQS * DIM];
} worker;

static void *work(void *arg) {
    worker *w = arg;
    for (int i = 0; i < 3; i++) {
        if (ms_gpu_encoder_submit(w->rig.encoder, &w->batches[i].batch, NULL, w->got[i], NULL) < 0)
            return NULL;
        if (i > 0 && ms_gpu_encoder_wait(w->rig.encoder, NULL) < 0) return NULL;
    }
    return ms_gpu_encoder_wait(w->rig.encoder, NULL) < 0 ? NULL : w;
}

static void contexts_share_a_model(void **state) {
    (void)state;
    static rig_batch batches[3];
    static worker workers[2];
    float expected[3][RIG_SEQS * DIM];
    pthread_t threads[2];
    gpu_rig r = gpu_rig_open(DIM, 2, 2, RIG_TOKENS, RIG_SEQS);
    rig_fill(&batches[0], (const int64_t[]){65, 1, 0}, NULL, 3);
    rig_fill(&batches[1], (const int64_t[]){129, 30}, NULL, 2);
    rig_fill(&batches[2], (const int64_t[]){2, 5, 17}, NULL, 3);
    memset(expected, 0, sizeof expected);
    for (int i = 0; i < 3; i++) rig_vectors(&r, &batches[i], NULL, expected[i]);
    for (int i = 0; i < 2; i++) {
        workers[i] = (worker){.rig = {.model = r.model}, .batches = batches};
        rig_start(&workers[i].rig, 200, 4);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    void *results[2];
    for (int i = 0; i < 2; i++) pthread_join(threads[i], &results[i]);
    for (int i = 0; i < 2; i++) {
        assert_ptr_equal(results[i], &workers[i]);
        assert_memory_equal(workers[i].got, expected, sizeof expected);
        rig_stop(&workers[i].rig);
    }
    gpu_rig_close(&r);
}

/* ---- Memory, and what is refused ---- */

static size_t free_bytes(void) {
    ms_gpu_info info;
    rows_ok(ms_gpu_get_info(0, &info, err));
    return info.free_bytes;
}

/* More tokens than any device holds. */
static void too_little_memory_is_one_error(void **state) {
    (void)state;
    static const struct {
        int64_t max_tokens, max_seqs;
    } cases[] = {{(int64_t)1 << 30, 1}, {(int64_t)1 << 30, (int64_t)1 << 24}};
    ms_weights *w = seeded_open(512, 8, 1);
    ms_gpu_model *model;
    ms_gpu_stream *stream;
    size_t at_first = free_bytes();
    rows_ok(ms_gpu_model_open(0, w, MSIM_PRECISION_BF16, &model, err));
    rows_ok(ms_gpu_stream_open(0, &stream, err));
    size_t before = free_bytes();
    for (size_t i = 0; i < 2; i++) {
        msim_options o = {.size = sizeof(msim_options),
                          .max_batch_tokens = cases[i].max_tokens,
                          .max_batch_seqs = cases[i].max_seqs};
        ms_gpu_encoder *encoder = NULL;
        msim_error failed = {0};
        assert_int_equal(ms_gpu_encoder_open(model, stream, &o, &encoder, &failed), -MSIM_E_MEMORY);
        assert_int_equal(failed.code, MSIM_E_MEMORY);
        assert_non_null(strstr(failed.text, "encoder's buffers"));
        assert_null(strchr(failed.text, '\n'));
        assert_null(encoder);
        assert_true(free_bytes() == before);
    }
    ms_gpu_stream_close(stream);
    ms_gpu_model_close(model);
    assert_true(free_bytes() == at_first);
    seeded_close(w);
}

static void every_failed_allocation_is_an_error(void **state) {
    (void)state;
    ms_weights *w = seeded_open(64, 1, 1);
    msim_options o = {.size = sizeof(msim_options), .max_batch_tokens = 64, .max_batch_seqs = 4};
    size_t before = free_bytes();
    int failures = 0;
    for (int n = 1;; n++) {
        ms_gpu_model *model = NULL;
        ms_gpu_stream *stream = NULL;
        ms_gpu_encoder *encoder = NULL;
        msim_error failed = {0};
        ms_mem_fail_at(n);
        int rc = ms_gpu_model_open(0, w, MSIM_PRECISION_BF16, &model, &failed);
        if (rc >= 0) rc = ms_gpu_stream_open(0, &stream, &failed);
        if (rc >= 0) rc = ms_gpu_encoder_open(model, stream, &o, &encoder, &failed);
        ms_mem_fail_at(0);
        ms_gpu_encoder_close(encoder);
        ms_gpu_stream_close(stream);
        ms_gpu_model_close(model);
        assert_true(free_bytes() == before);
        if (rc >= 0) break;
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_int_equal(failed.code, MSIM_E_MEMORY);
        failures++;
    }
    assert_true(failures > 10);
    seeded_close(w);
}

static void refused(const ms_weights *w, int precision, const char *expected, const char *got) {
    ms_gpu_model *model = NULL;
    msim_error failed = {0};
    assert_int_equal(ms_gpu_model_open(0, w, precision, &model, &failed), -MSIM_E_UNSUPPORTED);
    assert_null(model);
    assert_non_null(strstr(failed.text, expected));
    assert_non_null(strstr(failed.text, got));
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    ms_weights *w = seeded_open(64, 1, 1);
    refused(w, MSIM_PRECISION_F32, "expected bf16 on CUDA", "got f32");
    refused(w, MSIM_PRECISION_INT8, "expected bf16 on CUDA", "got int8");
    w->dim = 96;
    refused(w, MSIM_PRECISION_BF16, "model width: expected a multiple of 64", "got 96");
    w->dim = 64;
    w->ff = 224;
    refused(w, MSIM_PRECISION_BF16, "feed-forward width: expected a multiple of 64", "got 224");
    w->ff = 256;
    w->dim = 4096;
    refused(w, MSIM_PRECISION_BF16, "model width: expected at most 2048", "got 4096");
    w->dim = 64;
    seeded_close(w);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_are_the_cpus),
        cmocka_unit_test(vectors_are_the_originals),
        cmocka_unit_test(same_bits_for_any_mates),
        cmocka_unit_test(token_rows_are_the_final_rows),
        cmocka_unit_test(batches_under_way_are_independent),
        cmocka_unit_test(stages_are_timed),
        cmocka_unit_test(contexts_share_a_model),
        cmocka_unit_test(too_little_memory_is_one_error),
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
