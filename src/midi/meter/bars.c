/* Ticks to milliseconds as a player has them, bars, names of tracks: see bars.h. */
#include "midi/meter/bars.h"
#include <math.h>
#include <stdlib.h>

enum { BARS_PER_NOTE = 16, BARS_FREE = 1024 };

/* ---- Time ---- */

static int by_tick(const void *a, const void *b) {
    const ms_tempo_span *x = a, *y = b;
    if (x->tick != y->tick) return x->tick < y->tick ? -1 : 1;
    return x->ms < y->ms ? -1 : x->ms > y->ms; /* place in the file, up to the sort's end */
}

/* ms per tick of a division in frames: minus frames a second, ticks a frame. */
static double smpte_rate(uint32_t division) {
    const unsigned frames = 256 - (division >> 8), ticks = division & 255;
    const double per_second = frames == 29 ? 30000.0 / 1001 : frames;
    return 1000.0 / (per_second * (ticks ? ticks : 1));
}

/* Spans with places in the file for ms become spans with times. Returns how many are left. */
static size_t settle(ms_tempo_span *spans, size_t n) {
    size_t kept = 1;
    spans[0].ms = 0;
    for (size_t i = 1; i < n; i++) {
        ms_tempo_span *last = &spans[kept - 1];
        if (spans[i].tick == last->tick) {
            last->rate = spans[i].rate;
            continue;
        }
        spans[kept] = spans[i];
        spans[kept].ms = last->ms + last->rate * (double)(spans[i].tick - last->tick);
        kept++;
    }
    return kept;
}

int ms_time_map_make(const ms_smf *smf, ms_arena *arena, ms_time_map *out, msim_error *err) {
    size_t n = 1;
    const bool is_smpte = (smf->division & 0x8000) != 0;
    for (size_t i = 0; i < smf->n_events && !is_smpte; i++) n += smf->events[i].kind == MS_TEMPO;
    out->spans = ms_arena_get(arena, n, sizeof *out->spans, "tempo map", err);
    if (!out->spans) return -MSIM_E_MEMORY;
    out->spans[0] = (ms_tempo_span){
        .ms = -1, .rate = is_smpte ? smpte_rate(smf->division) : 500.0 / smf->division};
    n = 1;
    for (size_t i = 0; i < smf->n_events && !is_smpte; i++) {
        const ms_event *e = &smf->events[i];
        if (e->kind != MS_TEMPO) continue;
        out->spans[n++] = (ms_tempo_span){
            .tick = e->time, .ms = (double)i, .rate = ms_event_tempo(e) / (1000.0 * smf->division)};
    }
    qsort(out->spans, n, sizeof *out->spans, by_tick);
    out->n = settle(out->spans, n);
    return MSIM_OK;
}

uint32_t ms_time_map_ms(const ms_time_map *map, uint64_t tick) {
    size_t low = 0, high = map->n; /* spans[low] begins at or before tick, spans[high] after */
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (map->spans[middle].tick <= tick)
            low = middle;
        else
            high = middle;
    }
    const ms_tempo_span *s = &map->spans[low];
    const double ms = s->ms + s->rate * (double)(tick - s->tick);
    return ms < MSIM_NOTE_MAX_MS ? (uint32_t)lrint(ms) : MSIM_NOTE_MAX_MS;
}

/* ---- Meta events, by their place in the file ---- */

/* The bytes of the meta event of this type at e->at: *n of them, at most to the end of the file.
 * NULL when the event is another. */
static const uint8_t *meta_bytes(const uint8_t *file, size_t n_bytes, const ms_event *e,
                                 unsigned type, size_t *n) {
    const uint8_t *p = file + e->at, *const end = file + n_bytes;
    if (e->at >= n_bytes) return NULL;
    (void)ms_smf_number(&p, end); /* the delta time */
    if (end - p < 3 || p[0] != 0xff || p[1] != type) return NULL;
    p += 2;
    const uint64_t length = ms_smf_number(&p, end);
    *n = length < (uint64_t)(end - p) ? (size_t)length : (size_t)(end - p);
    return p;
}

