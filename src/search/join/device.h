/* A device that finds which pairs of a join the codes leave over. kernels/search/join.c is CUDA's.
 * The scores of these pairs are the CPU's. docs/SEARCH.md, Joins. */
#ifndef MS_SEARCH_JOIN_DEVICE_H
#define MS_SEARCH_JOIN_DEVICE_H
#include "search/join/plan.h"
#include "search/join/side.h"

enum { MS_JOIN_LIST = 1 << 20 }; /* most pairs of a list */

/* Some of the pairs of a strip: left row - strip's first << 16 | right row - `right`. */
typedef struct {
    const uint32_t *pairs; /* borrowed, for the time of the call */
    size_t n;              /* 1 .. MS_JOIN_LIST */
    int64_t right;
} ms_join_found;
/* Non-zero ends the strip, which then counts as done. */
typedef int (*ms_join_take)(void *user, const ms_join_found *found);

typedef struct {
    size_t steps_per_score; /* as in ms_join_kernels */
    /* gpu: as in msim_options. Both sides have codes and are borrowed; left may be right: then only
     * pairs whose left row is below the right one are found. */
    int (*open)(int gpu, const ms_join_side *left, const ms_join_side *right, void **out,
                msim_error *err);
    void (*close)(void *state); /* accepts NULL */
    /* Pass on all pairs of a strip that are kept, each once, list by list, in any order, on this
     * thread. The device goes on meanwhile. */
    int (*find)(void *state, const ms_join_strip *strip, ms_join_take take, void *user,
                msim_error *err);
} ms_join_device;

/* Sort pairs by blocks of MS_JOIN_LEFT left rows: to [n]. */
void ms_join_found_sort(uint32_t *to, const uint32_t *pairs, size_t n);
/* How many of n sorted pairs, 1 or more, the first one's block has at the beginning. */
size_t ms_join_found_run(const uint32_t *pairs, size_t n);

#endif
