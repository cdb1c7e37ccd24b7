/* Notes to chords: see chords.h. Every pass is linear, and a chord's notes are kept apart by pitch,
 * so nothing is sorted. docs/TOKENS.md, stages 11 to 16 of midisimx. */
#include "midi/chords/chords.h"
#include <math.h>
#include <string.h>

enum { DRUMS = 9, MOST_UNITS = 4000 }; /* a channel, counting from 0; the longest note */

/* ---- Stages 11 and 12: units, and which notes are wanted ---- */

/* The patches of `clean_midi`: 0-43, 46, 52-54, 56-81, 87, 105 and 110. Drums are patch 128. */
static bool is_clean(unsigned patch) {
    static const uint64_t clean[2] = {(((uint64_t)1 << 44) - 1) | (uint64_t)1 << 46 |
                                          (uint64_t)7 << 52 | (uint64_t)255 << 56,
                                      (((uint64_t)1 << 18) - 1) | (uint64_t)1 << (87 - 64) |
                                          (uint64_t)1 << (105 - 64) | (uint64_t)1 << (110 - 64)};
    return patch < 128 && (clean[patch / 64] >> patch % 64 & 1);
}

static unsigned patch_of(const ms_note *note) { return note->key >> MS_NOTE_PATCH_SHIFT & 255; }

/* Keep the notes that are wanted. Returns how many of all are no drums. */
static size_t keep_wanted(ms_score *s, bool is_unclean) {
    size_t kept = 0, n_pitched = 0;
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_note note = s->notes[i];
        const bool is_pitched = ms_note_channel(&note) != DRUMS;
        n_pitched += is_pitched;
        s->notes[kept] = note;
        kept += is_unclean ? is_pitched : is_clean(patch_of(&note));
    }
    s->n_notes = kept;
    return n_pitched;
}

static uint32_t cut_units(double units) {
    return units < MS_FAR_UNITS ? (uint32_t)units : MS_FAR_UNITS;
}

/* Starts in units of 32 ms from the beginning of the file, and the notes' own durations. parity:
 * the original divides as doubles and drops the fraction, and starts are not counted from the first
 * note (test/unit/midi/test_chords.c, as_the_package). In a wide file a step of more than
 * MS_FAR_UNITS is cut to that: no token tells it apart. */
static void quantise(const ms_score *s, ms_unit_note *units) {
    double last = 0;
    uint64_t now = 0;
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_note *note = &s->notes[i];
        const uint64_t end = s->ends[ms_note_place(note)];
        const double start_ms = s->ms ? ms_wide_gap(s->ms, 0, note->start) : (double)note->start,
                     length_ms = s->ms ? ms_wide_gap(s->ms, note->start, end)
                                       : (double)(end - note->start),
                     start = trunc(start_ms / 32.0);
        const unsigned pitch = ms_note_pitch(note);
        const uint32_t length = cut_units(length_ms / 32.0);
        if (!s->ms || i == 0)
            now = start < 0x1p62 ? (uint64_t)start : (uint64_t)1 << 62;
        else
            now += cut_units(start - last);
        last = start;
        units[i] = (ms_unit_note){
            .start = now, .duration = length ? length : 1, .pitch = (uint8_t)(pitch ? pitch : 1)};
    }
}

/* ---- Stages 13 and 14: one note for each pitch of a unit, and none that is too long ---- */

/* The notes of one unit, by pitch. */
typedef struct {
    uint64_t bits[2]; /* pitches there are */
    uint8_t patch[128];
    uint32_t duration[128];
} unit_pitches;

/* The note of the lowest patch stays; of equal ones the first. */
static void add_note(unit_pitches *u, const ms_unit_note *note, unsigned patch) {
    uint64_t *bits = &u->bits[note->pitch / 64];
    const uint64_t bit = (uint64_t)1 << note->pitch % 64;
    if ((*bits & bit) && u->patch[note->pitch] <= patch) return;
    *bits |= bit;
    u->patch[note->pitch] = (uint8_t)patch;
    u->duration[note->pitch] = note->duration;
}

/* Empty the unit into out, highest pitch first. Returns the number of notes. */
static size_t take_notes(unit_pitches *u, uint64_t start, ms_unit_note *out) {
    size_t n = 0;
    for (unsigned half = 2; half-- > 0;)
        while (u->bits[half]) {
            const unsigned bit = 63 - (unsigned)__builtin_clzll(u->bits[half]),
                           pitch = 64 * half + bit;
            u->bits[half] ^= (uint64_t)1 << bit;
            if (u->duration[pitch] <= MOST_UNITS)
                out[n++] = (ms_unit_note){
                    .start = start, .duration = u->duration[pitch], .pitch = (uint8_t)pitch};
        }
    return n;
}

