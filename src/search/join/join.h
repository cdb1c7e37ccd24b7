/* All pairs of rows whose score reaches a threshold: msim_join. docs/SEARCH.md, Joins. */
#ifndef MS_SEARCH_JOIN_JOIN_H
#define MS_SEARCH_JOIN_JOIN_H
#include "search/join/device.h"
#include "search/join/hits.h"
#include "search/join/side.h"

/* What a join runs with. */
typedef struct {
    const ms_join_kernels *kernels; /* static */
    ms_join_squares squares;
    /* as ms_cpu_kernels has it: dots of rows and queries in double, in the score's own order */
    void (*dots)(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                 const float *queries, size_t n_query, size_t n_rows, size_t dim);
    ms_pool *pool;                    /* borrowed */
    const ms_join_device *device;     /* NULL: the kernels find the pairs. Not with scan F64 */
    int gpu;                          /* which, as in msim_options */
    const msim_join_options *options; /* borrowed, checked */
    double threshold;                 /* not NaN */
    msim_join_sink sink;
    void *user;
} ms_join_setup;

typedef struct {
    const ms_rows *views; /* borrowed */
    size_t n_views;
} ms_join_views;

void ms_join_options_set(msim_join_options *options); /* to the defaults */
int ms_join_options_check(const msim_join_options *options, double threshold, msim_error *err);
/* Join the rows of a with those of b; b->views NULL: the rows of a with each other. Returns how
 * many hits the sink got. */
int64_t ms_join_run(const ms_join_setup *setup, const ms_join_views *a, const ms_join_views *b,
                    msim_join_stats *stats, msim_error *err);

#endif
