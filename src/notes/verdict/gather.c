/* Hits of several ranks: see gather.h. A hit travels as its struct, its best chain with the pairs,
 * and its other places without; pointers are put right where it arrives. Ranks are processes of
 * one program on machines alike, so structs have one layout. */
#include "notes/verdict/gather.h"
#include <string.h>

/* What a rank has to send. */
typedef struct {
    uint64_t n_hits, n_places, n_bytes;
} parcel;

static parcel measure(const ms_piece_hit *hits, size_t n) {
    parcel p = {.n_hits = n};
    for (size_t i = 0; i < n; i++) {
        p.n_places += hits[i].n_places;
        p.n_bytes += sizeof *hits + (1 + hits[i].n_places) * sizeof *hits->best +
                     hits[i].best->n_pairs * sizeof *hits->best->pairs;
    }
    return p;
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t n) {
    if (n) memcpy(p, bytes, n);
    return p + n;
}

static void pack(const ms_piece_hit *hits, size_t n, uint8_t *p) {
    for (size_t i = 0; i < n; i++) {
        p = put(p, &hits[i], sizeof *hits);
        p = put(p, hits[i].best, sizeof *hits->best);
        p = put(p, hits[i].best->pairs, hits[i].best->n_pairs * sizeof *hits->best->pairs);
        for (size_t k = 0; k < hits[i].n_places; k++)
            p = put(p, hits[i].places[k], sizeof *hits->best);
    }
}

/* Where the parts of what arrived go. */
typedef struct {
    ms_piece_hit *hits;
    ms_verified *verified;
    const ms_verified **places;
    ms_pair *pairs;
    uint8_t *bytes; /* of one rank */
} rooms;

static const uint8_t *get(const uint8_t *p, void *to, size_t n) {
    if (n) memcpy(to, p, n);
    return p + n;
}

/* The hits of one rank, behind those that are there. */
static void unpack(rooms *r, size_t n) {
    const uint8_t *p = r->bytes;
    for (size_t i = 0; i < n; i++) {
        ms_piece_hit *hit = r->hits++;
        p = get(p, hit, sizeof *hit);
        p = get(p, r->verified, sizeof *r->verified);
        p = get(p, r->pairs, r->verified->n_pairs * sizeof *r->pairs);
        r->verified->pairs = r->pairs;
        r->pairs += r->verified->n_pairs;
        hit->best = r->verified++;
        hit->places = r->places;
        for (size_t k = 0; k < hit->n_places; k++) {
            p = get(p, r->verified, sizeof *r->verified);
            *r->places++ = r->verified++;
        }
    }
}

/* Rank 0: room for what the others will send, and for its own hits before it. */
static int reserve(const ms_piece_hit *hits, size_t n, parcel all, uint64_t most, ms_arena *arena,
                   rooms *out, ms_piece_hit **joined, msim_error *err) {
    const size_t n_verified = (size_t)(all.n_hits + all.n_places);
    *joined = ms_arena_get(arena, n + (size_t)all.n_hits, sizeof **joined, "matches", err);
    if (*joined)
        out->verified = ms_arena_get(arena, n_verified, sizeof *out->verified, "matches", err);
    if (out->verified)
        out->places =
            ms_arena_get(arena, (size_t)all.n_places, sizeof(ms_verified *), "matches", err);
    if (out->places) out->pairs = ms_arena_get(arena, (size_t)all.n_bytes, 1, "matches", err);
    if (out->pairs) out->bytes = ms_arena_get(arena, (size_t)most, 1, "matches", err);
    if (!out->bytes) return -MSIM_E_MEMORY;
    if (n) memcpy(*joined, hits, n * sizeof *hits);
    out->hits = *joined + n;
    return MSIM_OK;
}

static int send(const msim_ranks *ranks, const ms_piece_hit *hits, size_t n, uint8_t *bytes,
                size_t n_bytes) {
    if (n == 0) return MSIM_OK;
    pack(hits, n, bytes);
    ranks->send(ranks->user, 0, bytes, n_bytes);
    return MSIM_OK;
}

static void receive(const msim_ranks *ranks, int from, size_t n, rooms *r) {
    if (n == 0) return;
    ranks->receive(ranks->user, from, r->bytes, ranks->expect(ranks->user, from));
    unpack(r, n);
}

/* What all but rank 0 will send, in all and by the largest; counts [ranks]: hits of each. */
static parcel tell(const msim_ranks *ranks, parcel mine, uint64_t *counts, uint64_t *most) {
    parcel all = {0};
    *most = 0;
    for (int from = 1; from < ranks->count; from++) {
        parcel told = mine;
        ranks->broadcast(ranks->user, from, &told, sizeof told);
        all.n_hits += told.n_hits;
        all.n_places += told.n_places;
        all.n_bytes += told.n_bytes;
        if (counts) counts[from] = told.n_hits;
        if (told.n_bytes > *most) *most = told.n_bytes;
    }
    return all;
}

int ms_hits_gather(const msim_ranks *ranks, ms_piece_hit **hits, size_t *n, ms_arena *arena,
                   msim_error *err) {
    if (!ranks) return MSIM_OK;
    const parcel mine = measure(*hits, *n);
    rooms r = {0};
    ms_piece_hit *joined = NULL;
    uint64_t most,
        *counts = ms_arena_get(arena, (size_t)ranks->count, sizeof *counts, "ranks", err);
    const parcel all = tell(ranks, mine, counts, &most);
    uint8_t *bytes = NULL;
    int rc = counts ? MSIM_OK : -MSIM_E_MEMORY;
    if (rc >= 0 && ranks->index == 0)
        rc = reserve(*hits, *n, all, most, arena, &r, &joined, err);
    else if (rc >= 0 && !(bytes = ms_arena_get(arena, (size_t)mine.n_bytes, 1, "matches", err)))
        rc = -MSIM_E_MEMORY;
    rc = ranks->agree(ranks->user, rc, err);
    if (rc < 0) return rc;
    if (ranks->index > 0) {
        rc = send(ranks, *hits, *n, bytes, (size_t)mine.n_bytes);
        *n = 0;
        return rc;
    }
    for (int from = 1; from < ranks->count; from++) receive(ranks, from, (size_t)counts[from], &r);
    *hits = joined;
    *n += (size_t)all.n_hits;
    ms_hits_sort(joined, *n);
    return MSIM_OK;
}
