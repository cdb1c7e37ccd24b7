/* A search of a corpus that others made, in every scan: the same results to the last bit, in rank
 * order, and the scores of an f32 corpus are those of a plain dot product in double. */
#include "target.h"

enum { K = 8, DIM_MOST = 256, ROWS_MOST = 4096 };

typedef struct {
    int64_t n, rows[K];
    double scores[K];
} answer;

static msim_context *context;
static msim_corpus *nothing; /* what the context holds between two inputs */

static void set_up(void) {
    static float zero;
    msim_options options = one_thread();
    options.max_queries = 1;
    options.max_k = K;
    MUST(msim_context_open(NULL, &options, &context, NULL) >= 0);
    MUST(msim_corpus_open_rows(&zero, 1, 1, NULL, NULL, &nothing, NULL) >= 0);
}

/* The score of docs/SEARCH.md up to rounding, and how far off it may be. */
static bool is_score(const float *row, const float *query, int64_t dim, double got) {
    double dot = 0, rr = 0, qq = 0, magnitude = 0;
    for (int64_t j = 0; j < dim; j++) {
        dot += (double)row[j] * query[j];
        magnitude += fabs((double)row[j] * query[j]);
        rr += (double)row[j] * row[j];
        qq += (double)query[j] * query[j];
    }
    if (!isfinite(rr)) return got == -INFINITY;
    if (rr == 0 || qq == 0) return got == 0;
    double length = sqrt(rr) * sqrt(qq);
    return fabs(got - dot / length) <= 1e-12 + 1e-12 * magnitude / length;
}

static answer search(const float *query, int scan) {
    msim_search_options options = msim_search_options_default();
    msim_error err = {.code = 0};
    answer a = {.n = 0};
    options.scan = scan;
    a.n = msim_context_search_with(context, &options, query, 1, K, a.rows, a.scores, &err);
    check_status(a.n, &err);
    return a;
}

static void check_answer(const msim_corpus *corpus, const msim_corpus_info *info,
                         const float *query) {
    answer first = search(query, MSIM_SCAN_F64);
    if (first.n < 0) return;
    MUST(first.n == (info->rows < K ? info->rows : K));
    for (int64_t i = 0; i < first.n; i++) {
        float row[DIM_MOST];
        MUST(first.rows[i] >= 0 && first.rows[i] < info->rows);
        MUST(i == 0 || first.scores[i - 1] > first.scores[i] ||
             (first.scores[i - 1] == first.scores[i] && first.rows[i - 1] < first.rows[i]));
        MUST(msim_corpus_vector(corpus, first.rows[i], row, NULL) >= 0);
        MUST(info->dtype == MSIM_DTYPE_F64 || info->parts != 1 ||
             is_score(row, query, info->dim, first.scores[i]));
    }
    for (int scan = MSIM_SCAN_AUTO; scan <= MSIM_SCAN_INT8; scan++) {
        if ((scan == MSIM_SCAN_BF16 || scan == MSIM_SCAN_INT8) &&
            !msim_corpus_has_codes(corpus, 0, scan))
            continue;
        answer a = search(query, scan);
        MUST(memcmp(&a, &first, sizeof a) == 0);
    }
}

static void search_corpus(msim_corpus *corpus, const msim_corpus_info *info) {
    msim_error err = {.code = 0};
    char codes[PATH_MAX];
    float query[DIM_MOST];
    bool is_finite = info->rows > 0 && msim_corpus_vector(corpus, 0, query, NULL) >= 0;
    for (int64_t j = 0; is_finite && j < info->dim; j++) is_finite = isfinite(query[j]);
    for (int64_t j = 0; !is_finite && j < info->dim; j++) query[j] = (float)(j % 7) - 3;
    fuzz_path(codes, "c.msim");
    for (int scan = MSIM_SCAN_BF16; scan <= MSIM_SCAN_INT8; scan++) {
        int rc = msim_corpus_write_codes(corpus, 0, codes, scan, 1, NULL, NULL, &err);
        check_status(rc, &err);
        if (rc >= 0) rc = msim_corpus_attach_codes(corpus, 0, codes, 1, &err);
        MUST(rc >= 0 || rc == -MSIM_E_UNSUPPORTED || rc == -MSIM_E_ARG || info->rows == 0);
    }
    int rc = msim_context_load_corpus(context, corpus, &err);
    check_status(rc, &err);
    if (rc >= 0) check_answer(corpus, info, query);
    MUST(msim_context_load_corpus(context, nothing, &err) >= 0);
    unlink(codes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX];
    msim_corpus *corpus;
    msim_corpus_info info = {.size = sizeof info};
    msim_error err = {.code = 0};
    if (!context) set_up();
    if (msim_corpus_open(as_corpus(path, data, n_bytes), NULL, &corpus, &err) < 0) return 0;
    MUST(msim_corpus_get_info(corpus, &info) == 0);
    if (info.dim >= 1 && info.dim <= DIM_MOST && info.rows <= ROWS_MOST)
        search_corpus(corpus, &info);
    msim_corpus_close(corpus);
    return 0;
}
