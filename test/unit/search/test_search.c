/* Exact search against brute force in long double: random, clustered, duplicated and nearly tied
 * rows, rows of zeros, NaN and infinity, every stored type at odd addresses, one view or several.
 * Results are the same bits for any thread count and kernel level, and nothing is allocated while
 * searching. */
#include "base/bf16.h"
#include "base/mem.h"
#include "base/pool.h"
#include "cpu/levels.h"
#include "cpu/search/search.h"
#include "support/random.h"
#include "support/rows.h"
#include "support/test.h"
#include <math.h>

enum { N = 517, D = 61, Q = 5, MAX_K = N + 1 };

static uint64_t seed;

enum made { RANDOM, CLUSTERED, DUPLICATED, NEAR_TIED, ODD, MADE_COUNT };

/* Component j of row i. */
static double make_value(enum made made, int i, int j, const double *base) {
    static const double odd[] = {0.0, NAN, INFINITY, -INFINITY, -0.0};
    switch (made) {
    case CLUSTERED: return base[j] + 0.01 * uniform_f64(&seed);
    /* copies and copies of another length */
    case DUPLICATED: return base[(i % 3) * 7 + j % 40] * (1 + i % 2 * 3);
    case NEAR_TIED: return base[j] + 1e-7 * uniform_f64(&seed);
    case ODD:
        if (i % 11 == 0) return i % 2 ? 0.0 : -0.0;
        if (i % 7 == 0) return j == i % D ? odd[1 + i % 3] : uniform_f64(&seed);
        if (i % 5 == 0) return uniform_f64(&seed) * 1e-30;
        if (i % 3 == 0) return uniform_f64(&seed) * 1e4;
        return uniform_f64(&seed);
    default: return uniform_f64(&seed);
    }
}

typedef struct {
    unsigned char *bytes; /* owned */
    ms_rows view;
    float queries[Q * D];
} corpus;

static corpus make_corpus(enum made made, int dtype) {
    corpus c;
    double base[D];
    size_t row_bytes = D * ms_dtype_bytes(dtype) + 7, elem = ms_dtype_bytes(dtype);
    seed = 88172645463325252u + (uint64_t)made * 10 + (uint64_t)dtype;
    for (int j = 0; j < D; j++) base[j] = uniform_f64(&seed);
    c.bytes = calloc(N, row_bytes);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++)
            put_value(c.bytes + 7 + (size_t)i * row_bytes + (size_t)j * elem, dtype,
                      make_value(made, i, j, base));
    c.view = (ms_rows){
        .base = c.bytes + 7, .row_bytes = row_bytes, .n_rows = N, .dim = D, .dtype = dtype};
    for (int i = 0; i < Q * D; i++)
        c.queries[i] = i / D == 0   ? (float)base[i % D]
                       : i / D == 3 ? 0.0f
                                    : (float)uniform_f64(&seed);
    return c;
}

/* The cosine in long double; -infinity for a row that is not finite. *slack: how far a double score
 * may be off it. */
static long double exact_score(const corpus *c, int row, int query, long double *slack) {
    long double dot = 0, xx = 0, qq = 0, sum_abs = 0;
    for (int j = 0; j < D; j++) {
        long double x = row_value(&c->view, row, (size_t)j);
        long double q = c->queries[query * D + j];
        dot += x * q;
        sum_abs += fabsl(x * q);
        xx += x * x;
        qq += q * q;
    }
    *slack = 0;
    if (!isfinite(xx)) return -INFINITY;
    if (xx == 0 || qq == 0) return 0;
    /* The dot: D/16 + 4 roundings; norms, their product and the division: at most as many again. */
    *slack = 2 * (D / 16 + 6) * 0x1p-53L * (sum_abs / sqrtl(xx * qq) + 1);
    return dot / sqrtl(xx * qq);
}

typedef struct {
    ms_pool *pool;
    ms_cpu_search *search;
} rig;

static int64_t rows_of(const ms_rows *views, size_t n_views) {
    int64_t n = 0;
    for (size_t i = 0; i < n_views; i++) n += views[i].n_rows;
    return n;
}

static void load(rig *r, const ms_rows *views, size_t n_views) {
    assert_int_equal(
        ms_cpu_search_load(r->search, views, n_views, 0, rows_of(views, n_views), NULL), 0);
}

static int scan = MSIM_SCAN_F64; /* the scan that the tests below ask for */

