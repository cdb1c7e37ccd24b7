/* Proposals: see propose.h. The postings of a piece's words name groups of piece and transposition;
 * those whose anchors make a chain are proposed. */
#include "notes/pairs/propose.h"
#include "notes/find/chain.h"
#include "notes/pairs/ask.h"
#include <stdlib.h>
#include <string.h>

enum { KEEP_BYTES = 16 << 20 };

/* What one piece proposes. */
typedef struct {
    uint32_t pieces[MS_PAIR_PROPOSED];
    uint32_t n;
    msim_error err;
} proposed;

typedef struct {
    ms_arena arena;
    ms_cache cache;
} propose_worker;

struct ms_proposer {
    const msim_notes *notes, *against; /* borrowed */
    ms_pool *pool;                     /* borrowed */
    ms_asking *asking;                 /* owned, and so on */
    propose_worker *workers;           /* [threads] */
    ms_chain_tables *tables;
    proposed *found; /* [found_cap] */
    size_t found_cap;
    const ms_asker *askers; /* borrowed: of the batch */
};

void ms_proposals_free(ms_proposals *p) {
    ms_free(p->pairs);
    *p = (ms_proposals){0};
}

void ms_proposer_close(ms_proposer *p) {
    if (!p) return;
    for (int i = 0; p->workers && i < ms_pool_size(p->pool); i++) {
        ms_arena_free(&p->workers[i].arena);
        ms_cache_free(&p->workers[i].cache);
    }
    ms_asking_close(p->asking);
    ms_free(p->workers);
    ms_free(p->tables);
    ms_free(p->found);
    ms_free(p);
}

int ms_proposer_open(const msim_notes *notes, const msim_notes *against, ms_pool *pool,
                     ms_proposer **out, msim_error *err) {
    ms_proposer *p = *out = ms_alloc(1, sizeof *p, "pairs", err);
    if (!p) return -MSIM_E_MEMORY;
    *p = (ms_proposer){.notes = notes, .against = against, .pool = pool};
    int rc = ms_asking_open(notes, against, pool, &p->asking, err);
    if (rc < 0) return rc;
    p->workers = ms_alloc((size_t)ms_pool_size(pool), sizeof *p->workers, "pairs", err);
    p->tables = p->workers ? ms_alloc(1, sizeof *p->tables, "pairs", err) : NULL;
    if (!p->tables) return -MSIM_E_MEMORY;
    ms_chain_tables_init(p->tables);
    for (int i = 0; i < ms_pool_size(pool) && rc >= 0; i++) {
        ms_arena_init(&p->workers[i].arena, KEEP_BYTES);
        rc = ms_cache_init(&p->workers[i].cache, against, err);
    }
    return rc;
}

/* ---- One piece ---- */

/* Every posting of its words, but its own, with the group that it speaks for. */
static int read_anchors(const ms_proposer *p, const ms_asker *asker, ms_arena *arena,
                        ms_loose_anchor **out, size_t *n_out, msim_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < asker->n_words; i++) n += asker->words[i].n_places;
    ms_loose_anchor *found = *out = ms_arena_get(arena, n, sizeof *found, "anchors", err);
    if (!found) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < asker->n_words; i++) {
        const ms_ask_word *word = &asker->words[i];
        const int pitch = asker->canon.pitch[word->note];
        const uint32_t span = word->span_ms < 60000 ? word->span_ms + 40 : 60040;
        for (uint32_t k = 0; k < word->n_places; k++) {
            const ms_ask_place *place = &word->places[k];
            const int d = place->pitch - pitch;
            if ((place->piece == asker->piece && p->notes == p->against) ||
                !ms_anchor_is_near_tempo(place->span, span) || abs(d) > MS_TRANSPOSE_MAX)
                continue;
            *found++ = (ms_loose_anchor){.group = ms_anchor_group(place->piece, d),
                                         .anchor = {.query = word->note,
                                                    .target = place->note,
                                                    .query_span = (uint16_t)span,
                                                    .span = place->span,
                                                    .bits = word->bits}};
        }
    }
    *n_out = (size_t)(found - *out);
    return MSIM_OK;
}

static bool is_proposed(const proposed *out, uint32_t piece) {
    for (uint32_t i = 0; i < out->n; i++)
        if (out->pieces[i] == piece) return true;
    return false;
}