/* In place: a unit leaves at most as many notes as it had. Returns how many are left. */
static size_t reduce(const ms_note *notes, ms_unit_note *units, size_t n) {
    unit_pitches u = {.bits = {0}};
    size_t kept = 0;
    for (size_t i = 0; i < n;) {
        const uint64_t start = units[i].start;
        for (; i < n && units[i].start == start; i++) add_note(&u, &units[i], patch_of(&notes[i]));
        kept += take_notes(&u, start, units + kept);
    }
    return kept;
}

/* ---- Stages 15 and 16: ends, ranks, chords, mean pitch ---- */

/* End each note where the next of its pitch begins, at the latest. */
static void cut_overlaps(ms_unit_note *units, size_t n) {
    ms_unit_note none = {0}, *last_of[128];
    for (unsigned p = 0; p < 128; p++) last_of[p] = &none;
    for (size_t i = 0; i < n; i++) {
        ms_unit_note *before = last_of[units[i].pitch];
        const uint64_t step = units[i].start - before->start;
        if (before->duration > step) before->duration = (uint32_t)step;
        last_of[units[i].pitch] = &units[i];
    }
}

static int moved_to(const ms_unit_note *units, size_t n, int center_pitch) {
    uint64_t sum = 0;
    if (center_pitch == 0) return 0;
    for (size_t i = 0; i < n; i++) sum += units[i].pitch;
    return center_pitch - (int)rint((double)sum / (double)n);
}

/* The notes as chords, which `out` has room for. */
static void make_chords(ms_token_piece *out, ms_chord_note *notes, int center_pitch) {
    const ms_unit_note *units = out->units;
    const int semitones = moved_to(units, out->n_notes, center_pitch);
    uint8_t rank_of[128], n_ranks = 0;
    memset(rank_of, 0xff, sizeof rank_of);
    for (size_t i = 0; i < out->n_notes; i++) {
        const ms_unit_note *u = &units[i];
        if (rank_of[u->pitch] == 0xff) rank_of[u->pitch] = n_ranks++;
        notes[i] = (ms_chord_note){.pitch = (uint8_t)ms_tokens_move(u->pitch, semitones),
                                   .rank = rank_of[u->pitch],
                                   .duration = (uint8_t)(u->duration < 127 ? u->duration : 127)};
        const uint64_t step = i ? u->start - u[-1].start : 0;
        if (i == 0 || step > 0)
            out->chords[out->n_chords++] =
                (ms_chord){.first = (uint32_t)i, .step = (uint8_t)(step < 127 ? step : 127)};
        out->chords[out->n_chords - 1].n_notes++;
    }
}

static size_t count_units(const ms_unit_note *units, size_t n) {
    size_t n_units = 0;
    for (size_t i = 0; i < n; i++) n_units += i == 0 || units[i].start != units[i - 1].start;
    return n_units;
}

/* ---- All of them ---- */

static int refuse(size_t n_notes, size_t n_pitched, int *outcome, msim_error *err) {
    if (n_pitched == 0) return ms_tokens_refuse_drums(n_notes, outcome, err);
    *outcome = MSIM_OUTCOME_NO_CLEAN_NOTES;
    return ms_fail(err, MSIM_E_EMPTY,
                   "no clean notes: all %zu notes are drums or of instruments that cleaning leaves "
                   "out; without cleaning they are kept",
                   n_notes);
}

int ms_chords_make(ms_score *score, const ms_token_settings *settings, ms_arena *notes,
                   ms_arena *rest, ms_token_piece *out, int *outcome, msim_error *err) {
    const size_t n_all = score->n_notes, n_pitched = keep_wanted(score, settings->is_unclean);
    if (score->n_notes == 0) return refuse(n_all, n_pitched, outcome, err);
    ms_unit_note *units = ms_arena_get(rest, score->n_notes, sizeof *units, "MIDI notes", err);
    if (!units) return -MSIM_E_MEMORY;
    quantise(score, units);
    const size_t n = reduce(score->notes, units, score->n_notes), n_chords = count_units(units, n);
    ms_arena_reset(notes); /* from here on there are units */
    if (n == 0) {
        *outcome = MSIM_OUTCOME_NO_NOTES;
        return ms_fail(err, MSIM_E_EMPTY,
                       "no notes of at most 128 seconds: longer ones are left out");
    }
    cut_overlaps(units, n);
    *out = (ms_token_piece){
        .units = units, .n_notes = n, .is_chord_first = settings->order == MSIM_ORDER_CHORD_FIRST};
    ms_chord_note *chord_notes = ms_arena_get(rest, n, sizeof *chord_notes, "MIDI notes", err);
    out->chords = ms_arena_get(rest, n_chords, sizeof *out->chords, "MIDI chords", err);
    if (!chord_notes || !out->chords) return -MSIM_E_MEMORY;
    make_chords(out, chord_notes, settings->center_pitch);
    out->chord_notes = chord_notes;
    return MSIM_OK;
}
