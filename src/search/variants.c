/* Ranks the matches of a query: see search/variants.h. */
#include "search/variants.h"
#include "base/rows.h"
#include <stdlib.h>

msim_match ms_variants_match(int64_t row, double score, int transpose) {
    return (msim_match){.row = row,
                        .score = score,
                        .transpose = transpose,
                        .from_seconds = -1.0,
                        .to_seconds = -1.0,
                        .from_token = -1,
                        .to_token = -1};
}

static int by_row(const void *a, const void *b) {
    const msim_match *x = a, *y = b;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->transpose - y->transpose;
}

static int by_rank(const void *a, const void *b) {
    const msim_match *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return x->transpose - y->transpose;
}

int64_t ms_variants_rank(msim_match *matches, int64_t n, bool keeps_all) {
    int64_t n_kept = keeps_all ? n : 0;
    if (n == 0) return 0;
    if (!keeps_all) {
        qsort(matches, (size_t)n, sizeof *matches, by_row);
        for (int64_t i = 0; i < n; i++)
            if (i == 0 || matches[i].row != matches[n_kept - 1].row) matches[n_kept++] = matches[i];
    }
    qsort(matches, (size_t)n_kept, sizeof *matches, by_rank);
    return n_kept;
}

static int piece_by_rank(const void *a, const void *b) {
    const ms_piece_match *x = a, *y = b;
    int order = by_rank(&x->match, &y->match);
    return order ? order : (x->window > y->window) - (x->window < y->window);
}

static int by_piece(const void *a, const void *b) {
    const ms_piece_match *x = a, *y = b;
    if (x->piece != y->piece) return x->piece < y->piece ? -1 : 1;
    return piece_by_rank(a, b);
}

static int by_piece_and_key(const void *a, const void *b) {
    const ms_piece_match *x = a, *y = b;
    if (x->piece != y->piece) return x->piece < y->piece ? -1 : 1;
    if (x->match.transpose != y->match.transpose) return x->match.transpose - y->match.transpose;
    return piece_by_rank(a, b);
}

int64_t ms_variants_rank_pieces(ms_piece_match *m, int64_t n, bool keeps_keys) {
    int64_t n_kept = 0;
    if (n == 0) return 0;
    qsort(m, (size_t)n, sizeof *m, keeps_keys ? by_piece_and_key : by_piece);
    for (int64_t i = 0; i < n; i++) {
        const ms_piece_match *before = i ? m + n_kept - 1 : NULL;
        if (before && m[i].piece == before->piece &&
            !(keeps_keys && m[i].match.transpose != before->match.transpose))
            continue;
        m[n_kept++] = m[i];
    }
    qsort(m, (size_t)n_kept, sizeof *m, piece_by_rank);
    return n_kept;
}

bool ms_variants_is_before(const msim_match *a, const msim_match *b) { return by_rank(a, b) <= 0; }

int64_t ms_variants_fetched(int64_t n_rows, int64_t n_pieces, int64_t k, int64_t extra) {
    int64_t n = n_rows - k < extra ? n_rows : k + extra, most = MSIM_GPU_MAX_K;
    if (n_pieces == n_rows || n >= most) return n;
    /* twice the rows that k pieces have on average, but no more than a GPU gives */
    int64_t wide = 2 * k * (n_rows / n_pieces + 1) + extra;
    if (wide > most || n_rows / n_pieces > most) wide = most;
    if (wide < n) wide = n;
    return wide < n_rows ? wide : n_rows;
}

int64_t ms_variants_drop(const int64_t *own, size_t n_own, int64_t *rows, double *scores,
                         int64_t n) {
    int64_t n_kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (!ms_variants_has_row(own, n_own, rows[i])) {
            rows[n_kept] = rows[i];
            scores[n_kept++] = scores[i];
        }
    return n_kept;
}

static int by_number(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

void ms_variants_sort_rows(int64_t *rows, size_t *n) {
    size_t n_kept = 0;
    if (*n) qsort(rows, *n, sizeof *rows, by_number);
    for (size_t i = 0; i < *n; i++)
        if (i == 0 || rows[i] != rows[n_kept - 1]) rows[n_kept++] = rows[i];
    *n = n_kept;
}

bool ms_variants_has_row(const int64_t *rows, size_t n, int64_t row) {
    size_t at = n ? ms_rows_lower_bound(rows, n, row) : 0;
    return at < n && rows[at] == row;
}
