/* MIDI file bytes to events: stages 1 and 2 of docs/TOKENS.md, reading as the Python original reads. */
#ifndef MS_SMF_READ_H
#define MS_SMF_READ_H
#include "core/mem.h"

enum ms_event_kind {
    MS_NOTE_OFF = 0, /* channel, x = pitch byte */
    MS_NOTE_ON = 1,  /* channel, x = pitch byte */
    MS_CONTROL,  /* channel, x = number, y = value */
    MS_PATCH,    /* channel, x = value */
    MS_PAIR,     /* x, y: two numbers that stage 9 may take for a channel and a pitch */
    MS_TEMPO,    /* channel, x, y: the three bytes of microseconds per quarter */
    MS_OTHER     /* only its time counts */
};

typedef struct {
    uint64_t time; /* ticks since the track began (ranks of ticks in a wide file, see wide.h); from stage 5 on ms */
    uint32_t at;   /* where in the file its delta time stands, in bytes */
    uint8_t kind, channel, x, y;
} ms_event;

static inline uint32_t ms_event_tempo(const ms_event *e) {
    return (uint32_t)e->channel << 16 | (uint32_t)e->x << 8 | e->y;
}

/* Larger files are refused, so that counts of events and offsets fit 32 bits. */
#define MS_SMF_MAX_BYTES ((size_t)INT32_MAX)
/* Up to here 64 bits hold every time of a file: the fastest tempo has under 2^14.1 ms to a tick. */
#define MS_SMF_NARROW_TICKS ((uint64_t)1 << 48)

typedef struct {
    ms_event *events;     /* arena: [n_events], all tracks end to end */
    size_t n_events;
    size_t n_notes;       /* note-ons among them */
    uint32_t *track_ends; /* arena: [n_tracks], where each track's events end */
    size_t n_tracks;
    uint64_t last_tick;   /* the end of the longest track; not exact from MS_SMF_NARROW_TICKS on */
    uint32_t division;    /* ticks per quarter, 1..65535 */
} ms_smf;

/* Read a whole file. Memory comes from the arena, in proportion to n_bytes. *outcome is set to the msim_outcome of a
 * failure. */
int ms_smf_read(const uint8_t *file, size_t n_bytes, ms_arena *arena, ms_smf *out, int *outcome, msim_error *err);

#endif
