/* Scores, row values and the selection of the k best on the GPU: scores and squares have the bits
 * of the CPU's reference kernels for every dtype and width; the k best are those of
 * docs/SEARCH.md's order, whatever the ties, doubles and counts. */
#include "scan_rows.h"

static const int64_t dims[] = {1, 3, 16, 17, 64, 100, 512, 768};
enum { N_DIMS = sizeof dims / sizeof *dims, N_DTYPES = 4 };

/* ---- Row values ---- */

static void check_values(const corpus *c, int is_ip) {
    float *values = poisoned((size_t)c->n_rows * sizeof *values), got[163];
    uint32_t count = 5, *counter = on_device(&count, sizeof count), n_bad = 0;
    ms_gpu_rows rows = upload_rows(c, 0);
    assert_int_equal(ms_row_values_cuda(stream, values, counter, &rows, is_ip, NULL), MSIM_OK);
    fetch(got, values, (size_t)c->n_rows * sizeof *got);
    fetch(&count, counter, sizeof count);
    for (int64_t r = 0; r < c->n_rows; r++) {
        double square = c->squares[r];
        int is_plain = square >= 0x1p-60 && square <= 0x1p60;
        float expected = is_plain ? (float)(is_ip ? sqrt(square) : 1.0 / sqrt(square)) : NAN;
        if (square == 0.0 && !is_ip) expected = 0.0f;
        if (!isfinite(square)) expected = -1.0f, n_bad++;
        assert_true(got[r] == expected || (isnan(expected) && isnan(got[r])));
    }
    assert_int_equal(count, 5 + n_bad);
    release_buffers();
}

static void values_of_rows(void **state) {
    (void)state;
    for (int made = 0; made < MADE_COUNT; made++)
        for (int d = 0; d < N_DIMS; d++) {
            corpus c = make_corpus(made, (made + d) % N_DTYPES, dims[d] > 100 ? 37 : 163, dims[d],
                                   (uint64_t)(made * 10 + d));
            check_values(&c, 0);
            check_values(&c, 1);
            release_corpus(&c);
        }
}

/* ---- Scores ---- */

enum { SCORED = 53, SCORE_QUERIES = 9, SCORE_CAP = 57 };

/* Rows named by candidates, or gathered: slot by slot behind an offset of each query. */
static void check_scores(const corpus *c, int is_ip, int is_gathered, uint64_t seed) {
    static ms_gpu_candidate candidates[SCORE_QUERIES][SCORE_CAP];
    static double scores[SCORE_QUERIES][SCORE_CAP];
    uint32_t n[SCORE_QUERIES];
    double norms[SCORE_QUERIES];
    int64_t gathered[SCORE_QUERIES], first_row = 1000;
    float *queries = test_alloc((size_t)(SCORE_QUERIES * c->dim), sizeof *queries);
    for (int q = 0; q < SCORE_QUERIES; q++) {
        make_query(queries + q * c->dim, c, q, &seed);
        norms[q] = norm_of(queries + q * c->dim, c->dim);
        /* more than the cap: all of the cap */
        n[q] = q == 7 ? 0 : q == 8 ? SCORE_CAP + 20 : (uint32_t)(q * 7 + 1);
        gathered[q] = q;
        for (int i = 0; i < SCORE_CAP; i++)
            candidates[q][i].row =
                is_gathered ? -1 : first_row + (int64_t)(splitmix(&seed) % (uint64_t)c->n_rows);
    }
    ms_gpu_score s = {
        .rows = upload_rows(c, first_row),
        .gathered = is_gathered ? on_device(gathered, sizeof gathered) : NULL,
        .queries = on_device(queries, (size_t)(SCORE_QUERIES * c->dim) * sizeof *queries),
        .norms = on_device(norms, sizeof norms),
        .n_query = SCORE_QUERIES,
        .is_ip = is_ip,
        .candidates = on_device(candidates, sizeof candidates),
        .n_candidates = on_device(n, sizeof n),
        .candidate_cap = SCORE_CAP,
        .scores = poisoned(sizeof scores)};
    assert_int_equal(ms_score_f64_cuda(stream, &s, NULL), MSIM_OK);
    fetch(scores, s.scores, sizeof scores);
    for (int q = 0; q < SCORE_QUERIES; q++)
        for (int i = 0; i < SCORE_CAP; i++) {
            double expected;
            memset(&expected, POISON, sizeof expected);
            if ((uint32_t)i < n[q])
                expected =
                    exact_score(c, is_gathered ? gathered[q] + i : candidates[q][i].row - first_row,
                                queries + q * c->dim, is_ip);
            assert_memory_equal(&scores[q][i], &expected, sizeof expected);
        }
    release_buffers();
    ms_free(queries);
}

