/* Rows and names of a .npy file in memory, as borrowed views. Three kinds of arrays can be viewed:
 * plain 2-D arrays of f4, f2, f8 or V2 (read as bf16); records with a '<U' or 'S' name field and a
 * vector field, in any order and beside other fields; and pickled object arrays (npy/pickled.h). No
 * row and no name is copied. A view lives as long as the bytes it looks at. docs/FORMATS.md,
 * Corpora. */
#ifndef MS_NPY_VIEW_H
#define MS_NPY_VIEW_H
#include "base/rows.h"
#include "base/status.h"
#include <stdbool.h>

#define MS_NPY_DIM_MAX 65536 /* components of a row */

typedef struct {
    ms_rows rows;                   /* borrowed from the file's bytes */
    int format;                     /* msim_format */
    char name_kind;                 /* 'U', 'S', 'O' (pickled), or 0: no names in this file */
    const unsigned char *name_base; /* borrowed: name of row i at name_base + i * rows.row_bytes;
                                       * pickled: the file */
    size_t name_width;              /* 'U': code points; 'S': bytes */
    uint64_t *offsets, *names;      /* owned, of pickled files alone: rows.offsets, and where each
                                       * name lies */
} ms_npy_view;

/* View a whole file of n_bytes bytes. `path` is for errors. Takes a little memory while it parses,
 * and none after but for pickled files, which are read through. */
int ms_npy_view_init(const unsigned char *bytes, size_t n_bytes, const char *path, ms_npy_view *out,
                     msim_error *err);
void ms_npy_view_free(ms_npy_view *view);
/* The name of a row, as ms_utf8_of_utf32 gives it; 0 without names. */
size_t ms_npy_view_name(const ms_npy_view *view, int64_t row, char *buf, size_t cap);

#endif
