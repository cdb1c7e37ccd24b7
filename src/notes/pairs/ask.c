/* Pieces that ask: see ask.h. */
#include "notes/pairs/ask.h"
#include "notes/build/run.h"
#include "notes/file/details.h"
#include <string.h>

enum { CHUNK = 4096, KEEP_BYTES = 64 << 20, WORD_BITS = 28, LENGTH_BITS = 4 };

/* What one thread works with. */
typedef struct {
    ms_arena piece; /* of the piece at hand */
    ms_arena batch; /* of the batch */
    ms_lookup *lookup;
} ask_worker;

struct ms_asking {
    const msim_notes *notes, *against; /* borrowed */
    ms_pool *pool;                     /* borrowed */
    ask_worker *workers;               /* owned, and so on: [threads] */
    ms_asker *askers;                  /* [askers_cap] */
    uint64_t **keys; /* [askers_cap] of each piece's words; each worker's arena has them */
    msim_error *errors;
    ms_posting *order, *spare; /* [order_cap] words in order of key */
    size_t askers_cap, keys_cap, errors_cap, order_cap, spare_cap, n_words;
    const uint32_t *pieces; /* borrowed: of the batch */
};

void ms_asking_close(ms_asking *a) {
    if (!a) return;
    for (int i = 0; a->workers && i < ms_pool_size(a->pool); i++) {
        ms_arena_free(&a->workers[i].piece);
        ms_arena_free(&a->workers[i].batch);
        ms_free(a->workers[i].lookup);
    }
    ms_free(a->workers);
    ms_free(a->askers);
    ms_free(a->keys);
    ms_free(a->errors);
    ms_free(a->order);
    ms_free(a->spare);
    ms_free(a);
}

static int open_worker(ask_worker *w, const msim_notes *against, msim_error *err) {
    ms_arena_init(&w->piece, KEEP_BYTES);
    ms_arena_init(&w->batch, KEEP_BYTES);
    w->lookup = ms_alloc(1, sizeof *w->lookup, "pairs", err);
    if (!w->lookup) return -MSIM_E_MEMORY;
    ms_lookup_init(w->lookup, against);
    return MSIM_OK;
}

int ms_asking_open(const msim_notes *notes, const msim_notes *against, ms_pool *pool,
                   ms_asking **out, msim_error *err) {
    ms_asking *a = *out = ms_alloc(1, sizeof *a, "pairs", err);
    if (!a) return -MSIM_E_MEMORY;
    *a = (ms_asking){.notes = notes, .against = against, .pool = pool};
    a->workers = ms_alloc((size_t)ms_pool_size(pool), sizeof *a->workers, "pairs", err);
    int rc = a->workers ? MSIM_OK : -MSIM_E_MEMORY;
    for (int i = 0; i < ms_pool_size(pool) && rc >= 0; i++)
        rc = open_worker(&a->workers[i], against, err);
    return rc;
}

/* ---- Words of a piece ---- */

/* One of so many words is looked up: fewer of a long piece. */
static unsigned sample_of(size_t n_notes) {
    const size_t share = n_notes / MS_PAIR_ASKING_NOTES;
    return share < 1 ? 1 : share > MS_PAIR_SAMPLE ? MS_PAIR_SAMPLE : (unsigned)share;
}

/* Put the sample in order of note, each word of a note once. Keys have the length of their word
 * below them. Returns how many. */
