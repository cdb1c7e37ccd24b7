/* What a search decides before it reads a row, for every backend: which scan passes over the rows,
 * which rows are excluded, and which rows give the first threshold. After that a backend only
 * passes over rows. docs/SEARCH.md, Steps of a search. */
#ifndef MS_SEARCH_PLAN_H
#define MS_SEARCH_PLAN_H
#include "search/backend.h"
#include "search/slices.h"
#include <math.h>
#include <stdbool.h>

#define MS_SCAN_BIT(scan) (1u << (scan))

/* What a backend can do with the rows that are loaded. */
typedef struct {
    size_t max_queries; /* of a request, as its context was opened */
    int64_t max_k;
    unsigned scans;     /* MS_SCAN_BIT of each scan that can serve these rows; f64 always can */
    unsigned preferred; /* the scans that MSIM_SCAN_AUTO chooses from */
} ms_plan_backend;

/* A request that has begun. */
typedef struct {
    const ms_search_request *request; /* borrowed while the search runs, else NULL */
    ms_row_list excluded;             /* borrowed likewise: the loaded rows that are excluded */
    int scan;                         /* msim_scan, never AUTO */
    int is_ip;
    int64_t n_rows;   /* that may be results: loaded and not excluded */
    double threshold; /* the lowest score of a result that is known before any row is read */
} ms_search_plan;

/* Begin a request over these rows. *plan is untouched on failure. */
int ms_plan_begin(ms_search_plan *plan, const ms_search_request *request, const ms_slices *rows,
                  const ms_plan_backend *backend, msim_error *err);
/* Drop what is borrowed. The scan stays, for the outcome. */
void ms_plan_end(ms_search_plan *plan);

/* The scan (msim_scan) for a request over n_rows rows. AUTO: the preferred scan that reads least;
 * f64 where there are few rows, or where many of them are results. */
int ms_plan_choose_scan(const ms_search_request *request, int64_t n_rows,
                        const ms_plan_backend *backend, msim_error *err);

/* Scans that read codes instead of rows. */
static inline bool ms_plan_reads_codes(int scan) {
    return scan == MSIM_SCAN_BF16 || scan == MSIM_SCAN_INT8;
}
/* Does the caller want the search to stop? And the failure that it then ends with. */
static inline bool ms_plan_should_stop(const ms_search_plan *plan) {
    const msim_search_options *o = plan->request->options;
    return o->should_stop && o->should_stop(o->stop_user) != 0;
}
int ms_plan_stopped(msim_error *err);
/* Whether a row with this score goes to the sink of a request that has one. */
static inline bool ms_plan_is_hit(const ms_search_plan *plan, double score) {
    return score >= plan->request->threshold && score != -INFINITY;
}

/* ---- The sample: rows that are scored first, for a threshold that the others must reach ---- */

/* How many rows the sample of a search for k of n_rows rows has; at most cap. */
double ms_plan_sample_rows(int64_t n_rows, int64_t k, int64_t cap);

/* A sample of whole blocks: 0, stride, 2 stride, ..; n of them, or none (0). */
typedef struct {
    int64_t n, stride;
} ms_plan_blocks;

ms_plan_blocks ms_plan_sample_blocks(double n_rows, int64_t n_blocks, int64_t block_rows);
/* Block i of the sample; block i of the others. */
int64_t ms_plan_sample_block(const ms_plan_blocks *sample, int64_t i);
int64_t ms_plan_other_block(const ms_plan_blocks *sample, int64_t i);

/* A sample of single rows: row i of n_sample that are spread evenly over n_rows. */
int64_t ms_plan_sample_row(int64_t n_rows, int64_t n_sample, int64_t i);

#endif
