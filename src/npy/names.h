/* Row names. Inside the library a name is bytes, as file systems have them: UTF-8 mostly, anything
 * at worst. In a '<U' field it is UCS-4, where bytes that are not UTF-8 stand as U+DC80..U+DCFF, as
 * Python's surrogateescape has it, in both directions. Also the names file of a plain array. Only
 * ms_names_open takes memory. docs/FORMATS.md, Corpora. */
#ifndef MS_NPY_NAMES_H
#define MS_NPY_NAMES_H
#include "base/map.h"
#include "base/status.h"

/* The code point at s [n >= 1] and the bytes it takes; a byte that starts no valid UTF-8 gives
 * 0xDC00 + it, step 1. */
uint32_t ms_name_get_point(const char *s, size_t n, size_t *step);
/* Write a code point as UTF-8 (surrogates as three bytes, beyond U+10FFFF as U+FFFD) to dst [4];
 * returns its bytes. */
size_t ms_name_put_point(char *dst, uint32_t point);

/* Code points that a name takes in a '<U' field. */
size_t ms_name_chars(const char *name, size_t n_bytes);
/* Fill field [n_chars x 4 bytes] with a name of at most n_chars code points, padded with zeros. */
void ms_name_to_ucs4(const char *name, size_t n_bytes, unsigned char *field, size_t n_chars);
/* The bytes of a '<U' or 'S' field without its trailing zeros: NUL-terminated in buf and cut to cap
 * - 1 bytes (cap 0: nothing is written). Returns the full length. */
size_t ms_name_of_ucs4(const unsigned char *field, size_t n_chars, char *buf, size_t cap);
size_t ms_name_of_bytes(const unsigned char *field, size_t n_bytes, char *buf, size_t cap);
/* The same of a pickled text: UTF-8 in which U+DC80..U+DCFF, as three bytes, stand for bytes. */
size_t ms_name_of_text(const unsigned char *text, size_t n_bytes, char *buf, size_t cap);

/* A text file with one name a line. The last line may lack its newline; when the first line ends in
 * CR LF all CRs before newlines are dropped. */
typedef struct {
    ms_map map;     /* owned */
    uint64_t *ends; /* owned: [n_names] offset of the newline that ends each name */
    size_t n_names;
    int has_cr;
} ms_names;

int ms_names_open(const char *path, ms_names *out, msim_error *err);
/* The i-th name, as above. */
size_t ms_names_get(const ms_names *names, size_t i, char *buf, size_t cap);
void ms_names_close(ms_names *names);

#endif
