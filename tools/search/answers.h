/* The queries that wait in the searcher, and what becomes of their answers: they are printed, and
 * the files of matches are copied. */
#ifndef MS_TOOLS_SEARCH_ANSWERS_H
#define MS_TOOLS_SEARCH_ANSWERS_H
#include "copy_to.h"
#include "corpus.h"
#include "common/notes/html.h"

/* A query that waits; its number is its place. */
typedef struct {
    char *label; /* owned: what it is called, not NUL-terminated */
    size_t n_label;
    msim_walk *walk;       /* borrowed: of the MIDI file, or NULL */
    int64_t input;         /* its number in the walk */
    unsigned char *stream; /* owned: what came from standard input, kept for --copy-to */
    size_t stream_bytes;
    bool is_row;    /* a row of the corpus: the label is its name */
    ms_asked asked; /* owned, with has_notes: its notes, and the pieces that share them */
    bool has_notes;
} ms_search_query;

typedef struct {
    const ms_search_settings *set; /* borrowed */
    ms_results_out out;
    ms_copy_to *copier; /* owned; NULL without --copy-to */
    ms_html html;
    ms_search_query waiting[MS_SEARCH_VECTORS]; /* [n_waiting] */
    size_t n_waiting;
    msim_match *listed; /* owned: scratch, the original's list */
    size_t listed_cap;
    int64_t n_searched, n_matches, n_found; /* found: by notes */
    msim_error failed;                      /* what ended a run from inside; code 0: nothing */
} ms_search_answers;

/* `notes` is what --find compares with, or NULL. */
int ms_search_answers_open(const ms_search_corpus *corpus, const msim_notes *notes,
                           ms_search_answers *out, msim_error *err);
void ms_search_answers_close(ms_search_answers *a);
/* A query is about to be added to the searcher: its label is copied, and its notes are taken, also
 * when this fails. `stream` [stream_bytes] is copied when the query is to be copied or shown, too;
 * NULL for what is no stream. */
int ms_search_answers_expect(ms_search_answers *a, ms_search_query *query, msim_error *err);
/* Write the report of --html, if one was asked for. */
int ms_search_answers_write(ms_search_answers *a, msim_error *err);
/* Answer all queries that wait in the searcher. -MSIM_E_STOPPED when nothing more can be written,
 * or after a signal. */
int ms_search_answers_run(ms_search_answers *a, msim_searcher *s, msim_error *err);

#endif
