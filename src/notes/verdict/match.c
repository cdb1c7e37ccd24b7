/* Matches: see match.h. */
#include "notes/verdict/match.h"
#include "notes/file/details.h"
#include <math.h>

static msim_place place_of(const ms_verified *v, const uint32_t *time, const ms_target *target) {
    return (msim_place){.query_from = time[v->query_first] / 1000.0,
                        .query_to = time[v->query_last] / 1000.0,
                        .from = target->time[v->first] / 1000.0,
                        .to = target->time[v->last] / 1000.0,
                        .query_first = v->query_first,
                        .query_last = v->query_last,
                        .first = v->first,
                        .last = v->last,
                        .n_matched = (int64_t)v->n_pairs,
                        .score = v->score};
}

/* The voice that has most of the matched notes of one side. */
static int find_voice(const ms_verified *best, bool is_query, const ms_target *piece,
                      ms_arena *arena, msim_note_match *match, msim_error *err) {
    uint32_t *counts, *chosen = ms_arena_get(arena, best->n_pairs, sizeof *chosen, "notes", err);
    size_t n_voices;
    if (!chosen) return -MSIM_E_MEMORY;
    match->voice = 0;
    match->voice_share = 0;
    for (size_t i = 0; i < best->n_pairs; i++)
        chosen[i] = is_query ? best->pairs[i].query : best->pairs[i].target;
    int rc = ms_details_count_voices(piece->voices, piece->end, piece->n, chosen, best->n_pairs,
                                     arena, &counts, &n_voices, err);
    if (rc < 0 || n_voices == 0) return rc;
    for (size_t v = 1; v < n_voices; v++)
        if (counts[v] > counts[match->voice]) match->voice = (int)v;
    match->voice_share = counts[match->voice] / (double)best->n_pairs;
    return MSIM_OK;
}

int ms_match_fill(const ms_piece_hit *hit, const uint32_t *query_time, const ms_target *target,
                  ms_arena *arena, msim_note_match *out, msim_error *err) {
    const ms_verified *best = hit->best;
    *out = (msim_note_match){.piece = hit->piece,
                             .score = hit->score,
                             .n_matched = (int64_t)hit->agreement.matched,
                             .of_query = (int64_t)hit->agreement.of_query,
                             .of_piece = (int64_t)hit->agreement.of_target,
                             .identity = ms_identity_of(&hit->agreement),
                             .transpose = best->transpose,
                             .is_same_key = best->transpose == 0,
                             .is_same_tempo = fabs(best->slope - 1) <= 0.01,
                             .tempo = best->slope,
                             .residual = hit->agreement.residual,
                             .place = place_of(best, query_time, target)};
    msim_place *others = ms_arena_get(arena, hit->n_places, sizeof *others, "places", err);
    if (!others) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < hit->n_places; i++)
        others[i] = place_of(hit->places[i], query_time, target);
    out->others = others;
    out->n_others = (int64_t)hit->n_places;
    return find_voice(best, false, target, arena, out, err);
}

void ms_match_judge(msim_note_match *match, const ms_piece_hit *hit, double evalue,
                    double threshold) {
    match->evalue = evalue;
    match->is_significant = evalue <= threshold;
    match->relation = match->is_significant ? ms_relation_of(&hit->agreement) : MSIM_RELATION_NONE;
}

/* ---- From the other side ---- */

static msim_place mirrored_place(const msim_place *p) {
    return (msim_place){.query_from = p->from,
                        .query_to = p->to,
                        .from = p->query_from,
                        .to = p->query_to,
                        .query_first = p->first,
                        .query_last = p->last,
                        .first = p->query_first,
                        .last = p->query_last,
                        .n_matched = p->n_matched,
                        .score = p->score};
}

static int mirrored_relation(int relation) {
    if (relation == MSIM_RELATION_PART_OF) return MSIM_RELATION_CONTAINS;
    return relation == MSIM_RELATION_CONTAINS ? MSIM_RELATION_PART_OF : relation;
}

int ms_match_mirror(const msim_note_match *match, const ms_piece_hit *hit, const ms_target *query,
                    uint32_t piece, ms_arena *arena, msim_note_match *out, msim_error *err) {
    const double tempo = match->tempo > 0 ? match->tempo : 1;
    *out = *match;
    out->piece = piece;
    out->relation = mirrored_relation(match->relation);
    out->of_query = match->of_piece;
    out->of_piece = match->of_query;
    out->transpose = -match->transpose;
    out->tempo = 1 / tempo;
    out->is_same_tempo = fabs(out->tempo - 1) <= 0.01;
    out->residual = match->residual / tempo;
    out->place = mirrored_place(&match->place);
    msim_place *others =
        ms_arena_get(arena, (size_t)match->n_others, sizeof *others, "places", err);
    if (!others) return -MSIM_E_MEMORY;
    for (int64_t i = 0; i < match->n_others; i++) others[i] = mirrored_place(&match->others[i]);
    out->others = others;
    return find_voice(hit->best, true, query, arena, out, err);
}
