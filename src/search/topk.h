/* The K best of a stream of scored rows, in the rank order of search/rank.h, which every backend
 * uses. A row with NaN or infinity has the score -infinity, so it ranks after all others. */
#ifndef MS_SEARCH_TOPK_H
#define MS_SEARCH_TOPK_H
#include "base/status.h"
#include "search/rank.h"
#include <stdbool.h>

typedef struct {
    double score; /* -infinity for a row that holds NaN or infinity */
    int64_t row;
} ms_hit;

/* A bounded heap, worst on top. The array is the caller's. */
typedef struct {
    ms_hit *hits; /* borrowed: [cap] */
    size_t n, cap;
} ms_topk;

/* True when a ranks before b. */
static inline bool ms_hit_before(ms_hit a, ms_hit b) {
    return ms_rank_before(a.score, a.row, b.score, b.row);
}

/* The K-th best score so far, once there are K: what a row must reach to be among the K best. */
static inline bool ms_topk_is_full(const ms_topk *top) { return top->n == top->cap; }
static inline double ms_topk_kth_score(const ms_topk *top) { return top->hits[0].score; }

void ms_topk_init(ms_topk *top, ms_hit *hits, size_t cap);
/* Offer one hit; NaN scores are stored as -infinity. */
void ms_topk_push(ms_topk *top, ms_hit hit);
/* Offer all of `from`. */
void ms_topk_merge(ms_topk *top, const ms_topk *from);
/* Put hits[0..n) in rank order; the heap is then only good for reading. */
void ms_topk_sort(ms_topk *top);

#endif
