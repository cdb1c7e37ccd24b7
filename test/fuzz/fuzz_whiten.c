/* The two places where a whitening is read. The first byte says which: bit 1 clear: a file of a fit
 * (.whiten); with bit 0 its hash is made right, so that what lies behind is reached. Bit 1 set: the
 * description of a corpus of 64 whitened rows of width 4, with spans and sources or without. What
 * opens maps any row to one of length 1 or 0, and a fit that is saved again has the same bytes. */
#include "target.h"
#include <openssl/sha.h>

enum { ROWS = 64, DIM = 4, HEAD = 272, DIGEST_AT = 240 };

static void apply(const msim_whitening *w) {
    msim_error err = {.code = 0};
    msim_whitening_info info = {.size = sizeof info};
    MUST(msim_whitening_get_info(w, &info) == 0);
    MUST(info.dim >= 1);
    float *rows = block(2 * (size_t)info.dim, sizeof *rows);
    for (int64_t i = 0; i < info.dim; i++) rows[i] = (float)(i % 7) - 2.5f;
    MUST(msim_whitening_apply(w, rows, 2, rows, 1, &err) == 0);
    double square = 0;
    for (int64_t i = 0; i < info.dim; i++) square += (double)rows[i] * rows[i];
    MUST(square < 1.001);
    for (int64_t i = 0; i < info.dim; i++) MUST(rows[info.dim + i] == 0.0f);
    double p = msim_whitening_p(w, 0.3), less = msim_whitening_p(w, 0.2);
    MUST(info.pairs ? p >= 0.0 && p <= less && less <= 1.0 : p == -1.0);
    free(rows);
}

static void try_fit(const uint8_t *data, size_t n_bytes, bool is_repaired) {
    char path[PATH_MAX], again[PATH_MAX];
    msim_error err = {.code = 0};
    msim_whitening *w;
    uint8_t *file = block(n_bytes, 1);
    if (n_bytes) memcpy(file, data, n_bytes);
    if (is_repaired && n_bytes >= HEAD) {
        memset(file + DIGEST_AT, 0, HEAD - DIGEST_AT);
        uint8_t digest[HEAD - DIGEST_AT];
        SHA256(file, n_bytes, digest);
        memcpy(file + DIGEST_AT, digest, sizeof digest);
    }
    int rc = msim_whitening_open(as_file(path, "f.whiten", file, n_bytes), &w, &err);
    check_status(rc, &err);
    if (rc >= 0) {
        apply(w);
        MUST(msim_whitening_save(w, fuzz_path(again, "g.whiten"), &err) == 0);
        uint8_t *written = block(n_bytes + 1, 1);
        int fd = open(again, O_RDONLY | O_CLOEXEC);
        MUST(fd >= 0 && read(fd, written, n_bytes + 1) == (ssize_t)n_bytes);
        MUST(close(fd) == 0 && memcmp(written, file, n_bytes) == 0);
        free(written);
        msim_whitening_close(w);
    }
    free(file);
}

static void try_description(const uint8_t *data, size_t n_bytes) {
    static bool is_made;
    char path[PATH_MAX], beside[PATH_MAX];
    msim_error err = {.code = 0};
    msim_corpus *corpus;
    const msim_whitening *w;
    fuzz_path(path, "w.npy");
    if (!is_made) {
        const msim_corpus_layout layout = {
            .size = sizeof layout, .rows = ROWS, .dim = DIM, .name_chars = 4};
        const float row[DIM] = {0.5f, 0.5f, -0.5f, 0.5f};
        msim_corpus_writer *writer;
        MUST(msim_corpus_writer_open(path, &layout, &writer, NULL) >= 0);
        for (int r = 0; r < ROWS; r++) MUST(msim_corpus_writer_add(writer, "x", 1, row, NULL) >= 0);
        MUST(msim_corpus_writer_finish(writer, NULL) >= 0);
        msim_corpus_writer_close(writer);
        is_made = true;
    }
    as_file(beside, "w.npy.json", data, n_bytes);
    MUST(msim_corpus_open(path, NULL, &corpus, &err) >= 0);
    int rc = msim_corpus_whitening(corpus, &w, &err);
    check_status(rc, &err);
    if (rc >= 0 && w) apply(w);
    msim_corpus_close(corpus);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    if (n_bytes == 0) return 0;
    if (data[0] & 2)
        try_description(data + 1, n_bytes - 1);
    else
        try_fit(data + 1, n_bytes - 1, (data[0] & 1) != 0);
    return 0;
}
