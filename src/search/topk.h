/* The K best of a stream of scored rows, in the total order that every backend must agree with:
 * finite scores before non-finite ones (stored as -infinity), higher double score first, then the
 * lower row. include/midisim.h, search. */
#ifndef MS_SEARCH_TOPK_H
#define MS_SEARCH_TOPK_H
#include "base/status.h"
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
    return a.score > b.score || (a.score == b.score && a.row < b.row);
}

void ms_topk_init(ms_topk *top, ms_hit *hits, size_t cap);
/* Offer one hit; NaN scores are stored as -infinity. */
void ms_topk_push(ms_topk *top, ms_hit hit);
/* Offer all of `from`. */
void ms_topk_merge(ms_topk *top, const ms_topk *from);
/* Put hits[0..n) in rank order; the heap is then only good for reading. */
void ms_topk_sort(ms_topk *top);

#endif
