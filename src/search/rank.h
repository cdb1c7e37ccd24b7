/* The rank order of search results, written once for the host and for CUDA kernels. The higher
 * score in double comes first; of equal scores, the lower row. The order is total, so the k best
 * rows are one list, however the work was divided. docs/SEARCH.md, The order. */
#ifndef MS_SEARCH_RANK_H
#define MS_SEARCH_RANK_H
#include "base/inline.h"
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Whether row a ranks before row b. Neither score is NaN: see ms_topk_push. */
MS_INLINE bool ms_rank_before(double score_a, int64_t row_a, double score_b, int64_t row_b) {
    return score_a > score_b || (score_a == score_b && row_a < row_b);
}

/* The same order for code that sorts integers. The better the score, the smaller its key; NaN,
 * which no score is, counts as -infinity, and -0 as the 0 it equals. */
MS_INLINE uint64_t ms_rank_key(double score) {
    uint64_t bits;
    if (!(score >= -INFINITY)) score = -INFINITY;
    score += 0.0;
    memcpy(&bits, &score, sizeof bits);
    return bits >> 63 ? bits : ~bits & 0x7fffffffffffffffull;
}

MS_INLINE double ms_rank_score_of(uint64_t key) {
    uint64_t bits = key >> 63 ? key : ~key & 0x7fffffffffffffffull;
    double score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

MS_INLINE bool ms_rank_key_before(uint64_t key_a, int64_t row_a, uint64_t key_b, int64_t row_b) {
    return key_a != key_b ? key_a < key_b : row_a < row_b;
}

#endif
