/* Notes as a small MIDI file: msim_midi_write_notes of include/midisim.h. */
#include "base/mem.h"
#include "base/sized.h"
#include <stdlib.h>
#include <string.h>

enum { TICKS_PER_QUARTER = 500, DRUMS = 9 }; /* at 120 beats a minute a tick is a millisecond */

typedef struct {
    unsigned char *out;
    size_t cap, n; /* bytes that fit, bytes in all */
} bytes_out;

static void put(bytes_out *o, unsigned byte) {
    if (o->n < o->cap) o->out[o->n] = (unsigned char)byte;
    o->n++;
}

static void put_be(bytes_out *o, uint32_t value, int n) {
    while (n-- > 0) put(o, value >> (8 * n) & 255);
}

static void put_number(bytes_out *o, uint32_t value) {
    for (int shift = 28; shift > 0; shift -= 7)
        if (value >> shift) put(o, 128 | (value >> shift & 127));
    put(o, value & 127);
}

static void put_text(bytes_out *o, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) put(o, (unsigned char)text[i]);
}

typedef struct {
    uint32_t time;
    uint16_t voice;
    uint8_t is_on, pitch, velocity;
} note_event;

/* By voice, then time, note-offs first. */
static int by_place(const void *a, const void *b) {
    const note_event *x = a, *y = b;
    if (x->voice != y->voice) return x->voice < y->voice ? -1 : 1;
    if (x->time != y->time) return x->time < y->time ? -1 : 1;
    if (x->is_on != y->is_on) return x->is_on < y->is_on ? -1 : 1;
    return (x->pitch > y->pitch) - (x->pitch < y->pitch);
}

static note_event *make_events(const msim_piece_notes *p, uint32_t first, msim_error *err) {
    note_event *events = ms_alloc(2 * p->n_notes, sizeof *events, "notes", err);
    for (size_t i = 0; events && i < p->n_notes; i++) {
        const msim_note *n = &p->notes[i];
        const uint32_t length = n->duration_ms ? n->duration_ms : 1;
        const uint32_t on = n->start_ms - first;
        events[2 * i] = (note_event){.time = on,
                                     .voice = n->voice,
                                     .is_on = 1,
                                     .pitch = n->pitch & 127,
                                     .velocity = n->velocity ? n->velocity & 127 : 80};
        events[2 * i + 1] = events[2 * i];
        events[2 * i + 1].time = length < MSIM_NOTE_MAX_MS - on ? on + length : MSIM_NOTE_MAX_MS;
        events[2 * i + 1].is_on = 0;
    }
    if (events) qsort(events, 2 * p->n_notes, sizeof *events, by_place);
    return events;
}

static void put_track(bytes_out *o, const msim_voice *voice, const note_event *e, size_t n) {
    const unsigned channel = voice->channel == DRUMS ? 0 : voice->channel & 15;
    put_text(o, "MTrk", 4);
    const size_t length_at = o->n;
    put_be(o, 0, 4);
    if (voice->name_bytes) {
        put_be(o, 0x00ff03, 3);
        put_number(o, (uint32_t)voice->name_bytes);
        put_text(o, voice->name, voice->name_bytes);
    }
    put_be(o, 0x00c0 | channel, 2);
    put(o, voice->program & 127);
    uint32_t now = 0;
    for (size_t i = 0; i < n; now = e[i++].time) {
        put_number(o, e[i].time - now);
        put(o, (e[i].is_on ? 0x90 : 0x80) | channel);
        put(o, e[i].pitch);
        put(o, e[i].is_on ? e[i].velocity : 64);
    }
    put_be(o, 0x00ff2f00, 4);
    bytes_out length = {.out = o->out, .cap = o->cap, .n = length_at};
    put_be(&length, (uint32_t)(o->n - length_at - 4), 4);
}

static void put_head(bytes_out *o, unsigned n_tracks) {
    put_text(o, "MThd", 4);
    put_be(o, 6, 4);
    put_be(o, 1, 2);
    put_be(o, n_tracks + 1, 2);
    put_be(o, TICKS_PER_QUARTER, 2);
    put_text(o, "MTrk", 4);
    put_be(o, 11, 4);
    put_be(o, 0x00ff5103, 4); /* 500,000 us a quarter */
    put_be(o, 500000, 3);
    put_be(o, 0x00ff2f00, 4);
}

int64_t msim_midi_write_notes(const msim_piece_notes *piece, int keeps_start, unsigned char *out,
                              size_t cap, msim_error *err) {
    static const msim_voice plain = {.name = ""};
    msim_piece_notes p = {.size = sizeof p};
    bytes_out o = {.out = out, .cap = cap};
    int rc = ms_sized_in(&p, sizeof p, piece, "msim_piece_notes", err);
    if (rc < 0) return rc;
    uint32_t first = keeps_start ? 0 : MSIM_NOTE_MAX_MS;
    for (size_t i = 0; i < p.n_notes; i++) {
        if (p.notes[i].start_ms > MSIM_NOTE_MAX_MS)
            return ms_fail(err, MSIM_E_ARG, "start of a note: expected at most %d ms, got %u",
                           MSIM_NOTE_MAX_MS, p.notes[i].start_ms);
        if (p.notes[i].start_ms < first) first = p.notes[i].start_ms;
    }
    note_event *events = make_events(&p, first, err);
    if (!events) return -MSIM_E_MEMORY;
    unsigned n_tracks = 0;
    for (size_t i = 0; i < 2 * p.n_notes; i++)
        n_tracks += i == 0 || events[i].voice != events[i - 1].voice;
    if (n_tracks < UINT16_MAX) put_head(&o, n_tracks);
    for (size_t i = 0, next; i < 2 * p.n_notes && n_tracks < UINT16_MAX; i = next) {
        for (next = i + 1; next < 2 * p.n_notes && events[next].voice == events[i].voice; next++) {
        }
        put_track(&o, events[i].voice < p.n_voices ? &p.voices[events[i].voice] : &plain,
                  events + i, next - i);
    }
    ms_free(events);
    return n_tracks < UINT16_MAX
               ? (int64_t)o.n
               : ms_fail(err, MSIM_E_LIMIT, "MIDI file: expected at most 65533 voices");
}
