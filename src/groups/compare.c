/* Contract: groups/compare.h. */
#include "groups/compare.h"
#include "base/random.h"
#include <string.h>

/* Two units, and what comparing them gave. */
typedef struct {
    int64_t u, v;      /* u < v; both 0: free */
    ms_unit_pair pair; /* kind NONE: nothing */
} compared_units;

struct ms_groups_compare {
    msim_groups *g;
    msim_comparer *comparer; /* owned; opened when it is first needed */
    compared_units *table;   /* owned: [table_size] */
    size_t table_size, n_table;
};

int ms_groups_compare_open(msim_groups *g, ms_groups_compare **out, msim_error *err) {
    *out = ms_alloc(1, sizeof **out, "pairs", err);
    if (!*out) return -MSIM_E_MEMORY;
    (*out)->g = g;
    return MSIM_OK;
}

void ms_groups_compare_close(ms_groups_compare *c) {
    if (!c) return;
    msim_comparer_close(c->comparer);
    ms_free(c->table);
    ms_free(c);
}

/* ---- The table ---- */

static compared_units *place_of(compared_units *table, size_t size, int64_t u, int64_t v) {
    size_t i = (size_t)ms_random_at((uint64_t)u, (uint64_t)v) & (size - 1);
    while (table[i].v && (table[i].u != u || table[i].v != v)) i = (i + 1) & (size - 1);
    return &table[i];
}

static int reserve_table(ms_groups_compare *c, msim_error *err) {
    if (2 * (c->n_table + 1) <= c->table_size) return MSIM_OK;
    const size_t size = c->table_size ? 2 * c->table_size : 256;
    compared_units *table = ms_alloc(size, sizeof *table, "pairs", err);
    if (!table) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < c->table_size; i++)
        if (c->table[i].v) *place_of(table, size, c->table[i].u, c->table[i].v) = c->table[i];
    ms_free(c->table);
    c->table = table;
    c->table_size = size;
    return MSIM_OK;
}

/* ---- One comparison ---- */

static int compare_units(ms_groups_compare *c, int64_t u, int64_t v, msim_error *err) {
    msim_groups *g = c->g;
    msim_note_match m;
    int rc = MSIM_OK;
    if (!c->comparer)
        rc = msim_comparer_open(g->searched, g->searched, g->o.evalue, &c->comparer, err);
    if (rc >= 0)
        rc = msim_comparer_compare(c->comparer, g->units[u].piece, g->units[v].piece, &m, err);
    if (rc < 0 || !m.is_significant) return rc;
    return ms_groups_add_match(g, g->units[u].content, g->units[v].content, &m, err);
}

/* The pair of two units into the table. It counts for `asked`, which is one of them. */
static int find_new(ms_groups_compare *c, int64_t u, int64_t v, int64_t asked,
                    const ms_unit_pair **out, msim_error *err) {
    msim_groups *g = c->g;
    const size_t before = g->n_pairs;
    int rc = reserve_table(c, err);
    if (rc < 0) return rc;
    compared_units *at = place_of(c->table, c->table_size, u, v);
    *out = &at->pair;
    if (at->v) return MSIM_OK;
    if (!ms_groups_may_compare(g, asked)) {
        *out = NULL;
        return MSIM_OK;
    }
    rc = compare_units(c, u, v, err);
    if (rc < 0) return rc;
    *at = (compared_units){.u = u, .v = v};
    if (g->n_pairs > before) at->pair = g->pairs[before];
    c->n_table++;
    g->units[asked].n_compared++;
    g->info.compared++;
    return ms_groups_progress(g, "pairs compared", g->info.compared, -1, err);
}

int ms_groups_compare_contents(ms_groups_compare *c, int64_t x, int64_t y, msim_file_pair *out,
                               msim_error *err) {
    msim_groups *g = c->g;
    const int64_t u = g->contents[x].unit, v = g->contents[y].unit;
    const ms_unit_pair *pair = NULL;
    int kind = ms_groups_relate_contents(g, x, y, out);
    if (kind != MSIM_PAIR_NONE || g->units[u].piece < 0 || g->units[v].piece < 0) return kind;
    int rc = find_new(c, u < v ? u : v, u < v ? v : u, v, &pair, err);
    if (rc < 0) return rc;
    if (!pair || pair->pair.kind == MSIM_PAIR_NONE) return MSIM_PAIR_NONE;
    msim_file_pair p = u < v ? ms_groups_carry(g, pair, x, y) : ms_groups_carry(g, pair, y, x);
    if (u > v) p = ms_groups_turn(&p);
    if (out) *out = p;
    return p.kind;
}
