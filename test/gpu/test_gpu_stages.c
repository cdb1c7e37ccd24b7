/* The GPU encoder step by step: what each step gives against the same step in double, from what the
 * step before gave (so no error adds up, and bounds are counted roundings) and from the
 * checkpoint's own weights (so a mistake in how they were laid out shows too). Then weights with
 * planted mistakes, which this must notice. docs/MODEL.md, Steps. */
#include "gpu_rig.h"

#define U32 0x1p-24
#define UMMA \
    0x1p-23 /* one addition inside a matrix operation: its rounding is not specified (PTX
                      * manual, mma) */
#define UBF 0x1p-8

enum { MOST_TAPS = 40 };

/* Every tap of a pass. */
typedef struct {
    struct {
        int what;
        int64_t layer, cols;
        float *rows; /* owned: [n_tokens, cols] */
    } taps[MOST_TAPS];
    int n;
    int64_t n_tokens;
} record;

static void keep_tap(void *arg, int what, int64_t layer, int64_t first, int64_t n, int64_t cols,
                     const float *rows) {
    record *all = arg;
    if (first == 0) {
        assert_true(all->n < MOST_TAPS);
        all->taps[all->n].what = what;
        all->taps[all->n].layer = layer;
        all->taps[all->n].cols = cols;
        all->taps[all->n++].rows = rows_host((size_t)(all->n_tokens * cols), sizeof(float));
    }
    memcpy(all->taps[all->n - 1].rows + first * cols, rows, (size_t)(n * cols) * sizeof *rows);
}

static const float *tap_of(const record *all, int what, int64_t layer) {
    for (int i = 0; i < all->n; i++)
        if (all->taps[i].what == what && all->taps[i].layer == layer) return all->taps[i].rows;
    fail_msg("tap %d of layer %lld is not there", what, (long long)layer);
    return NULL;
}

/* ---- One step in double. Each returns how far the worst element is, as a multiple of its bound */

static void farther(double *worst, double got, double ref, double bound) {
    double distance = fabs(got - ref) / bound;
    if (!(distance <= *worst)) *worst = distance; /* NaN too */
}

static double norm_step(const float *got, const float *x, ms_tensor gamma, int64_t n, int64_t dim,
                        double rounding) {
    /* test_norms.c counts these */
    double worst = 0.0, chain = 3.0 * (double)((dim + 127) / 128) + 6.0;
    for (int64_t r = 0; r < n; r++, x += dim, got += dim) {
        double sum = 0.0, sum_abs = 0.0, squares = 0.0;
        for (int64_t c = 0; c < dim; c++) {
            sum += x[c];
            sum_abs += fabs(x[c]);
        }
        double mean = sum / (double)dim, mean_error = chain * U32 * sum_abs / (double)dim;
        for (int64_t c = 0; c < dim; c++) squares += (x[c] - mean) * (x[c] - mean);
        double inverse = 1.0 / sqrt(squares / (double)dim + 1e-5);
        for (int64_t c = 0; c < dim; c++) {
            double gain = 1.0 + (double)gamma.f32[c], ref = (x[c] - mean) * inverse * gain;
            double bound = fabs(ref) * ((chain + 3.0) / 2.0 + 7.0) * U32 +
                           mean_error * inverse * fabs(gain);
            farther(&worst, got[c], ref, bound + rounding * (fabs(ref) + bound) + 1e-30);
        }
    }
    return worst;
}

/* Row r, column j of a product with bf16 weights (+ a bf16 bias), and the bound of its error. */
static double product(const float *a, ms_tensor w, ms_tensor bias, int64_t j, int64_t k,
                      double *error) {
    double sum = bias.n ? (double)ms_round_bf16(bias.f32[j]) : 0.0, sum_abs = fabs(sum);
    for (int64_t i = 0; i < k; i++) {
        double term = (double)a[i] * (double)ms_round_bf16(w.f32[j * k + i]);
        sum += term;
        sum_abs += fabs(term);
    }
    *error = (double)(k + 1) * UMMA * sum_abs;
    return sum;
}

