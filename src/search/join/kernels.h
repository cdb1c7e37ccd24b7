/* Kernels of a join: which pairs of rows two blocks of codes leave over. docs/SEARCH.md, Joins, has
 * the proof.
 *
 * A row has codes z [components] of -127..127, their sum, and the least share that it brings. Rows
 * x and y are kept if and only if
 *   z_x . z_y >= least_x + least_y
 * in integers, so every level keeps the same pairs. Rows lie in tiles of 16:
 *   [components / 4][16 rows][4] u8: code + 128
 * components is a multiple of 64, at most MS_JOIN_MOST_COMPONENTS. Rows past the last have the
 * least share MS_JOIN_NEVER. Kernels start no thread and take no memory. */
#ifndef MS_SEARCH_JOIN_KERNELS_H
#define MS_SEARCH_JOIN_KERNELS_H
#include <stddef.h>
#include <stdint.h>

enum {
    MS_JOIN_TILE = 16,      /* rows */
    MS_JOIN_GROUP = 4,      /* components side by side */
    MS_JOIN_STEP = 64,      /* components come in so many */
    MS_JOIN_LEFT = 64,      /* most rows on the left of a call */
    MS_JOIN_RIGHT = 1024,   /* most rows on the right */
    MS_JOIN_PROJECTED = 16, /* rows that one call projects */
    MS_JOIN_MOST_COMPONENTS = 2048,
    /* Least shares are from MS_JOIN_ALWAYS to MS_JOIN_NEVER. Sums of codes stay below 2^27, also
     * with 128 added to one side, so both decide alone, and no sum of all these overflows. */
    MS_JOIN_ALWAYS = -(1 << 28),
    MS_JOIN_NEVER = 1 << 29
};

/* Whole tiles of rows, borrowed. */
typedef struct {
    const unsigned char *codes; /* 64-byte aligned */
    const int32_t *least, *sum; /* [16 n_tiles] */
    size_t n_tiles;
} ms_join_rows;

typedef struct {
    const char *name;
    size_t steps_per_score; /* about how many products of MS_JOIN_STEP components take as long as a
                             * score in double */
    /* Write the pairs that are kept, left index << 16 | right index, in any order, and return their
     * number. out has room for all pairs; left has at most MS_JOIN_LEFT rows, right MS_JOIN_RIGHT.
     * scratch: MS_JOIN_LEFT * components bytes, 64-byte aligned. */
    size_t (*pairs)(uint32_t *out, const ms_join_rows *left, const ms_join_rows *right,
                    size_t components, void *scratch);
    /* out [16][n_out] = rows [16][dim] x map [dim][n_out], in f32, each sum with at most dim
     * roundings behind a product. n_out is a multiple of 16, map 64-byte aligned. */
    void (*project)(float *out, const float *rows, const float *map, size_t dim, size_t n_out);
} ms_join_kernels;

/* Bytes of a tile's codes. */
static inline size_t ms_join_tile_bytes(size_t components) { return components * MS_JOIN_TILE; }

#endif
