/* Two collections: for each file of the second, the file of the first that it relates to most. */
#include "groups/groups.h"

typedef struct {
    int64_t content; /* -1: none */
    msim_file_pair pair;
} best_relative;

static bool is_more(const msim_groups *g, const msim_file_pair *p, const best_relative *best) {
    if (p->kind != MSIM_PAIR_BYTES && !(g->o.kinds >> p->kind & 1)) return false;
    if (best->content < 0 || p->kind != best->pair.kind)
        return best->content < 0 || p->kind < best->pair.kind;
    return p->kind >= MSIM_PAIR_PIECE && p->score > best->pair.score;
}

/* Contents of a unit that are in collection 0, if they relate more: contents are in order of name,
 * so of equal ones the first stays. A content relates to all of another unit alike, but for their
 * keys. */
static void look_at_unit(const msim_groups *g, int64_t content, int64_t unit, best_relative *best) {
    const ms_grouped_unit *u = &g->units[unit];
    if (!(u->sides & 1)) return;
    if (best->content >= 0 && best->pair.kind == MSIM_PAIR_NOTES) return; /* nothing is more */
    for (int64_t i = 0; i < u->n_contents; i++) {
        const int64_t other = g->by_unit[u->first + i];
        msim_file_pair p;
        if (!(g->contents[other].sides & 1)) continue;
        const int kind = ms_groups_relate_contents(g, other, content, &p);
        if (is_more(g, &p, best)) *best = (best_relative){other, p};
        if (kind == MSIM_PAIR_NOTES || kind > MSIM_PAIR_KEY) return;
    }
}

int ms_groups_match_sides(msim_groups *g, msim_error *err) {
    int64_t *relative = ms_alloc(g->n_contents, sizeof *relative, "pairs", err);
    if (!relative) return -MSIM_E_MEMORY;
    for (size_t c = 0; c < g->n_contents; c++) {
        best_relative best = {.content = -1};
        const int64_t unit = g->contents[c].unit;
        if (g->contents[c].sides & 1) {
            relative[c] = ms_groups_first_file(g, (int64_t)c, 0);
            continue;
        }
        look_at_unit(g, (int64_t)c, unit, &best);
        for (int64_t e = 0; e < g->units[unit].n_edges; e++)
            look_at_unit(g, (int64_t)c, g->edges[g->units[unit].edges + e].unit, &best);
        relative[c] = best.content < 0 ? -1 : ms_groups_first_file(g, best.content, 0);
    }
    for (size_t f = 0; f < g->n_files; f++) {
        ms_grouped_file *file = &g->files[f];
        file->keeper = file->collection && file->content >= 0 ? relative[file->content] : -1;
    }
    ms_free(relative);
    return MSIM_OK;
}
