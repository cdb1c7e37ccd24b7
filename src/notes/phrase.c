/* A phrase that someone typed: msim_notes_parse of include/midisim.h. docs/NOTES.md has the
 * grammar. */
#include "base/status.h"
#include "base/text/number.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BEAT_MS = 500, MIDDLE_C = 60, MAX_BEATS = 1000 };

typedef struct {
    const char *text, *at;
    double now, beats; /* in beats; beats: of a note that says none */
    int last_pitch;
    msim_note *out;
    size_t cap;
    int64_t n;
} phrase;

static int bad(const phrase *p, const char *expected, msim_error *err) {
    return ms_fail(err, MSIM_E_ARG, "phrase: character %td: expected %s, got '%.12s'",
                   p->at - p->text + 1, expected, *p->at ? p->at : "the end");
}

static bool is_gap(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ','; }

/* Sharps and flats behind a letter. */
static int read_accidentals(phrase *p) {
    int sum = 0;
    for (;; p->at++) {
        if (*p->at == '#')
            sum++;
        else if (*p->at == 'b')
            sum--;
        else
            return sum;
    }
}

/* The octave that is written, else the one that brings the note nearest to the one before. */
static int read_octave(phrase *p, int step) {
    if ((*p->at >= '0' && *p->at <= '9') || (*p->at == '-' && p->at[1] == '1')) {
        char *end;
        const long octave = strtol(p->at, &end, 10);
        p->at = end;
        return octave > 10 ? -1 : (int)(octave + 1) * 12 + step;
    }
    int pitch = step + (p->last_pitch / 12) * 12;
    while (pitch - p->last_pitch > 6) pitch -= 12;
    while (p->last_pitch - pitch > 6) pitch += 12;
    return pitch;
}

/* A letter with accidentals and octave, or a MIDI number. Returns 0..127, or < 0. */
static int read_pitch(phrase *p, msim_error *err) {
    static const int steps[7] = {9, 11, 0, 2, 4, 5, 7}; /* A..G */
    const char *const begin = p->at;
    int pitch;
    if (*p->at >= '0' && *p->at <= '9') {
        char *end;
        const long number = strtol(p->at, &end, 10);
        p->at = end;
        pitch = number > 127 ? 128 : (int)number;
    } else {
        const char letter = (char)(*p->at & ~0x20);
        if (letter < 'A' || letter > 'G')
            return bad(p, "a note such as C4, F#3 or 60, or a rest R", err);
        p->at++;
        const int step = steps[letter - 'A'] + read_accidentals(p);
        pitch = read_octave(p, step);
    }
    if (pitch < 0 || pitch > 127) {
        p->at = begin;
        return bad(p, "a pitch from C-1 (0) to G9 (127)", err);
    }
    p->last_pitch = pitch;
    return pitch;
}

/* ":2", ":0.5", ":1/3": how many beats. */
static int read_beats(phrase *p, msim_error *err) {
    char *end;
    if (*p->at != ':') return MSIM_OK;
    p->at++;
    if (*p->at < '0' || *p->at > '9') return bad(p, "a number of beats", err);
    double beats = ms_number_read(p->at, &end);
    if (*end == '/' && end[1] >= '1' && end[1] <= '9') beats /= ms_number_read(end + 1, &end);
    if (!(beats > 0) || beats > MAX_BEATS) return bad(p, "more than 0 and at most 1000 beats", err);
    p->at = end;
    p->beats = beats;
    return MSIM_OK;
}

/* One note, or a chord: notes joined by '+'. */
static int read_chord(phrase *p, msim_error *err) {
    const int64_t first = p->n;
    for (;;) {
        const int pitch = read_pitch(p, err);
        if (pitch < 0) return pitch;
        if ((size_t)p->n < p->cap)
            p->out[p->n] = (msim_note){.start_ms = (uint32_t)lround(p->now * BEAT_MS),
                                       .pitch = (uint8_t)pitch};
        p->n++;
        if (*p->at != '+') break;
        p->at++;
    }
    int rc = read_beats(p, err);
    for (int64_t i = first; i < p->n && (size_t)i < p->cap; i++)
        p->out[i].duration_ms = (uint32_t)lround(p->beats * BEAT_MS);
    return rc;
}

int64_t msim_notes_parse(const char *text, msim_note *out, size_t cap, msim_error *err) {
    phrase p = {
        .text = text, .at = text, .beats = 1, .last_pitch = MIDDLE_C, .out = out, .cap = cap};
    for (;;) {
        while (is_gap(*p.at) || *p.at == '|') p.at++;
        if (!*p.at) break;
        const bool is_rest = *p.at == 'R' || *p.at == 'r';
        if (is_rest) p.at++;
        int rc = is_rest ? read_beats(&p, err) : read_chord(&p, err);
        if (rc < 0) return rc;
        if (*p.at && !is_gap(*p.at) && *p.at != '|') return bad(&p, "a blank between notes", err);
        p.now += p.beats;
        if (p.now > 1e6) return bad(&p, "a phrase of at most a million beats", err);
    }
    return p.n ? p.n : ms_fail(err, MSIM_E_EMPTY, "phrase: no notes in it");
}
