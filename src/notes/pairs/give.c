/* Pairs on their way to the caller: see give.h. */
#include "notes/pairs/give.h"
#include "base/mem.h"

/* A mirrored match that waits for the turn of its piece. */
typedef struct {
    int64_t next; /* number + 1; 0: the last one of its piece */
    msim_note_match match;
} waiting;

struct ms_giver {
    msim_pair_sink sink;
    void *user;
    int64_t n_pieces, turn, n_given;
    int64_t *first, *last; /* owned: [n_pieces] number + 1 of what waits for each; 0: none */
    waiting *waits;        /* owned: [n] */
    size_t n, cap;
};

int ms_giver_open(msim_pair_sink sink, void *user, int64_t n_pieces, ms_giver **out,
                  msim_error *err) {
    ms_giver *g = *out = ms_alloc(1, sizeof *g, "pairs", err);
    if (!g) return -MSIM_E_MEMORY;
    *g = (ms_giver){.sink = sink, .user = user, .n_pieces = n_pieces};
    if (n_pieces == 0) return MSIM_OK;
    g->first = ms_alloc((size_t)n_pieces, sizeof *g->first, "pairs", err);
    g->last = g->first ? ms_alloc((size_t)n_pieces, sizeof *g->last, "pairs", err) : NULL;
    return g->last ? MSIM_OK : -MSIM_E_MEMORY;
}

void ms_giver_close(ms_giver *g) {
    if (!g) return;
    ms_free(g->first);
    ms_free(g->last);
    ms_free(g->waits);
    ms_free(g);
}

int64_t ms_giver_count(const ms_giver *g) { return g->n_given; }

static int give_one(ms_giver *g, int64_t a, const msim_note_match *match, msim_error *err) {
    msim_note_match told = *match;
    told.others = NULL;
    told.n_others = 0;
    g->n_given++;
    if (g->sink(g->user, a, &told)) return ms_fail(err, MSIM_E_STOPPED, "stopped pairing");
    return MSIM_OK;
}

/* What waits for pieces below `end`. */
static int give_until(ms_giver *g, int64_t end, msim_error *err) {
    int rc = MSIM_OK;
    for (; g->turn < end && rc >= 0; g->turn++)
        for (int64_t i = g->first[g->turn]; i && rc >= 0; i = g->waits[i - 1].next)
            rc = give_one(g, g->turn, &g->waits[i - 1].match, err);
    return rc;
}

static int add_waiting(ms_giver *g, int64_t piece, const msim_note_match *match, msim_error *err) {
    int rc = ms_grow((void **)&g->waits, &g->cap, g->n + 1, sizeof *g->waits, "pairs", err);
    if (rc < 0) return rc;
    g->waits[g->n++] = (waiting){.match = *match};
    if (g->last[piece])
        g->waits[g->last[piece] - 1].next = (int64_t)g->n;
    else
        g->first[piece] = (int64_t)g->n;
    g->last[piece] = (int64_t)g->n;
    return MSIM_OK;
}

int ms_give(ms_giver *g, const ms_pair_found *pair, msim_error *err) {
    if (!pair->is_found) return MSIM_OK;
    int rc = g->n_pieces ? give_until(g, (int64_t)pair->a + 1, err) : MSIM_OK;
    if (rc >= 0) rc = give_one(g, pair->a, &pair->match, err);
    if (rc >= 0 && pair->has_mirror) rc = add_waiting(g, pair->b, &pair->mirrored, err);
    return rc;
}

int ms_give_rest(ms_giver *g, msim_error *err) { return give_until(g, g->n_pieces, err); }
