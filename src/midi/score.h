/* Events to notes: stages 3 to 15 of docs/TOKENS.md, one function each, in that order (score.c,
 * tempo.c, clean.c). Everything lies in one arena and is changed in place. Apart from the sorts,
 * each stage runs in linear time. */
#ifndef MS_MIDI_SCORE_H
#define MS_MIDI_SCORE_H
#include "midi/smf_read.h"
#include "midi/wide.h"

/* Keys of the note queues: 128 x channel + pitch byte. parity: a pitch byte above 127 shares a key
 * with the next channel (test/unit/midi/test_stages.c, stage_3_pairs_inside_a_track). */
#define MS_QUEUE_KEYS (15 * 128 + 255 + 1)
#define MS_NONE UINT32_MAX

/* Note-ons that wait for their note-offs, by key. */
typedef struct {
    uint32_t held[MS_QUEUE_KEYS]; /* stage 3: how many wait; 0 between tracks */
    uint32_t newest[MS_QUEUE_KEYS], oldest[MS_QUEUE_KEYS]; /* stage 6: ends of first-in first-out
                                                            * queues */
} ms_queues;

void ms_queues_init(ms_queues *queues);

/* A note up to stage 12. Everything but its times is packed into one number, highest bits first, in
 * the order in which the stages sort: 255 - pitch [8 bits], patch [8], place among the notes by end
 * [31], channel [4]. No two notes have one place, so a chord is sorted by moving keys alone. */
typedef struct {
    uint64_t start; /* ms (ranks of ms in a wide file) */
    uint64_t key;
} ms_note;

#define MS_NOTE_PITCH_SHIFT 43
#define MS_NOTE_PATCH_SHIFT 35
#define MS_NOTE_PLACE_SHIFT 4
static inline unsigned ms_note_pitch(const ms_note *n) {
    return 255 - (unsigned)(n->key >> MS_NOTE_PITCH_SHIFT);
}
static inline size_t ms_note_place(const ms_note *n) {
    return n->key >> MS_NOTE_PLACE_SHIFT & INT32_MAX;
}
static inline unsigned ms_note_channel(const ms_note *n) { return n->key & 15; }

/* A note from stage 13 on. Times in units of 32 ms. */
typedef struct {
    uint64_t start;
    uint32_t duration; /* 1..MS_FAR_UNITS */
    uint8_t pitch;     /* 1..127 */
} ms_unit_note;

/* The longest duration, and in a wide file the longest step between starts. A token tells at most
 * 127 units, and a duration of this length still reaches every start that is as far away. */
#define MS_FAR_UNITS (1u << 20)

/* The piece from stage 3 on. All arrays are the arena's. */
typedef struct {
    ms_event *events; /* stages 3-5: [n_events] the stream; from stage 6 on: what is not a note, by
                       * time */
    size_t n_events;
    ms_note *notes;      /* stages 6-12: [n_notes] by start */
    uint64_t *spare;     /* stages 6-12: [2 x n_notes at stage 6] for sorting */
    uint64_t *ends;      /* stages 6-13: [n_notes at stage 6] ms at which notes end, by place */
    uint8_t *channels;   /* stages 6-8: [n_notes] channels, by place */
    ms_unit_note *units; /* stages 13-16: [n_notes] by start */
    size_t n_notes;
    bool is_ordered;   /* stage 9: what stage 10 does is done */
    const ms_wide *ms; /* NULL, or the values that times stand for */
} ms_score;

/* Stage 3: pair note-ons and note-offs inside each track. score->events gets what has a partner or
 * is not a note, by time in each track. */
int ms_score_pair_tracks(const ms_smf *smf, ms_queues *queues, ms_arena *arena, ms_score *score,
                         msim_error *err);
/* Stage 4: merge all tracks into one stream by tick. No tick is larger than last_tick. */
int ms_score_merge(ms_score *score, uint64_t last_tick, ms_arena *arena, msim_error *err);
/* Stage 5: ticks to milliseconds; tempo events leave. `ticks` is NULL, or what the ticks stand for,
 * and then `ms` is filled and score->ms set to it. */
int ms_tempo_convert(ms_score *score, uint32_t division, const ms_wide *ticks, ms_wide *ms,
                     ms_arena *arena, msim_error *err);
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
/* Stage 12: the time that becomes 0. There is at least one note. */
uint64_t ms_clean_origin(const ms_score *score);
/* Stage 13: to units of 32 ms from the origin: score->units. */
int ms_clean_quantise(ms_score *score, uint64_t origin, ms_arena *arena, msim_error *err);
/* Stage 14: one note for each pitch of a unit. */
void ms_clean_doubles(ms_score *score);
/* Stage 15: trimmed ends, and the order inside chords by the first appearance of each pitch. */
void ms_clean_trim(ms_score *score);

#endif