static int propose_group(const ms_proposer *p, propose_worker *w, const ms_group *group,
                         const ms_probe *query, proposed *out, msim_error *err) {
    ms_chain chains[MS_CHAINS_OF_GROUP];
    ms_target target;
    if (is_proposed(out, group->piece)) return MSIM_OK;
    if (group->weight >= MS_PAIR_SURE_BITS) {
        out->pieces[out->n++] = group->piece;
        return MSIM_OK;
    }
    int rc = ms_cache_get(&w->cache, group->piece, &target, err);
    if (rc >= 0) rc = ms_chain_group(group, query, &target, p->tables, &w->arena, chains, err);
    if (rc > 0 && chains[0].score >= MS_PAIR_ASKED_BITS) out->pieces[out->n++] = group->piece;
    return rc;
}

/* Pieces with the same intervals throughout; of one index those that follow in the list, so that
 * all copies hold together. */
static int propose_copies(const ms_proposer *p, uint32_t asker, proposed *out, msim_error *err) {
    ms_piece_view view;
    size_t n, first = 0;
    if (!ms_index_piece(p->notes, asker, &view)) return ms_index_damaged(p->notes, "a piece", err);
    if (view.n_notes < MS_STRAIGHT_NOTES) return MSIM_OK;
    const uint32_t *copies = ms_index_digest(p->against, view.digest, &n);
    if (p->notes == p->against)
        while (first < n && copies[first] <= asker) first++;
    for (size_t i = first; i < n && out->n < MS_PAIR_COPIES; i++)
        if (copies[i] < p->against->tail.n_pieces) out->pieces[out->n++] = copies[i];
    return MSIM_OK;
}

static int propose(const ms_proposer *p, propose_worker *w, const ms_asker *asker, proposed *out,
                   msim_error *err) {
    const ms_probe query = {.canon = asker->canon};
    ms_loose_anchor *found;
    ms_group *groups;
    size_t n = 0, n_groups = 0;
    int rc = propose_copies(p, asker->piece, out, err);
    if (rc >= 0) rc = read_anchors(p, asker, &w->arena, &found, &n, err);
    if (rc >= 0)
        rc = ms_anchors_gather(found, n, MS_PAIR_ASKED_GROUPS, &w->arena, &groups, &n_groups, err);
    for (size_t g = 0; g < n_groups && rc >= 0 && out->n < MS_PAIR_PROPOSED; g++) {
        if (groups[g].weight < MS_PAIR_GROUP_BITS) break;
        rc = propose_group(p, w, &groups[g], &query, out, err);
    }
    return rc;
}

static void propose_item(void *arg, int64_t item, int worker) {
    ms_proposer *p = arg;
    propose_worker *w = &p->workers[worker];
    proposed *out = &p->found[item];
    out->n = 0;
    out->err = (msim_error){0};
    ms_arena_reset(&w->arena);
    ms_cache_trim(&w->cache);
    (void)propose(p, w, &p->askers[item], out, &out->err);
}

/* ---- A batch ---- */

static int add(const ms_proposer *p, const uint32_t *pieces, size_t n, ms_proposals *out,
               msim_error *err) {
    for (size_t i = 0; i < n; i++) {
        const proposed *found = &p->found[i];
        if (found->err.code) return ms_fail(err, found->err.code, "%s", found->err.text);
        int rc = ms_grow((void **)&out->pairs, &out->cap, out->n + found->n, sizeof *out->pairs,
                         "pairs", err);
        if (rc < 0) return rc;
        for (uint32_t k = 0; k < found->n; k++)
            out->pairs[out->n++] = (ms_proposal){pieces[i], found->pieces[k]};
    }
    return MSIM_OK;
}

int ms_propose(ms_proposer *p, const uint32_t *pieces, size_t n, ms_proposals *out,
               msim_error *err) {
    int rc = ms_ask(p->asking, pieces, n, &p->askers, err);
    if (rc >= 0) rc = ms_grow((void **)&p->found, &p->found_cap, n, sizeof *p->found, "pairs", err);
    if (rc < 0) return rc;
    ms_pool_run(p->pool, (int64_t)n, propose_item, p);
    return add(p, pieces, n, out, err);
}