void ms_bars_track_name(const uint8_t *file, size_t n_bytes, const ms_event *e, const char **name,
                        size_t *name_bytes) {
    enum { NAME_MAX_BYTES = 128 };
    size_t n;
    const uint8_t *bytes = meta_bytes(file, n_bytes, e, 0x03, &n);
    if (!bytes) return;
    *name = (const char *)bytes;
    *name_bytes = n < NAME_MAX_BYTES ? n : NAME_MAX_BYTES;
}

/* ---- Bars ---- */

typedef struct {
    uint64_t tick;
    size_t place; /* in the file: of one tick the last one holds */
    uint8_t beats, beat_unit;
} meter;

static int by_meter_tick(const void *a, const void *b) {
    const meter *x = a, *y = b;
    if (x->tick != y->tick) return x->tick < y->tick ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

/* The time signatures of all tracks, after 4/4 at tick 0. */
static meter *read_meters(const uint8_t *file, size_t n_bytes, const ms_smf *smf, ms_arena *arena,
                          size_t *n_out, msim_error *err) {
    size_t n = 1;
    for (size_t i = 0; i < smf->n_events; i++) n += smf->events[i].kind == MS_PAIR;
    meter *meters = ms_arena_get(arena, n, sizeof *meters, "time signatures", err);
    if (!meters) return NULL;
    meters[0] = (meter){.beats = 4, .beat_unit = 4};
    n = 1;
    for (size_t i = 0; i < smf->n_events; i++) {
        const ms_event *e = &smf->events[i];
        size_t length;
        if (e->kind != MS_PAIR) continue;
        const uint8_t *bytes = meta_bytes(file, n_bytes, e, 0x58, &length);
        if (!bytes || length < 2 || bytes[0] == 0 || bytes[1] > 7) continue;
        meters[n++] = (meter){.tick = e->time,
                              .place = i + 1,
                              .beats = bytes[0],
                              .beat_unit = (uint8_t)(1 << bytes[1])};
    }
    qsort(meters, n, sizeof *meters, by_meter_tick);
    *n_out = n;
    return meters;
}

/* A bar begins at each change of meter, and then after each full bar. Returns the number of bars up
 * to last_tick, or most + 1 when there are more. bars may be NULL: only count. */
static size_t fill_bars(const meter *meters, size_t n, uint32_t division, const ms_time_map *map,
                        uint64_t last_tick, size_t most, msim_bar *bars) {
    size_t n_bars = 0, m = 0;
    double tick = 0; /* bars of odd divisions do not fall on whole ticks */
    for (;;) {
        while (m + 1 < n && (double)meters[m + 1].tick <= tick) m++;
        if (tick > (double)last_tick) return n_bars;
        if (n_bars++ == most) return most + 1;
        if (bars)
            bars[n_bars - 1] = (msim_bar){.start_ms = ms_time_map_ms(map, (uint64_t)tick),
                                          .beats = meters[m].beats,
                                          .beat_unit = meters[m].beat_unit};
        double next = tick + meters[m].beats * 4.0 * division / meters[m].beat_unit;
        if (m + 1 < n && (double)meters[m + 1].tick < next) next = (double)meters[m + 1].tick;
        tick = next;
    }
}

int ms_bars_make(const uint8_t *file, size_t n_bytes, const ms_smf *smf, const ms_time_map *map,
                 uint64_t last_tick, size_t n_notes, ms_arena *arena, msim_piece_notes *out,
                 msim_error *err) {
    size_t n, most = n_notes * BARS_PER_NOTE + BARS_FREE;
    if (smf->division & 0x8000) return MSIM_OK; /* frames have no bars */
    meter *meters = read_meters(file, n_bytes, smf, arena, &n, err);
    if (!meters) return -MSIM_E_MEMORY;
    const size_t n_bars = fill_bars(meters, n, smf->division, map, last_tick, most, NULL);
    if (n_bars > most) return MSIM_OK;
    msim_bar *bars = ms_arena_get(arena, n_bars, sizeof *bars, "bars", err);
    if (!bars) return -MSIM_E_MEMORY;
    fill_bars(meters, n, smf->division, map, last_tick, most, bars);
    out->bars = bars;
    out->n_bars = n_bars;
    return MSIM_OK;
}
