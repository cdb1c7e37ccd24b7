/* The groups of files, from the leaders of contents: numbers in order of each group's first file,
 * groups of two and more before files that are alone. Contract: groups/link/link.h. */
#include "groups/link/link.h"

/* The best file of a content. */
static int64_t best_file(const msim_groups *g, int64_t content) {
    const ms_grouped_content *c = &g->contents[content];
    int64_t best = g->by_content[c->first];
    for (int64_t i = 1; i < c->n_files; i++)
        if (g->files[g->by_content[c->first + i]].rank < g->files[best].rank)
            best = g->by_content[c->first + i];
    return best;
}

/* Put the files of each group together. */
static int list_groups(msim_groups *g, msim_error *err) {
    const size_t n = (size_t)(g->info.groups + g->info.singles);
    g->by_group = ms_alloc(g->n_files, sizeof *g->by_group, "groups", err);
    g->group_at = g->by_group ? ms_alloc(n + 2, sizeof *g->group_at, "groups", err) : NULL;
    if (!g->group_at) return -MSIM_E_MEMORY;
    for (size_t f = 0; f < g->n_files; f++) g->group_at[g->files[f].group + 1]++;
    for (size_t i = 1; i < n + 2; i++) g->group_at[i] += g->group_at[i - 1];
    for (size_t f = 0; f < g->n_files; f++)
        g->by_group[g->group_at[g->files[f].group]++] = (int64_t)f;
    for (size_t i = n + 1; i > 0; i--) g->group_at[i] = g->group_at[i - 1];
    g->group_at[0] = 0;
    return MSIM_OK;
}

/* keeper is set; the number of files that have each: sizes [files]. */
static void give_numbers(msim_groups *g, const int64_t *sizes, int64_t *number) {
    for (size_t f = 0; f < g->n_files; f++) {
        const int64_t k = g->files[f].keeper;
        if (sizes[k] > 1 && !number[k]) number[k] = ++g->info.groups;
    }
    for (size_t f = 0; f < g->n_files; f++) {
        const int64_t k = g->files[f].keeper;
        if (!number[k]) number[k] = g->info.groups + ++g->info.singles;
        g->files[f].group = number[k];
    }
}

int ms_groups_number(ms_linking *l, msim_error *err) {
    msim_groups *g = l->g;
    int64_t *sizes = ms_alloc(g->n_files, sizeof *sizes, "groups", err);
    int64_t *number = sizes ? ms_alloc(g->n_files, sizeof *number, "groups", err) : NULL;
    int64_t *best = number ? ms_alloc(g->n_contents, sizeof *best, "groups", err) : NULL;
    int rc = best ? MSIM_OK : -MSIM_E_MEMORY;
    for (size_t c = 0; c < g->n_contents && rc >= 0; c++)
        if (l->leader[c] == (int64_t)c) best[c] = best_file(g, (int64_t)c);
    for (size_t f = 0; f < g->n_files && rc >= 0; f++) {
        const int64_t content = g->files[f].content;
        g->files[f].keeper = content < 0 ? (int64_t)f : best[l->leader[content]];
        sizes[g->files[f].keeper]++;
    }
    if (rc >= 0) give_numbers(g, sizes, number);
    ms_free(sizes);
    ms_free(number);
    ms_free(best);
    return rc < 0 ? rc : list_groups(g, err);
}
