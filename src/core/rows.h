/* A borrowed view of stored vectors: what a corpus hands to a backend. Row i starts at base + i * row_bytes and holds
 * `dim` elements of `dtype`, at any alignment. A corpus of shards is several views, in row order. */
#ifndef MS_ROWS_H
#define MS_ROWS_H
#include "midisim.h"

typedef struct {
    const unsigned char *base; /* borrowed from the corpus's map */
    size_t row_bytes;          /* from one row to the next */
    int64_t n_rows, dim;
    int dtype;                 /* msim_dtype, little-endian */
} ms_rows;

/* Bytes of one element of a dtype; 0 for an unknown one. */
static inline size_t ms_dtype_bytes(int dtype) {
    static const unsigned char bytes[] = {4, 2, 2, 8};
    return dtype >= 0 && dtype < (int)sizeof bytes ? bytes[dtype] : 0;
}

#endif
