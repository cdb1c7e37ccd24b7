/* Finds the pieces that share notes with a query: msim_finder of include/midisim.h. Reads like the
 * summary of docs/NOTES.md. */
#include "base/sized.h"
#include "notes/find/share.h"
#include "notes/verdict/gather.h"
#include "notes/verdict/match.h"
#include "notes/verdict/significance.h"
#include <math.h>
#include <stdlib.h>

enum { KEEP_BYTES = 64 << 20 };

struct msim_finder {
    const msim_notes *notes; /* borrowed */
    msim_finder_options options;
    ms_stop stop;
    ms_pass_memory memory;
    ms_pass_limits limits;
    ms_arena arena;      /* of the current query */
    ms_arena decoys;     /* of one decoy */
    uint64_t n_searched; /* notes of the pieces that may match */
};

void msim_finder_options_init(msim_finder_options *options) {
    const msim_finder_options defaults = {
        .size = sizeof defaults, .max_matches = 16, .evalue = 1e-3};
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

/* Light searches look at an eighth of the words and at rare ones alone. */
static void set_limits(msim_finder *f) {
    const bool is_light = f->options.is_light;
    f->limits.query = (ms_probe_limits){.few = is_light ? MS_LIGHT_FEW : MS_FEW,
                                        .most = is_light ? MS_LIGHT_MOST : MS_MOST,
                                        .sample = is_light ? MS_LIGHT_SAMPLE : 1,
                                        .stop = &f->stop};
    f->limits.anchors = (ms_anchor_limits){.within = f->options.within,
                                           .is_same_key = f->options.is_same_key != 0,
                                           .max_groups = is_light ? MS_LIGHT_GROUPS : MS_GROUPS};
    f->limits.max_verified = MS_VERIFIED;
    f->limits.ranks = f->options.ranks;
    ms_share_pieces(f->options.ranks, f->notes->tail.n_pieces, &f->limits.anchors);
}

/* Chance has fewer places in fewer pieces. A list without any piece is filled in later, with what a
 * search of all pieces found (pairs.c). */
static void count_searched(msim_finder *f) {
    for (uint64_t p = 0; f->options.within && p < f->notes->tail.n_pieces; p++)
        if (f->options.within[p]) f->n_searched += f->notes->pieces[p].n_notes;
    if (f->n_searched == 0) f->n_searched = f->notes->tail.n_notes;
}

int msim_finder_open(const msim_notes *notes, const msim_finder_options *options, msim_finder **out,
                     msim_error *err) {
    msim_finder_options o = msim_finder_options_default();
    *out = NULL;
    int rc = options ? ms_sized_in(&o, sizeof o, options, "msim_finder_options", err) : MSIM_OK;
    if (rc >= 0 && (o.max_matches < 1 || !(o.evalue >= 0)))
        rc = ms_fail(err, MSIM_E_ARG, "finder: expected at least 1 match and an E value from 0 on");
    if (rc < 0) return rc;
    msim_finder *f = ms_alloc(1, sizeof *f, "finder", err);
    if (!f) return -MSIM_E_MEMORY;
    f->notes = notes;
    f->options = o;
    f->stop = (ms_stop){o.should_stop, o.stop_user};
    if (o.ranks && o.ranks->count < 2) f->options.ranks = NULL;
    ms_arena_init(&f->arena, KEEP_BYTES);
    ms_arena_init(&f->decoys, KEEP_BYTES);
    set_limits(f);
    count_searched(f);
    rc = ms_pass_memory_init(&f->memory, notes, err);
    if (rc < 0) {
        msim_finder_close(f);
        return rc;
    }
    *out = f;
    return MSIM_OK;
}

void msim_finder_close(msim_finder *f) {
    if (!f) return;
    ms_pass_memory_free(&f->memory);
    ms_arena_free(&f->arena);
    ms_arena_free(&f->decoys);
    ms_free(f);
}

/* ---- Significance ---- */

/* The best score that a decoy of the query reaches in any piece. */
static int best_decoy(msim_finder *f, const msim_note *query, size_t n, double *best,
                      msim_error *err) {
    const msim_ranks *ranks = f->limits.ranks;
    int64_t none = 0;
    *best = 0;
    msim_note *decoy = ms_arena_get(&f->arena, n, sizeof *decoy, "notes", err);
    int rc = ms_share_most(ranks, decoy ? MSIM_OK : -MSIM_E_MEMORY, best, &none, err);
    for (int d = 0; d < MS_DECOYS && rc >= 0; d++) {
        ms_pass_result pass;
        ms_arena_reset(&f->decoys);
        ms_decoy_make(query, n, d, decoy);
        rc = ms_pass_run(&f->memory, decoy, n, &f->limits, &f->decoys, &pass, err);
        if (rc >= 0 && pass.n > 0 && pass.found[0].score > *best) *best = pass.found[0].score;
        rc = ms_share_most(ranks, rc, best, &none, err);
    }
    return rc;
}

/* How many pieces have this hit's passage, about as well. */
static size_t pieces_with(const ms_piece_hit *hits, size_t n, const ms_piece_hit *hit) {
    const uint32_t length = hit->best->query_last - hit->best->query_first + 1;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const ms_verified *v = hits[i].best;
        const uint32_t first = v->query_first > hit->best->query_first ? v->query_first
                                                                       : hit->best->query_first,
                       last = v->query_last < hit->best->query_last ? v->query_last
                                                                    : hit->best->query_last;
        count += v->score >= hit->best->score / 2 && last >= first &&
                 2 * (last - first + 1) >= length;
    }
    return count;
}

