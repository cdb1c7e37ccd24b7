/* One ranked list out of several: merges the answers of shares, which are the rows of one device or
 * rank. */
#ifndef MS_SEARCH_MERGE_H
#define MS_SEARCH_MERGE_H
#include "search/topk.h"

/* What one share found. */
typedef struct {
    const ms_hit *hits; /* borrowed: [n_query, stride], of which n of each query are there */
    int64_t n, stride;
} ms_share_hits;

/* hits [n_query, k] = the best of all shares in rank order, each row of one share alone. Returns
 * how many each query has, the lesser of k and all that the shares have. */
int64_t ms_merge_shares(const ms_share_hits *shares, size_t n_shares, size_t n_query, int64_t k,
                        ms_hit *hits);

#endif
