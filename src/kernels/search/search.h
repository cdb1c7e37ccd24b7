/* Exact search on one CUDA device: the search of search/backend.h over a range of a corpus's rows.
 * Rows, codes or both stay in the device's memory where they fit, and stream through it at
 * each search where they do not; answers are those of docs/SEARCH.md to the bit either way.
 * kernels/search/rows.c keeps the rows, kernels/search/rounds.c scans and scores them,
 * kernels/search/search.c takes requests. Owned by kernels/backend.c, one for each device; one
 * thread at a time. */
#ifndef MS_KERNELS_SEARCH_SEARCH_H
#define MS_KERNELS_SEARCH_SEARCH_H
#include "kernels/device.h"
#include "search/backend.h"

typedef struct ms_gpu_search ms_gpu_search;

/* The stream (borrowed, outlives the search) says which device. options: max_queries and max_k;
 * more than MS_GPU_MAX_K results are refused by the search that asks for them; threads, of which up
 * to eight read corpora that are large. Takes no memory of the device yet. */
int ms_gpu_search_open(ms_gpu_stream *stream, const msim_options *options, ms_gpu_search **out,
                       msim_error *err);
void ms_gpu_search_close(ms_gpu_search *s); /* accepts NULL */

/* As backend.h: rows first .. first + n - 1 of the views (borrowed until the next load or close),
 * replacing those before. The only one of these functions that allocates; a shortage of device
 * memory makes more of the rows stream, and is an error only when not even the working memory is to
 * be had. On failure nothing is loaded. */
int ms_gpu_search_load(ms_gpu_search *s, const ms_rows *views, size_t n_views, int64_t first,
                       int64_t n, msim_error *err);
/* As backend.h. -MSIM_E_UNSUPPORTED for k over MS_GPU_MAX_K, and for a scan that needs codes which
 * are not attached. Return when all is done. */
int64_t ms_gpu_search_topk(ms_gpu_search *s, const ms_search_request *request, ms_hit *hits,
                           msim_error *err);
int64_t ms_gpu_search_above(ms_gpu_search *s, const ms_search_request *request, msim_error *err);
/* Of the last search; rows_nonfinite counts the rows of this range alone. */
void ms_gpu_search_outcome(const ms_gpu_search *s, ms_search_outcome *out);

/* What of the loaded rows lies in the device's memory. */
typedef struct {
    int has_rows, has_int8, has_bf16;
    size_t bytes; /* of rows and codes */
} ms_gpu_residence;

ms_gpu_residence ms_gpu_search_residence(const ms_gpu_search *s);

/* For tests: made small, these take small corpora through every way that large ones go. They count
 * from the next load on; 0 is the ordinary value. */
typedef struct {
    size_t memory_bytes;   /* what load takes for the device's free memory, for rows and codes */
    size_t buffer_bytes;   /* of a buffer through which rows stream */
    int64_t candidate_cap; /* candidates of a query that fit, at least 32 */
    int64_t excluded_cap;  /* excluded rows that the device holds at a time */
    int slots;             /* slices of a round that is scanned by codes */
    int threads;           /* that read the corpus, however few rows it has */
} ms_gpu_search_limits;

void ms_gpu_search_set_limits(ms_gpu_search *s, const ms_gpu_search_limits *limits);
/* For tests: what is added to the thresholds that scans are given. Above 0 the bounds do not
 * hold. */
void ms_gpu_search_set_shift(ms_gpu_search *s, double shift);
/* For tests: how often the list of the sample was made since the search was opened. */
int64_t ms_gpu_search_samples(const ms_gpu_search *s);

#endif
