/* Words: see words.h. */
#include "notes/seeds/words.h"
#include <string.h>

/* 40 * 2^(i / 8), rounded. */
static const uint16_t spans[1 << MS_SPAN_BITS] = {
    40,   44,   48,   52,   57,   62,   67,   73,   80,   87,   95,   104,  113,  123,  135,  147,
    160,  174,  190,  207,  226,  247,  269,  293,  320,  349,  381,  415,  453,  494,  538,  587,
    640,  698,  761,  830,  905,  987,  1076, 1174, 1280, 1396, 1522, 1660, 1810, 1974, 2153, 2348,
    2560, 2792, 3044, 3320, 3620, 3948, 4305, 4695, 5120, 5583, 6089, 6640, 7241, 7896, 8611, 9390};

unsigned ms_span_code(uint32_t span_ms) {
    const uint32_t last = (1 << MS_SPAN_BITS) - 1, x = span_ms < 16384 ? span_ms + 40 : 16424;
    unsigned low = 0;
    for (unsigned step = (last + 1) / 2; step > 0; step /= 2)
        if (low + step <= last && spans[low + step] <= x) low += step;
    return low < last && spans[low + 1] - x < x - spans[low] ? low + 1 : low;
}

uint32_t ms_span_of(unsigned code) { return spans[code & ((1 << MS_SPAN_BITS) - 1)]; }

uint64_t ms_words_digest(const ms_canon *c) {
    uint64_t h = ms_word_hash(c->n);
    for (size_t i = 1; i < c->n; i++)
        h = ms_word_hash(h ^ (uint64_t)(128 + c->pitch[i] - c->pitch[i - 1])) + i;
    return h;
}

/* ---- All words ---- */

static uint64_t interval_code(int interval) {
    if (interval > MS_INTERVAL_MAX) interval = MS_INTERVAL_MAX;
    if (interval < -MS_INTERVAL_MAX) interval = -MS_INTERVAL_MAX;
    return (uint64_t)(interval + MS_INTERVAL_MAX + 1);
}

/* The words of one stream of m notes, from its end backwards: each key is the one after it moved by
 * one interval. Returns how many. */
static size_t words_of(const ms_canon *c, const uint32_t *stream, size_t m, uint8_t kind,
                       ms_word *out) {
    uint64_t key = 0;
    if (m <= MS_LEAST_INTERVALS) return 0;
    for (size_t i = m - 1; i-- > 0;) {
        const int interval = c->pitch[stream[i + 1]] - c->pitch[stream[i]];
        key = interval_code(interval) << (MS_KEY_BITS - MS_INTERVAL_BITS) | key >> MS_INTERVAL_BITS;
        if (i + MS_LEAST_INTERVALS >= m) continue;
        const size_t left = m - 1 - i;
        out[i] = (ms_word){.key = key,
                           .note = stream[i],
                           .span_ms = c->time[stream[i + MS_LEAST_INTERVALS]] - c->time[stream[i]],
                           .kind = kind,
                           .length = (uint8_t)(left < MS_INTERVALS ? left : MS_INTERVALS),
                           .is_sampled = 1};
    }
    return m - MS_LEAST_INTERVALS;
}

/* Minimizers: of every w neighbours the word with the least hash of its first intervals; of equal
 * ones the last. */
static void sample(ms_word *words, size_t n, int w) {
    const uint64_t mask = ms_word_mask(MS_LEAST_INTERVALS);
    for (size_t i = 0; i < n; i++) words[i].is_sampled = 0;
    for (size_t i = 0; i + 1 <= n; i++) {
        size_t best = i;
        uint64_t least = UINT64_MAX;
        for (size_t j = i; j < n && j < i + (size_t)w; j++) {
            const uint64_t h = ms_word_hash(words[j].key & mask);
            if (h <= least) {
                least = h;
                best = j;
            }
        }
        words[best].is_sampled = 1;
        if (i + (size_t)w >= n) break;
    }
}

