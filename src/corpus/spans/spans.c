/* Spans of rows, read from FILE.json beside each file of a corpus. See corpus/spans/spans.h;
 * docs/FORMATS.md, CORPUS.npy.json. A file without them has rows that are whole pieces, and costs
 * one read of its description's beginning. */
#define _GNU_SOURCE
#include "corpus/spans/spans.h"
#include "base/text/base64.h"
#include "base/mem.h"
#include "base/span.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

/* One file. In memory the last field of a span, a zero on disk, is the number of its piece within
 * the file. */
typedef struct {
    ms_stored_span *rows; /* owned; NULL: every row is a whole piece */
    int64_t first_piece, n_pieces;
} part_spans;

struct ms_spans {
    pthread_mutex_t lock;
    _Atomic bool is_read;
    bool has_any;
    part_spans *parts; /* owned: [n_parts] */
    int64_t n_parts, n_pieces;
};

int ms_spans_open(ms_spans **out, msim_error *err) {
    ms_spans *s = ms_alloc(1, sizeof *s, "spans of rows", err);
    *out = s;
    if (!s) return -MSIM_E_MEMORY;
    pthread_mutex_init(&s->lock, NULL);
    return MSIM_OK;
}

static void free_parts(part_spans *parts, int64_t n) {
    for (int64_t i = 0; parts && i < n; i++) ms_free(parts[i].rows);
    ms_free(parts);
}

void ms_spans_close(ms_spans *s) {
    if (!s) return;
    free_parts(s->parts, s->n_parts);
    pthread_mutex_destroy(&s->lock);
    ms_free(s);
}

/* ---- Reading ---- */

/* Every span may follow the one before it; pieces are numbered. */
static int number_pieces(part_spans *p, int64_t n_rows, const char *path, msim_error *err) {
    for (int64_t row = 0; row < n_rows; row++) {
        ms_stored_span *span = p->rows + row;
        ms_stored_span before = row ? span[-1] : (ms_stored_span){0};
        if (!ms_span_may_follow(span, row ? &before : NULL))
            return ms_fail(err, MSIM_E_FORMAT,
                           "damaged description of a corpus: %s: the span of row %" PRId64
                           " cannot be one",
                           path, row);
        p->n_pieces += span->window == 0;
        span->zero = (uint32_t)(p->n_pieces - 1);
    }
    return MSIM_OK;
}

/* The spans of n_rows rows from a description that is open. 0: it has none. */
static int read_text(part_spans *p, const ms_base64_head *head, int64_t n_rows, const char *path,
                     msim_error *err) {
    size_t comma, text;
    if (!ms_base64_find(head->text, head->n, MS_TEXT_SPANS, &comma, &text)) return 0;
    if (n_rows >= UINT32_MAX)
        return ms_fail(err, MSIM_E_LIMIT, "spans: %s: expected fewer than 2^32 - 1 rows, got %lld",
                       path, (long long)n_rows);
    p->rows = ms_alloc((size_t)n_rows, sizeof *p->rows, "spans of rows", err);
    if (!p->rows) return -MSIM_E_MEMORY;
    int rc =
        ms_base64_read(head->fd, (int64_t)text, p->rows, (size_t)n_rows * sizeof *p->rows, err);
    if (rc < 0) return rc;
    if (rc == 0)
        return ms_fail(err, MSIM_E_FORMAT,
                       "description of another corpus, or a damaged one: %s: its spans are not "
                       "those of %lld rows",
                       path, (long long)n_rows);
    rc = number_pieces(p, n_rows, path, err);
    return rc < 0 ? rc : 1;
}

static int read_part(part_spans *p, const msim_corpus *corpus, int64_t part, msim_error *err) {
    int64_t n_rows = msim_corpus_part_rows(corpus, part);
    char *path = ms_file_beside(msim_corpus_part_path(corpus, part), ".json", err);
    if (!path) return -MSIM_E_MEMORY;
    ms_base64_head head;
    p->n_pieces = 0;
    int rc = n_rows ? ms_base64_open(path, &head, err) : 0;
    if (rc > 0) {
        rc = read_text(p, &head, n_rows, path, err);
        ms_base64_close(&head);
    }
    if (rc == 0) p->n_pieces = n_rows;
    ms_free(path);
    return rc;
}

