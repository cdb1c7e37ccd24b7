/* All pairs of pieces of an index that share enough notes: msim_notes_pairs of include/midisim.h. A
 * light search with each piece names candidates; a whole search among these alone names the
 * relation. Pieces are shared out among threads some at a time, and given in order. On several
 * ranks each has every so manyth batch, and rank 0 gives those of all. */
#include "base/mem.h"
#include "base/pool.h"
#include "base/sized.h"
#include "notes/constants.h"
#include <string.h>

enum { BATCH = 64 };

/* The matches of one piece; the places of the matches are not kept. */
typedef struct {
    msim_note_match *matches; /* owned: [n] */
    int64_t n;
    msim_error err;
} piece_pairs;

typedef struct {
    msim_finder *light, *whole; /* owned */
    unsigned char *within;      /* owned: [pieces], for `whole` */
} pair_worker;

typedef struct {
    const msim_notes *notes;
    msim_finder_options options; /* of finders, each of one process */
    const msim_ranks *ranks;     /* borrowed, or NULL */
    ms_pool *pool;               /* owned, and so on */
    pair_worker *workers;        /* [threads] */
    piece_pairs *batch;          /* [BATCH] */
    int64_t first, n_pieces;
} pairing;

/* ---- One piece ---- */

/* Marks the pieces that the light search proposes. Returns how many. */
static int64_t propose(const pairing *p, pair_worker *w, int64_t a, const msim_piece_notes *piece,
                       msim_error *err) {
    const msim_note_match *m;
    int64_t n_marked = 0;
    const int64_t n = msim_finder_find(w->light, piece->notes, piece->n_notes, &m, err);
    memset(w->within, 0, (size_t)p->n_pieces);
    for (int64_t i = 0; i < n; i++) {
        const int64_t least = m[i].of_query < m[i].of_piece ? m[i].of_query : m[i].of_piece;
        if (m[i].piece == a || m[i].score < MS_PAIR_BITS || m[i].n_matched * MS_PAIR_SHARE < least)
            continue;
        w->within[m[i].piece] = 1;
        n_marked++;
    }
    return n < 0 ? n : n_marked;
}

static int64_t pair_piece(const pairing *p, pair_worker *w, int64_t a, piece_pairs *out,
                          msim_error *err) {
    msim_loaded_piece *loaded;
    msim_piece_notes piece = {.size = sizeof piece};
    const msim_note_match *m = NULL;
    int64_t n = msim_notes_load_piece(p->notes, a, &loaded, &piece, err);
    if (n < 0) return n;
    n = propose(p, w, a, &piece, err);
    if (n > 0) n = msim_finder_find(w->whole, piece.notes, piece.n_notes, &m, err);
    msim_notes_free_piece(loaded);
    if (n <= 0) return n;
    out->matches = ms_alloc((size_t)n, sizeof *out->matches, "pairs", err);
    if (!out->matches) return -MSIM_E_MEMORY;
    for (int64_t i = 0; i < n; i++) {
        if (!m[i].is_significant) continue;
        out->matches[out->n] = m[i];
        out->matches[out->n].others = NULL;
        out->matches[out->n++].n_others = 0;
    }
    return out->n;
}

static void pair_item(void *arg, int64_t item, int worker) {
    pairing *p = arg;
    piece_pairs *out = &p->batch[item];
    *out = (piece_pairs){0};
    (void)pair_piece(p, &p->workers[worker], p->first + item, out, &out->err);
}

/* ---- All pieces ---- */

static int open_worker(pairing *p, pair_worker *w, msim_error *err) {
    msim_finder_options light = p->options, whole = p->options;
    w->within = ms_alloc((size_t)p->n_pieces, 1, "pieces", err);
    if (!w->within) return -MSIM_E_MEMORY;
    light.is_light = 1;
    light.max_matches = MS_VERIFIED;
    whole.within = w->within;
    int rc = msim_finder_open(p->notes, &light, &w->light, err);
    return rc < 0 ? rc : msim_finder_open(p->notes, &whole, &w->whole, err);
}

static int open_pairing(pairing *p, int threads, msim_error *err) {
    int rc = ms_pool_open(threads, &p->pool, err);
    if (rc < 0) return rc;
    const size_t n = (size_t)ms_pool_size(p->pool);
    p->workers = ms_alloc(n, sizeof *p->workers, "pairs", err);
    p->batch = p->workers ? ms_alloc(BATCH, sizeof *p->batch, "pairs", err) : NULL;
    if (!p->batch) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n && rc >= 0; i++) rc = open_worker(p, &p->workers[i], err);
    return rc;
}

static void close_pairing(pairing *p) {
    for (int i = 0; p->workers && i < ms_pool_size(p->pool); i++) {
        msim_finder_close(p->workers[i].light);
        msim_finder_close(p->workers[i].whole);
        ms_free(p->workers[i].within);
    }
    ms_free(p->workers);
    ms_free(p->batch);
    if (p->pool) ms_pool_close(p->pool);
}

/* ---- Giving ---- */

typedef struct {
    msim_pair_sink sink;
    void *user;
    int64_t n_given;
} giving;

/* The matches [n] of one piece. */
static int give_piece(giving *g, int64_t a, const msim_note_match *matches, int64_t n,
                      msim_error *err) {
    for (int64_t m = 0; m < n; m++, g->n_given++)
        if (g->sink(g->user, a, &matches[m]))
            return ms_fail(err, MSIM_E_STOPPED, "stopped pairing");
    return MSIM_OK;
}

