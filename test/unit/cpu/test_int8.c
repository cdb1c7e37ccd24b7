/* Precision int8 at every level that has it: codes within half a step, sums exact, bits those of
 * the scalar kernels, and whole passes near f32. docs/MODEL.md, int8. */
#include "cpu/encoder/int8.h"
#include "support/goldens.h"

#define U 0x1p-24 /* half an ulp of f32 at 1 */

static const size_t row_counts[] = {1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 16, 17, 23, 24, 25, 50};
enum {
    N_ROW_COUNTS = sizeof row_counts / sizeof *row_counts,
    MAX_ROWS = 50,
    COLS = 48,
    PADDED = 64,
    MAX_K = 1040
};

#define FOR_EACH_INT8(int8) \
    FOR_EACH_ISA(isa_)      \
    for (const ms_int8_kernels *int8 = ms_int8_kernels_get(isa_); int8; int8 = NULL)

static int code_of(const int8_t *panels, size_t k, size_t j, size_t l) {
    return panels[j / 32 * 32 * k + l / 4 * 128 + j % 32 * 4 + l % 4];
}

/* Which four of a column meet in one sum of 16 bits: the largest total of one sign among all
 * fours. */
static int largest_four(const int8_t *panels, size_t k, size_t j) {
    int largest = 0;
    for (size_t l = 0; l < k; l += l % 4 ? 6 : 2) { /* 0, 2, 8, 10, 16, ... */
        int above = 0, below = 0;
        for (size_t i = 0; i < 4; i++) {
            int code = code_of(panels, k, j, l + i % 2 + i / 2 * 4);
            above += code > 0 ? code : 0;
            below -= code < 0 ? code : 0;
        }
        largest = above > largest ? above : largest;
        largest = below > largest ? below : largest;
    }
    return largest;
}

static void check_weights(int most) {
    enum { K = 80, CHUNK = 32, CHUNKS = 3 };
    static float w[COLS * K], scale[COLS], sums[CHUNKS * COLS];
    static int8_t panels[PADDED * K];
    uint64_t seed = 1;
    for (size_t i = 0; i < COLS * K; i++) w[i] = uniform(&seed) * (float)(1 + i / K);
    memset(w + 3 * K, 0, K * sizeof *w);
    for (size_t l = 0; l < K; l++) { /* one value throughout; a step above half a code; one four far
                                      * larger than the rest */
        w[8 * K + l] = -0.3f;
        w[9 * K + l] = l % 8 == 7 ? 1.0f : 0.5f + 0x1p-8f;
        w[10 * K + l] = l == 18 || l == 19 || l == 22 || l == 23 ? 5.0f : 0.01f;
    }
    w[5 * K + 7] = NAN;
    w[6 * K + 7] = -INFINITY;
    ms_int8_pack(panels, scale, sums, w, COLS, K, CHUNK, most);
    for (size_t j = 0; j < PADDED; j++) {
        int largest = 0, none = j >= COLS || j == 3 || j == 5 || j == 6;
        for (size_t c = 0; c < CHUNKS; c++) {
            int sum = 0;
            for (size_t l = c * CHUNK; l < K && l < (c + 1) * CHUNK; l++) {
                int code = code_of(panels, K, j, l);
                assert_in_range(code + 127, 0, 254);
                largest = abs(code) > largest ? abs(code) : largest;
                if (none)
                    assert_int_equal(code, 0);
                else
                    assert_true(fabs((double)scale[j] * code - w[j * K + l]) <=
                                scale[j] * (0.5 + 127 * 4 * U));
                sum += code;
            }
            if (j < COLS && j != 5 && j != 6)
                assert_true(sums[c * COLS + j] == scale[j] * (float)sum);
        }
        int four = largest_four(panels, K, j); /* no scale is coarser than one of the bounds asks */
        assert_true(none || largest == 127 || (most == 127 && four >= MS_INT8_FOUR - 4));
        assert_true(most == 255 || four <= MS_INT8_FOUR);
    }
    assert_true(scale[3] == 0 && isnan(scale[5]) && isinf(scale[6]));
    assert_true(isnan(sums[5]) && isnan(sums[6]));
}

