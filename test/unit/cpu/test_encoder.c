/* The whole forward pass at every level: the original's results on the seeded model, step by step
 * and pooled; bits that depend on nothing but the sequence; pooling's edges; memory.
 * docs/MODEL.md. */
#include "support/goldens.h"

/* ---- Goldens ---- */

static void check_goldens(const ms_cpu_kernels *kernels, int depth) {
    int is_ref = kernels->isa == MSIM_ISA_REF, long_too = is_ref ? depth == 8 && !SANITIZED : 1;
    float f32[3 * GOLDEN_DIM], bf16[3 * GOLDEN_DIM];
    ms_weights *w = seeded_open(512, 8, depth);
    rig r32 = rig_open(kernels, w, MSIM_PRECISION_F32, 2, GOLDEN_C),
        r16 = rig_open(kernels, w, MSIM_PRECISION_BF16, 2, GOLDEN_C);
    for (int weighted = 0; weighted < 2; weighted++) {
        int with_c = long_too && !(is_ref && weighted);
        rig_goldens(&r32, weighted, with_c, f32);
        for (int i = 0; i < N_GOLDENS; i++) {
            const golden *g = &goldens[i];
            if (g->depth == depth && g->weighted == weighted && (with_c || g->sequence < 2))
                assert_true(golden_agrees(g, f32 + g->sequence * GOLDEN_DIM));
        }
        if (weighted) continue;
        rig_goldens(&r16, weighted, long_too && !is_ref, bf16);
        for (int i = 0; i < (long_too && !is_ref ? 3 : 2); i++) {
            double distance =
                one_minus_cosine(f32 + i * GOLDEN_DIM, bf16 + i * GOLDEN_DIM, GOLDEN_DIM);
            printf("  %s, depth %d, sequence %c: bf16 1 - cosine %.1e\n", kernels->name, depth,
                   'A' + i, distance);
            assert_true(distance <= 2e-4 && distance > 1e-7); /* and it is bf16 indeed */
        }
    }
    rig_close(&r32);
    rig_close(&r16);
    seeded_close(w);
}

static void pooled_vectors_of_the_small_model(void **state) {
    (void)state;
    FOR_EACH_LEVEL(kernels) check_goldens(kernels, 8);
}

static void pooled_vectors_of_the_large_model(void **state) {
    (void)state;
    FOR_EACH_LEVEL(kernels)
    if (!SANITIZED) check_goldens(kernels, 16);
}

/* What the original has at position 5 of sequence A, stage by stage. */
static const struct {
    int tap, layer, column;
    double values[6];
} trace[] = {
    {MS_TAP_RESIDUAL, 0, 0, {0.132895, -0.415717, 0.449570, -0.322216, -0.174123, 0.093337}},
    {MS_TAP_ATTN_NORM, 0, 0, {0.606562, -1.210809, 1.566732, -1.163519, -0.682811, 0.327285}},
    {MS_TAP_Q, 0, 0, {3.803842, 0.150658, 0.492034, -1.243928, 2.338995, -1.495082}},
    {MS_TAP_K, 0, 0, {-1.008728, 1.062281, 0.166638, -1.494364, 1.187191, 3.025196}},
    {MS_TAP_K, 0, 64, {-4.419106, -0.615323, -1.689049, -1.015088, 1.416378, 2.406492}},
    {MS_TAP_V, 0, 0, {0.725360, -0.474013, -0.091040, -0.886215, 1.135018, 1.066001}},
    {MS_TAP_HEADS, 0, 0, {0.099060, 0.395533, 0.034021, 0.153871, -0.422786, -0.045295}},
    {MS_TAP_MIDDLE, 0, 0, {-0.131495, -0.673912, 1.223180, -0.031136, 0.730892, 0.281711}},
    {MS_TAP_FF_NORM, 0, 0, {-0.223263, -1.460003, 1.865529, -0.079739, 1.393877, 0.444095}},
    {MS_TAP_GELU, 0, 0, {-0.105330, 0.518690, -0.110733, -0.147136, 0.356435, 0.025662}},
    {MS_TAP_RESIDUAL, 1, 0, {0.174804, -0.456579, 1.140142, 0.034697, 0.309900, 0.160974}},
    {MS_TAP_FINAL, 8, 0, {0.598057, -1.123471, 1.736546, 1.065313, 0.458172, 1.475423}},
};
enum { N_TRACE = sizeof trace / sizeof *trace, TRACE_ROW = 5 };

