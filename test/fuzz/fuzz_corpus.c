/* A corpus of any format as a file: what it says of itself, names and vectors one by one and by the
 * range, lookups by name, and the order of a merge. */
#include "target.h"

static void check_row(const msim_corpus *corpus, int64_t row, int64_t dim) {
    char name[64];
    msim_error err = {.code = 0};
    int64_t n = msim_corpus_name(corpus, row, name, sizeof name), starts[2];
    MUST(n >= 0 && memchr(name, 0, sizeof name));
    char *whole = block((size_t)n + 1, 1), *again = block((size_t)n + 1, 1);
    MUST(msim_corpus_name(corpus, row, whole, (size_t)n + 1) == n && whole[n] == 0);
    MUST(msim_corpus_names(corpus, row, 1, again, (size_t)n + 1, starts) == n);
    MUST(starts[0] == 0 && starts[1] == n && memcmp(whole, again, (size_t)n) == 0);
    free(again);
    if (memchr(whole, 0, (size_t)n) == NULL) {
        int64_t first;
        MUST(msim_corpus_find(corpus, whole, &first, 1, &err) >= 1 && first <= row);
        char text[100];
        MUST(msim_corpus_suggest(corpus, whole, text, sizeof text, &err) >= 0);
    }
    free(whole);
    float *one = block((size_t)dim, sizeof *one), *same = block((size_t)dim, sizeof *same);
    check_status(msim_corpus_vector(corpus, row, one, &err), &err);
    check_status(msim_corpus_vectors(corpus, row, 1, same, &err), &err);
    MUST(memcmp(one, same, (size_t)dim * sizeof *one) == 0);
    free(same);
    free(one);
}

/* Each row once, in the order of names. */
static void check_merge(const msim_corpus *corpus, int64_t rows) {
    msim_corpus_merge *merge;
    msim_error err = {.code = 0};
    int rc = msim_corpus_merge_open(corpus, NULL, NULL, &merge, &err);
    check_status(rc, &err);
    if (rc < 0) return;
    char *seen = block((size_t)rows, 1), *last = NULL;
    const char *name;
    int64_t row, n_rows = 0;
    size_t n, n_last = 0;
    while ((rc = msim_corpus_merge_next(merge, &row, &name, &n, &err)) == 1) {
        MUST(row >= 0 && row < rows && !seen[row]++ && name[n] == 0);
        int order = last ? memcmp(last, name, n < n_last ? n : n_last) : -1;
        MUST(order < 0 || (order == 0 && n_last <= n));
        free(last);
        last = block(n, 1);
        memcpy(last, name, n_last = n);
        n_rows++;
    }
    check_status(rc, &err);
    MUST(rc < 0 || n_rows == rows);
    free(last);
    free(seen);
    msim_corpus_merge_close(merge);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX];
    msim_corpus *corpus = (msim_corpus *)path;
    msim_corpus_info info = {.size = sizeof info};
    msim_error err = {.code = 0};
    int rc = msim_corpus_open(as_corpus(path, data, n_bytes), NULL, &corpus, &err);
    check_status(rc, &err);
    if (rc < 0) {
        MUST(corpus == NULL);
        return 0;
    }
    MUST(msim_corpus_get_info(corpus, &info) == 0);
    MUST(info.rows >= 0 && info.rows == msim_corpus_rows(corpus) && info.dim >= 0);
    int64_t step = info.rows > 16 ? info.rows / 16 : 1;
    for (int64_t i = 0; i < info.rows; i += step) check_row(corpus, i, info.dim);
    MUST(msim_corpus_name(corpus, info.rows, NULL, 0) < 0);
    MUST(msim_corpus_name(corpus, -1, NULL, 0) < 0);
    if (info.rows < 4096) check_merge(corpus, info.rows);
    msim_corpus_close(corpus);
    return 0;
}
