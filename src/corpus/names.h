/* The names file of rows that have no names of their own: PATH.names, one name per row. Only
 * ms_names_open allocates. docs/FORMATS.md, Corpora. */
#ifndef MS_CORPUS_NAMES_H
#define MS_CORPUS_NAMES_H
#include "base/map.h"
#include "base/status.h"

/* A text file with one name on each line, read as base/text/lines.h reads lists, and mapped. The
 * last line may lack its newline. */
typedef struct {
    ms_map map;     /* owned */
    uint64_t *ends; /* owned: [n_names] offset of the newline that ends each name */
    size_t start;   /* of the first name: behind a byte order mark */
    size_t n_names;
    int has_cr;
} ms_names;

int ms_names_open(const char *path, ms_names *out, msim_error *err);
/* The i-th name, as ms_utf8_copy gives it. */
size_t ms_names_get(const ms_names *names, size_t i, char *buf, size_t cap);
void ms_names_close(ms_names *names);

#endif
