/* The notes of a MIDI file as the file has them: msim_note_reader of include/midisim.h. The bytes
 * are read by the tokeniser's own reader (smf_read.c), but none of its clean-up follows: note-offs
 * are paired inside a track, and times are those of a player. */
#include "base/mem.h"
#include "base/sized.h"
#include "midi/meter/bars.h"
#include "midi/smf_read.h"
#include <midisim.h>
#include <stdlib.h>
#include <string.h>

enum { DRUM_CHANNEL = 9, CHANNELS = 16, PITCHES = 128, KEEP_BYTES = 8 << 20 };

struct msim_note_reader {
    ms_arena events; /* of one file: events, tempo map */
    ms_arena notes;  /* what the last read gave */
    bool keeps_drums;
    int outcome;
    msim_piece_notes piece; /* of the last read */
    msim_error failed;      /* of the last read; code 0 when it gave notes */
};

/* One note, with the tick at which it is sorted. */
typedef struct {
    uint64_t on, off; /* ticks */
    uint16_t voice;
    uint8_t pitch, velocity;
} raw_note;

typedef struct {
    const uint8_t *file;
    size_t n_bytes;
    const ms_smf *smf;
    ms_time_map map;
    bool keeps_drums;
    raw_note *raw; /* [n_raw] */
    size_t n_raw;
    msim_voice *voices; /* [n_voices] */
    size_t n_voices, n_drums;
    int16_t channel_program[CHANNELS]; /* the first of each channel, in the order of the tracks */
} reading;

int msim_note_reader_open(msim_note_reader **out, msim_error *err) {
    *out = ms_alloc(1, sizeof **out, "note reader", err);
    if (!*out) return -MSIM_E_MEMORY;
    ms_arena_init(&(*out)->events, KEEP_BYTES);
    ms_arena_init(&(*out)->notes, KEEP_BYTES);
    return MSIM_OK;
}

void msim_note_reader_close(msim_note_reader *reader) {
    if (!reader) return;
    ms_arena_free(&reader->events);
    ms_arena_free(&reader->notes);
    ms_free(reader);
}

void msim_note_reader_keep_drums(msim_note_reader *reader, int is_kept) {
    reader->keeps_drums = is_kept != 0;
}

int msim_note_reader_outcome(const msim_note_reader *reader) { return reader->outcome; }

/* ---- Voices ---- */

/* The voice of each channel of the track being read; -1: not seen yet. */
typedef struct {
    int32_t voice[CHANNELS];
    int16_t program[CHANNELS];
    const char *name;
    size_t name_bytes;
} track_state;

static int voice_of(reading *r, track_state *t, size_t track, unsigned channel, msim_error *err) {
    if (t->voice[channel] >= 0) return t->voice[channel];
    if (track > UINT16_MAX || r->n_voices > UINT16_MAX)
        return ms_fail(err, MSIM_E_LIMIT, "MIDI file: expected at most 65536 tracks with notes");
    r->voices[r->n_voices] = (msim_voice){.track = (uint16_t)track,
                                          .channel = (uint8_t)channel,
                                          .program = (uint8_t)(t->program[channel] & 127)};
    if (t->program[channel] < 0)
        r->voices[r->n_voices].program =
            (uint8_t)(r->channel_program[channel] < 0 ? 0 : r->channel_program[channel]);
    return t->voice[channel] = (int32_t)r->n_voices++;
}

/* Voices of a track get its name when the whole track was read, and are put in order of channel;
 * notes from `first` on are renumbered. */
static void finish_track(reading *r, const track_state *t, size_t first_voice, size_t first_note) {
    uint16_t order[CHANNELS], n = 0;
    msim_voice old[CHANNELS];
    memset(order, 0, sizeof order);
    memcpy(old, r->voices + first_voice, (r->n_voices - first_voice) * sizeof *old);
    for (unsigned c = 0; c < CHANNELS; c++) {
        if (t->voice[c] < 0) continue;
        const size_t was = (size_t)t->voice[c] - first_voice;
        r->voices[first_voice + n] = old[was];
        r->voices[first_voice + n].name = t->name;
        r->voices[first_voice + n].name_bytes = t->name_bytes;
        order[was] = n++;
    }
    for (size_t i = first_note; i < r->n_raw; i++)
        r->raw[i].voice = (uint16_t)(first_voice + order[r->raw[i].voice - first_voice]);
}

/* ---- Notes ---- */

/* Notes that wait for their note-off, first in, first out: newest and oldest by channel and pitch,
 * chained by next[note]. */
typedef struct {
    uint32_t oldest[CHANNELS * PITCHES], newest[CHANNELS * PITCHES];
    uint32_t *next; /* [n_raw] */
} held_notes;

static void note_off(reading *r, held_notes *h, unsigned key, uint64_t time) {
    const uint32_t first = h->oldest[key];
    if (first == UINT32_MAX) return;
    r->raw[first].off = time;
    h->oldest[key] = h->next[first];
}

