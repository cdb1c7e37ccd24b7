/* Matches of notes, printed: rows of a table, cells of TSV, members of JSON. docs/NOTES.md. */
#ifndef MS_TOOLS_COMMON_NOTES_AGREED_H
#define MS_TOOLS_COMMON_NOTES_AGREED_H
#include "base/text/json.h"
#include "common/notes/asked.h"

/* The bars of a passage, and the beat at which it begins, all from 1; 0 where a piece has none. */
typedef struct {
    int64_t from_bar, to_bar;
    double beat;
} ms_agreed_bars;

/* One match with what the index knows about its piece. */
typedef struct {
    const msim_note_match *match; /* borrowed */
    msim_notes_piece piece;
    msim_loaded_piece *loaded; /* owned */
    msim_piece_notes notes;
    ms_agreed_bars in_query, in_match;
} ms_agreed;

/* Match i of a query. Free it also when this fails. */
int ms_agreed_load(const msim_notes *notes, const ms_asked *asked, int64_t i, ms_agreed *out,
                   msim_error *err);
void ms_agreed_free(ms_agreed *agreed);

/* The columns of the table, and a row of it. Printing returns as ms_cli_print does. */
int ms_agreed_print_heads(void);
int ms_agreed_print_row(int64_t rank, const ms_agreed *agreed);

/* Cells of TSV, without tabs at their ends: of the notes that agree, and of the place. */
#define MS_AGREED_NOTES_HEAD "notes\tof_query\tof_piece\tidentity"
#define MS_AGREED_PLACE_HEAD \
    "tempo\tquery_from\tquery_to\tquery_bar\tfrom\tto\tbar\ttrack\tchannel\tplaces"
int ms_agreed_print_notes(const ms_agreed *agreed);
int ms_agreed_print_place(const ms_agreed *agreed);

/* Put all matches of a query as an array. < 0: one of them cannot be loaded. */
int ms_agreed_put_json(const msim_notes *notes, const ms_asked *asked, ms_json_text *line,
                       msim_error *err);

#endif
