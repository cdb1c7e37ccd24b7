/* Bounds of the scans of codes: see search/bound_codes.h. A few passes over the query in double add
 * up sums in 16 lanes. SLACK covers the rounding of these sums, DUST the rounding of single
 * operations. */
#include "search/bound_codes.h"
#include "base/bf16.h"
#include "search/bound.h"
#include <float.h>
#include <math.h>

#define U32 0x1p-24
#define SLACK 1e-12
#define DUST 1e-9
#define MOST_ALONG 0.25
enum { LANES = 16, MOST_SUM = INT32_MAX, CODE_MAX = 127 };

static double sum_lanes(double *lane) {
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static double length_of(const float *x, size_t n) {
    double lane[LANES] = {0};
    for (size_t j = 0; j < n; j++) lane[j % LANES] += (double)x[j] * x[j];
    return sqrt(sum_lanes(lane));
}

/* The query that a kernel multiplies by: g = lambda m + step weight. */
typedef struct {
    const float *query, *centre, *wide; /* wide: bf16's weights, else NULL */
    const int16_t *narrow;
    double inverse, lambda, step; /* inverse: of the query's norm */
} split;

static double g_at(const split *s, size_t j) {
    return s->wide ? (double)s->wide[j] : s->lambda * s->centre[j] + s->step * s->narrow[j];
}

/* Measure f = q - g along q (phi) and across it (eta), the length of f, and g.m. */
static void measure(ms_bound_codes *b, const split *s, size_t dim) {
    double along[LANES] = {0}, all[LANES] = {0}, centre[LANES] = {0}, across[LANES] = {0};
    for (size_t j = 0; j < dim; j++) {
        double q = s->query[j] * s->inverse, g = g_at(s, j), f = q - g;
        along[j % LANES] += f * q;
        all[j % LANES] += f * f;
        centre[j % LANES] += g * s->centre[j];
    }
    b->phi = sum_lanes(along);
    b->f = sqrt(sum_lanes(all)) * (1 + DUST) + SLACK;
    b->at_centre = sum_lanes(centre);
    for (size_t j = 0; j < dim; j++) {
        double q = s->query[j] * s->inverse, rest = q - g_at(s, j) - b->phi * q;
        across[j % LANES] += rest * rest;
    }
    b->eta = sqrt(sum_lanes(across)) * (1 + DUST) + SLACK;
    b->tau = ms_bound_tau(dim) + SLACK;
    b->keeps_all = !(fabs(b->phi) <= MOST_ALONG); /* also NaN */
}

/* What rounding may do to an upper bound. Its products and sums have at most 9 roundings, and stay
 * below work |a z| + 1/2 + rho rho_factor, where |a z| <= 1 + |m| + rho. Rounding t and the
 * threshold adds less than u. */
static void set_sigma(ms_bound_codes *b, double work, double centre_length) {
    b->sigma = work * (1 + centre_length) + 8 * U32 + 20 * SLACK;
    b->sigma_rho = work;
}

void ms_bound_int8_make(ms_bound_codes *b, int16_t *weight, const float *query, double norm,
                        const ms_codes *codes, int weight_max) {
    size_t dim = (size_t)codes->dim;
    double qm[LANES] = {0}, most = 0, rest2[LANES] = {0}, length = length_of(codes->centre, dim);
    split s = {.query = query, .centre = codes->centre, .narrow = weight, .inverse = 1 / norm};
    int64_t sum = 0, limit = MOST_SUM / (CODE_MAX * codes->dim);
    if (weight_max > limit) weight_max = (int)limit;
    for (size_t j = 0; j < dim; j++) qm[j % LANES] += query[j] * s.inverse * codes->centre[j];
    b->lambda = length > 0 ? (float)(sum_lanes(qm) / (length * length)) : 0.0f;
    s.lambda = b->lambda;
    for (size_t j = 0; j < dim; j++) {
        double d = fabs(query[j] * s.inverse - s.lambda * codes->centre[j]);
        if (d > most) most = d;
    }
    b->scale = (float)(most / weight_max);
    if (b->scale < 0x1p-126f) b->scale = 0.0f;
    s.step = b->scale;
    for (size_t j = 0; j < dim; j++) {
        double d = query[j] * s.inverse - s.lambda * codes->centre[j];
        double w = s.step > 0 ? (d / s.step + 0x1.8p52) - 0x1.8p52 : 0; /* to the nearest integer */
        w = w > weight_max ? weight_max : w < -weight_max ? -weight_max : w;
        weight[j] = (int16_t)w;
        sum += weight[j];
        rest2[j % LANES] += s.step * w * (s.step * w);
    }
    b->start = (int32_t)(uint32_t)(-128 * sum); /* codes are stored plus 128; sums wrap */
    measure(b, &s, dim);
    set_sigma(b, 8 * U32 * (sqrt(sum_lanes(rest2)) + fabs(s.lambda) * length) * (1 + DUST), length);
}

/* The proof holds for any g, because what g leaves out of the query is measured. */
static void make_bf16(ms_bound_codes *b, float *weight, const float *query, double norm,
                      const ms_codes *codes, size_t chain, int is_narrow) {
    size_t dim = (size_t)codes->dim;
    split s = {.query = query, .centre = codes->centre, .wide = weight, .inverse = 1 / norm};
    for (size_t j = 0; j < dim; j++) {
        float w = (float)(query[j] * s.inverse);
        weight[j] = is_narrow ? ms_round_bf16(w) : w;
    }
    b->scale = 1.0f;
    b->lambda = 0.0f;
    b->start = 0;
    measure(b, &s, dim);
    set_sigma(b, (ms_bound_gamma(chain) + 8 * U32) * length_of(weight, dim) * (1 + DUST),
              length_of(codes->centre, dim));
}

void ms_bound_bf16_make(ms_bound_codes *b, float *weight, const float *query, double norm,
                        const ms_codes *codes, size_t chain) {
    make_bf16(b, weight, query, norm, codes, chain, 0);
}

void ms_bound_bf16_narrow_make(ms_bound_codes *b, float *weight, const float *query, double norm,
                               const ms_codes *codes, size_t chain) {
    make_bf16(b, weight, query, norm, codes, chain, 1);
}

void ms_bound_codes_make_keeping_all(ms_bound_codes *b) { *b = (ms_bound_codes){.keeps_all = 1}; }

/* The most that the components of query and row across each other's direction can contribute, at
 * cosine c or above. */
static double width_at(double c) { return c <= 0 ? 1.0 : c >= 1 ? 0.0 : sqrt((1 - c) * (1 + c)); }

ms_bound_threshold ms_bound_codes_set_threshold(const ms_bound_codes *b, double threshold) {
    ms_bound_threshold t = {.threshold = 0.0f, .rho_factor = 1.0f, .upper_threshold = -FLT_MAX};
    if (b->keeps_all || !(threshold > -INFINITY)) return t;
    double least = (threshold > 2    ? 2
                    : threshold < -2 ? -2
                                     : threshold) -
                   b->tau,
           width = width_at(least) * (1 + DUST);
    t.threshold = (float)least;
    t.rho_factor = ms_bound_f32_above((width + b->f) * (1 + 8 * U32) + b->sigma_rho);
    t.upper_threshold =
        ms_bound_f32_below(least * (1 - b->phi) - width * b->eta - b->at_centre - b->sigma);
    return t;
}

double ms_bound_codes_score(const ms_bound_codes *b, const ms_bound_threshold *threshold, float rho,
                            float t, float upper) {
    if (b->keeps_all || !(rho < INFINITY) || !(upper < INFINITY)) return INFINITY;
    /* The upper bound without the terms of the threshold, plus what rounding may have taken from
     * it: the sum g.x is not larger. */
    double sum = upper - (double)t * threshold->threshold - (double)rho * threshold->rho_factor;
    double most = b->at_centre + sum + b->sigma +
                  rho * (8 * U32 * threshold->rho_factor + b->sigma_rho);
    /* The largest c for which c a - width(c) w <= most. */
    double a = 1 - b->phi - t, w = rho + b->eta, s2 = a * a + w * w, c;
    most += b->f * rho;
    if (most >= a) return 1 + b->tau;
    c = most >= -w ? (most * a + w * sqrt(s2 - most * most)) / s2 : (most + w) / a;
    return c + b->tau + SLACK;
}
