/* All pairs of pieces of an index, or of two: msim_notes_pairs of include/midisim.h. Pieces that
 * ask propose others; then each proposed pair is compared once. Both are done batch by batch. On
 * several ranks each has every so manyth batch; all know all proposals, and rank 0 gives the
 * pairs. */
#include "base/sized.h"
#include "notes/constants.h"
#include "notes/pairs/compare.h"
#include "notes/pairs/give.h"
#include "notes/pairs/propose.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ASKERS = 1024, PAIRS = 256 };
#define SAME_TEMPO 0.03

typedef struct {
    const msim_notes *notes, *against; /* borrowed */
    msim_pairs_options options;
    const msim_ranks *ranks;   /* borrowed, or NULL */
    ms_pool *pool;             /* owned, and so on */
    msim_comparer **comparers; /* [threads] */
    ms_giver *giver;
    ms_proposals proposals;
    ms_pair_found *batch;     /* [PAIRS] */
    msim_error *errors;       /* [PAIRS] */
    const ms_proposal *asked; /* borrowed: the pairs of the batch */
} pairing;

void msim_pairs_options_init(msim_pairs_options *options) {
    const msim_pairs_options defaults = {.size = sizeof defaults, .count = -1, .evalue = 1e-3};
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

static int agree(const pairing *p, int rc, msim_error *err) {
    return p->ranks ? p->ranks->agree(p->ranks->user, rc, err) : rc;
}

static int tell(const pairing *p, int stage, int64_t done, int64_t all, msim_error *err) {
    const msim_pairs_options *o = &p->options;
    if (o->progress && o->progress(o->progress_user, stage, done, all))
        return ms_fail(err, MSIM_E_STOPPED, "stopped pairing");
    return MSIM_OK;
}

/* ---- Asking ---- */

static bool does_ask(const pairing *p, int64_t piece) {
    const msim_pairs_options *o = &p->options;
    return piece >= o->first && piece - o->first < o->count && (!o->asks || o->asks[piece]);
}

/* The next pieces that ask, at most ASKERS, from *piece on. */
static size_t next_askers(const pairing *p, int64_t *piece, uint32_t *askers) {
    const int64_t end = p->options.first + p->options.count;
    size_t n = 0;
    for (; *piece < end && n < ASKERS; ++*piece)
        if (does_ask(p, *piece)) askers[n++] = (uint32_t)*piece;
    return n;
}

static int ask_batches(pairing *p, ms_proposer *proposer, uint32_t *askers, msim_error *err) {
    const int count = p->ranks ? p->ranks->count : 1, index = p->ranks ? p->ranks->index : 0;
    const msim_pairs_options *o = &p->options;
    int64_t piece = o->first;
    int rc = MSIM_OK;
    for (int64_t batch = 0; rc >= 0 && piece < o->first + o->count; batch++) {
        const size_t n = next_askers(p, &piece, askers);
        if (batch % count == index) rc = ms_propose(proposer, askers, n, &p->proposals, err);
        if (rc >= 0) rc = tell(p, MSIM_PAIRS_ASKING, piece - o->first, o->count, err);
    }
    return rc;
}

/* Every rank gets the proposals of all. */
static int share_proposals(pairing *p, msim_error *err) {
    const msim_ranks *ranks = p->ranks;
    const size_t own = p->proposals.n;
    ms_proposals all = {0};
    int rc = MSIM_OK;
    for (int from = 0; from < ranks->count; from++) {
        uint64_t n = own;
        ranks->broadcast(ranks->user, from, &n, sizeof n);
        rc = ms_grow((void **)&all.pairs, &all.cap, all.n + n, sizeof *all.pairs, "pairs", err);
        rc = ranks->agree(ranks->user, rc, err);
        if (rc < 0) break;
        if (n == 0) continue;
        if (from == ranks->index)
            memcpy(all.pairs + all.n, p->proposals.pairs, n * sizeof *all.pairs);
        ranks->broadcast(ranks->user, from, all.pairs + all.n, n * sizeof *all.pairs);
        all.n += n;
    }
    ms_proposals_free(&p->proposals);
    p->proposals = all;
    return rc;
}

static int by_pieces(const void *a, const void *b) {
    const ms_proposal *x = a, *y = b;
    if (x->a != y->a) return x->a < y->a ? -1 : 1;
    return (x->b > y->b) - (x->b < y->b);
}

/* Each pair once: of two pieces that ask, the lower number first. */
static void order_proposals(pairing *p) {
    ms_proposal *pairs = p->proposals.pairs;
    size_t kept = 0;
    for (size_t i = 0; i < p->proposals.n; i++)
        if (p->notes == p->against && pairs[i].b < pairs[i].a && does_ask(p, pairs[i].b))
            pairs[i] = (ms_proposal){pairs[i].b, pairs[i].a};
    if (p->proposals.n) qsort(pairs, p->proposals.n, sizeof *pairs, by_pieces);
    for (size_t i = 0; i < p->proposals.n; i++)
        if (kept == 0 || by_pieces(&pairs[kept - 1], &pairs[i]) != 0) pairs[kept++] = pairs[i];
    p->proposals.n = kept;
}

static int ask(pairing *p, msim_error *err) {
    ms_proposer *proposer = NULL;
    uint32_t *askers = ms_alloc(ASKERS, sizeof *askers, "pairs", err);
    int rc = askers ? ms_proposer_open(p->notes, p->against, p->pool, &proposer, err)
                    : -MSIM_E_MEMORY;
    if (rc >= 0) rc = ask_batches(p, proposer, askers, err);
    ms_proposer_close(proposer);
    ms_free(askers);
    rc = agree(p, rc, err);
    if (rc >= 0 && p->ranks) rc = share_proposals(p, err);
    if (rc >= 0) order_proposals(p);
    return rc;
}

/* ---- Comparing ---- */

static bool is_wanted(const pairing *p, const msim_note_match *m) {
    const msim_pairs_options *o = &p->options;
    const int64_t least = m->of_query < m->of_piece ? m->of_query : m->of_piece;
    if (m->relation == MSIM_RELATION_NONE) return false;
    if (m->relation != MSIM_RELATION_SAME_NOTES && m->score < MS_PAIR_BITS) return false;
    if (m->n_matched * MS_PAIR_SHARE < least && m->place.score < MS_PAIR_PLACE_BITS) return false;
    if ((o->is_same_key && !m->is_same_key) ||
        (o->is_same_tempo && fabs(m->tempo - 1) > SAME_TEMPO))
        return false;
    return o->relations == 0 || o->relations >> m->relation & 1;
}

static void compare_item(void *arg, int64_t item, int worker) {
    pairing *p = arg;
    ms_pair_found *out = &p->batch[item];
    const ms_proposal *pair = &p->asked[item];
    *out = (ms_pair_found){.a = pair->a, .b = pair->b};
    p->errors[item] = (msim_error){0};
    if (ms_compare_both(p->comparers[worker], pair->a, pair->b, &out->match, &out->mirrored,
                        &p->errors[item]) < 0)
        return;
    out->is_found = is_wanted(p, &out->match);
    out->has_mirror = p->options.gives_both && p->notes == p->against && does_ask(p, pair->b);
}

static int first_failure(const pairing *p, size_t n, msim_error *err) {
    for (size_t i = 0; i < n; i++)
        if (p->errors[i].code) return ms_fail(err, p->errors[i].code, "%s", p->errors[i].text);
    return MSIM_OK;
}

static int give_batch(const pairing *p, size_t n, msim_error *err) {
    int rc = MSIM_OK;
    for (size_t i = 0; i < n && rc >= 0; i++) rc = ms_give(p->giver, &p->batch[i], err);
    return rc;
}

/* Rank 0: the batches of the others, each of at most PAIRS pairs. All are received, also after the
 * caller has stopped. */
static int give_others(const pairing *p, size_t begin, int rc, msim_error *err) {
    const msim_ranks *ranks = p->ranks;
    for (int from = 1; from < ranks->count; from++) {
        if (begin + (size_t)from * PAIRS >= p->proposals.n) break;
        const size_t n_bytes = ranks->expect(ranks->user, from);
        ranks->receive(ranks->user, from, p->batch, n_bytes);
        if (rc >= 0) rc = give_batch(p, n_bytes / sizeof *p->batch, err);
    }
    return rc;
}

/* The pairs of one batch of each rank; `begin`: those of rank 0. */
static int compare_round(pairing *p, size_t begin, msim_error *err) {
    const size_t index = p->ranks ? (size_t)p->ranks->index : 0, n_all = p->proposals.n;
    const size_t own = begin + index * PAIRS;
    const size_t n = own >= n_all ? 0 : n_all - own < PAIRS ? n_all - own : PAIRS;
    p->asked = p->proposals.pairs + (n ? own : 0);
    ms_pool_run(p->pool, (int64_t)n, compare_item, p);
    int rc = agree(p, first_failure(p, n, err), err);
    if (rc < 0) return rc;
    if (index > 0 && n > 0) p->ranks->send(p->ranks->user, 0, p->batch, n * sizeof *p->batch);
    if (index == 0) rc = give_batch(p, n, err);
    if (index == 0 && p->ranks) rc = give_others(p, begin, rc, err);
    return rc;
}

static int compare(pairing *p, msim_error *err) {
    const size_t step = PAIRS * (size_t)(p->ranks ? p->ranks->count : 1), n = p->proposals.n;
    int rc = MSIM_OK;
    for (size_t begin = 0; begin < n && rc >= 0; begin += step) {
        rc = compare_round(p, begin, err);
        const size_t done = n - begin < step ? n : begin + step;
        if (rc >= 0) rc = tell(p, MSIM_PAIRS_COMPARING, (int64_t)done, (int64_t)n, err);
        rc = agree(p, rc, err);
    }
    if (rc >= 0) rc = ms_give_rest(p->giver, err);
    return agree(p, rc, err);
}

/* ---- All pairs ---- */

static int read_options(pairing *p, const msim_pairs_options *options, msim_error *err) {
    msim_pairs_options *o = &p->options;
    const int64_t n = (int64_t)p->notes->tail.n_pieces;
    int rc = options ? ms_sized_in(o, sizeof *o, options, "msim_pairs_options", err) : MSIM_OK;
    if (rc < 0) return rc;
    p->against = o->against ? o->against : p->notes;
    p->ranks = o->ranks && o->ranks->count > 1 ? o->ranks : NULL;
    if (o->first < 0 || o->first > n || o->count < -1)
        return ms_fail(err, MSIM_E_ARG, "pairs: expected pieces of 0..%lld, got %lld from %lld on",
                       (long long)n - 1, (long long)o->count, (long long)o->first);
    if (o->count < 0 || o->count > n - o->first) o->count = n - o->first;
    if (o->relations >> MSIM_RELATION_COUNT)
        return ms_fail(err, MSIM_E_ARG, "pairs: expected relations of msim_relation, got 0x%x",
                       o->relations);
    return MSIM_OK;
}

static int open_pairing(pairing *p, msim_pair_sink sink, void *user, msim_error *err) {
    const bool has_mirrors = p->options.gives_both && p->notes == p->against;
    int rc = ms_pool_open(p->options.threads, &p->pool, err);
    if (rc < 0) return rc;
    const size_t n = (size_t)ms_pool_size(p->pool);
    p->comparers = ms_alloc(n, sizeof(msim_comparer *), "pairs", err);
    p->batch = p->comparers ? ms_alloc(PAIRS, sizeof *p->batch, "pairs", err) : NULL;
    p->errors = p->batch ? ms_alloc(PAIRS, sizeof *p->errors, "pairs", err) : NULL;
    if (!p->errors) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n && rc >= 0; i++)
        rc = msim_comparer_open(p->notes, p->against, p->options.evalue, &p->comparers[i], err);
    if (rc < 0) return rc;
    return ms_giver_open(sink, user, has_mirrors ? (int64_t)p->notes->tail.n_pieces : 0, &p->giver,
                         err);
}

static void close_pairing(pairing *p) {
    for (int i = 0; p->comparers && i < ms_pool_size(p->pool); i++)
        msim_comparer_close(p->comparers[i]);
    ms_free(p->comparers);
    ms_free(p->batch);
    ms_free(p->errors);
    ms_giver_close(p->giver);
    ms_proposals_free(&p->proposals);
    if (p->pool) ms_pool_close(p->pool);
}

int64_t msim_notes_pairs(const msim_notes *notes, const msim_pairs_options *options,
                         msim_pair_sink sink, void *user, msim_error *err) {
    pairing p = {.notes = notes, .options = msim_pairs_options_default()};
    int rc = read_options(&p, options, err);
    if (rc >= 0) rc = open_pairing(&p, sink, user, err);
    rc = agree(&p, rc, err);
    if (rc >= 0) rc = ask(&p, err);
    if (rc >= 0) rc = compare(&p, err);
    const int64_t n = rc >= 0 ? ms_giver_count(p.giver) : 0;
    close_pairing(&p);
    return rc < 0 ? rc : n;
}
