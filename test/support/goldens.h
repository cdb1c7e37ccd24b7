/* The original's results on the seeded model (docs/MODEL.md, goldens): pooled vectors of sequences
 * A, B and C. A and B are one batch, C is alone. Tolerance 5e-5 a component, 1e-3 on the norm, 2e-3
 * on the sum: five times what two faithful f32 implementations differ by, a fifth of what the
 * smallest known mistake (tanh GELU) shows. */
#ifndef TEST_SUPPORT_GOLDENS_H
#define TEST_SUPPORT_GOLDENS_H
#include "support/seeded.h"
#include "cpu/encoder/encoder.h"
#include <math.h>

typedef struct {
    int depth, weighted, sequence;
    double first[8], norm, sum, last;
} golden;

static const golden goldens[] = {
    {8,
     0,
     0,
     {1.105603, -0.425666, 0.959738, 0.637505, 0.306740, 1.530443, -0.122387, 0.117951},
     17.190530,
     -2.083574,
     0.905868},
    {8,
     0,
     1,
     {0.035255, 0.134926, 0.653434, 0.205324, -0.019655, 1.382755, -2.284746, 0.458558},
     19.759846,
     0.908791,
     0.718597},
    {8,
     0,
     2,
     {0.765449, 0.904963, 0.625568, 1.829636, -0.409288, 1.333741, 0.164504, 0.515282},
     18.333665,
     -1.746714,
     0.871732},
    {8,
     1,
     0,
     {1.142914, -0.411482, 0.914914, 0.518391, 0.382826, 1.449451, -0.034425, 0.158790},
     17.222371,
     -1.506576,
     0.919635},
    {8,
     1,
     1,
     {-0.048934, 0.141421, 0.746326, 0.199657, -0.060143, 1.330472, -2.301658, 0.544019},
     19.807704,
     0.936777,
     0.755790},
    {8,
     1,
     2,
     {0.769125, 0.922139, 0.607527, 1.819609, -0.416408, 1.350230, 0.176062, 0.516979},
     18.351140,
     -1.758215,
     0.864894},
    {16,
     0,
     0,
     {1.321800, 2.045596, 0.146770, 0.504604, -0.315308, 1.779652, 0.166642, -0.062869},
     19.561708,
     0.435108,
     1.007963},
    {16,
     0,
     1,
     {0.011331, 0.916387, 0.135308, 1.150427, -1.074856, 1.042647, -0.805480, 0.563124},
     20.696920,
     2.403555,
     0.956211},
    {16,
     0,
     2,
     {1.016843, 1.825487, -0.234660, 2.435558, -1.194654, 2.610086, 0.081644, 0.523170},
     20.308832,
     -0.768069,
     1.396410},
    {16,
     1,
     0,
     {1.324826, 2.050922, 0.062921, 0.431237, -0.253559, 1.774124, 0.219291, -0.045003},
     19.556758,
     0.962487,
     0.983126},
    {16,
     1,
     1,
     {-0.039495, 0.975757, 0.274945, 1.124490, -1.133529, 1.059999, -0.921972, 0.652764},
     20.700841,
     2.388483,
     0.955037},
    {16,
     1,
     2,
     {1.014151, 1.839995, -0.243848, 2.437788, -1.202788, 2.624146, 0.091219, 0.521936},
     20.320723,
     -0.805614,
     1.398842},
};
enum { N_GOLDENS = sizeof goldens / sizeof *goldens, GOLDEN_DIM = 512, GOLDEN_C = 300 };

/* True when a pooled vector is what the original gives; prints the largest difference otherwise. */
static inline bool golden_agrees(const golden *g, const float *e) {
    double worst = fabs(e[GOLDEN_DIM - 1] - g->last), squares = 0, sum = 0;
    for (int j = 0; j < 8; j++) worst = fmax(worst, fabs(e[j] - g->first[j]));
    for (int j = 0; j < GOLDEN_DIM; j++) {
        if (!ms_is_finite_f32(e[j])) return false;
        squares += (double)e[j] * e[j];
        sum += e[j];
    }
    bool ok = worst <= 5e-5 && fabs(sqrt(squares) - g->norm) <= 1e-3 && fabs(sum - g->sum) <= 2e-3;
    if (!ok)
        printf("  depth %d, %s, sequence %c: difference %.2e, norm %.2e, sum %.2e\n", g->depth,
               g->weighted ? "weights 1,1,2" : "mean", 'A' + g->sequence, worst,
               fabs(sqrt(squares) - g->norm), fabs(sum - g->sum));
    return ok;
}

/* A model at a level with everything that one caller needs. */
typedef struct {
    ms_cpu_model *model;
    ms_cpu_encoder *encoder;
    ms_pool *pool;
} rig;

static inline rig rig_open(const ms_cpu_kernels *kernels, const ms_weights *w, int precision,
                           int threads, int64_t max_tokens) {
    rig r;
    msim_options o = {
        .size = sizeof(msim_options), .max_batch_tokens = max_tokens, .max_batch_seqs = 16};
    assert_int_equal(ms_cpu_model_open(kernels, w, precision, &r.model, NULL), 0);
    assert_int_equal(ms_pool_open(threads, &r.pool, NULL), 0);
    assert_int_equal(ms_cpu_encoder_open(r.model, r.pool, &o, &r.encoder, NULL), 0);
    return r;
}

static inline void rig_close(rig *r) {
    ms_cpu_encoder_close(r->encoder);
    ms_pool_close(r->pool);
    ms_cpu_model_close(r->model);
}

static inline void rig_embed(rig *r, const int32_t *ids, const int64_t *starts, int64_t n_seq,
                             const float *class_weights, float *out) {
    ms_batch batch = {.ids = ids,
                      .starts = starts,
                      .n_seq = n_seq,
                      .n_tokens = starts[n_seq],
                      .classes = &ms_family_of(MSIM_FAMILY_MIDISIM)->classes};
    ms_cpu_encoder_embed(r->encoder, &batch, class_weights, out);
}

/* A, B [2, 512] and with long_too C [512] behind them. */
static inline void rig_goldens(rig *r, int weighted, int long_too, float *out) {
    static const float class_weights[3] = {1, 1, 2};
    int32_t ids[GOLDEN_C];
    seeded_ids(ids, 19, 37, 11);
    seeded_ids(ids + 19, 7, 53, 5);
    rig_embed(r, ids, (const int64_t[]){0, 19, 26}, 2, weighted ? class_weights : NULL, out);
    if (!long_too) return;
    seeded_ids(ids, GOLDEN_C, 101, 7);
    rig_embed(r, ids, (const int64_t[]){0, GOLDEN_C}, 1, weighted ? class_weights : NULL,
              out + 2 * GOLDEN_DIM);
}

static inline double one_minus_cosine(const float *a, const float *b, size_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return 1.0 - ab / sqrt(aa * bb);
}
#endif