/* One of q, k, v. The turned columns are rounded to bf16 before they are turned, and after. */
static double qkv_step(const float *got, const float *h, ms_tensor w, ms_tensor inv_freq, int part,
                       const rig_batch *b, int64_t inner, int64_t dim) {
    double worst = 0.0;
    for (int64_t seq = 0; seq < b->batch.n_seq; seq++)
        for (int64_t r = b->starts[seq]; r < b->starts[seq + 1]; r++)
            for (int64_t j = 0; j < inner; j += 2) {
                double e0, e1, t0 = product(h + r * dim, w, (ms_tensor){0}, j, dim, &e0);
                double t1 = product(h + r * dim, w, (ms_tensor){0}, j + 1, dim, &e1), c = 1.0,
                       s = 0.0;
                const float *at = got + r * 3 * inner + part * inner + j;
                e0 += UBF * fabs(t0);
                e1 += UBF * fabs(t1);
                if (part < 2 && j % 64 < 32) {
                    float angle = (float)(r - b->starts[seq]) * inv_freq.f32[j % 64 / 2];
                    c = cos((double)angle);
                    s = sin((double)angle);
                }
                double r0 = t0 * c - t1 * s, r1 = t1 * c + t0 * s,
                       turned = s == 0.0 ? 0.0 : UBF + 4 * U32;
                farther(&worst, at[0], r0,
                        e0 * fabs(c) + e1 * fabs(s) + turned * (fabs(r0) + e0 + e1) + 1e-30);
                farther(&worst, at[1], r1,
                        e1 * fabs(c) + e0 * fabs(s) + turned * (fabs(r1) + e0 + e1) + 1e-30);
            }
    return worst;
}

/* Attention of one row and head. P is rounded to bf16 for its product with v (once more if a sum is
 * of what was rounded); a score's error moves P by as much, relative; so does the exponential's, 2
 * ulp and its argument's rounding. */
static void attend_row(double *worst, const float *got, const float *qkv, int64_t row,
                       int64_t begin, int64_t end, int64_t inner, int64_t head) {
    double scores[RIG_TOKENS], sum = 0.0, most = -1e300, score_error = 0.0;
    const float *q = qkv + row * 3 * inner + head * 64;
    for (int64_t t = begin; t < end; t++) {
        double dot = 0.0, dot_abs = 0.0;
        for (int d = 0; d < 64; d++) {
            double term = (double)q[d] * qkv[t * 3 * inner + inner + head * 64 + d];
            dot += term;
            dot_abs += fabs(term);
        }
        scores[t] = dot / 8.0;
        if (scores[t] > most) most = scores[t];
        if (dot_abs / 8.0 > score_error) score_error = dot_abs / 8.0;
    }
    for (int64_t t = begin; t < end; t++) sum += scores[t] = exp(scores[t] - most);
    double relative = 2 * UBF + 2 * (66.0 * UMMA * score_error + 8 * U32) +
                      (double)(end - begin) * UMMA;
    for (int d = 0; d < 64; d++) {
        double ref = 0.0, ref_abs = 0.0;
        for (int64_t t = begin; t < end; t++) {
            double term = scores[t] / sum * qkv[t * 3 * inner + 2 * inner + head * 64 + d];
            ref += term;
            ref_abs += fabs(term);
        }
        double bound = relative * ref_abs;
        farther(worst, got[row * inner + head * 64 + d], ref,
                bound + UBF * (fabs(ref) + bound) + 1e-30);
    }
}

static double attend_step(const float *got, const float *qkv, const rig_batch *b, int64_t inner) {
    double worst = 0.0;
    for (int64_t seq = 0; seq < b->batch.n_seq; seq++)
        for (int64_t r = b->starts[seq]; r < b->starts[seq + 1]; r++)
            for (int64_t head = 0; head < inner / 64; head++)
                attend_row(&worst, got, qkv, r, b->starts[seq], b->starts[seq + 1], inner, head);
    return worst;
}

static double add_step(const float *got, const float *x, const float *a, ms_tensor w,
                       ms_tensor bias, int64_t n, int64_t cols, int64_t k) {
    double worst = 0.0, error;
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < cols; j++) {
            double branch = product(a + r * k, w, bias, j, k, &error),
                   ref = x[r * cols + j] + branch;
            farther(&worst, got[r * cols + j], ref,
                    error + U32 * (fabs(ref) + fabs(branch) + error) + 1e-30);
        }
    return worst;
}

