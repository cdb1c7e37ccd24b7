/* Contract: tools/convert/merge.h. One cursor a file, in a binary heap by name. */
#define _GNU_SOURCE
#include "merge.h"
#include "convert/convert.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *text; /* owned */
    size_t n, cap;
} name_buffer;

typedef struct {
    int64_t first, end, at; /* rows of the corpus; at: place in order, from 0 */
    int64_t *order;         /* owned: rows in order of name; NULL when the file is */
    name_buffer name;       /* of the row at `at` */
    size_t index;           /* of the file */
} cursor;

struct ms_merge {
    const msim_corpus *corpus; /* borrowed */
    cursor *cursors;           /* owned */
    cursor **heap;             /* owned: those with rows left, least name first */
    size_t n_cursors, n_heap;
    name_buffer last; /* name of the row handed out last */
    bool has_last;
    int64_t name_chars, n_same;
};

static int compare_bytes(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t n = n_a < n_b ? n_a : n_b;
    int order = n ? memcmp(a, b, n) : 0;
    return order ? order : (n_a > n_b) - (n_a < n_b);
}

static int read_name(const ms_merge *m, int64_t row, name_buffer *to) {
    return ms_convert_name(m->corpus, row, &to->text, &to->cap, &to->n);
}

static void swap_names(name_buffer *a, name_buffer *b) {
    name_buffer t = *a;
    *a = *b;
    *b = t;
}

/* ---- Files whose rows are not in order ---- */

typedef struct {
    const char *text;     /* names end to end */
    const uint64_t *ends; /* where each ends */
    int64_t first;        /* row of name 0 */
} name_table;

static int compare_rows(const void *a, const void *b, void *user) {
    const name_table *t = user;
    int64_t x = *(const int64_t *)a - t->first, y = *(const int64_t *)b - t->first;
    size_t x0 = x ? t->ends[x - 1] : 0, y0 = y ? t->ends[y - 1] : 0;
    int order = compare_bytes(t->text + x0, t->ends[x] - x0, t->text + y0, t->ends[y] - y0);
    return order ? order : (x > y) - (x < y);
}

static int sort_rows(const ms_merge *m, cursor *c) {
    size_t n = (size_t)(c->end - c->first), cap = 0, used = 0;
    char *text = NULL;
    uint64_t *ends = ms_cli_alloc(n, sizeof *ends);
    int rc = 0;
    c->order = ms_cli_alloc(n, sizeof *c->order);
    for (size_t i = 0; i < n && rc >= 0; i++) {
        c->order[i] = c->first + (int64_t)i;
        rc = read_name(m, c->order[i], &c->name);
        if (used + c->name.n > cap) text = ms_cli_grow(text, &cap, used + c->name.n, 1);
        if (c->name.n) memcpy(text + used, c->name.text, c->name.n);
        ends[i] = used += c->name.n;
    }
    name_table table = {.text = text, .ends = ends, .first = c->first};
    if (rc >= 0) qsort_r(c->order, n, sizeof *c->order, compare_rows, &table);
    free(text);
    free(ends);
    return rc;
}

/* Look at all names of a file: the longest, and whether they are in order. */
static int examine(ms_merge *m, cursor *c, msim_error *err) {
    name_buffer before = {0};
    int64_t all = msim_corpus_rows(m->corpus);
    bool is_sorted = true;
    int rc = 0;
    for (int64_t row = c->first; row < c->end && rc >= 0; row++) {
        swap_names(&before, &c->name);
        rc = read_name(m, row, &c->name);
        if (rc < 0) break;
        if (row > c->first && compare_bytes(before.text, before.n, c->name.text, c->name.n) > 0)
            is_sorted = false;
        int64_t chars = msim_name_chars(c->name.text, c->name.n);
        if (chars > m->name_chars) m->name_chars = chars;
        if (row % 4096 == 0) ms_cli_progress("names", row, all);
        if (row % 4096 == 0 && ms_cli_stopped()) rc = ms_cli_fail(err, MSIM_E_IO, "stopped");
    }
    free(before.text);
    return rc >= 0 && !is_sorted ? sort_rows(m, c) : rc;
}

/* ---- The heap ---- */

static bool comes_before(const cursor *a, const cursor *b) {
    int order = compare_bytes(a->name.text, a->name.n, b->name.text, b->name.n);
    return order < 0 || (order == 0 && a->index < b->index);
}

static void sift_down(ms_merge *m, size_t i) {
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < m->n_heap; child++)
            if (comes_before(m->heap[child], m->heap[least])) least = child;
        if (least == i) return;
        cursor *t = m->heap[i];
        m->heap[i] = m->heap[least];
        m->heap[least] = t;
        i = least;
    }
}

static int64_t row_of(const cursor *c) { return c->order ? c->order[c->at] : c->first + c->at; }

int ms_merge_open(const msim_corpus *corpus, ms_merge **out, msim_error *err) {
    ms_merge *m = ms_cli_alloc(1, sizeof *m);
    int rc = 0;
    m->corpus = corpus;
    m->n_cursors = (size_t)msim_corpus_parts(corpus);
    m->cursors = ms_cli_alloc(m->n_cursors, sizeof *m->cursors);
    m->heap = ms_cli_alloc(m->n_cursors, sizeof(cursor *));
    *out = NULL;
    for (size_t i = 0; i < m->n_cursors && rc >= 0; i++) {
        cursor *c = m->cursors + i;
        *c = (cursor){.first = msim_corpus_part_first(corpus, (int64_t)i),
                      .end = msim_corpus_part_first(corpus, (int64_t)i + 1),
                      .index = i};
        rc = examine(m, c, err);
        if (rc < 0 || c->first == c->end) continue;
        rc = read_name(m, row_of(c), &c->name);
        m->heap[m->n_heap++] = c;
    }
    ms_cli_progress_end();
    for (size_t i = m->n_heap / 2; i-- > 0;) sift_down(m, i);
    if (rc < 0)
        ms_merge_close(m);
    else
        *out = m;
    return rc;
}

void ms_merge_close(ms_merge *m) {
    if (!m) return;
    for (size_t i = 0; i < m->n_cursors; i++) {
        free(m->cursors[i].order);
        free(m->cursors[i].name.text);
    }
    free(m->last.text);
    free(m->cursors);
    free(m->heap);
    free(m);
}

int64_t ms_merge_next(ms_merge *m, const char **name, size_t *length) {
    if (m->n_heap == 0) return -1;
    cursor *c = m->heap[0];
    int64_t row = row_of(c);
    m->n_same += m->has_last &&
                 compare_bytes(m->last.text, m->last.n, c->name.text, c->name.n) == 0;
    m->has_last = true;
    swap_names(&m->last, &c->name);
    c->at++;
    if (c->first + c->at == c->end || read_name(m, row_of(c), &c->name) < 0)
        m->heap[0] = m->heap[--m->n_heap];
    sift_down(m, 0);
    *name = m->last.text;
    *length = m->last.n;
    return row;
}

int64_t ms_merge_name_chars(const ms_merge *m) { return m->name_chars; }
int64_t ms_merge_same(const ms_merge *m) { return m->n_same; }
