/* Scans: fast passes over rows that leave out, by proof, rows that are not results.
 * cpu/search/certify.c drives them; docs/SEARCH.md has the proofs.
 *
 * A scan gets a block of consecutive rows of one view and all queries of the search. It computes an
 * f32 *upper bound* for each row and query, and an *upper threshold* for each query. The upper
 * threshold follows the threshold, which is the K-th best exact score so far. A row is left out
 * only if its upper bound is below the upper threshold (NaN keeps it). This must never happen to a
 * row whose score reaches the threshold.
 *
 * A row that is kept is a candidate and gets a *bound*, a number that its score cannot exceed
 * whatever the threshold is. The candidate is scored in double, unless the threshold has passed its
 * bound by then.
 *
 * The state of a scan belongs to one set of loaded rows. `open` allocates everything, so a search
 * allocates nothing. Each worker has room of its own: `worker` is 0 .. n_workers - 1, and only
 * calls of different workers run at the same time. */
#ifndef MS_CPU_SEARCH_SCAN_H
#define MS_CPU_SEARCH_SCAN_H
#include "base/rows.h"
#include "cpu/encoder/kernels.h"

enum {
    MS_SCAN_ROWS = 256
}; /* most rows of a block; floats from one query's upper bounds to the
                              * next one's */

typedef struct {
    const ms_rows *views; /* borrowed for the life of the state: [n_views], of width dim */
    size_t n_views, dim, max_queries, n_workers;
    int isa;                       /* msim_isa */
    const ms_cpu_kernels *kernels; /* of that level */
} ms_scan_setup;

typedef struct {
    const float *queries; /* borrowed while the search runs: [n_query, dim], finite */
    const double *norms;  /* [n_query]: sqrt(dot(q, q)) of docs/SEARCH.md */
    size_t n_query;
    int is_ip; /* the score is the dot product */
} ms_scan_queries;

typedef struct ms_scan_method {
    int scan;          /* msim_scan */
    size_t block_rows; /* at most MS_SCAN_ROWS, a multiple of 16 */
    /* State for these rows. MSIM_OK with *out NULL: this scan cannot serve them (no codes of each
     * view are attached, no kernel at this level). */
    int (*open)(const ms_scan_setup *setup, void **out, msim_error *err);
    void (*close)(void *state); /* accepts NULL */
    /* Before a search: called once, while nothing else runs. */
    void (*prepare)(void *state, const ms_scan_queries *queries);
    /* Set the constants with which this worker scans `view` for query q: threshold is a true lower
     * bound of the K-th best score (-infinity: there is none yet). Returns the upper threshold. */
    float (*set_threshold)(void *state, size_t worker, size_t view, size_t q, double threshold);
    /* upper[q * MS_SCAN_ROWS + r] for rows start + r, r < n_rows, of the view, and every query. The
     * rows never cross a multiple of block_rows in the view, and start at one except in a range of
     * rows that does not. set_threshold was called for every query and this view before. Returns
     * how many of the rows hold NaN or infinity (their upper bound is -infinity), those that the
     * codes list not counted. */
    int64_t (*block)(void *state, size_t worker, size_t view, int64_t start, size_t n_rows,
                     float *upper);
    /* A bound on the score of a row that the last `block` of this worker kept, from its upper bound
     * (not NaN). It may be infinite. */
    double (*bound)(void *state, size_t worker, size_t view, int64_t row, size_t q, float upper);
} ms_scan_method;

/* Rows as they are: f32; f16 and bf16 widened, f64 rounded. Codes, where every view has them. */
extern const ms_scan_method ms_scan_f32, ms_scan_int8, ms_scan_bf16;

/* Kernels of the f32 scan. A row that is not a plain one goes by ms_scan_is_plain. */
typedef struct {
    size_t lanes; /* sums of a dot that run side by side; they are then added in a tree */
    /* dst[q * MS_SCAN_ROWS + r] = dot of row r and query q, squares[r] = dot of row r with itself,
     * in f32 with fused multiply-adds (ref: without). rows [n_rows] point to dim elements of dtype
     * at any alignment; queries have query_stride floats each, a multiple of 16, 0 past dim,
     * 64-byte aligned. n_rows <= MS_SCAN_ROWS. */
    void (*dots)(float *dst, float *squares, const unsigned char *const *rows, int dtype,
                 const float *queries, size_t query_stride, size_t n_query, size_t n_rows,
                 size_t dim);
    /* dst[q * MS_SCAN_ROWS + r]: cosine (margin 0): * (1 / sqrt(squares[r])); else + margin *
     * sqrt(squares[r]). Returns how many rows are not plain. dst and squares may be read and
     * written up to the next multiple of 16 rows. */
    size_t (*finish)(float *dst, const float *squares, size_t n_query, size_t n_rows, float margin);
    /* Indices r, rising, with !(upper[r] < upper_threshold); returns how many. upper is 64-byte
     * aligned and may be read up to the next multiple of 16; kept has room for MS_SCAN_ROWS. */
    size_t (*keep)(uint16_t *kept, const float *upper, size_t n, float upper_threshold);
} ms_scan_kernels;

/* Squares between which neither overflow nor underflow touches the bound; also false for NaN. */
#define MS_SCAN_LEAST 0x1p-60f
#define MS_SCAN_MOST 0x1p60f
static inline int ms_scan_is_plain(float square) {
    return square >= MS_SCAN_LEAST && square <= MS_SCAN_MOST;
}

#endif
