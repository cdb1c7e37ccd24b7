/* Bounds for scans: which rows a scan may leave out. A bound says how far the f32 numbers of a scan
 * are from the scores of docs/SEARCH.md, which has the proofs under the names used here. Everything
 * is computed in double; results are rounded to the safe side. What CUDA kernels compute too is
 * MS_INLINE (base/inline.h): written once, so the host and a kernel give the same bits.
 *
 * A threshold is a score in double that results must reach (T in docs/SEARCH.md). A scan compares
 * upper bounds in f32 with an upper threshold: a row is left out if its upper bound is below it. */
#ifndef MS_SEARCH_BOUND_H
#define MS_SEARCH_BOUND_H
#include "base/inline.h"
#include "base/status.h"
#include <float.h>
#include <math.h>

#define MS_BOUND_U32 0x1p-24 /* half an ulp of 1 in f32 */
#define MS_BOUND_U64 0x1p-53
#define MS_BOUND_DUST 0x1p-50 /* relative: a few roundings of double */

/* The largest f32 that is not above x (-infinity for NaN and -infinity), and the smallest f32 that
 * is not below x (infinity for NaN). */
MS_INLINE float ms_bound_f32_below(double x) {
    if (!(x > -INFINITY)) return -INFINITY;
    if (x > FLT_MAX) return x == INFINITY ? INFINITY : FLT_MAX;
    if (x < -FLT_MAX) return -INFINITY;
    float f = (float)x;
    return (double)f > x ? nextafterf(f, -INFINITY) : f;
}
MS_INLINE float ms_bound_f32_above(double x) { return x != x ? INFINITY : -ms_bound_f32_below(-x); }

/* gamma(n) = n u / (1 - n u) for u = 2^-24: relative error of a product after n roundings to f32. n
 * < 2^22. */
MS_INLINE double ms_bound_gamma(size_t n) {
    return (double)n * MS_BOUND_U32 / (1 - (double)n * MS_BOUND_U32);
}
/* tau: how far the score in double may be from the cosine of the same numbers in exact
 * arithmetic. */
MS_INLINE double ms_bound_tau(size_t dim) { return 4 * ((double)dim / 16 + 6) * MS_BOUND_U64; }

/* The scan of rows as they are, by sums of `lanes` lanes. */
typedef struct {
    double cosine; /* |upper - score| for plain rows */
    float margin;  /* dot product: what the scan adds to a dot, in units of the row's norm */
} ms_bound_f32;

ms_bound_f32 ms_bound_f32_make(size_t dim, size_t lanes);
/* For the cosine: the upper threshold for a threshold, and the score that a row with this upper
 * bound cannot exceed. */
MS_INLINE float ms_bound_f32_threshold(const ms_bound_f32 *b, double threshold) {
    return ms_bound_f32_below(threshold - b->cosine - MS_BOUND_DUST);
}
double ms_bound_f32_score(const ms_bound_f32 *b, float upper);
/* The same for the dot product with a query of this norm, which may be 0. */
MS_INLINE float ms_bound_f32_threshold_ip(double threshold, double query_norm) {
    double least = threshold / query_norm; /* NaN for a query of zeros: its scores are all 0 */
    if (query_norm == 0) return -INFINITY;
    return ms_bound_f32_below(least - fabs(least) * MS_BOUND_DUST);
}
double ms_bound_f32_score_ip(float upper, double query_norm);
/* The upper bound of a row whose score was evaluated. */
float ms_bound_f32_upper_of(double score, int is_ip, double query_norm);

#endif
