/* MIDI file bytes to events: stages 1 and 2 of docs/TOKENS.md. The file is read as the Python
 * original reads it. */
#ifndef MS_MIDI_SMF_READ_H
#define MS_MIDI_SMF_READ_H
#include "base/mem.h"

enum ms_event_kind {
    MS_NOTE_OFF = 0, /* channel, x = pitch byte */
    MS_NOTE_ON = 1,  /* channel, x = pitch byte */
    MS_CONTROL,      /* channel, x = number, y = value */
    MS_PATCH,        /* channel, x = value */
    MS_PAIR,         /* x, y: two numbers that stage 9 may take for a channel and a pitch */
    MS_TEMPO,        /* channel, x, y: the three bytes of microseconds per quarter */
    MS_OTHER         /* only its time counts */
};

typedef struct {
    uint64_t time; /* ticks since the track began (ranks of ticks in a wide file, see wide.h); from
                    * stage 5 on ms */
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
    ms_event *events; /* arena: [n_events], all tracks end to end */
    size_t n_events;
    size_t n_notes;       /* note-ons among them */
    uint32_t *track_ends; /* arena: [n_tracks], where each track's events end */
    size_t n_tracks;
    uint64_t last_tick; /* the end of the longest track; not exact from MS_SMF_NARROW_TICKS on */
    uint32_t division;  /* ticks per quarter, 1..65535 */
} ms_smf;

/* Read a whole file. Memory comes from the arena, in proportion to n_bytes. *outcome is set to the
 * msim_outcome of a failure. */
int ms_smf_read(const uint8_t *file, size_t n_bytes, ms_arena *arena, ms_smf *out, int *outcome,
                msim_error *err);

/* ---- Pieces of the file's grammar, for every reader of it ---- */

enum { MS_SMF_HEADER_BYTES = 14, MS_SMF_CHUNK_HEADER_BYTES = 8 };

static inline uint32_t ms_smf_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A number of any length at *p, which moves behind it, saturating far above all that is compared
 * with it. parity: a number that the chunk cuts off counts as 0, and there is no limit on its
 * bytes (test/unit/midi/test_tokenizer.c, as_the_original). */
static inline uint64_t ms_smf_number(const uint8_t **p, const uint8_t *end) {
    const uint64_t most = (uint64_t)1 << 56;
    uint64_t value = 0;
    while (*p < end) {
        unsigned byte = *(*p)++;
        value = value << 7 | (byte & 0x7f);
        if (value > most) value = most;
        if (byte < 0x80) return value;
    }
    return 0;
}

/* Bytes that a meta event has by the standard, for the types that are read at this length whatever
 * length they declare; else 0. */
static inline unsigned ms_smf_meta_bytes(unsigned type) {
    switch (type) {
    case 0x00: return 2; /* sequence number */
    case 0x51: return 3; /* tempo */
    case 0x54: return 5; /* SMPTE offset */
    case 0x58: return 4; /* time signature */
    case 0x59: return 2; /* key signature */
    default: return 0;
    }
}

#endif
