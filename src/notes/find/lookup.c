/* Prefix ranges: see lookup.h. A prefix is rare enough or not long before its postings are counted:
 * two whole blocks between its ends are more than any limit. So blocks are read for the last prefix
 * alone. */
#include "notes/find/lookup.h"
#include <math.h>
#include <string.h>

void ms_lookup_init(ms_lookup *l, const msim_notes *notes) {
    l->notes = notes;
    l->is_damaged = false;
    memset(l->number, 0, sizeof l->number);
}

/* How many of the rising keys [high] are below `key`, when the first `low` are. */
static uint64_t keys_below(const uint64_t *keys, uint64_t low, uint64_t high, uint64_t key) {
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const uint64_t *block_keys(ms_lookup *l, uint64_t b, size_t *n) {
    const uint8_t *bytes;
    size_t n_bytes;
    const size_t slot = (size_t)(b % MS_LOOKUP_SLOTS);
    if (l->number[slot] != b + 1) {
        l->number[slot] = 0;
        if (!ms_index_block(l->notes, b, &bytes, &n_bytes, n) ||
            !ms_block_keys(bytes, n_bytes, l->notes->keys[b], *n, l->notes->width, l->keys[slot])) {
            l->is_damaged = true;
            *n = 0;
            return NULL;
        }
        l->number[slot] = b + 1;
        l->n[slot] = (uint32_t)*n;
    }
    *n = l->n[slot];
    return l->keys[slot];
}

/* How many postings have a key below `key`, when `below` blocks begin below it. */
static uint64_t postings_below(ms_lookup *l, uint64_t below, uint64_t key) {
    size_t n;
    if (below == 0) return 0;
    const uint64_t *keys = block_keys(l, below - 1, &n);
    return (below - 1) * MS_BLOCK + keys_below(keys, 0, n, key);
}

/* The same when the first `low` are known to be below: the nearest ones are looked at first. */
static uint64_t keys_below_near(const uint64_t *keys, uint64_t low, uint64_t n, uint64_t key) {
    uint64_t step = 1;
    while (low + step < n && keys[low + step - 1] < key) {
        low += step;
        step *= 2;
    }
    return keys_below(keys, low, low + step < n ? low + step : n, key);
}

/* The range of a word, when `low` blocks at least, of `high`, begin below its first prefix. */
static ms_range narrow(ms_lookup *l, const ms_word *word, uint64_t few, uint64_t low,
                       uint64_t high) {
    const msim_notes *notes = l->notes;
    ms_range range = {.intervals = MS_LEAST_INTERVALS};
    for (int k = MS_LEAST_INTERVALS; k <= word->length; k++) {
        const uint64_t from = word->key & ms_word_mask(k),
                       to = from + (UINT64_C(1) << (MS_KEY_BITS - k * MS_INTERVAL_BITS));
        low = keys_below(notes->keys, low, high, from);
        const uint64_t end = keys_below_near(notes->keys, low, high, to);
        const bool is_last = k == word->length;
        if (is_last || end < low + (few + MS_BLOCK - 1) / MS_BLOCK + 1) {
            const uint64_t first = postings_below(l, low, from), last = postings_below(l, end, to);
            range =
                (ms_range){.first = first, .n = last > first ? last - first : 0, .intervals = k};
            if (range.n <= few || is_last) break;
        }
        high = end;
    }
    range.bits = log2f((float)(notes->tail.n_postings + 1) / (float)(range.n + 1));
    return range;
}

ms_range ms_lookup_word(ms_lookup *l, const ms_word *word, uint64_t few) {
    return narrow(l, word, few, 0, l->notes->tail.n_blocks);
}

ms_range ms_lookup_word_after(ms_lookup *l, const ms_word *word, uint64_t few, uint64_t *at) {
    const uint64_t first = word->key & ms_word_mask(MS_LEAST_INTERVALS);
    *at = keys_below_near(l->notes->keys, *at, l->notes->tail.n_blocks, first);
    return narrow(l, word, few, *at, l->notes->tail.n_blocks);
}
