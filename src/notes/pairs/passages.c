/* Two pieces laid on each other without an index: msim_aligner of include/midisim.h. The notes of a
 * comparison are in canonical order, one for each pitch of a chord; here they become the caller's
 * again. */
#include "notes/pairs/align.h"
#include "notes/verdict/hits.h"

enum { KEEP_BYTES = 8 << 20, NO_NOTE = -1 };

struct msim_aligner {
    ms_align_memory memory;
    ms_arena arena;
};

int msim_aligner_open(msim_aligner **out, msim_error *err) {
    *out = ms_alloc(1, sizeof **out, "aligner", err);
    if (!*out) return -MSIM_E_MEMORY;
    ms_align_init(&(*out)->memory);
    ms_arena_init(&(*out)->arena, KEEP_BYTES);
    return MSIM_OK;
}

void msim_aligner_close(msim_aligner *a) {
    if (!a) return;
    ms_align_free(&a->memory);
    ms_arena_free(&a->arena);
    ms_free(a);
}

/* ---- The caller's notes ---- */

/* The canonical note that a note of the caller became. Groups begin at different times, so the last
 * one that begins by then is its own. */
static size_t canonical(const ms_canon *c, const msim_note *note) {
    size_t low = 0, high = c->n;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (c->time[middle] <= note->start_ms)
            low = middle + 1;
        else
            high = middle;
    }
    while (low-- > 0)
        if (c->pitch[low] == note->pitch) return low;
    return 0;
}

/* For each canonical note the first note of the caller that became it: *out, the arena's. */
static int number_notes(const ms_canon *c, const msim_note *notes, size_t n, ms_arena *arena,
                        int64_t **out, msim_error *err) {
    *out = ms_arena_get(arena, c->n, sizeof **out, "notes", err);
    if (!*out) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < c->n; i++) (*out)[i] = NO_NOTE;
    for (size_t i = n; i-- > 0;) (*out)[canonical(c, &notes[i])] = (int64_t)i;
    return MSIM_OK;
}

/* ---- Passages ---- */

typedef struct {
    const ms_side *query, *piece;
    const int64_t *query_numbers, *piece_numbers; /* the arena's */
    ms_arena *arena;
} telling;

static int tell(const telling *t, const ms_verified *v, msim_passage *out, msim_error *err) {
    const uint32_t *query_time = t->query->probe.canon.time, *time = t->piece->target.time;
    msim_note_pair *pairs = ms_arena_get(t->arena, v->n_pairs, sizeof *pairs, "notes", err);
    if (!pairs) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < v->n_pairs; i++)
        pairs[i] = (msim_note_pair){t->query_numbers[v->pairs[i].query],
                                    t->piece_numbers[v->pairs[i].target]};
    *out = (msim_passage){.place = {.query_from = query_time[v->query_first] / 1000.0,
                                    .query_to = query_time[v->query_last] / 1000.0,
                                    .from = time[v->first] / 1000.0,
                                    .to = time[v->last] / 1000.0,
                                    .query_first = t->query_numbers[v->query_first],
                                    .query_last = t->query_numbers[v->query_last],
                                    .first = t->piece_numbers[v->first],
                                    .last = t->piece_numbers[v->last],
                                    .n_matched = (int64_t)v->n_pairs,
                                    .score = v->score},
                          .transpose = v->transpose,
                          .tempo = v->slope,
                          .pairs = pairs};
    return MSIM_OK;
}

static int64_t tell_all(const telling *t, const ms_alignment *found, const msim_passage **passages,
                        msim_error *err) {
    const ms_verified *order[MS_PAIR_VERIFIED + 1];
    ms_piece_hit hit;
    for (size_t i = 0; i < found->n; i++) order[i] = &found->found[i];
    int rc = ms_hit_make(order, found->n, t->arena, &hit, err);
    if (rc < 0) return rc;
    msim_passage *out = ms_arena_get(t->arena, hit.n_places + 1, sizeof *out, "passages", err);
    if (!out) return -MSIM_E_MEMORY;
    rc = tell(t, hit.best, &out[0], err);
    for (size_t i = 0; i < hit.n_places && rc >= 0; i++)
        rc = tell(t, hit.places[i], &out[i + 1], err);
    *passages = out;
    return rc < 0 ? rc : (int64_t)hit.n_places + 1;
}

static int check(const msim_note *notes, size_t n, msim_error *err) {
    if (n > INT32_MAX) return ms_fail(err, MSIM_E_LIMIT, "aligner: more than 2^31 notes");
    for (size_t i = 0; i < n; i++)
        if (notes[i].pitch > 127 || notes[i].start_ms > MSIM_NOTE_MAX_MS)
            return ms_fail(err, MSIM_E_ARG, "aligner: note %zu: no piece can have it", i);
    return MSIM_OK;
}

int64_t msim_aligner_align(msim_aligner *a, const msim_note *query, size_t n_query,
                           const msim_note *piece, size_t n_piece, const msim_passage **passages,
                           msim_error *err) {
    ms_side q, p;
    ms_alignment found;
    int64_t *query_numbers, *piece_numbers;
    int rc = check(query, n_query, err);
    if (rc >= 0) rc = check(piece, n_piece, err);
    if (rc < 0) return rc;
    *passages = NULL;
    if (n_query == 0 || n_piece == 0) return 0;
    ms_arena_reset(&a->arena);
    rc = ms_side_make(query, n_query, &a->arena, &q, err);
    if (rc >= 0) rc = ms_side_make(piece, n_piece, &a->arena, &p, err);
    if (rc >= 0) rc = ms_align(&a->memory, &q, &p, &a->arena, &found, err);
    if (rc < 0 || found.n == 0) return rc;
    rc = number_notes(&q.probe.canon, query, n_query, &a->arena, &query_numbers, err);
    if (rc >= 0) rc = number_notes(&p.probe.canon, piece, n_piece, &a->arena, &piece_numbers, err);
    if (rc < 0) return rc;
    const telling t = {&q, &p, query_numbers, piece_numbers, &a->arena};
    return tell_all(&t, &found, passages, err);
}
