/* Where in bars a stretch of a tokenised piece lies. Tokens have times in milliseconds, in steps of
 * 32 ms from the first note. Bars are counted in ticks. So the ticks of the notes are kept beside
 * their milliseconds, and a note is found again by its step: its place is that of its tick, exact
 * whatever the tempo is. */
#ifndef MS_MIDI_METER_PLACES_H
#define MS_MIDI_METER_PLACES_H
#include "midi/meter/meter.h"
#include "midi/score.h"

typedef struct {
    uint64_t tick;
    uint64_t ms; /* from the beginning of the file, as tempo.c counts them */
} ms_place;

typedef struct {
    ms_place *list; /* arena: [n], ascending; no tick twice */
    size_t n;
} ms_place_list;

typedef struct {
    ms_meters meters;
    ms_place_list of[2]; /* where notes end (MS_NOTE_OFF) and begin (MS_NOTE_ON), without drums */
} ms_places;

/* Note the ticks of a stream (stage 4). */
int ms_places_note(const ms_score *score, ms_arena *arena, ms_places *places, msim_error *err);
/* Take the milliseconds of the same stream (stage 5). */
void ms_places_time(const ms_score *score, ms_places *places);
/* The bars of a stretch of time; all zero without bars. */
msim_bar_span ms_places_find(const ms_places *places, uint64_t from_ms, uint64_t to_ms);

#endif