static int64_t topk(ms_cpu_search *search, const float *queries, size_t n_query, int64_t k,
                    ms_hit *hits, msim_error *err) {
    msim_search_options o = msim_search_options_default();
    o.scan = scan;
    ms_search_request request = {.queries = queries, .n_query = n_query, .k = k, .options = &o};
    return ms_cpu_search_topk(search, &request, hits, err);
}

static int64_t nonfinite_rows(const ms_cpu_search *search) {
    ms_search_outcome outcome;
    ms_cpu_search_outcome(search, &outcome);
    return outcome.rows_nonfinite;
}

static rig open_rig(int isa, int threads, const ms_rows *views, size_t n_views) {
    rig r;
    msim_options o = {.size = sizeof(msim_options), .max_queries = Q, .max_k = MAX_K};
    assert_int_equal(ms_pool_open(threads, &r.pool, NULL), 0);
    assert_int_equal(ms_cpu_search_open(r.pool, isa, &o, &r.search, NULL), 0);
    load(&r, views, n_views);
    return r;
}

static void close_rig(rig *r) {
    ms_cpu_search_close(r->search);
    ms_pool_close(r->pool);
}

static const int64_t ks[] = {1, 16, N - 1, N, N + 1};

/* The definition of docs/SEARCH.md, spelled out: the bits must be these. */
static double defined_score(const corpus *c, int row, int query) {
    double x[D], q[D];
    for (int j = 0; j < D; j++) {
        x[j] = row_value(&c->view, row, (size_t)j);
        q[j] = c->queries[query * D + j];
    }
    double xx = defined_dot(x, x, D), qq = defined_dot(q, q, D);
    if (!isfinite(xx)) return -INFINITY;
    if (xx == 0 || qq == 0) return 0;
    return defined_dot(x, q, D) / (sqrt(qq) * sqrt(xx)) + 0.0;
}

static void bits_are_as_defined(void **state) {
    (void)state;
    ms_hit hits[Q * MAX_K];
    for (enum made made = RANDOM; made < MADE_COUNT; made++)
        for (int dtype = MSIM_DTYPE_F32; dtype <= MSIM_DTYPE_F64; dtype++) {
            corpus c = make_corpus(made, dtype);
            rig r = open_rig(MSIM_ISA_REF, 1, &c.view, 1);
            assert_int_equal(topk(r.search, c.queries, Q, N, hits, NULL), N);
            for (int i = 0; i < Q * N; i++) {
                double expected = defined_score(&c, (int)hits[i].row, i / N);
                assert_memory_equal(&hits[i].score, &expected, sizeof expected);
            }
            close_rig(&r);
            free(c.bytes);
        }
}

static void same_as_brute_force(void **state) {
    (void)state;
    ms_hit hits[Q * MAX_K];
    for (enum made made = RANDOM; made < MADE_COUNT; made++)
        for (int dtype = MSIM_DTYPE_F32; dtype <= MSIM_DTYPE_F64; dtype++) {
            corpus c = make_corpus(made, dtype);
            rig r = open_rig(MSIM_ISA_REF, 1, &c.view, 1);
            for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
                int64_t n = topk(r.search, c.queries, Q, ks[i], hits, NULL);
                assert_int_equal(n, ks[i] < N ? ks[i] : N);
                for (int q = 0; q < Q; q++) {
                    char seen[N] = {0};
                    long double slack, worst_slack = 0;
                    const ms_hit *h = hits + q * ks[i];
                    for (int64_t j = 0; j < n; j++) {
                        long double exact = exact_score(&c, (int)h[j].row, q, &slack);
                        assert_true(h[j].score == exact || fabsl(h[j].score - exact) <= slack);
                        assert_false(seen[h[j].row]);
                        assert_true(j == 0 || ms_hit_before(h[j - 1], h[j]));
                        seen[h[j].row] = 1;
                        if (slack > worst_slack) worst_slack = slack;
                    }
                    /* Nothing left out is better than the last one by more than both may be off. */
                    for (int row = 0; row < N; row++)
                        if (!seen[row])
                            assert_true(exact_score(&c, row, q, &slack) <=
                                        h[n - 1].score + slack + worst_slack);
                }
            }
            close_rig(&r);
            free(c.bytes);
        }
}

