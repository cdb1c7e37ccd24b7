/* The header of a .npy file: parse it, check it against the file, write it. The text is a Python
 * dict literal. A small grammar of its own reads it (strings, integers, True and False, tuples,
 * lists); it is never evaluated, and has at most 64 KiB. A header owns only its list of fields.
 * Every size is checked for overflow before it is used. docs/FORMATS.md, Corpora. */
#ifndef MS_NPY_HEADER_H
#define MS_NPY_HEADER_H
#include "base/status.h"
#include <stdbool.h>

#define MS_NPY_TEXT_MAX 65536 /* bytes of header text that are looked at */
#define MS_NPY_NAME_CAP 256   /* bytes of a field's name, with the NUL */
#define MS_NPY_AXES_MAX 32    /* as NumPy's own limit was when the format was made */

/* One field of a record, or the only field of a plain array, which has no name. */
typedef struct {
    char name[MS_NPY_NAME_CAP]; /* UTF-8; "" for padding and for a plain array */
    char kind;                  /* NumPy's letter: f U S V O i u b c M m; 'r' for a nested record */
    char order;                 /* '<' or '>' or '|'; a missing one and '=' read as '<' */
    size_t elem_bytes;          /* bytes of one element: 'U' has 4 a character */
    size_t n_elems;             /* product of the sub-array's shape, 1 without one */
    int n_axes;                 /* axes of the sub-array, 0 without one */
    size_t offset;              /* bytes from the start of the record */
} ms_npy_field;

typedef struct {
    int major;
    bool is_record, fortran_order;
    bool has_objects;     /* some element is a Python object: what follows the header is a
                             * pickle */
    ms_npy_field *fields; /* owned: [n_fields] */
    size_t n_fields, field_cap;
    size_t item_bytes; /* of one record or element */
    size_t shape[MS_NPY_AXES_MAX];
    int n_axes;
    size_t data_offset; /* where the header ends */
} ms_npy_head;

/* Parse the header at the beginning of a file of n_bytes bytes. `path` is for errors. */
int ms_npy_head_parse(const unsigned char *bytes, size_t n_bytes, const char *path,
                      ms_npy_head *out, msim_error *err);
void ms_npy_head_free(ms_npy_head *head);
/* Check that n_bytes hold all data that shape and type promise. More bytes are allowed, as in
 * NumPy. The size of a pickle cannot be checked like this. */
int ms_npy_head_check_size(const ms_npy_head *head, size_t n_bytes, const char *path,
                           msim_error *err);

/* Write the header of a 1-D array of n_rows records (name_field '<U<name_chars>', or with
 * name_chars 0 '|O'; vector_field of vector_type [dim]), or with name_field NULL of a plain array
 * [n_rows, dim] of vector_type: the bytes that NumPy writes for ASCII field names. buf [cap];
 * returns the number of bytes, a multiple of 64. */
int64_t ms_npy_head_write(unsigned char *buf, size_t cap, const char *name_field, size_t name_chars,
                          const char *vector_field, const char *vector_type, size_t dim,
                          size_t n_rows, msim_error *err);

#endif
