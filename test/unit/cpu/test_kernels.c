/* Each kernel of each level against f64 and `ref` on ragged sizes. u = 2^-24 is half an ulp of f32
 * at 1; a dot of n terms errs by at most n u sum |a b|, one rounding to bf16 by at most 2^-8
 * relative. A row's bits must not depend on the rows beside it. */
#include "support/levels.h"
#include "cpu/kernels/common.h"
#include "support/goldens.h"

#define U 0x1p-24
static const double bf16_step[2] = {0x1p-8, 0}; /* by precision */

static const size_t row_counts[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,  12,
                                    13, 14, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200};
enum {
    N_ROW_COUNTS = sizeof row_counts / sizeof *row_counts,
    MAX_ROWS = 200,
    COLS = 48,
    MAX_K = 2048
};

static float *random_floats(size_t n, float scale, int rounded, uint64_t *seed) {
    float *x = test_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = uniform(seed) * scale;
        if (rounded) x[i] = ms_round_bf16(x[i]);
    }
    return x;
}

/* Operand rows as f32, whatever a level stores. */
static float operand_get(const ms_cpu_kernels *kernels, const void *rows, size_t i, int precision) {
    if (kernels->operand_bytes[precision] == 2) return ms_f32_of_bf16(((const ms_bf16 *)rows)[i]);
    return ((const float *)rows)[i];
}

static void *operand_of(const ms_cpu_kernels *kernels, const float *x, size_t n, int precision) {
    size_t bytes = kernels->operand_bytes[precision];
    void *out = test_alloc(n, bytes);
    for (size_t i = 0; i < n; i++) {
        ms_bf16 h = ms_bf16_of_f32(x[i]);
        memcpy((char *)out + i * bytes, bytes == 2 ? (const void *)&h : (const void *)&x[i], bytes);
    }
    return out;
}

static double exact_gelu(double u) { return 0.5 * u * erfc(-u / sqrt(2.0)); }

/* ---- Products ---- */

typedef struct {
    const ms_cpu_kernels *kernels;
    const float *a, *w, *bias, *start; /* f64 check: [rows, k], [COLS, k], [COLS], [rows, COLS] */
    const void *operand, *panels;
    size_t k;
    int epilogue, precision;
} product_case;

static void run_product(const product_case *c, size_t m, void *dst) {
    int gelu = c->epilogue == MS_EPILOGUE_GELU;
    if (!gelu) memcpy(dst, c->start, m * COLS * sizeof(float));
    c->kernels->product(&(ms_product){.a = c->operand,
                                      .w = c->panels,
                                      .bias = c->epilogue ? c->bias : NULL,
                                      .dst = dst,
                                      .m = m,
                                      .n = COLS,
                                      .k = c->k,
                                      .a_stride = c->k,
                                      .w_stride = c->kernels->panel_cols * c->k,
                                      .dst_stride = COLS,
                                      .epilogue = c->epilogue,
                                      .precision = c->precision});
}

static void check_product_row(const product_case *c, size_t i, const void *dst) {
    int gelu = c->epilogue == MS_EPILOGUE_GELU;
    for (size_t j = 0; j < COLS; j++) {
        double sum = 0, size = 0;
        for (size_t l = 0; l < c->k; l++) {
            double term = (double)c->a[i * c->k + l] * c->w[j * c->k + l];
            sum += term;
            size += fabs(term);
        }
        double bias = c->epilogue ? c->bias[j] : 0, y = sum + bias,
               bound = (double)c->k * U * size + U * fabs(y);
        double got = gelu ? operand_get(c->kernels, dst, i * COLS + j, c->precision)
                          : ((const float *)dst)[i * COLS + j];
        if (c->epilogue == MS_EPILOGUE_ADD) {
            y += c->start[i * COLS + j];
            bound += U * fabs(y);
        }
        if (gelu) { /* its slope is at most 1.13 */
            bound = 1.13 * bound + 1e-6 + 4 * U * fabs(y);
            y = exact_gelu(y);
            bound += bf16_step[c->precision] * fabs(y);
        }
        assert_true(fabs(got - y) <= bound * 1.001);
    }
}

