/* What an index keeps of a piece beside pitches: times, voices, durations, bars.
 *
 *   groups     one varint each: (ms since the group before) * 2 + (more than one note);
 *              then, of such a group, its notes - 2
 *   voices     their number; of each: track, channel, program; the bytes of its track's name and
 *              the name, where the voice before has another track
 *   voice of each note   packed, as many bits as the highest number needs
 *   duration of each note   packed, 5 bits: 20 ms * 2^(code / 3) - 20 ms
 *   bars       their number; of each: zigzag(change of length) * 2 + (new meter), then of a new
 *              meter its beats and the logarithm of its unit */
#ifndef MS_NOTES_FILE_DETAILS_H
#define MS_NOTES_FILE_DETAILS_H
#include "notes/seeds/canon.h"

/* An upper bound of what ms_details_put writes. */
size_t ms_details_bound(const ms_canon *canon, const msim_piece_notes *piece);
/* Returns the number of bytes. */
size_t ms_details_put(const ms_canon *canon, const msim_piece_notes *piece, uint8_t *out);

/* Read the times alone, time [n_notes], and where the voices begin. False: damaged. */
bool ms_details_times(const uint8_t *bytes, size_t n_bytes, size_t n_notes, uint32_t *time,
                      const uint8_t **voices);
/* From where the voices begin: counts [*n_voices], the arena's, has how many of the notes
 * `chosen` [n_chosen] each voice plays. */
int ms_details_count_voices(const uint8_t *voices, const uint8_t *end, size_t n_notes,
                            const uint32_t *chosen, size_t n_chosen, ms_arena *arena,
                            uint32_t **counts, size_t *n_voices, msim_error *err);
/* Read everything, into memory of the arena. */
int ms_details_get(const uint8_t *bytes, size_t n_bytes, const uint8_t *pitches, size_t n_notes,
                   ms_arena *arena, msim_piece_notes *out, msim_error *err);

/* Voices and bars alone, as they stand above. bound: an upper bound of both. put returns where the
 * next byte goes; get_voices moves *p there. Names point into the bytes. */
size_t ms_details_bound_around(const msim_piece_notes *piece);
uint8_t *ms_details_put_voices(const msim_piece_notes *piece, uint8_t *p);
uint8_t *ms_details_put_bars(const msim_piece_notes *piece, uint8_t *p);
int ms_details_get_voices(const uint8_t **p, const uint8_t *end, ms_arena *arena,
                          msim_piece_notes *out, msim_error *err);
int ms_details_get_bars(const uint8_t *p, const uint8_t *end, ms_arena *arena,
                        msim_piece_notes *out, msim_error *err);

#endif
