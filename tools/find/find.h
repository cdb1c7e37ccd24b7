/* Between the files of midisim-find: what was asked for, and queries with their answers. */
#ifndef MS_TOOLS_FIND_FIND_H
#define MS_TOOLS_FIND_FIND_H
#include "common/notes/asked.h"
#include "common/tree.h"

enum ms_find_format { MS_FIND_TABLE, MS_FIND_TSV, MS_FIND_JSON };

typedef struct {
    ms_cli_common common;
    const char *index, *files_from, *from, *to, *bars, *track, *excerpts, *copy_to, *html;
    ms_cli_texts phrases, within, roots;
    int64_t top, every, window;
    double evalue;
    int format;
    bool is_nul_separated, is_same_key, is_same_tempo, is_json, is_forced, is_pairs, is_groups,
        is_stream;
    /* Read from the texts by ms_find_check. */
    double from_seconds, to_seconds; /* -1: not given */
    int64_t first_bar, last_bar;     /* from 1; 0: not given */
} ms_find_settings;

extern const ms_cli_tool ms_find_tool;
/* The combinations and texts that mean nothing are refused, the others read. */
int ms_find_check(ms_find_settings *settings);

/* ---- Queries ---- */

/* The notes of a piece that were asked for: of a track, from a time or bar on. -MSIM_E_EMPTY when
 * none is left. */
int ms_find_take(const ms_find_settings *settings, const char *label, size_t label_bytes,
                 const msim_piece_notes *piece, ms_asked *out, msim_error *err);
int ms_find_take_phrase(const char *text, ms_asked *out, msim_error *err);

/* ---- Answers ---- */

typedef struct {
    const ms_find_settings *settings;
    const msim_notes *notes;
    int64_t n_printed;
    int64_t n_heard; /* --stream: notes that have come */
} ms_find_out;

int ms_find_begin(const ms_find_out *out);
/* Print one answer. < 0 when nothing more can be written. */
int ms_find_print(ms_find_out *out, const ms_asked *query);
/* --pairs and --groups: the pieces of the index against each other. -MSIM_E_EMPTY when none share
 * enough. */
int ms_find_pairs(const ms_find_settings *settings, ms_find_out *out);
/* --stream: match notes of standard input as they come. -MSIM_E_EMPTY when the last answer has no
 * significant match or a line was refused. */
int ms_find_stream(const ms_find_settings *settings, const msim_finder_options *options,
                   ms_find_out *out);

/* Write the files of --excerpts and --copy-to for one answer. < 0: something could not be written,
 * which was said. `root` may be NULL. */
int ms_find_write(const ms_find_settings *settings, const msim_notes *notes, const char *root,
                  ms_tree *excerpts, ms_tree *copies, const ms_asked *query);

#endif
