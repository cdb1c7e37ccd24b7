/* Embedding in two steps, msim_context_embed_submit and _wait: which order of calls is right, what
 * each wrong one says, and that the vectors are msim_context_embed's. On the CPU, with the small
 * checkpoint of test/data; a GPU's queue is tested in test/gpu/test_gpu_encoder.c. */
#include "midisim.h"
#include "support/test.h"
#include <math.h>

enum { MOST_DIM = 64, N_TOKENS = 12 };

static const int32_t some_ids[N_TOKENS] = {0, 130, 300, 5, 200, 260, 0, 140, 270, 3, 150, 330};
static const int64_t some_starts[] = {0, 5, 5, N_TOKENS};

typedef struct {
    msim_model *model;
    msim_context *context;
    size_t dim;
    msim_error err;
} rig;

static rig rig_open(void) {
    rig r;
    msim_model_info info = {.size = sizeof info};
    msim_options o = msim_options_default();
    o.device = MSIM_DEVICE_CPU;
    o.threads = 1;
    o.max_batch_tokens = 16;
    o.max_batch_seqs = 4;
    assert_int_equal(
        msim_model_open("test/data/checkpoints/tiny.safetensors", &o, &r.model, &r.err), 0);
    assert_int_equal(msim_context_open(r.model, &o, &r.context, &r.err), 0);
    msim_model_get_info(r.model, &info);
    assert_true(info.dim <= MOST_DIM && info.vocab > 330);
    r.dim = (size_t)info.dim;
    return r;
}

static void rig_close(rig *r) {
    msim_context_close(r->context);
    msim_model_close(r->model);
}

static void refused(rig *r, int rc, int code, const char *expected, const char *got) {
    assert_int_equal(rc, -code);
    assert_int_equal(r->err.code, code);
    assert_non_null(strstr(r->err.text, expected));
    assert_non_null(strstr(r->err.text, got));
}

static int submit(rig *r, const int64_t *starts, size_t n_seq, const float *class_weights,
                  float *out) {
    return msim_context_embed_submit(r->context, some_ids, starts, n_seq, class_weights, out,
                                     &r->err);
}

static void vectors_are_those_of_embed(void **state) {
    (void)state;
    static const float class_weights[3] = {1.0f, 1.0f, 2.0f};
    rig r = rig_open();
    float expected[2][3 * MOST_DIM], got[2][3 * MOST_DIM];
    size_t n_bytes = 3 * r.dim * sizeof(float);
    msim_stats stats = {.size = sizeof stats};
    for (int i = 0; i < 2; i++)
        assert_int_equal(msim_context_embed(r.context, some_ids, some_starts, 3,
                                            i ? class_weights : NULL, expected[i], NULL),
                         0);
    assert_memory_not_equal(expected[0], expected[1], n_bytes);
    memset(got, 0x7f, sizeof got);
    for (int i = 0; i < 2; i++) {
        int32_t ids[N_TOKENS];
        int64_t starts[4];
        float weights[3];
        memcpy(ids, some_ids, sizeof ids);
        memcpy(starts, some_starts, sizeof starts);
        memcpy(weights, class_weights, sizeof weights);
        assert_int_equal(
            msim_context_embed_submit(r.context, ids, starts, 3, i ? weights : NULL, got[i], NULL),
            0);
        memset(ids, 0xff, sizeof ids); /* all of it is the caller's again */
        memset(starts, 0xff, sizeof starts);
        memset(weights, 0xff, sizeof weights);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(msim_context_embed_wait(r.context, NULL), 0);
        assert_memory_equal(got[i], expected[i], n_bytes);
        msim_context_stats(r.context, &stats);
        assert_int_equal(stats.tokens, (i + 3) * N_TOKENS); /* counted when a batch is finished */
        assert_int_equal(stats.sequences, (i + 3) * 3);
    }
    rig_close(&r);
}

