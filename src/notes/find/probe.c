/* A query made ready: see probe.h. */
#include "notes/find/probe.h"
#include "base/stop/sort.h"
#include <string.h>

/* ---- Ranges ---- */

typedef struct {
    uint64_t key;
    uint32_t word;
    uint32_t length;
} keyed;

static int by_key(const void *a, const void *b) {
    const keyed *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return (x->word > y->word) - (x->word < y->word);
}

/* In order of key, so that equal words are looked up once and neighbours share blocks. */
static int look_up(ms_probe *q, ms_lookup *lookup, uint64_t few, ms_arena *arena, msim_error *err) {
    keyed *order = ms_arena_get(arena, q->n_words, sizeof *order, "words", err);
    q->ranges = order ? ms_arena_get(arena, q->n_words, sizeof *q->ranges, "words", err) : NULL;
    if (!q->ranges) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < q->n_words; i++)
        order[i] = (keyed){q->words[i].key, (uint32_t)i, q->words[i].length};
    int rc = ms_sort(order, q->n_words, sizeof *order, by_key, q->stop, arena, "words", err);
    for (size_t i = 0; i < q->n_words && rc >= 0; i++) {
        const uint32_t w = order[i].word;
        rc = ms_stop_check_at(q->stop, i, "words", err);
        if (i > 0 && order[i].key == order[i - 1].key && order[i].length == order[i - 1].length)
            q->ranges[w] = q->ranges[order[i - 1].word];
        else
            q->ranges[w] = ms_lookup_word(lookup, &q->words[w], few);
    }
    if (lookup->is_damaged) return ms_index_damaged(lookup->notes, "a block of postings", err);
    return rc;
}

/* Words that a note has. Slots of earlier notes count as free. */
typedef struct {
    uint64_t key;
    uint32_t note; /* + 1; 0: none */
    uint8_t kind;
} own_word;

static bool is_own(own_word *table, size_t mask, const ms_word *word) {
    size_t i = ms_word_hash(word->key ^ word->kind) & mask;
    for (; table[i].note == word->note + 1; i = (i + 1) & mask)
        if (table[i].key == word->key && table[i].kind == word->kind) return true;
    table[i] = (own_word){word->key, word->note + 1, word->kind};
    return false;
}

/* The most words that a note has. Words stand in order of note. */
static size_t most_of_a_note(const ms_word *words, size_t n) {
    size_t most = 0;
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && words[next].note == words[i].note; next++) {
        }
        if (next - i > most) most = next - i;
    }
    return most;
}

/* Keep each word of a note once; in light searches a sample. A note in many voices has very many
 * words. */
static int drop_double(ms_probe *q, int sample, ms_arena *arena, msim_error *err) {
    const uint64_t mask = ms_word_mask(MS_LEAST_INTERVALS);
    size_t kept = 0, slots = 16;
    int rc = MSIM_OK;
    while (slots < 2 * most_of_a_note(q->words, q->n_words)) slots *= 2;
    own_word *table = ms_arena_get(arena, slots, sizeof *table, "words", err);
    if (!table) return -MSIM_E_MEMORY;
    memset(table, 0, slots * sizeof *table);
    for (size_t i = 0; i < q->n_words && rc >= 0; i++) {
        const ms_word *word = &q->words[i];
        rc = ms_stop_check_at(q->stop, i, "words", err);
        if (sample > 1 && ms_word_hash(word->key & mask) % (unsigned)sample != 0) continue;
        if (!is_own(table, slots - 1, word)) q->words[kept++] = *word;
    }
    q->n_words = kept;
    return rc;
}

static int make_words(ms_probe *q, bool has_bottom, int sample, ms_arena *arena, msim_error *err) {
    ms_streams streams;
    ms_word *words;
    size_t n;
    int rc = ms_streams_make(&q->canon, has_bottom, arena, &streams, err);
    if (rc >= 0 && q->canon.n <= MS_PLAYED_NOTES && q->canon.n_groups < q->canon.n)
        rc = ms_streams_add_played(&q->canon, arena, &streams, err);
    if (rc >= 0) rc = ms_stop_check(q->stop, "words", err);
    if (rc >= 0) rc = ms_words_make(&q->canon, &streams, 1, arena, &words, &n, err);
    if (rc >= 0) rc = ms_stop_check(q->stop, "words", err);
    if (rc < 0) return rc;
    uint32_t *place = ms_arena_get(arena, q->canon.n + 1, sizeof *place, "words", err);
    q->words = place ? ms_arena_get(arena, n, sizeof *q->words, "words", err) : NULL;
    if (!q->words) return -MSIM_E_MEMORY;
    memset(place, 0, (q->canon.n + 1) * sizeof *place);
    for (size_t i = 0; i < n; i++) place[words[i].note + 1]++;
    for (size_t i = 0; i < q->canon.n; i++) place[i + 1] += place[i];
    for (size_t i = 0; i < n; i++) q->words[place[words[i].note]++] = words[i];
    q->n_words = n;
    return drop_double(q, sample, arena, err);
}

/* ---- What a note is worth ---- */

/* Earlier words of the query with the same stream kind and first four intervals, counted in a hash
 * table. */
typedef struct {
    uint64_t what; /* + 1; 0: free */
    uint32_t seen;
} seen_word;

