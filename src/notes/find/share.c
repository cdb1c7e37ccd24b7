/* A search on several ranks: see share.h. Ranks tell each other the keys of what they have; every
 * rank sorts all of them alike and counts its own among the best. */
#include "notes/find/share.h"
#include <stdlib.h>
#include <string.h>

void ms_share_pieces(const msim_ranks *ranks, uint64_t n_pieces, ms_anchor_limits *limits) {
    limits->first_piece = 0;
    limits->end_piece = UINT32_MAX;
    if (!ranks) return;
    const uint64_t index = (uint64_t)ranks->index, count = (uint64_t)ranks->count;
    limits->first_piece = (uint32_t)(index * n_pieces / count);
    limits->end_piece = (uint32_t)((index + 1) * n_pieces / count);
}

/* ---- Keys ---- */

/* What groups and chains are ordered by. */
typedef struct {
    float weight;
    int32_t transpose;
    uint32_t piece, target; /* target: 0 for a group */
    int32_t owner;          /* a rank */
} key;

static int by_key(const void *a, const void *b) {
    const key *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    if (x->piece != y->piece) return x->piece < y->piece ? -1 : 1;
    if (x->transpose != y->transpose) return x->transpose < y->transpose ? -1 : 1;
    return (x->target > y->target) - (x->target < y->target);
}

int ms_share_compare_chains(const void *a, const void *b) {
    const ms_chain *x = a, *y = b;
    const key p = {.weight = x->score,
                   .transpose = x->transpose,
                   .piece = x->piece,
                   .target = x->anchors[0].target};
    const key q = {.weight = y->score,
                   .transpose = y->transpose,
                   .piece = y->piece,
                   .target = y->anchors[0].target};
    return by_key(&p, &q);
}

/* All ranks' keys: this rank's [n] stand at the beginning of `all`, which has room for `most` of
 * each rank. Returns how many there are, or < 0 when a rank has failed. */
static int64_t gather(const msim_ranks *ranks, int rc, key *all, size_t n, size_t most,
                      msim_error *err) {
    size_t n_all = n;
    rc = ranks->agree(ranks->user, rc, err);
    if (rc < 0) return rc;
    for (int from = 0; from < ranks->count; from++) {
        int64_t count = (int64_t)n;
        ranks->broadcast(ranks->user, from, &count, sizeof count);
        if (count < 0 || (size_t)count > most) /* as all ranks see */
            return ms_fail(err, MSIM_E_IO, "ranks differ: rank %d has too many matches", from);
        if (count == 0) continue;
        key *at = from == ranks->index ? all : all + n_all;
        ranks->broadcast(ranks->user, from, at, (size_t)count * sizeof *at);
        if (from != ranks->index) n_all += (size_t)count;
    }
    return (int64_t)n_all;
}

/* How many of this rank's keys are among the `most` first of all. */
static size_t count_mine(const key *all, size_t n, size_t most, int index) {
    size_t mine = 0;
    for (size_t i = 0; i < n && i < most; i++) mine += all[i].owner == index;
    return mine;
}

/* Room for the keys of all ranks; NULL, with rc set, when this rank has failed. */
static key *room(const msim_ranks *ranks, int *rc, size_t most, ms_arena *arena, msim_error *err) {
    if (*rc < 0) return NULL;
    key *all = ms_arena_get(arena, most * (size_t)ranks->count, sizeof *all, "matches", err);
    if (!all) *rc = -MSIM_E_MEMORY;
    return all;
}

int ms_share_groups(const msim_ranks *ranks, int rc, const ms_group *groups, size_t *n, size_t most,
                    ms_arena *arena, msim_error *err) {
    if (!ranks) return rc;
    key *all = room(ranks, &rc, most, arena, err);
    for (size_t i = 0; all && i < *n; i++)
        all[i] = (key){.weight = groups[i].weight,
                       .transpose = groups[i].transpose,
                       .piece = groups[i].piece,
                       .owner = ranks->index};
    const int64_t n_all = gather(ranks, rc, all, rc < 0 ? 0 : *n, most, err);
    if (n_all < 0) return (int)n_all;
    qsort(all, (size_t)n_all, sizeof *all, by_key);
    *n = count_mine(all, (size_t)n_all, most, ranks->index);
    return MSIM_OK;
}

int ms_share_chains(const msim_ranks *ranks, int rc, const ms_chain *chains, size_t *n, size_t most,
                    size_t first, size_t *n_first, ms_arena *arena, msim_error *err) {
    if (rc >= 0 && *n > most) *n = most;
    if (rc >= 0) *n_first = *n < first ? *n : first;
    if (!ranks) return rc;
    key *all = room(ranks, &rc, most, arena, err);
    for (size_t i = 0; all && i < *n; i++)
        all[i] = (key){.weight = chains[i].score,
                       .transpose = chains[i].transpose,
                       .piece = chains[i].piece,
                       .target = chains[i].anchors[0].target,
                       .owner = ranks->index};
    const int64_t n_all = gather(ranks, rc, all, rc < 0 ? 0 : *n, most, err);
    if (n_all < 0) return (int)n_all;
    qsort(all, (size_t)n_all, sizeof *all, by_key);
    *n = count_mine(all, (size_t)n_all, most, ranks->index);
    *n_first = count_mine(all, (size_t)n_all, most < first ? most : first, ranks->index);
    return MSIM_OK;
}

int ms_share_most(const msim_ranks *ranks, int rc, double *most, int64_t *count, msim_error *err) {
    if (!ranks) return rc;
    rc = ranks->agree(ranks->user, rc, err);
    if (rc < 0) return rc;
    double best = *most;
    int64_t sum = 0;
    for (int from = 0; from < ranks->count; from++) {
        struct {
            double most;
            int64_t count;
        } told = {*most, *count};
        ranks->broadcast(ranks->user, from, &told, sizeof told);
        if (told.most > best) best = told.most;
        sum += told.count;
    }
    *most = best;
    *count = sum;
    return MSIM_OK;
}
