/* What each backend (CPU, CUDA) implements: a table of functions, without data. api.c picks a
 * backend and passes the backend's own handles through. Return values and errors are as everywhere
 * (include/midisim.h, R1). */
#ifndef MS_SEARCH_BACKEND_H
#define MS_SEARCH_BACKEND_H
#include "base/rows.h"
#include "search/topk.h"
#include "model/batch.h"
#include "model/weights.h"

/* A search request. api.c has checked it: queries are finite, numbers are within limits, options
 * are in range, and excluded rows are ascending. */
typedef struct {
    const float *queries; /* borrowed: [n_query, dim] */
    size_t n_query;
    const msim_search_options *options; /* borrowed */
    int64_t k;                          /* score_topk */
    double threshold;                   /* score_above */
    msim_hit_sink sink;                 /* score_above */
    void *user;
} ms_search_request;

/* What the last search of a context did. */
typedef struct {
    int64_t rows_nonfinite; /* loaded rows with NaN or infinity */
    int64_t rows_evaluated; /* row x query scores evaluated in double */
    int scan;               /* msim_scan in use */
} ms_search_outcome;

typedef struct {
    const char *name; /* "cpu", "cuda" */
    int64_t max_k;    /* the most results of one query that open takes; 0: as many as options
                        * allow */

    /* Lay the weights out for this device (bf16 or f32, as options say). *out is immutable, counted
     * by its owner and shared by every context opened on it; `weights` may be closed afterwards.
     * chosen->isa and chosen->device are set to what will run. Fails with MSIM_E_UNSUPPORTED when
     * f32 is asked of weights that are not f32. */
    int (*model_open)(const ms_weights *weights, const msim_options *options, void **out,
                      msim_model_info *chosen, msim_error *err);
    void (*model_close)(void *model);

    /* Scratch, threads and streams of one caller, sized for options->max_*. model NULL: search
     * only. */
    int (*open)(const void *model, const msim_options *options, void **out, msim_error *err);
    void (*close)(void *context);

    /* The batch is checked already (ms_batch_init) and within the context's limits. class_weights
     * NULL: plain mean. embed: out [n_seq, dim]. embed_tokens: out [n_tokens, dim]. Nothing is
     * allocated. */
    int (*embed)(void *context, const ms_batch *batch, const float *class_weights, float *out,
                 msim_error *err);
    int (*embed_tokens)(void *context, const ms_batch *batch, float *out, msim_error *err);
    /* embed in two steps. At most MSIM_BATCHES_UNDER_WAY batches are under way; api.c counts them.
     * submit takes a batch of at least one sequence. What the batch points to and class_weights may
     * be reused at once; out is complete when the wait that finishes this batch returns. A batch
     * whose submit fails is not under way. wait finishes the oldest batch, which is gone
     * afterwards, whatever wait returns. A device without a queue does everything in submit.
     * Meanwhile api.c calls only stage_seconds and close. */
    int (*embed_submit)(void *context, const ms_batch *batch, const float *class_weights,
                        float *out, msim_error *err);
    int (*embed_wait)(void *context, msim_error *err);

    /* Load rows first .. first + n - 1 into the context: upload them, or only remember them. views
     * [n_views] are borrowed from the corpus. Rows are numbered from 0 through all views in order,
     * and keep these numbers. This is the only function of a search that may allocate. */
    int (*load_rows)(void *context, const ms_rows *views, size_t n_views, int64_t first, int64_t n,
                     msim_error *err);
    /* The k best rows of each query, ms_topk's order; hits [n_query, k], sorted. Returns the hits
     * of each query, min(k, loaded rows that are not excluded). Scores as defined in
     * docs/SEARCH.md: evaluated in double, 16 lanes, one fixed order. */
    int64_t (*score_topk)(void *context, const ms_search_request *request, ms_hit *hits,
                          msim_error *err);
    /* Pass every row with score >= threshold to the sink, from one thread at a time. Returns how
     * many rows were passed. */
    int64_t (*score_above)(void *context, const ms_search_request *request, msim_error *err);
    void (*search_outcome)(const void *context, ms_search_outcome *out);
    /* Seconds inside each stage so far, summed over threads: out [MSIM_STAGE_COUNT]. */
    void (*stage_seconds)(const void *context, double *out);
} ms_backend;

#endif