static size_t order_words(const ms_word *words, size_t n, const ms_canon *canon, uint32_t *place,
                          ms_ask_word *out, uint64_t *keys) {
    const uint64_t mask = ms_word_mask(MS_LEAST_INTERVALS);
    const unsigned sample = sample_of(canon->n);
    memset(place, 0, (canon->n + 1) * sizeof *place);
    for (size_t i = 0; i < n; i++)
        place[words[i].note + 1] += ms_word_hash(words[i].key & mask) % sample == 0;
    for (size_t i = 0; i < canon->n; i++) place[i + 1] += place[i];
    const size_t all = place[canon->n];
    for (size_t i = 0; i < n; i++) {
        if (ms_word_hash(words[i].key & mask) % sample != 0) continue;
        const size_t at = place[words[i].note]++;
        out[at] = (ms_ask_word){.note = words[i].note, .span_ms = words[i].span_ms};
        keys[at] = words[i].key << LENGTH_BITS | words[i].length;
    }
    size_t kept = 0, first = 0;
    for (size_t i = 0; i < all; i++) {
        bool is_double = false;
        if (kept == 0 || out[i].note != out[kept - 1].note) first = kept;
        for (size_t j = first; j < kept && !is_double; j++) is_double = keys[j] == keys[i];
        if (is_double) continue;
        out[kept] = out[i];
        keys[kept++] = keys[i];
    }
    return kept;
}

static int keep_notes(const ms_canon *canon, ms_arena *arena, ms_canon *out, msim_error *err) {
    *out = (ms_canon){.n = canon->n};
    out->time = ms_arena_get(arena, canon->n, sizeof *out->time, "notes", err);
    out->pitch = out->time ? ms_arena_get(arena, canon->n, 1, "notes", err) : NULL;
    if (!out->pitch) return -MSIM_E_MEMORY;
    memcpy(out->time, canon->time, canon->n * sizeof *out->time);
    memcpy(out->pitch, canon->pitch, canon->n);
    return MSIM_OK;
}

static int make_words(const msim_notes *notes, ask_worker *w, ms_asker *out, uint64_t **keys,
                      msim_error *err) {
    ms_piece_view view;
    msim_piece_notes got = {.size = sizeof got};
    ms_canon canon;
    ms_streams streams;
    ms_word *words;
    size_t n;
    if (!ms_index_piece(notes, out->piece, &view) || view.n_notes == 0)
        return ms_index_damaged(notes, "a piece", err);
    int rc = ms_details_get(view.details, view.details_bytes, view.pitches, view.n_notes, &w->piece,
                            &got, err);
    if (rc >= 0) rc = ms_canon_make(got.notes, got.n_notes, NULL, &w->piece, &canon, err);
    if (rc >= 0) rc = ms_streams_make(&canon, true, &w->piece, &streams, err);
    if (rc >= 0) rc = ms_words_make(&canon, &streams, 1, &w->piece, &words, &n, err);
    if (rc >= 0) rc = keep_notes(&canon, &w->batch, &out->canon, err);
    if (rc < 0) return rc;
    uint32_t *place = ms_arena_get(&w->piece, canon.n + 1, sizeof *place, "words", err);
    out->words = place ? ms_arena_get(&w->batch, n, sizeof *out->words, "words", err) : NULL;
    *keys = out->words ? ms_arena_get(&w->batch, n, sizeof **keys, "words", err) : NULL;
    if (!*keys) return -MSIM_E_MEMORY;
    out->n_words = order_words(words, n, &canon, place, out->words, *keys);
    if (out->n_words >> WORD_BITS)
        return ms_fail(err, MSIM_E_LIMIT, "words of a piece: expected fewer than 2^%d", WORD_BITS);
    return MSIM_OK;
}

static void words_item(void *arg, int64_t item, int worker) {
    ms_asking *a = arg;
    ask_worker *w = &a->workers[worker];
    ms_arena_reset(&w->piece);
    a->askers[item] = (ms_asker){.piece = a->pieces[item]};
    a->errors[item] = (msim_error){0};
    (void)make_words(a->notes, w, &a->askers[item], &a->keys[item], &a->errors[item]);
}

/* ---- Places of words ---- */

