/* Rows in two bare formats of nearest-neighbour data sets, as borrowed views: .fvecs (each row is
 * an int32 count and as many f32) and .fbin (u32 rows, u32 components, then all f32). Neither
 * format says what it is, so the file's name decides. docs/FORMATS.md, Corpora. */
#ifndef MS_CORPUS_VECS_H
#define MS_CORPUS_VECS_H
#include "npy/view.h"

/* View a whole file of n_bytes bytes; nothing is allocated. For .fvecs, this checks the counts of
 * the first row, the last row and 1,024 rows between them. ms_fvecs_check_row checks the count of
 * any row. */
int ms_fvecs_view_init(const unsigned char *bytes, size_t n_bytes, const char *path,
                       ms_npy_view *out, msim_error *err);
int ms_fbin_view_init(const unsigned char *bytes, size_t n_bytes, const char *path,
                      ms_npy_view *out, msim_error *err);
/* Check that the count before a row of .fvecs is that of the first row. */
int ms_fvecs_check_row(const ms_npy_view *view, int64_t row, const char *path, msim_error *err);

#endif
