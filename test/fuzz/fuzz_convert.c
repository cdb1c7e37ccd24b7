/* A corpus that others made, written in each format and read again: the same names and vectors.
 * What cannot be written so is refused: a newline in a name, a number that the type does not
 * hold. */
#include "target.h"

enum { ROWS_MOST = 256, DIM_MOST = 1024, NAME_MOST = 4096 };

static int copy(const msim_corpus *corpus, const msim_corpus_layout *layout, const char *path) {
    msim_corpus_writer *writer;
    msim_error err = {.code = 0};
    char name[NAME_MOST + 1];
    float *row = block((size_t)layout->dim, sizeof *row);
    int rc = msim_corpus_writer_open(path, layout, &writer, &err);
    check_status(rc, &err);
    if (rc < 0) {
        free(row);
        return rc;
    }
    for (int64_t i = 0; i < layout->rows && rc >= 0; i++) {
        int64_t n = msim_corpus_name(corpus, i, name, sizeof name);
        MUST(n >= 0 && n <= NAME_MOST && msim_corpus_vector(corpus, i, row, &err) >= 0);
        rc = msim_corpus_writer_add(writer, name, (size_t)n, row, &err);
        check_status(rc, &err);
    }
    if (rc >= 0) rc = msim_corpus_writer_finish(writer, &err);
    check_status(rc, &err);
    msim_corpus_writer_close(writer);
    free(row);
    return rc;
}

static void check_same(const msim_corpus *corpus, const msim_corpus_layout *layout,
                       const char *path) {
    msim_corpus *again;
    msim_corpus_info info = {.size = sizeof info};
    msim_error err = {.code = 0};
    int rc = msim_corpus_open(path, NULL, &again, &err);
    check_status(rc, &err);
    MUST(rc >= 0 && msim_corpus_get_info(again, &info) == 0);
    MUST(info.rows == layout->rows && (info.dim == layout->dim || info.rows == 0)); /* .fvecs */
    float *a = block((size_t)layout->dim, sizeof *a), *b = block((size_t)layout->dim, sizeof *b);
    for (int64_t i = 0; i < layout->rows; i++) {
        char name[NAME_MOST + 1], same[NAME_MOST + 1];
        int64_t n = msim_corpus_name(corpus, i, name, sizeof name);
        MUST(msim_corpus_name(again, i, same, sizeof same) == n &&
             memcmp(name, same, (size_t)n) == 0);
        MUST(msim_corpus_vector(corpus, i, a, &err) >= 0 &&
             msim_corpus_vector(again, i, b, &err) >= 0);
        for (int64_t j = 0; j < layout->dim && layout->dtype == MSIM_DTYPE_F32; j++)
            MUST(a[j] == b[j] || (isnan(a[j]) && isnan(b[j])));
    }
    free(b);
    free(a);
    msim_corpus_close(again);
}

static void convert(const msim_corpus *corpus, const msim_corpus_info *info) {
    static const char *const names[] = {"o.npy", "o.npy", "o.npy", "o.fvecs", "o.fbin"};
    char path[PATH_MAX], beside[PATH_MAX];
    msim_corpus_layout layout = {.size = sizeof layout, .rows = info->rows, .dim = info->dim};
    for (int64_t i = 0; i < info->rows; i++) {
        char name[NAME_MOST + 1];
        int64_t n = msim_corpus_name(corpus, i, name, sizeof name);
        if (n > NAME_MOST) return;
        int64_t chars = msim_name_chars(name, (size_t)n);
        if (chars > layout.name_chars) layout.name_chars = chars;
    }
    for (layout.format = MSIM_FORMAT_STRUCTURED; layout.format <= MSIM_FORMAT_FBIN; layout.format++)
        for (layout.dtype = MSIM_DTYPE_F32; layout.dtype <= MSIM_DTYPE_F64; layout.dtype++) {
            if (!msim_format_has_dtype(layout.format, layout.dtype)) continue;
            fuzz_path(path, names[layout.format]);
            if (copy(corpus, &layout, path) >= 0) check_same(corpus, &layout, path);
            unlink(path);
            if (strlen(path) + sizeof ".names" <= sizeof beside) {
                strcat(strcpy(beside, path), ".names");
                unlink(beside);
            }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX];
    msim_corpus *corpus;
    msim_corpus_info info = {.size = sizeof info};
    msim_error err = {.code = 0};
    if (msim_corpus_open(as_corpus(path, data, n_bytes), NULL, &corpus, &err) < 0) return 0;
    MUST(msim_corpus_get_info(corpus, &info) == 0);
    if (info.rows <= ROWS_MOST && info.dim <= DIM_MOST) convert(corpus, &info);
    msim_corpus_close(corpus);
    return 0;
}
