/* Pieces and postings in memory: see run.h. */
#define _GNU_SOURCE
#include "notes/build/run.h"
#include "base/text/order.h"
#include "notes/file/details.h"
#include "notes/seeds/words.h"
#include <stdlib.h>
#include <string.h>

void ms_run_init(ms_run *run) {
    *run = (ms_run){0};
    ms_arena_init(&run->arena, (size_t)8 << 20);
}

void ms_run_clear(ms_run *run) {
    run->n_pieces = run->n_names = run->n_notes = run->n_details = run->n_postings = 0;
}

void ms_run_free(ms_run *run) {
    ms_free(run->pieces);
    ms_free(run->names);
    ms_free(run->pitches);
    ms_free(run->details);
    ms_free(run->postings);
    ms_arena_free(&run->arena);
    *run = (ms_run){0};
}

size_t ms_run_bytes(const ms_run *run) {
    return run->n_pieces * sizeof *run->pieces * 2 + run->n_names + run->n_notes + run->n_details +
           run->n_postings * sizeof *run->postings * 2;
}

/* ---- Adding ---- */

static int grow(ms_run *run, size_t name_bytes, size_t n_notes, size_t details_bytes,
                size_t n_postings, msim_error *err) {
    int rc = ms_grow((void **)&run->pieces, &run->pieces_cap, run->n_pieces + 1,
                     sizeof *run->pieces, "pieces", err);
    if (rc >= 0)
        rc = ms_grow((void **)&run->names, &run->names_cap, run->n_names + name_bytes, 1, "names",
                     err);
    if (rc >= 0)
        rc = ms_grow((void **)&run->pitches, &run->notes_cap, run->n_notes + n_notes, 1, "notes",
                     err);
    if (rc >= 0)
        rc = ms_grow((void **)&run->details, &run->details_cap, run->n_details + details_bytes, 1,
                     "notes", err);
    if (rc >= 0)
        rc = ms_grow((void **)&run->postings, &run->postings_cap, run->n_postings + n_postings,
                     sizeof *run->postings, "postings", err);
    return rc;
}

static int check_piece(const msim_piece_notes *piece, size_t name_bytes, msim_error *err) {
    if (piece->n_notes == 0) return ms_fail(err, MSIM_E_EMPTY, "note index: a piece without notes");
    if (name_bytes > UINT16_MAX)
        return ms_fail(err, MSIM_E_LIMIT, "name of a piece: expected at most %d bytes, got %zu",
                       UINT16_MAX, name_bytes);
    if (piece->n_voices > UINT16_MAX + 1)
        return ms_fail(err, MSIM_E_LIMIT, "voices: expected at most 65536, got %zu",
                       piece->n_voices);
    for (size_t i = 0; i < piece->n_notes; i++)
        if (piece->notes[i].voice >= piece->n_voices)
            return ms_fail(err, MSIM_E_ARG, "voice of note %zu: expected below %zu, got %u", i,
                           piece->n_voices, piece->notes[i].voice);
    return MSIM_OK;
}

static void put_postings(ms_run *run, const ms_word *words, size_t n) {
    for (size_t i = 0; i < n; i++)
        run->postings[run->n_postings + i] = (ms_posting){
            .key = words[i].key,
            .value = (uint64_t)words[i].note << MS_SPAN_BITS | ms_span_code(words[i].span_ms)};
}

/* Everything about a piece but its name. */
static int add_notes(ms_run *run, size_t name_bytes, const msim_piece_notes *piece,
                     const ms_canon *c, ms_word *words, size_t n_words, ms_run_piece *out,
                     msim_error *err) {
    const size_t bound = ms_details_bound(c, piece);
    int rc = grow(run, name_bytes, c->n, bound, n_words, err);
    if (rc < 0) return rc;
    const size_t n_details = ms_details_put(c, piece, run->details + run->n_details);
    if (n_details > UINT32_MAX || run->n_pieces >= UINT32_MAX)
        return ms_fail(err, MSIM_E_LIMIT, "note index: a piece is too large");
    memcpy(run->pitches + run->n_notes, c->pitch, c->n);
    put_postings(run, words, n_words);
    *out = (ms_run_piece){.name_at = run->n_names,
                          .details_at = run->n_details,
                          .first_note = run->n_notes,
                          .first_posting = run->n_postings,
                          .digest = ms_words_digest(c),
                          .name_bytes = (uint32_t)name_bytes,
                          .details_bytes = (uint32_t)n_details,
                          .n_notes = (uint32_t)c->n,
                          .n_postings = (uint32_t)n_words,
                          .length_ms = c->time[c->n - 1]};
    return MSIM_OK;
}