static void check_products(const ms_cpu_kernels *kernels, size_t k, int precision) {
    uint64_t seed = k;
    int rounded = precision == MSIM_PRECISION_BF16;
    size_t cols = kernels->panel_cols, padded = (COLS + cols - 1) / cols * cols;
    float *a = random_floats(MAX_ROWS * k, 1, rounded, &seed),
          *w = random_floats(COLS * k, 0.125f, rounded, &seed);
    float *bias = random_floats(COLS, 1, rounded, &seed),
          *start = random_floats(MAX_ROWS * COLS, 2, 0, &seed);
    void *operand = operand_of(kernels, a, MAX_ROWS * k, precision);
    void *panels = test_alloc(padded * k, kernels->operand_bytes[precision]);
    char *all = test_alloc(MAX_ROWS * COLS, sizeof(float)),
         *some = test_alloc(MAX_ROWS * COLS, sizeof(float));
    kernels->pack(panels, w, COLS, k, precision);
    for (int epilogue = MS_EPILOGUE_STORE; epilogue <= MS_EPILOGUE_GELU; epilogue++) {
        product_case c = {kernels, a, w, bias, start, operand, panels, k, epilogue, precision};
        size_t row_bytes = COLS * (epilogue == MS_EPILOGUE_GELU ? kernels->operand_bytes[precision]
                                                                : sizeof(float));
        run_product(&c, MAX_ROWS, all);
        for (size_t i = 0; i < MAX_ROWS; i += 9) check_product_row(&c, i, all);
        for (size_t r = 0; r < N_ROW_COUNTS; r++) {
            run_product(&c, row_counts[r], some);
            assert_memory_equal(some, all, row_counts[r] * row_bytes);
        }
    }
    ms_free(a);
    ms_free(w);
    ms_free(bias);
    ms_free(start);
    ms_free(operand);
    ms_free(panels);
    ms_free(all);
    ms_free(some);
}

static void products_within_the_bound(void **state) {
    (void)state;
    static const size_t ks[] = {16, 128, 512, 768};
    FOR_EACH_LEVEL(kernels)
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        for (int precision = 0; precision < 2; precision++)
            check_products(kernels, ks[i], precision);
}

/* ---- GELU and exp, densely ---- */

/* Through a product with the identity, which hands every u on exactly. */
static void gelu_errs_by_less_than_a_millionth(void **state) {
    (void)state;
    enum { ROWS = 200, N = ROWS * 16, STEPS = 300 };
    float identity[256] = {0}, zero[16] = {0}, u[N], got[N];
    for (int i = 0; i < 16; i++) identity[17 * i] = 1.0f;
    FOR_EACH_LEVEL(kernels) {
        size_t cols = kernels->panel_cols;
        float *panels = test_alloc(16 * cols, sizeof *panels);
        double worst = 0, worst_relative = 0;
        kernels->pack(panels, identity, 16, 16, MSIM_PRECISION_F32);
        for (int step = 0; step < STEPS; step++) {
            for (int i = 0; i < N; i++) /* -12 .. 12, and a few far out */
                u[i] = step < STEPS - 1
                           ? -12.0f + 24.0f * ((float)step * N + (float)i) / ((float)STEPS * N)
                           : ldexpf(i % 2 ? -1.3f : 1.3f, i % 100 - 70);
            kernels->product(&(ms_product){.a = u,
                                           .w = panels,
                                           .bias = zero,
                                           .dst = got,
                                           .m = ROWS,
                                           .n = 16,
                                           .k = 16,
                                           .a_stride = 16,
                                           .w_stride = cols * 16,
                                           .dst_stride = 16,
                                           .epilogue = MS_EPILOGUE_GELU,
                                           .precision = MSIM_PRECISION_F32});
            for (int i = 0; i < N; i++) {
                double error = fabs(got[i] - exact_gelu(u[i]));
                if (fabsf(u[i]) <= 8) worst = fmax(worst, error);
                if (u[i] != 0) worst_relative = fmax(worst_relative, error / fabs(u[i]));
            }
        }
        printf("  %s: gelu: largest error %.2e on [-8, 8], %.2e |u| anywhere\n", kernels->name,
               worst, worst_relative);
        assert_true(worst < 1e-6);
        assert_true(worst_relative <= 8 * U);
        ms_free(panels);
    }
}

