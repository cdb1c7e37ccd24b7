/* Contract: tools/eval/queries.h. */
#define _GNU_SOURCE
#include "queries.h"
#include "common/name.h"
#include "base/mem.h"
#include <stdlib.h>

typedef struct {
    int64_t query, row;
} owned_row;

static int by_query(const void *a, const void *b) {
    const owned_row *x = a, *y = b;
    if (x->query != y->query) return x->query < y->query ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* The query of a row: the number of its name, which is labelled when it is new. */
static int64_t query_of(ms_eval_truth *truth, const msim_corpus *corpus, int64_t row, bool is_own,
                        ms_eval_queries *out, char **name, size_t *cap, msim_error *err) {
    int64_t n = ms_name_get(corpus, row, name, cap, err),
            query = n < 0    ? n
                    : is_own ? msim_corpus_piece_of(corpus, row, err)
                             : msim_name_set_add(out->names, *name, (size_t)n, err);
    if (query < out->labels.n) return query; /* known, or an error */
    int rc = ms_eval_truth_label(truth, *name, (size_t)n, &out->labels, err);
    return rc < 0 ? rc : query;
}

/* Rows in order of their queries. */
static int put_rows(ms_eval_queries *out, owned_row *rows, int64_t n, msim_error *err) {
    out->n = out->labels.n;
    out->rows = ms_alloc((size_t)n, sizeof *out->rows, "rows of queries", err);
    if (out->rows) out->starts = ms_alloc((size_t)out->n + 1, sizeof *out->starts, "queries", err);
    if (!out->starts) return -MSIM_E_MEMORY;
    qsort(rows, (size_t)n, sizeof *rows, by_query);
    out->n_rows = n;
    for (int64_t i = 0; i < n; i++) {
        out->rows[i] = rows[i].row;
        out->starts[rows[i].query + 1] = i + 1;
    }
    return 0;
}

int ms_eval_queries_open(ms_eval_truth *truth, const msim_corpus *corpus, bool is_own,
                         ms_eval_queries *out, msim_error *err) {
    int64_t n = msim_corpus_rows(corpus);
    char *name = NULL;
    size_t cap = 0;
    *out = (ms_eval_queries){0};
    owned_row *rows = ms_alloc((size_t)n, sizeof *rows, "rows of queries", err);
    int rc = rows ? 0 : -MSIM_E_MEMORY;
    if (rc >= 0 && !is_own) rc = msim_name_set_open(&out->names, err);
    for (int64_t row = 0; row < n && rc >= 0; row++) {
        int64_t query = query_of(truth, corpus, row, is_own, out, &name, &cap, err);
        rows[row] = (owned_row){query, row};
        rc = query < 0 ? (int)query : 0;
    }
    if (rc >= 0) rc = put_rows(out, rows, n, err);
    ms_free(rows);
    ms_free(name);
    if (rc < 0) ms_eval_queries_close(out);
    return rc;
}

void ms_eval_queries_close(ms_eval_queries *q) {
    ms_free(q->rows);
    ms_free(q->starts);
    ms_eval_labels_free(&q->labels);
    msim_name_set_close(q->names);
    *q = (ms_eval_queries){0};
}
