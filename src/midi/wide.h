/* Integers of up to 1,152 bits, for files whose delta times do not fit 64 bits: docs/TOKENS.md,
 * large numbers.
 *
 * A delta time has no limit on its length, and the original counts in unbounded integers. The
 * stages need only the order of times, and a few differences as doubles. So in such a file every
 * time is replaced by its rank in a table of the distinct values. Only code that takes a difference
 * looks into the table. */
#ifndef MS_MIDI_WIDE_H
#define MS_MIDI_WIDE_H
#include "midi/smf_read.h"

#define MS_WIDE_LIMBS \
    18 /* 1,152 bits; larger values saturate, and a step that large fails in stage
                          * 5 anyhow */

typedef struct {
    uint64_t *limbs; /* arena: [n, n_limbs], each value least limb first; ascending */
    size_t n_limbs, n;
} ms_wide;

/* Replace the time of every event by its rank in `table`, which is made here (rank 0 is tick 0). */
int ms_wide_ticks(const uint8_t *file, size_t n_bytes, ms_smf *smf, ms_arena *arena, ms_wide *table,
                  msim_error *err);
/* An ascending table that starts at 0 and can take n_steps more values, wide enough for the
 * milliseconds of `ticks`. */
int ms_wide_init(ms_wide *table, const ms_wide *ticks, size_t n_steps, ms_arena *arena,
                 msim_error *err);
/* Append the last value + rint(step), step >= 0 and finite, unless that is the last value again.
 * Returns its rank. */
uint64_t ms_wide_step(ms_wide *table, double step);
/* Value b - value a, a <= b, to the nearest double, ties to even; infinity when out of range. */
double ms_wide_gap(const ms_wide *table, uint64_t a, uint64_t b);
/* Such a difference as a whole number, held at 2^63. */
static inline uint64_t ms_wide_ms(double ms) {
    return ms < 0x1p63 ? (uint64_t)ms : (uint64_t)1 << 63;
}

/* True when the variable-length number in [p, end) is complete and at least 10^4300. */
bool ms_wide_number_unprintable(const uint8_t *p, const uint8_t *end);

#endif
