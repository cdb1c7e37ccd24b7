/* The query's side of the scans of codes: what a kernel multiplies by, and what that leaves out of
 * the query. docs/SEARCH.md, The query's side, has the meaning of every number. Written once for
 * the host (search/bound_codes.c) and for CUDA kernels (kernels/search/prepare.cu).
 *
 * A sum over the query is taken in 16 lanes: lane l has the elements l, l + 16, .., in double,
 * without fused operations; the lanes are then added in the tree 8, 4, 2, 1. The functions here are
 * one lane's part. The host adds the lanes up in a loop, a kernel by shuffles: the same additions
 * of the same numbers, so both give the same bits. The proof does not need that, for it asks
 * nothing of g; the tests do, because bits are what they can compare. */
#ifndef MS_SEARCH_SPLIT_H
#define MS_SEARCH_SPLIT_H
#include "base/bf16.h"
#include "search/bound_codes.h"

enum { MS_SPLIT_LANES = 16 };
enum ms_split_kind {
    MS_SPLIT_INT8,  /* weights are integers: g = lambda m + step w */
    MS_SPLIT_F32,   /* weights are the query at length 1 in f32: g = w */
    MS_SPLIT_NARROW /* the same in bf16 */
};

/* One query against one centre. The query's norm is above 0. */
typedef struct {
    const float *query, *centre; /* borrowed: [dim] */
    size_t dim;
    int kind;          /* ms_split_kind */
    double inverse;    /* 1 / |q| */
    double lambda;     /* int8; else 0 */
    double step;       /* int8: what a weight of 1 stands for, 0: all weights are 0; else 1 */
    double weight_max; /* int8: no weight exceeds it in absolute value */
} ms_split;

/* Sums over all lanes. */
typedef struct {
    double along;     /* f.q */
    double all;       /* f.f */
    double at_centre; /* g.m */
    double weights;   /* (step w).(step w) */
    double sum;       /* of the weights: exact for int8, whose integers are below 2^31 */
} ms_split_sums;

/* Weight j. For int8 it is d_j / step to the nearest integer: adding and subtracting 1.5 * 2^52
 * rounds a double of that size, ties to even. */
MS_INLINE double ms_split_weight(const ms_split *s, size_t j) {
    double unit = s->query[j] * s->inverse;
    if (s->kind == MS_SPLIT_F32) return (float)unit;
    if (s->kind == MS_SPLIT_NARROW) return ms_round_bf16((float)unit);
    double d = unit - s->lambda * s->centre[j];
    double w = s->step > 0 ? (d / s->step + 0x1.8p52) - 0x1.8p52 : 0;
    return w > s->weight_max ? s->weight_max : w < -s->weight_max ? -s->weight_max : w;
}

/* g_j, of this weight. */
MS_INLINE double ms_split_g(const ms_split *s, size_t j, double weight) {
    return s->kind == MS_SPLIT_INT8 ? s->lambda * s->centre[j] + s->step * weight : weight;
}

/* int8: lane l of q.m, of m.m, and the largest |d_j| of the lane. */
MS_INLINE double ms_split_lane_at_centre(const ms_split *s, size_t l) {
    double sum = 0;
    for (size_t j = l; j < s->dim; j += MS_SPLIT_LANES)
        sum += s->query[j] * s->inverse * s->centre[j];
    return sum;
}
MS_INLINE double ms_split_lane_centre(const ms_split *s, size_t l) {
    double sum = 0;
    for (size_t j = l; j < s->dim; j += MS_SPLIT_LANES) sum += (double)s->centre[j] * s->centre[j];
    return sum;
}
MS_INLINE double ms_split_lane_most(const ms_split *s, size_t l) {
    double most = 0;
    for (size_t j = l; j < s->dim; j += MS_SPLIT_LANES) {
        double d = fabs(s->query[j] * s->inverse - s->lambda * s->centre[j]);
        if (d > most) most = d;
    }
    return most;
}

/* int8: lambda of q.m and m.m; the step of the largest |d_j|, 0 where that is hardly anything. */
MS_INLINE float ms_split_lambda(double at_centre, double centre_square) {
    double length = sqrt(centre_square);
    return length > 0 ? (float)(at_centre / (length * length)) : 0.0f;
}
MS_INLINE float ms_split_step(double most, double weight_max) {
    float step = (float)(most / weight_max);
    return step < 0x1p-126f ? 0.0f : step;
}

/* Lane l of what the weights are measured by. */
MS_INLINE ms_split_sums ms_split_lane_measure(const ms_split *s, size_t l) {
    ms_split_sums sums = {0, 0, 0, 0, 0};
    for (size_t j = l; j < s->dim; j += MS_SPLIT_LANES) {
        double q = s->query[j] * s->inverse, w = ms_split_weight(s, j), g = ms_split_g(s, j, w),
               f = q - g;
        sums.along += f * q;
        sums.all += f * f;
        sums.at_centre += g * s->centre[j];
        sums.weights += s->step * w * (s->step * w);
        sums.sum += w;
    }
    return sums;
}
/* Lane l of |f - phi q| squared. */
MS_INLINE double ms_split_lane_across(const ms_split *s, size_t l, double phi) {
    double sum = 0;
    for (size_t j = l; j < s->dim; j += MS_SPLIT_LANES) {
        double q = s->query[j] * s->inverse,
               rest = q - ms_split_g(s, j, ms_split_weight(s, j)) - phi * q;
        sum += rest * rest;
    }
    return sum;
}

/* The bounds of the query from its sums; across: |f - phi q| squared; chain: as in
 * ms_bound_bf16_make. Rounding may move an upper bound by sigma + sigma_rho rho: its products and
 * sums have at most 9 roundings, and stay below work |a z| + 1/2 + rho rho_factor, where |a z| <=
 * 1 + |m| + rho. Rounding t and the threshold adds less than u. */
MS_INLINE ms_bound_codes ms_split_bounds(const ms_split *s, const ms_split_sums *sums,
                                         double centre_square, double across, size_t chain) {
    ms_bound_codes b;
    double length = sqrt(centre_square), work = sqrt(sums->weights);
    if (s->kind == MS_SPLIT_INT8)
        work = 8 * MS_BOUND_U32 * (work + fabs(s->lambda) * length);
    else
        work = (ms_bound_gamma(chain) + 8 * MS_BOUND_U32) * work;
    work *= 1 + MS_CODES_DUST;
    b.scale = (float)s->step;
    b.lambda = (float)s->lambda;
    b.start = (int32_t)(uint32_t)(-128 * (int64_t)sums->sum); /* codes are stored plus 128; sums
                                                               * wrap */
    if (s->kind != MS_SPLIT_INT8) b.start = 0;
    b.phi = sums->along;
    b.f = sqrt(sums->all) * (1 + MS_CODES_DUST) + MS_CODES_SLACK;
    b.eta = sqrt(across) * (1 + MS_CODES_DUST) + MS_CODES_SLACK;
    b.at_centre = sums->at_centre;
    b.tau = ms_bound_tau(s->dim) + MS_CODES_SLACK;
    b.keeps_all = !(fabs(b.phi) <= MS_CODES_MOST_ALONG); /* also NaN */
    b.sigma = work * (1 + length) + 8 * MS_BOUND_U32 + 20 * MS_CODES_SLACK;
    b.sigma_rho = work;
    return b;
}

#endif
