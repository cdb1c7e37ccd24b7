/* A borrowed view of stored vectors, which a corpus hands to a backend. Row i starts at ms_rows_at
 * and holds `dim` elements of `dtype`, at any alignment. A corpus of several files has several
 * views, in row order. */
#ifndef MS_BASE_ROWS_H
#define MS_BASE_ROWS_H
#include "midisim.h"

struct ms_codes;

typedef struct {
    const unsigned char *base; /* borrowed from the corpus's map */
    size_t row_bytes;          /* from one row to the next; with offsets: bytes of one row */
    const uint64_t *offsets;   /* borrowed from the corpus: [n_rows] bytes from base to each row,
                                * ascending; NULL: row i lies at base + i * row_bytes */
    int64_t n_rows, dim;
    int dtype;                    /* msim_dtype, little-endian */
    const struct ms_codes *codes; /* borrowed from the corpus: the codes of these rows
                                  * (codes/layout.h), or NULL */
} ms_rows;

/* Row i of a view, 0 <= i < n_rows. */
static inline const unsigned char *ms_rows_at(const ms_rows *view, int64_t i) {
    return view->base + (view->offsets ? view->offsets[i] : (uint64_t)i * view->row_bytes);
}

/* Widen n stored elements to f32; each lies `step` bytes after the one before. f64 is rounded to
 * the nearest, every other type is exact. Any alignment will do. */
void ms_row_to_f32(float *out, const unsigned char *at, ptrdiff_t step, int dtype, size_t n);
/* Widen n stored elements that lie side by side to double, exactly. */
void ms_row_to_f64(double *out, const unsigned char *row, int dtype, size_t n);

/* Element j of a stored row, widened exactly. */
double ms_row_value(const unsigned char *row, int dtype, size_t j);
/* dot(row, row) as docs/SEARCH.md defines it: in double, 16 lanes. */
double ms_row_square(const unsigned char *row, int dtype, size_t dim);

/* The mean of n rows [n, dim], 1 <= n, into out [dim], which may be the first of them. Sums are in
 * double, in the order of the rows. */
void ms_rows_mean(const float *rows, size_t n, size_t dim, float *out);

/* The index of the first of n ascending row numbers that is not below `row`; n if all are below. */
size_t ms_rows_lower_bound(const int64_t *rows, size_t n, int64_t row);

/* Bytes of one element of a dtype; 0 for an unknown dtype. */
static inline size_t ms_dtype_bytes(int dtype) {
    static const unsigned char bytes[] = {4, 2, 2, 8};
    return dtype >= 0 && dtype < (int)sizeof bytes ? bytes[dtype] : 0;
}

#endif
