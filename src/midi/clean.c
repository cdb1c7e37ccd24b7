/* Notes in order, thinned out and quantised: stages 9 to 15 of docs/TOKENS.md. See score.h. Works in place; the only
 * other memory is the score's spare array, for chords too large to sort by insertion. */
#include "midi/score.h"
#include <string.h>

/* ---- Sorting inside chords ---- */

#define SMALL 24 /* notes that insertion may pass over or sort; more are merged */

static void insertion_sort(ms_note *notes, size_t n) {
    for (size_t i = 1; i < n; i++) {
        ms_note moving = notes[i];
        size_t k = i;
        for (; k > 0 && notes[k - 1].key > moving.key; k--) notes[k] = notes[k - 1];
        notes[k] = moving;
    }
}

static void merge_sort(ms_note *notes, size_t n, ms_note *spare) {
    ms_note *from = notes, *to = spare;
    for (size_t lo = 0; lo < n; lo += SMALL) insertion_sort(notes + lo, n - lo < SMALL ? n - lo : SMALL);
    for (size_t width = SMALL; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = n - lo < width ? n : lo + width, hi = n - mid < width ? n : mid + width;
            for (size_t a = lo, b = mid, k = lo; k < hi; k++)
                to[k] = b == hi || (a < mid && from[a].key <= from[b].key) ? from[a++] : from[b++];
        }
        ms_note *swap = from;
        from = to;
        to = swap;
    }
    if (from != notes) memcpy(notes, from, n * sizeof *notes);
}

/* The whole chord that holds note i. Returns its end. */
static size_t sort_large_chord(ms_score *s, size_t i) {
    size_t begin = i, end = i + 1;
    while (begin > 0 && s->notes[begin - 1].start == s->notes[i].start) begin--;
    while (end < s->n_notes && s->notes[end].start == s->notes[i].start) end++;
    merge_sort(s->notes + begin, end - begin, s->spare);
    return end;
}

/* Order the notes of each start by their keys, stably; starts are in order. Chords are small and mostly in order, so
 * this is insertion; but a damaged file may put all of its notes at one time, so far moves go over to merging. */
static void sort_chords(ms_score *s) {
    ms_note *notes = s->notes;
    for (size_t i = 1; i < s->n_notes; i++) {
        if (!((notes[i - 1].start == notes[i].start) & (notes[i - 1].key > notes[i].key))) continue;
        ms_note moving = notes[i];
        size_t k = i;
        do {
            notes[k] = notes[k - 1];
            k--;
        } while (k > 0 && i - k < SMALL && notes[k - 1].start == moving.start && notes[k - 1].key > moving.key);
        notes[k] = moving;
        if (i - k == SMALL) i = sort_large_chord(s, i) - 1;
    }
}

/* ---- Stage 9 ---- */

#define NO_PAIR 256u
#define DRUMS 9u /* channel, counting from 0 */

/* parity: the original drops a note when the two numbers of the event right before it, at the same millisecond, are
 * the note's channel and pitch. That was meant for doubled notes, but a controller's number and value, or two bytes of
 * a time signature, do as well. What is not a note comes before the notes of its millisecond. */
void ms_clean_drop(ms_score *s) {
    uint64_t patch[16] = {0}, last_start = UINT64_MAX;
    unsigned last_x = NO_PAIR, last_y = NO_PAIR; /* of the event before, at this millisecond */
    size_t e = 0, kept = 0;
    sort_chords(s);
    for (size_t i = 0; i < s->n_notes; i++) {
        ms_note note = s->notes[i];
        const unsigned channel = ms_note_channel(&note), pitch = ms_note_pitch(&note);
        last_x = note.start == last_start ? last_x : NO_PAIR;
        for (; e < s->n_events && s->events[e].time <= note.start; e++) {
            const ms_event *event = &s->events[e];
            const bool is_pair = event->kind == MS_CONTROL || event->kind == MS_PAIR;
            if (event->kind == MS_PATCH) patch[event->channel] = event->x;
            last_x = is_pair && event->time == note.start ? event->x : NO_PAIR;
            last_y = event->y;
        }
        last_start = note.start;
        const bool is_dropped = (last_x == channel) & (last_y == pitch);
        last_x = channel;
        last_y = pitch;
        note.key |= (channel == DRUMS ? 128 : patch[channel]) << MS_NOTE_PATCH_SHIFT;
        s->notes[kept] = note;
        kept += !is_dropped;
    }
    s->n_notes = kept;
}

/* ---- Stages 10 to 12 ---- */

/* The key already says all: pitch downwards, patch, and the order of stage 9, which was by the place in the list. */
void ms_clean_order(ms_score *s) { sort_chords(s); }

void ms_clean_piano(ms_score *s) {
    size_t kept = 0;
    uint64_t last_start = UINT64_MAX;
    unsigned last_pitch = 0;
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_note note = s->notes[i];
        const unsigned pitch = ms_note_pitch(&note);
        const bool is_kept = (ms_note_channel(&note) != DRUMS) & ((note.start != last_start) | (pitch != last_pitch));
        last_start = is_kept ? note.start : last_start;
        last_pitch = is_kept ? pitch : last_pitch;
        s->notes[kept] = note;
        kept += is_kept;
    }
    s->n_notes = kept;
}

uint64_t ms_clean_origin(const ms_score *s) { return s->notes[0].start; }