/* gelu's slope is at most 1.13; its argument is rounded to bf16. */
static double gelu_step(const float *got, const float *a, ms_tensor w, ms_tensor bias, int64_t n,
                        int64_t cols, int64_t k) {
    double worst = 0.0, error;
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < cols; j++) {
            double u = product(a + r * k, w, bias, j, k, &error),
                   ref = 0.5 * u * (1.0 + erf(u / sqrt(2.0)));
            double bound = 1.13 * (error + UBF * (fabs(u) + error)) + 0x1p-21 * fabs(u);
            farther(&worst, got[r * cols + j], ref, bound + UBF * (fabs(ref) + bound) + 1e-30);
        }
    return worst;
}

/* ---- A whole pass ---- */

/* The worst step of a pass, by its name. `w`: the weights that the steps are checked against. */
static double worst_step(const record *all, const ms_weights *w, const rig_batch *b,
                         const char **name, bool is_printed) {
    int64_t n = b->batch.n_tokens, dim = w->dim, inner = w->inner, ff = w->ff;
    double worst = 0.0;
    *name = "none";
    for (int64_t t = 0; t < n; t++) /* token rows are copies */
        assert_memory_equal(tap_of(all, MS_GPU_TAP_RESIDUAL, 0) + t * dim,
                            w->token_emb.f32 + b->ids[t] * dim, (size_t)dim * 4);
    for (int64_t i = 0; i <= w->depth; i++) {
        const float *x = tap_of(all, MS_GPU_TAP_RESIDUAL, i);
        struct {
            const char *name;
            double worst;
        } steps[8];
        int n_steps = 0;
#define STEP(call) (steps[n_steps].name = #call, steps[n_steps++].worst = (call))
        if (i == w->depth) {
            STEP(norm_step(tap_of(all, MS_GPU_TAP_FINAL, i), x, w->final_gamma, n, dim, 0.0));
        } else {
            const ms_block_weights *at = &w->block[i];
            const ms_tensor none = {0};
            const float *h = tap_of(all, MS_GPU_TAP_ATTN_NORM, i),
                        *qkv = tap_of(all, MS_GPU_TAP_QKV, i);
            const float *heads = tap_of(all, MS_GPU_TAP_HEADS, i),
                        *middle = tap_of(all, MS_GPU_TAP_MIDDLE, i);
            const float *g = tap_of(all, MS_GPU_TAP_FF_NORM, i),
                        *act = tap_of(all, MS_GPU_TAP_GELU, i);
            STEP(norm_step(h, x, at->attn_gamma, n, dim, UBF));
            STEP(qkv_step(qkv, h, at->wq, w->inv_freq, 0, b, inner, dim));
            STEP(qkv_step(qkv, h, at->wk, w->inv_freq, 1, b, inner, dim));
            STEP(qkv_step(qkv, h, at->wv, w->inv_freq, 2, b, inner, dim));
            STEP(attend_step(heads, qkv, b, inner));
            STEP(add_step(middle, x, heads, at->wo, none, n, dim, inner));
            STEP(norm_step(g, middle, at->ff_gamma, n, dim, UBF));
            STEP(gelu_step(act, g, at->w1, at->b1, n, ff, dim));
            double last = add_step(tap_of(all, MS_GPU_TAP_RESIDUAL, i + 1), middle, act, at->w2,
                                   at->b2, n, dim, ff);
            if (!(last <= worst)) {
                worst = last;
                *name = "add_step(w2)";
            }
        }
#undef STEP
        for (int s = 0; s < n_steps; s++) {
            if (is_printed)
                printf("  block %lld: %.2f of its bound: %.60s\n", (long long)i, steps[s].worst,
                       steps[s].name);
            if (steps[s].worst <= worst) continue;
            worst = steps[s].worst;
            *name = steps[s].name;
        }
    }
    return worst;
}

static void run_pass(const gpu_rig *r, const rig_batch *b, record *all) {
    float out[RIG_SEQS * 512];
    *all = (record){.n_tokens = b->batch.n_tokens};
    ms_gpu_encoder_set_tap(r->encoder, keep_tap, all);
    rows_ok(ms_gpu_encoder_embed(r->encoder, &b->batch, NULL, out, err));
    ms_gpu_encoder_set_tap(r->encoder, NULL, NULL);
}

