/* Events to notes: stages 3, 4, 6, 7 and 8 of docs/TOKENS.md. See score.h. Arrays come from the
 * arena; the stage before has counted how large they must be. */
#include "midi/score.h"
#include <string.h>

void ms_queues_init(ms_queues *queues) { memset(queues->held, 0, sizeof queues->held); }

static inline unsigned key_of(unsigned channel, unsigned pitch) { return 128 * channel + pitch; }

/* ---- Stage 3 ---- */

/* Ends for the notes that are left over at the end of a track, whose last event is `last`. Returns
 * where the next item goes. parity: in the order in which their keys were first used
 * (test/unit/midi/test_stages.c, stage_3_pairs_inside_a_track). */
static ms_event *end_held_notes(const ms_event *e, const ms_event *last, ms_queues *q,
                                ms_event *out) {
    for (; e <= last; e++) {
        if (e->kind != MS_NOTE_ON) continue;
        uint32_t *held = &q->held[key_of(e->channel, e->x)];
        for (; *held > 0; --*held) {
            *out = *e;
            out->time = last->time;
            out->at = last->at;
            out++->kind = MS_NOTE_OFF;
        }
    }
    return out;
}

/* One track. Returns where the next item goes. Note-ons and note-offs come in no order that could
 * be foretold, so there is no branch on them. parity: the original makes a list of notes by their
 * ends, and what happens at one tick then stands in the order of that list. Only the order of
 * note-offs, that of note-ons of one key, and that of the rest is ever seen, and these are the
 * file's: note-offs because notes end in their order, note-ons because of one key the first ends
 * first. So the events stay where they are. A note-off without a partner leaves nothing behind
 * (test/unit/midi/test_stages.c, stage_3_pairs_inside_a_track). */
static ms_event *pair_track(const ms_event *e, const ms_event *end, ms_queues *q, ms_event *out) {
    const ms_event *begin = e;
    uint32_t n_held = 0;
    for (; e < end; e++) {
        *out = *e;
        if (e->kind > MS_NOTE_ON) {
            out++;
            continue;
        }
        uint32_t *held = &q->held[key_of(e->channel, e->x)];
        const uint32_t is_on = e->kind, is_kept = is_on | (*held != 0),
                       change = 2 * is_on - is_kept;
        *held += change;
        n_held += change;
        out += is_kept;
    }
    return n_held ? end_held_notes(begin, end - 1, q, out) : out;
}

int ms_score_pair_tracks(const ms_smf *smf, ms_queues *queues, ms_arena *arena, ms_score *score,
                         msim_error *err) {
    /* A note-on may need an end; and one slot is written in vain behind an event that is
     * dropped. */
    const size_t most = smf->n_events + smf->n_notes + 1;
    score->events = ms_arena_get(arena, most, sizeof *score->events, "MIDI events", err);
    if (!score->events) return -MSIM_E_MEMORY;
    ms_event *out = score->events;
    size_t begin = 0;
    for (size_t t = 0; t < smf->n_tracks; begin = smf->track_ends[t++])
        out = pair_track(smf->events + begin, smf->events + smf->track_ends[t], queues, out);
    score->n_events = (size_t)(out - score->events);
    score->n_notes = smf->n_notes;
    return MSIM_OK;
}

/* ---- Stage 4 ---- */

#define DIGIT_BITS 11

static bool is_in_order(const ms_event *events, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (events[i - 1].time > events[i].time) return false;
    return true;
}

static void insertion_sort(ms_event *events, size_t n) {
    for (size_t i = 1; i < n; i++) {
        ms_event moving = events[i];
        size_t k = i;
        for (; k > 0 && events[k - 1].time > moving.time; k--) events[k] = events[k - 1];
        events[k] = moving;
    }
}

/* Where the first of each digit goes. Four places of the list are counted in turns, for the times
 * around one place have the same high digits, and a sum that waits for the one before it is
 * slow. */
