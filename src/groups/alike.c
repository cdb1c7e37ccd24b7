/* Pairs whose vectors are alike: all pairs of rows of the given corpora from a threshold on, by the
 * exact join. Rows are files by their names. These pairs are found anew in every run. */
#include "base/text/order.h"
#include "groups/groups.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    msim_groups *g;
    const int64_t *rows[2]; /* the content of each row of either corpus, -1: none */
    msim_error *err;
    int rc;
} alike_taking;

/* The content of the file of that name, or -1. */
static int64_t content_of(const msim_groups *g, const char *name, size_t n, int collection) {
    size_t low = 0, high = g->n_files;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const ms_grouped_file *f = &g->files[middle];
        int order = ms_text_compare(f->name, f->name_bytes, name, n);
        if (order == 0) order = f->collection - collection;
        if (order == 0) return f->content;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static int name_rows(const msim_groups *g, const ms_grouped_corpus *c, int64_t **out,
                     msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    char *name = NULL;
    size_t cap = 0;
    (void)msim_corpus_get_info(c->corpus, &info);
    int64_t *rows = ms_alloc((size_t)info.rows, sizeof *rows, "rows", err);
    int rc = rows ? MSIM_OK : -MSIM_E_MEMORY;
    for (int64_t r = 0; r < info.rows && rc >= 0; r++) {
        const int64_t n = msim_corpus_name(c->corpus, r, NULL, 0);
        rc = n < 0 ? ms_fail(err, MSIM_E_FORMAT, "row %lld has no name", (long long)r)
                   : ms_grow((void **)&name, &cap, (size_t)n + 1, 1, "a name", err);
        if (rc < 0) break;
        (void)msim_corpus_name(c->corpus, r, name, cap);
        rows[r] = content_of(g, name, (size_t)n, c->collection);
    }
    ms_free(name);
    if (rc < 0) ms_free(rows);
    *out = rc < 0 ? NULL : rows;
    return rc;
}

static int take_rows(void *user, int64_t a, int64_t b, double score) {
    alike_taking *t = user;
    const int64_t x = t->rows[0][a], y = t->rows[1][b];
    if (x >= 0 && y >= 0) t->rc = ms_groups_add_alike(t->g, x, y, score, t->err);
    return t->rc < 0;
}

static int tell_joining(void *user, int64_t done, int64_t all) {
    return ms_groups_progress(user, "pairs of rows", done, all, NULL) < 0;
}

static int join(msim_groups *g, const ms_grouped_corpus *a, const ms_grouped_corpus *b,
                msim_error *err) {
    msim_join_options o = msim_join_options_default();
    msim_options library = msim_options_default();
    int64_t *rows_a = NULL, *rows_b = NULL;
    alike_taking t = {.g = g, .err = err};
    library.device = MSIM_DEVICE_CPU;
    library.threads = g->o.threads;
    o.options = &library;
    o.progress = tell_joining;
    o.user = g;
    int rc = name_rows(g, a, &rows_a, err);
    if (rc >= 0 && a != b) rc = name_rows(g, b, &rows_b, err);
    t.rows[0] = rows_a;
    t.rows[1] = a == b ? rows_a : rows_b;
    if (rc >= 0) {
        const int64_t n = msim_join(a->corpus, a == b ? NULL : b->corpus, g->o.alike, &o, take_rows,
                                    &t, NULL, err);
        rc = t.rc < 0 ? t.rc : n < 0 ? (int)n : MSIM_OK;
    }
    ms_free(rows_a);
    ms_free(rows_b);
    return rc;
}

int ms_groups_pair_alike(msim_groups *g, msim_error *err) {
    int rc = MSIM_OK;
    if (!(g->o.alike > 0)) return MSIM_OK;
    if (g->n_corpora == 0)
        return ms_fail(err, MSIM_E_ARG, "alike needs vectors: give a corpus (.npy)");
    for (size_t i = 0; i < g->n_corpora && rc >= 0; i++)
        for (size_t k = i; k < g->n_corpora && rc >= 0; k++) {
            const ms_grouped_corpus *a = &g->corpora[i], *b = &g->corpora[k];
            if (g->o.n_against == 0 || a->collection != b->collection) rc = join(g, a, b, err);
        }
    return rc;
}
