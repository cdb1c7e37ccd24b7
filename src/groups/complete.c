/* Groups of which every two members are a pair: the strongest pairs first, and two groups become
 * one when all their members are pairs across. Contract: groups/link.h. */
#include "groups/link.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t x, y; /* places in the component */
    int kind;
    double score;
} clique_edge;

typedef struct {
    ms_linking *l;
    const ms_linked_content *list;
    size_t n;
    int64_t *of, *next, *last; /* [n] the clique of each; a list of the members of each */
    clique_edge *edges;        /* owned: [n_edges] */
    size_t n_edges, edges_cap;
    bool is_plain; /* another key joins groups: the first content of a unit speaks for all */
} clique_making;

static int by_strength(const void *a, const void *b) {
    const clique_edge *x = a, *y = b;
    if (x->kind != y->kind) return x->kind - y->kind;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->x != y->x) return x->x < y->x ? -1 : 1;
    return (x->y > y->y) - (x->y < y->y);
}

static int add_edge(clique_making *m, int64_t x, int64_t y, msim_error *err) {
    msim_file_pair p;
    const int kind = ms_groups_relate_contents(m->l->g, m->list[x].content, m->list[y].content, &p);
    if (x == y || !ms_groups_joins(m->l->g, kind)) return MSIM_OK;
    int rc =
        ms_grow((void **)&m->edges, &m->edges_cap, m->n_edges + 1, sizeof *m->edges, "pairs", err);
    if (rc >= 0)
        m->edges[m->n_edges++] =
            (clique_edge){x < y ? x : y, x < y ? y : x, kind, kind < MSIM_PAIR_PIECE ? 0 : p.score};
    return rc;
}

/* Pairs in the unit of a member, with its first content alone, and with the firsts of others. */
static int list_edges(clique_making *m, int64_t x, msim_error *err) {
    const msim_groups *g = m->l->g;
    const ms_grouped_unit *u = &g->units[g->contents[m->list[x].content].unit];
    const int64_t first = m->l->place[g->by_unit[u->first]];
    int rc = first >= 0 ? add_edge(m, x, first, err) : MSIM_OK;
    if (m->is_plain && first != x) return rc;
    for (int64_t e = 0; e < u->n_edges && rc >= 0; e++) {
        const ms_grouped_unit *v = &g->units[g->edges[u->edges + e].unit];
        for (int64_t i = 0; i < (m->is_plain ? 1 : v->n_contents) && rc >= 0; i++) {
            const int64_t y = m->l->place[g->by_unit[v->first + i]];
            if (y > x) rc = add_edge(m, x, y, err);
        }
    }
    return rc;
}

/* Whether a member is compared: the others of its unit are then pairs with what it is one with. */
static bool speaks(const clique_making *m, int64_t x) {
    const msim_groups *g = m->l->g;
    const int64_t content = m->list[x].content;
    return !m->is_plain || g->by_unit[g->units[g->contents[content].unit].first] == content;
}

/* Whether every member of one clique is a pair with every one of the other. */
static int are_pairs(clique_making *m, int64_t a, int64_t b, msim_error *err) {
    for (int64_t x = a; x >= 0; x = m->next[x])
        for (int64_t y = b; y >= 0 && speaks(m, x); y = m->next[y]) {
            if (!speaks(m, y)) continue;
            const int kind = ms_groups_compare_contents(m->l->compare, m->list[x].content,
                                                        m->list[y].content, NULL, err);
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
    for (size_t i = 0; i < m->n && rc >= 0; i++)
        m->l->leader[m->list[i].content] = m->list[m->of[i]].content;
    return rc < 0 ? rc : MSIM_OK;
}

int ms_groups_link_complete(ms_linking *l, const ms_linked_content *list, size_t n,
                            msim_error *err) {
    clique_making m = {
        .l = l, .list = list, .n = n, .is_plain = ms_groups_joins(l->g, MSIM_PAIR_KEY)};
    m.of = ms_alloc(n, 3 * sizeof *m.of, "groups", err);
    if (!m.of) return -MSIM_E_MEMORY;
    m.next = m.of + n;
    m.last = m.next + n;
    for (size_t i = 0; i < n; i++) {
        l->place[list[i].content] = m.of[i] = m.last[i] = (int64_t)i;
        m.next[i] = -1;
    }
    int rc = make_cliques(&m, err);
    for (size_t i = 0; i < n; i++) l->place[list[i].content] = -1;
    ms_free(m.of);
    ms_free(m.edges);
    return rc;
}
