/* What the scan of codes (codes/layout.h) may leave out. docs/SEARCH.md, Compressed copies, has the
 * proof under the names used here. Everything is computed in double; what kernels read is rounded
 * to f32 on the safe side. */
#ifndef MS_SEARCH_BOUND_CODES_H
#define MS_SEARCH_BOUND_CODES_H
#include "codes/layout.h"

/* One query against the codes of one view. */
typedef struct {
    /* For the kernels (int8): */
    float scale, lambda;
    int32_t start;
    /* For thresholds: */
    double phi, eta, f;      /* what the weights leave out of the query: along it, across it, its
                              * length */
    double at_centre;        /* g.m */
    double sigma, sigma_rho; /* what rounding may do to an upper bound: sigma + sigma_rho rho */
    double tau;
    int keeps_all; /* no certificate: every row is kept */
} ms_bound_codes;

/* What a kernel needs for a threshold (search/bound.h). */
typedef struct {
    float threshold, reach, upper_threshold;
} ms_bound_threshold;

/* weight [dim] and constants of a query [dim] with norm |query| > 0 for the int8 scan; |weights| <=
 * weight_max. */
void ms_bound_int8_make(ms_bound_codes *b, int16_t *weight, const float *query, double norm,
                        const ms_codes *codes, int weight_max);
/* The same for bf16. chain: roundings on a kernel's longest way from a product to the sum. */
void ms_bound_bf16_make(ms_bound_codes *b, float *weight, const float *query, double norm,
                        const ms_codes *codes, size_t chain);
/* The same for kernels that multiply bf16 by bf16: weights are rounded to it. chain: at most 2^22 -
 * 1. */
void ms_bound_bf16_narrow_make(ms_bound_codes *b, float *weight, const float *query, double norm,
                               const ms_codes *codes, size_t chain);
/* For a query of zeros, or any for which every row is to be kept. */
void ms_bound_codes_make_keeping_all(ms_bound_codes *b);

/* Constants for a threshold: a lower bound of the K-th best score, or -infinity. The upper
 * threshold is never -infinity. */
ms_bound_threshold ms_bound_codes_set_threshold(const ms_bound_codes *b, double threshold);
/* A number that the score of a row (its rho and t) cannot exceed, from the upper bound that a
 * kernel gave with these constants. */
double ms_bound_codes_score(const ms_bound_codes *b, const ms_bound_threshold *threshold, float rho,
                            float t, float upper);

#endif
