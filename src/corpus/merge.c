/* The rows of a corpus in bytewise order of name. Each part has a cursor; a binary heap orders the
 * cursors by name. One thread. include/midisim.h, Corpus. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "base/text/order.h"
#include "corpus/corpus.h"
#include <stdlib.h>
#include <string.h>

enum { PROGRESS_ROWS = 4096 };

typedef struct {
    char *text; /* owned */
    size_t n, cap;
} name_buffer;

typedef struct {
    int64_t first, end, at; /* rows of the corpus; at: place in order, from 0 */
    int64_t *order;         /* owned: rows in order of name; NULL when the part is */
    name_buffer name;       /* of the row at `at` */
    size_t index;           /* of the part */
} part_cursor;

struct msim_corpus_merge {
    const msim_corpus *corpus; /* borrowed */
    part_cursor *cursors;      /* owned */
    part_cursor **heap;        /* owned: those with rows left, least name first */
    size_t n_cursors, n_heap;
    name_buffer last; /* name of the row handed out last */
    bool has_last;
    int64_t name_chars, n_same;
    int64_t piece; /* of the row handed out last */
};

static int read_name(const msim_corpus_merge *m, int64_t row, name_buffer *to, msim_error *err) {
    int64_t n = ms_corpus_read_name(m->corpus, row, &to->text, &to->cap, err);
    if (n < 0) return (int)n;
    to->n = (size_t)n;
    return MSIM_OK;
}

static void swap_names(name_buffer *a, name_buffer *b) {
    name_buffer t = *a;
    *a = *b;
    *b = t;
}

/* ---- Parts whose rows are not in order ---- */

typedef struct {
    char *text;          /* owned: names end to end */
    uint64_t *ends;      /* owned: where each ends */
    size_t n_bytes, cap; /* of text */
    int64_t first;       /* row of name 0 */
} name_table;

static int compare_rows(const void *a, const void *b, void *user) {
    const name_table *t = user;
    int64_t x = *(const int64_t *)a - t->first, y = *(const int64_t *)b - t->first;
    size_t x0 = x ? t->ends[x - 1] : 0, y0 = y ? t->ends[y - 1] : 0;
    int order = ms_text_compare(t->text + x0, t->ends[x] - x0, t->text + y0, t->ends[y] - y0);
    return order ? order : (x > y) - (x < y);
}

/* Read the names of a part into the table. */
static int fill_table(const msim_corpus_merge *m, part_cursor *c, name_table *t, msim_error *err) {
    size_t n = (size_t)(c->end - c->first);
    int rc = MSIM_OK;
    t->first = c->first;
    t->ends = ms_alloc(n, sizeof *t->ends, "names in order", err);
    if (!t->ends) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n && rc >= 0; i++) {
        rc = read_name(m, c->first + (int64_t)i, &c->name, err);
        if (rc >= 0)
            rc = ms_grow((void **)&t->text, &t->cap, t->n_bytes + c->name.n + 1, 1,
                         "names in order", err);
        if (rc < 0) break;
        memcpy(t->text + t->n_bytes, c->name.text, c->name.n);
        t->ends[i] = t->n_bytes += c->name.n;
    }
    return rc;
}

static int sort_rows(const msim_corpus_merge *m, part_cursor *c, msim_error *err) {
    size_t n = (size_t)(c->end - c->first);
    name_table table = {0};
    int rc = fill_table(m, c, &table, err);
    if (rc >= 0 && !(c->order = ms_alloc(n, sizeof *c->order, "names in order", err)))
        rc = -MSIM_E_MEMORY;
    for (size_t i = 0; i < n && rc >= 0; i++) c->order[i] = c->first + (int64_t)i;
    if (rc >= 0) qsort_r(c->order, n, sizeof *c->order, compare_rows, &table);
    ms_free(table.text);
    ms_free(table.ends);
    return rc;
}

typedef struct {
    int (*call)(void *user, int64_t done, int64_t all); /* or NULL */
    void *user;
} progress_call;

static int tell(const msim_corpus_merge *m, progress_call progress, int64_t row, msim_error *err) {
    if (row % PROGRESS_ROWS || !progress.call) return MSIM_OK;
    if (progress.call(progress.user, row, msim_corpus_rows(m->corpus)) == 0) return MSIM_OK;
    return ms_fail(err, MSIM_E_STOPPED, "merge: stopped at row %lld", (long long)row);
}

