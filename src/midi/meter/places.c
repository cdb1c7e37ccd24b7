/* Ticks of notes beside their milliseconds: see places.h. */
#include "midi/meter/places.h"
#include <math.h>

enum { STEP_MS = 32, DRUMS = 9 };

static bool is_note(const ms_event *e) { return e->kind <= MS_NOTE_ON && e->channel != DRUMS; }

/* ---- While the piece is read ---- */

/* Walk over the ticks of each kind of event. With lists in `to` they get the ticks, and in place of
 * milliseconds the number of the first event of the tick. */
static void count_ticks(const ms_score *score, size_t n[2], ms_place_list *to) {
    uint64_t last[2] = {UINT64_MAX, UINT64_MAX}, n_events[2] = {0, 0};
    n[0] = n[1] = 0;
    for (const ms_event *e = score->events, *end = e + score->n_events; e < end; e++) {
        if (!is_note(e)) continue;
        const unsigned k = e->kind;
        const uint64_t number = n_events[k]++;
        if (e->time == last[k]) continue;
        last[k] = e->time;
        if (to) to[k].list[n[k]] = (ms_place){.tick = e->time, .ms = number};
        n[k]++;
    }
}

int ms_places_note(const ms_score *score, ms_arena *arena, ms_places *out, msim_error *err) {
    size_t n[2];
    count_ticks(score, n, NULL);
    for (unsigned k = 0; k < 2; k++) {
        out->of[k].list = ms_arena_get(arena, n[k], sizeof(ms_place), "ticks of notes", err);
        if (!out->of[k].list) return -MSIM_E_MEMORY;
        out->of[k].n = n[k];
    }
    count_ticks(score, n, out->of);
    return MSIM_OK;
}

/* Tempo events are gone, but the notes stand in the same order. */
void ms_places_time(const ms_score *score, ms_places *places) {
    uint64_t n_events[2] = {0, 0};
    size_t n[2] = {0, 0};
    for (const ms_event *e = score->events, *end = e + score->n_events; e < end; e++) {
        if (!is_note(e)) continue;
        const unsigned k = e->kind;
        const uint64_t number = n_events[k]++;
        ms_place_list *l = &places->of[k];
        if (n[k] < l->n && l->list[n[k]].ms == number) l->list[n[k]++].ms = e->time;
    }
}

/* ---- Looking up ---- */

/* The first entry that is not before `ms`. */
static size_t first_from(const ms_place_list *l, uint64_t ms) {
    size_t low = 0, high = l->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (l->list[middle].ms < ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Between two entries time is even; behind the last it stands still. */
static uint64_t tick_between(const ms_places *p, uint64_t ms) {
    ms_place a = {0}, b = {.ms = UINT64_MAX};
    for (unsigned k = 0; k < 2; k++) {
        const ms_place_list *l = &p->of[k];
        const size_t after = first_from(l, ms);
        if (after > 0 && l->list[after - 1].tick > a.tick) a = l->list[after - 1];
        if (after < l->n && l->list[after].ms < b.ms) b = l->list[after];
    }
    if (b.ms == UINT64_MAX) return a.tick;
    const double part = b.ms > a.ms ? (double)(ms - a.ms) / (double)(b.ms - a.ms) : 1;
    return a.tick + (uint64_t)(part * (double)(b.tick - a.tick));
}

/* The tick of the first note that begins in this step. */
static bool find_start(const ms_places *p, uint64_t ms, uint64_t *tick) {
    const ms_place_list *l = &p->of[MS_NOTE_ON];
    const size_t i = first_from(l, ms);
    if (i == l->n || l->list[i].ms - ms >= STEP_MS) return false;
    *tick = l->list[i].tick;
    return true;
}

/* The tick of the last note that ends in this step or the next: start and duration are both
 * rounded down. Without one, as with a pedal, it is found by the time. */
static uint64_t find_end(const ms_places *p, uint64_t ms) {
    const ms_place_list *l = &p->of[MS_NOTE_OFF];
    const size_t i = first_from(l, ms + 2 * STEP_MS);
    return i > 0 && l->list[i - 1].ms >= ms ? l->list[i - 1].tick : tick_between(p, ms);
}

/* ---- Bars ---- */

static double shown_beat(const ms_bar_place *at) {
    const double beat = floor(at->beat * MSIM_BEAT_PARTS + 0.5), end = at->beats * MSIM_BEAT_PARTS;
    return 1 + (beat < end ? beat : end - 1) / MSIM_BEAT_PARTS; /* still in its bar */
}

msim_bar_span ms_places_find(const ms_places *p, uint64_t from_ms, uint64_t to_ms) {
    uint64_t from, to;
    if (p->meters.n == 0 || to_ms >= UINT32_MAX) return (msim_bar_span){0}; /* "that or later" */
    if (!find_start(p, from_ms, &from)) from = tick_between(p, from_ms);
    if (!find_start(p, to_ms, &to)) to = find_end(p, to_ms);
    if (to < from) to = from;
    const ms_bar_place a = ms_meters_find(&p->meters, from), b = ms_meters_find(&p->meters, to);
    if (b.bar >= MSIM_MOST_BARS) return (msim_bar_span){0};
    return (msim_bar_span){.from_bar = (int64_t)a.bar + 1,
                           .to_bar = (int64_t)b.bar + 1,
                           .from_beat = shown_beat(&a),
                           .to_beat = shown_beat(&b)};
}
