/* A names file, one name a line, given for a corpus of three rows that have none. */
#include "target.h"

static char rows[PATH_MAX];

static void set_up(void) {
    const msim_corpus_layout layout = {
        .size = sizeof layout, .rows = 3, .dim = 2, .format = MSIM_FORMAT_FBIN};
    msim_corpus_writer *writer;
    const float row[2] = {1, 2};
    MUST(msim_corpus_writer_open(fuzz_path(rows, "r.fbin"), &layout, &writer, NULL) >= 0);
    for (int i = 0; i < 3; i++) MUST(msim_corpus_writer_add(writer, "x", 1, row, NULL) >= 0);
    MUST(msim_corpus_writer_finish(writer, NULL) >= 0);
    msim_corpus_writer_close(writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX];
    msim_corpus *corpus;
    msim_error err = {.code = 0};
    if (!*rows) set_up();
    int rc = msim_corpus_open(rows, as_file(path, "a.names", data, n_bytes), &corpus, &err);
    check_status(rc, &err);
    if (rc < 0) return 0;
    for (int64_t i = 0; i < 3; i++) {
        int64_t n = msim_corpus_name(corpus, i, NULL, 0);
        MUST(n >= 0 && (size_t)n <= n_bytes);
        char *name = block((size_t)n + 1, 1);
        MUST(msim_corpus_name(corpus, i, name, (size_t)n + 1) == n && name[n] == 0);
        MUST(memchr(name, '\n', (size_t)n) == NULL);
        free(name);
    }
    msim_corpus_close(corpus);
    return 0;
}