/* Look at all names of a part: the longest, and whether they are in order. */
static int examine(msim_corpus_merge *m, part_cursor *c, progress_call progress, msim_error *err) {
    name_buffer before = {0};
    bool is_sorted = true;
    int rc = MSIM_OK;
    for (int64_t row = c->first; row < c->end && rc >= 0; row++) {
        swap_names(&before, &c->name);
        rc = read_name(m, row, &c->name, err);
        if (rc < 0) break;
        if (row > c->first && ms_text_compare(before.text, before.n, c->name.text, c->name.n) > 0)
            is_sorted = false;
        int64_t chars = msim_name_chars(c->name.text, c->name.n);
        if (chars > m->name_chars) m->name_chars = chars;
        rc = tell(m, progress, row, err);
    }
    ms_free(before.text);
    return rc >= 0 && !is_sorted ? sort_rows(m, c, err) : rc;
}

/* ---- The heap ---- */

static bool comes_before(const part_cursor *a, const part_cursor *b) {
    int order = ms_text_compare(a->name.text, a->name.n, b->name.text, b->name.n);
    return order < 0 || (order == 0 && a->index < b->index);
}

static void sift_down(msim_corpus_merge *m, size_t i) {
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < m->n_heap; child++)
            if (comes_before(m->heap[child], m->heap[least])) least = child;
        if (least == i) return;
        part_cursor *t = m->heap[i];
        m->heap[i] = m->heap[least];
        m->heap[least] = t;
        i = least;
    }
}

static int64_t row_of(const part_cursor *c) {
    return c->order ? c->order[c->at] : c->first + c->at;
}

/* One cursor for each part, those with rows in the heap. */
static int open_cursors(msim_corpus_merge *m, progress_call progress, msim_error *err) {
    int rc = MSIM_OK;
    for (size_t i = 0; i < m->n_cursors && rc >= 0; i++) {
        part_cursor *c = m->cursors + i;
        *c = (part_cursor){.first = msim_corpus_part_first(m->corpus, (int64_t)i),
                           .end = msim_corpus_part_first(m->corpus, (int64_t)i + 1),
                           .index = i};
        rc = examine(m, c, progress, err);
        if (rc < 0 || c->first == c->end) continue;
        rc = read_name(m, row_of(c), &c->name, err);
        m->heap[m->n_heap++] = c;
    }
    for (size_t i = m->n_heap / 2; i-- > 0;) sift_down(m, i);
    return rc;
}

int msim_corpus_merge_open(const msim_corpus *corpus,
                           int (*progress)(void *user, int64_t done, int64_t all), void *user,
                           msim_corpus_merge **out, msim_error *err) {
    *out = NULL;
    msim_corpus_merge *m = ms_alloc(1, sizeof *m, "merge", err);
    if (!m) return -MSIM_E_MEMORY;
    size_t n = (size_t)msim_corpus_parts(corpus);
    m->corpus = corpus;
    m->cursors = ms_alloc(n, sizeof *m->cursors, "merge", err);
    m->heap = m->cursors ? ms_alloc(n, sizeof *m->heap, "merge", err) : NULL;
    m->n_cursors = m->cursors ? n : 0;
    int rc = m->heap ? open_cursors(m, (progress_call){progress, user}, err) : -MSIM_E_MEMORY;
    if (rc < 0)
        msim_corpus_merge_close(m);
    else
        *out = m;
    return rc;
}

void msim_corpus_merge_close(msim_corpus_merge *m) {
    if (!m) return;
    for (size_t i = 0; i < m->n_cursors; i++) {
        ms_free(m->cursors[i].order);
        ms_free(m->cursors[i].name.text);
    }
    ms_free(m->last.text);
    ms_free(m->cursors);
    ms_free(m->heap);
    ms_free(m);
}

int msim_corpus_merge_next(msim_corpus_merge *m, int64_t *row, const char **name,
                           size_t *name_bytes, msim_error *err) {
    if (m->n_heap == 0) return 0;
    part_cursor *c = m->heap[0];
    int64_t found = row_of(c);
    int64_t piece = msim_corpus_piece_of(m->corpus, found, err);
    if (piece < 0) return (int)piece;
    bool is_window = m->has_last && found > 0 && m->piece == piece; /* of the same piece */
    m->piece = piece;
    m->n_same += m->has_last && !is_window &&
                 ms_text_compare(m->last.text, m->last.n, c->name.text, c->name.n) == 0;
    m->has_last = true;
    swap_names(&m->last, &c->name);
    c->at++;
    if (c->first + c->at == c->end) {
        m->heap[0] = m->heap[--m->n_heap];
    } else {
        int rc = read_name(m, row_of(c), &c->name, err);
        if (rc < 0) return rc;
    }
    sift_down(m, 0);
    *row = found;
    *name = m->last.text;
    *name_bytes = m->last.n;
    return 1;
}

int64_t msim_corpus_merge_name_chars(const msim_corpus_merge *m) { return m->name_chars; }
int64_t msim_corpus_merge_repeats(const msim_corpus_merge *m) { return m->n_same; }