static uint32_t seen_before(seen_word *table, size_t mask, const ms_word *word) {
    const uint64_t what = (word->key & ms_word_mask(4)) | word->kind;
    size_t i = ms_word_hash(what) & mask;
    while (table[i].what && table[i].what != what + 1) i = (i + 1) & mask;
    table[i].what = what + 1;
    return table[i].seen++;
}

/* Bits of a word per interval, less when the query says it again and again: the mean of the words
 * of each note; negative for a note without words. This is what keeps trills, scales and
 * accompaniment figures from looking significant. */
static int word_bits(const ms_probe *q, float *own, ms_arena *arena, msim_error *err) {
    size_t slots = 16;
    while (slots < 2 * q->n_words) slots *= 2;
    seen_word *table = ms_arena_get(arena, slots, sizeof *table, "words", err);
    if (!table) return -MSIM_E_MEMORY;
    int rc = MSIM_OK;
    memset(table, 0, slots * sizeof *table);
    for (size_t i = 0; i < q->canon.n; i++) own[i] = -1;
    for (size_t i = 0, next; i < q->n_words && rc >= 0; i = next) {
        float sum = 0;
        rc = ms_stop_check_at(q->stop, q->words[i].note, "words", err);
        for (next = i; next < q->n_words && q->words[next].note == q->words[i].note; next++) {
            const ms_range *r = &q->ranges[next];
            float novelty = 1.0f / (float)(1 + seen_before(table, slots - 1, &q->words[next]));
            if (novelty < MS_NOVELTY_MIN) novelty = MS_NOVELTY_MIN;
            sum += r->bits / (float)r->intervals * novelty;
        }
        own[q->words[i].note] = sum / (float)(next - i);
    }
    return rc;
}

static int note_bits(ms_probe *q, ms_arena *arena, msim_error *err) {
    float *own = ms_arena_get(arena, q->canon.n, sizeof *own, "words", err);
    q->bits = own ? ms_arena_get(arena, q->canon.n, sizeof *q->bits, "words", err) : NULL;
    if (!q->bits) return -MSIM_E_MEMORY;
    int rc = word_bits(q, own, arena, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < q->canon.n; i++) {
        float sum = 0, n = 0;
        for (size_t j = i >= MS_WORD_REACH ? i - MS_WORD_REACH : 0; j <= i; j++) {
            if (own[j] < 0) continue;
            sum += own[j];
            n += 1;
        }
        q->bits[i] = n > 0 ? sum / n : i > 0 ? q->bits[i - 1] : 0;
        if (q->bits[i] > MS_MATCHED_BITS) q->bits[i] = MS_MATCHED_BITS;
    }
    return MSIM_OK;
}

/* Words with too many postings give none; of a very long query those with most give way until all
 * together are within bounds. */
static void limit_anchors(ms_probe *q, uint64_t most) {
    uint64_t counts[MS_MOST + 1] = {0}, sum = 0;
    for (size_t i = 0; i < q->n_words; i++)
        if (q->ranges[i].n <= most) counts[q->ranges[i].n] += q->ranges[i].n;
    uint64_t limit = 0;
    while (limit < most && sum + counts[limit + 1] <= MS_MAX_ANCHORS) sum += counts[++limit];
    for (size_t i = 0; i < q->n_words; i++)
        if (q->ranges[i].n > limit) q->ranges[i].n = 0;
}

/* Postings at which a prefix is rare enough: more where a query has few words. */
static uint64_t few_of(const ms_probe *q, const ms_probe_limits *limits) {
    if (limits->sample > 1 || q->n_words == 0) return limits->few;
    const uint64_t share = MS_SHORT_POSTINGS / q->n_words;
    if (share <= limits->few) return limits->few;
    return share < limits->most ? share : limits->most;
}

static bool is_thin(const ms_canon *canon) {
    return (float)canon->n < MS_THIN * (float)canon->n_groups;
}

int ms_probe_make_alone(const msim_note *notes, size_t n, int sample, const ms_stop *stop,
                        ms_arena *arena, ms_probe *out, msim_error *err) {
    *out = (ms_probe){.stop = stop};
    int rc = ms_canon_make(notes, n, stop, arena, &out->canon, err);
    if (rc >= 0) rc = make_words(out, true, sample, arena, err);
    if (rc < 0) return rc;
    out->ranges = ms_arena_get(arena, out->n_words, sizeof *out->ranges, "words", err);
    if (!out->ranges) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < out->n_words; i++)
        out->ranges[i] = (ms_range){.intervals = 1, .bits = MS_PAIR_INTERVAL_BITS};
    out->is_thin = is_thin(&out->canon);
    return note_bits(out, arena, err);
}

int ms_probe_make(const msim_note *notes, size_t n, ms_lookup *lookup,
                  const ms_probe_limits *limits, ms_arena *arena, ms_probe *out, msim_error *err) {
    *out = (ms_probe){.stop = limits->stop};
    int rc = ms_canon_make(notes, n, out->stop, arena, &out->canon, err);
    if (rc >= 0) rc = make_words(out, lookup->notes->tail.has_bottom, limits->sample, arena, err);
    if (rc >= 0) rc = look_up(out, lookup, few_of(out, limits), arena, err);
    if (rc >= 0) rc = note_bits(out, arena, err);
    if (rc < 0) return rc;
    out->is_thin = is_thin(&out->canon);
    limit_anchors(out, limits->most < MS_MOST ? limits->most : MS_MOST);
    return MSIM_OK;
}
