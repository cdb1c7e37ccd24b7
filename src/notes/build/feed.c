/* Runs and indexes as sources of an index: see feed.h. */
#include "notes/build/feed.h"
#include "notes/constants.h"

bool ms_feed_piece(const ms_feed *s, uint64_t piece, ms_piece_view *out) {
    if (s->notes) return ms_index_piece(s->notes, piece, out);
    ms_run_piece_view(s->run, (size_t)piece, out);
    return true;
}

static int fill_tables(ms_feed *s, int (*keep)(void *user, int64_t piece), void *user,
                       msim_error *err) {
    uint64_t note = 0, range = 0;
    for (uint64_t p = 0; p < s->n_pieces; p++) {
        ms_piece_view view;
        if (!ms_feed_piece(s, p, &view) || view.n_notes == 0 ||
            (s->notes && (view.first_note != note || view.n_notes > s->notes->tail.n_notes - note)))
            return ms_index_damaged(s->notes, "a piece", err);
        s->old_first[p] = note;
        s->new_first[p] = keep && !keep(user, (int64_t)p) ? UINT64_MAX : 0;
        note += view.n_notes;
        for (; range * MS_RANGE_NOTES < note; range++) s->ranges[range] = (uint32_t)p;
    }
    s->old_first[s->n_pieces] = note;
    return MSIM_OK;
}

int ms_feed_open(ms_feed *s, const ms_run *run, const msim_notes *notes,
                 int (*keep)(void *user, int64_t piece), void *user, msim_error *err) {
    *s = (ms_feed){.run = run, .notes = notes};
    s->n_pieces = notes ? notes->tail.n_pieces : run->n_pieces;
    s->n_postings = notes ? notes->tail.n_postings : run->n_postings;
    const uint64_t n_notes = notes ? notes->tail.n_notes : run->n_notes;
    s->old_first = ms_alloc((size_t)s->n_pieces + 1, sizeof *s->old_first, "pieces", err);
    if (s->old_first)
        s->new_first = ms_alloc((size_t)s->n_pieces, sizeof *s->new_first, "pieces", err);
    if (s->new_first)
        s->ranges =
            ms_alloc((size_t)(n_notes / MS_RANGE_NOTES) + 1, sizeof *s->ranges, "pieces", err);
    int rc = s->ranges ? fill_tables(s, keep, user, err) : -MSIM_E_MEMORY;
    if (rc < 0) ms_feed_close(s);
    return rc;
}

void ms_feed_close(ms_feed *s) {
    ms_free(s->old_first);
    ms_free(s->new_first);
    ms_free(s->ranges);
    *s = (ms_feed){0};
}

/* ---- Postings ---- */

static int load_block(ms_feed *s, msim_error *err) {
    const uint64_t b = s->at / MS_BLOCK;
    size_t n_bytes, n;
    if (!ms_index_block(s->notes, b, &s->block, &n_bytes, &n) ||
        !ms_block_keys(s->block, n_bytes, s->notes->keys[b], n, s->notes->width, s->keys))
        return ms_index_damaged(s->notes, "a block of postings", err);
    return MSIM_OK;
}

/* The next posting as the source has it. */
static int read_posting(ms_feed *s, ms_posting *out, msim_error *err) {
    if (s->run) {
        *out = s->run->postings[s->at++];
        return MSIM_OK;
    }
    const size_t i = (size_t)(s->at % MS_BLOCK);
    if (i == 0) {
        int rc = load_block(s, err);
        if (rc < 0) return rc;
    }
    s->at++;
    *out = (ms_posting){.key = s->keys[i], .value = ms_block_value(s->block, i, s->notes->width)};
    if (out->key < s->next.key && s->at > 1)
        return ms_index_damaged(s->notes, "postings that are not in order", err);
    return MSIM_OK;
}

static uint64_t piece_of(const ms_feed *s, uint64_t note) {
    uint64_t p = s->ranges[note / MS_RANGE_NOTES];
    while (s->old_first[p + 1] <= note) p++;
    return p;
}

int ms_feed_next(ms_feed *s, msim_error *err) {
    ms_posting got;
    while (s->at < s->n_postings) {
        int rc = read_posting(s, &got, err);
        if (rc < 0) return rc;
        const uint64_t note = got.value >> MS_SPAN_BITS;
        if (note >= s->old_first[s->n_pieces]) return ms_index_damaged(s->notes, "a posting", err);
        const uint64_t p = piece_of(s, note);
        if (s->new_first[p] == UINT64_MAX) continue;
        got.value += (s->new_first[p] - s->old_first[p]) << MS_SPAN_BITS;
        s->next = got;
        return MSIM_OK;
    }
    s->is_at_end = true;
    return MSIM_OK;
}
