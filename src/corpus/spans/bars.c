/* The bars of rows, read from FILE.json beside each file of a corpus: the text "bars" at its very
 * end, which not every description has. See corpus/spans/spans.h; docs/FORMATS.md,
 * CORPUS.npy.json. */
#define _GNU_SOURCE
#include "base/bars.h"
#include "base/mem.h"
#include "base/text/base64.h"
#include "corpus/spans/spans.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

struct ms_span_bars {
    pthread_mutex_t lock;
    _Atomic bool is_read;
    bool has_any;
    ms_stored_bars **parts; /* owned: [n_parts], each [rows of the part]; NULL: not known */
    int64_t n_parts;
};

int ms_spans_open_bars(ms_span_bars **out, msim_error *err) {
    ms_span_bars *b = ms_alloc(1, sizeof *b, "bars of rows", err);
    *out = b;
    if (!b) return -MSIM_E_MEMORY;
    pthread_mutex_init(&b->lock, NULL);
    return MSIM_OK;
}

static void free_parts(ms_stored_bars **parts, int64_t n) {
    for (int64_t i = 0; parts && i < n; i++) ms_free(parts[i]);
    ms_free(parts);
}

void ms_spans_close_bars(ms_span_bars *b) {
    if (!b) return;
    free_parts(b->parts, b->n_parts);
    pthread_mutex_destroy(&b->lock);
    ms_free(b);
}

/* ---- Reading ---- */

/* Where the text of the bars begins; 0: there is none, as where there are no spans. */
static int64_t find_text(const ms_base64_head *head, int64_t n_rows, int64_t dim) {
    size_t comma, spans;
    if (!ms_base64_find(head->text, head->n, MS_TEXT_SPANS, &comma, &spans)) return 0;
    return ms_base64_find_text(head, MS_TEXT_BARS, n_rows, dim, &comma);
}

static int read_text(ms_stored_bars **out, int fd, int64_t at, int64_t n_rows, const char *path,
                     msim_error *err) {
    ms_stored_bars *bars = ms_alloc((size_t)n_rows, sizeof *bars, "bars of rows", err);
    if (!bars) return -MSIM_E_MEMORY;
    int rc = ms_base64_read(fd, at, bars, (size_t)n_rows * sizeof *bars, err);
    if (rc == 0)
        rc = ms_fail(err, MSIM_E_FORMAT,
                     "damaged description of a corpus: %s: its bars are not those of %lld rows",
                     path, (long long)n_rows);
    for (int64_t row = 0; row < n_rows && rc > 0; row++)
        if (!ms_bars_are_valid(bars + row))
            rc = ms_fail(err, MSIM_E_FORMAT,
                         "damaged description of a corpus: %s: the bars of row %lld cannot be some",
                         path, (long long)row);
    if (rc > 0)
        *out = bars;
    else
        ms_free(bars);
    return rc;
}

static int read_part(ms_stored_bars **out, const msim_corpus *corpus, int64_t part, int64_t dim,
                     msim_error *err) {
    int64_t n_rows = msim_corpus_part_rows(corpus, part);
    char *path = ms_file_beside(msim_corpus_part_path(corpus, part), ".json", err);
    if (!path) return -MSIM_E_MEMORY;
    ms_base64_head head;
    int rc = n_rows ? ms_base64_open(path, &head, err) : 0;
    if (rc > 0) {
        int64_t at = find_text(&head, n_rows, dim);
        rc = at > 0    ? read_text(out, head.fd, at, n_rows, path, err)
             : at == 0 ? 0
                       : ms_fail_errno(err, errno, "cannot read: %s", path);
        ms_base64_close(&head);
    }
    ms_free(path);
    return rc;
}

/* Under the lock. */
static int read_all(ms_span_bars *b, const msim_corpus *corpus, msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    int64_t n = msim_corpus_parts(corpus);
    ms_stored_bars **parts = ms_alloc((size_t)n, sizeof *parts, "bars of rows", err);
    bool has_any = false;
    if (!parts) return -MSIM_E_MEMORY;
    int rc = msim_corpus_get_info(corpus, &info);
    for (int64_t i = 0; i < n && rc >= 0; i++) {
        rc = read_part(parts + i, corpus, i, info.dim, err);
        has_any |= parts[i] != NULL;
    }
    if (rc < 0) {
        free_parts(parts, n);
        return rc;
    }
    b->parts = parts;
    b->n_parts = n;
    b->has_any = has_any;
    atomic_store(&b->is_read, true);
    return MSIM_OK;
}

/* *out: what is known; NULL: nothing is. */
static int get(const msim_corpus *corpus, const ms_span_bars **out, msim_error *err) {
    ms_span_bars *b = ms_corpus_bars(corpus);
    *out = NULL;
    int rc = msim_corpus_has_spans(corpus, err); /* which are checked first */
    if (rc <= 0 || !b) return rc;
    if (!atomic_load(&b->is_read)) {
        pthread_mutex_lock(&b->lock);
        if (!atomic_load(&b->is_read)) rc = read_all(b, corpus, err);
        pthread_mutex_unlock(&b->lock);
    }
    if (rc >= 0 && b->has_any) *out = b;
    return rc;
}

/* ---- Looking up ---- */

int msim_corpus_bars(const msim_corpus *corpus, int64_t row, msim_bar_span *out, msim_error *err) {
    const ms_span_bars *b;
    int64_t n = msim_corpus_rows(corpus);
    if (row < 0 || row >= n)
        return ms_fail(err, MSIM_E_ARG, "corpus row: expected 0..%lld, got %lld", (long long)n - 1,
                       (long long)row);
    int rc = get(corpus, &b, err);
    if (rc < 0) return rc;
    int64_t part = b ? ms_corpus_part_of(corpus, row) : 0;
    const ms_stored_bars *bars = b ? b->parts[part] : NULL;
    *out = bars ? ms_bars_unpack(bars + row - msim_corpus_part_first(corpus, part))
                : (msim_bar_span){0};
    return MSIM_OK;
}

int msim_corpus_has_bars(const msim_corpus *corpus, msim_error *err) {
    const ms_span_bars *b;
    int rc = get(corpus, &b, err);
    return rc < 0 ? rc : b != NULL;
}