static void place_digits(const ms_event *events, size_t n, unsigned shift, uint32_t mask,
                         uint32_t *place) {
    const size_t part = n / 4;
    const ms_event *a = events, *b = a + part, *c = b + part, *d = c + part, *end = events + n;
    memset(place, 0, (mask + 1) * sizeof *place);
    for (const ms_event *stop = b; a < stop; a++, b++, c++, d++) {
        place[(uint32_t)(a->time >> shift) & mask]++;
        place[(uint32_t)(b->time >> shift) & mask]++;
        place[(uint32_t)(c->time >> shift) & mask]++;
        place[(uint32_t)(d->time >> shift) & mask]++;
    }
    for (; d < end; d++) place[(uint32_t)(d->time >> shift) & mask]++;
    uint32_t sum = 0;
    for (uint32_t k = 0; k <= mask; k++) {
        uint32_t count = place[k];
        place[k] = sum;
        sum += count;
    }
}

static void sort_digits(const ms_event *from, size_t n, unsigned shift, uint32_t mask,
                        uint32_t *place, ms_event *to) {
    for (const ms_event *end = from + n; from < end; from++)
        to[place[(uint32_t)(from->time >> shift) & mask]++] = *from;
}

/* The events of each track are in order, so any stable sort by tick will do: none for a file of one
 * track, else digit by digit. */
int ms_score_merge(ms_score *score, uint64_t last_tick, ms_arena *arena, msim_error *err) {
    const size_t n = score->n_events;
    if (is_in_order(score->events, n)) return MSIM_OK;
    if (n <= 48) {
        insertion_sort(score->events, n);
        return MSIM_OK;
    }
    ms_event *from = score->events, *to = ms_arena_get(arena, n, sizeof *to, "MIDI events", err);
    if (!to) return -MSIM_E_MEMORY;
    /* not 0, as there are two times */
    const unsigned bits = 64 - (unsigned)__builtin_clzll(last_tick);
    const unsigned passes = (bits + DIGIT_BITS - 1) / DIGIT_BITS,
                   width = (bits + passes - 1) / passes;
    const uint32_t mask = (1u << width) - 1;
    uint32_t place[1 << DIGIT_BITS];
    for (unsigned p = 0; p < passes; p++) {
        place_digits(from, n, p * width, mask, place);
        sort_digits(from, n, p * width, mask, place, to);
        ms_event *swap = from;
        from = to;
        to = swap;
    }
    score->events = from;
    return MSIM_OK;
}

/* ---- Stage 6 ---- */

/* Note-ons to notes, note-offs to ends, and the rest to the front of the events. A note event is
 * written as both and one is kept, for which it is could not be foretold. The queues of note-ons go
 * to on[], those of note-offs to off[]. */
static void part_stream(ms_score *score, uint16_t *on, uint16_t *off) {
    ms_note *note = score->notes;
    uint64_t *note_end = score->ends;
    ms_event *rest = score->events;
    for (const ms_event *e = score->events, *end = e + score->n_events; e < end; e++) {
        if (e->kind > MS_NOTE_ON) {
            *rest++ = *e;
            continue;
        }
        const uint64_t time = e->time;
        const size_t is_on = e->kind, is_off = is_on ^ 1;
        note->start = time;
        note->key = (uint64_t)(255 - e->x) << MS_NOTE_PITCH_SHIFT | e->channel;
        *note_end = time;
        *on = *off = (uint16_t)key_of(e->channel, e->x);
        note += is_on;
        on += is_on;
        note_end += is_off;
        off += is_off;
    }
    score->n_events = (size_t)(rest - score->events);
}

/* parity: the queues now span all tracks, so that notes of one key in two tracks may be paired
 * anew. Every note-on comes before its note-off, so that each note-off finds one, and first in,
 * first out makes the k-th of a key meet the k-th: when is no matter. So all note-ons go in, linked
 * each to the next of its key, then all note-offs take theirs
 * (test/unit/midi/test_stages.c, stage_6_pairs_over_all_tracks). Behind the n notes, link[] has the
 * heads of the queues. */
