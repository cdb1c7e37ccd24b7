/* The certified scan against brute force on rows made to break it: copies and doubled rows, rows
 * nearly tied (1e-7 and 1e-9), rows at one cosine within rounding, norms from 1e-42 to 1e37,
 * spikes, zeros, NaN and infinity. Scores, rows and order are the definition's to the last bit at
 * every level, thread count, cut into files and K. And the bound itself: with the threshold set to
 * a row's own score no row is ever left out, over all pairs of rows and queries. */
#include "base/bf16.h"
#include "search/bound.h"
#include "base/mem.h"
#include "base/pool.h"
#include "cpu/levels.h"
#include "cpu/search/scan.h"
#include "cpu/search/search.h"
#include "support/random.h"
#include "support/rows.h"
#include "support/test.h"
#include <float.h>
#include <math.h>

#if defined(__SANITIZE_ADDRESS__)
enum { N = 5000, SANITIZED = 1 };
#else
enum { N = 6500, SANITIZED = 0 };
#endif
enum { D = 70, Q = 5, PAD = 3 };

static uint64_t seed;

enum made { RANDOM, CLUSTERED, DUPLICATED, TIED_7, TIED_9, ADVERSARIAL, MADE_COUNT };

typedef struct {
    enum made made;
    int dtype;
    size_t row_bytes;
    unsigned char *bytes; /* owned */
    uint64_t *offsets;    /* owned */
    float queries[Q * D];
    ms_hit *sorted[2][Q]; /* owned: [N] by rank, for cosine and for the dot product */
    double *scores[2][Q]; /* owned: [N] */
    int64_t n_nonfinite;
} corpus;

static void adversarial_row(double *x, int i, const float *query) {
    double across[D], along = 0, length = 0, norm = 0;
    for (int j = 0; j < D; j++) x[j] = uniform_f64(&seed);
    switch (i % 10) {
    case 0:
    case 1:
    case 2: /* one cosine with the query, within rounding */
        for (int j = 0; j < D; j++) norm += (double)query[j] * query[j], along += x[j] * query[j];
        for (int j = 0; j < D; j++)
            across[j] = x[j] - along / norm * query[j], length += across[j] * across[j];
        for (int j = 0; j < D; j++)
            x[j] = (0.8 * query[j] / sqrt(norm) + 0.6 * across[j] / sqrt(length)) * (1 + i % 97);
        break;
    case 3: /* copies, and copies of another length */
        seed = 77777 + (uint64_t)(i / 10 % 3);
        for (int j = 0; j < D; j++) x[j] = uniform_f64(&seed);
        for (int j = 0; j < D; j++) x[j] = (float)x[j] * (double)(1 << i / 30 % 3);
        seed = (uint64_t)i * 2654435761u + 1;
        break;
    case 4: /* from subnormal to near overflow */
        for (int j = 0; j < D; j++) x[j] *= pow(10, -42 + i / 10 % 80);
        break;
    case 5: /* nothing, and worse */
        if (i / 10 % 3 == 0)
            for (int j = 0; j < D; j++) x[j] = i / 30 % 2 ? -0.0 : 0.0;
        if (i / 10 % 3 == 1) x[i / 30 % D] = i / 30 % 2 ? NAN : -INFINITY;
        break;
    case 6: /* spikes */ x[i / 10 % D] *= i / 10 % 2 ? 1e6 : 1e18; break;
    case 7: /* a ball around the query */
        for (int j = 0; j < D; j++) x[j] = query[j] + x[j] * pow(10, -1 - i / 10 % 7);
        break;
    default: break;
    }
}

static void make_row(double *x, enum made made, int i, const double *base, const corpus *c) {
    double amount = made == CLUSTERED ? 0.01 : made == TIED_7 ? 1e-7 : made == TIED_9 ? 1e-9 : 1;
    for (int j = 0; j < D; j++) x[j] = uniform_f64(&seed) * amount + (made == RANDOM ? 0 : base[j]);
    if (made == DUPLICATED)
        for (int j = 0; j < D; j++) x[j] = base[(i % 5 * 7 + j) % D] * (1 + i % 2 * 3);
    if (made == ADVERSARIAL) adversarial_row(x, i, c->queries + i / 10 % Q * D);
}

