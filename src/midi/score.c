/* Events to notes: stages 3, 4, 6, 7 and 8 of docs/TOKENS.md. See score.h. Owns nothing; arrays come from the arena
 * and are sized from counts that the stage before has made. */
#include "midi/score.h"
#include <string.h>

void ms_queues_init(ms_queues *queues) {
    memset(queues->head, 0xff, sizeof queues->head);
    memset(queues->tail, 0xff, sizeof queues->tail);
    queues->n_used = 0;
}

static inline unsigned key_of(unsigned channel, unsigned pitch) { return 128 * channel + pitch; }

static inline void push(ms_queues *q, uint32_t *link, unsigned key, uint32_t entry) {
    if (q->tail[key] == MS_NONE) q->used[q->n_used++] = (uint16_t)key;
    if (q->head[key] == MS_NONE)
        q->head[key] = entry;
    else
        link[q->tail[key]] = entry;
    q->tail[key] = entry;
    link[entry] = MS_NONE;
}

/* The oldest entry, or MS_NONE. */
static inline uint32_t pop(ms_queues *q, const uint32_t *link, unsigned key) {
    uint32_t entry = q->head[key];
    if (entry != MS_NONE) q->head[key] = link[entry];
    return entry;
}

static void clear(ms_queues *q) {
    for (size_t i = 0; i < q->n_used; i++) q->head[q->used[i]] = q->tail[q->used[i]] = MS_NONE;
    q->n_used = 0;
}

/* ---- Stage 3 ---- */

static inline void put_note(ms_event *out, const ms_event *on, uint64_t end, uint32_t at) {
    out[0] = out[1] = *on;
    out[1].time = end;
    out[1].at = at;
    out[1].kind = MS_NOTE_OFF;
}

/* One track, events [begin, end). Returns where the next item goes.
 * parity: first in, first out for each key; a note-off without a partner leaves nothing behind; notes left over end
 * with the track, in the order in which their keys were first used. */
static ms_event *pair_track(const ms_event *events, size_t begin, size_t end, ms_queues *q, uint32_t *link,
                            ms_event *out) {
    for (size_t i = begin; i < end; i++) {
        const ms_event *e = &events[i];
        if (e->kind == MS_NOTE_ON) {
            push(q, link, key_of(e->channel, e->x), (uint32_t)i);
        } else if (e->kind == MS_NOTE_OFF) {
            uint32_t on = pop(q, link, key_of(e->channel, e->x));
            if (on == MS_NONE) continue;
            put_note(out, &events[on], e->time, e->at);
            out += 2;
        } else {
            *out++ = *e;
        }
    }
    for (size_t k = 0; k < q->n_used; k++)
        for (uint32_t on; (on = pop(q, link, q->used[k])) != MS_NONE; out += 2)
            put_note(out, &events[on], events[end - 1].time, events[end - 1].at);
    clear(q);
    return out;
}

int ms_score_pair_tracks(const ms_smf *smf, ms_queues *queues, ms_arena *arena, ms_score *score, msim_error *err) {
    /* Each note-on becomes two events; each event that is not a note stays one. */
    const size_t most = smf->n_events + smf->n_notes;
    uint32_t *link = ms_arena_get(arena, smf->n_events, sizeof *link, "MIDI notes", err);
    score->events = link ? ms_arena_get(arena, most, sizeof *score->events, "MIDI events", err) : NULL;
    if (!score->events) return -MSIM_E_MEMORY;
    ms_event *out = score->events;
    size_t begin = 0;
    for (size_t t = 0; t < smf->n_tracks; begin = smf->track_ends[t++])
        out = pair_track(smf->events, begin, smf->track_ends[t], queues, link, out);
    score->n_events = (size_t)(out - score->events);
    score->n_notes = smf->n_notes;
    return MSIM_OK;
}

/* ---- Stage 4 ---- */

#define DIGIT_BITS 11

static void insertion_sort(ms_event *events, size_t n) {
    for (size_t i = 1; i < n; i++) {
        ms_event moving = events[i];
        size_t k = i;
        for (; k > 0 && events[k - 1].time > moving.time; k--) events[k] = events[k - 1];
        events[k] = moving;
    }
}

/* place[d]: how many events have the digit d in their time, then where the first of them goes. */
static void count_digits(const ms_event *events, size_t n, unsigned shift, uint32_t mask, uint32_t *place) {
    memset(place, 0, (mask + 1) * sizeof *place);
    for (size_t i = 0; i < n; i++) place[(uint32_t)(events[i].time >> shift) & mask]++;
    uint32_t sum = 0;
    for (uint32_t d = 0; d <= mask; d++) {
        uint32_t count = place[d];
        place[d] = sum;
        sum += count;
    }
}

static void sort_digits(const ms_event *from, size_t n, unsigned shift, uint32_t mask, uint32_t *place, ms_event *to) {
    for (size_t i = 0; i < n; i++) to[place[(uint32_t)(from[i].time >> shift) & mask]++] = from[i];
}