/* Under the lock. */
static int read_all(ms_spans *s, const msim_corpus *corpus, msim_error *err) {
    int64_t n = msim_corpus_parts(corpus), n_pieces = 0;
    part_spans *parts = ms_alloc((size_t)n, sizeof *parts, "spans of rows", err);
    int rc = parts ? MSIM_OK : -MSIM_E_MEMORY;
    bool has_any = false;
    for (int64_t i = 0; i < n && rc >= 0; i++) {
        parts[i].first_piece = n_pieces;
        rc = read_part(parts + i, corpus, i, err);
        n_pieces += parts[i].n_pieces;
        has_any |= parts[i].rows != NULL;
    }
    if (rc < 0) {
        free_parts(parts, n);
        return rc;
    }
    s->parts = parts;
    s->n_parts = n;
    s->n_pieces = n_pieces;
    s->has_any = has_any;
    atomic_store(&s->is_read, true);
    return MSIM_OK;
}

/* *out: what is known; NULL: every row is a whole piece. */
static int get(const msim_corpus *corpus, const ms_spans **out, msim_error *err) {
    ms_spans *s = ms_corpus_spans(corpus);
    int rc = MSIM_OK;
    *out = NULL;
    if (!s) return MSIM_OK;
    if (!atomic_load(&s->is_read)) {
        pthread_mutex_lock(&s->lock);
        if (!atomic_load(&s->is_read)) rc = read_all(s, corpus, err);
        pthread_mutex_unlock(&s->lock);
    }
    if (rc >= 0 && s->has_any) *out = s;
    return rc;
}

/* ---- Looking up ---- */

static int get_row(const msim_corpus *corpus, int64_t row, const ms_spans **out, msim_error *err) {
    int64_t n = msim_corpus_rows(corpus);
    if (row < 0 || row >= n)
        return ms_fail(err, MSIM_E_ARG, "corpus row: expected 0..%" PRId64 ", got %" PRId64, n - 1,
                       row);
    return get(corpus, out, err);
}

int msim_corpus_span(const msim_corpus *corpus, int64_t row, msim_span *out, msim_error *err) {
    const ms_spans *s;
    int rc = get_row(corpus, row, &s, err);
    if (rc < 0) return rc;
    int64_t part = s ? ms_corpus_part_of(corpus, row) : 0;
    const part_spans *p = s ? s->parts + part : NULL;
    int64_t at = s ? row - msim_corpus_part_first(corpus, part) : row;
    *out = p && p->rows ? ms_span_unpack(p->rows + at, p->first_piece + p->rows[at].zero)
                        : (msim_span){.piece = p ? p->first_piece + at : row,
                                      .from_token = -1,
                                      .to_token = -1,
                                      .from_seconds = -1.0,
                                      .to_seconds = -1.0};
    return MSIM_OK;
}

int msim_corpus_has_spans(const msim_corpus *corpus, msim_error *err) {
    const ms_spans *s;
    int rc = get(corpus, &s, err);
    return rc < 0 ? rc : s != NULL;
}

int64_t msim_corpus_pieces(const msim_corpus *corpus, msim_error *err) {
    const ms_spans *s;
    int rc = get(corpus, &s, err);
    return rc < 0 ? rc : s ? s->n_pieces : msim_corpus_rows(corpus);
}

int64_t msim_corpus_piece_of(const msim_corpus *corpus, int64_t row, msim_error *err) {
    msim_span span;
    int rc = msim_corpus_span(corpus, row, &span, err);
    return rc < 0 ? rc : span.piece;
}

/* The first row of a file's piece: pieces rise with the rows. */
static int64_t first_row(const part_spans *p, int64_t n_rows, int64_t piece) {
    int64_t low = 0, high = n_rows;
    if (!p->rows) return piece;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (p->rows[middle].zero < piece)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t msim_corpus_piece_first(const msim_corpus *corpus, int64_t piece, msim_error *err) {
    const ms_spans *s;
    int rc = get(corpus, &s, err);
    int64_t n = s ? s->n_pieces : msim_corpus_rows(corpus), part = 0;
    if (rc < 0) return rc;
    if (piece < 0 || piece > n)
        return ms_fail(err, MSIM_E_ARG, "corpus piece: expected 0..%" PRId64 ", got %" PRId64, n,
                       piece);
    if (!s || piece == n) return piece == n ? msim_corpus_rows(corpus) : piece;
    while (piece >= s->parts[part].first_piece + s->parts[part].n_pieces) part++;
    const part_spans *p = s->parts + part;
    return msim_corpus_part_first(corpus, part) +
           first_row(p, msim_corpus_part_rows(corpus, part), piece - p->first_piece);
}