static void ties_and_odd_rows(void **state) {
    (void)state;
    ms_hit hits[Q * MAX_K];
    corpus c = make_corpus(ODD, MSIM_DTYPE_F32);
    rig r = open_rig(MSIM_ISA_REF, 1, &c.view, 1);
    assert_int_equal(topk(r.search, c.queries, Q, N, hits, NULL), N);
    int last_finite = -1;
    for (int i = 0; i < N; i++) {
        int row = (int)hits[i].row;
        int is_odd = row % 11 != 0 && row % 7 == 0, is_zero = row % 11 == 0;
        assert_int_equal(isinf(hits[i].score) != 0, is_odd); /* all of them at the end, never
                                                              * first */
        if (is_zero) assert_true(hits[i].score == 0.0 && !signbit(hits[i].score));
        if (!is_odd)
            last_finite = i;
        else
            assert_true(last_finite >= 0);
        if (i > 0 && is_odd && hits[i - 1].score == -INFINITY)
            assert_true(hits[i].row > hits[i - 1].row);
    }
    assert_true(last_finite < N - 1);
    /* A query of zeros scores 0 with every finite row: the lowest rows come first. */
    int64_t previous = -1;
    for (int i = 0; i < N; i++) {
        const ms_hit *h = &hits[3 * N + i];
        if (h->score != 0.0) break;
        assert_true(h->row > previous);
        previous = h->row;
    }
    close_rig(&r);
    free(c.bytes);
    /* Copies of a row have the same bits, so the lower row comes first. */
    c = make_corpus(DUPLICATED, MSIM_DTYPE_F32);
    r = open_rig(MSIM_ISA_REF, 1, &c.view, 1);
    assert_int_equal(topk(r.search, c.queries, Q, N, hits, NULL), N);
    int ties = 0;
    for (int i = 1; i < N; i++)
        if (hits[i].score == hits[i - 1].score) ties++, assert_true(hits[i].row > hits[i - 1].row);
    assert_true(ties > N / 2);
    close_rig(&r);
    free(c.bytes);
}

static void same_bits_everywhere(void **state) {
    (void)state;
    ms_hit expected[Q * MAX_K], hits[Q * MAX_K];
    for (int isa, l = 0; (isa = msim_isa_list(l)) > 0; l++)
        printf("search: level %s: %s\n", ms_cpu_isa_name(isa),
               ms_cpu_kernels_get(isa) ? "run" : "skipped (not in this build or CPU)");
    for (enum made made = RANDOM; made < MADE_COUNT; made++)
        for (int dtype = MSIM_DTYPE_F32; dtype <= MSIM_DTYPE_F64; dtype++) {
            corpus c = make_corpus(made, dtype);
            ms_rows parts[4] = {c.view, c.view, c.view, c.view};
            static const int64_t cut[] = {0, 100, 100, 165, N}; /* an empty part too */
            for (int i = 0; i < 4; i++) {
                parts[i].base = c.view.base + (size_t)cut[i] * c.view.row_bytes;
                parts[i].n_rows = cut[i + 1] - cut[i];
            }
            rig reference = open_rig(MSIM_ISA_REF, 1, &c.view, 1);
            for (int isa, l = 0; (isa = msim_isa_list(l)) > 0; l++) {
                if (!ms_cpu_kernels_get(isa)) continue;
                for (int threads = 1; threads <= 3; threads++) {
                    rig r = open_rig(isa, threads, parts, threads == 2 ? 1 : 4);
                    if (threads == 2) load(&r, &c.view, 1);
                    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
                        int64_t n = topk(reference.search, c.queries, Q, ks[i], expected, NULL);
                        int64_t allocations = ms_mem_count(), nonfinite = 0;
                        for (int row = 0; row < N; row++)
                            nonfinite += made == ODD && row % 11 && row % 7 == 0;
                        assert_int_equal(topk(r.search, c.queries, Q, ks[i], hits, NULL), n);
                        assert_int_equal(ms_mem_count(), allocations);
                        assert_int_equal(nonfinite_rows(r.search), nonfinite);
                        for (int q = 0; q < Q; q++)
                            assert_memory_equal(hits + q * ks[i], expected + q * ks[i],
                                                (size_t)n * sizeof *hits);
                        /* One query alone gives what it gives among others. */
                        assert_int_equal(topk(r.search, c.queries + 4 * D, 1, ks[i], hits, NULL),
                                         n);
                        assert_memory_equal(hits, expected + 4 * ks[i], (size_t)n * sizeof *hits);
                    }
                    close_rig(&r);
                }
            }
            close_rig(&reference);
            free(c.bytes);
        }
}

