/* Ranges of postings by prefix of a key. */
#ifndef MS_NOTES_FIND_LOOKUP_H
#define MS_NOTES_FIND_LOOKUP_H
#include "notes/file/index.h"
#include "notes/seeds/words.h"

enum { MS_LOOKUP_SLOTS = 64 };

/* Keys of blocks that were read lately. Start from ms_lookup_init. */
typedef struct {
    const msim_notes *notes;          /* borrowed */
    bool is_damaged;                  /* a block could not be read */
    uint64_t number[MS_LOOKUP_SLOTS]; /* of the block + 1; 0: none */
    uint32_t n[MS_LOOKUP_SLOTS];
    uint64_t keys[MS_LOOKUP_SLOTS][MS_BLOCK];
} ms_lookup;

/* Postings first .. first + n - 1 begin with the first `intervals` intervals of a word. */
typedef struct {
    uint64_t first, n;
    int intervals;
    float bits; /* log2((postings + 1) / (n + 1)) */
} ms_range;

void ms_lookup_init(ms_lookup *lookup, const msim_notes *notes);
/* The shortest prefix of the word, from MS_LEAST_INTERVALS on, with at most `few` postings, or the
 * whole word. */
ms_range ms_lookup_word(ms_lookup *lookup, const ms_word *word, uint64_t few);
/* The same for words in order of key: *at, 0 at first, is where the search begins. */
ms_range ms_lookup_word_after(ms_lookup *lookup, const ms_word *word, uint64_t few, uint64_t *at);

#endif