static void weights_within_half_a_step(void **state) {
    (void)state;
    check_weights(255);
    check_weights(127);
}

/* ---- Rows ---- */

typedef struct {
    uint8_t codes[MAX_ROWS * MAX_K];
    float scale[MAX_ROWS], low[MAX_ROWS];
} quantised;

static void quantise(const ms_int8_kernels *int8, int most, quantised *to, const void *src,
                     size_t bytes, size_t n, size_t k) {
    int8->quantise(
        &(ms_int8_rows){
            .codes = to->codes, .stride = k, .scale = to->scale, .low = to->low, .most = most},
        src, bytes, k, n, k);
}

static void check_rows(const ms_int8_kernels *int8, size_t k, size_t bytes) {
    static float x[MAX_ROWS * MAX_K];
    static ms_bf16 halves[MAX_ROWS * MAX_K];
    static quantised want, all, some;
    uint64_t seed = k;
    for (size_t i = 0; i < MAX_ROWS * k; i++)
        x[i] = (uniform(&seed) + 0.5f) * ldexpf(1, (int)(i / k) - 25);
    for (size_t j = 0; j < k; j++) { /* one value throughout; nothing; a range whose inverse is
                                      * infinite */
        x[3 * k + j] = -7.25f;
        x[4 * k + j] = 0.0f;
        x[5 * k + j] = j % 2 ? 1e-38f : -1e-38f;
    }
    for (size_t i = 0; bytes == 2 && i < MAX_ROWS * k; i++) {
        halves[i] = ms_bf16_of_f32(x[i]);
        x[i] = ms_f32_of_bf16(halves[i]);
    }
    const void *src = bytes == 2 ? (const void *)halves : x;
    quantise(&ms_int8_ref, int8->most, &want, src, bytes, MAX_ROWS, k);
    quantise(int8, int8->most, &all, src, bytes, MAX_ROWS, k);
    assert_memory_equal(all.codes, want.codes, MAX_ROWS * k);
    assert_memory_equal(all.scale, want.scale, sizeof all.scale);
    assert_memory_equal(all.low, want.low, sizeof all.low);
    for (size_t i = 0; i < MAX_ROWS * k; i++) {
        assert_in_range(all.codes[i], 0, int8->most);
        double got = all.low[i / k] + (double)all.scale[i / k] * all.codes[i];
        assert_true(fabs(got - x[i]) <=
                    all.scale[i / k] * (0.5 + 255 * 6 * U) + 2e-38 + 2 * U * fabs(x[i]));
    }
    for (size_t r = 0; r < N_ROW_COUNTS; r++) {
        quantise(int8, int8->most, &some, src, bytes, row_counts[r], k);
        assert_memory_equal(some.codes, all.codes, row_counts[r] * k);
        assert_memory_equal(some.scale, all.scale, row_counts[r] * sizeof *some.scale);
    }
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t b = 0; b < 3; b++) {
        memcpy(x + 7 * k, x, k * sizeof *x);
        x[7 * k + k / 2] = bad[b];
        quantise(int8, int8->most, &some, x, sizeof(float), 9, k);
        for (size_t j = 0; j < k; j++) assert_in_range(some.codes[7 * k + j], 0, int8->most);
        assert_true(isnan(some.low[7]) && !isnan(some.low[6]) && !isnan(some.low[8]));
    }
}

static void rows_within_half_a_step(void **state) {
    (void)state;
    static const size_t ks[] = {16, 128, 512, 1040};
    FOR_EACH_INT8(int8)
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        for (size_t bytes = 2; bytes <= 4; bytes += 2) check_rows(int8, ks[i], bytes);
}

/* ---- Products ---- */

/* Codes of a weight as large as the kernels allow: fours that reach MS_INT8_FOUR in one sign where
 * that is the bound. */
