/* Sorts, thins out and quantises notes: stages 9 to 15 of docs/TOKENS.md. See score.h. It works in
 * place. The only other memory is the score's spare array, for chords that are too large to sort in
 * place. */
#include "midi/score.h"
#include <string.h>

/* ---- Sorting inside chords ---- */

#define SMALL 10 /* notes of a chord that are sorted without branches */
#define RUN 24   /* keys that insertion sorts before they are merged */

/* Every key goes down past all before it, taking turns: what a branch would cost is more than these
 * few steps. */
static void sort_small_chord(ms_note *notes, size_t n) {
    for (size_t i = 1; i < n; i++) {
        uint64_t moving = notes[i].key;
        for (size_t k = i; k-- > 0;) {
            const uint64_t other = notes[k].key;
            notes[k + 1].key = other > moving ? other : moving;
            moving = other > moving ? moving : other;
        }
        notes[0].key = moving;
    }
}

static void insertion_sort(uint64_t *keys, size_t n) {
    for (size_t i = 1; i < n; i++) {
        const uint64_t moving = keys[i];
        size_t k = i;
        for (; k > 0 && keys[k - 1] > moving; k--) keys[k] = keys[k - 1];
        keys[k] = moving;
    }
}

static uint64_t *merge_sort(uint64_t *keys, size_t n, uint64_t *spare) {
    uint64_t *from = keys, *to = spare;
    for (size_t lo = 0; lo < n; lo += RUN) insertion_sort(keys + lo, n - lo < RUN ? n - lo : RUN);
    for (size_t width = RUN; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = n - lo < width ? n : lo + width, hi = n - mid < width ? n : mid + width;
            for (size_t a = lo, b = mid, k = lo; k < hi; k++)
                to[k] = b == hi || (a < mid && from[a] <= from[b]) ? from[a++] : from[b++];
        }
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static void sort_large_chord(ms_note *notes, size_t n, uint64_t *spare) {
    for (size_t i = 0; i < n; i++) spare[i] = notes[i].key;
    const uint64_t *sorted = merge_sort(spare, n, spare + n);
    for (size_t i = 0; i < n; i++) notes[i].key = sorted[i];
}

/* Order the notes of each start by their keys; starts are in order. Most chords have one note or
 * two, which no branch tells apart. Behind the notes there is room for two more. */
static void sort_chords(ms_score *s) {
    ms_note *note = s->notes, *const last = note + s->n_notes;
    last[0].start = last[1].start = UINT64_MAX; /* no note begins then */
    while (note < last) {
        const uint64_t start = note->start;
        if (note[2].start != start) {
            const bool is_pair = note[1].start == start;
            const uint64_t a = note[0].key, b = note[1].key;
            /* a choice would become a branch */
            const uint64_t change = (a ^ b) & -(uint64_t)(is_pair & (a > b));
            note[0].key = a ^ change;
            note[1].key = b ^ change;
            note += 1 + is_pair;
            continue;
        }
        ms_note *end = note + 3;
        while (end->start == start) end++;
        if (end - note <= SMALL)
            sort_small_chord(note, (size_t)(end - note));
        else
            sort_large_chord(note, (size_t)(end - note), s->spare);
        note = end;
    }
}

/* ---- Stage 9 ---- */

#define NO_PAIR 256u
#define DRUMS 9u /* channel, counting from 0 */

/* parity: the original drops a note when the two numbers of the event right before it, at the same
 * millisecond, are the note's channel and pitch. That was meant for doubled notes, but a
 * controller's number and value, or two bytes of a time signature, do as well. What is not a note
 * comes before the notes of its millisecond
 * (test/unit/midi/test_stages.c, stage_9_dropped_notes). */
void ms_clean_drop(ms_score *s) {
    uint64_t patch[16] = {0}, last_start = UINT64_MAX, last_key = 0;
    unsigned last_x = NO_PAIR, last_y = NO_PAIR; /* of the event before, at this millisecond */
    const ms_event *event = s->events, *const end = event + s->n_events;
    const size_t n = s->n_notes;
    ms_note *out = s->notes;
    bool is_mixed = false;
    sort_chords(s);
    for (const ms_note *note = out, *const last = out + n; note < last; note++) {
        const uint64_t start = note->start;
        const unsigned channel = ms_note_channel(note), pitch = ms_note_pitch(note);
        last_x = start == last_start ? last_x : NO_PAIR;
        for (; event < end && event->time <= start; event++) {
            const bool is_pair = event->kind == MS_CONTROL || event->kind == MS_PAIR;
            if (event->kind == MS_PATCH) patch[event->channel] = event->x;
            last_x = is_pair && event->time == start ? event->x : NO_PAIR;
            last_y = event->y;
        }
        const bool is_dropped = (last_x == channel) & (last_y == pitch);
        const uint64_t key = note->key | (channel == DRUMS ? 128 : patch[channel])
                                             << MS_NOTE_PATCH_SHIFT;
        is_mixed |= (start == last_start) & (key < last_key);
        last_start = start;
        last_key = key;
        last_x = channel;
        last_y = pitch;
        out->start = start;
        out->key = key;
        out += !is_dropped;
    }
    s->n_notes = (size_t)(out - s->notes);
    s->is_ordered = !is_mixed;
}

/* ---- Stages 10 to 12 ---- */

/* The key already says all: pitch downwards, patch, and the order of stage 9, which was by the
 * place in the list. Only where patches meet on one pitch can there be anything to move. */
void ms_clean_order(ms_score *s) {
    if (!s->is_ordered) sort_chords(s);
}

void ms_clean_piano(ms_score *s) {
    size_t kept = 0;
    uint64_t last_start = UINT64_MAX;
    unsigned last_pitch = 0;
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_note note = s->notes[i];
        const unsigned pitch = ms_note_pitch(&note);
        const bool is_kept = (ms_note_channel(&note) != DRUMS) &
                             ((note.start != last_start) | (pitch != last_pitch));
        last_start = is_kept ? note.start : last_start;
        last_pitch = is_kept ? pitch : last_pitch;
        s->notes[kept] = note;
        kept += is_kept;
    }
    s->n_notes = kept;
}

