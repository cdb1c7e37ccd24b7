/* One pass of a search: see pass.h. */
#include "notes/find/pass.h"
#include "notes/find/share.h"
#include <math.h>
#include <stdlib.h>

int ms_pass_memory_init(ms_pass_memory *m, const msim_notes *notes, msim_error *err) {
    *m = (ms_pass_memory){.notes = notes};
    ms_lookup_init(&m->lookup, notes);
    ms_chain_tables_init(&m->tables);
    return ms_cache_init(&m->cache, notes, err);
}

void ms_pass_memory_free(ms_pass_memory *m) {
    ms_cache_free(&m->cache);
    ms_verify_free(&m->memory);
}

static int chain_groups(ms_pass_memory *m, const ms_probe *query, const ms_group *groups,
                        size_t n_groups, ms_chain *chains, ms_arena *arena, size_t *n,
                        msim_error *err) {
    *n = 0;
    for (size_t g = 0; g < n_groups; g++) {
        ms_target target;
        int rc = ms_cache_get(&m->cache, groups[g].piece, &target, err);
        if (rc >= 0)
            rc = ms_chain_group(&groups[g], query, &target, &m->tables, arena, chains + *n, err);
        if (rc < 0) return rc;
        *n += (size_t)rc;
    }
    qsort(chains, *n, sizeof *chains, ms_share_compare_chains);
    return MSIM_OK;
}

/* A map from the first note to the first and from the last to the last: copies of pieces that are
 * made of loops, whose words say too little about the place. */
static int add_straight(ms_pass_memory *m, const ms_probe *query, const ms_anchor_limits *limits,
                        uint32_t piece, int transpose, double most_apart, ms_arena *arena,
                        ms_chain *chains, size_t *n, msim_error *err) {
    ms_target target;
    if (!ms_anchor_may_match(limits, piece) || (limits->is_same_key && transpose)) return MSIM_OK;
    int rc = ms_cache_get(&m->cache, piece, &target, err);
    if (rc < 0) return rc;
    const double apart = (double)target.n - (double)query->canon.n;
    if (fabs(apart) > most_apart * (double)target.n) return MSIM_OK;
    ms_anchor *ends = ms_arena_get(arena, 2, sizeof *ends, "a chain", err);
    if (!ends) return -MSIM_E_MEMORY;
    ends[0] = (ms_anchor){.query_span = 40, .span = 40};
    ends[1] = (ms_anchor){.query = (uint32_t)query->canon.n - 1,
                          .target = (uint32_t)target.n - 1,
                          .query_span = 40,
                          .span = 40};
    chains[(*n)++] = (ms_chain){.piece = piece, .transpose = transpose, .anchors = ends, .n = 2};
    return MSIM_OK;
}

/* Straight maps to the pieces of the query's digest, and to those of the best chains that have
 * about as many notes. At most MS_STRAIGHT of each. */
static int add_all_straight(ms_pass_memory *m, const ms_probe *query,
                            const ms_anchor_limits *limits, ms_arena *arena, ms_chain *chains,
                            size_t n_best, size_t *n, msim_error *err) {
    size_t n_same = 0;
    int rc = MSIM_OK;
    if (query->canon.n < MS_STRAIGHT_NOTES) return MSIM_OK;
    const uint32_t *same = ms_index_digest(m->notes, ms_words_digest(&query->canon), &n_same);
    for (size_t i = 0; i < n_same && i < MS_STRAIGHT && rc >= 0; i++) {
        ms_piece_view view;
        if (!ms_index_piece(m->notes, same[i], &view) || view.n_notes == 0)
            return ms_index_damaged(m->notes, "a piece", err);
        rc = add_straight(m, query, limits, same[i], view.pitches[0] - query->canon.pitch[0], 0,
                          arena, chains, n, err);
    }
    for (size_t i = 0; i < n_best && i < MS_STRAIGHT && rc >= 0; i++)
        rc = add_straight(m, query, limits, chains[i].piece, chains[i].transpose, MS_STRAIGHT_APART,
                          arena, chains, n, err);
    return rc;
}

/* At least `base`, and a share of `budget` where a query has few notes. */
static size_t widened(size_t base, size_t budget, const ms_pass_result *pass,
                      const ms_pass_limits *limits) {
    const size_t share = budget / (pass->query.canon.n + 1);
    return share > base && limits->query.sample == 1 ? share : base;
}

/* Groups of this rank's pieces, among the heaviest of all. */
static int find_groups(ms_pass_memory *m, const ms_pass_limits *limits, ms_pass_result *pass,
                       int rc, ms_group **groups, size_t *n, ms_arena *arena, msim_error *err) {
    ms_anchor_limits most = limits->anchors;
    most.max_groups = widened(most.max_groups, MS_SHORT_GROUPS, pass, limits);
    if (rc >= 0) rc = ms_anchors_find(&pass->query, m->notes, &most, arena, groups, n, err);
    return ms_share_groups(limits->ranks, rc, *groups, n, most.max_groups, arena, err);
}

/* Chains of this rank's pieces, among the best of all, and straight maps. */
static int find_chains(ms_pass_memory *m, const ms_pass_limits *limits, const ms_pass_result *pass,
                       const ms_group *groups, size_t n_groups, ms_chain **chains, size_t *n,
                       ms_arena *arena, msim_error *err) {
    const size_t max_verified = widened(limits->max_verified, MS_SHORT_VERIFIED, pass, limits);
    size_t n_best = 0;
    *chains = ms_arena_get(arena, n_groups * MS_CHAINS_OF_GROUP + 2 * MS_STRAIGHT, sizeof **chains,
                           "chains", err);
    int rc = *chains ? chain_groups(m, &pass->query, groups, n_groups, *chains, arena, n, err)
                     : -MSIM_E_MEMORY;
    rc = ms_share_chains(limits->ranks, rc, *chains, n, max_verified, MS_STRAIGHT, &n_best, arena,
                         err);
    if (rc < 0) return rc;
    return add_all_straight(m, &pass->query, &limits->anchors, arena, *chains, n_best, n, err);
}

static int verify_chains(ms_pass_memory *m, const ms_chain *chains, size_t n, ms_arena *arena,
                         ms_pass_result *out, msim_error *err) {
    out->found = ms_arena_get(arena, n, sizeof *out->found, "matches", err);
    if (!out->found) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n; i++) {
        ms_target target;
        int rc = ms_cache_get(&m->cache, chains[i].piece, &target, err);
        if (rc >= 0)
            rc = ms_verify_chain(&chains[i], &out->query, &target, &m->memory, arena,
                                 &out->found[out->n], err);
        if (rc < 0) return rc;
        out->n += out->found[out->n].n_pairs > 0;
    }
    qsort(out->found, out->n, sizeof *out->found, ms_verify_compare);
    return MSIM_OK;
}

int ms_pass_run(ms_pass_memory *m, const msim_note *notes, size_t n, const ms_pass_limits *limits,
                ms_arena *arena, ms_pass_result *out, msim_error *err) {
    ms_group *groups = NULL;
    ms_chain *chains;
    size_t n_groups = 0, n_chains = 0;
    *out = (ms_pass_result){0};
    ms_cache_trim(&m->cache);
    int rc = ms_probe_make(notes, n, &m->lookup, &limits->query, arena, &out->query, err);
    rc = find_groups(m, limits, out, rc, &groups, &n_groups, arena, err);
    if (rc >= 0) rc = find_chains(m, limits, out, groups, n_groups, &chains, &n_chains, arena, err);
    return rc < 0 ? rc : verify_chains(m, chains, n_chains, arena, out, err);
}