static void limits_and_memory(void **state) {
    (void)state;
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32);
    ms_hit hits[4];
    msim_error e = {0};
    rig r = open_rig(MSIM_ISA_REF, 2, &c.view, 1);
    assert_int_equal(topk(r.search, c.queries, Q + 1, 1, hits, &e), -MSIM_E_LIMIT);
    assert_int_equal(topk(r.search, c.queries, 1, MAX_K + 1, hits, &e), -MSIM_E_LIMIT);
    assert_int_equal(topk(r.search, c.queries, 1, 0, hits, &e), 0);
    assert_int_equal(topk(r.search, c.queries, 0, 3, hits, &e), 3);
    ms_rows other[2] = {c.view, c.view};
    other[1].dim = D - 1;
    assert_int_equal(ms_cpu_search_load(r.search, other, 2, 0, 2 * N, &e), -MSIM_E_ARG);
    ms_rows none = c.view;
    none.n_rows = 0;
    assert_int_equal(ms_cpu_search_load(r.search, &none, 1, 0, 0, &e), 0);
    assert_int_equal(topk(r.search, c.queries, 1, 3, hits, &e), 0);
    msim_options o = {.size = sizeof(msim_options), .max_queries = Q, .max_k = MAX_K};
    int failures = 0;
    for (int n = 1;; n++) {
        ms_cpu_search *s;
        ms_mem_fail_at(n);
        int rc = ms_cpu_search_open(r.pool, MSIM_ISA_REF, &o, &s, &e);
        ms_mem_fail_at(0);
        if (rc == 0) {
            ms_cpu_search_close(s);
            break;
        }
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_null(s);
        failures++;
    }
    assert_true(failures >= 9);
    failures = 0;
    for (int n = 1;; n++, failures++) {
        ms_mem_fail_at(n);
        int rc = ms_cpu_search_load(r.search, &c.view, 1, 0, N, &e);
        ms_mem_fail_at(0);
        if (rc == 0) break;
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_int_equal(topk(r.search, c.queries, 1, 3, hits, &e), 0); /* nothing is loaded */
    }
    assert_true(failures >= 5);
    assert_int_equal(topk(r.search, c.queries, 1, 3, hits, &e), 3);
    o.max_queries = o.max_k = INT64_MAX / 4;
    ms_cpu_search *s;
    assert_true(ms_cpu_search_open(r.pool, MSIM_ISA_REF, &o, &s, &e) < 0);
    close_rig(&r);
    free(c.bytes);
}

/* ---- Metric, excluded rows, thresholds, ranges: against sorting all scores of the definition */

typedef struct {
    double scores[Q][N];
    int64_t first, n, seen[Q], n_seen, stop_at;
    double threshold;
    const unsigned char *is_excluded;
} above;

static int take_hit(void *user, size_t query, int64_t row, double score) {
    above *a = user;
    assert_true(query < Q && row >= a->first && row < a->first + a->n && !a->is_excluded[row]);
    assert_memory_equal(&score, &a->scores[query][row], sizeof score);
    assert_true(score >= a->threshold && score != -INFINITY);
    a->seen[query] += row + 1;
    return ++a->n_seen == a->stop_at;
}

static double defined_score_by(const corpus *c, int row, int query, int is_ip) {
    double x[D], q[D];
    for (int j = 0; j < D; j++) {
        x[j] = row_value(&c->view, row, (size_t)j);
        q[j] = c->queries[query * D + j];
    }
    if (!is_ip) return defined_score(c, row, query);
    return isfinite(defined_dot(x, x, D)) ? defined_dot(x, q, D) + 0.0 : -INFINITY;
}

