/* Two pieces compared directly: msim_comparer of include/midisim.h. The shorter piece is the query,
 * so that a pair has one verdict. Pieces stay ready for a while, since versions of a piece are
 * compared with each other. */
#include "notes/pairs/compare.h"
#include "base/sized.h"
#include "notes/pairs/align.h"
#include "notes/verdict/match.h"
#include "notes/verdict/significance.h"

enum { SIDES = 16, KEEP_BYTES = 8 << 20 };

/* A piece that stays ready. */
typedef struct {
    const msim_notes *notes; /* borrowed; NULL: none */
    int64_t piece;
    uint64_t last_use;
    ms_arena arena;
    ms_side side;
} ready_side;

struct msim_comparer {
    const msim_notes *notes_a, *notes_b; /* borrowed */
    double evalue;
    ms_align_memory memory;
    ms_arena arena;  /* of the current comparison */
    ms_arena decoys; /* of one decoy */
    ready_side sides[SIDES];
    uint64_t n_uses;
};

int msim_comparer_open(const msim_notes *notes_a, const msim_notes *notes_b, double evalue,
                       msim_comparer **out, msim_error *err) {
    *out = NULL;
    if (!(evalue >= 0))
        return ms_fail(err, MSIM_E_ARG, "comparer: expected an E value from 0 on, got %g", evalue);
    msim_comparer *c = ms_alloc(1, sizeof *c, "comparer", err);
    if (!c) return -MSIM_E_MEMORY;
    c->notes_a = notes_a;
    c->notes_b = notes_b;
    c->evalue = evalue;
    ms_align_init(&c->memory);
    ms_arena_init(&c->arena, KEEP_BYTES);
    ms_arena_init(&c->decoys, KEEP_BYTES);
    for (int i = 0; i < SIDES; i++) ms_arena_init(&c->sides[i].arena, KEEP_BYTES);
    *out = c;
    return MSIM_OK;
}

void msim_comparer_close(msim_comparer *c) {
    if (!c) return;
    ms_align_free(&c->memory);
    ms_arena_free(&c->arena);
    ms_arena_free(&c->decoys);
    for (int i = 0; i < SIDES; i++) ms_arena_free(&c->sides[i].arena);
    ms_free(c);
}

/* ---- Sides ---- */

static int check_piece(const msim_notes *notes, int64_t piece, msim_error *err) {
    if (piece >= 0 && (uint64_t)piece < notes->tail.n_pieces) return MSIM_OK;
    return ms_fail(err, MSIM_E_ARG, "piece: expected 0..%lld, got %lld",
                   (long long)notes->tail.n_pieces - 1, (long long)piece);
}

/* The piece, ready, in place of the one that was used longest ago. What it gave for the piece
 * before stays. */
static int get_side(msim_comparer *c, const msim_notes *notes, int64_t piece, const ms_side **out,
                    msim_error *err) {
    ready_side *r = &c->sides[0];
    int rc = check_piece(notes, piece, err);
    if (rc < 0) return rc;
    for (int i = 0; i < SIDES; i++) {
        ready_side *s = &c->sides[i];
        if (s->notes == notes && s->piece == piece) {
            s->last_use = ++c->n_uses;
            *out = &s->side;
            return MSIM_OK;
        }
        if (s->last_use < r->last_use) r = s;
    }
    r->notes = NULL;
    ms_arena_reset(&r->arena);
    rc = ms_side_load(notes, piece, &r->arena, &r->side, err);
    if (rc < 0) return rc;
    r->notes = notes;
    r->piece = piece;
    r->last_use = ++c->n_uses;
    *out = &r->side;
    return MSIM_OK;
}

/* ---- Significance ---- */

/* The best score of a decoy of the query in the target. */
static int best_decoy(msim_comparer *c, const ms_side *query, const ms_side *target, double *best,
                      msim_error *err) {
    const ms_canon *canon = &query->probe.canon;
    msim_note *notes = ms_arena_get(&c->arena, canon->n, sizeof *notes, "notes", err);
    msim_note *decoy = notes ? ms_arena_get(&c->arena, canon->n, sizeof *decoy, "notes", err)
                             : NULL;
    *best = 0;
    if (!decoy) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < canon->n; i++)
        notes[i] = (msim_note){.start_ms = canon->time[i],
                               .duration_ms = canon->end[i] - canon->onset[i],
                               .pitch = canon->pitch[i],
                               .voice = canon->voice[i]};
    for (int d = 0; d < MS_DECOYS; d++) {
        ms_side side;
        ms_alignment found;
        ms_arena_reset(&c->decoys);
        ms_decoy_make(notes, canon->n, d, decoy);
        int rc = ms_side_make(decoy, canon->n, &c->decoys, &side, err);
        if (rc >= 0) rc = ms_align(&c->memory, &side, target, &c->decoys, &found, err);
        if (rc < 0) return rc;
        if (found.n > 0 && found.found[0].score > *best) *best = found.found[0].score;
    }
    return MSIM_OK;
}

/* The same intervals from the first note to the last, whatever they are: even two chromatic scales
 * are copies then. */
static bool is_copy(const ms_side *query, const ms_side *target, const ms_piece_hit *hit) {
    return query->target.n >= MS_STRAIGHT_NOTES && query->digest == target->digest &&
           ms_relation_of(&hit->agreement) == MSIM_RELATION_SAME_NOTES;
}