/* One list for all queries, of which some rows are excluded: their scores are -infinity. */
static void check_shared(const corpus *c, int is_gathered, uint64_t seed) {
    enum { N = 30, CAP = 32, N_EXCLUDED = 9 };
    ms_gpu_candidate candidates[N];
    double scores[SCORE_QUERIES][CAP], norms[SCORE_QUERIES];
    int64_t excluded[N_EXCLUDED], gathered[SCORE_QUERIES] = {0}, first_row = 1000;
    float *queries = test_alloc((size_t)(SCORE_QUERIES * c->dim), sizeof *queries);
    for (int q = 0; q < SCORE_QUERIES; q++) {
        make_query(queries + q * c->dim, c, q, &seed);
        norms[q] = norm_of(queries + q * c->dim, c->dim);
    }
    for (int i = 0; i < N; i++) candidates[i].row = first_row + i * 2;
    for (int i = 0; i < N_EXCLUDED; i++) excluded[i] = first_row + i * 5; /* half are candidates */
    ms_gpu_score s = {
        .rows = upload_rows(c, first_row),
        .gathered = is_gathered ? on_device(gathered, sizeof gathered) : NULL,
        .queries = on_device(queries, (size_t)(SCORE_QUERIES * c->dim) * sizeof *queries),
        .norms = on_device(norms, sizeof norms),
        .n_query = SCORE_QUERIES,
        .candidates = on_device(candidates, sizeof candidates),
        .candidate_cap = CAP,
        .n_shared = N,
        .excluded = on_device(excluded, sizeof excluded),
        .n_excluded = N_EXCLUDED,
        .scores = poisoned(sizeof scores)};
    assert_int_equal(ms_score_f64_cuda(stream, &s, NULL), MSIM_OK);
    fetch(scores, s.scores, sizeof scores);
    for (int q = 0; q < SCORE_QUERIES; q++)
        for (int i = 0; i < CAP; i++) {
            double expected;
            memset(&expected, POISON, sizeof expected);
            if (i < N) expected = exact_score(c, is_gathered ? i : i * 2, queries + q * c->dim, 0);
            if (i < N && i * 2 % 5 == 0 && i * 2 < N_EXCLUDED * 5) expected = -INFINITY;
            assert_memory_equal(&scores[q][i], &expected, sizeof expected);
        }
    release_buffers();
    ms_free(queries);
}

static void scores_of_a_shared_list(void **state) {
    (void)state;
    for (int dtype = 0; dtype < N_DTYPES; dtype++) {
        corpus c = make_corpus(dtype % 2 ? RANDOM : ODD, dtype, 70, 33, (uint64_t)dtype);
        check_shared(&c, 0, (uint64_t)dtype);
        check_shared(&c, 1, (uint64_t)dtype);
        release_corpus(&c);
    }
}

