/* Integers of up to 1,152 bits: see wide.h. Tables come from the arena. They have a row of 8 to 144
 * bytes for each distinct time; the file's longest delta time decides the width. docs/TOKENS.md,
 * large numbers. */
#include "midi/wide.h"
#include <math.h>
#include <string.h>

static uint64_t *value_at(const ms_wide *t, uint64_t i) { return t->limbs + i * t->n_limbs; }

static void saturate(uint64_t *a, size_t n) { memset(a, 0xff, n * sizeof *a); }

static void add_limbs(uint64_t *a, const uint64_t *b, size_t n) {
    unsigned carry = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t s;
        unsigned c = __builtin_add_overflow(a[i], b[i], &s);
        c |= __builtin_add_overflow(s, (uint64_t)carry, &a[i]);
        carry = c;
    }
    if (carry) saturate(a, n);
}

static int compare_limbs(const uint64_t *a, const uint64_t *b, size_t n) {
    while (n-- > 0)
        if (a[n] != b[n]) return a[n] < b[n] ? -1 : 1;
    return 0;
}

/* a[at bits..] |= the low bits of v, which were zero there; v has at most 53 bits. */
static void put_bits(uint64_t *a, size_t n, size_t at, uint64_t v) {
    size_t limb = at / 64, shift = at % 64;
    if (!v) return;
    if (limb >= n || (shift && limb + 1 >= n && v >> (64 - shift))) {
        saturate(a, n);
        return;
    }
    a[limb] |= v << shift;
    if (shift && limb + 1 < n) a[limb + 1] |= v >> (64 - shift);
}

/* The variable-length number at p, complete before `end`: its groups without leading zeros are
 * [*first, *last]. */
static bool number_groups(const uint8_t *p, const uint8_t *end, const uint8_t **first,
                          const uint8_t **last) {
    while (p < end && *p == 0x80) p++;
    *first = p;
    while (p < end && *p >= 0x80) p++;
    *last = p;
    return p < end;
}

static void number_limbs(const uint8_t *first, const uint8_t *last, uint64_t *a, size_t n) {
    size_t at = 0;
    memset(a, 0, n * sizeof *a);
    for (const uint8_t *p = last + 1; p-- > first; at += 7) put_bits(a, n, at, *p & 0x7f);
}

/* Sort the indices by their values: merges the runs that are there (one a track), so n log(tracks)
 * comparisons. */