/* ---- Sorting notes in units ---- */

/* Keys are below 128, so a large chord is counted. Returns its end. */
static size_t count_large_chord(ms_score *s, size_t i) {
    const uint64_t start = s->units[i].start;
    size_t begin = i, end = i + 1, place[129] = {0};
    while (begin > 0 && s->units[begin - 1].start == start) begin--;
    while (end < s->n_notes && s->units[end].start == start) end++;
    for (size_t k = begin; k < end; k++) place[s->units[k].key + 1]++;
    for (size_t k = 0; k < 128; k++) place[k + 1] += place[k];
    for (size_t k = begin; k < end; k++) s->spare_units[place[s->units[k].key]++] = s->units[k];
    memcpy(s->units + begin, s->spare_units, (end - begin) * sizeof *s->units);
    return end;
}

/* As sort_chords. */
static void sort_units(ms_score *s) {
    ms_unit_note *notes = s->units;
    for (size_t i = 1; i < s->n_notes; i++) {
        if (!((notes[i - 1].start == notes[i].start) & (notes[i - 1].key > notes[i].key))) continue;
        const ms_unit_note moving = notes[i];
        size_t k = i;
        do {
            notes[k] = notes[k - 1];
            k--;
        } while (k > 0 && i - k < SMALL && notes[k - 1].start == moving.start && notes[k - 1].key > moving.key);
        notes[k] = moving;
        if (i - k == SMALL) i = count_large_chord(s, i) - 1;
    }
}

/* ---- Stage 13 ---- */

/* parity: the original divides as doubles, which shows from 2^53 on. */
static inline uint64_t units_of(uint64_t ms) {
    return ms < (uint64_t)1 << 53 ? ms >> 5 : (uint64_t)((double)ms / 32.0);
}

static inline uint32_t cut_duration(uint64_t units) {
    return units == 0 ? 1 : units < MS_FAR_UNITS ? (uint32_t)units : MS_FAR_UNITS;
}

/* As units_of, for a difference of two wide times. The result is a whole number. */
static double wide_units_of(double ms) {
    double units = ms / 32.0;
    return units < 0x1p53 ? (double)(uint64_t)units : units;
}

static uint64_t cut_units(double units) { return units < MS_FAR_UNITS ? (uint64_t)units : MS_FAR_UNITS; }

/* Steps below MS_FAR_UNITS are exact: the difference of two whole doubles that is below 2^53 is one itself. */
static void quantise_wide(ms_score *s, uint64_t origin) {
    double last = 0;
    uint64_t now = 0;
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_note *note = &s->notes[i];
        double start = wide_units_of(ms_wide_gap(s->ms, origin, note->start));
        now += cut_units(start - last);
        last = start;
        s->units[i].start = now;
        s->units[i].duration = cut_duration(cut_units(wide_units_of(ms_wide_gap(s->ms, note->start, note->end))));
    }
}

static void quantise_narrow(ms_score *s, uint64_t origin) {
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_note *note = &s->notes[i];
        s->units[i].start = units_of(note->start - origin);
        s->units[i].duration = cut_duration(units_of(note->end - note->start));
    }
}

int ms_clean_quantise(ms_score *s, uint64_t origin, ms_arena *arena, msim_error *err) {
    s->units = ms_arena_get(arena, s->n_notes, sizeof *s->units, "MIDI notes", err);
    s->spare_units = s->units ? ms_arena_get(arena, s->n_notes, sizeof *s->units, "MIDI notes", err) : NULL;
    if (!s->spare_units) return -MSIM_E_MEMORY;
    if (s->ms)
        quantise_wide(s, origin);
    else
        quantise_narrow(s, origin);
    for (size_t i = 0; i < s->n_notes; i++) {
        const unsigned pitch = ms_note_pitch(&s->notes[i]);
        s->units[i].pitch = (uint8_t)(pitch ? pitch : 1);
        s->units[i].key = 127 - s->units[i].pitch;
    }
    sort_units(s);
    return MSIM_OK;
}

/* ---- Stages 14 and 15 ---- */

void ms_clean_doubles(ms_score *s) {
    size_t kept = 0;
    uint64_t last_start = UINT64_MAX;
    unsigned last_pitch = 0;
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_unit_note note = s->units[i];
        if (note.start == last_start && note.pitch == last_pitch) continue;
        last_start = note.start;
        last_pitch = note.pitch;
        s->units[kept++] = note;
    }
    s->n_notes = kept;
}

/* parity: a note that reaches or touches the next of its pitch ends one unit before it; chords are ordered by where
 * each pitch first stood in the piece, not by pitch. */
void ms_clean_trim(ms_score *s) {
    uint32_t last_of[128];
    uint8_t rank_of[128], n_ranks = 0;
    memset(last_of, 0xff, sizeof last_of);
    for (size_t i = 0; i < s->n_notes; i++) {
        ms_unit_note *note = &s->units[i];
        const unsigned pitch = note->pitch;
        if (last_of[pitch] == MS_NONE) {
            rank_of[pitch] = n_ranks++;
        } else {
            ms_unit_note *before = &s->units[last_of[pitch]];
            uint64_t step = note->start - before->start;
            if (before->duration >= step) before->duration = step > 1 ? (uint32_t)step - 1 : 1;
        }
        last_of[pitch] = (uint32_t)i;
        note->key = rank_of[pitch];
    }
    sort_units(s);
}