static int note_on(reading *r, held_notes *h, track_state *t, size_t track, const ms_event *e,
                   msim_error *err) {
    if (e->channel == DRUM_CHANNEL && !r->keeps_drums) {
        r->n_drums++;
        return MSIM_OK;
    }
    int voice = voice_of(r, t, track, e->channel, err);
    if (voice < 0) return voice;
    const unsigned key = e->channel * (unsigned)PITCHES + (e->x & 127);
    const uint32_t i = (uint32_t)r->n_raw++;
    r->raw[i] = (raw_note){.on = e->time,
                           .off = UINT64_MAX,
                           .voice = (uint16_t)voice,
                           .pitch = e->x & 127,
                           .velocity = e->y & 127 ? e->y & 127 : 127};
    h->next[i] = UINT32_MAX;
    if (h->oldest[key] == UINT32_MAX)
        h->oldest[key] = i;
    else
        h->next[h->newest[key]] = i;
    h->newest[key] = i;
    return MSIM_OK;
}

static int read_track(reading *r, held_notes *h, size_t track, const ms_event *e,
                      const ms_event *end, msim_error *err) {
    track_state t = {.name = ""};
    const size_t first_voice = r->n_voices, first_note = r->n_raw;
    const uint64_t last = e < end ? end[-1].time : 0;
    for (int c = 0; c < CHANNELS; c++) t.voice[c] = t.program[c] = -1;
    memset(h->oldest, 0xff, sizeof h->oldest);
    for (; e < end; e++) {
        int rc = MSIM_OK;
        if (e->kind == MS_NOTE_ON) rc = note_on(r, h, &t, track, e, err);
        if (e->kind == MS_NOTE_OFF)
            note_off(r, h, e->channel * (unsigned)PITCHES + (e->x & 127), e->time);
        if (e->kind == MS_PATCH) t.program[e->channel] = e->x & 127;
        if (e->kind == MS_OTHER && t.name_bytes == 0)
            ms_bars_track_name(r->file, r->n_bytes, e, &t.name, &t.name_bytes);
        if (rc < 0) return rc;
    }
    for (size_t i = first_note; i < r->n_raw; i++)
        if (r->raw[i].off == UINT64_MAX) r->raw[i].off = last;
    finish_track(r, &t, first_voice, first_note);
    return MSIM_OK;
}

static int read_tracks(reading *r, ms_arena *arena, ms_arena *kept, msim_error *err) {
    const size_t n = r->smf->n_notes;
    size_t most = r->smf->n_tracks * CHANNELS;
    if (most > n + CHANNELS) most = n + CHANNELS;
    held_notes *h = ms_arena_get(arena, 1, sizeof *h, "MIDI notes", err);
    if (h) h->next = ms_arena_get(arena, n + 1, sizeof *h->next, "MIDI notes", err);
    if (h && h->next) r->raw = ms_arena_get(arena, n + 1, sizeof *r->raw, "MIDI notes", err);
    if (r->raw) r->voices = ms_arena_get(kept, most + 1, sizeof *r->voices, "MIDI voices", err);
    if (!r->voices) return -MSIM_E_MEMORY;
    for (int c = 0; c < CHANNELS; c++) r->channel_program[c] = -1;
    for (size_t i = 0; i < r->smf->n_events; i++) {
        const ms_event *e = &r->smf->events[i];
        if (e->kind == MS_PATCH && r->channel_program[e->channel] < 0)
            r->channel_program[e->channel] = e->x & 127;
    }
    size_t begin = 0;
    for (size_t t = 0; t < r->smf->n_tracks; begin = r->smf->track_ends[t++]) {
        int rc = read_track(r, h, t, r->smf->events + begin, r->smf->events + r->smf->track_ends[t],
                            err);
        if (rc < 0) return rc;
    }
    return MSIM_OK;
}

static int by_start(const void *a, const void *b) {
    const msim_note *x = a, *y = b;
    if (x->start_ms != y->start_ms) return x->start_ms < y->start_ms ? -1 : 1;
    if (x->pitch != y->pitch) return x->pitch > y->pitch ? -1 : 1;
    if (x->voice != y->voice) return x->voice < y->voice ? -1 : 1;
    if (x->duration_ms != y->duration_ms) return x->duration_ms > y->duration_ms ? -1 : 1;
    return (x->velocity < y->velocity) - (x->velocity > y->velocity);
}

static int give_notes(reading *r, ms_arena *kept, msim_piece_notes *out, msim_error *err) {
    msim_note *notes = ms_arena_get(kept, r->n_raw, sizeof *notes, "MIDI notes", err);
    if (!notes) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < r->n_raw; i++) {
        const raw_note *n = &r->raw[i];
        const uint32_t on = ms_time_map_ms(&r->map, n->on), off = ms_time_map_ms(&r->map, n->off);
        notes[i] = (msim_note){.start_ms = on,
                               .duration_ms = off > on ? off - on : 0,
                               .voice = n->voice,
                               .pitch = n->pitch,
                               .velocity = n->velocity};
    }
    qsort(notes, r->n_raw, sizeof *notes, by_start);
    out->notes = notes;
    out->n_notes = r->n_raw;
    out->voices = r->voices;
    out->n_voices = r->n_voices;
    return MSIM_OK;
}

