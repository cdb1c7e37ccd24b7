/* What the files of exact search on a CUDA device share. kernels/search/search.c owns it all and
 * takes requests; kernels/search/rows.c keeps the loaded rows and hands them out window by window;
 * kernels/search/pass.c scans a range of them, kernels/search/rounds.c runs the rounds of a group
 * of queries.
 *
 * A *slice* is what is loaded of one view. A *span* is consecutive slices of one type, whose rows
 * lie one behind the other in device memory when they are there. A *window* is consecutive rows of
 * one span that a pass can scan where they lie: a whole span that is resident, or as much of one
 * slice as a buffer holds. A *slot* holds queries as a scan wants them for one slice, whose codes
 * have a centre of their own. */
#ifndef MS_KERNELS_SEARCH_STATE_H
#define MS_KERNELS_SEARCH_STATE_H
#include "search/bound.h"
#include "search/bound_codes.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/search/search.h"
#include "search/plan.h"
#include "search/slices.h"

enum { MS_GPU_SLOTS = 32, MS_GPU_BUFFERS = 2 };

typedef struct {
    size_t first_slice, end_slice;
    ms_gpu_rows rows;            /* data NULL: not resident */
    float *values;               /* device: of ms_row_values_cuda, where the rows are resident */
    int64_t sample_at, n_sample; /* its part of the sample's list */
} ms_gpu_span;

typedef struct {
    ms_gpu_rows rows;    /* data NULL: only their codes are on the device */
    const float *values; /* device; with data alone */
    size_t first_slice, end_slice;
    const unsigned char *tiles; /* device: streamed tiles of first_slice; NULL: the resident ones,
                                 * or none are scanned */
    int64_t tiles_row;          /* the row that begins them */
} ms_gpu_window;

/* Constants of a slot's queries, which kernels write and read. */
typedef struct {
    float scale[MS_GPU_SCAN_QUERIES], lambda[MS_GPU_SCAN_QUERIES];
    float threshold[MS_GPU_SCAN_QUERIES], rho_factor[MS_GPU_SCAN_QUERIES];
    float upper_threshold[MS_GPU_SCAN_QUERIES];
} ms_gpu_constants;

/* What a round tells the host. */
typedef struct {
    uint32_t n_candidates[MS_GPU_SCAN_QUERIES], n_best[MS_GPU_SCAN_QUERIES];
    uint32_t n_nonfinite, pad[3];
} ms_gpu_report;

/* Lists that the host made or shortened. */
typedef struct {
    uint32_t n_candidates[MS_GPU_SCAN_QUERIES];
    int64_t gathered[MS_GPU_SCAN_QUERIES];
} ms_gpu_lists;

/* Working memory, laid out alike on the device and in pinned memory of the host, but for what the
 * host never sees. */
typedef struct {
    ms_gpu_report *report; /* with best behind it: one copy */
    ms_gpu_hit *best;      /* [n_query, k] */
    ms_gpu_lists *lists;
    ms_gpu_candidate *candidates; /* [n_query, candidate_cap] */
    double *scores;               /* [n_query, candidate_cap] */
    ms_gpu_candidate *sample;     /* [candidate_cap]: the sample's rows, for all queries */
    float *queries;               /* [n_query, dim] */
    int64_t *excluded;            /* [MS_GPU_SCAN_TILE + excluded_cap] */
    float *centres;               /* [n_slots, dim] */
    /* On the device alone: */
    double *norms, *kth_score;   /* [n_query] */
    ms_gpu_constants *constants; /* [n_slots] */
    ms_bound_codes *bounds;      /* [n_slots, n_query] */
    unsigned char *weights;      /* [n_slots, weights_bytes] */
} ms_gpu_work;

/* Rows or tiles on their way through two buffers. */
typedef struct {
    int scan;             /* BF16, INT8: tiles; else rows */
    size_t slice;         /* the next to be read ... */
    int64_t row;          /* ... from this row of it on */
    int next;             /* buffer of the window after this one */
    int is_ready;         /* that window is in it */
    ms_gpu_window window; /* it */
    size_t span;          /* resident windows: the next */
} ms_gpu_cursor;

/* The sample that device.sample holds, span by span. It stays from search to search, whatever the
 * queries and the excluded rows are: those get -infinity as they are scored. */
