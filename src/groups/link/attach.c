/* An excerpt goes to the group of its whole, if nothing else is in its own group; so an excerpt of
 * two pieces joins nothing. Contract: groups/link/link.h. */
#include "groups/link/link.h"

/* Whether unit `u` is the part in a pair. */
static bool is_part(const ms_unit_pair *p, int64_t u) {
    return p->pair.kind == MSIM_PAIR_EXCERPT && p->pair.direction == (p->a == u ? 1 : -1);
}

/* Whether the group of a unit has its contents alone; *leader is that group's. */
static bool is_alone(const ms_linking *l, const int64_t *sizes, int64_t unit) {
    const ms_grouped_unit *u = &l->g->units[unit];
    const int64_t leader = l->leader[l->g->by_unit[u->first]];
    for (int64_t i = 1; i < u->n_contents; i++)
        if (l->leader[l->g->by_unit[u->first + i]] != leader) return false;
    return sizes[leader] == u->n_contents;
}

static bool has_whole(const msim_groups *g, int64_t unit) {
    const ms_grouped_unit *u = &g->units[unit];
    for (int64_t e = 0; e < u->n_edges; e++)
        if (is_part(&g->pairs[g->edges[u->edges + e].pair], unit)) return true;
    return false;
}

/* Whether a unit may go to the group of this leader: with SINGLE always, else when it is an excerpt
 * of the leader, too, or a pair of a stronger kind. */
static int fits(ms_linking *l, int64_t unit, int64_t leader, msim_error *err) {
    msim_file_pair p;
    if (l->g->o.link == MSIM_LINK_SINGLE) return 1;
    const int kind =
        ms_groups_compare_contents(l->compare, leader, l->g->units[unit].content, &p, err);
    if (kind < 0) return kind;
    return ms_groups_joins(l->g, kind) || (kind == MSIM_PAIR_EXCERPT && p.direction == -1);
}

/* *best: the leader of the group that a unit goes to, -1 for none. */
static int find_whole(ms_linking *l, const bool *is_attached, int64_t unit, int64_t *best,
                      msim_error *err) {
    const msim_groups *g = l->g;
    const ms_grouped_unit *u = &g->units[unit];
    double score = 0;
    *best = -1;
    for (int64_t e = 0; e < u->n_edges; e++) {
        const ms_unit_edge *edge = &g->edges[u->edges + e];
        const ms_unit_pair *p = &g->pairs[edge->pair];
        if (!is_part(p, unit) || is_attached[edge->unit]) continue;
        if (*best >= 0 && p->pair.score <= score) continue;
        const double its = p->pair.score; /* comparing may move the pairs */
        const int64_t leader = l->leader[g->by_unit[g->units[edge->unit].first]];
        const int rc = fits(l, unit, leader, err);
        if (rc < 0) return rc;
        if (rc == 0) continue;
        *best = leader;
        score = its;
    }
    return MSIM_OK;
}

static int attach(ms_linking *l, int64_t *sizes, bool *is_attached, msim_error *err) {
    const msim_groups *g = l->g;
    for (size_t c = 0; c < g->n_contents; c++) sizes[l->leader[c]]++;
    for (size_t u = 0; u < g->n_units; u++)
        is_attached[u] = is_alone(l, sizes, (int64_t)u) && has_whole(g, (int64_t)u);
    for (size_t u = 0; u < g->n_units; u++) {
        if (!is_attached[u]) continue;
        int64_t leader;
        const int rc = find_whole(l, is_attached, (int64_t)u, &leader, err);
        if (rc < 0) return rc;
        for (int64_t i = 0; leader >= 0 && i < g->units[u].n_contents; i++)
            l->leader[g->by_unit[g->units[u].first + i]] = leader;
    }
    return MSIM_OK;
}

int ms_groups_attach(ms_linking *l, msim_error *err) {
    int64_t *sizes = ms_alloc(l->g->n_contents, sizeof *sizes, "groups", err);
    bool *is_attached = sizes ? ms_alloc(l->g->n_units, sizeof *is_attached, "groups", err) : NULL;
    int rc = is_attached ? attach(l, sizes, is_attached, err) : -MSIM_E_MEMORY;
    ms_free(sizes);
    ms_free(is_attached);
    return rc;
}
