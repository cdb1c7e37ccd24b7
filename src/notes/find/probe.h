/* A query made ready: canonical notes, words with their ranges in the index, and what each note is
 * worth. */
#ifndef MS_NOTES_FIND_PROBE_H
#define MS_NOTES_FIND_PROBE_H
#include "notes/find/lookup.h"

/* All arrays are the arena's. */
typedef struct {
    ms_canon canon;
    ms_word *words;   /* [n_words] in order of note */
    ms_range *ranges; /* [n_words] */
    size_t n_words;
    float *bits;         /* [canon.n] what a match of the note says, in bits */
    bool is_thin;        /* a tune: about one note a group */
    const ms_stop *stop; /* borrowed: who may stop a search for it; NULL: nobody */
} ms_probe;

typedef struct {
    uint64_t few, most; /* postings: MS_FEW and MS_MOST, or fewer */
    int sample;         /* keep words whose first intervals hash below 1 / sample */
    const ms_stop *stop;
} ms_probe_limits;

int ms_probe_make(const msim_note *notes, size_t n, ms_lookup *lookup,
                  const ms_probe_limits *limits, ms_arena *arena, ms_probe *out, msim_error *err);
/* The same without an index: a sample of the words, each as rare as any other. */
int ms_probe_make_alone(const msim_note *notes, size_t n, int sample, const ms_stop *stop,
                        ms_arena *arena, ms_probe *out, msim_error *err);

#endif