/* Names lie in the caller's bytes, which need not stay. */
static int keep_names(reading *r, ms_arena *kept, msim_error *err) {
    for (size_t v = 0; v < r->n_voices; v++) {
        msim_voice *voice = &r->voices[v];
        if (v > 0 && voice->track == voice[-1].track) {
            voice->name = voice[-1].name;
            continue;
        }
        char *name = ms_arena_get(kept, voice->name_bytes + 1, 1, "track name", err);
        if (!name) return -MSIM_E_MEMORY;
        memcpy(name, voice->name, voice->name_bytes);
        name[voice->name_bytes] = 0;
        voice->name = name;
    }
    return MSIM_OK;
}

static uint64_t last_onset(const reading *r) {
    uint64_t last = 0;
    for (size_t i = 0; i < r->n_raw; i++)
        if (r->raw[i].on > last) last = r->raw[i].on;
    return last;
}

static int read_notes(msim_note_reader *reader, reading *r, msim_piece_notes *out,
                      msim_error *err) {
    r->keeps_drums = reader->keeps_drums;
    int rc = ms_time_map_make(r->smf, &reader->events, &r->map, err);
    if (rc >= 0) rc = read_tracks(r, &reader->events, &reader->notes, err);
    if (rc < 0) return rc;
    if (r->n_raw == 0) {
        reader->outcome = r->n_drums ? MSIM_OUTCOME_DRUMS_ONLY : MSIM_OUTCOME_NO_NOTES;
        if (r->n_drums)
            return ms_fail(err, MSIM_E_EMPTY, "drums only: all %zu notes are on channel 10",
                           r->n_drums);
        return ms_fail(err, MSIM_E_EMPTY, "no notes in the file");
    }
    rc = give_notes(r, &reader->notes, out, err);
    if (rc >= 0) rc = keep_names(r, &reader->notes, err);
    if (rc >= 0)
        rc = ms_bars_make(r->file, r->n_bytes, r->smf, &r->map, last_onset(r), r->n_raw,
                          &reader->notes, out, err);
    if (rc >= 0) reader->outcome = MSIM_OUTCOME_TOKENS;
    return rc;
}

static void forget(msim_note_reader *reader) {
    ms_arena_reset(&reader->events);
    ms_arena_reset(&reader->notes);
    reader->outcome = MSIM_OUTCOME_NOT_MIDI;
    reader->piece = (msim_piece_notes){.size = sizeof reader->piece};
    reader->failed = (msim_error){0};
}

/* What went wrong is said again by msim_note_reader_get. */
static int keep_failure(msim_note_reader *reader, int rc, msim_error *err) {
    if (rc < 0) reader->failed = *err;
    return rc;
}

int msim_note_reader_get(const msim_note_reader *reader, msim_piece_notes *out, msim_error *err) {
    if (reader->failed.code) return ms_fail(err, reader->failed.code, "%s", reader->failed.text);
    int rc = ms_sized_out(out, &reader->piece, sizeof reader->piece);
    return rc < 0 ? ms_fail(err, -rc, "msim_piece_notes: expected its size in the field size")
                  : MSIM_OK;
}

int msim_note_reader_read(msim_note_reader *reader, const void *midi, size_t n_bytes,
                          msim_piece_notes *out, msim_error *err) {
    size_t at = 0;
    ms_smf smf;
    msim_error own;
    if (!err) err = &own;
    if (n_bytes > 0 && n_bytes <= MS_SMF_MAX_BYTES) at = msim_midi_find(midi, n_bytes, &n_bytes);
    reading r = {.file = (const uint8_t *)midi + at, .n_bytes = n_bytes, .smf = &smf};
    forget(reader);
    int rc = ms_smf_read(r.file, n_bytes, &reader->events, &smf, &reader->outcome, err);
    if (rc >= 0) rc = read_notes(reader, &r, &reader->piece, err);
    rc = keep_failure(reader, rc, err);
    return rc < 0 ? rc : msim_note_reader_get(reader, out, err);
}

int ms_note_reader_take(msim_note_reader *reader, const uint8_t *file, size_t n_bytes,
                        const ms_smf *smf, int outcome, const msim_error *failed, msim_error *err) {
    reading r = {.file = file, .n_bytes = n_bytes, .smf = smf};
    msim_error why = {0};
    forget(reader);
    int rc = smf ? read_notes(reader, &r, &reader->piece, &why)
                 : ms_fail(&why, failed->code, "%s", failed->text);
    if (!smf) reader->outcome = outcome;
    rc = keep_failure(reader, rc, &why);
    ms_arena_reset(&reader->events); /* others need the memory now */
    return smf && rc == -MSIM_E_MEMORY ? ms_fail(err, MSIM_E_MEMORY, "%s", why.text) : MSIM_OK;
}
