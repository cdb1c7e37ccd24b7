/* Bounds of the certified scans: see bound.h. docs/SEARCH.md has the inequalities and their proofs.
 * The factors 1.001 and the powers of two below only cover the rounding of double itself. */
#include "search/bound.h"
#include <math.h>

#define U32 MS_BOUND_U32
#define TINY 0x1p-45 /* everything that underflow may do to a plain row, relative to its norm */
#define DUST MS_BOUND_DUST

ms_bound_f32 ms_bound_f32_make(size_t dim, size_t lanes) {
    ms_bound_f32 b;
    size_t height = (dim + lanes - 1) / lanes + 1; /* multiply-adds of a lane, or products and sums
                                                    * apart */
    for (size_t l = lanes; l > 1; l /= 2) height++;
    double gamma = ms_bound_gamma(height), dot = (gamma + 1.01 * U32) * (1 + 4 * U32) + TINY;
    double norm = (1 + 4 * U32) / sqrt(1 - gamma - TINY) - 1;
    b.cosine = 1.001 * (dot + (1 + dot) * norm + 2 * U32) + ms_bound_tau(dim);
    b.margin =
        ms_bound_f32_above(1.001 * (dot + 2.2 * U32 + ms_bound_tau(dim)) * (1 + norm) / (1 - norm));
    return b;
}

double ms_bound_f32_score(const ms_bound_f32 *b, float upper) {
    return (double)upper + b->cosine + DUST;
}

double ms_bound_f32_score_ip(float upper, double query_norm) {
    double score = (double)upper * query_norm;
    if (isnan(score)) return INFINITY; /* an infinite row value and a query of zeros */
    return isinf(score) ? score : score + fabs(score) * DUST;
}

float ms_bound_f32_upper_of(double score, int is_ip, double query_norm) {
    if (!is_ip || score == -INFINITY) return ms_bound_f32_above(score);
    double upper = score / query_norm;
    return query_norm == 0 ? 0.0f
                           : ms_bound_f32_above(isinf(upper) ? upper : upper + fabs(upper) * DUST);
}
