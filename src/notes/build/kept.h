/* The notes of a piece as bytes, from which an index can be built later as from the file: what a
 * job of embeddings keeps in its journal.
 *
 *   voices and bars   as in details.h
 *   notes             their number; of each: ms since the note before, pitch, duration in ms, and,
 *                     where there is more than one voice, the voice
 *
 * Numbers are varints, a pitch is a byte. Velocities are left out: no index has them. */
#ifndef MS_NOTES_BUILD_KEPT_H
#define MS_NOTES_BUILD_KEPT_H
#include "base/mem.h"

/* An upper bound of what ms_kept_put writes. */
size_t ms_kept_bound(const msim_piece_notes *piece);
/* Returns the number of bytes. Notes stand in order of start. */
size_t ms_kept_put(const msim_piece_notes *piece, uint8_t *out);
/* Read them back into memory of the arena; names of voices point into the bytes. -MSIM_E_FORMAT:
 * damaged. */
int ms_kept_get(const uint8_t *bytes, size_t n_bytes, ms_arena *arena, msim_piece_notes *out,
                msim_error *err);

#endif
