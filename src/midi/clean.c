/* Notes in order, thinned out and quantised: stages 9 to 15 of docs/TOKENS.md. See score.h. Works in place; the only
 * other memory is the score's spare array, for chords too large to sort by insertion. */
#include "midi/score.h"
#include <string.h>

/* ---- Sorting inside a chord ---- */

#define SMALL_CHORD 24

static void insertion_sort(ms_note *notes, size_t n) {
    for (size_t i = 1; i < n; i++) {
        if (notes[i - 1].key <= notes[i].key) continue;
        ms_note moving = notes[i];
        size_t k = i;
        for (; k > 0 && notes[k - 1].key > moving.key; k--) notes[k] = notes[k - 1];
        notes[k] = moving;
    }
}

/* Stable, by key. A damaged file may put all of its notes at one time, so large chords are merged. */
static void sort_chord(ms_note *notes, size_t n, ms_note *spare) {
    if (n <= SMALL_CHORD) {
        insertion_sort(notes, n);
        return;
    }
    ms_note *from = notes, *to = spare;
    for (size_t lo = 0; lo < n; lo += SMALL_CHORD) insertion_sort(notes + lo, n - lo < SMALL_CHORD ? n - lo : SMALL_CHORD);
    for (size_t width = SMALL_CHORD; width < n; width *= 2) {
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

/* The chord that begins at `begin`: where the notes of one start end. */
static inline size_t chord_end(const ms_score *s, size_t begin) {
    size_t end = begin + 1;
    while (end < s->n_notes && s->notes[end].start == s->notes[begin].start) end++;
    return end;
}

/* ---- Stage 9 ---- */

/* parity: the original drops a note when the two numbers of the event right before it, at the same millisecond, are
 * the note's channel and pitch. That was meant for doubled notes, but a controller's number and value, or two bytes of
 * a time signature, do as well. What is not a note comes before the notes of its millisecond. */
void ms_clean_drop(ms_score *s) {
    uint8_t patch[16] = {0};
    size_t e = 0, kept = 0;
    for (size_t begin = 0, end; begin < s->n_notes; begin = end) {
        const uint64_t start = s->notes[begin].start;
        unsigned last_x = 256, last_y = 256; /* of the event before; 256: no pair */
        for (; e < s->n_events && s->events[e].time <= start; e++)
            if (s->events[e].kind == MS_PATCH) patch[s->events[e].channel] = s->events[e].x;
        const ms_event *last = e > 0 ? &s->events[e - 1] : NULL;
        if (last && last->time == start && (last->kind == MS_CONTROL || last->kind == MS_PAIR)) {
            last_x = last->x;
            last_y = last->y;
        }
        end = chord_end(s, begin);
        for (size_t i = begin; i < end; i++)
            s->notes[i].key = (uint64_t)(127 - s->notes[i].pitch) << 32 | s->notes[i].order;
        sort_chord(s->notes + begin, end - begin, s->spare);
        for (size_t i = begin; i < end; i++) {
            ms_note note = s->notes[i];
            if (last_x == note.channel && last_y == note.pitch) continue;
            last_x = note.channel;
            last_y = note.pitch;
            note.patch = note.channel == 9 ? 128 : patch[note.channel];
            s->notes[kept++] = note;
        }
    }
    s->n_notes = kept;
}

/* ---- Stages 10 to 12 ---- */

void ms_clean_order(ms_score *s) {
    for (size_t begin = 0, end; begin < s->n_notes; begin = end) {
        end = chord_end(s, begin);
        for (size_t i = begin; i < end; i++) s->notes[i].key = (unsigned)(127 - s->notes[i].pitch) << 8 | s->notes[i].patch;
        sort_chord(s->notes + begin, end - begin, s->spare);
    }
}

void ms_clean_piano(ms_score *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_note *note = &s->notes[i], *last = kept ? &s->notes[kept - 1] : NULL;
        if (note->channel == 9) continue;
        if (last && last->start == note->start && last->pitch == note->pitch) continue;
        s->notes[kept++] = *note;
    }
    s->n_notes = kept;
}

uint64_t ms_clean_origin(const ms_score *s) { return s->notes[0].start; }

/* ---- Stage 13 ---- */

/* Steps and durations of a wide file are cut here: 127 is the most that a token tells, and a cut duration still
 * reaches every start that is as far away. */
#define FAR_UNITS ((uint64_t)1 << 20)

/* parity: the original divides as doubles, which shows from 2^53 on. */
static inline uint64_t narrow_units(uint64_t ms) {
    return ms < (uint64_t)1 << 53 ? ms >> 5 : (uint64_t)((double)ms / 32.0);
}

static uint64_t wide_units(double ms) {
    double units = ms / 32.0;
    return units < (double)FAR_UNITS ? (uint64_t)units : FAR_UNITS;
}

/* Times of a wide file to units: steps between starts are exact up to FAR_UNITS. */
static void quantise_wide(ms_score *s, uint64_t origin) {
    double last = 0;
    uint64_t now = 0;
    for (size_t i = 0; i < s->n_notes; i++) {
        ms_note *note = &s->notes[i];
        double start = ms_wide_gap(s->ms, origin, note->start) / 32.0;
        /* Whole numbers: past 2^53 a double has no fraction to drop. */
        if (start < 0x1p53) start = (double)(uint64_t)start;
        now += start - last < (double)FAR_UNITS ? (uint64_t)(start - last) : FAR_UNITS;
        last = start;
        uint64_t duration = wide_units(ms_wide_gap(s->ms, note->start, note->end));
        note->start = now;
        note->end = now + (duration ? duration : 1);
    }
}

void ms_clean_quantise(ms_score *s, uint64_t origin) {
    if (s->ms) quantise_wide(s, origin);
    for (size_t i = 0; i < s->n_notes; i++) {
        ms_note *note = &s->notes[i];
        if (!s->ms) {
            uint64_t start = narrow_units(note->start - origin), duration = narrow_units(note->end - note->start);
            note->start = start;
            note->end = start + (duration ? duration : 1);
        }
        if (note->pitch == 0) note->pitch = 1;
        note->key = 127 - note->pitch;
    }
    for (size_t begin = 0, end; begin < s->n_notes; begin = end) {
        end = chord_end(s, begin);
        sort_chord(s->notes + begin, end - begin, s->spare);
    }
}

/* ---- Stages 14 and 15 ---- */

void ms_clean_doubles(ms_score *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_note *note = &s->notes[i], *last = kept ? &s->notes[kept - 1] : NULL;
        if (!last || last->start != note->start || last->pitch != note->pitch) s->notes[kept++] = *note;
    }
    s->n_notes = kept;
}

/* parity: a note that reaches or touches the next of its pitch ends one unit before it; chords are ordered by where
 * each pitch first stood in the piece, not by pitch. */
void ms_clean_trim(ms_score *s) {
    uint32_t last_of[128], rank_of[128], n_ranks = 0;
    memset(last_of, 0xff, sizeof last_of);
    for (size_t i = 0; i < s->n_notes; i++) {
        ms_note *note = &s->notes[i];
        const unsigned pitch = note->pitch;
        if (last_of[pitch] == MS_NONE) {
            rank_of[pitch] = n_ranks++;
        } else {
            ms_note *before = &s->notes[last_of[pitch]];
            if (before->end >= note->start)
                before->end = note->start - before->start > 1 ? note->start - 1 : before->start + 1;
        }
        last_of[pitch] = (uint32_t)i;
        note->key = rank_of[pitch];
    }
    for (size_t begin = 0, end; begin < s->n_notes; begin = end) {
        end = chord_end(s, begin);
        sort_chord(s->notes + begin, end - begin, s->spare);
    }
}
