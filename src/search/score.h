/* The score of docs/SEARCH.md, computed from its sums. Written once for the host and for CUDA
 * kernels. */
#ifndef MS_SEARCH_SCORE_H
#define MS_SEARCH_SCORE_H
#include "base/inline.h"
#include <math.h>

/* dot = dot(x, q), square = dot(x, x), norm = sqrt(square) and query_norm = sqrt(dot(q, q)) in
 * double. norm is not used for the dot product (is_ip). A row with NaN or infinity has no finite
 * square. Adding 0 turns -0 into the 0 it equals. */
MS_INLINE double ms_score(double dot, double square, double norm, double query_norm, int is_ip) {
    if (!(square < INFINITY)) return -INFINITY;
    if (is_ip) return dot + 0.0;
    if (square == 0.0 || query_norm == 0.0) return 0.0;
    return dot / (query_norm * norm) + 0.0;
}

#endif
