/* Units that relate: what an earlier run found, from WORK.pairs, and what the index says about the
 * others. Each unit is compared once with all that are there then; a unit that comes later, or
 * comes back, finds the earlier ones itself. */
#include "groups/compact.h"
#include "groups/groups.h"
#include "groups/state.h"
#include <stdlib.h>
#include <string.h>

/* Pairs across such parts are compared twice, and a run that is stopped loses one part. */
enum { ASKED_AT_A_TIME = 8192 };

/* ---- Pairs ---- */

static int kind_of(const msim_note_match *m, int *direction) {
    *direction = 0;
    switch (m->relation) {
    case MSIM_RELATION_SAME_NOTES:
        return m->is_same_key && m->is_same_tempo ? MSIM_PAIR_NOTES : MSIM_PAIR_KEY;
    case MSIM_RELATION_SAME_PIECE: return MSIM_PAIR_PIECE;
    case MSIM_RELATION_VERSION: return MSIM_PAIR_VERSION;
    case MSIM_RELATION_PART_OF: *direction = 1; return MSIM_PAIR_EXCERPT;
    case MSIM_RELATION_CONTAINS: *direction = -1; return MSIM_PAIR_EXCERPT;
    default: return MSIM_PAIR_NONE;
    }
}

int ms_groups_add_match(msim_groups *g, int64_t content_a, int64_t content_b,
                        const msim_note_match *m, msim_error *err) {
    const int64_t u = g->contents[content_a].unit, v = g->contents[content_b].unit;
    ms_unit_pair p = {.a = u, .b = v, .content_a = content_a, .content_b = content_b};
    p.pair = (msim_file_pair){.n_matched = m->n_matched,
                              .of_a = m->of_query,
                              .of_b = m->of_piece,
                              .transpose = m->transpose,
                              .tempo = m->tempo,
                              .identity = m->identity,
                              .score = m->score,
                              .evalue = m->evalue,
                              .a_from = m->place.query_from,
                              .a_to = m->place.query_to,
                              .b_from = m->place.from,
                              .b_to = m->place.to};
    p.pair.kind = kind_of(m, &p.pair.direction);
    if (u == v || p.pair.kind == MSIM_PAIR_NONE) return MSIM_OK;
    if (u > v)
        p = (ms_unit_pair){.a = v,
                           .b = u,
                           .content_a = content_b,
                           .content_b = content_a,
                           .pair = ms_groups_turn(&p.pair)};
    int rc =
        ms_grow((void **)&g->pairs, &g->pairs_cap, g->n_pairs + 1, sizeof *g->pairs, "pairs", err);
    if (rc >= 0) g->pairs[g->n_pairs++] = p;
    return rc;
}

int ms_groups_add_alike(msim_groups *g, int64_t content_a, int64_t content_b, double cosine,
                        msim_error *err) {
    const int64_t u = g->contents[content_a].unit, v = g->contents[content_b].unit;
    const bool is_turned = u > v;
    ms_unit_pair p = {.a = is_turned ? v : u,
                      .b = is_turned ? u : v,
                      .content_a = is_turned ? content_b : content_a,
                      .content_b = is_turned ? content_a : content_b};
    if (u == v) return MSIM_OK;
    p.pair = (msim_file_pair){.kind = MSIM_PAIR_ALIKE,
                              .of_a = g->contents[p.content_a].n_notes,
                              .of_b = g->contents[p.content_b].n_notes,
                              .tempo = 1,
                              .score = cosine};
    int rc =
        ms_grow((void **)&g->pairs, &g->pairs_cap, g->n_pairs + 1, sizeof *g->pairs, "pairs", err);
    if (rc >= 0) g->pairs[g->n_pairs++] = p;
    return rc;
}