/* Through attention over two keys whose values are 0 and 1: e^-x / (1 + e^-x). x comes scaled by
 * log2(e) in f32, which errs by 2 u x; exp by 2 ulp = 4 u; sum and quotient by u each. */
static void exp_errs_by_less_than_two_ulp(void **state) {
    (void)state;
    enum { STEPS = 500 };
    FOR_EACH_LEVEL(kernels) {
        size_t rows = kernels->attend_rows;
        float *q = test_alloc(rows * 64, sizeof *q), *out = test_alloc(rows * 64, sizeof *out),
              kv[2 * 64] = {0};
        float cosines[2 * 16], sines[2 * 16] = {0};
        for (int i = 0; i < 32; i++) cosines[i] = 1.0f;
        ms_keys keys = {.k = test_alloc(MS_KEY_GROUP * 64, sizeof(float)),
                        .v = test_alloc(MS_KEY_GROUP * 64, sizeof(float)),
                        .rows = MS_KEY_GROUP};
        void *scratch = test_alloc(kernels->attend_scratch_bytes, 1);
        ms_heads heads = {.src = kv,
                          .src_stride = 64,
                          .cos = cosines,
                          .sin = sines,
                          .n_rows = 2,
                          .heads = 1,
                          .precision = MSIM_PRECISION_F32};
        kv[64] = -1.0f;
        kernels->store_k(&heads, &keys);
        for (int d = 0; d < 64; d++) kv[64 + d] = 1.0f;
        kernels->store_v(&heads, &keys);
        double worst = 0;
        for (int step = 0; step < STEPS; step++) {
            for (size_t i = 0; i < rows; i++)
                q[i * 64] =
                    8.0f * 85.0f *
                    (float)((double)(step * (int)rows + (int)i) / (double)(STEPS * (int)rows));
            kernels->attend(&(ms_attend){.q = q,
                                         .keys = &keys,
                                         .n_keys = 2,
                                         .dst = out,
                                         .scratch = scratch,
                                         .n_query = rows,
                                         .q_stride = 64,
                                         .dst_stride = 64,
                                         .precision = MSIM_PRECISION_F32});
            for (size_t i = 0; i < rows; i++) {
                double x = q[i * 64] / 8.0, exact = exp(-x) / (1 + exp(-x)),
                       bound = (2 * x + 4 + 2) * U * exact;
                worst = fmax(worst, fabs(out[i * 64] - exact) / bound);
                assert_true(fabs(out[i * 64] - exact) <= bound);
            }
        }
        printf("  %s: exp: at most %.2f of its bound\n", kernels->name, worst);
        ms_free(q);
        ms_free(out);
        ms_free(keys.k);
        ms_free(keys.v);
        ms_free(scratch);
    }
}

/* ---- Norm ---- */