uint64_t ms_clean_origin(const ms_score *s) { return s->notes[0].start; }

/* ---- Stage 13 ---- */

/* parity: the original divides as doubles, which shows from 2^53 on
 * (test/unit/midi/test_stages.c, stage_13_long_times). */
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

static inline uint64_t end_of(const ms_score *s, const ms_note *note) {
    return s->ends[ms_note_place(note)];
}

static uint64_t cut_units(double units) {
    return units < MS_FAR_UNITS ? (uint64_t)units : MS_FAR_UNITS;
}

/* Steps below MS_FAR_UNITS are exact: the difference of two whole doubles that is below 2^53 is one
 * itself. */
static void quantise_wide(ms_score *s, uint64_t origin) {
    double last = 0;
    uint64_t now = 0;
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_note *note = &s->notes[i];
        double start = wide_units_of(ms_wide_gap(s->ms, origin, note->start));
        now += cut_units(start - last);
        last = start;
        s->units[i].start = now;
        s->units[i].duration = cut_duration(
            cut_units(wide_units_of(ms_wide_gap(s->ms, note->start, end_of(s, note)))));
    }
}

static void quantise_narrow(ms_score *s, uint64_t origin) {
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_note *note = &s->notes[i];
        s->units[i].start = units_of(note->start - origin);
        s->units[i].duration = cut_duration(units_of(end_of(s, note) - note->start));
    }
}

int ms_clean_quantise(ms_score *s, uint64_t origin, ms_arena *arena, msim_error *err) {
    s->units = ms_arena_get(arena, s->n_notes + 1, sizeof *s->units, "MIDI notes", err);
    if (!s->units) return -MSIM_E_MEMORY;
    if (s->ms)
        quantise_wide(s, origin);
    else
        quantise_narrow(s, origin);
    for (size_t i = 0; i < s->n_notes; i++) {
        const unsigned pitch = ms_note_pitch(&s->notes[i]);
        s->units[i].pitch = (uint8_t)(pitch ? pitch : 1);
    }
    return MSIM_OK;
}

