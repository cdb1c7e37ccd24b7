/* Proposals: see propose.h. */
#include "notes/pairs/propose.h"
#include "notes/constants.h"

struct ms_proposer {
    const msim_notes *notes, *against; /* borrowed */
    ms_pool *pool;                     /* borrowed */
    msim_finder *finder;               /* owned */
};

void ms_proposals_free(ms_proposals *p) {
    ms_free(p->pairs);
    *p = (ms_proposals){0};
}

int ms_proposer_open(const msim_notes *notes, const msim_notes *against, ms_pool *pool,
                     ms_proposer **out, msim_error *err) {
    msim_finder_options o = msim_finder_options_default();
    *out = ms_alloc(1, sizeof **out, "pairs", err);
    if (!*out) return -MSIM_E_MEMORY;
    **out = (ms_proposer){.notes = notes, .against = against, .pool = pool};
    o.is_light = 1;
    o.max_matches = MS_VERIFIED;
    return msim_finder_open(against, &o, &(*out)->finder, err);
}

void ms_proposer_close(ms_proposer *p) {
    if (!p) return;
    msim_finder_close(p->finder);
    ms_free(p);
}

static int propose_one(ms_proposer *p, uint32_t a, ms_proposals *out, msim_error *err) {
    msim_loaded_piece *loaded;
    msim_piece_notes piece = {.size = sizeof piece};
    const msim_note_match *m;
    int rc = msim_notes_load_piece(p->notes, a, &loaded, &piece, err);
    if (rc < 0) return rc;
    const int64_t n = msim_finder_find(p->finder, piece.notes, piece.n_notes, &m, err);
    msim_notes_free_piece(loaded);
    if (n < 0) return (int)n;
    rc = ms_grow((void **)&out->pairs, &out->cap, out->n + (size_t)n, sizeof *out->pairs, "pairs",
                 err);
    for (int64_t i = 0; i < n && rc >= 0; i++)
        if (m[i].score >= MS_PAIR_BITS && (p->notes != p->against || m[i].piece != a))
            out->pairs[out->n++] = (ms_proposal){a, (uint32_t)m[i].piece};
    return rc;
}

int ms_propose(ms_proposer *p, const uint32_t *pieces, size_t n, ms_proposals *out,
               msim_error *err) {
    int rc = MSIM_OK;
    for (size_t i = 0; i < n && rc >= 0; i++) rc = propose_one(p, pieces[i], out, err);
    return rc;
}