static void check_norm(const ms_cpu_kernels *kernels, size_t dim, int precision) {
    uint64_t seed = dim;
    float *x = random_floats(MAX_ROWS * dim, 3, 0, &seed), *scale = random_floats(dim, 1, 0, &seed);
    size_t bytes = kernels->operand_bytes[precision];
    char *all = test_alloc(MAX_ROWS * dim, bytes), *some = test_alloc(MAX_ROWS * dim, bytes);
    for (size_t j = 0; j < 2 * dim; j++) x[j] += 10.0f; /* two rows far from zero mean */
    kernels->norm(all, dim, x, scale, MAX_ROWS, dim, precision);
    for (size_t i = 0; i < MAX_ROWS; i++) {
        double mean = 0, size = 0, variance = 0;
        for (size_t j = 0; j < dim; j++) {
            mean += x[i * dim + j] / (double)dim;
            size += fabs(x[i * dim + j]) / (double)dim;
        }
        for (size_t j = 0; j < dim; j++)
            variance += (x[i * dim + j] - mean) * (x[i * dim + j] - mean) / (double)dim;
        double inverse = 1 / sqrt(variance + 1e-5), n = (double)dim;
        for (size_t j = 0; j < dim; j++) {
            /* the mean errs by n u mean|x|, the variance relatively by n u; four roundings
             * follow */
            double y = (x[i * dim + j] - mean) * inverse * scale[j];
            double bound = fabs(scale[j]) * inverse * n * U * size + fabs(y) * (n / 2 + 4) * U;
            bound += bf16_step[precision] * fabs(y);
            assert_true(fabs(operand_get(kernels, all, i * dim + j, precision) - y) <=
                        bound * 1.001);
        }
    }
    for (size_t r = 0; r < N_ROW_COUNTS; r++) {
        kernels->norm(some, dim, x, scale, row_counts[r], dim, precision);
        assert_memory_equal(some, all, row_counts[r] * dim * bytes);
    }
    ms_free(x);
    ms_free(scale);
    ms_free(all);
    ms_free(some);
}

static void norms_within_the_bound(void **state) {
    (void)state;
    static const size_t dims[] = {16, 48, 128, 512, 768};
    FOR_EACH_LEVEL(kernels)
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int precision = 0; precision < 2; precision++) check_norm(kernels, dims[i], precision);
}

/* ---- Heads and attention ---- */

/* rows of another sequence come before */
enum { HEADS = 2, INNER = HEADS * 64, MAX_KEYS = 1100, BEFORE = 48 };

typedef struct {
    float *q, *k, *v, *cos, *sin; /* as products: [MAX_KEYS, INNER]; [MAX_KEYS, 16] */
    float *ref_q, *ref_k;         /* rotated by `ref`: [MAX_KEYS, INNER], head-major
                                          * [HEADS][MAX_KEYS][64] */
} attention_input;

static void input_open(attention_input *in, int precision) {
    uint64_t seed = 5;
    in->q = random_floats(MAX_KEYS * INNER, 3, 0, &seed);
    in->k = random_floats(MAX_KEYS * INNER, 3, 0, &seed);
    in->v = random_floats(MAX_KEYS * INNER, 2, 0, &seed);
    in->cos = test_alloc(MAX_KEYS * 16, sizeof(float));
    in->sin = test_alloc(MAX_KEYS * 16, sizeof(float));
    for (size_t i = 0; i < MAX_KEYS * 16; i++) {
        double angle = (double)(i / 16) * pow(10000, -(double)(i % 16) / 16);
        in->cos[i] = (float)cos(angle);
        in->sin[i] = (float)sin(angle);
    }
    in->ref_q = test_alloc(MAX_KEYS * INNER, sizeof(float));
    in->ref_k = test_alloc(MAX_KEYS * INNER, sizeof(float));
    ms_heads h = {.src = in->q,
                  .src_stride = INNER,
                  .cos = in->cos,
                  .sin = in->sin,
                  .n_rows = MAX_KEYS,
                  .heads = HEADS,
                  .precision = precision};
    ms_encoder_ref.store_q(&h, in->ref_q, INNER);
    h.src = in->k;
    /* ref's layout is [head][row][64] */
    ms_encoder_ref.store_k(&h, &(ms_keys){.k = in->ref_k, .rows = MAX_KEYS});
}

static void input_close(attention_input *in) {
    float *all[] = {in->q, in->k, in->v, in->cos, in->sin, in->ref_q, in->ref_k};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) ms_free(all[i]);
}

/* Softmax of one query row in f64 with the bound of the f32 kernels: scores err by 64 u sum|q k| /
 * 8, relatively 2 u |score - maximum| and 4 u in exp; n u in either sum; then the quotient. */
