/* One side of a join: its rows, their norms, and their codes in the space of the join. */
#ifndef MS_SEARCH_JOIN_SIDE_H
#define MS_SEARCH_JOIN_SIDE_H
#include "base/pool.h"
#include "search/join/space.h"

typedef struct {
    ms_slices rows; /* owned */
    int64_t n_rows;
    size_t components, n_tiles;
    double *norms;        /* owned: [16 n_tiles] sqrt(dot(x, x)) of docs/SEARCH.md */
    unsigned char *codes; /* owned: [n_tiles] tiles; NULL: all pairs are scored */
    int32_t *least, *sum; /* owned: [16 n_tiles] */
    int64_t n_nonfinite;
} ms_join_side;

/* dst [n_rows] = dot of each row with itself, as every level computes it. */
typedef void (*ms_join_squares)(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                                size_t n_rows, size_t dim);

/* Rows and memory of a side. With space, codes too: ms_join_side_encode makes them. */
int ms_join_side_open(ms_join_side *side, const ms_rows *views, size_t n_views, msim_error *err);
void ms_join_side_close(ms_join_side *side); /* accepts an empty one */
/* Find the norms and, if there is a space, make codes. keeps_zeros: a score of 0 reaches the
 * threshold. */
int ms_join_side_encode(ms_join_side *side, const ms_join_space *space, ms_join_squares squares,
                        int keeps_zeros, ms_pool *pool, msim_error *err);
/* Tiles first .. first + n - 1. */
ms_join_rows ms_join_side_tiles(const ms_join_side *side, size_t first, size_t n);

#endif