static void check_tap(void *arg, int tap, size_t layer, size_t first_row, size_t n_rows,
                      const void *data, size_t stride) {
    int *seen = arg;
    if (first_row > TRACE_ROW || first_row + n_rows <= TRACE_ROW) return;
    const float *row = (const float *)data + (TRACE_ROW - first_row) * stride;
    for (int i = 0; i < N_TRACE; i++) {
        if (trace[i].tap != tap || (size_t)trace[i].layer != layer) continue;
        for (int j = 0; j < 6; j++)
            assert_true(fabs(row[trace[i].column + j] - trace[i].values[j]) <= 5e-5);
        *seen |= 1 << i;
    }
}

static void every_step_is_the_originals(void **state) {
    (void)state;
    int32_t ids[19];
    float out[GOLDEN_DIM];
    ms_weights *w = seeded_open(512, 8, 8);
    seeded_ids(ids, 19, 37, 11);
    FOR_EACH_LEVEL(kernels) {
        int seen = 0;
        rig r = rig_open(kernels, w, MSIM_PRECISION_F32, 1, 19);
        ms_cpu_encoder_set_tap(r.encoder, check_tap, &seen);
        rig_embed(&r, ids, (const int64_t[]){0, 19}, 1, NULL, out);
        assert_int_equal(seen, (1 << N_TRACE) - 1);
        rig_close(&r);
    }
    seeded_close(w);
}

/* ---- Bits ---- */

enum { SMALL_DIM = 128, N_LENGTHS = 10, ALL_TOKENS = 1100 };
static const int lengths[N_LENGTHS] = {1, 300, 2, 17, 0, 97, 64, 5, 257, 15};

/* Every sequence embedded in a batch ordered by `order`; out by sequence. */
static void embed_ordered(rig *r, const int *order, int n, float *out) {
    int32_t ids[ALL_TOKENS];
    int64_t starts[N_LENGTHS + 1] = {0};
    float got[N_LENGTHS * SMALL_DIM];
    for (int i = 0; i < n; i++) {
        seeded_ids(ids + starts[i], lengths[order[i]], 29 + 2 * order[i], 7);
        starts[i + 1] = starts[i] + lengths[order[i]];
    }
    rig_embed(r, ids, starts, n, NULL, got);
    for (int i = 0; i < n; i++)
        memcpy(out + order[i] * SMALL_DIM, got + i * SMALL_DIM, SMALL_DIM * sizeof *out);
}

static void same_bits_for_any_mates_and_threads(void **state) {
    (void)state;
    static const int orders[][N_LENGTHS] = {{9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
                                            {4, 1, 0, 2, 9, 3, 8, 5, 7, 6}};
    ms_weights *w = seeded_open(SMALL_DIM, 4, 2);
    FOR_EACH_LEVEL(kernels)
    for (int precision = SANITIZED; precision < 3; precision++) {
        if (precision == MSIM_PRECISION_INT8 && !ms_int8_kernels_get(kernels->isa)) continue;
        float alone[N_LENGTHS * SMALL_DIM], together[N_LENGTHS * SMALL_DIM];
        for (int threads = 1; threads <= 3; threads++) {
            rig r = rig_open(kernels, w, precision, threads, ALL_TOKENS);
            for (int i = 0; threads == 1 && i < N_LENGTHS; i++) embed_ordered(&r, &i, 1, alone);
            for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
                embed_ordered(&r, orders[i], N_LENGTHS, together);
                assert_memory_equal(alone, together, sizeof alone);
            }
            rig_close(&r);
        }
    }
    seeded_close(w);
}

