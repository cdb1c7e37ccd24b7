/* Matches from verified chains: see hits.h. */
#include "notes/verdict/hits.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A repetition is told when it has this share of the best place's score. */
#define REPETITION 0.75
#define SAME_TEMPO 0.03

enum { MAX_PLACES = 32 };

static int by_piece(const void *a, const void *b) {
    const ms_verified *x = *(const ms_verified *const *)a, *y = *(const ms_verified *const *)b;
    if (x->piece != y->piece) return x->piece < y->piece ? -1 : 1;
    return (x > y) - (x < y); /* found[] is in order of score */
}

/* Steps of 5 ms in which the residual counts for the rank. */
static double even(const ms_piece_hit *hit) { return floor(hit->agreement.residual * 200); }

static int by_rank(const void *a, const void *b) {
    const ms_piece_hit *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->agreement.matched != y->agreement.matched)
        return x->agreement.matched > y->agreement.matched ? -1 : 1;
    if (even(x) != even(y)) return even(x) < even(y) ? -1 : 1;
    if (x->agreement.of_target != y->agreement.of_target) /* more of this one is in the query */
        return x->agreement.of_target < y->agreement.of_target ? -1 : 1;
    return (x->piece > y->piece) - (x->piece < y->piece);
}

/* Notes of the query that two stretches share. */
static double overlap(const ms_verified *a, const ms_verified *b) {
    const uint32_t first = a->query_first > b->query_first ? a->query_first : b->query_first,
                   last = a->query_last < b->query_last ? a->query_last : b->query_last;
    return last >= first ? last - first + 1.0 : 0;
}

static bool is_section(const ms_piece_hit *hit, const ms_verified *v) {
    if (v->score < MS_SECTION_BITS) return false;
    const double most = 0.25 * (v->query_last - v->query_first + 1.0);
    if (overlap(hit->best, v) >= most) return false;
    for (size_t i = 0; i < hit->n_sections; i++)
        if (overlap(hit->places[i], v) >= most) return false;
    return true;
}

/* The same passage at another place of the piece. */
static bool is_repetition(const ms_piece_hit *hit, const ms_verified *v) {
    if (v->score < REPETITION * hit->best->score) return false;
    if (v->first <= hit->best->last && v->last >= hit->best->first) return false;
    for (size_t i = 0; i < hit->n_places; i++)
        if (v->first <= hit->places[i]->last && v->last >= hit->places[i]->first) return false;
    return true;
}

static void add_section(ms_piece_hit *hit, const ms_verified *v) {
    hit->score += v->score;
    hit->agreement.matched += (double)v->n_pairs;
    hit->agreement.in_query += v->query_last - v->query_first + 1.0;
    hit->agreement.in_target += v->last - v->first + 1.0;
}

int ms_hit_make(const ms_verified **chains, size_t n, ms_arena *arena, ms_piece_hit *hit,
                msim_error *err) {
    *hit = (ms_piece_hit){.piece = chains[0]->piece, .best = chains[0]};
    const size_t cap = n < MAX_PLACES ? n : MAX_PLACES;
    hit->places = ms_arena_get(arena, cap, sizeof(ms_verified *), "places", err);
    if (!hit->places) return -MSIM_E_MEMORY;
    hit->best_score = chains[0]->score;
    hit->agreement.residual = chains[0]->residual_ms / 1000;
    add_section(hit, chains[0]);
    for (size_t i = 1; i < n && hit->n_places < cap; i++)
        if (is_section(hit, chains[i])) {
            add_section(hit, chains[i]);
            hit->places[hit->n_sections++] = chains[i];
            hit->n_places = hit->n_sections;
        }
    for (size_t i = 1; i < n && hit->n_places < cap; i++)
        if (is_repetition(hit, chains[i])) hit->places[hit->n_places++] = chains[i];
    return MSIM_OK;
}

void ms_hits_sort(ms_piece_hit *hits, size_t n) { qsort(hits, n, sizeof *hits, by_rank); }

int ms_hits_make(const ms_pass_result *pass, ms_cache *cache, bool is_same_tempo, ms_arena *arena,
                 ms_piece_hit **out, size_t *n_out, msim_error *err) {
    const ms_verified **order = ms_arena_get(arena, pass->n, sizeof(ms_verified *), "matches", err);
    ms_piece_hit *hits = order ? ms_arena_get(arena, pass->n, sizeof *hits, "matches", err) : NULL;
    size_t n = 0;
    if (!hits) return -MSIM_E_MEMORY;
    *n_out = 0;
    *out = hits;
    for (size_t i = 0; i < pass->n; i++)
        if (!is_same_tempo || fabs(pass->found[i].slope - 1) <= SAME_TEMPO)
            order[n++] = &pass->found[i];
    qsort(order, n, sizeof *order, by_piece);
    for (size_t i = 0, next; i < n; i = next) {
        ms_target target;
        ms_piece_hit *hit = &hits[*n_out];
        for (next = i + 1; next < n && order[next]->piece == order[i]->piece; next++) {
        }
        int rc = ms_hit_make(order + i, next - i, arena, hit, err);
        if (rc >= 0) rc = ms_cache_get(cache, hit->piece, &target, err);
        if (rc < 0) return rc;
        hit->agreement.of_query = (double)pass->query.canon.n;
        hit->agreement.of_target = (double)target.n;
        ++*n_out;
    }
    ms_hits_sort(hits, *n_out);
    return MSIM_OK;
}
