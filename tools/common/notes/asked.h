/* The notes of one query, and the pieces that were found to share them. */
#ifndef MS_TOOLS_COMMON_NOTES_ASKED_H
#define MS_TOOLS_COMMON_NOTES_ASKED_H
#include "common/cli.h"

/* All memory is the query's: ms_asked_free. Begin from {0}. */
typedef struct {
    char *label;
    char *path;       /* of its file; NULL: none, or not wanted */
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
} ms_asked;

/* The notes of a piece. Free it also when this fails. */
int ms_asked_take(const char *label, size_t label_bytes, const msim_piece_notes *piece,
                  ms_asked *out, msim_error *err);
/* Replace the answer by a copy of these matches. */
int ms_asked_keep(ms_asked *asked, const msim_note_match *matches, int64_t n, msim_error *err);
/* Find the pieces, and keep them. What went wrong is in asked->err. */
void ms_asked_answer(ms_asked *asked, msim_finder *finder);
void ms_asked_free(ms_asked *asked);

#endif
