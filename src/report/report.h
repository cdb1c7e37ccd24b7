/* A report from the inside: pieces with their notes in memory, and everything else as JSON that
 * waits to be written. The page (src/report/page) reads the JSON and draws it.
 *
 *   pieces.c     names and notes          agree.c    which notes of two pieces agree
 *   matches.c    queries and matches      groups.c   groups
 *   map.c        points, with pca.c       html.c     the file, with assets.c */
#ifndef MS_REPORT_REPORT_H
#define MS_REPORT_REPORT_H
#include "base/mem.h"
#include "base/status.h"
#include "base/text/json.h"
#include <midisim.h>
#include <stdbool.h>

enum { MS_DRUM_CHANNEL = 9 };

/* Where the notes of a piece come from; the page has the same words. */
enum ms_report_source { MS_REPORT_NOTHING = 0, MS_REPORT_FILE, MS_REPORT_INDEX, MS_REPORT_GIVEN };

typedef struct {
    char *name, *path; /* owned; path "": not given */
    size_t name_bytes;
    char *lacks;       /* owned: why there are no notes; NULL: there are */
    int source;        /* ms_report_source */
    bool is_not_found; /* no file was named, and none was found by the name */
    msim_note *notes;  /* owned: [n_notes] in order of start, drums too */
    size_t n_notes, n_left_out;
    ms_json_text voices, bars; /* JSON */
    msim_note *tuned;          /* owned: [n_tuned] the notes without drums ... */
    int32_t *numbers;          /* ... and which they are */
    size_t n_tuned;
} ms_report_piece;

typedef struct {
    int64_t piece;
    double from, to; /* seconds; -1: all */
    ms_json_text matches;
    int64_t n_matches;
} ms_report_query;

struct msim_report {
    msim_report_options o; /* its texts are owned: title, roots */
    char *title, **roots;
    ms_report_piece *pieces; /* owned: [n_pieces] */
    size_t n_pieces, pieces_cap;
    int64_t *table; /* owned: [table_size] 1 + the first piece of each name and path; 0: free */
    size_t table_size;
    ms_report_query *queries;
    size_t n_queries, queries_cap;
    ms_json_text groups, map;
    int64_t n_matches, n_groups, n_groups_left_out, n_points, n_notes, n_without, n_not_found;
    msim_note_reader *reader;
    msim_aligner *aligner;
};

/* Tell the caller's progress: < 0 when it asks to stop. */
int ms_report_progress(const msim_report *report, const char *unit, int64_t done, int64_t all,
                       msim_error *err);

/* ---- Notes ---- */

/* Base64 of what was packed; texts of JSON with their quotation marks. */
void ms_report_put_base64(ms_json_text *text, const void *bytes, size_t n);
/* Notes, from start_ms on, as the page decodes them: docs/FORMATS.md, Reports. */
int ms_report_put_notes(ms_json_text *text, const msim_note *notes, size_t n, msim_error *err);
/* `,"key":` and a number; NaN and infinity become null. */
void ms_report_put_key(ms_json_text *text, const char *key);
void ms_report_put_real(ms_json_text *text, double value);
static inline void ms_report_put(ms_json_text *text, const char *what) {
    size_t n = 0;
    while (what[n]) n++;
    ms_json_put(text, what, n);
}

/* The notes of a file or of the index, for as long as the reader and *loaded live; free *loaded
 * with msim_notes_free_piece. Returns ms_report_source, or < 0 when memory ran out. With
 * MS_REPORT_NOTHING, why [cap] says what is missing. */
int ms_report_read(msim_report *report, const char *name, size_t name_bytes, const char *path,
                   msim_piece_notes *out, msim_loaded_piece **loaded, char *why, size_t cap,
                   msim_error *err);
int ms_report_write_pieces(const msim_report *report, ms_json_text *text, msim_error *err);
void ms_report_free_piece(ms_report_piece *piece);
/* Take back all pieces but the first n. */
void ms_report_forget_pieces(msim_report *report, size_t n);

/* ---- Agreement ---- */

/* Add `,"places":[...],"lit":[QUERY,MATCH]`: where two pieces agree, and which notes. `match` may
 * be NULL. */
int ms_report_put_places(msim_report *report, const ms_report_piece *query,
                         const ms_report_piece *piece, const msim_note_match *match,
                         ms_json_text *text, msim_error *err);

/* ---- Map ---- */

/* Rows [n, dim], which are changed, to points [n][2]: the two axes of most variance. shares [2]: of
 * the variance. */
int ms_report_pca(const msim_report *report, float *rows, size_t n, size_t dim, double *points,
                  double *shares, msim_error *err);

/* ---- Page ---- */

typedef struct {
    const char *bytes, *end;
} ms_report_asset;
enum ms_report_assets { MS_REPORT_HTML = 0, MS_REPORT_STYLE, MS_REPORT_SCRIPTS };
/* The page's files: the skeleton, the style, then the scripts in their order; bytes NULL ends. */
extern const ms_report_asset ms_report_assets[];

#endif