typedef struct {
    int64_t n_wanted; /* rows that it was to have; 0: nothing stays */
    int reads_codes;  /* whether rows that codes list are left out of it */
    int64_t n_made;   /* how often a list was made since the search was opened: for tests */
} ms_gpu_sample;

struct ms_gpu_search {
    ms_gpu_stream *stream;                  /* borrowed */
    ms_gpu_stream *copies;                  /* owned: uploads beside the stream's kernels */
    ms_gpu_event *uploaded[MS_GPU_BUFFERS]; /* owned */
    ms_gpu_search_limits limits;
    int64_t max_queries, max_k;
    int threads;  /* as msim_options */
    double shift; /* added to thresholds; 0 but in tests */

    /* What is loaded: */
    ms_slices rows; /* owned */
    const unsigned char *
        *tiles;         /* owned: [rows.n], device: the tile that the slice's first row lies
                                  * in, of the resident codes; NULL: none are */
    ms_gpu_span *spans; /* owned: [n_spans] */
    size_t n_spans;
    size_t max_row_bytes; /* of a row on the device, over all spans */
    ms_gpu_residence residence;
    unsigned char *arena; /* owned, device: resident rows, values and tiles */
    int values_are_ip;    /* the metric that the resident values are for */
    int64_t n_nonfinite;  /* rows with NaN or infinity; -1: not known yet */
    ms_pool *pool;        /* owned: threads that read the corpus; NULL: few rows, this thread
                                * does */

    /* Memory for searches of these rows: */
    size_t buffer_bytes, gather_bytes;
    /* owned */
    unsigned char *buffers[MS_GPU_BUFFERS], *gather, *host_buffers[MS_GPU_BUFFERS], *host_gather;
    float *buffer_values; /* owned, device: of the rows in a buffer */
    int n_queries;        /* of a group, at most */
    int64_t k_cap, candidate_cap, excluded_cap;
    size_t n_slots, weights_bytes;
    unsigned char *device_work, *host_work; /* owned */
    ms_gpu_work device, host;               /* in these */
    size_t slot_centre[MS_GPU_SLOTS];       /* the slice whose centre device.centres has there;
                                             * SIZE_MAX: none */
    ms_gpu_sample sample;

    /* While a search runs, and its outcome: */
    ms_search_plan plan;
    size_t n_outside;                   /* rows before the range in its first tile: the first of
                                * device.excluded */
    int64_t excluded_from, excluded_to; /* rows whose excluded ones device.excluded holds */
    size_t n_excluded_there;            /* with those outside */
    int64_t n_hits;                     /* of each query */
    int n_active;                       /* queries of the group */
    size_t active[MS_GPU_SCAN_QUERIES]; /* their numbers in the request */
    ms_bound_f32 f32;
    size_t slot_slice[MS_GPU_SLOTS]; /* whose queries are in it; SIZE_MAX: none */
    ms_gpu_cursor cursor;
    int64_t n_seen, step; /* rows that the thresholds come from; rows of the next round */
    int64_t n_evaluated, n_handed;
    int is_stopped; /* by the sink */
};

/* ---- kernels/search/rows.c ---- */

/* Forget the rows, and give back their memory. */
void ms_gpu_rows_unload(ms_gpu_search *s);
/* Slices and spans of a range of rows. */
int ms_gpu_rows_slice(ms_gpu_search *s, const ms_rows *views, size_t n_views, int64_t first,
                      int64_t n, msim_error *err);
/* Bring to the device what fits. */
int ms_gpu_rows_settle(ms_gpu_search *s, msim_error *err);
/* Values of resident rows for s->plan.is_ip. */
int ms_gpu_rows_revalue(ms_gpu_search *s, msim_error *err);
/* Windows for s->plan.scan over all rows, in order. next: 1 with *out, 0 at the end. ahead: bring
 * the window after this one while the device works on this one. */
int ms_gpu_windows_begin(ms_gpu_search *s, msim_error *err);
int ms_gpu_windows_next(ms_gpu_search *s, ms_gpu_window *out, msim_error *err);
int ms_gpu_windows_ahead(ms_gpu_search *s, msim_error *err);
/* fn for each item, by the threads that read the corpus. */
void ms_gpu_each(const ms_gpu_search *s, int64_t n, ms_pool_fn fn, void *arg);
/* Put a loaded row where the device will have it, packed as it wants it. */
void ms_gpu_row_put(const ms_gpu_search *s, unsigned char *to, size_t row_bytes, int64_t row);

