/* Writes the pickle that NumPy 1.26 writes after the header of an array of (name object, vector):
 * protocol 3, with the layout of docs/FORMATS.md, Pickled rows. Bytes go where the caller says. It
 * owns nothing and allocates nothing. */
#ifndef MS_NPY_PICKLED_WRITE_H
#define MS_NPY_PICKLED_WRITE_H
#include <stddef.h>
#include <stdint.h>

enum {
    MS_PICKLE_EDGE_MAX = 4096, /* bytes that prefix or end write at most */
    MS_PICKLE_NAME_MAX = 65536 /* UTF-8 bytes of a name, as the reader takes them */
};
/* Bytes of a row beside its vector, at most. */
#define MS_PICKLE_ROW_MAX ((size_t)MS_PICKLE_NAME_MAX + 256)

typedef struct {
    int64_t n_rows, dim;
    size_t elem_bytes;      /* 2 or 4 */
    uint64_t memo;          /* number of the next object */
    uint64_t element;       /* memo number of the vector's element type */
    uint64_t one_char[257]; /* memo number + 1 of each text that Python holds once: 0..255 by its
                               * character, 256: "" */
} ms_pickle_writer;

/* The most rows that protocol 3 can number. */
int64_t ms_pickle_rows_max(void);
/* Everything before the first row, into dst [MS_PICKLE_EDGE_MAX]. Field names are UTF-8 of at most
 * 250 bytes. Returns the bytes. */
size_t ms_pickle_prefix(ms_pickle_writer *w, unsigned char *dst, int64_t n_rows, int64_t dim,
                        size_t elem_bytes, const char *name_field, const char *vector_field);
/* Bytes that a name takes as text (bytes that are not UTF-8 become three each). */
size_t ms_pickle_name_bytes(const char *name, size_t n_bytes);
/* Row `row` in two pieces, around the vector's dim * elem_bytes bytes. dst [MS_PICKLE_ROW_MAX] for
 * both. */
size_t ms_pickle_row_begin(ms_pickle_writer *w, unsigned char *dst, int64_t row, const char *name,
                           size_t name_bytes);
size_t ms_pickle_row_end(ms_pickle_writer *w, unsigned char *dst, int64_t row);
/* What follows the last row. */
size_t ms_pickle_end(ms_pickle_writer *w, unsigned char *dst);

#endif
