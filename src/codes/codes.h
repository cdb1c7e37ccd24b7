/* Small copies of rows: their values (codes/encode.c) and their file, CORPUS.npy.msim (copy.c).
 * docs/SEARCH.md, Compressed copies, says what they hold and why it proves anything;
 * docs/FORMATS.md how it lies in the file. */
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
    MS_CODES_ODD        /* no certificate: always evaluated */
};

/* ---- Rows ---- */

/* Doubles of scratch that the functions below take. */
size_t ms_codes_scratch(size_t dim);
/* centre [dim]: about the mean of the unit rows of a view, from 4,096 of them at most. */
void ms_codes_find_centre(float *centre, const ms_rows *view, double *scratch);
/* Tile `tile` of a view in one codec, dst of ms_codes_int8_tile or ms_codes_bf16_tile bytes. class
 * [MS_CODES_TILE]: ms_codes_class of each row. The same bytes on every machine. */
void ms_codes_make_tile(unsigned char *dst, unsigned char *class, const ms_rows *view, int64_t tile,
                        const float *centre, int codec, double *scratch);

/* ---- The file ---- */

/* What tells cheaply that the source is not what it was. */
typedef struct {
    uint64_t bytes;
    int64_t time; /* of its last change, in ns */
} ms_codes_stamp;

typedef struct {
    int (*progress)(void *user, int64_t done, int64_t all); /* NULL: none; non-zero stops */
    void *user;
} ms_codes_progress;

typedef struct {
    ms_map map;     /* owned */
    ms_codes codes; /* borrowed from map */
    ms_codes_stamp stamp;
} ms_codes_file;

/* Write the copy of a view in `codecs` to path, through a temporary file beside it. */
int ms_codes_write(const char *path, const ms_rows *view, ms_codes_stamp stamp, int codecs,
                   ms_pool *pool, ms_codes_progress progress, msim_error *err);
/* Map a copy of a view. Everything that memory safety rests on is checked here; whether it is a
 * copy of these rows is ms_codes_check's. On failure *out is empty. */
int ms_codes_open(const char *path, const ms_rows *view, ms_codes_file *out, msim_error *err);
/* Make tiles anew and compare: 64 of them, or all (pool may be NULL: on this thread). */
int ms_codes_check(const char *path, const ms_rows *view, const ms_codes_file *file, int is_full,
                   ms_pool *pool, msim_error *err);
void ms_codes_close(ms_codes_file *file);

#endif
