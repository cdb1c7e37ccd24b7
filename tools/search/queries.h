/* Where the queries of midisim-search come from: MIDI files, rows of the corpus, rows of other
 * files. */
#ifndef MS_TOOLS_SEARCH_QUERIES_H
#define MS_TOOLS_SEARCH_QUERIES_H
#include "answers.h"
#include "found.h"
#include "names.h"
#include "common/skips.h"

typedef struct {
    const ms_search_corpus *corpus;  /* borrowed */
    ms_search_model model;           /* owned */
    msim_walk *walk;                 /* owned: MIDI queries */
    int64_t n_files;                 /* of the walk */
    const msim_whitening *whitening; /* borrowed from the corpus; NULL: it is not whitened */
    msim_corpus **sets;              /* owned: [set->vectors.n], rows that are queries */
    int64_t n_queries;               /* of all kinds */
    size_t midi_variants;            /* of each MIDI query */
    ms_cli_skips *skips;             /* owned */
    char *name;                      /* owned: scratch, the name in hand */
    size_t name_cap;
    float *vector; /* owned: scratch [dim] */
    int64_t n_failed;
} ms_search_queries;

/* Open what the queries come from, and check that it fits the corpus. */
int ms_search_queries_open(const ms_search_corpus *corpus, ms_search_queries *out, msim_error *err);
void ms_search_queries_close(ms_search_queries *q);
/* The names that --exclude-self is to look for. */
int ms_search_queries_want_self(ms_search_queries *q, ms_search_names *names, msim_error *err);
/* The vectors that one pass should have room for. */
int64_t ms_search_queries_room(const ms_search_queries *q);
/* Add every query in turn to the searcher and answer them in groups. */
int ms_search_queries_run(ms_search_queries *q, const ms_search_names *names,
                          ms_search_found *found, msim_searcher *s, ms_search_answers *answers,
                          msim_error *err);

#endif