static uint32_t *merge_runs(const ms_wide *t, uint32_t *from, uint32_t *to) {
    const size_t n = t->n;
    for (size_t runs = 2; runs > 1;) {
        runs = 0;
        for (size_t lo = 0, mid, hi; lo < n; lo = hi, runs++) {
            for (mid = lo + 1; mid < n; mid++)
                if (compare_limbs(value_at(t, from[mid - 1]), value_at(t, from[mid]), t->n_limbs) >
                    0)
                    break;
            for (hi = mid < n ? mid + 1 : n; hi < n; hi++)
                if (compare_limbs(value_at(t, from[hi - 1]), value_at(t, from[hi]), t->n_limbs) > 0)
                    break;
            for (size_t a = lo, b = mid, k = lo; k < hi; k++) {
                bool left = b == hi ||
                            (a < mid && compare_limbs(value_at(t, from[a]), value_at(t, from[b]),
                                                      t->n_limbs) <= 0);
                to[k] = left ? from[a++] : from[b++];
            }
        }
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

/* Fill `all` with the ticks of all events, each track's ascending, and point the events at them. */
static void collect_ticks(const uint8_t *file, size_t n_bytes, ms_smf *smf, ms_wide *all) {
    const size_t n_limbs = all->n_limbs;
    uint64_t delta[MS_WIDE_LIMBS];
    size_t e = 0;
    memset(value_at(all, 0), 0, n_limbs * sizeof(uint64_t));
    all->n = 1;
    for (size_t t = 0; t < smf->n_tracks; t++)
        for (size_t now = 0; e < smf->track_ends[t]; e++) {
            const uint8_t *first, *last;
            number_groups(file + smf->events[e].at, file + n_bytes, &first, &last);
            if (first != last || *last != 0) {
                number_limbs(first, last, delta, n_limbs);
                memcpy(value_at(all, all->n), value_at(all, now), n_limbs * sizeof(uint64_t));
                now = all->n++;
                add_limbs(value_at(all, now), delta, n_limbs);
            }
            smf->events[e].time = now;
        }
}

/* Values and limbs that the ticks of a file take: one value for each delta time above 0, and tick
 * 0. */
static void measure_ticks(const uint8_t *file, size_t n_bytes, const ms_smf *smf, ms_wide *all) {
    size_t longest = 0;
    all->n = 1;
    for (size_t e = 0; e < smf->n_events; e++) {
        const uint8_t *first, *last;
        number_groups(file + smf->events[e].at, file + n_bytes, &first, &last);
        size_t groups = (size_t)(last - first) + 1;
        if (groups > longest) longest = groups;
        all->n += first != last || *last != 0;
    }
    /* Fewer than 2^31 deltas of `bits` bits. */
    size_t bits = longest * 7 + 31;
    all->n_limbs = bits / 64 + 1 < MS_WIDE_LIMBS ? bits / 64 + 1 : MS_WIDE_LIMBS;
}

static int get_table(ms_wide *t, ms_arena *arena, msim_error *err) {
    t->limbs = ms_arena_get(arena, t->n, t->n_limbs * sizeof(uint64_t), "MIDI times", err);
    return t->limbs ? MSIM_OK : -MSIM_E_MEMORY;
}

int ms_wide_ticks(const uint8_t *file, size_t n_bytes, ms_smf *smf, ms_arena *arena, ms_wide *table,
                  msim_error *err) {
    ms_wide all;
    measure_ticks(file, n_bytes, smf, &all);
    uint32_t *order = ms_arena_get(arena, all.n, sizeof *order, "MIDI times", err);
    uint32_t *spare = order ? ms_arena_get(arena, all.n, sizeof *spare, "MIDI times", err) : NULL;
    if (!spare || get_table(&all, arena, err) < 0) return -MSIM_E_MEMORY;
    collect_ticks(file, n_bytes, smf, &all);
    for (size_t i = 0; i < all.n; i++) order[i] = (uint32_t)i;
    uint32_t *sorted = merge_runs(&all, order, spare), *rank = sorted == order ? spare : order;

    *table = all;
    if (get_table(table, arena, err) < 0) return -MSIM_E_MEMORY;
    const size_t row_bytes = all.n_limbs * sizeof(uint64_t);
    table->n = 0;
    for (size_t i = 0; i < all.n; i++) {
        const uint64_t *value = value_at(&all, sorted[i]);
        if (i == 0 || compare_limbs(value, value_at(table, table->n - 1), all.n_limbs) != 0)
            memcpy(value_at(table, table->n++), value, row_bytes);
        rank[sorted[i]] = (uint32_t)(table->n - 1);
    }
    for (size_t e = 0; e < smf->n_events; e++) smf->events[e].time = rank[smf->events[e].time];
    smf->last_tick = table->n - 1;
    return MSIM_OK;
}

int ms_wide_init(ms_wide *table, const ms_wide *ticks, size_t n_steps, ms_arena *arena,
                 msim_error *err) {
    /* A tick has under 2^15 ms. With all limbs in use a step is under 2^1024, and there are fewer
     * than 2^32. */
    table->n_limbs = ticks->n_limbs < MS_WIDE_LIMBS ? ticks->n_limbs + 1 : MS_WIDE_LIMBS;
    table->n = n_steps + 1;
    if (get_table(table, arena, err) < 0) return -MSIM_E_MEMORY;
    memset(table->limbs, 0, table->n_limbs * sizeof(uint64_t));
    table->n = 1;
    return MSIM_OK;
}

uint64_t ms_wide_step(ms_wide *table, double step) {
    uint64_t add[MS_WIDE_LIMBS] = {0}, last = table->n - 1;
    int exponent = 0;
    double whole = rint(step);
    if (whole == 0) return last;
    /* whole = fraction * 2^exponent with 53 bits in the fraction: from 2^53 on a double is a whole
     * number. */
    double fraction = frexp(whole, &exponent);
    uint64_t bits = (uint64_t)ldexp(fraction, 53);
    if (exponent >= 53)
        put_bits(add, table->n_limbs, (size_t)exponent - 53, bits);
    else
        add[0] = bits >> (53 - exponent);
    memcpy(value_at(table, table->n), value_at(table, last), table->n_limbs * sizeof(uint64_t));
    add_limbs(value_at(table, table->n), add, table->n_limbs);
    return table->n++;
}

double ms_wide_gap(const ms_wide *table, uint64_t a, uint64_t b) {
    uint64_t gap[MS_WIDE_LIMBS];
    const uint64_t *x = value_at(table, a), *y = value_at(table, b);
    unsigned borrow = 0;
    for (size_t i = 0; i < table->n_limbs; i++) {
        uint64_t d;
        unsigned c = __builtin_sub_overflow(y[i], x[i], &d);
        c |= __builtin_sub_overflow(d, (uint64_t)borrow, &gap[i]);
        borrow = c;
    }
    size_t top = table->n_limbs;
    while (top > 0 && gap[top - 1] == 0) top--;
    if (top == 0) return 0.0;
    /* The 64 leading bits, the last one standing for all below it too: the one rounding of the
     * conversion is then that of the whole number. */
    int zeros = __builtin_clzll(gap[top - 1]);
    uint64_t lead = gap[top - 1] << zeros;
    if (top > 1) {
        uint64_t rest = gap[top - 2] << zeros;
        if (zeros) lead |= gap[top - 2] >> (64 - zeros);
        for (size_t i = 0; i + 2 < top; i++) rest |= gap[i];
        lead |= rest != 0;
    }
    return ldexp((double)lead, (int)(top - 1) * 64 - zeros);
}

/* 10^4300 has 14,285 bits: 447 limbs of 32. */
#define POWER_BITS 14285
#define POWER_LIMBS 447

bool ms_wide_number_unprintable(const uint8_t *p, const uint8_t *end) {
    const uint8_t *first, *last;
    if (!number_groups(p, end, &first, &last)) return false;
    size_t bits = (size_t)(last - first) * 7;
    for (unsigned lead = *first & 0x7f; lead; lead >>= 1) bits++;
    if (bits != POWER_BITS) return bits > POWER_BITS;

    uint32_t power[POWER_LIMBS] = {1}, value[POWER_LIMBS] = {0};
    for (int digits = 0; digits < 4300; digits += 9) {
        /* 477 x 9 digits, and 7 */
        const uint32_t factor = digits + 9 <= 4300 ? 1000000000 : 10000000;
        uint64_t carry = 0;
        for (size_t i = 0; i < POWER_LIMBS; i++) {
            carry += (uint64_t)power[i] * factor;
            power[i] = (uint32_t)carry;
            carry >>= 32;
        }
    }
    size_t at = 0;
    for (p = last + 1; p-- > first; at += 7) {
        uint64_t group = (uint64_t)(*p & 0x7f) << at % 32;
        value[at / 32] |= (uint32_t)group;
        if (group >> 32) value[at / 32 + 1] |= (uint32_t)(group >> 32);
    }
    for (size_t i = POWER_LIMBS; i-- > 0;)
        if (value[i] != power[i]) return value[i] > power[i];
    return true;
}