/* The code of an allocation that has just failed. */
static inline int ms_gpu_failed(const msim_error *err) {
    return err && err->code == MSIM_E_DEVICE ? -MSIM_E_DEVICE : -MSIM_E_MEMORY;
}
static inline const unsigned char *ms_gpu_tiles_of(const ms_rows *view, int scan) {
    return !view->codes ? NULL : scan == MSIM_SCAN_INT8 ? view->codes->int8 : view->codes->bf16;
}
static inline size_t ms_gpu_tile_bytes(int64_t dim, int scan) {
    return scan == MSIM_SCAN_INT8 ? ms_codes_int8_tile((size_t)dim)
                                  : ms_codes_bf16_tile((size_t)dim);
}

/* ---- kernels/search/pass.c ---- */

/* The end of a round over rows of a window that begins at `row`: at most `step` rows, on a boundary
 * that the next round can begin at, and no more slices than there are slots. Or a failure. */
int64_t ms_gpu_end_of_round(ms_gpu_search *s, const ms_gpu_window *w, int64_t row, int64_t step,
                            msim_error *err);
/* Send the excluded rows from `row` on to the device, as many as there is room for, unless they are
 * there up to `end`. Returns the row up to which they are there, or a failure. There is room for
 * more than a tile's rows, so the result lies more than a tile behind `row`. */
int64_t ms_gpu_put_excluded(ms_gpu_search *s, int64_t row, int64_t end, msim_error *err);
/* Prepare the group's queries on the device for the first slice. Their norms are there then, which
 * every score needs. */
int ms_gpu_prepare_queries(ms_gpu_search *s, msim_error *err);
/* Candidates of rows row .. end - 1 for all queries of the group, with their counts, on the
 * device. */
int ms_gpu_scan_rows(ms_gpu_search *s, const ms_gpu_window *w, int64_t row, int64_t end,
                     msim_error *err);

/* ---- kernels/search/lists.c ---- */

/* The candidates of a round: lists of queries, each with its count; or one for all queries, the
 * sample's of a span. */
typedef struct {
    const ms_gpu_candidate *candidates;
    const uint32_t *n_candidates; /* device; NULL: shared */
    int64_t n_shared;             /* 0: each query its own */
    size_t n_excluded;            /* shared: looked up among those on the device */
} ms_gpu_list;

/* The lists that a round made, with their counts on the device. */
ms_gpu_list ms_gpu_own_lists(const ms_gpu_search *s, const uint32_t *n_candidates);
/* Scores of lists from `from` on, of rows that lie on the device; gathered: as in ms_gpu_score. */
int ms_gpu_score_list(ms_gpu_search *s, const ms_gpu_rows *rows, const ms_gpu_list *list,
                      const int64_t *gathered, int64_t from, msim_error *err);
/* Scores of lists that host and device both have, n [n_active] long, whose rows the host gathers.
 * They go through the buffer, some candidates of every list at a time. */
int ms_gpu_score_gathered(ms_gpu_search *s, const ms_gpu_rows *rows, const int64_t *n,
                          msim_error *err);
/* The same for the sample of a span, which all queries share. */
int ms_gpu_score_sample_gathered(ms_gpu_search *s, const ms_gpu_span *span, ms_gpu_list list,
                                 msim_error *err);
/* Merge what has been scored into the best. */
int ms_gpu_select_best(ms_gpu_search *s, const ms_gpu_list *list, msim_error *err);

/* ---- kernels/search/sample.c ---- */

/* Score the sample, unless there are too few rows for one, and say in s->n_seen and s->step what
 * its thresholds are worth. The host does not wait: thresholds are the device's. */
int ms_gpu_take_sample(ms_gpu_search *s, msim_error *err);

/* ---- kernels/search/rounds.c ---- */

/* The group s->active over all rows: s->host.best and s->host.report for the k best, or hits to the
 * sink. */
int ms_gpu_rounds_run(ms_gpu_search *s, msim_error *err);
/* Count n [n_active] scores, unless the scan has them all. */
void ms_gpu_count_evaluated(ms_gpu_search *s, const int64_t *n);
/* Give a hit of query q of the request to the sink, until it says stop. */
void ms_gpu_hand_over(ms_gpu_search *s, size_t q, double score, int64_t row);

#endif
