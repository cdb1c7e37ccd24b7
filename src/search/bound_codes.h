/* Bounds for scans of codes (codes/layout.h): which rows such a scan may leave out. docs/SEARCH.md,
 * Scans of codes, has the proof under the names used here. Everything is computed in double. What
 * kernels read is rounded to f32 on the safe side. */
#ifndef MS_SEARCH_BOUND_CODES_H
#define MS_SEARCH_BOUND_CODES_H
#include "codes/layout.h"
#include "search/bound.h"

/* SLACK covers the rounding of sums in double, DUST that of single operations; no query leaves more
 * along itself out than MOST_ALONG. */
#define MS_CODES_SLACK 1e-12
#define MS_CODES_DUST 1e-9
#define MS_CODES_MOST_ALONG 0.25

/* One query against the codes of one view. */
typedef struct {
    /* For the kernels of int8 codes: */
    float scale, lambda;
    int32_t start;
    /* For thresholds: */
    double phi, eta, f;      /* what the weights leave out of the query: along the query, across it,
                              * and the length of all that */
    double at_centre;        /* g.m */
    double sigma, sigma_rho; /* rounding moves an upper bound by at most sigma + sigma_rho rho */
    double tau;
    int keeps_all; /* no certificate: every row is kept */
} ms_bound_codes;

/* What a kernel needs to test rows against a threshold (search/bound.h): upper includes
 * t * threshold + rho * rho_factor, and is compared with upper_threshold. */
typedef struct {
    float threshold, rho_factor, upper_threshold;
} ms_bound_threshold;

/* Make the constants and weight [dim] of a query [dim] for the int8 scan. norm is |query| > 0. No
 * weight exceeds weight_max in absolute value. */
void ms_bound_int8_make(ms_bound_codes *b, int16_t *weight, const float *query, double norm,
                        const ms_codes *codes, int weight_max);
/* The same for bf16. chain: the most roundings that a kernel does between a product and the final
 * sum. */
void ms_bound_bf16_make(ms_bound_codes *b, float *weight, const float *query, double norm,
                        const ms_codes *codes, size_t chain);
/* The same for kernels that multiply bf16 by bf16: weights are rounded to bf16. chain is at most
 * 2^22 - 1. */
void ms_bound_bf16_narrow_make(ms_bound_codes *b, float *weight, const float *query, double norm,
                               const ms_codes *codes, size_t chain);
/* Make bounds that keep every row, as for a query of zeros. */
void ms_bound_codes_make_keeping_all(ms_bound_codes *b);

/* The most that the components of query and row across each other's direction can contribute, at
 * cosine c or above. */
MS_INLINE double ms_bound_codes_width(double c) {
    return c <= 0 ? 1.0 : c >= 1 ? 0.0 : sqrt((1 - c) * (1 + c));
}

/* Constants for a threshold, which is a lower bound of the K-th best score, or -infinity. The upper
 * threshold is never -infinity. */
MS_INLINE ms_bound_threshold ms_bound_codes_set_threshold(const ms_bound_codes *b,
                                                          double threshold) {
    ms_bound_threshold t = {0.0f, 1.0f, -FLT_MAX};
    if (b->keeps_all || !(threshold > -INFINITY)) return t;
    double least = (threshold > 2    ? 2
                    : threshold < -2 ? -2
                                     : threshold) -
                   b->tau,
           width = ms_bound_codes_width(least) * (1 + MS_CODES_DUST);
    t.threshold = (float)least;
    t.rho_factor = ms_bound_f32_above((width + b->f) * (1 + 8 * MS_BOUND_U32) + b->sigma_rho);
    t.upper_threshold =
        ms_bound_f32_below(least * (1 - b->phi) - width * b->eta - b->at_centre - b->sigma);
    return t;
}
/* A number that a row's score cannot exceed. rho and t are the row's, and upper is what a kernel
 * computed for the row with these constants. */
double ms_bound_codes_score(const ms_bound_codes *b, const ms_bound_threshold *threshold, float rho,
                            float t, float upper);

#endif