static int8_t weight_code(const ms_int8_kernels *int8, uint64_t *seed, size_t i, int extreme) {
    static const int8_t fours[8][4] = {
        {127, 127, 4, 0},       {65, 64, 65, 64},     {-127, 0, -127, -4}, {127, -127, 127, -127},
        {127, 127, -127, -127}, {-64, -65, -64, -65}, {4, 127, 0, 127},    {-4, -127, -127, 0}};
    size_t four = i / 256 + i % 4 / 2; /* of a column: steps of 128 bytes, two of them to a sum */
    if (int8->most == 255)
        return (int8_t)(extreme ? i / 4 % 2 ? 127 : -127 : (int)(splitmix(seed) % 255) - 127);
    return extreme ? fours[(four + i / 4) % 8][i / 128 % 2 * 2 + i % 2]
                   : (int8_t)((int)(splitmix(seed) % 129) - 64);
}

/* extreme 1: inputs all at their largest; 2, 3: only where column 5's weight is positive, or
 * negative. */
static void check_products(const ms_int8_kernels *int8, size_t k, int extreme) {
    static uint8_t a[MAX_ROWS * MAX_K];
    static int8_t panels[PADDED * MAX_K];
    static float a_scale[MAX_ROWS], low[MAX_ROWS], scale[COLS], sums[COLS], bias[COLS],
        start[MAX_ROWS * COLS];
    static float want[MAX_ROWS * COLS], got[MAX_ROWS * COLS];
    uint64_t seed = k;
    for (size_t i = 0; i < PADDED * k; i++) panels[i] = weight_code(int8, &seed, i, extreme);
    for (size_t i = 0; i < MAX_ROWS * k; i++) {
        int w = code_of(panels, k, 5, i % k),
            zero = (extreme == 2 && w <= 0) || (extreme == 3 && w >= 0);
        a[i] = (uint8_t)(extreme ? zero ? 0 : int8->most
                                 : (int)(splitmix(&seed) % ((unsigned)int8->most + 1)));
    }
    for (size_t i = 0; i < MAX_ROWS; i++)
        a_scale[i] = 0.01f + 0.01f * fabsf(uniform(&seed)), low[i] = uniform(&seed);
    for (size_t i = 0; i < COLS; i++)
        scale[i] = 1e-3f * fabsf(uniform(&seed)), sums[i] = uniform(&seed),
        bias[i] = uniform(&seed);
    for (size_t i = 0; i < MAX_ROWS * COLS; i++) start[i] = uniform(&seed);
    for (int epilogue = MS_EPILOGUE_STORE; epilogue <= MS_EPILOGUE_GELU; epilogue++) {
        ms_product p = {.a = a,
                        .w = panels,
                        .bias = epilogue ? bias : NULL,
                        .dst = want,
                        .m = MAX_ROWS,
                        .n = COLS,
                        .k = k,
                        .a_stride = k,
                        .w_stride = 32 * k,
                        .dst_stride = COLS,
                        .epilogue = epilogue,
                        .precision = MSIM_PRECISION_INT8,
                        .a_scale = a_scale,
                        .a_low = low,
                        .w_scale = scale,
                        .w_sum = sums};
        memcpy(want, start, sizeof want);
        ms_int8_ref.product(&p);
        p.dst = got;
        for (size_t r = 0; r < N_ROW_COUNTS; r++) {
            memcpy(got, start, sizeof got);
            p.m = row_counts[r];
            int8->product(&p);
            for (size_t i = 0; i < p.m * COLS; i++) /* either erf is within 1e-6 of the exact one */
                assert_true(epilogue == MS_EPILOGUE_GELU
                                ? fabs(got[i] - want[i]) <= 2e-6 + 16 * U * fabs(want[i])
                                : got[i] == want[i]);
            assert_memory_equal(got + p.m * COLS, start + p.m * COLS,
                                (MAX_ROWS - p.m) * COLS * sizeof *got);
        }
        if (epilogue != MS_EPILOGUE_STORE) continue;
        for (size_t i = 0; i < MAX_ROWS * COLS; i++) {
            int64_t dot = 0;
            for (size_t l = 0; l < k; l++)
                dot += (int64_t)a[i / COLS * k + l] * code_of(panels, k, i % COLS, l);
            double first = (double)a_scale[i / COLS] * scale[i % COLS] * (double)dot,
                   second = (double)low[i / COLS] * sums[i % COLS];
            assert_true(fabs(got[i] - first - second) <= 4 * U * (fabs(first) + fabs(second)));
        }
    }
}

