/* A MIDI file rewritten as the original's helpers rewrite it: decode, pair notes, encode.
 * docs/CANONICAL.md. */
#ifndef MS_MIDI_CANONICAL_H
#define MS_MIDI_CANONICAL_H
#include "base/mem.h"

/* Bytes that ms_canonical writes at most for a file of n_bytes. */
size_t ms_canonical_bound(size_t n_bytes);
/* Write the normalised form of file [n_bytes] to out [cap]; returns its length. Scratch comes from
 * the arena, in proportion to the longest track. *outcome is set to the msim_outcome of a
 * failure. */
int64_t ms_canonical(const uint8_t *file, size_t n_bytes, ms_arena *arena, uint8_t *out, size_t cap,
                     int *outcome, msim_error *err);

#endif