/* The events stand in the order of their ranks, so any stable sort by tick will do: digit by digit. */
int ms_score_merge(ms_score *score, uint64_t last_tick, ms_arena *arena, msim_error *err) {
    const size_t n = score->n_events;
    if (n <= 48) {
        insertion_sort(score->events, n);
        return MSIM_OK;
    }
    ms_event *from = score->events, *to = ms_arena_get(arena, n, sizeof *to, "MIDI events", err);
    if (!to) return -MSIM_E_MEMORY;
    unsigned bits = last_tick ? 64 - (unsigned)__builtin_clzll(last_tick) : 0;
    unsigned passes = (bits + DIGIT_BITS - 1) / DIGIT_BITS, width = passes ? (bits + passes - 1) / passes : 0;
    const uint32_t mask = (1u << width) - 1;
    uint32_t place[1 << DIGIT_BITS];
    for (unsigned p = 0; p < passes; p++) {
        count_digits(from, n, p * width, mask, place);
        sort_digits(from, n, p * width, mask, place, to);
        ms_event *swap = from;
        from = to;
        to = swap;
    }
    score->events = from;
    return MSIM_OK;
}

/* ---- Stage 6 ---- */

/* parity: the queues now span all tracks, so that notes of one key in two tracks may be paired anew. */
int ms_score_pair_stream(ms_score *score, ms_queues *queues, ms_arena *arena, msim_error *err) {
    const size_t n = score->n_notes;
    uint32_t *link = ms_arena_get(arena, n, sizeof *link, "MIDI notes", err);
    score->by_end = link ? ms_arena_get(arena, n, sizeof *score->by_end, "MIDI notes", err) : NULL;
    score->notes = score->by_end ? ms_arena_get(arena, n, sizeof *score->notes, "MIDI notes", err) : NULL;
    score->spare = score->notes ? ms_arena_get(arena, n, sizeof *score->spare, "MIDI notes", err) : NULL;
    if (!score->spare) return -MSIM_E_MEMORY;
    uint32_t n_on = 0, n_off = 0;
    ms_event *rest = score->events;
    for (size_t i = 0; i < score->n_events; i++) {
        const ms_event *e = &score->events[i];
        if (e->kind == MS_NOTE_ON) {
            score->notes[n_on].start = e->time;
            score->notes[n_on].key = (uint64_t)(255 - e->x) << MS_NOTE_PITCH_SHIFT | e->channel;
            push(queues, link, key_of(e->channel, e->x), n_on++);
        } else if (e->kind == MS_NOTE_OFF) {
            /* Stage 4 puts every note-on before its note-off, so there is one. */
            uint32_t on = pop(queues, link, key_of(e->channel, e->x));
            score->notes[on].end = e->time;
            score->notes[on].key += (uint64_t)n_off << MS_NOTE_PLACE_SHIFT;
            score->by_end[n_off++] = on;
        } else {
            *rest++ = *e;
        }
    }
    clear(queues);
    score->n_events = (size_t)(rest - score->events);
    return MSIM_OK;
}

/* ---- Stage 7 ---- */

void ms_score_mask(ms_score *score) {
    /* 255 - (p & 127) is 255 - p with its top bit set. */
    for (size_t i = 0; i < score->n_notes; i++) score->notes[i].key |= (uint64_t)128 << MS_NOTE_PITCH_SHIFT;
    for (size_t i = 0; i < score->n_events; i++)
        if (score->events[i].kind == MS_PATCH) score->events[i].x &= 127;
}

/* ---- Stage 8 ---- */

typedef struct {
    uint64_t start, end;
} span;

static bool is_pedal(const ms_event *e) { return e->kind == MS_CONTROL && e->x == 64; }

/* The spans of one channel after another; first[c] .. first[c + 1] are channel c's. Open ones end at last_end.
 * parity: an open span ends at the last end of any note, drums too, even if that is before its own start. */
static void find_spans(const ms_score *score, uint64_t last_end, span *spans, size_t first[17], size_t ends[16]) {
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
    uint64_t last_end = 0;
    for (size_t i = 0; i < score->n_events; i++)
        if (is_pedal(&score->events[i])) first[score->events[i].channel + 1]++, total++;
    if (total == 0) return MSIM_OK;
    span *spans = ms_arena_get(arena, total, sizeof *spans, "MIDI pedal", err);
    if (!spans) return -MSIM_E_MEMORY;
    for (size_t c = 0; c < 16; c++) first[c + 1] += first[c];
    for (size_t i = 0; i < score->n_notes; i++)
        if (score->notes[i].end > last_end) last_end = score->notes[i].end;
    find_spans(score, last_end, spans, first, ends);
    /* Notes by their ends meet the spans in order: first[c] moves to the last span that begins before the end. */
    for (size_t i = 0; i < score->n_notes; i++) {
        ms_note *note = &score->notes[score->by_end[i]];
        size_t c = ms_note_channel(note);
        while (first[c] + 1 < ends[c] && spans[first[c] + 1].start < note->end) first[c]++;
        const span *s = &spans[first[c]];
        if (first[c] < ends[c] && s->start < note->end && note->end < s->end) note->end = s->end;
    }
    return MSIM_OK;
}