int ms_words_make(const ms_canon *canon, const ms_streams *streams, int density, ms_arena *arena,
                  ms_word **out, size_t *n_out, msim_error *err) {
    ms_word *words = ms_arena_get(arena, streams->starts[streams->n], sizeof *words, "words", err);
    if (!words) return -MSIM_E_MEMORY;
    size_t n = 0;
    for (size_t s = 0; s < streams->n; s++) {
        const size_t first = streams->starts[s], m = streams->starts[s + 1] - first;
        const size_t got = words_of(canon, streams->notes + first, m, streams->kinds[s], words + n);
        if (density > 1) sample(words + n, got, density);
        n += got;
    }
    *out = words;
    *n_out = n;
    return MSIM_OK;
}

/* ---- What the index keeps ---- */

/* Sampled words in order of note; the order of streams stays. Returns how many. */
static size_t sort_by_note(const ms_word *words, size_t n, size_t n_notes, uint32_t *place,
                           ms_word *out) {
    memset(place, 0, (n_notes + 1) * sizeof *place);
    for (size_t i = 0; i < n; i++) place[words[i].note + 1] += words[i].is_sampled;
    for (size_t i = 0; i < n_notes; i++) place[i + 1] += place[i];
    const size_t kept = place[n_notes];
    for (size_t i = 0; i < n; i++)
        if (words[i].is_sampled) out[place[words[i].note]++] = words[i];
    return kept;
}

/* A word equal to an earlier one of its note is dropped. A note in very many voices is compared
 * with its last few words alone. */
static size_t drop_same(ms_word *words, size_t n) {
    enum { LOOK_BACK = 64 };
    const uint64_t mask = ms_word_mask(MS_SAME_INTERVALS);
    size_t kept = 0, first = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || words[i].note != words[i - 1].note) first = kept;
        bool is_same = false;
        for (size_t j = kept; j > first && kept - j < LOOK_BACK && !is_same; j--)
            is_same = ((words[j - 1].key ^ words[i].key) & mask) == 0;
        if (!is_same) words[kept++] = words[i];
    }
    return kept;
}

typedef struct {
    uint64_t prefix; /* + 1; 0: free */
    uint32_t count, seen;
} common;

static common *slot_of(common *table, size_t mask, uint64_t prefix) {
    size_t i = ms_word_hash(prefix) & mask;
    while (table[i].prefix && table[i].prefix != prefix + 1) i = (i + 1) & mask;
    table[i].prefix = prefix + 1;
    return &table[i];
}

/* Of `count` equal ones the places at which j * MAX / count steps on. */
static size_t thin_common(ms_word *words, size_t n, common *table, size_t mask) {
    const uint64_t bits = ms_word_mask(MS_COMMON_INTERVALS);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) slot_of(table, mask, words[i].key & bits)->count++;
    for (size_t i = 0; i < n; i++) {
        common *c = slot_of(table, mask, words[i].key & bits);
        const uint64_t j = c->seen++;
        if (c->count <= MS_COMMON_MAX ||
            (j + 1) * MS_COMMON_MAX / c->count > j * MS_COMMON_MAX / c->count)
            words[kept++] = words[i];
    }
    return kept;
}

int64_t ms_words_select(ms_word *words, size_t n, size_t n_notes, ms_arena *arena,
                        msim_error *err) {
    size_t slots = 16;
    while (slots < 2 * n) slots *= 2;
    uint32_t *place = ms_arena_get(arena, n_notes + 1, sizeof *place, "words", err);
    ms_word *sorted = place ? ms_arena_get(arena, n, sizeof *sorted, "words", err) : NULL;
    common *table = sorted ? ms_arena_get(arena, slots, sizeof *table, "words", err) : NULL;
    if (!table) return -MSIM_E_MEMORY;
    memset(table, 0, slots * sizeof *table);
    n = sort_by_note(words, n, n_notes, place, sorted);
    n = drop_same(sorted, n);
    n = thin_common(sorted, n, table, slots - 1);
    memcpy(words, sorted, n * sizeof *words);
    return (int64_t)n;
}
