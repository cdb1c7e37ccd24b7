/* A query made ready: canonical notes, words with their ranges in the index, and what each note is
 * worth. */
#ifndef MS_NOTES_QUERY_H
#define MS_NOTES_QUERY_H
#include "notes/lookup.h"

/* All arrays are the arena's. */
typedef struct {
    ms_canon canon;
    ms_word *words;   /* [n_words] in order of note */
    ms_range *ranges; /* [n_words] */
    size_t n_words;
    float *bits;  /* [canon.n] what a match of the note says, in bits */
    bool is_thin; /* a tune: about one note a group */
} ms_query;

typedef struct {
    uint64_t few, most; /* postings: MS_FEW and MS_MOST, or fewer */
    int sample;         /* keep words whose first intervals hash below 1 / sample */
} ms_query_limits;

int ms_query_make(const msim_note *notes, size_t n, ms_lookup *lookup,
                  const ms_query_limits *limits, ms_arena *arena, ms_query *out, msim_error *err);

#endif
