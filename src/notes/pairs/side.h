/* One side of a comparison: a piece, or a decoy of one, with its words in a table. */
#ifndef MS_NOTES_PAIRS_SIDE_H
#define MS_NOTES_PAIRS_SIDE_H
#include "notes/find/cache.h"
#include "notes/find/probe.h"

/* All arrays are the arena's. */
typedef struct {
    ms_probe probe;   /* its notes, and what each is worth */
    ms_target target; /* the same as a target; a decoy has no voices */
    uint64_t digest;
    unsigned sample;      /* 1, 2 or 4: of so many words one is here */
    const ms_word *words; /* [n_words] of the sample, as an index keeps them, in order of note */
    size_t n_words;
    uint32_t *heads; /* [mask + 1] number + 1 of the first word with a hash; 0: none */
    uint32_t *next;  /* [n_words] the same of the next one, in order of note */
    size_t mask;
} ms_side;

int ms_side_make(const msim_note *notes, size_t n, ms_arena *arena, ms_side *out, msim_error *err);
/* A piece of an index. */
int ms_side_load(const msim_notes *notes, int64_t piece, ms_arena *arena, ms_side *out,
                 msim_error *err);

/* What two words of a comparison agree in. */
static inline uint64_t ms_side_prefix(const ms_word *word) {
    return word->key & ms_word_mask(MS_COMMON_INTERVALS);
}

/* True when a word is in a sample of 1, 2 or 4, as ms_probe_make_alone takes it. Samples are nested:
 * the words that both sides have are those of the coarser one. */
static inline bool ms_side_is_sampled(uint64_t key, unsigned sample) {
    return ms_word_hash(key & ms_word_mask(MS_LEAST_INTERVALS)) % sample == 0;
}

#endif