/* Read the postings of a range. */
static int read_places(const msim_notes *notes, const ms_range *range, ms_arena *arena,
                       const ms_ask_place **places, msim_error *err) {
    ms_ask_place *out = ms_arena_get(arena, (size_t)range->n, sizeof *out, "words", err);
    const uint8_t *block = NULL;
    size_t n_bytes, n = 0;
    if (!out) return -MSIM_E_MEMORY;
    *places = out;
    for (uint64_t at = range->first; at < range->first + range->n; at++, out++) {
        if (!block || at % MS_BLOCK == 0)
            if (!ms_index_block(notes, at / MS_BLOCK, &block, &n_bytes, &n))
                return ms_index_damaged(notes, "a block of postings", err);
        if (at % MS_BLOCK >= n) return ms_index_damaged(notes, "a block of postings", err);
        const uint64_t value = ms_block_value(block, (size_t)(at % MS_BLOCK), notes->width);
        *out = (ms_ask_place){0};
        if (!ms_index_piece_of(notes, value >> MS_SPAN_BITS, &out->piece, &out->note))
            return ms_index_damaged(notes, "a posting", err);
        out->span = (uint16_t)ms_span_of((unsigned)value & ((1 << MS_SPAN_BITS) - 1));
        out->pitch = notes->pitches[value >> MS_SPAN_BITS];
    }
    return MSIM_OK;
}

/* Of the postings of one whole word, which stand in order of note, how many are below a note. */
static int count_below(const msim_notes *notes, const ms_range *range, uint64_t note,
                       uint64_t *below, msim_error *err) {
    uint64_t low = 0, high = range->n;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2, at = range->first + middle;
        const uint8_t *block;
        size_t n_bytes, n;
        if (!ms_index_block(notes, at / MS_BLOCK, &block, &n_bytes, &n) || at % MS_BLOCK >= n)
            return ms_index_damaged(notes, "a block of postings", err);
        if (ms_block_value(block, (size_t)(at % MS_BLOCK), notes->width) >> MS_SPAN_BITS < note)
            low = middle + 1;
        else
            high = middle;
    }
    *below = low;
    return MSIM_OK;
}

/* A word that very many pieces have: the postings that follow the piece itself. So of hundreds of
 * versions each finds its neighbours, and all hold together. */
static int read_followers(const ms_asking *a, ask_worker *w, const ms_asker *asker, ms_range range,
                          ms_ask_word *found, msim_error *err) {
    const ms_piece_record *piece = &a->notes->pieces[asker->piece];
    uint64_t end = piece->first_note + piece->n_notes, below = 0;
    if (a->notes != a->against) /* as far into the other index */
        end = (uint64_t)((double)end / (double)a->notes->tail.n_notes *
                         (double)a->against->tail.n_notes);
    int rc = count_below(a->against, &range, end, &below, err);
    if (rc < 0) return rc;
    if (below > range.n - MS_PAIR_FOLLOWERS) below = range.n - MS_PAIR_FOLLOWERS;
    range.first += below;
    range.n = MS_PAIR_FOLLOWERS;
    found->n_places = MS_PAIR_FOLLOWERS;
    return read_places(a->against, &range, &w->batch, &found->places, err);
}

typedef struct {
    ms_asker *asker;
    size_t number; /* of the word there */
    uint8_t length;
} asked_word;

static asked_word word_of(const ms_asking *a, uint64_t value) {
    return (asked_word){.asker = &a->askers[value >> (WORD_BITS + LENGTH_BITS)],
                        .number = value & ((UINT64_C(1) << WORD_BITS) - 1),
                        .length = (uint8_t)(value >> WORD_BITS & ((1 << LENGTH_BITS) - 1))};
}

static void set_word(const asked_word *word, const ms_ask_word *found) {
    ms_ask_word *to = &word->asker->words[word->number];
    to->places = found->places;
    to->n_places = found->n_places;
    to->bits = found->bits;
}

