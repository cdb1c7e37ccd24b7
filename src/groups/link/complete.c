/* Groups of which every two members are a pair: the strongest pairs first, and two groups become
 * one when all their members are pairs across. Contract: groups/link/link.h. */
#include "groups/link/link.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t x, y; /* places in the component */
    int kind;
    double score;
} clique_edge;

/* What becomes a clique: a content, or in a plain linking all of a unit as one. */
typedef struct {
    int64_t compared; /* the content that is compared */
    int64_t best;     /* the one that is kept of them */
} clique_member;

typedef struct {
    ms_linking *l;
    clique_member *members;    /* owned: [n] the best first */
    int64_t *of, *next, *last; /* [n] the clique of each; a list of the members of each */
    size_t n;
    clique_edge *edges; /* owned: [n_edges] */
    size_t n_edges, edges_cap;
} clique_making;

static int by_strength(const void *a, const void *b) {
    const clique_edge *x = a, *y = b;
    if (x->kind != y->kind) return x->kind - y->kind;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->x != y->x) return x->x < y->x ? -1 : 1;
    return (x->y > y->y) - (x->y < y->y);
}

/* Members in order of rank. Contents of one member have the same place. */
static void choose_members(clique_making *m, const ms_linked_content *list, size_t n) {
    const msim_groups *g = m->l->g;
    int64_t *place = m->l->place;
    for (size_t i = 0; i < n; i++) {
        const int64_t content = list[i].content;
        const ms_grouped_unit *u = &g->units[g->contents[content].unit];
        const int64_t compared = m->l->is_plain ? g->by_unit[u->first] : content;
        if (place[compared] < 0) {
            const int64_t at = place[compared] = (int64_t)m->n++;
            m->members[at] = (clique_member){compared, content};
            m->of[at] = m->last[at] = at;
            m->next[at] = -1;
        }
        place[content] = place[compared];
    }
}

static int add_edge(clique_making *m, int64_t x, int64_t y, msim_error *err) {
    msim_file_pair p;
    if (x == y || y < 0 || (m->l->is_plain && y < x)) return MSIM_OK; /* y brings it */
    const int kind =
        ms_groups_relate_contents(m->l->g, m->members[x].compared, m->members[y].compared, &p);
    if (!ms_groups_joins(m->l->g, kind)) return MSIM_OK;
    int rc =
        ms_grow((void **)&m->edges, &m->edges_cap, m->n_edges + 1, sizeof *m->edges, "pairs", err);
    if (rc >= 0)
        m->edges[m->n_edges++] =
            (clique_edge){x < y ? x : y, x < y ? y : x, kind, kind < MSIM_PAIR_PIECE ? 0 : p.score};
    return rc;
}

/* Pairs of a member with near ones of its unit and of those that are known to be a pair with it. */
static int list_edges(clique_making *m, int64_t x, msim_error *err) {
    const msim_groups *g = m->l->g;
    const int64_t content = m->members[x].compared, unit = g->contents[content].unit;
    const ms_grouped_unit *u = &g->units[unit];
    int rc = MSIM_OK;
    for (int64_t e = -1; e < u->n_edges && rc >= 0; e++) {
        int64_t near[MS_GROUPS_NEAR];
        const size_t n =
            ms_groups_near(m->l, content, e < 0 ? unit : g->edges[u->edges + e].unit, near);
        for (size_t i = 0; i < n && rc >= 0; i++) rc = add_edge(m, x, m->l->place[near[i]], err);
    }
    return rc;
}

/* Whether every member of one clique is a pair with every one of the other. */
static int are_pairs(clique_making *m, int64_t a, int64_t b, msim_error *err) {
    for (int64_t x = a; x >= 0; x = m->next[x])
        for (int64_t y = b; y >= 0; y = m->next[y]) {
            const int kind = ms_groups_compare_contents(m->l->compare, m->members[x].compared,
                                                        m->members[y].compared, NULL, err);
            if (kind < 0) return kind;
            if (!ms_groups_joins(m->l->g, kind)) return 0;
        }
    return 1;
}

static void unite(clique_making *m, int64_t a, int64_t b) {
    for (int64_t y = b; y >= 0; y = m->next[y]) m->of[y] = a;
    m->next[m->last[a]] = b;
    m->last[a] = m->last[b];
}

static int make_cliques(clique_making *m, msim_error *err) {
    int rc = MSIM_OK;
    for (size_t i = 0; i < m->n && rc >= 0; i++) rc = list_edges(m, (int64_t)i, err);
    if (m->n_edges) qsort(m->edges, m->n_edges, sizeof *m->edges, by_strength);
    for (size_t e = 0; e < m->n_edges && rc >= 0; e++) {
        const int64_t a = m->of[m->edges[e].x], b = m->of[m->edges[e].y];
        if (a == b) continue;
        rc = are_pairs(m, a < b ? a : b, a < b ? b : a, err);
        if (rc > 0) unite(m, a < b ? a : b, a < b ? b : a); /* the lower has the best member */
    }
    return rc < 0 ? rc : MSIM_OK;
}

int ms_groups_link_complete(ms_linking *l, const ms_linked_content *list, size_t n,
                            msim_error *err) {
    clique_making m = {.l = l};
    m.members = ms_alloc(n, sizeof *m.members, "groups", err);
    m.of = m.members ? ms_alloc(n, 3 * sizeof *m.of, "groups", err) : NULL;
    if (!m.of) {
        ms_free(m.members);
        return -MSIM_E_MEMORY;
    }
    m.next = m.of + n;
    m.last = m.next + n;
    choose_members(&m, list, n);
    int rc = make_cliques(&m, err);
    for (size_t i = 0; i < n && rc >= 0; i++)
        l->leader[list[i].content] = m.members[m.of[l->place[list[i].content]]].best;
    for (size_t i = 0; i < n; i++) l->place[list[i].content] = -1;
    ms_free(m.members);
    ms_free(m.of);
    ms_free(m.edges);
    return rc;
}
