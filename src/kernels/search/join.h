/* The pairs of a join on one CUDA device: search/join/device.h over tiles that come strip by strip,
 * so that the device's memory stays bounded. */
#ifndef MS_KERNELS_SEARCH_JOIN_H
#define MS_KERNELS_SEARCH_JOIN_H
#include "kernels/device.h"
#include "search/join/device.h"

typedef struct ms_gpu_joiner ms_gpu_joiner;

/* For tests: made small, these take small joins through every way that large ones go. 0 is the
 * ordinary value. */
typedef struct {
    int64_t list_cap;   /* pairs of a list, at least those of two tiles */
    int64_t right_rows; /* that the device holds at a time, a multiple of 16 */
} ms_gpu_join_limits;

/* limits: NULL: the ordinary ones. */
int ms_gpu_join_open(int device, const ms_join_side *left, const ms_join_side *right,
                     const ms_gpu_join_limits *limits, ms_gpu_joiner **out, msim_error *err);
void ms_gpu_join_close(ms_gpu_joiner *j); /* accepts NULL */
int ms_gpu_join_find(ms_gpu_joiner *j, const ms_join_strip *strip, ms_join_take take, void *user,
                     msim_error *err);

#endif
