/* The bars of a row as files hold them: 12 bytes, little-endian, in the journal and, in base64, in
 * the description of a corpus. docs/FORMATS.md, CORPUS.npy.json. */
#ifndef MS_BASE_BARS_H
#define MS_BASE_BARS_H
#include "base/status.h"
#include <stdbool.h>

typedef struct {
    uint32_t from_bar, to_bar;   /* from 1; all zero: not known */
    uint16_t from_beat, to_beat; /* 1/240 of a beat from the beginning of the bar */
} ms_stored_bars;

_Static_assert(sizeof(ms_stored_bars) == 12, "as documented");

static inline ms_stored_bars ms_bars_pack(const msim_bar_span *bars) {
    if (bars->from_bar == 0) return (ms_stored_bars){0};
    return (ms_stored_bars){.from_bar = (uint32_t)bars->from_bar,
                            .to_bar = (uint32_t)bars->to_bar,
                            .from_beat = (uint16_t)((bars->from_beat - 1) * MSIM_BEAT_PARTS + 0.5),
                            .to_beat = (uint16_t)((bars->to_beat - 1) * MSIM_BEAT_PARTS + 0.5)};
}

static inline msim_bar_span ms_bars_unpack(const ms_stored_bars *bars) {
    if (bars->from_bar == 0) return (msim_bar_span){0};
    return (msim_bar_span){.from_bar = bars->from_bar,
                           .to_bar = bars->to_bar,
                           .from_beat = 1 + (double)bars->from_beat / MSIM_BEAT_PARTS,
                           .to_beat = 1 + (double)bars->to_beat / MSIM_BEAT_PARTS};
}

/* True for what ms_bars_pack gives. */
static inline bool ms_bars_are_valid(const ms_stored_bars *b) {
    enum { MOST_BEATS = 255 };
    if (b->from_bar == 0) return (b->to_bar | b->from_beat | b->to_beat) == 0;
    bool is_forward = b->from_bar < b->to_bar ||
                      (b->from_bar == b->to_bar && b->from_beat <= b->to_beat);
    return is_forward && b->from_beat < MOST_BEATS * MSIM_BEAT_PARTS &&
           b->to_beat < MOST_BEATS * MSIM_BEAT_PARTS;
}

#endif
