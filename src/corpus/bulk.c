/* Ranges of rows and names of a corpus. include/midisim.h, Corpus. */
#include "base/mem.h"
#include "corpus/corpus.h"
#include <inttypes.h>

static bool has_range(const msim_corpus *corpus, int64_t first, int64_t n) {
    int64_t rows = msim_corpus_rows(corpus);
    return first >= 0 && n >= 0 && first <= rows && n <= rows - first;
}

int msim_corpus_vectors(const msim_corpus *corpus, int64_t first, int64_t n, float *out,
                        msim_error *err) {
    size_t n_views;
    if (!has_range(corpus, first, n))
        return ms_fail(err, MSIM_E_ARG,
                       "corpus rows: expected a range of %" PRId64 " rows, got %" PRId64
                       " rows from %" PRId64,
                       msim_corpus_rows(corpus), n, first);
    int64_t dim = ms_corpus_views(corpus, &n_views)->dim;
    int rc = MSIM_OK;
    for (int64_t i = 0; i < n && rc >= 0; i++)
        rc = msim_corpus_vector(corpus, first + i, out + i * dim, err);
    return rc;
}

int64_t msim_corpus_names(const msim_corpus *corpus, int64_t first, int64_t n, char *buf,
                          size_t cap, int64_t *starts) {
    size_t at = 0;
    if (!has_range(corpus, first, n)) return -MSIM_E_ARG;
    for (int64_t i = 0; i < n; i++) {
        size_t room = at < cap ? cap - at : 0;
        int64_t bytes = msim_corpus_name(corpus, first + i, room ? buf + at : NULL, room);
        if (bytes < 0) return bytes;
        starts[i] = (int64_t)at;
        at += (size_t)bytes;
    }
    starts[n] = (int64_t)at;
    return (int64_t)at;
}

int64_t ms_corpus_read_name(const msim_corpus *corpus, int64_t row, char **name, size_t *cap,
                            msim_error *err) {
    int64_t n = msim_corpus_name(corpus, row, *name, *cap);
    if (n < 0)
        return ms_fail(err, (int)-n, "corpus row: expected 0..%" PRId64 ", got %" PRId64,
                       msim_corpus_rows(corpus) - 1, row);
    if ((size_t)n < *cap) return n;
    int rc = ms_grow((void **)name, cap, (size_t)n + 1, 1, "a row's name", err);
    return rc < 0 ? rc : msim_corpus_name(corpus, row, *name, *cap);
}