/* ---- Pooling and edges ---- */

static void pooling_follows_its_definition(void **state) {
    (void)state;
    enum { N = 40, DIM = 64 };
    static const float cases[][3] = {{1, 1, 2}, {0.5f, 3, 0}, {0, 0, 0}, {-1, -1, -1}};
    int32_t ids[N];
    float rows[N * DIM], pooled[2 * DIM];
    ms_weights *w = seeded_open(DIM, 1, 1);
    seeded_ids(ids, N, 37, 11);
    ids[7] = 384;
    ids[9] = 385; /* a real token with the padding id counts as one */
    FOR_EACH_LEVEL(kernels) {
        rig r = rig_open(kernels, w, MSIM_PRECISION_F32, 2, N);
        ms_batch batch = {.ids = ids, .starts = (const int64_t[]){0, N}, .n_seq = 1, .n_tokens = N};
        ms_cpu_encoder_embed_tokens(r.encoder, &batch, rows);
        for (size_t c = 0; c <= sizeof cases / sizeof *cases; c++) {
            const float *weights = c < 4 ? cases[c] : NULL;
            rig_embed(&r, ids, (const int64_t[]){0, N, N}, 2, weights, pooled);
            for (int j = 0; j < DIM; j++) {
                double sum = 0, weight_sum = 0, sum_abs = 0;
                for (int t = 0; t < N; t++) {
                    double weight = weights && ids[t] < 384 ? weights[ids[t] / 128] : 1.0;
                    sum += weight * rows[t * DIM + j];
                    sum_abs += fabs(weight * rows[t * DIM + j]);
                    weight_sum += weight;
                }
                double divisor = fmax(weight_sum, weights ? 1e-6 : 1e-9);
                /* three roundings to f32 (sum, weight sum, quotient), and N in double */
                assert_true(fabs(pooled[j] - sum / divisor) <=
                            (3 * 0x1p-24 + N * 0x1p-53) * sum_abs / divisor + 1e-30);
                assert_true(pooled[DIM + j] == 0.0f); /* the empty sequence */
            }
        }
        rig_close(&r);
    }
    seeded_close(w);
}

/* Four weights for the classes of midisimx; what is behind them has weight 1. */
static void classes_of_both_families(void **state) {
    (void)state;
    static const struct {
        int family, id;
        float weight;
    } cases[] = {{MSIM_FAMILY_MIDISIM, 0, 2},    {MSIM_FAMILY_MIDISIM, 127, 2},
                 {MSIM_FAMILY_MIDISIM, 128, 3},  {MSIM_FAMILY_MIDISIM, 383, 5},
                 {MSIM_FAMILY_MIDISIM, 384, 1},  {MSIM_FAMILY_MIDISIM, 385, 1},
                 {MSIM_FAMILY_MIDISIMX, 127, 2}, {MSIM_FAMILY_MIDISIMX, 128, 3},
                 {MSIM_FAMILY_MIDISIMX, 255, 3}, {MSIM_FAMILY_MIDISIMX, 256, 5},
                 {MSIM_FAMILY_MIDISIMX, 383, 5}, {MSIM_FAMILY_MIDISIMX, 384, 7},
                 {MSIM_FAMILY_MIDISIMX, 717, 7}, {MSIM_FAMILY_MIDISIMX, 718, 1},
                 {MSIM_FAMILY_MIDISIMX, 719, 1}};
    static const float weights[] = {2, 3, 5, 7};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const ms_token_classes *c = &ms_family_of(cases[i].family)->classes;
        assert_true(ms_class_weight(c, weights, cases[i].id) == cases[i].weight);
    }
    assert_ptr_equal(ms_family_of_vocab(720), ms_family_of(MSIM_FAMILY_MIDISIMX));
    assert_int_equal(ms_family_of_vocab(719)->id, -1);
}

