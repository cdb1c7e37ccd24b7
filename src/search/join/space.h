/* The space in which a join compares rows: a map of unit rows into few dimensions, and codes there.
 *
 * No two points are further apart behind the map than before it. So a pair whose codes lie too far
 * apart has no high cosine. The map is an orthonormal basis, found on a sample, of what sets the
 * rows apart most, or the rows' own components. Any map gives the same pairs; a good one leaves
 * fewer of them to be scored. docs/SEARCH.md, Joins, has the proof. */
#ifndef MS_SEARCH_JOIN_SPACE_H
#define MS_SEARCH_JOIN_SPACE_H
#include "search/join/kernels.h"
#include "search/slices.h"

typedef struct {
    const ms_join_kernels *kernels; /* static */
    size_t dim;                     /* of the rows */
    size_t components;              /* of the codes, a multiple of MS_JOIN_STEP */
    float *map; /* owned: [dim][components], columns of length 1; NULL: the rows' own first ones */
    float *shift; /* owned: [components], taken off */
    double step;  /* what a code of 1 stands for */
    double reach; /* behind the map, rows whose score reaches the threshold are not further apart */
    double slack; /* rounding moves a row behind the map by at most this */
} ms_join_space;

/* Find a space for rows that are joined at this threshold. b may be a. On failure *s is empty. */
int ms_join_space_open(ms_join_space *s, const ms_join_kernels *kernels, const ms_slices *a,
                       const ms_slices *b, double threshold, msim_error *err);
void ms_join_space_close(ms_join_space *s); /* accepts an empty one */

/* What a tile keeps of a row besides its codes. */
typedef struct {
    int32_t least, sum;
} ms_join_numbers;
/* Make the codes of 16 unit rows [16][dim]: codes of ms_join_tile_bytes bytes, numbers [16].
 * scratch [16 * components]. */
void ms_join_space_encode(const ms_join_space *s, const float *rows, unsigned char *codes,
                          ms_join_numbers *numbers, float *scratch);

#endif