/* E of a hit. A mere passage that very many pieces have says little about any of them. */
static double evalue_of(const msim_finder *f, const ms_piece_hit *hits, size_t n,
                        const ms_piece_hit *hit, double decoy, size_t n_notes) {
    const double evalue = ms_chance_hits(hit->best_score, decoy, n_notes, f->n_searched);
    if (evalue >= MS_COMMON_EVALUE || ms_relation_of(&hit->agreement) != MSIM_RELATION_PASSAGE ||
        pieces_with(hits, n, hit) <= MS_COMMON_PIECES)
        return evalue;
    return MS_COMMON_EVALUE;
}

/* ---- Matches ---- */

/* Hits in rank order to matches: significant ones, then the others. */
static int64_t give_matches(msim_finder *f, const ms_pass_result *pass, const ms_piece_hit *hits,
                            size_t n_hits, double decoy, const msim_note_match **matches,
                            msim_error *err) {
    const size_t most = (size_t)f->options.max_matches < n_hits ? (size_t)f->options.max_matches
                                                                : n_hits;
    msim_note_match *out = ms_arena_get(&f->arena, most, sizeof *out, "matches", err);
    size_t n = 0;
    if (!out) return -MSIM_E_MEMORY;
    for (int wants = 1; wants >= 0; wants--)
        for (size_t i = 0; i < n_hits && n < most; i++) {
            const double evalue = evalue_of(f, hits, n_hits, &hits[i], decoy, pass->query.canon.n);
            if ((evalue <= f->options.evalue) != wants) continue;
            ms_target target;
            int rc = ms_cache_get(&f->memory.cache, hits[i].piece, &target, err);
            if (rc >= 0)
                rc = ms_match_fill(&hits[i], pass->query.canon.time, &target, &f->arena, &out[n],
                                   err);
            if (rc < 0) return rc;
            ms_match_judge(&out[n], &hits[i], evalue, f->options.evalue);
            n++;
        }
    *matches = out;
    return (int64_t)n;
}

int64_t msim_finder_find(msim_finder *f, const msim_note *query, size_t n,
                         const msim_note_match **matches, msim_error *err) {
    ms_pass_result pass;
    ms_piece_hit *hits = NULL;
    size_t n_hits = 0;
    double decoy = 0, best = 0;
    if (n == 0) return 0;
    ms_arena_reset(&f->arena);
    int rc = ms_pass_run(&f->memory, query, n, &f->limits, &f->arena, &pass, err);
    if (rc >= 0)
        rc = ms_hits_make(&pass, &f->memory.cache, f->options.is_same_tempo != 0, &f->arena, &hits,
                          &n_hits, err);
    for (size_t i = 0; i < n_hits; i++)
        if (hits[i].best_score > best) best = hits[i].best_score;
    int64_t n_all = (int64_t)n_hits;
    rc = ms_share_most(f->limits.ranks, rc, &best, &n_all, err);
    if (rc < 0 || n_all == 0) return rc;
    if (!f->options.is_light && !ms_chance_is_clear(best, pass.query.canon.n, f->n_searched))
        rc = best_decoy(f, query, n, &decoy, err);
    if (rc >= 0) rc = ms_hits_gather(f->limits.ranks, &hits, &n_hits, &f->arena, err);
    if (rc < 0) return rc;
    return give_matches(f, &pass, hits, n_hits, decoy, matches, err);
}
