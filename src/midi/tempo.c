/* Ticks to milliseconds: stage 5 of docs/TOKENS.md. Works in place on the stream; in a wide file the milliseconds get
 * a table of their own from the arena. The tokens depend on every rounding here: no operation may be fused or moved. */
#include "midi/score.h"
#include <math.h>

static int too_large(const ms_event *e, msim_error *err) {
    return ms_fail(err, MSIM_E_FORMAT, "bad MIDI: byte %u: expected a time below 2^1024, got a larger one",
                   (unsigned)e->at);
}

/* parity: the tempo before the first tempo event is 400,000 us per quarter; time is rounded step by step, from each
 * tick that holds anything but tempo events to the next, so that the errors add up; the last tempo of a tick holds from
 * that tick on. */
int ms_tempo_convert(ms_score *score, uint32_t division, const ms_wide *ticks, ms_wide *ms_table, ms_arena *arena,
                     msim_error *err) {
    double rate = 400.0 / division; /* ms per tick */
    double ms = 0, rounded_at = 0;
    uint64_t now = 0, tick = 0;
    ms_event *out = score->events;
    const ms_event *end = score->events + score->n_events;
    score->ms = NULL;
    if (ticks) {
        int rc = ms_wide_init(ms_table, ticks, ticks->n, arena, err);
        if (rc < 0) return rc;
        score->ms = ms_table;
    }
    for (const ms_event *e = score->events; e < end;) {
        const uint64_t t = e->time;
        double step = ticks ? ms_wide_gap(ticks, tick, t) : (double)(int64_t)(t - tick);
        ms = ms + rate * step;
        tick = t;
        if (ticks && (!isfinite(step) || !isfinite(ms))) return too_large(e, err);
        bool is_step = false, is_tempo = false;
        uint32_t tempo = 0; /* us per quarter */
        for (; e < end && e->time == t; e++) {
            if (e->kind == MS_TEMPO) {
                is_tempo = true;
                tempo = ms_event_tempo(e);
                continue;
            }
            if (!is_step) {
                is_step = true;
                now = ticks ? ms_wide_step(ms_table, ms - rounded_at) : now + (uint64_t)llrint(ms - rounded_at);
                rounded_at = ms;
            }
            *out = *e;
            out++->time = now;
        }
        if (is_tempo) rate = (double)tempo / (1000.0 * (double)division);
    }
    score->n_events = (size_t)(out - score->events);
    return MSIM_OK;
}