static int first_failure(const pairing *p, int64_t n, msim_error *err) {
    for (int64_t i = 0; i < n; i++)
        if (p->batch[i].err.code)
            return ms_fail(err, p->batch[i].err.code, "%s", p->batch[i].err.text);
    return MSIM_OK;
}

static int give_batch(pairing *p, int64_t n, giving *g, msim_error *err) {
    int rc = MSIM_OK;
    for (int64_t i = 0; i < n && rc >= 0; i++)
        rc = give_piece(g, p->first + i, p->batch[i].matches, p->batch[i].n, err);
    return rc;
}

static void free_batch(pairing *p, int64_t n) {
    for (int64_t i = 0; i < n; i++) ms_free(p->batch[i].matches);
}

/* ---- Several ranks ---- */

/* A batch on its way to rank 0; the matches follow. */
typedef struct {
    int64_t n[BATCH], n_all;
} batch_head;

static batch_head head_of(const pairing *p, int64_t n) {
    batch_head head = {0};
    for (int64_t i = 0; i < n; i++) {
        head.n[i] = p->batch[i].n;
        head.n_all += p->batch[i].n;
    }
    return head;
}

static void send_batch(const pairing *p, const batch_head *head) {
    const msim_ranks *ranks = p->ranks;
    for (int i = 0; i < BATCH; i++)
        if (head->n[i])
            ranks->send(ranks->user, 0, p->batch[i].matches,
                        (size_t)head->n[i] * sizeof *p->batch[i].matches);
}

/* Rank 0: the batch of another rank. All of it is received, also after the caller has stopped. */
static int give_other(const pairing *p, int from, const batch_head *head, msim_note_match *room,
                      giving *g, int rc, msim_error *err) {
    const msim_ranks *ranks = p->ranks;
    const int64_t first = p->first + (int64_t)from * BATCH;
    for (int i = 0; i < BATCH; i++) {
        if (head->n[i] == 0) continue;
        ranks->receive(ranks->user, from, room, ranks->expect(ranks->user, from));
        if (rc >= 0) rc = give_piece(g, first + i, room, head->n[i], err);
    }
    return rc;
}

/* One batch of each rank; n: pieces of this rank's. */
static int give_round(pairing *p, int64_t n, batch_head *heads, giving *g, msim_error *err) {
    const msim_ranks *ranks = p->ranks;
    int64_t most = 1;
    for (int from = 0; from < ranks->count; from++) {
        heads[from] = head_of(p, n);
        ranks->broadcast(ranks->user, from, &heads[from], sizeof *heads);
        for (int i = 0; i < BATCH; i++)
            if (heads[from].n[i] > most) most = heads[from].n[i];
    }
    msim_note_match *room = ms_alloc((size_t)most, sizeof *room, "pairs", err);
    int rc = room ? first_failure(p, n, err) : -MSIM_E_MEMORY;
    rc = ranks->agree(ranks->user, rc, err);
    if (rc >= 0 && ranks->index > 0) send_batch(p, &heads[ranks->index]);
    if (rc >= 0 && ranks->index == 0) {
        rc = give_batch(p, n, g, err);
        for (int from = 1; from < ranks->count; from++)
            rc = give_other(p, from, &heads[from], room, g, rc, err);
    }
    ms_free(room);
    return ranks->agree(ranks->user, rc, err);
}

/* ---- All pairs ---- */

static int run_batches(pairing *p, giving *g, msim_error *err) {
    const int count = p->ranks ? p->ranks->count : 1;
    const int64_t index = p->ranks ? p->ranks->index : 0;
    batch_head *heads = ms_alloc((size_t)count, sizeof *heads, "pairs", err);
    int rc = heads ? MSIM_OK : -MSIM_E_MEMORY;
    if (p->ranks) rc = p->ranks->agree(p->ranks->user, rc, err);
    for (int64_t round = 0; rc >= 0 && round < p->n_pieces; round += (int64_t)count * BATCH) {
        p->first = round + index * BATCH;
        const int64_t left = p->n_pieces - p->first, n = left < BATCH ? left > 0 ? left : 0 : BATCH;
        ms_pool_run(p->pool, n, pair_item, p);
        if (p->ranks)
            rc = give_round(p, n, heads, g, err);
        else if ((rc = first_failure(p, n, err)) >= 0)
            rc = give_batch(p, n, g, err);
        free_batch(p, n);
    }
    ms_free(heads);
    return rc;
}

int64_t msim_notes_pairs(const msim_notes *notes, const msim_finder_options *options, int threads,
                         msim_pair_sink sink, void *user, msim_error *err) {
    pairing p = {.notes = notes, .options = msim_finder_options_default()};
    msim_notes_info info = {.size = sizeof info};
    giving g = {.sink = sink, .user = user};
    int rc = MSIM_OK;
    (void)msim_notes_get_info(notes, &info);
    p.n_pieces = info.pieces;
    if (options)
        rc = ms_sized_in(&p.options, sizeof p.options, options, "msim_finder_options", err);
    if (rc >= 0 && p.options.within)
        rc = ms_fail(err, MSIM_E_ARG, "pairs: expected no pieces in within, got some");
    p.options.max_matches = MS_VERIFIED;
    p.ranks = p.options.ranks && p.options.ranks->count > 1 ? p.options.ranks : NULL;
    p.options.ranks = NULL;
    if (rc >= 0) rc = open_pairing(&p, threads, err);
    if (p.ranks) rc = p.ranks->agree(p.ranks->user, rc, err);
    if (rc >= 0) rc = run_batches(&p, &g, err);
    close_pairing(&p);
    return rc < 0 ? rc : g.n_given;
}