static void check_attention_row(const attention_input *in, const float *got, size_t query,
                                size_t head, size_t n_keys, int precision) {
    const float *q = in->ref_q + query * INNER + head * 64;
    static double p[MAX_KEYS];
    double maximum = -INFINITY, sum = 0, score_error = 0, widest = 0;
    for (size_t j = 0; j < n_keys; j++) {
        const float *k = in->ref_k + (head * MAX_KEYS + j) * 64;
        double dot = 0, size = 0;
        for (int d = 0; d < 64; d++) {
            dot += (double)q[d] * k[d];
            size += fabs((double)q[d] * k[d]);
        }
        p[j] = dot / 8;
        maximum = fmax(maximum, p[j]);
        score_error = fmax(score_error, 64 * U * size / 8);
    }
    for (size_t j = 0; j < n_keys; j++) {
        widest = fmax(widest, maximum - p[j]);
        sum += p[j] = exp(p[j] - maximum);
    }
    /* Level avx512bf16 may round p to bf16 on its way into the second product. */
    double relative = 2 * (2 * score_error + (2 * fmin(widest, 90) + 4) * U) +
                      2 * ((double)n_keys + 8) * U + 2 * bf16_step[precision];
    for (int d = 0; d < 64; d++) {
        double o = 0, size = 0;
        for (size_t j = 0; j < n_keys; j++) {
            double v = in->v[j * INNER + head * 64 + (size_t)d];
            if (precision == MSIM_PRECISION_BF16) v = ms_round_bf16((float)v);
            o += p[j] * v / sum;
            size += p[j] * fabs(v) / sum;
        }
        assert_true(fabs(got[d] - o) <= relative * size);
    }
}

static void check_attention(const ms_cpu_kernels *kernels, const attention_input *in, size_t n_keys,
                            int precision) {
    size_t bytes = kernels->operand_bytes[precision],
           rows = BEFORE + (MAX_KEYS + MS_KEY_GROUP) / MS_KEY_GROUP * MS_KEY_GROUP;
    char *q = test_alloc(MAX_KEYS * INNER, bytes), *all = test_alloc(MAX_KEYS * INNER, bytes),
         *one = test_alloc(64, bytes);
    ms_keys keys = {
        .k = test_alloc(rows * INNER, bytes), .v = test_alloc(rows * INNER, bytes), .rows = rows};
    void *scratch = test_alloc(kernels->attend_scratch_bytes, 1);
    for (size_t done = 0, n; done < n_keys; done += n) { /* stored in ragged pieces, as blocks of
                                                          * rows come */
        n = n_keys - done < 37 ? n_keys - done : 37;
        ms_heads h = {.src = in->q + done * INNER,
                      .src_stride = INNER,
                      .cos = in->cos + done * 16,
                      .sin = in->sin + done * 16,
                      .n_rows = n,
                      .heads = HEADS,
                      .first_position = done,
                      .first_row = BEFORE,
                      .precision = precision};
        kernels->store_q(&h, q + done * INNER * bytes, INNER);
        h.src = in->k + done * INNER;
        kernels->store_k(&h, &keys);
        h.src = in->v + done * INNER;
        kernels->store_v(&h, &keys);
    }
    for (size_t i = 0; i < n_keys * INNER; i++) /* rotation: the bits of `ref` */
        assert_true(operand_get(kernels, q, i, precision) == in->ref_q[i]);
    for (size_t head = 0; head < HEADS; head++) {
        ms_attend a = {.keys = &keys,
                       .head = head,
                       .first_row = BEFORE,
                       .n_keys = n_keys,
                       .scratch = scratch,
                       .q_stride = INNER,
                       .dst_stride = INNER,
                       .precision = precision};
        for (size_t i = 0; i < n_keys; i += a.n_query) {
            a.n_query = n_keys - i < kernels->attend_rows ? n_keys - i : kernels->attend_rows;
            a.q = q + (i * INNER + head * 64) * bytes;
            a.dst = all + (i * INNER + head * 64) * bytes;
            kernels->attend(&a);
        }
        for (size_t i = 0; i < n_keys; i += 1 + n_keys / 7) {
            float got[64];
            size_t at = i * INNER + head * 64;
            for (size_t d = 0; d < 64; d++) got[d] = operand_get(kernels, all, at + d, precision);
            check_attention_row(in, got, i, head, n_keys, precision);
            a.q = q + at * bytes;
            a.dst = one;
            a.n_query = 1;
            kernels->attend(&a);
            assert_memory_equal(one, all + at * bytes, 64 * bytes);
        }
    }
    ms_free(q);
    ms_free(all);
    ms_free(one);
    ms_free(keys.k);
    ms_free(keys.v);
    ms_free(scratch);
}

