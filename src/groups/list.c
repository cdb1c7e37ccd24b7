/* All pairs of files: of the files of one content, and of the contents of one unit, each with the
 * first; of two units, the two contents that were compared. */
#include "groups/groups.h"
#include <stdlib.h>

typedef struct {
    msim_file_pair *pairs; /* owned: [n] */
    size_t n, cap;
    int64_t *counts; /* borrowed: by kind; then pairs are counted and not kept */
} file_pair_list;

static int by_files(const void *a, const void *b) {
    const msim_file_pair *x = a, *y = b;
    if (x->a != y->a) return x->a < y->a ? -1 : 1;
    return (x->b > y->b) - (x->b < y->b);
}

/* Add files a and b, which are none when either is < 0. */
static int add(const msim_groups *g, file_pair_list *l, int64_t a, int64_t b, msim_error *err) {
    msim_file_pair p;
    if (a < 0 || b < 0 || a == b || msim_groups_relate(g, a < b ? a : b, a < b ? b : a, &p) == 0)
        return MSIM_OK;
    if (l->counts) {
        l->counts[p.kind]++;
        return MSIM_OK;
    }
    int rc = ms_grow((void **)&l->pairs, &l->cap, l->n + 1, sizeof *l->pairs, "pairs", err);
    if (rc >= 0) l->pairs[l->n++] = p;
    return rc;
}

static int add_files(const msim_groups *g, file_pair_list *l, int64_t content, msim_error *err) {
    const ms_grouped_content *c = &g->contents[content];
    const bool is_two = g->o.n_against > 0;
    const int64_t first = ms_groups_first_file(g, content, 0), *files = g->by_content + c->first;
    int rc = MSIM_OK;
    for (int64_t i = 0; i < c->n_files && rc >= 0; i++)
        if (!is_two || g->files[files[i]].collection == 1) rc = add(g, l, first, files[i], err);
    return rc;
}

/* Two contents: their first files, or with two collections those on the two sides. */
static int add_contents(const msim_groups *g, file_pair_list *l, int64_t x, int64_t y,
                        msim_error *err) {
    if (g->o.n_against == 0)
        return add(g, l, ms_groups_first_file(g, x, 0), ms_groups_first_file(g, y, 0), err);
    int rc = add(g, l, ms_groups_first_file(g, x, 0), ms_groups_first_file(g, y, 1), err);
    return rc < 0 ? rc
                  : add(g, l, ms_groups_first_file(g, x, 1), ms_groups_first_file(g, y, 0), err);
}

static int list_all(const msim_groups *g, file_pair_list *l, msim_error *err) {
    int rc = MSIM_OK;
    for (size_t c = 0; c < g->n_contents && rc >= 0; c++) rc = add_files(g, l, (int64_t)c, err);
    for (size_t u = 0; u < g->n_units && rc >= 0; u++) {
        const int64_t *contents = g->by_unit + g->units[u].first;
        for (int64_t i = 1; i < g->units[u].n_contents && rc >= 0; i++)
            rc = add_contents(g, l, contents[0], contents[i], err);
    }
    for (size_t i = 0; i < g->n_pairs && rc >= 0; i++)
        rc = add_contents(g, l, g->pairs[i].content_a, g->pairs[i].content_b, err);
    if (rc >= 0 && l->n) qsort(l->pairs, l->n, sizeof *l->pairs, by_files);
    return rc;
}

int64_t msim_groups_pairs(const msim_groups *g, int (*sink)(void *user, const msim_file_pair *pair),
                          void *user, msim_error *err) {
    file_pair_list l = {0};
    int64_t rc = list_all(g, &l, err);
    for (size_t i = 0; i < l.n && rc >= 0; i++)
        if (sink(user, &l.pairs[i])) rc = ms_fail(err, MSIM_E_STOPPED, "stopped listing pairs");
    if (rc >= 0) rc = (int64_t)l.n;
    ms_free(l.pairs);
    return rc;
}

int ms_groups_count_pairs(msim_groups *g, msim_error *err) {
    file_pair_list l = {.counts = g->info.pairs};
    return list_all(g, &l, err);
}
