/* A file of codes (.msim) for a fixed corpus of 64 rows of width 4. Bit 0 of the first byte: the
 * head is made to fit the corpus, its hash too, so that what lies behind is reached. Bit 1: every
 * tile is compared with the rows. Whatever is attached then gives the same results as no codes do;
 * without the full comparison only tiles that are sampled are right, which here are all of them. */
#include "target.h"
#include <openssl/sha.h>

enum { ROWS = 64, DIM = 4, K = 8, HEAD = 128, DIGEST_AT = 96, CENTRE_BYTES = 4 * DIM };

static char rows_path[PATH_MAX];
static uint64_t rows_bytes;
static int64_t rows_time;
static msim_context *context;
static msim_corpus *nothing; /* what the context holds between two inputs */
static const float query[DIM] = {-2, -1, 0, 1};

static void set_up(void) {
    static float zero;
    const msim_corpus_layout layout = {
        .size = sizeof layout, .rows = ROWS, .dim = DIM, .name_chars = 4};
    msim_corpus_writer *writer;
    msim_options options = one_thread();
    struct stat st;
    uint32_t state = 7;
    options.max_queries = 1;
    options.max_k = K;
    MUST(msim_corpus_writer_open(fuzz_path(rows_path, "r.npy"), &layout, &writer, NULL) >= 0);
    for (int r = 0; r < ROWS; r++) {
        float row[DIM];
        for (int i = 0; i < DIM; i++) {
            state = state * 1664525u + 1013904223u;
            row[i] = r == 5 ? 0 : r == 9 && i == 3 ? NAN : (float)(int32_t)state / 2147483648.0f;
        }
        MUST(msim_corpus_writer_add(writer, "x", 1, row, NULL) >= 0);
    }
    MUST(msim_corpus_writer_finish(writer, NULL) >= 0);
    msim_corpus_writer_close(writer);
    MUST(stat(rows_path, &st) == 0);
    rows_bytes = (uint64_t)st.st_size;
    rows_time = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    MUST(msim_context_open(NULL, &options, &context, NULL) >= 0);
    MUST(msim_corpus_open_rows(&zero, 1, 1, NULL, NULL, &nothing, NULL) >= 0);
}

/* Size and time of the corpus into the head, and its hash: docs/FORMATS.md has the layout. */
static void repair(uint8_t *file, size_t n_bytes) {
    uint64_t n_zeros, n_nonfinite;
    if (n_bytes < HEAD + CENTRE_BYTES) return;
    memcpy(file + 32, &rows_bytes, 8);
    memcpy(file + 40, &rows_time, 8);
    memcpy(&n_zeros, file + 48, 8);
    memcpy(&n_nonfinite, file + 56, 8);
    if (n_zeros > ROWS || n_nonfinite > ROWS) return;
    size_t lists = (size_t)(n_zeros + n_nonfinite) * 8;
    if (lists > n_bytes - HEAD - CENTRE_BYTES) return;
    uint8_t hashed[HEAD + CENTRE_BYTES + 2 * ROWS * 8];
    memset(file + DIGEST_AT, 0, HEAD - DIGEST_AT);
    memcpy(hashed, file, HEAD + CENTRE_BYTES);
    memcpy(hashed + HEAD + CENTRE_BYTES, file + n_bytes - lists, lists);
    SHA256(hashed, HEAD + CENTRE_BYTES + lists, file + DIGEST_AT);
}

static int64_t search(int scan, int64_t *rows, double *scores) {
    msim_search_options options = msim_search_options_default();
    msim_error err = {.code = 0};
    options.scan = scan;
    int64_t n = msim_context_search_with(context, &options, query, 1, K, rows, scores, &err);
    check_status(n, &err);
    return n;
}

static void search_all(msim_corpus *corpus) {
    msim_error err = {.code = 0};
    int64_t rows[K], expected_rows[K];
    double scores[K], expected[K];
    MUST(msim_context_load_corpus(context, corpus, &err) >= 0);
    MUST(search(MSIM_SCAN_F64, expected_rows, expected) == K);
    for (int scan = MSIM_SCAN_BF16; scan <= MSIM_SCAN_INT8; scan++) {
        if (!msim_corpus_has_codes(corpus, 0, scan)) continue;
        MUST(search(scan, rows, scores) == K);
        MUST(memcmp(rows, expected_rows, sizeof rows) == 0);
        MUST(memcmp(scores, expected, sizeof scores) == 0);
    }
    MUST(msim_context_load_corpus(context, nothing, &err) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX];
    msim_corpus *corpus;
    msim_error err = {.code = 0};
    if (n_bytes == 0) return 0;
    if (!context) set_up();
    uint8_t *file = block(n_bytes, 1);
    memcpy(file, data + 1, n_bytes - 1);
    if (data[0] & 1) repair(file, n_bytes - 1);
    as_file(path, "c.msim", file, n_bytes - 1);
    free(file);
    MUST(msim_corpus_open(rows_path, NULL, &corpus, &err) >= 0);
    int rc = msim_corpus_attach_codes(corpus, 0, path, (data[0] & 2) != 0, &err);
    check_status(rc, &err);
    if (rc >= 0) search_all(corpus);
    msim_corpus_close(corpus);
    return 0;
}
