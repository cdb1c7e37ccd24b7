/* Time signatures, and the bars that they make. All that speaks of bars counts them here: the notes
 * of a file (bars.c, and with them the note index), and the windows of a piece (places.c).
 *
 * A bar begins at each time signature, and then after each full bar: a signature in the middle of a
 * bar ends it. Until the first signature the time is 4/4, as the standard says. */
#ifndef MS_MIDI_METER_METER_H
#define MS_MIDI_METER_METER_H
#include "midi/smf_read.h"
#include <string.h>

typedef struct {
    uint64_t tick;            /* where it begins to hold; a bar begins there */
    uint64_t first_bar;       /* the number of that bar, from 0 */
    double bar_ticks;         /* of a full bar: a multiple of 1/32, so exact */
    uint8_t beats, beat_unit; /* 3 and 4 of 3/4 */
} ms_meter;

typedef struct {
    ms_meter *list; /* arena: [n], ascending by tick, the first at 0; of one tick the last holds */
    size_t n;       /* 0: the file has no bars */
} ms_meters;

/* A point of time in bars. */
typedef struct {
    uint64_t bar;  /* from 0 */
    double beat;   /* from 0, in beats of its time signature */
    uint8_t beats; /* of a full bar */
} ms_bar_place;

/* The bytes of the meta event of this type at event->at: *n of them, at most to the end of the
 * file. NULL when the event is another. */
const uint8_t *ms_meter_meta_bytes(const uint8_t *file, size_t n_bytes, const ms_event *event,
                                   unsigned type, size_t *n);
/* The time signatures of all tracks; of one tick the last in the file holds. With a division in
 * SMPTE frames there are no bars. */
int ms_meters_read(const uint8_t *file, size_t n_bytes, const ms_smf *smf, ms_arena *arena,
                   ms_meters *out, msim_error *err);
/* The number of the last of n items that begins at or before `tick`. An item has item_bytes and
 * holds first the tick where it begins; they ascend, and the first begins at 0. */
static inline size_t ms_last_begun(const void *items, size_t n, size_t item_bytes, uint64_t tick) {
    size_t low = 0, high = n; /* low begins at or before tick, high after */
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        uint64_t begins;
        memcpy(&begins, (const char *)items + middle * item_bytes, sizeof begins);
        if (begins <= tick)
            low = middle;
        else
            high = middle;
    }
    return low;
}
/* Where a tick is. There must be bars. */
ms_bar_place ms_meters_find(const ms_meters *meters, uint64_t tick);

#endif
