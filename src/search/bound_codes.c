/* Bounds of the scans of codes: see search/bound_codes.h. The arithmetic of a query's lanes is in
 * search/split.h, which CUDA kernels share; here the lanes are added up. */
#include "search/bound_codes.h"
#include "search/split.h"

enum { MOST_SUM = INT32_MAX, CODE_MAX = 127 };

static double sum_lanes(double *lane) {
    for (size_t half = MS_SPLIT_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static double over_lanes(const ms_split *s, double (*part)(const ms_split *s, size_t l)) {
    double lane[MS_SPLIT_LANES];
    for (size_t l = 0; l < MS_SPLIT_LANES; l++) lane[l] = part(s, l);
    return sum_lanes(lane);
}

static ms_split_sums measure(const ms_split *s) {
    double along[MS_SPLIT_LANES], all[MS_SPLIT_LANES], at_centre[MS_SPLIT_LANES],
        weights[MS_SPLIT_LANES], sum[MS_SPLIT_LANES];
    for (size_t l = 0; l < MS_SPLIT_LANES; l++) {
        ms_split_sums part = ms_split_lane_measure(s, l);
        along[l] = part.along;
        all[l] = part.all;
        at_centre[l] = part.at_centre;
        weights[l] = part.weights;
        sum[l] = part.sum;
    }
    return (ms_split_sums){sum_lanes(along), sum_lanes(all), sum_lanes(at_centre),
                           sum_lanes(weights), sum_lanes(sum)};
}

static void set_bounds(ms_bound_codes *b, const ms_split *s, double centre_square, size_t chain) {
    ms_split_sums sums = measure(s);
    double across[MS_SPLIT_LANES];
    for (size_t l = 0; l < MS_SPLIT_LANES; l++) across[l] = ms_split_lane_across(s, l, sums.along);
    *b = ms_split_bounds(s, &sums, centre_square, sum_lanes(across), chain);
}

void ms_bound_int8_make(ms_bound_codes *b, int16_t *weight, const float *query, double norm,
                        const ms_codes *codes, int weight_max) {
    int64_t limit = MOST_SUM / (CODE_MAX * codes->dim);
    ms_split s = {.query = query,
                  .centre = codes->centre,
                  .dim = (size_t)codes->dim,
                  .kind = MS_SPLIT_INT8,
                  .inverse = 1 / norm,
                  .weight_max = weight_max > limit ? (double)limit : weight_max};
    double square = over_lanes(&s, ms_split_lane_centre), most = 0;
    s.lambda = ms_split_lambda(over_lanes(&s, ms_split_lane_at_centre), square);
    for (size_t l = 0; l < MS_SPLIT_LANES; l++) {
        double d = ms_split_lane_most(&s, l);
        if (d > most) most = d;
    }
    s.step = ms_split_step(most, s.weight_max);
    for (size_t j = 0; j < s.dim; j++) weight[j] = (int16_t)ms_split_weight(&s, j);
    set_bounds(b, &s, square, 0);
}

static void make_bf16(ms_bound_codes *b, float *weight, const float *query, double norm,
                      const ms_codes *codes, size_t chain, int kind) {
    ms_split s = {.query = query,
                  .centre = codes->centre,
                  .dim = (size_t)codes->dim,
                  .kind = kind,
                  .inverse = 1 / norm,
                  .step = 1};
    for (size_t j = 0; j < s.dim; j++) weight[j] = (float)ms_split_weight(&s, j);
    set_bounds(b, &s, over_lanes(&s, ms_split_lane_centre), chain);
}

void ms_bound_bf16_make(ms_bound_codes *b, float *weight, const float *query, double norm,
                        const ms_codes *codes, size_t chain) {
    make_bf16(b, weight, query, norm, codes, chain, MS_SPLIT_F32);
}

void ms_bound_bf16_narrow_make(ms_bound_codes *b, float *weight, const float *query, double norm,
                               const ms_codes *codes, size_t chain) {
    make_bf16(b, weight, query, norm, codes, chain, MS_SPLIT_NARROW);
}

void ms_bound_codes_make_keeping_all(ms_bound_codes *b) { *b = (ms_bound_codes){.keeps_all = 1}; }

double ms_bound_codes_score(const ms_bound_codes *b, const ms_bound_threshold *threshold, float rho,
                            float t, float upper) {
    if (b->keeps_all || !(rho < INFINITY) || !(upper < INFINITY)) return INFINITY;
    /* The upper bound without the terms of the threshold, plus what rounding may have taken from
     * it: the sum g.x is not larger. */
    double sum = upper - (double)t * threshold->threshold - (double)rho * threshold->rho_factor;
    double most = b->at_centre + sum + b->sigma +
                  rho * (8 * MS_BOUND_U32 * threshold->rho_factor + b->sigma_rho);
    /* The largest c for which c a - width(c) w <= most. */
    double a = 1 - b->phi - t, w = rho + b->eta, s2 = a * a + w * w, c;
    most += b->f * rho;
    if (most >= a) return 1 + b->tau;
    c = most >= -w ? (most * a + w * sqrt(s2 - most * most)) / s2 : (most + w) / a;
    return c + b->tau + MS_CODES_SLACK;
}