static void drop(record *all) {
    for (int i = 0; i < all->n; i++) ms_free(all->taps[i].rows);
}

static void check_steps(int64_t dim, int64_t heads, int64_t depth, const int64_t *lengths,
                        int n_seq) {
    static rig_batch b;
    const char *name;
    record all;
    gpu_rig r = gpu_rig_open(dim, heads, depth, RIG_TOKENS, RIG_SEQS);
    rig_fill(&b, lengths, NULL, n_seq);
    run_pass(&r, &b, &all);
    double worst = worst_step(&all, r.weights, &b, &name, false);
    printf("  width %lld, %lld heads: worst step %.2f of its bound: %.60s\n", (long long)dim,
           (long long)heads, worst, name);
    assert_true(worst <= 1.0);
    drop(&all);
    gpu_rig_close(&r);
}

static void steps_of_a_ragged_batch(void **state) {
    (void)state;
    check_steps(128, 2, 2, (const int64_t[]){65, 0, 1, 129, 2}, 5);
}

static void steps_of_other_shapes(void **state) {
    (void)state;
    check_steps(64, 1, 1, (const int64_t[]){200}, 1);
    check_steps(192, 2, 1, (const int64_t[]){3, 64}, 2);    /* inner width below the width */
    check_steps(128, 4, 1, (const int64_t[]){63, 0, 4}, 3); /* and above */
    if (!SANITIZED) check_steps(512, 8, 1, (const int64_t[]){19, 7}, 2);
}

/* Gains that are no longer 1 + gamma, angles of the other sign, swapped matrices, biases that are
 * not there: each is a mistake in one step, and that step alone must fail by far. */
static void planted_mistakes_are_seen(void **state) {
    (void)state;
    static const char *const mistakes[] = {
        "norm_step(h", "qkv_step(qkv, h, at->w", "qkv_step(qkv, h, at->wk", "norm_step(g",
        "gelu_step",   "add_step(w2)",           "add_step(middle"};
    static rig_batch b;
    record all;
    const char *name;
    gpu_rig r = gpu_rig_open(128, 2, 1, 64, 2);
    rig_fill(&b, (const int64_t[]){9, 5}, NULL, 2);
    run_pass(&r, &b, &all);
    float *flipped = rows_host(16, sizeof *flipped), *shifted = rows_host(128, sizeof *shifted),
          *nothing = rows_host(512, sizeof *nothing);
    ms_weights *w = r.weights;
    ms_block_weights *at = &w->block[0];
    assert_true(worst_step(&all, w, &b, &name, false) <= 1.0);
    for (int i = 0; i < 16; i++) flipped[i] = -w->inv_freq.f32[i];
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        ms_tensor freq = w->inv_freq;
        ms_block_weights kept = *at;
        const ms_tensor gamma = i == 0 ? at->attn_gamma : at->ff_gamma;
        for (int c = 0; c < 128; c++) shifted[c] = gamma.f32[c] - 1.0f;
        if (i == 0) at->attn_gamma.f32 = shifted;
        if (i == 1) w->inv_freq.f32 = flipped;
        if (i == 2) at->wk = at->wq;
        if (i == 3) at->ff_gamma.f32 = shifted;
        if (i == 4) at->b1.f32 = nothing;
        if (i == 5) at->b2.f32 = nothing;
        if (i == 6) at->wo = at->w1; /* of at least as many elements */
        double worst = worst_step(&all, w, &b, &name, false);
        if (!(worst > 3.0) || strncmp(name, mistakes[i], strlen(mistakes[i])) != 0)
            fail_msg("expected %s far beyond its bound, got %s at %.2f of it", mistakes[i], name,
                     worst);
        *at = kept;
        w->inv_freq = freq;
    }
    ms_free(flipped);
    ms_free(shifted);
    ms_free(nothing);
    drop(&all);
    gpu_rig_close(&r);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_of_a_ragged_batch),
        cmocka_unit_test(steps_of_other_shapes),
        cmocka_unit_test(planted_mistakes_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