static void scores_have_the_cpu_s_bits(void **state) {
    (void)state;
    for (int made = 0; made < MADE_COUNT; made++)
        for (int d = 0; d < N_DIMS; d++)
            for (int turn = 0; turn < (made == RANDOM || made == ODD ? N_DTYPES : 1); turn++) {
                int dtype = (made + d + turn) % N_DTYPES;
                corpus c = make_corpus(made, dtype, SCORED + SCORE_QUERIES + 4, dims[d],
                                       (uint64_t)(made * 100 + d));
                check_scores(&c, (made + turn) / 2 % 2, (d + turn) % 2, (uint64_t)(made + d));
                release_corpus(&c);
            }
}

/* ---- Selection ---- */

static int compare_hits(const void *x, const void *y) {
    const ms_gpu_hit *a = x, *b = y;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->row < b->row ? -1 : a->row > b->row;
}

enum { SELECT_QUERIES = 3, MAX_LIST = MS_GPU_MAX_CANDIDATES + MS_GPU_MAX_K };

/* What a row scores: few values, so that there are many ties; the ends of the range too. */
static double score_of_row(int64_t row, int n_values) {
    uint64_t seed = (uint64_t)row * 7 + 3;
    int v = (int)(splitmix(&seed) % (uint64_t)n_values);
    static const double ends[] = {-INFINITY,          -1.0,  -0x1p-1074, 0.0,     0x1p-1074,
                                  1.0000000000000002, 1e300, -1e300,     INFINITY};
    return v < 9 ? ends[v] : (double)(v - n_values / 2) / n_values;
}

/* n_new of cap candidates (more than cap: cap of them), n_old hits before, from rows below
 * n_rows. */
static void check_select(int64_t k, int64_t cap, int64_t n_new, int64_t n_old, int64_t n_rows,
                         int n_values, int is_shared) {
    ms_gpu_candidate *candidates =
        test_alloc((size_t)(SELECT_QUERIES * cap + 1), sizeof *candidates);
    double *scores = test_alloc((size_t)(SELECT_QUERIES * cap + 1), sizeof *scores),
           kth_score[SELECT_QUERIES];
    ms_gpu_hit *best = test_alloc((size_t)(SELECT_QUERIES * k), sizeof *best),
               *got = test_alloc((size_t)(SELECT_QUERIES * k), sizeof *got);
    ms_gpu_hit *list = test_alloc((size_t)(SELECT_QUERIES * MAX_LIST), sizeof *list);
    uint32_t n[SELECT_QUERIES], n_best[SELECT_QUERIES];
    int64_t n_list[SELECT_QUERIES] = {0};
    uint64_t seed = (uint64_t)(k * 1000 + n_new);
    memset(best, POISON, (size_t)(SELECT_QUERIES * k) * sizeof *best);
    /* NaN where nothing was scored */
    memset(scores, 0xff, (size_t)(SELECT_QUERIES * cap + 1) * sizeof *scores);
    for (int q = 0; q < SELECT_QUERIES; q++) {
        ms_gpu_hit *l = list + q * MAX_LIST;
        n[q] = (uint32_t)n_new;
        n_best[q] = (uint32_t)n_old;
        for (int64_t i = 0; i < n_old; i++) { /* distinct rows, sorted */
            int64_t row = (i * 3 + q) % n_rows + (i * 3 / n_rows) * n_rows;
            best[q * k + i] = (ms_gpu_hit){score_of_row(row, n_values), row};
        }
        qsort(best + q * k, (size_t)n_old, sizeof *best, compare_hits);
        memcpy(l, best + q * k, (size_t)n_old * sizeof *best);
        n_list[q] = n_old;
        for (int64_t i = 0; i < n_new && i < cap; i++) {
            int64_t row = is_shared && q ? candidates[i].row
                                         : (int64_t)(splitmix(&seed) % (uint64_t)n_rows);
            double score = score_of_row(row, n_values);
            candidates[q * cap + i].row = row;
            scores[q * cap + i] = score == -INFINITY && i % 2 ? NAN : score;
            l[n_list[q]++] = (ms_gpu_hit){score, row};
        }
        qsort(l, (size_t)n_list[q], sizeof *l, compare_hits);
        int64_t kept = 0;
        for (int64_t i = 0; i < n_list[q]; i++)
            if (i == 0 || l[i].row != l[i - 1].row) l[kept++] = l[i];
        n_list[q] = kept < k ? kept : k;
    }
    ms_gpu_select s = {
        .n_query = SELECT_QUERIES,
        .k = k,
        .candidates = on_device(candidates, (size_t)(SELECT_QUERIES * cap) * sizeof *candidates),
        .n_candidates = is_shared ? NULL : on_device(n, sizeof n),
        .n_shared = is_shared ? n_new : 0,
        .scores = on_device(scores, (size_t)(SELECT_QUERIES * cap) * sizeof *scores),
        .candidate_cap = cap,
        .best = on_device(best, (size_t)(SELECT_QUERIES * k) * sizeof *best),
        .n_best = on_device(n_best, sizeof n_best),
        .kth_score = poisoned(sizeof kth_score)};
    assert_int_equal(ms_select_cuda(stream, &s, NULL), MSIM_OK);
    fetch(got, s.best, (size_t)(SELECT_QUERIES * k) * sizeof *got);
    fetch(n_best, s.n_best, sizeof n_best);
    fetch(kth_score, s.kth_score, sizeof kth_score);
    for (int q = 0; q < SELECT_QUERIES; q++) {
        assert_int_equal(n_best[q], n_list[q]);
        assert_memory_equal(got + q * k, list + q * MAX_LIST, (size_t)n_list[q] * sizeof *got);
        assert_true(kth_score[q] ==
                    (n_list[q] == k ? list[q * MAX_LIST + k - 1].score : -INFINITY));
        /* what was not there is not touched */
        for (int64_t i = n_list[q] > n_old ? n_list[q] : n_old; i < k; i++) {
            ms_gpu_hit untouched;
            memset(&untouched, POISON, sizeof untouched);
            assert_memory_equal(&got[q * k + i], &untouched, sizeof untouched);
        }
    }
    release_buffers();
    ms_free(candidates), ms_free(scores), ms_free(best), ms_free(got), ms_free(list);
}

