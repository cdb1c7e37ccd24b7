/* Canonical order of a piece's notes: by time, chords closed, falling pitch inside a chord. */
#ifndef MS_NOTES_SEEDS_CANON_H
#define MS_NOTES_SEEDS_CANON_H
#include "base/mem.h"
#include "base/stop/stop.h"
#include <midisim.h>

/* All arrays are the arena's. A group is a chord: the notes within MS_CHORD_MS of its first one.
 * Its time is the time of that one. Of notes of one pitch in a group, one is kept. */
typedef struct {
    size_t n;
    uint32_t *time;  /* [n] of the note's group, ms */
    uint32_t *onset; /* [n] its own, ms */
    uint32_t *end;   /* [n] ms, the latest of the notes that became this one */
    uint32_t *group; /* [n] */
    uint8_t *pitch;  /* [n] */
    uint16_t *voice; /* [n] the first of the voices that play it */
    size_t n_groups;
    /* Each note of each voice, in canonical order: note_of[part] plays in voice_of[part]. */
    size_t n_parts;
    uint32_t *part_note;
    uint16_t *part_voice;
    size_t n_voices; /* 1 + the highest voice */
} ms_canon;

/* Notes in any order. `n` below 2^31. stop may be NULL. */
int ms_canon_make(const msim_note *notes, size_t n, const ms_stop *stop, ms_arena *arena,
                  ms_canon *out, msim_error *err);

#endif
