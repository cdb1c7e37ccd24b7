/* Rows in the two bare forms of nearest-neighbour data sets, as borrowed views: .fvecs (each row an
 * int32 count, then as many f32) and .fbin (u32 rows, u32 components, then all f32). Neither says
 * what it is: the file's name decides. docs/FORMATS.md, Corpora. */
#ifndef MS_CORPUS_VECS_H
#define MS_CORPUS_VECS_H
#include "npy/view.h"

/* View a whole file of n_bytes bytes; nothing is taken. Of .fvecs, the counts of the first and last
 * row and of 1,024 between are checked here, and each by ms_fvecs_check_row. */
int ms_fvecs_view_init(const unsigned char *bytes, size_t n_bytes, const char *path,
                       ms_npy_view *out, msim_error *err);
int ms_fbin_view_init(const unsigned char *bytes, size_t n_bytes, const char *path,
                      ms_npy_view *out, msim_error *err);
/* The count in front of a row of .fvecs is that of the first. */
int ms_fvecs_check_row(const ms_npy_view *view, int64_t row, const char *path, msim_error *err);

#endif