static void embedding_takes_no_memory(void **state) {
    (void)state;
    int32_t ids[200];
    float out[SMALL_DIM];
    ms_weights *w = seeded_open(SMALL_DIM, 4, 2);
    seeded_ids(ids, 200, 37, 11);
    FOR_EACH_LEVEL(kernels)
    for (int precision = 0; precision < 3; precision++) {
        if (precision == MSIM_PRECISION_INT8 && !ms_int8_kernels_get(kernels->isa)) continue;
        rig r = rig_open(kernels, w, precision, 2, 200);
        int64_t before = ms_mem_count();
        rig_embed(&r, ids, (const int64_t[]){0, 200}, 1, NULL, out);
        rig_embed(&r, ids, (const int64_t[]){0, 0}, 1, NULL, out);
        assert_int_equal(ms_mem_count(), before);
        rig_close(&r);
    }
    seeded_close(w);
}

static void every_failed_allocation_is_an_error(void **state) {
    (void)state;
    ms_weights *w = seeded_open(64, 1, 1);
    msim_options o = {.size = sizeof(msim_options), .max_batch_tokens = 64, .max_batch_seqs = 4};
    ms_pool *pool;
    assert_int_equal(ms_pool_open(1, &pool, NULL), 0);
    int failures = 0;
    for (int n = 1;; n++) {
        ms_cpu_model *model = NULL;
        ms_cpu_encoder *encoder = NULL;
        msim_error err = {0};
        ms_mem_fail_at(n);
        int rc = ms_cpu_model_open(&ms_encoder_ref, w, MSIM_PRECISION_F32, &model, &err);
        if (rc >= 0) rc = ms_cpu_encoder_open(model, pool, &o, &encoder, &err);
        ms_mem_fail_at(0);
        ms_cpu_encoder_close(encoder);
        ms_cpu_model_close(model);
        if (rc >= 0) break;
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_int_equal(err.code, MSIM_E_MEMORY);
        failures++;
    }
    assert_true(failures > 10);
    ms_pool_close(pool);
    seeded_close(w);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    ms_weights *w = seeded_open(64, 1, 1);
    ms_cpu_model *model;
    msim_error err;
    int isa;
    w->all_f32 = 0;
    assert_int_equal(ms_cpu_model_open(&ms_encoder_ref, w, MSIM_PRECISION_F32, &model, &err),
                     -MSIM_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "expected bf16"));
    assert_non_null(strstr(err.text, "got f32"));
    w->dim = 72;
    assert_int_equal(ms_cpu_model_open(&ms_encoder_ref, w, MSIM_PRECISION_BF16, &model, &err),
                     -MSIM_E_UNSUPPORTED);
    w->dim = 64;
    for (int request = MSIM_ISA_REF; request < 77; request++) {
        if (!ms_cpu_isa_name(request)) continue;
        int rc = ms_cpu_isa_choose(request, &isa, &err);
        if (ms_cpu_kernels_get(request)) {
            assert_int_equal(rc, 0);
            assert_int_equal(isa, request);
        } else {
            assert_int_equal(rc, -MSIM_E_UNSUPPORTED);
            assert_non_null(strstr(err.text, ms_cpu_isa_name(request)));
            assert_non_null(strstr(err.text, ms_cpu_isa_name(ms_cpu_isa_best())));
        }
    }
    assert_int_equal(ms_cpu_isa_choose(MSIM_ISA_AUTO, &isa, &err), 0);
    assert_int_equal(isa, ms_cpu_isa_best());
    assert_int_equal(ms_cpu_isa_choose(77, &isa, &err), -MSIM_E_ARG);
    seeded_close(w);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_is_the_originals),
        cmocka_unit_test(pooled_vectors_of_the_small_model),
        cmocka_unit_test(pooled_vectors_of_the_large_model),
        cmocka_unit_test(same_bits_for_any_mates_and_threads),
        cmocka_unit_test(pooling_follows_its_definition),
        cmocka_unit_test(classes_of_both_families),
        cmocka_unit_test(embedding_takes_no_memory),
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    print_levels("encoder");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
