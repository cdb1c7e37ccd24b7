/* Why a file is in its group. */
#include "groups/groups.h"

typedef struct {
    const msim_groups *g;
    int64_t content, group;
    int64_t best; /* the content that relates to it most; -1: none */
    int kind;
} explaining;

static int64_t group_of(const msim_groups *g, int64_t content) {
    return g->files[g->by_content[g->contents[content].first]].group;
}

/* Contents stand in order of their first files: of those of the same kind the first counts. */
static void look_at(explaining *x, int64_t unit) {
    const ms_grouped_unit *u = &x->g->units[unit];
    for (int64_t i = 0; i < u->n_contents; i++) {
        const int64_t c = x->g->by_unit[u->first + i];
        if (c == x->content || group_of(x->g, c) != x->group) continue;
        const int kind = ms_groups_relate_contents(x->g, c, x->content, NULL);
        if (!(x->g->o.kinds >> kind & 1)) continue;
        if (x->best < 0 || kind < x->kind || (kind == x->kind && c < x->best)) {
            x->best = c;
            x->kind = kind;
        }
        /* to all contents of another unit it relates alike, but for their keys */
        if (kind == MSIM_PAIR_NOTES || kind > MSIM_PAIR_KEY) break;
    }
}

/* The file through which a chain of pairs leads to this one, or -1. */
static int64_t find_link(const msim_groups *g, int64_t file) {
    explaining x = {.g = g, .content = g->files[file].content, .best = -1};
    if (x.content < 0) return -1;
    const ms_grouped_content *c = &g->contents[x.content];
    if (g->by_content[c->first] != file) return g->by_content[c->first];
    x.group = g->files[file].group;
    look_at(&x, c->unit);
    for (int64_t e = 0; e < g->units[c->unit].n_edges; e++)
        look_at(&x, g->edges[g->units[c->unit].edges + e].unit);
    return x.best < 0 ? -1 : g->by_content[g->contents[x.best].first];
}

int msim_groups_explain(const msim_groups *g, int64_t file, msim_file_pair *out) {
    if (out) *out = (msim_file_pair){.a = -1, .b = file};
    if (file < 0 || (size_t)file >= g->n_files) return MSIM_PAIR_NONE;
    const int64_t keeper = g->files[file].keeper;
    if (keeper < 0 || keeper == file) return MSIM_PAIR_NONE;
    int kind = msim_groups_relate(g, keeper, file, out);
    if (kind != MSIM_PAIR_NONE) return kind;
    const int64_t link = find_link(g, file);
    kind = link < 0 ? MSIM_PAIR_NONE : msim_groups_relate(g, link, file, out);
    return kind;
}