/* One corpus with options `o`, rows [first, first + n): every k, and thresholds at exact scores. */
static void check_options(rig *r, const corpus *c, const msim_search_options *o, int64_t first,
                          int64_t n) {
    static ms_hit sorted[Q][N], hits[Q * MAX_K];
    static unsigned char is_excluded[N];
    above a = {.first = first, .n = n, .is_excluded = is_excluded, .stop_at = -1};
    int64_t n_left = 0;
    memset(is_excluded, 0, sizeof is_excluded);
    for (size_t i = 0; i < o->n_excluded; i++)
        if (o->excluded[i] >= 0 && o->excluded[i] < N) is_excluded[o->excluded[i]] = 1;
    for (int q = 0; q < Q; q++) {
        n_left = 0;
        for (int64_t row = first; row < first + n; row++) {
            a.scores[q][row] = defined_score_by(c, (int)row, q, o->metric == MSIM_METRIC_IP);
            if (!is_excluded[row]) sorted[q][n_left++] = (ms_hit){a.scores[q][row], row};
        }
        qsort(sorted[q], (size_t)n_left, sizeof **sorted, by_rank);
    }
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        ms_search_request request = {.queries = c->queries, .n_query = Q, .k = ks[i], .options = o};
        int64_t n_hits = ks[i] < n_left ? ks[i] : n_left;
        assert_int_equal(ms_cpu_search_topk(r->search, &request, hits, NULL), n_hits);
        for (int q = 0; q < Q; q++)
            assert_memory_equal(hits + q * ks[i], sorted[q], (size_t)n_hits * sizeof *hits);
    }
    for (int64_t at = -1; at < n_left; at = at < 0 ? 0 : 2 * at + 1) {
        int64_t expected = 0;
        memset(a.seen, 0, sizeof a.seen);
        a.n_seen = 0;
        a.threshold = at < 0 ? -INFINITY : sorted[1][at].score;
        ms_search_request request = {.queries = c->queries,
                                     .n_query = Q,
                                     .options = o,
                                     .threshold = a.threshold,
                                     .sink = take_hit,
                                     .user = &a};
        int64_t n_hits = ms_cpu_search_above(r->search, &request, NULL);
        for (int q = 0; q < Q; q++) {
            int64_t sum = 0;
            for (int64_t i = 0; i < n_left; i++)
                if (sorted[q][i].score >= a.threshold && sorted[q][i].score != -INFINITY)
                    expected++, sum += sorted[q][i].row + 1;
            assert_int_equal(a.seen[q], sum);
        }
        assert_int_equal(n_hits, expected);
        assert_int_equal(a.n_seen, expected);
        if (expected < 3) continue;
        a.n_seen = 0;
        a.stop_at = 2;
        assert_int_equal(ms_cpu_search_above(r->search, &request, NULL), 2);
        a.stop_at = -1;
    }
}

static void metrics_exclusions_thresholds_ranges(void **state) {
    (void)state;
    static int64_t some[N], all[N + 2];
    size_t n_some = 0;
    for (int64_t row = 0; row < N; row++)
        if (row % 3 == 0 || row < 40) some[n_some++] = row;
    for (int64_t row = -1; row <= N; row++) all[row + 1] = row; /* rows that do not exist too */
    for (enum made made = RANDOM; made < MADE_COUNT; made++)
        for (int threads = 1; threads <= 5; threads += 2) {
            corpus c = make_corpus(made, threads == 3 ? MSIM_DTYPE_F16 : MSIM_DTYPE_F32);
            ms_rows parts[2] = {c.view, c.view};
            parts[0].n_rows = 200;
            parts[1].base += 200 * c.view.row_bytes;
            parts[1].n_rows = N - 200;
            rig r = open_rig(msim_isa_best(), threads, parts, 2);
            msim_search_options o = msim_search_options_default();
            o.scan = scan;
            for (o.metric = MSIM_METRIC_COSINE; o.metric <= MSIM_METRIC_IP; o.metric++) {
                check_options(&r, &c, &o, 0, N);
                o.excluded = some, o.n_excluded = n_some;
                check_options(&r, &c, &o, 0, N);
                assert_int_equal(ms_cpu_search_load(r.search, parts, 2, 130, 101, NULL), 0);
                check_options(&r, &c, &o, 130, 101);
                o.excluded = all, o.n_excluded = N + 2;
                check_options(&r, &c, &o, 130, 101);
                assert_int_equal(ms_cpu_search_load(r.search, parts, 2, 201, 0, NULL), 0);
                check_options(&r, &c, &o, 201, 0);
                load(&r, parts, 2);
                o.excluded = NULL, o.n_excluded = 0;
            }
            close_rig(&r);
            free(c.bytes);
        }
}

static int ask_for_f32(void **state) {
    (void)state;
    scan = MSIM_SCAN_F32;
    return 0;
}

int main(void) {
#define TESTS                                                                        \
    cmocka_unit_test(bits_are_as_defined), cmocka_unit_test(same_as_brute_force),    \
        cmocka_unit_test(ties_and_odd_rows), cmocka_unit_test(same_bits_everywhere), \
        cmocka_unit_test(metrics_exclusions_thresholds_ranges)
    const struct CMUnitTest tests[] = {TESTS, cmocka_unit_test(limits_and_memory)};
    const struct CMUnitTest certified[] = {TESTS};
    int failed = cmocka_run_group_tests_name("plain scan", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("f32 scan", certified, ask_for_f32, NULL);
}