static corpus make_corpus(enum made made, int dtype) {
    corpus c = {.made = made, .dtype = dtype, .row_bytes = D * ms_dtype_bytes(dtype) + PAD};
    double base[D], x[D], q[Q][D], qq[Q];
    seed = 88172645463325252u + (uint64_t)made * 10 + (uint64_t)dtype;
    for (int j = 0; j < D; j++) base[j] = uniform_f64(&seed);
    for (int i = 0; i < Q * D; i++)
        c.queries[i] = (float)(i / D == 0   ? base[i % D]
                               : i / D == 3 ? 0.0
                                            : uniform_f64(&seed) * (i / D == 4 ? 1e-22 : 1));
    for (int i = 0; i < Q; i++) {
        for (int j = 0; j < D; j++) q[i][j] = c.queries[i * D + j];
        qq[i] = defined_dot(q[i], q[i], D);
        for (int m = 0; m < 2; m++) {
            c.scores[m][i] = malloc(N * sizeof **c.scores[m]);
            c.sorted[m][i] = malloc(N * sizeof **c.sorted[m]);
        }
    }
    c.bytes = calloc(N + 1, c.row_bytes);
    c.offsets = malloc(N * sizeof *c.offsets);
    for (int i = 0; i < N; i++) {
        c.offsets[i] = (uint64_t)i * c.row_bytes;
        make_row(x, made, i, base, &c);
        for (int j = 0; j < D; j++) {
            unsigned char *p = c.bytes + PAD + (size_t)i * c.row_bytes;
            p += (size_t)j * ms_dtype_bytes(dtype);
            put_value(p, dtype, x[j]);
            x[j] = get_value(p, dtype);
        }
        double xx = defined_dot(x, x, D);
        c.n_nonfinite += !isfinite(xx);
        for (int k = 0; k < Q; k++) {
            double dot = defined_dot(x, q[k], D), cosine = dot / (sqrt(qq[k]) * sqrt(xx)) + 0.0;
            if (xx == 0 || qq[k] == 0) cosine = 0;
            c.scores[0][k][i] = isfinite(xx) ? cosine : -INFINITY;
            c.scores[1][k][i] = isfinite(xx) ? dot + 0.0 : -INFINITY;
        }
    }
    for (int m = 0; m < 2; m++)
        for (int k = 0; k < Q; k++) {
            for (int i = 0; i < N; i++) c.sorted[m][k][i] = (ms_hit){c.scores[m][k][i], i};
            qsort(c.sorted[m][k], N, sizeof(ms_hit), by_rank);
        }
    return c;
}

static void free_corpus(corpus *c) {
    for (int m = 0; m < 2; m++)
        for (int k = 0; k < Q; k++) free(c->sorted[m][k]), free(c->scores[m][k]);
    free(c->bytes);
    free(c->offsets);
}

/* The rows as one view, or as three of which the last has offsets. */
static size_t make_views(const corpus *c, int n_views, ms_rows *views) {
    ms_rows all = {.base = c->bytes + PAD,
                   .row_bytes = c->row_bytes,
                   .n_rows = N,
                   .dim = D,
                   .dtype = c->dtype};
    for (int i = 0; i < n_views; i++) views[i] = all;
    if (n_views == 1) return 1;
    views[0].n_rows = 1333;
    views[1].n_rows = 0;
    views[2].n_rows = N - 1333;
    views[2].base += 1333 * c->row_bytes;
    views[2].offsets = c->offsets;
    return 3;
}

static void search(const corpus *c, int isa, int threads, int n_views, int64_t k, int metric) {
    static ms_hit hits[Q * (N + 1)];
    ms_rows views[3];
    ms_pool *pool;
    ms_cpu_search *s;
    ms_search_outcome outcome;
    msim_options o = {.size = sizeof(msim_options), .max_queries = Q, .max_k = k};
    msim_search_options search_options = {
        .size = sizeof(msim_search_options), .metric = metric, .scan = MSIM_SCAN_F32};
    ms_search_request request = {
        .queries = c->queries, .n_query = Q, .k = k, .options = &search_options};
    int64_t n = k < N ? k : N;
    assert_int_equal(ms_pool_open(threads, &pool, NULL), 0);
    assert_int_equal(ms_cpu_search_open(pool, isa, &o, &s, NULL), 0);
    assert_int_equal(ms_cpu_search_load(s, views, make_views(c, n_views, views), 0, N, NULL), 0);
    for (int again = 0; again < 2; again++) {
        int64_t allocations = ms_mem_count();
        assert_int_equal(ms_cpu_search_topk(s, &request, hits, NULL), n);
        assert_int_equal(ms_mem_count(), allocations);
        for (int q = 0; q < Q; q++)
            assert_memory_equal(hits + q * k, c->sorted[metric][q], (size_t)n * sizeof *hits);
        ms_cpu_search_outcome(s, &outcome);
        assert_int_equal(outcome.scan, MSIM_SCAN_F32);
        assert_int_equal(outcome.rows_nonfinite, c->n_nonfinite);
        assert_true(outcome.rows_evaluated >= (n - c->n_nonfinite) * (Q - 1));
        /* A query of zeros ties with all rows; of random rows hardly more than the results are
         * evaluated. */
        if (c->made == RANDOM && k <= 16)
            assert_true(outcome.rows_evaluated <= N + (Q - 1) * 100 * threads);
    }
    ms_cpu_search_close(s);
    ms_pool_close(pool);
}