/* E, with decoys where they could change the verdict. */
static int evalue_of(msim_comparer *c, const ms_side *query, const ms_side *target,
                     const ms_piece_hit *hit, double *evalue, msim_error *err) {
    const double score = hit->best_score;
    const size_t n = query->target.n;
    const uint64_t searched = c->notes_b->tail.n_notes;
    double decoy = 0;
    *evalue = is_copy(query, target, hit) ? MS_LEAST_EVALUE : ms_chance_hits(score, 0, n, searched);
    if (*evalue == MS_LEAST_EVALUE || *evalue > c->evalue || ms_chance_is_clear(score, n, searched))
        return MSIM_OK;
    int rc = best_decoy(c, query, target, &decoy, err);
    *evalue = ms_chance_hits(score, decoy, n, searched);
    return rc;
}

/* ---- A pair ---- */

static int make_hit(msim_comparer *c, const ms_side *query, const ms_side *target,
                    const ms_alignment *found, ms_piece_hit *hit, msim_error *err) {
    const ms_verified *order[MS_PAIR_VERIFIED + 1];
    for (size_t i = 0; i < found->n; i++) order[i] = &found->found[i];
    int rc = ms_hit_make(order, found->n, &c->arena, hit, err);
    hit->agreement.of_query = (double)query->target.n;
    hit->agreement.of_target = (double)target->target.n;
    return rc;
}

/* Returns 0 when nothing agrees, else 1. */
static int find_hit(msim_comparer *c, const ms_side *query, const ms_side *target,
                    ms_piece_hit *hit, msim_error *err) {
    ms_alignment found;
    int rc = ms_align_straight(&c->memory, query, target, &c->arena, &found, err);
    if (rc >= 0 && found.n > 0) rc = make_hit(c, query, target, &found, hit, err);
    if (rc < 0) return rc;
    if (found.n > 0 && ms_relation_of(&hit->agreement) == MSIM_RELATION_SAME_NOTES) return 1;
    rc = ms_align(&c->memory, query, target, &c->arena, &found, err);
    if (rc < 0 || found.n == 0) return rc < 0 ? rc : 0;
    rc = make_hit(c, query, target, &found, hit, err);
    return rc < 0 ? rc : 1;
}

/* The match of the query, `piece` being the target, and that of the target. */
static int judge_hit(msim_comparer *c, const ms_side *query, const ms_side *target,
                     ms_piece_hit *hit, msim_note_match *match, msim_note_match *mirrored,
                     msim_error *err) {
    double evalue;
    int rc = evalue_of(c, query, target, hit, &evalue, err);
    if (rc >= 0)
        rc = ms_match_fill(hit, query->probe.canon.time, &target->target, &c->arena, match, err);
    if (rc < 0) return rc;
    ms_match_judge(match, hit, evalue, c->evalue);
    return ms_match_mirror(match, hit, &query->target, 0, &c->arena, mirrored, err);
}

static msim_note_match no_match(const msim_comparer *c, const ms_side *query,
                                const ms_side *target) {
    return (msim_note_match){
        .evalue = ms_chance_hits(0, 0, query->target.n, c->notes_b->tail.n_notes),
        .of_query = (int64_t)query->target.n,
        .of_piece = (int64_t)target->target.n,
        .tempo = 1};
}

static bool is_query(const ms_side *a, const ms_side *b) {
    if (a->target.n != b->target.n) return a->target.n < b->target.n;
    return a->digest <= b->digest;
}

int ms_compare_both(msim_comparer *c, int64_t a, int64_t b, msim_note_match *match,
                    msim_note_match *mirrored, msim_error *err) {
    const ms_side *side_a, *side_b;
    msim_note_match of_query, of_target;
    ms_piece_hit hit = {0};
    int rc = get_side(c, c->notes_a, a, &side_a, err);
    if (rc >= 0) rc = get_side(c, c->notes_b, b, &side_b, err);
    if (rc < 0) return rc;
    ms_arena_reset(&c->arena);
    const bool is_a = is_query(side_a, side_b);
    const ms_side *query = is_a ? side_a : side_b, *target = is_a ? side_b : side_a;
    rc = find_hit(c, query, target, &hit, err);
    if (rc == 0) {
        of_query = no_match(c, query, target);
        of_target = no_match(c, target, query);
    } else if (rc > 0) {
        rc = judge_hit(c, query, target, &hit, &of_query, &of_target, err);
    }
    if (rc < 0) return rc;
    *match = is_a ? of_query : of_target;
    match->piece = b;
    if (!mirrored) return MSIM_OK;
    *mirrored = is_a ? of_target : of_query;
    mirrored->piece = a;
    return MSIM_OK;
}

int msim_comparer_compare(msim_comparer *c, int64_t a, int64_t b, msim_note_match *match,
                          msim_error *err) {
    return ms_compare_both(c, a, b, match, NULL, err);
}

int msim_notes_compare(const msim_notes *notes_a, int64_t a, const msim_notes *notes_b, int64_t b,
                       msim_note_match *match, msim_error *err) {
    msim_comparer *c;
    int rc = msim_comparer_open(notes_a, notes_b, 1e-3, &c, err);
    if (rc < 0) return rc;
    rc = ms_compare_both(c, a, b, match, NULL, err);
    if (rc >= 0) {
        match->others = NULL;
        match->n_others = 0;
    }
    msim_comparer_close(c);
    return rc;
}
