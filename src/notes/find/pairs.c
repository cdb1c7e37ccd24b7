/* All pairs of pieces of an index that share enough notes: msim_notes_pairs of include/midisim.h. A
 * light search with each piece names candidates; a whole search among these alone names the
 * relation. Pieces are shared out among threads some at a time, and given in order. */
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
    msim_finder_options options;
    ms_pool *pool;        /* owned, and so on */
    pair_worker *workers; /* [threads] */
    piece_pairs *batch;   /* [BATCH] */
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

/* Give the pairs of a batch. Returns how many, or < 0. */
static int64_t give(pairing *p, int64_t n, msim_pair_sink sink, void *user, msim_error *err) {
    int64_t n_given = 0, rc = 0;
    for (int64_t i = 0; i < n; i++) {
        piece_pairs *of = &p->batch[i];
        if (rc == 0 && of->err.code) {
            if (err) *err = of->err;
            rc = -of->err.code;
        }
        for (int64_t m = 0; m < of->n && rc == 0; m++, n_given++)
            if (sink(user, p->first + i, &of->matches[m]))
                rc = ms_fail(err, MSIM_E_STOPPED, "stopped pairing");
        ms_free(of->matches);
    }
    return rc < 0 ? rc : n_given;
}

int64_t msim_notes_pairs(const msim_notes *notes, const msim_finder_options *options, int threads,
                         msim_pair_sink sink, void *user, msim_error *err) {
    pairing p = {.notes = notes, .options = msim_finder_options_default()};
    msim_notes_info info = {.size = sizeof info};
    int64_t n_pairs = 0, rc = MSIM_OK;
    (void)msim_notes_get_info(notes, &info);
    p.n_pieces = info.pieces;
    if (options)
        rc = ms_sized_in(&p.options, sizeof p.options, options, "msim_finder_options", err);
    if (rc >= 0 && p.options.within)
        rc = ms_fail(err, MSIM_E_ARG, "pairs: expected no pieces in within, got some");
    p.options.max_matches = MS_VERIFIED;
    if (rc >= 0) rc = open_pairing(&p, threads, err);
    for (; rc >= 0 && p.first < p.n_pieces; p.first += BATCH) {
        const int64_t left = p.n_pieces - p.first, n = left < BATCH ? left : BATCH;
        ms_pool_run(p.pool, n, pair_item, &p);
        rc = give(&p, n, sink, user, err);
        n_pairs += rc < 0 ? 0 : rc;
    }
    close_pairing(&p);
    return rc < 0 ? rc : n_pairs;
}