static void same_as_brute_force(void **state) {
    (void)state;
    static const int64_t ks[] = {1, 16, 1000, N - 1, N + 1};
    for (enum made made = RANDOM; made < MADE_COUNT; made++)
        for (int dtype = MSIM_DTYPE_F32; dtype <= MSIM_DTYPE_F64; dtype++) {
            if (dtype != MSIM_DTYPE_F32 && (SANITIZED || (int)made % 3 != dtype % 3)) continue;
            corpus c = make_corpus(made, dtype);
            for (int isa, l = 0; (isa = msim_isa_list(l)) > 0; l++) {
                if (!ms_cpu_kernels_get(isa) || (SANITIZED && isa == MSIM_ISA_AVX512)) continue;
                for (int i = 0; i < 15; i++) {
                    int threads = (int[]){1, 2, 5}[i / 5];
                    if ((SANITIZED || isa == MSIM_ISA_REF) && (i + (int)made) % 3) continue;
                    search(&c, isa, threads, threads == 1 ? 1 : 3, ks[i % 5], MSIM_METRIC_COSINE);
                    search(&c, isa, threads, threads == 2 ? 1 : 3, ks[i % 5], MSIM_METRIC_IP);
                }
            }
            free_corpus(&c);
        }
}

/* All pairs of rows and queries: upper bounds against the threshold for the row's own score, and
 * against one clearly above. */
static void check_own_scores(const corpus *c, int isa, int metric) {
    static float upper[Q * MS_SCAN_ROWS] __attribute__((aligned(64)));
    ms_rows view;
    void *method_state;
    double norms[Q];
    int64_t n_out = 0, n_pairs = 0, n_nonfinite = 0;
    make_views(c, 1, &view);
    const ms_cpu_kernels *kernels = ms_cpu_kernels_get(isa);
    ms_scan_setup setup = {.views = &view,
                           .n_views = 1,
                           .dim = D,
                           .max_queries = Q,
                           .n_workers = 1,
                           .isa = isa,
                           .kernels = kernels};
    kernels->squares_f64(norms, (const unsigned char *)c->queries, D * 4, MSIM_DTYPE_F32, Q, D);
    for (int q = 0; q < Q; q++) norms[q] = sqrt(norms[q]);
    assert_int_equal(ms_scan_f32.open(&setup, &method_state, NULL), 0);
    assert_non_null(method_state);
    ms_scan_f32.prepare(method_state,
                        &(ms_scan_queries){c->queries, norms, Q, metric == MSIM_METRIC_IP});
    for (int64_t start = 0; start < N; start += MS_SCAN_ROWS) {
        size_t n = N - start < MS_SCAN_ROWS ? (size_t)(N - start) : MS_SCAN_ROWS;
        n_nonfinite += ms_scan_f32.block(method_state, 0, 0, start, n, upper);
        for (int q = 0; q < Q; q++)
            for (size_t r = 0; r < n; r++) {
                double score = c->scores[metric][q][start + (int64_t)r];
                float u = upper[q * MS_SCAN_ROWS + r];
                assert_false(u < ms_scan_f32.set_threshold(method_state, 0, 0, (size_t)q, score));
                assert_false(ms_scan_f32.bound(method_state, 0, 0, start + (int64_t)r, (size_t)q,
                                               u) < score);
                /* 2e-5 is some three times the bound's two sides at this width. */
                double above = metric == MSIM_METRIC_IP ? fmax(score, 0) * 1.001 + 1e-3
                                                        : score + 2e-5;
                n_out += u < ms_scan_f32.set_threshold(method_state, 0, 0, (size_t)q, above);
                n_pairs++;
            }
    }
    ms_scan_f32.close(method_state);
    assert_int_equal(n_nonfinite, c->n_nonfinite);
    if (metric == MSIM_METRIC_COSINE) assert_int_equal(n_out, n_pairs - Q * n_nonfinite);
    /* its margin grows with the row's norm */
    else if (c->made != ADVERSARIAL)
        assert_true(n_out > n_pairs / 2);
}

