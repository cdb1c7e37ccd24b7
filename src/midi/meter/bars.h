/* A file as a player has it: ticks to milliseconds, bars, names of tracks, notes. Unlike tempo.c,
 * which imitates the original's roundings, this follows the standard. */
#ifndef MS_MIDI_METER_BARS_H
#define MS_MIDI_METER_BARS_H
#include "midi/smf_read.h"

/* A stretch of one tempo. */
typedef struct {
    uint64_t tick; /* where it begins */
    double ms;     /* the same in ms */
    double rate;   /* ms per tick */
} ms_tempo_span;

typedef struct {
    ms_tempo_span *spans; /* arena: [n], ascending by tick; the first begins at 0 */
    size_t n;
} ms_time_map;

/* The tempo events of all tracks, in the order of their ticks; of one tick the last one holds. With
 * a division in SMPTE frames, tempo events mean nothing. */
int ms_time_map_make(const ms_smf *smf, ms_arena *arena, ms_time_map *out, msim_error *err);
/* A tick in ms, rounded, at most MSIM_NOTE_MAX_MS. */
uint32_t ms_time_map_ms(const ms_time_map *map, uint64_t tick);

/* The bars up to the one that holds `last_tick`: out->bars, from the arena. None when there are
 * more than 16 for each of n_notes notes. */
int ms_bars_make(const uint8_t *file, size_t n_bytes, const ms_smf *smf, const ms_time_map *map,
                 uint64_t last_tick, size_t n_notes, ms_arena *arena, msim_piece_notes *out,
                 msim_error *err);

/* When the event is the name of a track, *name [*name_bytes] is set to its bytes in the file. */
void ms_bars_track_name(const uint8_t *file, size_t n_bytes, const ms_event *e, const char **name,
                        size_t *name_bytes);

/* msim_note_reader_read for a file that ms_smf_read has read already. smf NULL: it could not, for
 * that outcome and error. `file` is the MIDI file itself, without what RMID puts around it. The
 * events are not changed, and are not needed afterwards. Returns < 0 when memory runs out; anything
 * else that is wrong is kept for msim_note_reader_get. */
int ms_note_reader_take(msim_note_reader *reader, const uint8_t *file, size_t n_bytes,
                        const ms_smf *smf, int outcome, const msim_error *failed, msim_error *err);

#endif