static void wrong_orders_are_refused(void **state) {
    (void)state;
    static const float bad_weights[3] = {1.0f, INFINITY, 1.0f};
    rig r = rig_open();
    float out[3][3 * MOST_DIM], scores[MOST_DIM] = {0};
    int64_t rows[4];
    double found[4];
    refused(&r, msim_context_embed_wait(r.context, &r.err), MSIM_E_ARG, "no batch is", "under way");
    /* What is refused is not under way. */
    refused(&r, submit(&r, (const int64_t[]){0, 17}, 1, NULL, out[0]), MSIM_E_LIMIT,
            "at most 16 tokens", "got 17");
    refused(&r, submit(&r, (const int64_t[]){0, 3}, 1, bad_weights, out[0]), MSIM_E_ARG,
            "class_weights[1]", "got inf");
    refused(&r, submit(&r, (const int64_t[]){1, 3}, 1, NULL, out[0]), MSIM_E_ARG, "begin at 0",
            "got 1");
    refused(&r, msim_context_embed_wait(r.context, &r.err), MSIM_E_ARG, "no batch is", "under way");
    for (int i = 0; i < MSIM_BATCHES_UNDER_WAY; i++)
        assert_int_equal(submit(&r, some_starts, 3, NULL, out[i]), 0);
    refused(&r, submit(&r, some_starts, 3, NULL, out[2]), MSIM_E_LIMIT, "2 batches are under way",
            "wait for one");
    for (int left = MSIM_BATCHES_UNDER_WAY; left > 0; left--) {
        const char *got = left == 2 ? "2 batches are under way" : "1 batch is under way";
        refused(&r, msim_context_embed(r.context, some_ids, some_starts, 3, NULL, out[2], &r.err),
                MSIM_E_ARG, "embed: ", got);
        refused(&r, msim_context_embed_tokens(r.context, some_ids, some_starts, 3, out[2], &r.err),
                MSIM_E_ARG, "embed: ", got);
        refused(&r, (int)msim_context_search(r.context, scores, 1, 1, rows, found, &r.err),
                MSIM_E_ARG, "search: ", got);
        refused(&r, msim_context_load_rows(r.context, NULL, 0, 0, &r.err), MSIM_E_ARG,
                "corpus: ", got);
        assert_int_equal(msim_context_embed_wait(r.context, &r.err), 0);
    }
    refused(&r, msim_context_embed_wait(r.context, &r.err), MSIM_E_ARG, "no batch is", "under way");
    assert_int_equal(msim_context_embed(r.context, some_ids, some_starts, 3, NULL, out[2], &r.err),
                     0);
    assert_memory_equal(out[0], out[2], 3 * r.dim * sizeof(float));
    assert_memory_equal(out[1], out[2], 3 * r.dim * sizeof(float));
    rig_close(&r);
}

static void batches_of_nothing_count_too(void **state) {
    (void)state;
    rig r = rig_open();
    float out[2 * MOST_DIM];
    memset(out, 0x7f, sizeof out);
    assert_int_equal(submit(&r, NULL, 0, NULL, NULL), 0);
    assert_int_equal(submit(&r, (const int64_t[]){0, 0, 0}, 2, NULL, out), 0);
    refused(&r, submit(&r, NULL, 0, NULL, NULL), MSIM_E_LIMIT, "2 batches are", "wait for one");
    assert_int_equal(msim_context_embed_wait(r.context, &r.err), 0);
    assert_int_equal(msim_context_embed_wait(r.context, &r.err), 0);
    for (size_t i = 0; i < 2 * r.dim; i++) assert_true(out[i] == 0.0f);
    rig_close(&r);
}

static void close_drops_what_is_under_way(void **state) {
    (void)state;
    rig r = rig_open();
    float *out = malloc(3 * r.dim * sizeof *out);
    assert_int_equal(submit(&r, some_starts, 3, NULL, out), 0);
    rig_close(&r);
    free(out);
}

static void a_context_without_a_model_has_nothing_to_submit(void **state) {
    (void)state;
    msim_options o = msim_options_default();
    rig r = {0};
    o.device = MSIM_DEVICE_CPU;
    o.threads = 1;
    assert_int_equal(msim_context_open(NULL, &o, &r.context, &r.err), 0);
    refused(&r, submit(&r, some_starts, 3, NULL, NULL), MSIM_E_ARG, "this context was opened",
            "without a model");
    rig_close(&r);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_are_those_of_embed),
        cmocka_unit_test(wrong_orders_are_refused),
        cmocka_unit_test(batches_of_nothing_count_too),
        cmocka_unit_test(close_drops_what_is_under_way),
        cmocka_unit_test(a_context_without_a_model_has_nothing_to_submit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
