/* What a chain of pairs connects. The contents of a unit stand in order of key and tempo, so that
 * each need be looked at beside few of the others, however many files of the same notes there are.
 * Contract: groups/link/link.h. */
#include "groups/link/link.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    int shift;
    double stretch;
    int64_t content;
} keyed_content;

static int by_key(const void *a, const void *b) {
    const keyed_content *x = a, *y = b;
    if (x->shift != y->shift) return x->shift < y->shift ? -1 : 1;
    if (x->stretch != y->stretch) return x->stretch < y->stretch ? -1 : 1;
    return (x->content > y->content) - (x->content < y->content);
}

/* The contents of each unit in order of key and tempo. */
int ms_groups_order_by_key(ms_linking *l, msim_error *err) {
    const msim_groups *g = l->g;
    keyed_content *list = ms_alloc(g->n_contents, sizeof *list, "groups", err);
    if (!list) return -MSIM_E_MEMORY;
    for (size_t u = 0; u < g->n_units; u++) {
        const size_t first = (size_t)g->units[u].first, n = (size_t)g->units[u].n_contents;
        for (size_t i = 0; i < n; i++) {
            const int64_t content = g->by_unit[first + i];
            const ms_grouped_content *c = &g->contents[content];
            list[i] = (keyed_content){c->shift, c->stretch, content};
        }
        if (!l->is_plain && n > 1) qsort(list, n, sizeof *list, by_key);
        for (size_t i = 0; i < n; i++) l->by_key[first + i] = list[i].content;
    }
    ms_free(list);
    return MSIM_OK;
}

/* The first content of a unit that is not in a lower key than x, and in its key not slower. */
static int64_t first_not_below(const ms_linking *l, int64_t x, const int64_t *list, int64_t n) {
    int64_t low = 0, high = n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        msim_file_pair p;
        (void)ms_groups_relate_contents(l->g, x, list[middle], &p);
        if (p.transpose < 0 || (p.transpose == 0 && p.tempo < 1))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* All that is within the bound of x on one side is within the bound of what is nearest there. And
 * if anything is in another key or tempo than x, the first or the last is. */
size_t ms_groups_near(const ms_linking *l, int64_t x, int64_t unit, int64_t near[MS_GROUPS_NEAR]) {
    const ms_grouped_unit *v = &l->g->units[unit];
    const int64_t *list = l->by_key + v->first, n = v->n_contents;
    size_t n_near = 0;
    near[n_near++] = list[0];
    if (l->is_plain || n == 1) return n_near;
    near[n_near++] = list[n - 1];
    const int64_t at = first_not_below(l, x, list, n);
    if (at > 1) near[n_near++] = list[at - 1];
    if (at > 0 && at < n - 1) near[n_near++] = list[at];
    return n_near;
}

static void join_near(const ms_linking *l, int64_t x, int64_t unit, int64_t *of) {
    int64_t near[MS_GROUPS_NEAR];
    const size_t n = ms_groups_near(l, x, unit, near);
    for (size_t i = 0; i < n; i++)
        if (ms_groups_joins(l->g, ms_groups_relate_contents(l->g, x, near[i], NULL)))
            ms_groups_join(of, x, near[i]);
}

/* The contents of one unit with those of another, or with each other. */
static void join_units(const ms_linking *l, int64_t u, int64_t v, int64_t *of) {
    const ms_grouped_unit *from = &l->g->units[u];
    const int64_t n = l->is_plain && u != v ? 1 : from->n_contents;
    for (int64_t i = 0; i < n; i++) join_near(l, l->g->by_unit[from->first + i], v, of);
}

void ms_groups_find_components(const ms_linking *l, int64_t *of) {
    const msim_groups *g = l->g;
    for (size_t c = 0; c < g->n_contents; c++) of[c] = (int64_t)c;
    for (size_t u = 0; u < g->n_units; u++) join_units(l, (int64_t)u, (int64_t)u, of);
    for (size_t i = 0; i < g->n_pairs; i++) {
        join_units(l, g->pairs[i].a, g->pairs[i].b, of);
        if (!l->is_plain) join_units(l, g->pairs[i].b, g->pairs[i].a, of);
    }
}