/* ---- Stages 14 and 15 ---- */

void ms_clean_doubles(ms_score *s) {
    uint64_t last_start[128];
    size_t kept = 0;
    memset(last_start, 0xff, sizeof last_start);
    for (size_t i = 0; i < s->n_notes; i++) {
        const ms_unit_note note = s->units[i];
        const bool is_kept = last_start[note.pitch] != note.start;
        last_start[note.pitch] = note.start;
        s->units[kept] = note;
        kept += is_kept;
    }
    s->n_notes = kept;
}

typedef struct {
    uint64_t bits[2];
} pitch_set;

static inline void add(pitch_set *set, unsigned at) {
    set->bits[at / 64] |= (uint64_t)1 << at % 64;
}

typedef struct {
    uint8_t rank_of[128], n_ranks; /* of pitches, by where they first stood; rank_of: 0xff before
                                    * that */
} ranks;

/* Pitches new in a chord are ranked downwards: the order that stage 13 gave the chord, and seen
 * nowhere else. */
static void rank_new(ranks *r, const ms_unit_note *chord, size_t n) {
    pitch_set fresh = {{0}};
    for (size_t i = 0; i < n; i++)
        if (r->rank_of[chord[i].pitch] == 0xff) add(&fresh, chord[i].pitch);
    for (unsigned half = 2; half-- > 0;)
        for (; fresh.bits[half]; r->n_ranks++) {
            const unsigned bit = 63 - (unsigned)__builtin_clzll(fresh.bits[half]);
            fresh.bits[half] ^= (uint64_t)1 << bit;
            r->rank_of[64 * half + bit] = r->n_ranks;
        }
}

/* parity: a note that reaches or touches the next of its pitch ends one unit before it; chords are
 * ordered by where each pitch first stood in the piece, not by pitch
 * (test/unit/midi/test_stages.c, stage_15_trim). */
void ms_clean_trim(ms_score *s) {
    ms_unit_note none = {0}, *last_of[128], by_rank[128];
    ranks r = {.n_ranks = 0};
    memset(r.rank_of, 0xff, sizeof r.rank_of);
    for (unsigned p = 0; p < 128; p++) last_of[p] = &none;
    for (size_t i = 0, end; i < s->n_notes; i = end) {
        const uint64_t start = s->units[i].start;
        bool has_new = false;
        for (end = i; end < s->n_notes && s->units[end].start == start; end++) {
            const unsigned pitch = s->units[end].pitch;
            ms_unit_note *before = last_of[pitch];
            const uint64_t step = start - before->start;
            const uint32_t most = before->duration < step ? before->duration
                                  : step > 1              ? (uint32_t)step - 1
                                                          : 1;
            before->duration = most;
            last_of[pitch] = &s->units[end];
            has_new |= r.rank_of[pitch] == 0xff;
        }
        if (has_new) rank_new(&r, &s->units[i], end - i);
        if (end - i == 1) continue;
        uint64_t low = 0, high = 0; /* the ranks there are */
        for (size_t k = i; k < end; k++) {
            const unsigned rank = r.rank_of[s->units[k].pitch];
            const uint64_t bit = (uint64_t)1 << rank % 64;
            by_rank[rank] = s->units[k];
            low |= rank < 64 ? bit : 0;
            high |= rank < 64 ? 0 : bit;
        }
        ms_unit_note *out = &s->units[i];
        for (const ms_unit_note *ranked = by_rank; low | high; ranked += 64, low = high, high = 0)
            for (; low; low &= low - 1) {
                *out = ranked[__builtin_ctzll(low)];
                last_of[out->pitch] = out;
                out++;
            }
    }
}
