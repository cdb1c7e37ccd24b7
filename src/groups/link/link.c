/* Pairs become groups. What a chain of pairs connects is one component; inside it, stars (VERIFIED)
 * or cliques (COMPLETE) are formed, in an order that depends on the rule of what to keep alone.
 * Everything is done with contents; files follow. */
#include "groups/link/link.h"
#include <stdlib.h>
#include <string.h>

static int by_rank(const void *a, const void *b) {
    const ms_linked_content *x = a, *y = b;
    if (x->root != y->root) return x->root < y->root ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

bool ms_groups_joins(const msim_groups *g, int kind) {
    if (kind == MSIM_PAIR_BYTES) return true;
    return kind > MSIM_PAIR_NONE && kind != MSIM_PAIR_EXCERPT && (g->o.kinds >> kind & 1);
}

/* ---- Components ---- */

/* Contents by component, those of each by rank. */
static int list_components(ms_linking *l, msim_error *err) {
    const msim_groups *g = l->g;
    int64_t *of = ms_alloc(g->n_contents, sizeof *of, "groups", err);
    if (!of) return -MSIM_E_MEMORY;
    ms_groups_find_components(l, of);
    for (size_t c = 0; c < g->n_contents; c++) {
        l->list[c] =
            (ms_linked_content){ms_groups_root(of, (int64_t)c), g->contents[c].rank, (int64_t)c};
        l->leader[c] = l->place[c] = -1;
    }
    if (g->n_contents) qsort(l->list, g->n_contents, sizeof *l->list, by_rank);
    ms_free(of);
    return MSIM_OK;
}

/* ---- Stars ---- */

static void link_single(ms_linking *l, const ms_linked_content *list, size_t n) {
    for (size_t i = 0; i < n; i++) l->leader[list[i].content] = list[0].content;
}

/* The centre takes what is known to be a pair with it. */
static void take_known_pairs(ms_linking *l, int64_t centre) {
    const msim_groups *g = l->g;
    const ms_grouped_unit *u = &g->units[g->contents[centre].unit];
    for (int64_t e = -1; e < u->n_edges; e++) {
        const ms_grouped_unit *v = e < 0 ? u : &g->units[g->edges[u->edges + e].unit];
        for (int64_t i = 0; i < v->n_contents; i++) {
            const int64_t c = g->by_unit[v->first + i];
            if (l->leader[c] < 0 &&
                ms_groups_joins(g, ms_groups_relate_contents(g, centre, c, NULL)))
                l->leader[c] = centre;
        }
    }
}

/* The first takes all that are a pair with it, then the next of those that are left. `left` are the
 * contents that may still be compared: each look at one of them takes it, or counts. */
static int link_stars(ms_linking *l, const ms_linked_content *list, size_t n, int64_t *left,
                      msim_error *err) {
    const msim_groups *g = l->g;
    size_t n_left = 0;
    for (size_t i = 0; i < n; i++) left[n_left++] = list[i].content;
    for (size_t i = 0; i < n; i++) {
        const int64_t centre = list[i].content;
        size_t kept = 0;
        if (l->leader[centre] >= 0) continue;
        l->leader[centre] = centre;
        take_known_pairs(l, centre);
        for (size_t k = 0; k < n_left; k++) {
            const int64_t c = left[k], unit = g->contents[c].unit;
            if (l->leader[c] >= 0 || !ms_groups_may_compare(g, unit)) continue;
            left[kept++] = c;
            int kind = ms_groups_compare_contents(l->compare, centre, c, NULL, err);
            if (kind < 0) return kind;
            if (ms_groups_joins(g, kind)) l->leader[c] = centre;
        }
        n_left = kept;
    }
    return MSIM_OK;
}

/* ---- All ---- */

static int link_component(ms_linking *l, const ms_linked_content *list, size_t n, int64_t *left,
                          msim_error *err) {
    if (n == 1 || l->g->o.link == MSIM_LINK_SINGLE) {
        link_single(l, list, n);
        return MSIM_OK;
    }
    if (l->g->o.link == MSIM_LINK_COMPLETE) return ms_groups_link_complete(l, list, n, err);
    return link_stars(l, list, n, left, err);
}

static int link_components(ms_linking *l, msim_error *err) {
    const size_t n = l->g->n_contents;
    int64_t *left = ms_alloc(n, sizeof *left, "groups", err);
    int rc = left ? MSIM_OK : -MSIM_E_MEMORY;
    for (size_t i = 0, next; i < n && rc >= 0; i = next) {
        for (next = i + 1; next < n && l->list[next].root == l->list[i].root; next++) {
        }
        rc = link_component(l, l->list + i, next - i, left, err);
    }
    ms_free(left);
    return rc;
}

int ms_groups_link(msim_groups *g, msim_error *err) {
    ms_linking l = {.g = g};
    l.is_plain = ms_groups_joins(g, MSIM_PAIR_KEY) && ms_groups_joins(g, MSIM_PAIR_NOTES);
    l.list = ms_alloc(g->n_contents, sizeof *l.list, "groups", err);
    l.leader = l.list ? ms_alloc(g->n_contents, sizeof *l.leader, "groups", err) : NULL;
    l.place = l.leader ? ms_alloc(g->n_contents, sizeof *l.place, "groups", err) : NULL;
    l.by_key = l.place ? ms_alloc(g->n_contents, sizeof *l.by_key, "groups", err) : NULL;
    int rc = l.by_key ? ms_groups_compare_open(g, &l.compare, err) : -MSIM_E_MEMORY;
    if (rc >= 0) rc = ms_groups_order_by_key(&l, err);
    if (rc >= 0) rc = list_components(&l, err);
    if (rc >= 0) rc = link_components(&l, err);
    if (rc >= 0 && (g->o.kinds >> MSIM_PAIR_EXCERPT & 1)) rc = ms_groups_attach(&l, err);
    if (rc >= 0) rc = ms_groups_order_pairs(g, err);
    if (rc >= 0) rc = ms_groups_number(&l, err);
    ms_groups_compare_close(l.compare);
    ms_free(l.list);
    ms_free(l.leader);
    ms_free(l.place);
    ms_free(l.by_key);
    return rc;
}