static void no_row_is_left_out_at_its_own_score(void **state) {
    (void)state;
    for (enum made made = RANDOM; made < MADE_COUNT; made++)
        for (int dtype = MSIM_DTYPE_F32; dtype <= MSIM_DTYPE_F64; dtype++) {
            if (SANITIZED && dtype != (int)made % 4) continue;
            corpus c = make_corpus(made, dtype);
            for (int isa, l = 0; (isa = msim_isa_list(l)) > 0; l++) {
                const ms_scan_kernels *own = ms_scan_kernels_get(isa);
                if (!own || own == ms_scan_kernels_get(msim_isa_list(l - 1))) continue;
                check_own_scores(&c, isa, MSIM_METRIC_COSINE);
                check_own_scores(&c, isa, MSIM_METRIC_IP);
            }
            free_corpus(&c);
        }
}

typedef struct {
    int64_t n[Q];
    int is_stopping;
} counted;

static int count_hit(void *user, size_t query, int64_t row, double score) {
    counted *c = user;
    (void)row;
    (void)score;
    c->n[query]++;
    return c->is_stopping;
}

static void thresholds(void **state) {
    (void)state;
    for (int metric = MSIM_METRIC_COSINE; metric <= MSIM_METRIC_IP; metric++) {
        corpus c = make_corpus(ADVERSARIAL, MSIM_DTYPE_F32);
        ms_rows views[3];
        ms_pool *pool;
        ms_cpu_search *s;
        msim_options o = {.size = sizeof(msim_options), .max_queries = Q, .max_k = 1};
        msim_search_options search_options = {
            .size = sizeof(msim_search_options), .metric = metric, .scan = MSIM_SCAN_F32};
        assert_int_equal(ms_pool_open(3, &pool, NULL), 0);
        assert_int_equal(ms_cpu_search_open(pool, msim_isa_best(), &o, &s, NULL), 0);
        assert_int_equal(ms_cpu_search_load(s, views, make_views(&c, 3, views), 0, N, NULL), 0);
        for (int at = 0; at <= N; at = 3 * at + 1) {
            counted found = {0};
            double threshold = at == N   ? INFINITY
                               : at == 0 ? -INFINITY
                                         : c.sorted[metric][1][at].score;
            ms_search_request request = {.queries = c.queries,
                                         .n_query = Q,
                                         .options = &search_options,
                                         .threshold = threshold,
                                         .sink = count_hit,
                                         .user = &found};
            int64_t expected[Q] = {0}, all = 0;
            for (int q = 0; q < Q; q++)
                for (int i = 0; i < N; i++) {
                    double score = c.scores[metric][q][i];
                    expected[q] += score >= threshold && score != -INFINITY;
                }
            for (int q = 0; q < Q; q++) all += expected[q];
            assert_int_equal(ms_cpu_search_above(s, &request, NULL), all);
            assert_memory_equal(found.n, expected, sizeof expected);
            found.is_stopping = 1;
            if (all) assert_int_equal(ms_cpu_search_above(s, &request, NULL), 1);
        }
        ms_cpu_search_close(s);
        ms_pool_close(pool);
        free_corpus(&c);
    }
}

static void roundings_of_bounds(void **state) {
    (void)state;
    static const double values[] = {0,       1,     -1,     0.1,    -0.1,    1e-300,
                                    -1e-300, 1e300, -1e300, 3.5e38, FLT_MAX, 1 + 0x1p-30};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        float below = ms_bound_f32_below(values[i]), above = ms_bound_f32_above(values[i]);
        assert_true(below <= values[i] && above >= values[i]);
        assert_true(above == below ? below == values[i] : nextafterf(below, INFINITY) == above);
    }
    assert_true(ms_bound_f32_below(NAN) == -INFINITY && ms_bound_f32_above(NAN) == INFINITY);
    assert_true(ms_bound_f32_below(INFINITY) == INFINITY &&
                ms_bound_f32_below(-INFINITY) == -INFINITY);
    /* The bound stays small at every width, and covers what the longest sum can lose. */
    for (size_t dim = 1; dim <= 65536; dim *= 2) {
        ms_bound_f32 b = ms_bound_f32_make(dim, 8);
        assert_true(b.cosine > 1.5 * ((double)dim / 8 + 4) * 0x1p-24 && b.cosine < 1e-3);
        assert_true(b.margin > ((double)dim / 8 + 4) * 0x1p-24 && b.margin < 1e-3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roundings_of_bounds),
        cmocka_unit_test(no_row_is_left_out_at_its_own_score),
        cmocka_unit_test(same_as_brute_force),
        cmocka_unit_test(thresholds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
