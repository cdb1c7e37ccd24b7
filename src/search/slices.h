/* The rows that a backend has loaded: a range of the corpus's rows, divided into slices, each of
 * one view. Also lists of row numbers within them. */
#ifndef MS_SEARCH_SLICES_H
#define MS_SEARCH_SLICES_H
#include "base/rows.h"
#include "base/status.h"
#include <stdbool.h>

/* Ascending row numbers, borrowed. */
typedef struct {
    const int64_t *rows;
    size_t n;
} ms_row_list;

/* The rows of a list that are at least `first` and below `end`. */
ms_row_list ms_row_list_between(ms_row_list list, int64_t first, int64_t end);
bool ms_row_list_has(ms_row_list list, int64_t row);

/* Loaded rows of one view. */
typedef struct {
    const ms_rows *view;   /* borrowed from the corpus */
    int64_t start, n_rows; /* rows start .. start + n_rows - 1 of the view */
    int64_t first_row;     /* number of row `start` in the corpus */
    size_t index;          /* of the view */
} ms_slice;

typedef struct {
    ms_slice *slices; /* owned: [n], in row order, none empty */
    size_t n;
    int64_t first_row, n_rows, dim;
    bool has_int8, has_bf16; /* every view that has rows has such codes attached */
} ms_slices;

/* Rows first .. first + n - 1 of the views, which are borrowed. On failure *out is empty. */
int ms_slices_open(ms_slices *out, const ms_rows *views, size_t n_views, int64_t first, int64_t n,
                   msim_error *err);
void ms_slices_close(ms_slices *s); /* leaves *s empty; accepts an empty one */

/* The slice that holds a loaded row. And the stored bytes of a row, with its view. */
const ms_slice *ms_slices_find(const ms_slices *s, int64_t row);
const unsigned char *ms_slices_row(const ms_slices *s, int64_t row, const ms_rows **view);

/* Rows whose scores are known without reading them, as the slice's codes list them: rows of zeros,
 * and rows with NaN or infinity. The numbers count within the view. */
ms_row_list ms_slice_zeros(const ms_slice *s);
ms_row_list ms_slice_nonfinite(const ms_slice *s);
/* Whether one of these lists holds a loaded row; how many rows with NaN or infinity they hold. */
bool ms_slices_is_listed(const ms_slices *s, int64_t row);
int64_t ms_slices_count_nonfinite(const ms_slices *s);

/* Walks through one of these lists over all slices, and leaves out excluded rows. */
typedef struct {
    const ms_slices *slices;               /* borrowed */
    ms_row_list excluded;                  /* numbers in the corpus */
    ms_row_list (*list)(const ms_slice *); /* ms_slice_zeros or ms_slice_nonfinite */
    size_t slice, at;                      /* the next one: 0 to begin with */
} ms_listed_walk;

/* The next row's number in the corpus; -1 at the end. */
int64_t ms_listed_next(ms_listed_walk *walk);

#endif
