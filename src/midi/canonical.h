/* Rewrites a MIDI file in the original's canonical form: decode, pair notes, encode.
 * docs/CANONICAL.md. */
#ifndef MS_MIDI_CANONICAL_H
#define MS_MIDI_CANONICAL_H
#include "base/mem.h"

/* The most bytes that ms_canonical writes for a file of n_bytes. */
size_t ms_canonical_bound(size_t n_bytes);
/* Write the canonical form of file [n_bytes] to out [cap] and return its length. Scratch memory
 * comes from the arena, in proportion to the longest track. On failure *outcome is its
 * msim_outcome. */
int64_t ms_canonical(const uint8_t *file, size_t n_bytes, ms_arena *arena, uint8_t *out, size_t cap,
                     int *outcome, msim_error *err);

#endif