int ms_score_pair_stream(ms_score *score, ms_queues *q, ms_arena *arena, msim_error *err) {
    /* One more of each, written in vain when all are there; and one more yet for the sorts of
     * clean.c. */
    const size_t n = score->n_notes, most = n + 2;
    uint32_t *link = ms_arena_get(arena, n + MS_QUEUE_KEYS, sizeof *link, "MIDI notes", err);
    uint16_t *keys = link ? ms_arena_get(arena, most, 2 * sizeof *keys, "MIDI notes", err) : NULL;
    score->notes = keys ? ms_arena_get(arena, most, sizeof *score->notes, "MIDI notes", err) : NULL;
    score->ends = score->notes ? ms_arena_get(arena, most, sizeof *score->ends, "MIDI notes", err)
                               : NULL;
    score->channels =
        score->ends ? ms_arena_get(arena, most, sizeof *score->channels, "MIDI notes", err) : NULL;
    score->spare = score->channels
                       ? ms_arena_get(arena, n, 2 * sizeof *score->spare, "MIDI notes", err)
                       : NULL;
    if (!score->spare) return -MSIM_E_MEMORY;
    uint16_t *const on = keys, *const off = keys + most;
    part_stream(score, on, off);
    for (uint32_t k = 0; k < MS_QUEUE_KEYS; k++) q->newest[k] = q->oldest[k] = (uint32_t)n + k;
    for (uint32_t i = 0; i < n; i++) {
        link[q->newest[on[i]]] = i;
        q->newest[on[i]] = i;
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t first = link[q->oldest[off[i]]];
        q->oldest[off[i]] = first;
        score->notes[first].key |= (uint64_t)i << MS_NOTE_PLACE_SHIFT;
        score->channels[i] = (uint8_t)ms_note_channel(&score->notes[first]);
    }
    return MSIM_OK;
}

/* ---- Stage 7 ---- */

void ms_score_mask(ms_score *score) {
    /* 255 - (p & 127) is 255 - p with its top bit set. */
    for (size_t i = 0; i < score->n_notes; i++)
        score->notes[i].key |= (uint64_t)128 << MS_NOTE_PITCH_SHIFT;
    for (size_t i = 0; i < score->n_events; i++)
        if (score->events[i].kind == MS_PATCH) score->events[i].x &= 127;
}

/* ---- Stage 8 ---- */

typedef struct {
    uint64_t start, end;
} span;

static bool is_pedal(const ms_event *e) { return e->kind == MS_CONTROL && e->x == 64; }

/* The spans of one channel after another; first[c] .. first[c + 1] are channel c's. Open ones end
 * at last_end. parity: an open span ends at the last end of any note, drums too, even if that is
 * before its own start (test/unit/midi/test_stages.c, stage_8_sustain). */
static void find_spans(const ms_score *score, uint64_t last_end, span *spans, size_t first[17],
                       size_t ends[16]) {
    bool down[16] = {false};
    memcpy(ends, first, 16 * sizeof *ends);
    for (size_t i = 0; i < score->n_events; i++) {
        const ms_event *e = &score->events[i];
        if (!is_pedal(e)) continue;
        size_t c = e->channel, *end = &ends[c];
        if (e->y >= 64 && !down[c]) {
            /* A span that begins where the one before it ended continues that one. */
            if (*end > first[c] && spans[*end - 1].end == e->time)
                --*end;
            else
                spans[*end].start = e->time;
            spans[(*end)++].end = last_end;
        } else if (e->y < 64 && down[c]) {
            spans[*end - 1].end = e->time;
        }
        down[c] = e->y >= 64;
    }
}

int ms_score_sustain(ms_score *score, ms_arena *arena, msim_error *err) {
    size_t first[17] = {0}, ends[16], total = 0;
    for (size_t i = 0; i < score->n_events; i++)
        if (is_pedal(&score->events[i])) first[score->events[i].channel + 1]++, total++;
    if (total == 0 || score->n_notes == 0) return MSIM_OK;
    span *spans = ms_arena_get(arena, total, sizeof *spans, "MIDI pedal", err);
    if (!spans) return -MSIM_E_MEMORY;
    for (size_t c = 0; c < 16; c++) first[c + 1] += first[c];
    find_spans(score, score->ends[score->n_notes - 1], spans, first, ends);
    /* Notes by their ends meet the spans in order: first[c] moves to the last span that begins
     * before the end. */
    for (size_t i = 0; i < score->n_notes; i++) {
        const uint64_t end = score->ends[i];
        const size_t c = score->channels[i];
        while (first[c] + 1 < ends[c] && spans[first[c] + 1].start < end) first[c]++;
        const span *s = &spans[first[c]];
        if (first[c] < ends[c] && s->start < end && end < s->end) score->ends[i] = s->end;
    }
    return MSIM_OK;
}