static void products_are_exact_but_for_their_scales(void **state) {
    (void)state;
    static const size_t ks[] = {16, 128, 512, 1040};
    FOR_EACH_INT8(int8)
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        for (int extreme = 0; extreme < 4; extreme++) check_products(int8, ks[i], extreme);
}

/* The longest input allowed, of the largest codes: the sum of 2^31 - 2^25 or so must not wrap. */
static void longest_sums_do_not_overflow(void **state) {
    (void)state;
    size_t k = MS_INT8_MAX_K;
    uint8_t *a = test_alloc(k, 1);
    int8_t *w = test_alloc(32 * k, 1);
    float one = 1, zero = 0, ones[16], zeros[16] = {0}, out[16];
    for (int i = 0; i < 16; i++) ones[i] = 1;
    FOR_EACH_INT8(int8) {
        int code = int8->most == 255 ? 127 : MS_INT8_FOUR / 4;
        memset(a, int8->most, k);
        memset(w, code, 32 * k);
        int8->product(&(ms_product){.a = a,
                                    .w = w,
                                    .dst = out,
                                    .m = 1,
                                    .n = 16,
                                    .k = k,
                                    .a_stride = k,
                                    .w_stride = 32 * k,
                                    .dst_stride = 16,
                                    .epilogue = MS_EPILOGUE_STORE,
                                    .precision = MSIM_PRECISION_INT8,
                                    .a_scale = &one,
                                    .a_low = &zero,
                                    .w_scale = ones,
                                    .w_sum = zeros});
        for (int i = 0; i < 16; i++) assert_true(out[i] == (float)(int8->most * code * (int32_t)k));
    }
    ms_free(a);
    ms_free(w);
}

/* Weights that a checkpoint may hold at worst, packed, against the inputs that drive each column's
 * sums furthest up and down: a sum that saturated or wrapped would differ from the one in 64
 * bits. */
static void packed_weights_never_saturate(void **state) {
    (void)state;
    enum { K = 64, KINDS = 6 };
    static float w[COLS * K], scale[COLS], sums[COLS], zeros[COLS], ones[COLS], out[COLS];
    static int8_t panels[PADDED * K];
    uint64_t seed = 9;
    float one = 1, zero = 0;
    for (size_t i = 0; i < COLS * K; i++) {
        size_t kind = i / K % KINDS, l = i % K, round = i / K / KINDS;
        float x = uniform(&seed),
              big[KINDS] = {
                  1, -1, l % 2 ? 1 : -1, l / 4 % 2 ? 1 : -1, l / 8 == round ? 1 : x / 8, x * x * x};
        w[i] = big[kind] * (round % 2 ? -1.0f : 1.0f) * (round > 4 ? 1e30f : 1.0f);
        ones[i / K] = 1;
    }
    FOR_EACH_INT8(int8) {
        ms_int8_pack(panels, scale, sums, w, COLS, K, K, int8->most);
        for (size_t j = 0; j < COLS; j++)
            for (int sign = -1; sign <= 1; sign++) { /* 0: all inputs */
                uint8_t a[K];
                for (size_t l = 0; l < K; l++)
                    a[l] = (uint8_t)(code_of(panels, K, j, l) * sign < 0 ? 0 : int8->most);
                int8->product(&(ms_product){.a = a,
                                            .w = panels,
                                            .dst = out,
                                            .m = 1,
                                            .n = COLS,
                                            .k = K,
                                            .a_stride = K,
                                            .w_stride = 32 * K,
                                            .dst_stride = COLS,
                                            .epilogue = MS_EPILOGUE_STORE,
                                            .precision = MSIM_PRECISION_INT8,
                                            .a_scale = &one,
                                            .a_low = &zero,
                                            .w_scale = ones,
                                            .w_sum = zeros});
                for (size_t c = 0; c < COLS; c++) {
                    int64_t sum = 0;
                    for (size_t l = 0; l < K; l++) sum += a[l] * code_of(panels, K, c, l);
                    assert_true(out[c] == (float)sum);
                }
            }
    }
}

