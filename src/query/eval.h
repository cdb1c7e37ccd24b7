/* What an evaluation holds (include/midisim.h, Evaluation). eval.c takes the answers and has the
 * measures, resample.c the intervals. */
#ifndef MS_QUERY_EVAL_H
#define MS_QUERY_EVAL_H
#include "base/status.h"

enum { MS_EVAL_BINS = 20001 }; /* thresholds: -1, -0.9999, ..., 1 */

/* Candidates of one query whose score lies in a bin: [threshold of the bin, next one). */
typedef struct {
    int32_t bin;
    int32_t n, n_relatives;
} ms_eval_bin;

typedef struct {
    int64_t first_rank; /* of the best relative, from 1 */
    double average_precision;
    int64_t n_relatives;
    size_t bins, n_bins; /* its bins, from the highest score down */
} ms_eval_query;

struct msim_eval {
    ms_eval_query *queries; /* owned: [n_queries] */
    size_t n_queries, queries_cap;
    ms_eval_bin *bins; /* owned: [n_bins], those of all queries */
    size_t n_bins, bins_cap;
    int64_t n_pairs, n_relatives;
};

/* Sum of above over sum of below, [n] each, one pair per query; 0 when the latter is 0. */
int ms_resample_ratio(const double *above, const double *below, size_t n,
                      const msim_eval_options *options, msim_measure *out, msim_error *err);
/* The median of values [n] that are at least 1. */
int ms_resample_median(const int64_t *values, size_t n, const msim_eval_options *options,
                       msim_measure *out, msim_error *err);

#endif
