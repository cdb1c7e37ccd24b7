/* Events to notes: stages 3 to 15 of docs/TOKENS.md, one function each, in that order (score.c, tempo.c, clean.c).
 * Everything lives in one arena and is worked on in place; each stage runs in linear time but for the sorts. */
#ifndef MS_SCORE_H
#define MS_SCORE_H
#include "midi/smf_read.h"
#include "midi/wide.h"

/* Keys of the note queues: 128 x channel + pitch byte. parity: a pitch byte above 127 shares a key with the next
 * channel. */
#define MS_QUEUE_KEYS (15 * 128 + 255 + 1)
#define MS_NONE UINT32_MAX

/* First-in first-out queues of note-ons, linked through an array of the caller's. Empty between stages, so that only
 * the keys that were used are ever cleared. */
typedef struct {
    uint32_t head[MS_QUEUE_KEYS]; /* the oldest entry, MS_NONE when the queue is empty */
    uint32_t tail[MS_QUEUE_KEYS]; /* the newest entry; MS_NONE when the key was not used yet */
    uint16_t used[MS_QUEUE_KEYS]; /* the keys in order of first use */
    size_t n_used;
} ms_queues;

void ms_queues_init(ms_queues *queues);

/* A note up to stage 12. Everything but its times is packed into one number, highest bits first, in the order in which
 * the stages sort: 255 - pitch [8 bits], patch [8], place among the notes by end [31], channel [4]. */
typedef struct {
    uint64_t start, end; /* ms (ranks of ms in a wide file) */
    uint64_t key;
} ms_note;

#define MS_NOTE_PITCH_SHIFT 43
#define MS_NOTE_PATCH_SHIFT 35
#define MS_NOTE_PLACE_SHIFT 4
static inline unsigned ms_note_pitch(const ms_note *n) { return 255 - (unsigned)(n->key >> MS_NOTE_PITCH_SHIFT); }
static inline unsigned ms_note_channel(const ms_note *n) { return n->key & 15; }

/* A note from stage 13 on. Times in units of 32 ms. */
typedef struct {
    uint64_t start;
    uint32_t duration; /* 1..MS_FAR_UNITS */
    uint8_t pitch;     /* 1..127 */
    uint8_t key;       /* of the sort inside a chord, lowest first */
} ms_unit_note;

/* Durations are cut here, and in a wide file steps between starts too: 127 units are the most that a token tells, and
 * a duration cut here still reaches every start as far away. */
#define MS_FAR_UNITS (1u << 20)

/* The piece from stage 3 on. All arrays are the arena's. */
typedef struct {
    ms_event *events; /* stages 3-5: [n_events] the stream; from stage 6 on: what is not a note, by time */
    size_t n_events;
    ms_note *notes; /* stages 6-12: [n_notes] by start */
    ms_note *spare; /* stages 6-12: [n_notes at stage 6] for sorting */
    uint32_t *by_end; /* stages 6-8: [n_notes] indices of notes by end */
    ms_unit_note *units; /* stages 13-16: [n_notes] by start */
    ms_unit_note *spare_units; /* stages 13-15: for sorting */
    size_t n_notes;
    const ms_wide *ms; /* NULL, or the values that times stand for */
} ms_score;

/* Stage 3: pair note-ons and note-offs inside each track. score->events gets every item in the order of the original's
 * list: a note as its note-on and note-off side by side. */
int ms_score_pair_tracks(const ms_smf *smf, ms_queues *queues, ms_arena *arena, ms_score *score, msim_error *err);
/* Stage 4: all tracks as one stream by tick. last_tick is the largest there may be. */
int ms_score_merge(ms_score *score, uint64_t last_tick, ms_arena *arena, msim_error *err);
/* Stage 5: ticks to milliseconds; tempo events leave. `ticks` is NULL, or what the ticks stand for, and then `ms` is
 * filled and score->ms set to it. */
int ms_tempo_convert(ms_score *score, uint32_t division, const ms_wide *ticks, ms_wide *ms, ms_arena *arena,
                     msim_error *err);
/* Stage 6: pair again, over all tracks: events become notes and the rest. */
int ms_score_pair_stream(ms_score *score, ms_queues *queues, ms_arena *arena, msim_error *err);
/* Stage 7: pitches and patches to 0..127. */
void ms_score_mask(ms_score *score);
/* Stage 8: the sustain pedal. */
int ms_score_sustain(ms_score *score, ms_arena *arena, msim_error *err);

/* Stage 9: order, instruments, dropped notes. */
void ms_clean_drop(ms_score *score);
/* Stage 10: by start, pitch downwards, patch. */
void ms_clean_order(ms_score *score);
/* Stage 11: without drums, one note for each pitch of a chord. */
void ms_clean_piano(ms_score *score);
/* Stage 12: the time that becomes 0; there is a note. */
uint64_t ms_clean_origin(const ms_score *score);
/* Stage 13: to units of 32 ms from the origin: score->units. */
int ms_clean_quantise(ms_score *score, uint64_t origin, ms_arena *arena, msim_error *err);
/* Stage 14: one note for each pitch of a unit. */
void ms_clean_doubles(ms_score *score);
/* Stage 15: trimmed ends, and the order inside chords by the first appearance of each pitch. */
void ms_clean_trim(ms_score *score);

#endif