static void attention_within_the_bound(void **state) {
    (void)state;
    static const size_t more[] = {255, 256, 257, 511, 512, 513, 1025};
    for (int precision = 0; precision < 2; precision++) {
        attention_input in;
        input_open(&in, precision);
        FOR_EACH_LEVEL(kernels) {
            for (size_t r = 0; r < N_ROW_COUNTS; r++)
                check_attention(kernels, &in, row_counts[r], precision);
            for (size_t r = 0; r < sizeof more / sizeof *more; r++)
                check_attention(kernels, &in, more[r], precision);
        }
        input_close(&in);
    }
}

/* ---- A long sequence ---- */

enum { LONG = SANITIZED ? 2048 : 16384, LONG_DIM = 64, EVERY = 512 };

/* `ref`, but only the first query of each item: a row of a one-layer model needs no other row's
 * attention. */
static void attend_some(const ms_attend *a) {
    ms_attend first = *a;
    first.n_query = 1;
    ms_encoder_ref.attend(&first);
}

static void long_sequence_equals_ref(void **state) {
    (void)state;
    ms_weights *w = seeded_open(LONG_DIM, 1, 1);
    ms_cpu_kernels some = ms_encoder_ref;
    some.attend = attend_some;
    some.attend_rows = EVERY;
    int32_t *ids = test_alloc(LONG, sizeof *ids);
    float *want = test_alloc(LONG * LONG_DIM, sizeof *want),
          *got = test_alloc(LONG * LONG_DIM, sizeof *got);
    ms_batch batch = {
        .ids = ids, .starts = (const int64_t[]){0, LONG}, .n_seq = 1, .n_tokens = LONG};
    seeded_ids(ids, LONG, 101, 7);
    rig r = rig_open(&some, w, MSIM_PRECISION_F32, 2, LONG);
    ms_cpu_encoder_embed_tokens(r.encoder, &batch, want);
    rig_close(&r);
    FOR_EACH_LEVEL(kernels) {
        if (kernels->isa == MSIM_ISA_REF) continue;
        double worst = 0;
        r = rig_open(kernels, w, MSIM_PRECISION_F32, 2, LONG);
        ms_cpu_encoder_embed_tokens(r.encoder, &batch, got);
        for (size_t i = 0; i < LONG; i += EVERY)
            for (size_t j = 0; j < LONG_DIM; j++)
                worst = fmax(worst, fabs(got[i * LONG_DIM + j] - want[i * LONG_DIM + j]));
        printf("  %s: %d tokens: largest difference from ref %.1e\n", kernels->name, LONG, worst);
        assert_true(worst <= 5e-5); /* as the goldens */
        rig_close(&r);
    }
    ms_free(ids);
    ms_free(want);
    ms_free(got);
    seeded_close(w);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_within_the_bound),
        cmocka_unit_test(gelu_errs_by_less_than_a_millionth),
        cmocka_unit_test(exp_errs_by_less_than_two_ulp),
        cmocka_unit_test(norms_within_the_bound),
        cmocka_unit_test(attention_within_the_bound),
        cmocka_unit_test(long_sequence_equals_ref),
    };
    print_levels("kernels");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
