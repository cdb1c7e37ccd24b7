/* Ticks to milliseconds as a player has them, bars, names of tracks: see bars.h. */
#include "midi/meter/bars.h"
#include "midi/meter/meter.h"
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
    const ms_tempo_span *s =
        &map->spans[ms_last_begun(map->spans, map->n, sizeof *map->spans, tick)];
    const double ms = s->ms + s->rate * (double)(tick - s->tick);
    return ms < MSIM_NOTE_MAX_MS ? (uint32_t)lrint(ms) : MSIM_NOTE_MAX_MS;
}

/* ---- Meta events, by their place in the file ---- */

void ms_bars_track_name(const uint8_t *file, size_t n_bytes, const ms_event *e, const char **name,
                        size_t *name_bytes) {
    enum { NAME_MAX_BYTES = 128 };
    size_t n;
    const uint8_t *bytes = ms_meter_meta_bytes(file, n_bytes, e, 0x03, &n);
    if (!bytes) return;
    *name = (const char *)bytes;
    *name_bytes = n < NAME_MAX_BYTES ? n : NAME_MAX_BYTES;
}

/* ---- Bars ---- */

/* Returns the number of bars up to last_tick, or most + 1 when there are more. bars may be NULL:
 * only count. */
static size_t fill_bars(const ms_meters *meters, const ms_time_map *map, uint64_t last_tick,
                        size_t most, msim_bar *bars) {
    size_t n = 0;
    for (size_t i = 0; i < meters->n; i++) {
        const ms_meter *m = &meters->list[i];
        const double end = i + 1 < meters->n ? (double)m[1].tick : INFINITY;
        double tick = (double)m->tick; /* bars of odd divisions do not fall on whole ticks */
        for (size_t k = 0; tick < end; tick = (double)m->tick + (double)++k * m->bar_ticks) {
            if (tick > (double)last_tick) return n;
            if (n++ == most) return most + 1;
            if (bars)
                bars[n - 1] = (msim_bar){.start_ms = ms_time_map_ms(map, (uint64_t)tick),
                                         .beats = m->beats,
                                         .beat_unit = m->beat_unit};
        }
    }
    return n;
}

int ms_bars_make(const uint8_t *file, size_t n_bytes, const ms_smf *smf, const ms_time_map *map,
                 uint64_t last_tick, size_t n_notes, ms_arena *arena, msim_piece_notes *out,
                 msim_error *err) {
    ms_meters meters;
    const size_t most = n_notes * BARS_PER_NOTE + BARS_FREE;
    int rc = ms_meters_read(file, n_bytes, smf, arena, &meters, err);
    if (rc < 0) return rc;
    const size_t n_bars = fill_bars(&meters, map, last_tick, most, NULL);
    if (n_bars == 0 || n_bars > most) return MSIM_OK;
    msim_bar *bars = ms_arena_get(arena, n_bars, sizeof *bars, "bars", err);
    if (!bars) return -MSIM_E_MEMORY;
    fill_bars(&meters, map, last_tick, most, bars);
    out->bars = bars;
    out->n_bars = n_bars;
    return MSIM_OK;
}
