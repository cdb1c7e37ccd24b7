/* How the pairs of a join are divided: into shards, strips and blocks.
 *
 * A shard is a range of rows of the left side, so the hits of shards one after the other are in
 * order. Its rows are joined strip by strip, so that the hits of a strip can be passed on when it
 * is done. The pool takes blocks of a strip: some left rows and some right ones. In a join of rows
 * with each other, the right rows of a strip begin where its left ones do. */
#ifndef MS_SEARCH_JOIN_PLAN_H
#define MS_SEARCH_JOIN_PLAN_H
#include "search/join/kernels.h"

enum { MS_JOIN_STRIP = 4096 }; /* left rows of a strip */

typedef struct {
    int64_t n_left, n_right;
    int is_self;
} ms_join_shape;

/* Pairs of all left rows below `row`. At most 2^63 - 1: that many count as that many. */
int64_t ms_join_pairs_below(const ms_join_shape *shape, int64_t row);
/* The first left row of shard i of n, a multiple of MS_JOIN_LEFT or the end; i = n: the end.
 * Shards have about as many pairs each. */
int64_t ms_join_shard_first(const ms_join_shape *shape, int64_t i, int64_t n);

/* A strip, and its blocks. */
typedef struct {
    int64_t left, left_end;   /* rows */
    int64_t right, right_end; /* rows: right is a multiple of MS_JOIN_RIGHT */
    int64_t n_down;           /* blocks one below the other, which share their right rows */
    int64_t n_blocks;
} ms_join_strip;
ms_join_strip ms_join_strip_at(const ms_join_shape *shape, int64_t left, int64_t end);
/* Block i: rows of both sides. */
ms_join_strip ms_join_block_at(const ms_join_strip *strip, int64_t i);

#endif
