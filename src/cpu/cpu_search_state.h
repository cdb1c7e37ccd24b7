/* What the parts of exact search on the CPU share: the rows that are loaded, the K best of each query with the lock that
 * guards them, and scratch of each worker. cpu_search.c owns it all; cpu_plain.c scores every row in double. */
#ifndef MS_CPU_SEARCH_STATE_H
#define MS_CPU_SEARCH_STATE_H
#include "core/topk.h"
#include "cpu/cpu_isa.h"
#include "cpu/cpu_search.h"
#include <pthread.h>
#include <stdatomic.h>

enum { MS_PLAIN_ROWS = 64, MS_PLAIN_QUERIES = 64 }; /* 64 rows of 512 f32 stay in the second-level cache for all queries */

/* Loaded rows of one view. */
typedef struct {
    const ms_rows *view;    /* borrowed from the corpus */
    int64_t start, n_rows;  /* rows start .. start + n_rows - 1 of the view */
    int64_t first_row;      /* number of row `start` in the corpus */
} ms_search_part;

/* One query while a search runs. */
typedef struct {
    pthread_mutex_t lock;   /* guards best */
    ms_topk best;           /* the caller's hits */
    _Atomic double theta;   /* the K-th best score known so far, -infinity until there are K; only rises */
    double norm;
} ms_search_query;

typedef struct {
    double *dots;           /* owned: [MS_PLAIN_ROWS, MS_PLAIN_QUERIES] */
    int64_t n_nonfinite, n_evaluated;
} ms_search_worker;

struct ms_cpu_search {
    ms_pool *pool;                 /* borrowed */
    const ms_cpu_kernels *kernels; /* static */
    ms_search_worker *workers;     /* owned: [n_workers] */
    ms_search_query *queries;      /* owned: [max_queries] */
    size_t n_workers, max_queries, max_k;
    ms_search_part *parts;         /* owned: [n_parts], none empty */
    size_t n_parts;
    int64_t *first_block;          /* owned: [n_parts + 1], blocks before each part and in all of them */
    int64_t n_rows;
    size_t dim;
    /* While a search runs, and its outcome afterwards: */
    const ms_search_request *request; /* borrowed */
    const int64_t *excluded;          /* borrowed: [n_excluded], those that are loaded */
    size_t n_excluded;
    int scan, is_ip;
    pthread_mutex_t sink_lock;        /* guards n_handed and calls of the sink */
    int64_t n_handed;
    _Atomic int is_stopped;           /* by the sink */
};

/* Rows [start, start + n) of a part's view, a block of at most `block_rows` that starts at a multiple of it in the view
 * unless the part does not. */
typedef struct {
    const ms_search_part *part;
    int64_t start;
    size_t n;
} ms_search_block;

/* Cut all parts into blocks; returns their number. */
int64_t ms_search_cut(ms_cpu_search *s, size_t block_rows);
ms_search_block ms_search_get_block(const ms_cpu_search *s, int64_t block, size_t block_rows);

int ms_search_is_excluded(const ms_cpu_search *s, int64_t row);
/* The score of docs/SEARCH.md from its parts. A row with NaN or infinity has no finite square. */
double ms_search_score(const ms_cpu_search *s, double dot, double query_norm, double row_square, double row_norm);
/* Offer n hits to the K best of query q, and raise its theta. Excluded rows are the caller's affair. */
void ms_search_offer(ms_cpu_search *s, size_t q, const ms_hit *hits, size_t n);
/* Give n hits of query q to the sink, until it says stop. */
void ms_search_hand_over(ms_cpu_search *s, size_t q, const ms_hit *hits, size_t n);

/* Score every row of a block in double: an ms_pool_fn over blocks of MS_PLAIN_ROWS; arg is the ms_cpu_search. */
void ms_plain_block(void *arg, int64_t block, int worker);

#endif
