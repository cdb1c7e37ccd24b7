/* Merges the answers of shares: see search/merge.h. */
#include "search/merge.h"

int64_t ms_merge_shares(const ms_share_hits *shares, size_t n_shares, size_t n_query, int64_t k,
                        ms_hit *hits) {
    int64_t n_all = 0;
    for (size_t i = 0; i < n_shares; i++) n_all += shares[i].n;
    for (size_t q = 0; q < n_query; q++) {
        ms_topk best;
        ms_topk_init(&best, hits + (int64_t)q * k, (size_t)k);
        for (size_t i = 0; i < n_shares; i++)
            for (int64_t h = 0; h < shares[i].n; h++)
                ms_topk_push(&best, shares[i].hits[(int64_t)q * shares[i].stride + h]);
        ms_topk_sort(&best);
    }
    return n_all < k ? n_all : k;
}