static int by_units(const void *a, const void *b) {
    const ms_unit_pair *x = a, *y = b;
    if (x->a != y->a) return x->a < y->a ? -1 : 1;
    if (x->b != y->b) return x->b < y->b ? -1 : 1;
    if (x->pair.kind != y->pair.kind) return x->pair.kind - y->pair.kind;
    if (x->pair.score != y->pair.score) return x->pair.score > y->pair.score ? -1 : 1;
    if (x->content_a != y->content_a) return x->content_a < y->content_a ? -1 : 1;
    if (x->content_b != y->content_b) return x->content_b < y->content_b ? -1 : 1;
    if (x->pair.evalue != y->pair.evalue) return x->pair.evalue < y->pair.evalue ? -1 : 1;
    return x->pair.direction - y->pair.direction;
}

static int by_unit(const void *a, const void *b) {
    const ms_unit_edge *x = a, *y = b;
    return (x->unit > y->unit) - (x->unit < y->unit);
}

static int list_edges(msim_groups *g, msim_error *err) {
    ms_free(g->edges);
    g->edges = ms_alloc(2 * g->n_pairs, sizeof *g->edges, "pairs", err);
    if (!g->edges) return -MSIM_E_MEMORY;
    for (size_t u = 0; u < g->n_units; u++) g->units[u].n_edges = 0;
    for (size_t i = 0; i < g->n_pairs; i++) {
        g->units[g->pairs[i].a].n_edges++;
        g->units[g->pairs[i].b].n_edges++;
    }
    int64_t at = 0;
    for (size_t u = 0; u < g->n_units; u++) {
        g->units[u].edges = at;
        at += g->units[u].n_edges;
        g->units[u].n_edges = 0;
    }
    for (size_t i = 0; i < g->n_pairs; i++) {
        const ms_unit_pair *p = &g->pairs[i];
        ms_grouped_unit *a = &g->units[p->a], *b = &g->units[p->b];
        g->edges[a->edges + a->n_edges++] = (ms_unit_edge){p->b, (int64_t)i};
        g->edges[b->edges + b->n_edges++] = (ms_unit_edge){p->a, (int64_t)i};
    }
    for (size_t u = 0; u < g->n_units; u++)
        if (g->units[u].n_edges > 1)
            qsort(g->edges + g->units[u].edges, (size_t)g->units[u].n_edges, sizeof *g->edges,
                  by_unit);
    return MSIM_OK;
}

int ms_groups_order_pairs(msim_groups *g, msim_error *err) {
    size_t n = 0;
    if (g->n_pairs) qsort(g->pairs, g->n_pairs, sizeof *g->pairs, by_units);
    for (size_t i = 0; i < g->n_pairs; i++)
        if (n == 0 || g->pairs[n - 1].a != g->pairs[i].a || g->pairs[n - 1].b != g->pairs[i].b)
            g->pairs[n++] = g->pairs[i];
    g->n_pairs = n;
    return list_edges(g, err);
}