int ms_run_add(ms_run *run, const char *name, size_t name_bytes, const unsigned char *content,
               const msim_piece_notes *piece, int density, bool has_bottom, msim_error *err) {
    ms_canon c;
    ms_streams streams;
    ms_word *words;
    size_t n_words;
    ms_run_piece p;
    int rc = check_piece(piece, name_bytes, err);
    if (rc < 0) return rc;
    ms_arena_reset(&run->arena);
    rc = ms_canon_make(piece->notes, piece->n_notes, NULL, &run->arena, &c, err);
    if (rc >= 0) rc = ms_streams_make(&c, has_bottom, &run->arena, &streams, err);
    if (rc >= 0) rc = ms_words_make(&c, &streams, density, &run->arena, &words, &n_words, err);
    if (rc < 0) return rc;
    int64_t kept = ms_words_select(words, n_words, c.n, &run->arena, err);
    if (kept < 0) return (int)kept;
    rc = add_notes(run, name_bytes, piece, &c, words, (size_t)kept, &p, err);
    if (rc < 0) return rc;
    memcpy(run->names + run->n_names, name, name_bytes);
    if (content) memcpy(p.content, content, sizeof p.content);
    run->n_names += name_bytes;
    run->n_notes += p.n_notes;
    run->n_details += p.details_bytes;
    run->n_postings += p.n_postings;
    run->pieces[run->n_pieces++] = p;
    return MSIM_OK;
}

/* ---- Order ---- */

int ms_run_compare(const ms_piece_view *a, const ms_piece_view *b) {
    const int c = ms_text_compare(a->name, a->name_bytes, b->name, b->name_bytes);
    return c ? c : memcmp(a->content, b->content, MSIM_CONTENT_BYTES);
}

void ms_run_piece_view(const ms_run *run, size_t piece, ms_piece_view *out) {
    const ms_run_piece *p = &run->pieces[piece];
    *out = (ms_piece_view){.name = run->names + p->name_at,
                           .name_bytes = p->name_bytes,
                           .content = p->content,
                           .digest = p->digest,
                           .first_note = p->first_note,
                           .n_notes = p->n_notes,
                           .length_ms = p->length_ms,
                           .pitches = run->pitches + p->first_note,
                           .details = run->details + p->details_at,
                           .details_bytes = p->details_bytes};
}

static int by_name(const void *a, const void *b, void *user) {
    ms_piece_view x, y;
    ms_run_piece_view(user, *(const uint32_t *)a, &x);
    ms_run_piece_view(user, *(const uint32_t *)b, &y);
    const int c = ms_run_compare(&x, &y);
    if (c) return c;
    return (*(const uint32_t *)a > *(const uint32_t *)b) -
           (*(const uint32_t *)a < *(const uint32_t *)b);
}

/* Digits of 8 bits from the lowest: bytes of MS_KEY_BITS. A digit that all keys share costs one
 * pass of counting. */
void ms_postings_sort(ms_posting *postings, ms_posting *spare, size_t n, ms_posting **sorted) {
    enum { DIGITS = MS_KEY_BITS / 8 };
    static const size_t none[256];
    size_t counts[DIGITS][256];
    for (int d = 0; d < DIGITS; d++) memcpy(counts[d], none, sizeof none);
    for (size_t i = 0; i < n; i++)
        for (int d = 0; d < DIGITS; d++) counts[d][postings[i].key >> (8 * d) & 255]++;
    for (int d = 0; d < DIGITS; d++) {
        size_t place[256], sum = 0;
        bool is_one = false;
        for (int k = 0; k < 256; k++) {
            place[k] = sum;
            sum += counts[d][k];
            is_one |= counts[d][k] == n;
        }
        if (is_one) continue;
        for (size_t i = 0; i < n; i++)
            spare[place[postings[i].key >> (8 * d) & 255]++] = postings[i];
        ms_posting *swap = postings;
        postings = spare;
        spare = swap;
    }
    *sorted = postings;
}

/* Postings in the order of the sorted pieces, with notes that count in the run. */
static void gather(ms_run *run, ms_run_piece *pieces, ms_posting *out) {
    size_t n = 0, note = 0;
    for (size_t p = 0; p < run->n_pieces; p++) {
        const ms_posting *from = run->postings + pieces[p].first_posting;
        for (size_t i = 0; i < pieces[p].n_postings; i++)
            out[n + i] = (ms_posting){.key = from[i].key,
                                      .value = from[i].value + ((uint64_t)note << MS_SPAN_BITS)};
        pieces[p].first_posting = n;
        n += pieces[p].n_postings;
        note += pieces[p].n_notes;
    }
}

int ms_run_sort(ms_run *run, msim_error *err) {
    uint32_t *order = ms_alloc(run->n_pieces, sizeof *order, "pieces", err);
    ms_run_piece *pieces = order ? ms_alloc(run->n_pieces, sizeof *pieces, "pieces", err) : NULL;
    ms_posting *postings = pieces ? ms_alloc(run->n_postings, sizeof *postings, "postings", err)
                                  : NULL;
    const bool is_done = postings != NULL;
    if (is_done) {
        for (size_t i = 0; i < run->n_pieces; i++) order[i] = (uint32_t)i;
        qsort_r(order, run->n_pieces, sizeof *order, by_name, run);
        for (size_t i = 0; i < run->n_pieces; i++) pieces[i] = run->pieces[order[i]];
        if (run->n_pieces) memcpy(run->pieces, pieces, run->n_pieces * sizeof *pieces);
        gather(run, run->pieces, postings);
        ms_posting *sorted;
        ms_postings_sort(postings, run->postings, run->n_postings, &sorted);
        if (sorted == postings) { /* the run keeps the one that has the result */
            postings = run->postings;
            run->postings = sorted;
            run->postings_cap = run->n_postings;
        }
    }
    ms_free(postings);
    ms_free(pieces);
    ms_free(order);
    return is_done ? MSIM_OK : -MSIM_E_MEMORY;
}
