/* Codes: quantised rows with bounds on their error. codes/encode.c makes the values, codes/codes.c
 * their file, CORPUS.npy.msim. docs/SEARCH.md, Scans of codes, defines the values and proves what
 * they are good for; docs/FORMATS.md, Codes, defines the file. */
#ifndef MS_CODES_CODES_H
#define MS_CODES_CODES_H
#include "codes/layout.h"
#include "base/map.h"
#include "base/pool.h"
#include "base/rows.h"

enum { MS_CODES_INT8 = 1, MS_CODES_BF16 = 2 }; /* codecs, as bits */

enum ms_codes_class {
    MS_CODES_CERTIFIED,
    MS_CODES_ZERO,      /* scores 0: its square is 0 */
    MS_CODES_NONFINITE, /* scores -infinity: its square is not finite */
    MS_CODES_ODD        /* no certificate: always scored */
};

/* ---- Rows ---- */

/* How many doubles of scratch the two functions below need. */
size_t ms_codes_scratch(size_t dim);
/* Set centre [dim] to the mean of at most 4,096 unit rows, spread over a view. */
void ms_codes_find_centre(float *centre, const ms_rows *view, double *scratch);
/* Make tile `tile` of a view in one codec: dst of ms_codes_int8_tile or ms_codes_bf16_tile bytes.
 * class [MS_CODES_TILE] gets the ms_codes_class of each row. The bytes are the same on every
 * machine. */
void ms_codes_make_tile(unsigned char *dst, unsigned char *class, const ms_rows *view, int64_t tile,
                        const float *centre, int codec, double *scratch);

/* ---- The file ---- */

/* A cheap sign that the corpus file has changed: its size and time. */
typedef struct {
    uint64_t bytes;
    int64_t time; /* of its last change, in ns */
} ms_codes_stamp;

typedef struct {
    int (*progress)(void *user, int64_t done,
                    int64_t all); /* NULL: none; non-zero stops the work */
    void *user;
} ms_codes_progress;

typedef struct {
    ms_map map;     /* owned */
    ms_codes codes; /* borrowed from map */
    ms_codes_stamp stamp;
} ms_codes_file;

/* Write the codes of a view, in all of `codecs`, to path, through a temporary file beside it. */
int ms_codes_write(const char *path, const ms_rows *view, ms_codes_stamp stamp, int codecs,
                   ms_pool *pool, ms_codes_progress progress, msim_error *err);
/* Map the codes of a view. Everything that memory safety depends on is checked here; ms_codes_check
 * finds out whether they are the codes of these rows. On failure *out is empty. */
int ms_codes_open(const char *path, const ms_rows *view, ms_codes_file *out, msim_error *err);
/* Make tiles anew and compare them with the file: 64 tiles, or all. With pool NULL this thread does
 * it. */
int ms_codes_check(const char *path, const ms_rows *view, const ms_codes_file *file, int is_full,
                   ms_pool *pool, msim_error *err);
void ms_codes_close(ms_codes_file *file);

#endif
