/* Time signatures and their bars: see meter.h. */
#include "midi/meter/meter.h"
#include <math.h>
#include <stdlib.h>

/* More bars than any file can have in earnest; sums of such counts still fit 64 bits. */
#define MOST_BARS 0x1p60

const uint8_t *ms_meter_meta_bytes(const uint8_t *file, size_t n_bytes, const ms_event *e,
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

/* first_bar holds the place in the file until bars are counted. */
static int by_tick(const void *a, const void *b) {
    const ms_meter *x = a, *y = b;
    if (x->tick != y->tick) return x->tick < y->tick ? -1 : 1;
    return x->first_bar < y->first_bar ? -1 : x->first_bar > y->first_bar;
}

static ms_meter meter_of(const ms_smf *smf, uint64_t tick, size_t place, unsigned beats,
                         unsigned unit) {
    return (ms_meter){.tick = tick,
                      .first_bar = place,
                      .bar_ticks = beats * 4.0 * smf->division / unit,
                      .beats = (uint8_t)beats,
                      .beat_unit = (uint8_t)unit};
}

/* Between two signatures of one tick there is no bar. */
static void count_bars(ms_meter *list, size_t n) {
    list[0].first_bar = 0;
    for (size_t i = 1; i < n; i++) {
        const ms_meter *before = &list[i - 1];
        const double bars = ceil((double)(list[i].tick - before->tick) / before->bar_ticks);
        const uint64_t sum = before->first_bar + (uint64_t)(bars < MOST_BARS ? bars : MOST_BARS);
        list[i].first_bar = sum < (uint64_t)MOST_BARS ? sum : (uint64_t)MOST_BARS;
    }
}

int ms_meters_read(const uint8_t *file, size_t n_bytes, const ms_smf *smf, ms_arena *arena,
                   ms_meters *out, msim_error *err) {
    size_t n = 1;
    *out = (ms_meters){0};
    if (smf->division & 0x8000) return MSIM_OK;
    for (size_t i = 0; i < smf->n_events; i++) n += smf->events[i].kind == MS_PAIR;
    ms_meter *list = ms_arena_get(arena, n, sizeof *list, "time signatures", err);
    if (!list) return -MSIM_E_MEMORY;
    list[0] = meter_of(smf, 0, 0, 4, 4);
    n = 1;
    for (size_t i = 0; i < smf->n_events; i++) {
        const ms_event *e = &smf->events[i];
        size_t length;
        if (e->kind != MS_PAIR) continue;
        const uint8_t *bytes = ms_meter_meta_bytes(file, n_bytes, e, 0x58, &length);
        if (!bytes || length < 2 || bytes[0] == 0 || bytes[1] > 7) continue;
        list[n++] = meter_of(smf, e->time, i + 1, bytes[0], 1u << bytes[1]);
    }
    qsort(list, n, sizeof *list, by_tick);
    count_bars(list, n);
    out->list = list;
    out->n = n;
    return MSIM_OK;
}

ms_bar_place ms_meters_find(const ms_meters *meters, uint64_t tick) {
    const ms_meter *m =
        &meters->list[ms_last_begun(meters->list, meters->n, sizeof *meters->list, tick)];
    const double ticks = (double)(tick - m->tick);
    double bars = floor(ticks / m->bar_ticks);
    if (bars * m->bar_ticks > ticks) bars--; /* the quotient was rounded up */
    const uint64_t n = (uint64_t)(bars < MOST_BARS ? bars : MOST_BARS);
    return (ms_bar_place){.bar = m->first_bar + n,
                          .beat = (ticks - bars * m->bar_ticks) / (m->bar_ticks / m->beats),
                          .beats = m->beats};
}
