/* Words: at each note of each stream the next intervals as one key, and what is kept of them. */
#ifndef MS_NOTES_SEEDS_WORDS_H
#define MS_NOTES_SEEDS_WORDS_H
#include "notes/constants.h"
#include "notes/seeds/streams.h"

/* A key: MS_INTERVALS intervals of MS_INTERVAL_BITS bits, the first one highest.
 *
 *   bit 47      42 41      36       5       0
 *      | interval 1 | interval 2 | ... | interval 8 |      interval + 32; 0: past the end
 *
 * So the words that begin with k given intervals are one range of keys. */
typedef struct {
    uint64_t key;
    uint32_t note;    /* where it begins */
    uint32_t span_ms; /* from there to the note after the third interval */
    uint8_t kind;     /* ms_stream_kind */
    uint8_t length;   /* intervals, MS_LEAST_INTERVALS..MS_INTERVALS */
    uint8_t is_sampled;
} ms_word;

/* All words of a piece, stream by stream: [*n_out], the arena's. density: of so many neighbouring
 * words at least one is_sampled (minimizers). */
int ms_words_make(const ms_canon *canon, const ms_streams *streams, int density, ms_arena *arena,
                  ms_word **out, size_t *n_out, msim_error *err);

/* Keep what the index stores, in place: sampled words; one of those that begin at one note and
 * agree in MS_SAME_INTERVALS; of those that agree in MS_COMMON_INTERVALS MS_COMMON_MAX, evenly
 * spread. They are then in order of note. Returns how many are left, or < 0. */
int64_t ms_words_select(ms_word *words, size_t n, size_t n_notes, ms_arena *arena, msim_error *err);

/* The bits of a key that its first k intervals take. */
static inline uint64_t ms_word_mask(int k) {
    return ((UINT64_C(1) << MS_KEY_BITS) - 1) &
           ~((UINT64_C(1) << (MS_KEY_BITS - k * MS_INTERVAL_BITS)) - 1);
}
static inline uint64_t ms_word_hash(uint64_t x) {
    x = (x ^ x >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ x >> 32;
}

/* A hash of the intervals of all notes in canonical order: the same in another key or tempo. */
uint64_t ms_words_digest(const ms_canon *canon);

/* A span in MS_SPAN_BITS bits: 40 ms * 2^(code / 8) - 40 ms. */
unsigned ms_span_code(uint32_t span_ms);
/* span + 40 ms, which is what spans are compared by. */
uint32_t ms_span_of(unsigned code);

#endif