/* The words of a chunk of the order. Neighbours are often the same word. */
static int look_up(ms_asking *a, ask_worker *w, size_t first, size_t end, msim_error *err) {
    ms_ask_word found = {0};
    ms_range range = {0};
    uint64_t at = 0;
    for (size_t i = first; i < end; i++) {
        const asked_word word = word_of(a, a->order[i].value);
        const bool is_same = i > first && a->order[i - 1].key == a->order[i].key &&
                             word_of(a, a->order[i - 1].value).length == word.length;
        int rc = MSIM_OK;
        if (!is_same) {
            const ms_word sought = {.key = a->order[i].key, .length = word.length};
            range = ms_lookup_word_after(w->lookup, &sought, MS_LIGHT_FEW, &at);
            if (w->lookup->is_damaged)
                return ms_index_damaged(a->against, "a block of postings", err);
            found = (ms_ask_word){.bits = range.bits};
            if (range.n <= MS_LIGHT_MOST) {
                found.n_places = (uint32_t)range.n;
                rc = read_places(a->against, &range, &w->batch, &found.places, err);
            }
        }
        if (range.n > MS_LIGHT_MOST && range.intervals == MS_INTERVALS)
            rc = read_followers(a, w, word.asker, range, &found, err);
        if (rc < 0) return rc;
        set_word(&word, &found);
    }
    return MSIM_OK;
}

static void chunk_item(void *arg, int64_t item, int worker) {
    ms_asking *a = arg;
    const size_t first = (size_t)item * CHUNK,
                 end = a->n_words - first < CHUNK ? a->n_words : first + CHUNK;
    a->errors[item] = (msim_error){0};
    (void)look_up(a, &a->workers[worker], first, end, &a->errors[item]);
}

/* ---- A batch ---- */

static int first_failure(const ms_asking *a, size_t n, msim_error *err) {
    for (size_t i = 0; i < n; i++)
        if (a->errors[i].code) return ms_fail(err, a->errors[i].code, "%s", a->errors[i].text);
    return MSIM_OK;
}

/* All words in order of key. */
static int order_all(ms_asking *a, size_t n, msim_error *err) {
    ms_posting *sorted;
    a->n_words = 0;
    for (size_t i = 0; i < n; i++) a->n_words += a->askers[i].n_words;
    int rc = ms_grow((void **)&a->order, &a->order_cap, a->n_words, sizeof *a->order, "words", err);
    if (rc >= 0)
        rc = ms_grow((void **)&a->spare, &a->spare_cap, a->n_words, sizeof *a->spare, "words", err);
    if (rc < 0) return rc;
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < a->askers[i].n_words; k++) {
            const uint64_t key = a->keys[i][k], length = key & ((1 << LENGTH_BITS) - 1);
            a->order[at++] =
                (ms_posting){.key = key >> LENGTH_BITS,
                             .value = ((uint64_t)i << LENGTH_BITS | length) << WORD_BITS | k};
        }
    ms_postings_sort(a->order, a->spare, a->n_words, &sorted);
    if (sorted == a->order) return MSIM_OK;
    a->spare = a->order;
    a->order = sorted;
    const size_t cap = a->order_cap;
    a->order_cap = a->spare_cap;
    a->spare_cap = cap;
    return MSIM_OK;
}

int ms_ask(ms_asking *a, const uint32_t *pieces, size_t n, const ms_asker **askers,
           msim_error *err) {
    a->pieces = pieces;
    for (int i = 0; i < ms_pool_size(a->pool); i++) ms_arena_reset(&a->workers[i].batch);
    int rc = ms_grow((void **)&a->askers, &a->askers_cap, n, sizeof *a->askers, "pairs", err);
    if (rc >= 0) rc = ms_grow((void **)&a->keys, &a->keys_cap, n, sizeof(uint64_t *), "pairs", err);
    if (rc >= 0)
        rc = ms_grow((void **)&a->errors, &a->errors_cap, n, sizeof *a->errors, "pairs", err);
    if (rc < 0) return rc;
    ms_pool_run(a->pool, (int64_t)n, words_item, a);
    rc = first_failure(a, n, err);
    if (rc >= 0) rc = order_all(a, n, err);
    if (rc < 0) return rc;
    const size_t chunks = (a->n_words + CHUNK - 1) / CHUNK;
    rc = ms_grow((void **)&a->errors, &a->errors_cap, chunks, sizeof *a->errors, "pairs", err);
    if (rc < 0) return rc;
    ms_pool_run(a->pool, (int64_t)chunks, chunk_item, a);
    *askers = a->askers;
    return first_failure(a, chunks, err);
}
