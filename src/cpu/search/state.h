/* What the files of exact search on the CPU share: the loaded rows, the K best of each query with
 * the lock that guards them, and scratch memory of each worker. cpu/search/search.c owns all of it.
 * cpu/search/plain.c scores every row in double; cpu/search/certify.c runs a scan and scores what
 * it cannot leave out. */
#ifndef MS_CPU_SEARCH_STATE_H
#define MS_CPU_SEARCH_STATE_H
#include "cpu/levels.h"
#include "cpu/search/scan.h"
#include "cpu/search/search.h"
#include "search/plan.h"
#include "search/slices.h"
#include "search/topk.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdatomic.h>

enum {
    MS_PLAIN_ROWS = 64,
    MS_PLAIN_QUERIES = 64
}; /* 64 rows of 512 f32 stay in the second-level
                                                     * cache for all queries */

/* A row that a scan kept, to be evaluated in double unless the threshold passes its bound
 * before. */
typedef struct {
    double bound; /* its score is not above */
    int64_t row;  /* in the corpus */
} ms_search_candidate;

/* One query while a search runs. */
typedef struct {
    pthread_mutex_t lock;     /* guards best and candidates */
    ms_topk best;             /* the caller's hits */
    _Atomic double threshold; /* the K-th best score so far, -infinity until there are K; only
                             * rises */
    ms_search_candidate *candidates; /* [candidate_cap] */
    size_t n_candidates;
} ms_cpu_query;

typedef struct {
    double *dots;            /* owned: [MS_PLAIN_ROWS, MS_PLAIN_QUERIES] */
    float *upper;            /* owned: [max_queries, MS_SCAN_ROWS] */
    double *thresholds;      /* owned: [max_queries], of each query, as the scan was told last */
    float *upper_thresholds; /* owned: [max_queries], and what upper bounds must reach for it */
    const ms_slice *set_for; /* the slice that it was for; NULL: none in this search */
    int64_t n_nonfinite, n_evaluated;
} ms_search_worker;

enum { MS_SEARCH_SCANS = 3 };

struct ms_cpu_search {
    ms_pool *pool;                       /* borrowed */
    const ms_cpu_kernels *kernels;       /* static */
    const ms_scan_kernels *scan_kernels; /* static */
    ms_search_worker *workers;           /* owned: [n_workers] */
    ms_cpu_query *queries;               /* owned: [max_queries] */
    double *norms;                       /* owned: [max_queries], sqrt(dot(q, q)) */
    size_t n_workers, max_queries, max_k;
    ms_search_candidate *candidates; /* owned: [max_queries, candidate_cap] */
    size_t candidate_cap;
    int isa;
    ms_slices rows;       /* owned: what is loaded */
    int64_t *first_block; /* owned: [rows.n + 1], blocks before each slice and in all of them */
    size_t dim;
    void *states[MS_SEARCH_SCANS]; /* owned: of each method for these rows; NULL: it cannot serve
                                    * them */
    /* While a search runs, and its outcome afterwards: */
    ms_search_plan plan;
    const ms_scan_method *method; /* NULL: the plain scan */
    void *method_state;
    ms_plan_blocks sample;     /* blocks that are scanned before the others */
    pthread_mutex_t sink_lock; /* guards n_handed and calls of the sink */
    int64_t n_handed;
    _Atomic int is_stopped; /* by the sink or by should_stop */
    bool is_given_up;       /* by should_stop: there is no result */
};

/* Rows [start, start + n) of a slice's view, a block of at most `block_rows` that starts at a
 * multiple of it in the view unless the slice does not. */
typedef struct {
    const ms_slice *slice;
    int64_t start;
    size_t n;
} ms_search_block;

/* Divide all slices into blocks. Returns the number of blocks. */
int64_t ms_search_count_blocks(ms_cpu_search *s, size_t block_rows);
ms_search_block ms_search_get_block(const ms_cpu_search *s, int64_t block, size_t block_rows);

/* Offer n hits to the K best of query q, and raise its threshold. The caller leaves out excluded
 * rows. */
void ms_search_offer(ms_cpu_search *s, size_t q, const ms_hit *hits, size_t n);
/* Pass n hits of query q to the sink, until the sink asks to stop. */
void ms_search_hand_over(ms_cpu_search *s, size_t q, const ms_hit *hits, size_t n);

/* True when what is left of the search is not wanted. Asked before each block; of the workers only
 * worker 0, the caller's own thread, asks should_stop. */
bool ms_search_is_stopped(ms_cpu_search *s, size_t worker);

/* Score every row of a block in double: an ms_pool_fn over blocks of MS_PLAIN_ROWS; arg is the
 * ms_cpu_search. */
void ms_plain_block(void *arg, int64_t block, int worker);
/* Run s->method over all rows and score what it keeps: the K best of each query, or the hits of a
 * threshold. */
void ms_certify(ms_cpu_search *s);

#endif
