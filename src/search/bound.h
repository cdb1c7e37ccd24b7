/* Bounds for scans: which rows a scan may leave out. A bound says how far the f32 numbers of a scan
 * are from the scores of docs/SEARCH.md, which has the proofs under the names used here. Everything
 * is computed in double; results are rounded to the safe side.
 *
 * A threshold is a score in double that results must reach (T in docs/SEARCH.md). A scan compares
 * upper bounds in f32 with an upper threshold: a row is left out if its upper bound is below it. */
#ifndef MS_SEARCH_BOUND_H
#define MS_SEARCH_BOUND_H
#include "base/status.h"

/* The largest f32 that is not above x (-infinity for NaN and -infinity), and the smallest f32 that
 * is not below x (infinity for NaN). */
float ms_bound_f32_below(double x);
float ms_bound_f32_above(double x);

/* gamma(n) = n u / (1 - n u) for u = 2^-24: relative error of a product after n roundings to f32. n
 * < 2^22. */
double ms_bound_gamma(size_t n);
/* tau: how far the score in double may be from the cosine of the same numbers in exact
 * arithmetic. */
double ms_bound_tau(size_t dim);

/* The scan of rows as they are, by sums of `lanes` lanes. */
typedef struct {
    double cosine; /* |upper - score| for plain rows */
    float margin;  /* dot product: what the scan adds to a dot, in units of the row's norm */
} ms_bound_f32;

ms_bound_f32 ms_bound_f32_make(size_t dim, size_t lanes);
/* For the cosine: the upper threshold for a threshold, and the score that a row with this upper
 * bound cannot exceed. */
float ms_bound_f32_threshold(const ms_bound_f32 *b, double threshold);
double ms_bound_f32_score(const ms_bound_f32 *b, float upper);
/* The same for the dot product with a query of this norm, which may be 0. */
float ms_bound_f32_threshold_ip(double threshold, double query_norm);
double ms_bound_f32_score_ip(float upper, double query_norm);
/* The upper bound of a row whose score was evaluated. */
float ms_bound_f32_upper_of(double score, int is_ip, double query_norm);

#endif