const ms_unit_pair *ms_groups_find_pair(const msim_groups *g, int64_t u, int64_t v) {
    const ms_grouped_unit *from = &g->units[u];
    const ms_unit_edge *e = g->edges + from->edges;
    int64_t low = 0, high = from->n_edges;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (e[middle].unit == v) return &g->pairs[e[middle].pair];
        if (e[middle].unit < v)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- What an earlier run found ---- */

typedef struct {
    unsigned char content[MSIM_CONTENT_BYTES];
    int mark;
    size_t line; /* the last one counts */
} absent_content;

typedef struct {
    msim_groups *g;
    ms_groups_state *state; /* owned */
    absent_content *absent; /* owned: [n_absent] contents of the state that are not there */
    size_t n_absent, absent_cap;
    ms_groups_seen seen; /* owned */
    unsigned char *asks; /* owned: [pieces] */
    int64_t n_pieces, n_asked;
    /* The piece whose matches come. */
    int64_t piece;
    ms_groups_found *found; /* owned: [found_cap] */
    size_t n_found, found_cap;
} unit_asking;

static int take_absent(unit_asking *a, const unsigned char *content, int mark, msim_error *err) {
    int rc = ms_grow((void **)&a->absent, &a->absent_cap, a->n_absent + 1, sizeof *a->absent,
                     "pairs", err);
    if (rc < 0) return rc;
    absent_content *it = &a->absent[a->n_absent];
    *it = (absent_content){.mark = mark, .line = a->n_absent};
    memcpy(it->content, content, sizeof it->content);
    a->n_absent++;
    return MSIM_OK;
}

static int take_known(void *user, const unsigned char *content, int mark,
                      const ms_groups_found *found, size_t n, msim_error *err) {
    unit_asking *asking = user;
    msim_groups *g = asking->g;
    int64_t a = ms_groups_content(g, content);
    if (a >= 0 && g->contents[a].piece < 0) a = -1;
    int rc = ms_groups_seen_add(g, &asking->seen, a, mark, found, n, err);
    if (rc < 0) return rc;
    if (a < 0) return take_absent(asking, content, mark, err);
    ms_grouped_unit *u = &g->units[g->contents[a].unit];
    if (mark == MS_GROUPS_COMPARED) u->is_known = true;
    if (mark == MS_GROUPS_THERE) u->is_there = true;
    if (mark == MS_GROUPS_GONE) u->is_known = u->is_there = false;
    for (size_t i = 0; i < n; i++) {
        const int64_t b = ms_groups_content(g, found[i].content);
        if (b < 0 || g->contents[b].piece < 0) continue;
        rc = ms_groups_add_match(g, a, b, &found[i].match, err);
        if (rc < 0) return rc;
    }
    return MSIM_OK;
}

/* ---- What is asked now ---- */

static int64_t content_of(const msim_groups *g, int64_t piece) {
    return g->units[g->unit_of_piece[piece]].content;
}

/* Write down what pieces asking->piece .. next - 1 have found: the first has the matches. */
static int write_found(unit_asking *a, int64_t next, msim_error *err) {
    int rc = MSIM_OK;
    for (; a->piece < next && rc >= 0; a->piece++) {
        if (!a->asks[a->piece]) continue;
        rc = ms_groups_state_add(a->state, a->g->contents[content_of(a->g, a->piece)].hash,
                                 a->found, a->n_found, err);
        a->n_found = 0;
    }
    return rc;
}

typedef struct {
    unit_asking *asking;
    msim_error *err;
    int rc;
} pair_taking;

static int take_pair(void *user, int64_t piece, const msim_note_match *m) {
    pair_taking *t = user;
    unit_asking *a = t->asking;
    msim_groups *g = a->g;
    const int64_t x = content_of(g, piece), y = content_of(g, m->piece);
    t->rc = write_found(a, piece, t->err);
    if (t->rc >= 0)
        t->rc = ms_grow((void **)&a->found, &a->found_cap, a->n_found + 1, sizeof *a->found,
                        "pairs", t->err);
    if (t->rc < 0) return 1;
    ms_groups_found *f = &a->found[a->n_found++];
    f->match = *m;
    memcpy(f->content, g->contents[y].hash, sizeof f->content);
    t->rc = ms_groups_add_match(g, x, y, m, t->err);
    return t->rc < 0;
}

typedef struct {
    const msim_groups *g;
    int64_t first, n_pieces;
} asking_progress;

static int tell_asking(void *user, int stage, int64_t done, int64_t all) {
    const asking_progress *p = user;
    int rc = stage == MSIM_PAIRS_ASKING
                 ? ms_groups_progress(p->g, "pieces searched", p->first + done, p->n_pieces, NULL)
                 : ms_groups_progress(p->g, "pairs compared", done, all, NULL);
    return rc < 0;
}

/* Whether one of these pieces asks. */
static bool has_asking(const unit_asking *a, int64_t first, int64_t n) {
    return memchr(a->asks + first, 1, (size_t)n) != NULL;
}

/* Every rank calls this with the same pieces; rank 0 gets the pairs. What a number of pieces have
 * found is written down at once. Which pieces these are depends on the index alone, so a run that
 * was interrupted asks as one that was not. */
static int ask(unit_asking *a, msim_error *err) {
    msim_groups *g = a->g;
    msim_pairs_options o = msim_pairs_options_default();
    asking_progress progress = {.g = g, .n_pieces = a->n_pieces};
    int64_t rc = 0;
    o.asks = a->asks;
    o.evalue = g->o.evalue;
    o.threads = g->o.threads;
    o.ranks = g->o.ranks;
    o.progress = tell_asking;
    o.progress_user = &progress;
    for (int64_t first = 0; first < a->n_pieces && rc >= 0; first += ASKED_AT_A_TIME) {
        pair_taking taking = {.asking = a, .err = err};
        const int64_t left = a->n_pieces - first;
        o.first = progress.first = first;
        o.count = left < ASKED_AT_A_TIME ? left : ASKED_AT_A_TIME;
        if (!has_asking(a, first, o.count)) continue;
        rc = msim_notes_pairs(g->searched, &o, take_pair, &taking, err);
        if (taking.rc < 0) rc = taking.rc;
        if (rc >= 0 && a->state) rc = write_found(a, first + o.count, err);
        if (rc >= 0 && a->state) rc = ms_groups_state_sync(a->state, err);
    }
    return rc < 0 ? (int)rc : MSIM_OK;
}

static bool has_known(const msim_groups *g) {
    for (size_t u = 0; u < g->n_units; u++)
        if (g->units[u].is_known) return true;
    return false;
}

/* Of two collections those of the second ask. One of the first asks when it is new and some have
 * asked without it. */
static int choose_pieces(unit_asking *a, msim_error *err) {
    msim_groups *g = a->g;
    msim_notes_info info = {.size = sizeof info};
    const bool is_two = g->o.n_against > 0, some_asked = has_known(g);
    (void)msim_notes_get_info(g->searched, &info);
    a->n_pieces = info.pieces;
    a->asks = ms_alloc((size_t)info.pieces, 1, "pieces", err);
    if (!a->asks) return -MSIM_E_MEMORY;
    for (int64_t p = 0; p < info.pieces; p++) {
        const ms_grouped_unit *u = &g->units[g->unit_of_piece[p]];
        const bool is_second = !is_two || (u->sides & 2);
        a->asks[p] = !u->is_known && (is_second || (some_asked && !u->is_there));
        g->info.asked += a->asks[p];
        g->info.known += is_second && u->is_known;
    }
    a->n_asked = g->info.asked;
    return MSIM_OK;
}

static int by_absent(const void *a, const void *b) {
    const absent_content *x = a, *y = b;
    const int order = memcmp(x->content, y->content, sizeof x->content);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* Contents that are not there while others are compared. */
static int mark_gone(unit_asking *a, msim_error *err) {
    int rc = MSIM_OK;
    if (a->n_absent) qsort(a->absent, a->n_absent, sizeof *a->absent, by_absent);
    for (size_t i = 0; i < a->n_absent && rc >= 0; i++) {
        const absent_content *it = &a->absent[i], *next = it + 1;
        const bool is_last = i + 1 == a->n_absent ||
                             memcmp(it->content, next->content, sizeof it->content) != 0;
        if (is_last && it->mark != MS_GROUPS_GONE)
            rc = ms_groups_state_mark(a->state, it->content, MS_GROUPS_GONE, err);
    }
    return rc;
}

/* Write down who is there, before any piece asks. */
static int mark_contents(unit_asking *a, msim_error *err) {
    const msim_groups *g = a->g;
    int64_t n_new = 0;
    int rc = MSIM_OK;
    for (int64_t p = 0; p < a->n_pieces && rc >= 0; p++) {
        const ms_grouped_unit *u = &g->units[g->unit_of_piece[p]];
        if (a->asks[p] || u->is_known || u->is_there) continue;
        rc = ms_groups_state_mark(a->state, g->contents[u->content].hash, MS_GROUPS_THERE, err);
        a->seen.marks[u->content] = 1 + MS_GROUPS_THERE;
        n_new++;
    }
    const bool is_compared = n_new || a->n_asked;
    if (rc >= 0 && is_compared) rc = mark_gone(a, err);
    if (rc >= 0) rc = ms_groups_state_sync(a->state, err);
    return rc >= 0 && is_compared ? ms_groups_compact(g, &a->seen, &a->state, err) : rc;
}

static int open_state(unit_asking *a, msim_error *err) {
    msim_groups *g = a->g;
    msim_notes_info info = {.size = sizeof info};
    const char *path = g->o.state ? g->o.state : ms_groups_path(g, ".pairs", err);
    if (!path) return -MSIM_E_MEMORY;
    (void)msim_notes_get_info(g->searched, &info);
    int rc = ms_groups_seen_open(g, &a->seen, err);
    if (rc >= 0) rc = ms_groups_state_open(path, info.density, g->o.evalue, &a->state, err);
    return rc < 0 ? rc : ms_groups_state_load(a->state, take_known, a, err);
}

/* ---- Several ranks ---- */

/* What rank 0 tells the others. */
typedef struct {
    int64_t path_bytes, n_pieces, n_asked; /* path_bytes 0: there is nothing to search */
} asking_plan;

/* Every rank opens the index of rank 0. */
static int share_index(msim_groups *g, size_t n, msim_error *err) {
    const msim_ranks *ranks = g->o.ranks;
    char *path = ms_arena_get(&g->texts, n, 1, "a path", err);
    int rc = ranks->agree(ranks->user, path ? MSIM_OK : -MSIM_E_MEMORY, err);
    if (rc < 0) return rc;
    if (ranks->index == 0) memcpy(path, g->searched_path, n);
    ranks->broadcast(ranks->user, 0, path, n);
    if (ranks->index > 0) {
        rc = msim_notes_open(path, &g->searched, err);
        g->owns_searched = rc >= 0;
    }
    return ranks->agree(ranks->user, rc, err);
}

static int share(unit_asking *a, int rc, msim_error *err) {
    msim_groups *g = a->g;
    const msim_ranks *ranks = g->o.ranks;
    asking_plan plan = {.n_pieces = a->n_pieces, .n_asked = a->n_asked};
    if (!ranks) return rc;
    rc = ranks->agree(ranks->user, rc, err);
    if (rc < 0) return rc;
    if (g->searched) plan.path_bytes = (int64_t)strlen(g->searched_path) + 1;
    ranks->broadcast(ranks->user, 0, &plan, sizeof plan);
    a->n_pieces = plan.n_pieces;
    a->n_asked = plan.n_asked;
    if (plan.path_bytes == 0) return MSIM_OK;
    rc = share_index(g, (size_t)plan.path_bytes, err);
    if (rc < 0) return rc;
    if (ranks->index > 0) a->asks = ms_alloc((size_t)a->n_pieces, 1, "pieces", err);
    rc = ranks->agree(ranks->user, a->asks ? MSIM_OK : -MSIM_E_MEMORY, err);
    if (rc >= 0) ranks->broadcast(ranks->user, 0, a->asks, (size_t)a->n_pieces);
    return rc;
}

int ms_groups_pair(msim_groups *g, int rc, msim_error *err) {
    unit_asking a = {.g = g};
    const bool is_first = !g->o.ranks || g->o.ranks->index == 0;
    if (rc >= 0 && g->searched) rc = open_state(&a, err);
    if (rc >= 0 && g->searched) rc = choose_pieces(&a, err);
    if (rc >= 0 && g->searched) rc = mark_contents(&a, err);
    rc = share(&a, rc, err);
    if (rc >= 0 && g->searched && a.n_asked) rc = ask(&a, err);
    ms_groups_state_close(a.state);
    ms_free(a.asks);
    ms_free(a.found);
    ms_free(a.absent);
    ms_groups_seen_close(&a.seen);
    if (rc >= 0 && is_first) rc = ms_groups_pair_alike(g, err);
    if (rc >= 0 && is_first) rc = ms_groups_order_pairs(g, err);
    return g->o.ranks ? g->o.ranks->agree(g->o.ranks->user, rc, err) : rc;
}
