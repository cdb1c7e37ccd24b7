/* Between the files of midisim-find: what was asked for, and queries with their answers. */
#ifndef MS_TOOLS_FIND_FIND_H
#define MS_TOOLS_FIND_FIND_H
#include "common/cli.h"
#include "common/tree.h"

enum ms_find_format { MS_FIND_TABLE, MS_FIND_TSV, MS_FIND_JSON };

typedef struct {
    ms_cli_common common;
    const char *index, *files_from, *from, *to, *bars, *track, *excerpts, *copy_to;
    ms_cli_texts phrases, within, roots;
    int64_t top;
    double evalue;
    int format;
    bool is_nul_separated, is_same_key, is_same_tempo, is_json, is_forced, is_pairs, is_groups;
    /* Read from the texts by ms_find_check. */
    double from_seconds, to_seconds; /* -1: not given */
    int64_t first_bar, last_bar;     /* from 1; 0: not given */
} ms_find_settings;

extern const ms_cli_tool ms_find_tool;
/* The combinations and texts that mean nothing are refused, the others read. */
int ms_find_check(ms_find_settings *settings);

/* ---- The index ---- */

/* An index, or a folder that is indexed now; then *root is set to the folder. */
int ms_find_open_index(const ms_find_settings *settings, msim_notes **out, const char **root,
                       msim_error *err);
/* One byte for each piece: 1 where a pattern of --within fits its name. NULL, and 0, without
 * patterns. */
int ms_find_within(const ms_find_settings *settings, const msim_notes *notes, unsigned char **out,
                   msim_error *err);

/* ---- Queries ---- */

/* One query. All memory is the query's: ms_find_query_free. */
typedef struct {
    char *label;
    msim_note *notes; /* [n_notes] */
    size_t n_notes;
    msim_voice *voices; /* [n_voices], with names of their own */
    size_t n_voices;
    msim_bar *bars; /* [n_bars] */
    size_t n_bars;
    /* The answer. */
    msim_note_match *matches; /* [n_matches], their places too */
    int64_t n_matches;
    msim_error err; /* code 0 when all went well */
} ms_find_query;

/* The notes of a piece that were asked for: of a track, from a time or bar on. -MSIM_E_EMPTY when
 * none is left. */
int ms_find_take(const ms_find_settings *settings, const char *label, size_t label_bytes,
                 const msim_piece_notes *piece, ms_find_query *out, msim_error *err);
int ms_find_take_phrase(const char *text, ms_find_query *out, msim_error *err);
void ms_find_query_free(ms_find_query *query);
/* Keep a copy of an answer. */
int ms_find_keep(ms_find_query *query, const msim_note_match *matches, int64_t n, msim_error *err);

/* ---- Answers ---- */

typedef struct {
    const ms_find_settings *settings;
    const msim_notes *notes;
    int64_t n_printed;
} ms_find_out;

int ms_find_begin(const ms_find_out *out);
/* Print one answer. < 0 when nothing more can be written. */
int ms_find_print(ms_find_out *out, const ms_find_query *query);
/* A cell of a table of tab-separated values. */
void ms_find_put_cell(const char *text, size_t n);
/* --pairs and --groups: the pieces of the index against each other. -MSIM_E_EMPTY when none share
 * enough. */
int ms_find_pairs(const ms_find_settings *settings, ms_find_out *out);
/* Bar and beat of a time, both from 1; 0 where a piece has no bars. */
void ms_find_bar(const msim_bar *bars, size_t n, double seconds, int64_t *bar, double *beat);

/* Write the files of --excerpts and --copy-to for one answer. < 0: something could not be written,
 * which was said. `root` may be NULL. */
int ms_find_write(const ms_find_settings *settings, const msim_notes *notes, const char *root,
                  ms_tree *excerpts, ms_tree *copies, const ms_find_query *query);

#endif
