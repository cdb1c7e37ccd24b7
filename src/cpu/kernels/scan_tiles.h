/* How tiles of 4 rows and a few queries pass over a block, for every level's scan kernels; each
 * file compiles its own copy. Static functions only.
 *
 * Queries that fit one tile leave the pipes waiting for memory: rows are then taken from four
 * quarters of the block at once, four streams that the processor's own prefetcher follows. With
 * more, rows pass in their order and queries in chunks that stay in the first-level cache beside a
 * tile's rows (the rows stay in the second-level cache for the chunks after the first); while the
 * first chunk passes, each tile asks for its share of the rows two tiles ahead, a line of each at
 * every step, so that memory is read evenly while the pipes work. docs/SPEED.md, Tried. */
#ifndef MS_CPU_KERNELS_SCAN_TILES_H
#define MS_CPU_KERNELS_SCAN_TILES_H
#include "cpu/search/scan.h"
#include "cpu/kernels/unroll.h"

enum { TILE = 4, AHEAD = 2 }; /* rows of a tile; tiles between one and the rows it asks for */

typedef unsigned char byte;

typedef struct {
    const byte *rows[TILE], *next[TILE]; /* next: the first n_next are asked for */
    const float *queries;
    size_t stride, dim;   /* floats from query to query */
    float *dst, *squares; /* dst[q * MS_SCAN_ROWS + r], squares[r] of the tile's
                                          * rows; 4 of each */
    int n_next;
} tile;

typedef void (*scan_tile_fn)(const tile *);
typedef struct {
    scan_tile_fn first[5], then[5]; /* by number of queries; `first` also squares the rows */
} tile_set;

typedef struct {
    float *dst, *squares;
    const byte *const *rows;
    const float *queries;
    size_t stride, n_query, n_rows, dim;
} scan_block;

/* One tile of queries: four streams of rows. */
INLINE void pass_streams(const scan_block *b, const tile_set *set, int has_next) {
    float dst[TILE * MS_SCAN_ROWS] __attribute__((aligned(64))), squares[TILE];
    size_t length = (b->n_rows + TILE - 1) / TILE;
    tile t = {.queries = b->queries,
              .stride = b->stride,
              .dim = b->dim,
              .dst = dst,
              .squares = squares,
              .n_next = has_next ? TILE : 0};
    for (size_t r = 0; r < length; r++) {
        for (size_t i = 0; i < TILE; i++) {
            size_t at = r + i * length, next = r + 1 < length ? at + 1 : at;
            t.rows[i] = b->rows[at < b->n_rows ? at : b->n_rows - 1];
            t.next[i] = b->rows[next < b->n_rows ? next : b->n_rows - 1];
        }
        set->first[b->n_query](&t);
        for (size_t i = 0, at = r; i < TILE && at < b->n_rows; i++, at += length) {
            b->squares[at] = squares[i];
            for (size_t q = 0; q < b->n_query; q++)
                b->dst[q * MS_SCAN_ROWS + at] = dst[q * MS_SCAN_ROWS + i];
        }
    }
}

/* Rows at .. at + n - 1; past the last row that one stands again. */
INLINE void place(const byte **out, const scan_block *b, size_t at, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = b->rows[at + i < b->n_rows ? at + i : b->n_rows - 1];
}

/* Any number of queries, `width` in a tile. */
INLINE void pass_chunks(const scan_block *b, const tile_set *set, const size_t width,
                        const size_t chunk_bytes) {
    size_t chunk = chunk_bytes / (b->stride * sizeof *b->queries + 1) / width * width;
    tile t = {.stride = b->stride, .dim = b->dim};
    if (chunk < width) chunk = width;
    for (size_t q0 = 0; q0 < b->n_query; q0 += chunk)
        for (size_t r = 0; r < b->n_rows; r += TILE) {
            size_t end = b->n_query - q0 < chunk ? b->n_query : q0 + chunk,
                   n_tiles = (end - q0 + width - 1) / width;
            size_t asked = 0, ahead = r + AHEAD * TILE;
            place(t.rows, b, r, TILE);
            t.squares = b->squares + r;
            for (size_t q = q0, i = 1; q < end; q += width, i++) {
                size_t ask = q0 == 0 && ahead < b->n_rows ? TILE * i / n_tiles : 0;
                t.n_next = (int)(ask - asked);
                place(t.next, b, ahead + asked, ask - asked);
                asked = ask;
                t.queries = b->queries + q * b->stride;
                t.dst = b->dst + q * MS_SCAN_ROWS + r;
                (q == 0 ? set->first : set->then)[end - q < width ? end - q : width](&t);
            }
        }
}

/* Ask for the lines of the next rows that hold element j; `step` bytes are taken at a time. */
INLINE void ask_for_next(const tile *t, size_t at, const size_t step) {
    const int n = t->n_next;
    for (size_t line = 0; line < step; line += 64) {
        if (n > 0) __builtin_prefetch(t->next[0] + at + line);
        if (n > 1) __builtin_prefetch(t->next[1] + at + line);
        if (n > 2) __builtin_prefetch(t->next[2] + at + line);
        if (n > 3) __builtin_prefetch(t->next[3] + at + line);
    }
}

#endif