static void the_k_best(void **state) {
    (void)state;
    static const int64_t ks[] = {1, 16, 100, 1024}, counts[] = {0, 1, 2, 15, 16, 17, 255, 1025};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        for (size_t j = 0; j < sizeof counts / sizeof *counts; j++)
            for (int old = 0; old < 3; old++) {
                int64_t k = ks[i], n_old = old == 0 ? 0 : old == 1 ? k / 2 : k;
                if (k == 1024 && j % 3)
                    continue; /* one count of each kind is enough for the
                                                   * largest */
                check_select(k, 1100, counts[j], n_old, old == 2 ? 50 + k : 10 * k + 2000,
                             j % 2 ? 1000 : 5, 0);
            }
    /* all there is room for */
    check_select(1024, MS_GPU_MAX_CANDIDATES, MS_GPU_MAX_CANDIDATES, 1024, 100000, 100000, 0);
    /* nearly all twice */
    check_select(100, MS_GPU_MAX_CANDIDATES, MS_GPU_MAX_CANDIDATES, 100, 120, 7, 0);
    /* counted past the cap */
    check_select(16, 40, 4000, 16, 500, 20, 0);
    check_select(7, 1, 1, 3, 4, 12, 0);
    /* one list for all queries */
    check_select(16, 300, 255, 16, 90, 20, 1);
    check_select(100, MS_GPU_MAX_CANDIDATES, MS_GPU_MAX_CANDIDATES, 0, 100000, 1000, 1);
    check_select(5, 40, 64, 2, 500, 5, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_rows), cmocka_unit_test(scores_have_the_cpu_s_bits),
        cmocka_unit_test(scores_of_a_shared_list), cmocka_unit_test(the_k_best)};
    return cmocka_run_group_tests(tests, open_stream, close_stream);
}