/* ---- Whole passes ---- */

static void vectors_are_near_f32(void **state) {
    (void)state;
    float f32[3 * GOLDEN_DIM], got[3 * GOLDEN_DIM];
    ms_weights *w = seeded_open(GOLDEN_DIM, 8, SANITIZED ? 2 : 8);
    FOR_EACH_LEVEL(kernels) {
        int long_too = kernels->isa != MSIM_ISA_REF;
        if (!ms_int8_kernels_get(kernels->isa)) continue;
        rig r = rig_open(kernels, w, MSIM_PRECISION_F32, 2, GOLDEN_C);
        rig_goldens(&r, 0, long_too, f32);
        rig_close(&r);
        r = rig_open(kernels, w, MSIM_PRECISION_INT8, 2, GOLDEN_C);
        rig_goldens(&r, 0, long_too, got);
        rig_close(&r);
        for (int i = 0; i < 2 + long_too; i++) {
            double distance =
                one_minus_cosine(f32 + i * GOLDEN_DIM, got + i * GOLDEN_DIM, GOLDEN_DIM);
            printf("  %s, sequence %c: int8 1 - cosine %.1e\n", kernels->name, 'A' + i, distance);
            assert_true(distance <= 2e-3 && distance > 1e-6); /* and it is int8 indeed */
        }
    }
    seeded_close(w);
}

static void levels_without_kernels_refuse(void **state) {
    (void)state;
    ms_weights *w = seeded_open(64, 1, 1);
    ms_cpu_model *model = NULL;
    msim_error err;
    FOR_EACH_LEVEL(kernels) {
        int rc = ms_cpu_model_open(kernels, w, MSIM_PRECISION_INT8, &model, &err);
        assert_int_equal(rc, ms_int8_kernels_get(kernels->isa) ? 0 : -MSIM_E_UNSUPPORTED);
        if (rc >= 0)
            ms_cpu_model_close(model);
        else
            assert_non_null(strstr(err.text, "AVX512_VNNI"));
    }
    assert_true(!ms_int8_kernels_get(MSIM_ISA_AVX2) == !ms_cpu_kernels_get(MSIM_ISA_AVX2));
    ms_cpu_kernels none = ms_encoder_ref; /* a level that has no kernels on any CPU */
    none.isa = MSIM_ISA_AUTO;
    assert_null(ms_int8_kernels_get(none.isa));
    assert_int_equal(ms_cpu_model_open(&none, w, MSIM_PRECISION_INT8, &model, &err),
                     -MSIM_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "AVX512_VNNI"));
    w->ff = MS_INT8_MAX_K + 16;
    assert_int_equal(ms_cpu_model_open(&ms_encoder_ref, w, MSIM_PRECISION_INT8, &model, &err),
                     -MSIM_E_UNSUPPORTED);
    w->ff = 256;
    seeded_close(w);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_within_half_a_step),
        cmocka_unit_test(rows_within_half_a_step),
        cmocka_unit_test(products_are_exact_but_for_their_scales),
        cmocka_unit_test(longest_sums_do_not_overflow),
        cmocka_unit_test(packed_weights_never_saturate),
        cmocka_unit_test(vectors_are_near_f32),
        cmocka_unit_test(levels_without_kernels_refuse),
    };
    FOR_EACH_ISA(isa)
    printf("int8: level %s: %s\n", ms_cpu_isa_name(isa),
           ms_int8_kernels_get(isa) ? "run" : "has none");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
