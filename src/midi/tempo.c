/* Ticks to milliseconds: stage 5 of docs/TOKENS.md. The stream is changed in place. In a wide file
 * the milliseconds get a table of their own from the arena. The tokens depend on every rounding
 * here: no operation may be fused or moved. */
#include "midi/score.h"
#include <math.h>

/* Events of one tick need no grouping: between them the step is 0, which adds exactly nothing to ms
 * and to now, and a tempo, wherever it stands in its tick, holds from the next one on. parity: the
 * tempo before the first tempo event is 400,000 us per quarter; time is rounded step by step, from
 * each tick that holds anything but tempo events to the next, so that the errors add up
 * (test/unit/midi/test_stages.c, stage_5_milliseconds). */
static void convert_narrow(ms_score *score, uint32_t division) {
    double rate = 400.0 / division; /* ms per tick */
    double ms = 0, rounded_at = 0;
    uint64_t now = 0, tick = 0;
    ms_event *out = score->events;
    for (const ms_event *e = out, *const end = e + score->n_events; e < end; e++) {
        ms = ms + rate * (double)(int64_t)(e->time - tick);
        tick = e->time;
        if (e->kind == MS_TEMPO) {
            rate = (double)ms_event_tempo(e) / (1000.0 * (double)division);
            continue;
        }
        now += (uint64_t)llrint(ms - rounded_at);
        rounded_at = ms;
        *out = *e;
        out++->time = now;
    }
    score->n_events = (size_t)(out - score->events);
}

/* The same on ranks. */
static int convert_wide(ms_score *score, uint32_t division, const ms_wide *ticks, ms_wide *ms_table,
                        msim_error *err) {
    double rate = 400.0 / division, ms = 0, rounded_at = 0;
    uint64_t tick = 0;
    ms_event *out = score->events;
    for (size_t i = 0; i < score->n_events; i++) {
        const ms_event e = score->events[i];
        double step = ms_wide_gap(ticks, tick, e.time);
        ms = ms + rate * step;
        tick = e.time;
        if (!isfinite(step) || !isfinite(ms))
            return ms_fail(err, MSIM_E_FORMAT, "bad MIDI: byte %u: the time is past 2^1024 ms",
                           (unsigned)e.at);
        if (e.kind == MS_TEMPO) {
            rate = (double)ms_event_tempo(&e) / (1000.0 * (double)division);
            continue;
        }
        *out = e;
        out++->time = ms_wide_step(ms_table, ms - rounded_at);
        rounded_at = ms;
    }
    score->n_events = (size_t)(out - score->events);
    return MSIM_OK;
}

int ms_tempo_convert(ms_score *score, uint32_t division, const ms_wide *ticks, ms_wide *ms,
                     ms_arena *arena, msim_error *err) {
    score->ms = NULL;
    if (!ticks) {
        convert_narrow(score, division);
        return MSIM_OK;
    }
    int rc = ms_wide_init(ms, ticks, ticks->n, arena, err);
    if (rc < 0) return rc;
    score->ms = ms;
    return convert_wide(score, division, ticks, ms, err);
}
