/* Loaded rows and lists of row numbers: see search/slices.h. */
#include "search/slices.h"
#include "base/mem.h"
#include "codes/layout.h"

/* ---- Lists of rows ---- */

ms_row_list ms_row_list_between(ms_row_list list, int64_t first, int64_t end) {
    size_t from = list.n ? ms_rows_lower_bound(list.rows, list.n, first) : 0,
           to = list.n ? ms_rows_lower_bound(list.rows, list.n, end) : 0;
    if (to <= from) return (ms_row_list){0};
    return (ms_row_list){list.rows + from, to - from};
}

bool ms_row_list_has(ms_row_list list, int64_t row) {
    if (list.n == 0) return false;
    size_t i = ms_rows_lower_bound(list.rows, list.n, row);
    return i < list.n && list.rows[i] == row;
}

/* ---- Slices ---- */

static int check_views(const ms_rows *views, size_t n_views, msim_error *err) {
    int64_t row = 0;
    for (size_t i = 0; i < n_views; i++) {
        if (views[i].dim != views[0].dim)
            return ms_fail(err, MSIM_E_ARG,
                           "corpus part %zu: expected rows of width %lld, got %lld", i,
                           (long long)views[0].dim, (long long)views[i].dim);
        if (__builtin_add_overflow(row, views[i].n_rows, &row))
            return ms_fail(err, MSIM_E_LIMIT, "corpus: there are 2^63 rows or more");
    }
    return MSIM_OK;
}

int ms_slices_open(ms_slices *out, const ms_rows *views, size_t n_views, int64_t first, int64_t n,
                   msim_error *err) {
    int64_t row = 0;
    *out = (ms_slices){0};
    int rc = check_views(views, n_views, err);
    if (rc < 0) return rc;
    ms_slices s = {.slices = ms_alloc(n_views, sizeof *s.slices, "search", err),
                   .first_row = first,
                   .n_rows = n,
                   .dim = n_views ? views[0].dim : 0,
                   .has_int8 = n_views > 0,
                   .has_bf16 = n_views > 0};
    if (!s.slices) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n_views; row += views[i++].n_rows) {
        const ms_rows *view = &views[i];
        int64_t start = first > row ? first - row : 0, end = view->n_rows;
        if (first + n < row + end) end = first + n - row;
        if (start < end)
            s.slices[s.n++] = (ms_slice){.view = view,
                                         .start = start,
                                         .n_rows = end - start,
                                         .first_row = row + start,
                                         .index = i};
        if (view->n_rows == 0) continue; /* it may lack codes */
        s.has_int8 = s.has_int8 && view->codes && view->codes->int8;
        s.has_bf16 = s.has_bf16 && view->codes && view->codes->bf16;
    }
    *out = s;
    return MSIM_OK;
}

void ms_slices_close(ms_slices *s) {
    ms_free(s->slices);
    *s = (ms_slices){0};
}

const ms_slice *ms_slices_find(const ms_slices *s, int64_t row) {
    size_t low = 0, high = s->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->slices[middle].first_row <= row)
            low = middle;
        else
            high = middle;
    }
    return &s->slices[low];
}

const unsigned char *ms_slices_row(const ms_slices *s, int64_t row, const ms_rows **view) {
    const ms_slice *slice = ms_slices_find(s, row);
    *view = slice->view;
    return ms_rows_at(slice->view, slice->start + (row - slice->first_row));
}

/* ---- Rows that codes list ---- */

ms_row_list ms_slice_zeros(const ms_slice *s) {
    const ms_codes *c = s->view->codes;
    return ms_row_list_between((ms_row_list){c->zeros, c->n_zeros}, s->start, s->start + s->n_rows);
}

ms_row_list ms_slice_nonfinite(const ms_slice *s) {
    const ms_codes *c = s->view->codes;
    return ms_row_list_between((ms_row_list){c->nonfinite, c->n_nonfinite}, s->start,
                               s->start + s->n_rows);
}

bool ms_slices_is_listed(const ms_slices *s, int64_t row) {
    const ms_slice *slice = ms_slices_find(s, row);
    const ms_codes *c = slice->view->codes;
    int64_t at = slice->start + (row - slice->first_row);
    return ms_row_list_has((ms_row_list){c->zeros, c->n_zeros}, at) ||
           ms_row_list_has((ms_row_list){c->nonfinite, c->n_nonfinite}, at);
}

int64_t ms_slices_count_nonfinite(const ms_slices *s) {
    int64_t n = 0;
    for (size_t i = 0; i < s->n; i++) n += (int64_t)ms_slice_nonfinite(&s->slices[i]).n;
    return n;
}

int64_t ms_listed_next(ms_listed_walk *walk) {
    for (; walk->slice < walk->slices->n; walk->slice++, walk->at = 0) {
        const ms_slice *slice = &walk->slices->slices[walk->slice];
        ms_row_list list = walk->list(slice);
        while (walk->at < list.n) {
            int64_t row = slice->first_row + (list.rows[walk->at++] - slice->start);
            if (!ms_row_list_has(walk->excluded, row)) return row;
        }
    }
    return -1;
}
