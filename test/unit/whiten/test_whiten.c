/* Whitening: mean, covariance and map against a plain computation in long double; the same bits at
 * every level and for any threads; content that repeats counts once; two fits together are the fit
 * of all their rows; files that are damaged are refused; no allocation that fails does harm.
 * docs/WHITENING.md. */
#include "base/pool.h"
#include "corpus/fits/whiten.h"
#include "support/files.h"
#include "support/levels.h"
#include "support/random.h"
#include "support/test.h"
#include <math.h>

enum { MOST_ROWS = 1500, MOST_DIM = 40 };

static uint64_t seed = 1;
static float rows[MOST_ROWS * MOST_DIM];

/* Rows with a common part and a few strong directions. */
static void make_rows(int n, int dim) {
    for (int i = 0; i < n; i++) {
        double a = uniform_f64(&seed), b = uniform_f64(&seed);
        for (int j = 0; j < dim; j++)
            rows[i * dim + j] = (float)(1.0 + a * sin(j) + 0.3 * b * cos(3 * j) +
                                        0.1 * uniform_f64(&seed) * (1 + j % 3));
    }
}

static msim_corpus *open_rows(const float *from, int n, int dim) {
    msim_corpus *corpus;
    msim_error e = {0};
    if (msim_corpus_open_rows(from, n, dim, NULL, NULL, &corpus, &e) < 0) fail_msg("%s", e.text);
    return corpus;
}

static msim_whitening *fit_at(const float *from, int n, int dim, const msim_whitening *prior,
                              int isa, int threads) {
    msim_whitening_options o = msim_whitening_options_default();
    msim_corpus *corpus = open_rows(from, n, dim);
    msim_whitening *w;
    msim_error e = {0};
    o.prior = prior;
    o.isa = isa;
    o.threads = threads;
    if (msim_whitening_fit(corpus, &o, &w, &e) < 0) fail_msg("%s", e.text);
    msim_corpus_close(corpus);
    return w;
}

/* Statistics are rounded to f32. Those of unit rows are at most 1, so two that are equal but for
 * their own rounding differ by a unit in the last place of f32 at most, and the mean of two a
 * little more. */
#define ROUNDED 2.4e-7

static msim_whitening *fit(int n, int dim) { return fit_at(rows, n, dim, NULL, 0, 2); }

/* ---- Against a plain computation ---- */

typedef struct {
    long double mean[MOST_DIM], cov[MOST_DIM][MOST_DIM], l[MOST_DIM][MOST_DIM];
} plain_fit;

static void unit_of(const float *row, int dim, long double *u) {
    long double square = 0;
    for (int j = 0; j < dim; j++) square += (long double)row[j] * row[j];
    for (int j = 0; j < dim; j++) u[j] = row[j] / sqrtl(square);
}

static void fit_plainly(plain_fit *p, int n, int dim, double shrink) {
    long double u[MOST_DIM], trace = 0;
    memset(p, 0, sizeof *p);
    for (int i = 0; i < n; i++) {
        unit_of(rows + i * dim, dim, u);
        for (int j = 0; j < dim; j++) p->mean[j] += u[j] / n;
    }
    for (int i = 0; i < n; i++) {
        unit_of(rows + i * dim, dim, u);
        for (int j = 0; j < dim; j++)
            for (int k = 0; k < dim; k++)
                p->cov[j][k] += (u[j] - p->mean[j]) * (u[k] - p->mean[k]) / n;
    }
    for (int j = 0; j < dim; j++) trace += p->cov[j][j];
    for (int i = 0; i < dim; i++)
        for (int j = 0; j <= i; j++) {
            long double x = p->cov[i][j] + (i == j ? shrink * trace / dim : 0);
            for (int k = 0; k < j; k++) x -= p->l[i][k] * p->l[j][k];
            p->l[i][j] = i == j ? sqrtl(x) : x / p->l[j][j];
        }
}

/* Solve L y = u - mean, then length 1. */
static void whiten_plainly(const plain_fit *p, const float *row, int dim, long double *y) {
    long double u[MOST_DIM], square = 0;
    unit_of(row, dim, u);
    for (int i = 0; i < dim; i++) {
        y[i] = u[i] - p->mean[i];
        for (int k = 0; k < i; k++) y[i] -= p->l[i][k] * y[k];
        y[i] /= p->l[i][i];
        square += y[i] * y[i];
    }
    for (int i = 0; i < dim; i++) y[i] /= sqrtl(square);
}

static void test_definition(void **state) {
    static const int dims[] = {2, 7, 16, 24, 33, 40};
    static plain_fit p;
    static float out[MOST_ROWS * MOST_DIM];
    (void)state;
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        int dim = dims[d], n = 1100 + 61 * (int)d;
        long double y[MOST_DIM];
        make_rows(n, dim);
        msim_whitening *w = fit(n, dim);
        fit_plainly(&p, n, dim, MSIM_WHITENING_SHRINK);
        /* u is rounded to f32: each component by at most 2^-24 of it */
        for (int i = 0, at = 0; i < dim; i++) {
            assert_true(fabsl(w->stats.mean[i] - p.mean[i]) < 0x1p-24);
            for (int j = 0; j <= i; j++, at++)
                assert_true(fabsl(w->stats.covariance[at] - p.cov[i][j]) < 0x1p-22);
        }
        assert_int_equal(w->stats.distinct, n);
        assert_int_equal(msim_whitening_apply(w, rows, (size_t)n, out, 2, NULL), 0);
        for (int i = 0; i < n; i++) {
            whiten_plainly(&p, rows + i * dim, dim, y);
            for (int j = 0; j < dim; j++) assert_true(fabsl(out[i * dim + j] - y[j]) < 2e-4L);
        }
        msim_whitening_close(w);
    }
}

/* ---- Bits ---- */

static void same_fit(const msim_whitening *a, const msim_whitening *b) {
    size_t dim = (size_t)a->stats.dim, n = ms_whiten_triangle(dim);
    assert_memory_equal(a->stats.mean, b->stats.mean, dim * sizeof(double));
    assert_memory_equal(a->stats.covariance, b->stats.covariance, n * sizeof(double));
    assert_memory_equal(a->factor, b->factor, n * sizeof(float));
    assert_memory_equal(&a->background, &b->background, sizeof a->background);
    assert_string_equal(a->hash, b->hash);
}

static void test_bits(void **state) {
    enum { N = 1300, DIM = 37 };
    static float expected[N * DIM], got[N * DIM];
    (void)state;
    make_rows(N, DIM);
    rows[5 * DIM] = NAN;
    memset(rows + 9 * DIM, 0, DIM * sizeof *rows);
    memcpy(rows + 70 * DIM, rows + 3 * DIM, DIM * sizeof *rows);
    msim_whitening *w = fit_at(rows, N, DIM, NULL, MSIM_ISA_REF, 1);
    assert_int_equal(w->stats.rows, N - 2);
    assert_int_equal(w->stats.distinct, N - 3);
    assert_true(w->background.pairs > 0);
    assert_int_equal(
        ms_whiten_apply(w, ms_cpu_whiten_kernels(MSIM_ISA_REF), NULL, rows, N, expected, NULL), 0);
    for (int j = 0; j < DIM; j++) assert_true(isnan(expected[5 * DIM + j]));
    for (int j = 0; j < DIM; j++) assert_true(expected[9 * DIM + j] == 0.0f);
    print_levels("whitening");
    FOR_EACH_ISA(isa) {
        ms_pool *pool;
        const ms_whiten_kernels *kernels = ms_cpu_whiten_kernels(isa);
        if (!kernels) continue;
        for (int threads = 1; threads <= 4; threads++) {
            msim_whitening *other = fit_at(rows, N, DIM, NULL, isa, threads);
            same_fit(w, other);
            assert_int_equal(ms_pool_open(threads, &pool, NULL), 0);
            assert_int_equal(ms_whiten_apply(other, kernels, pool, rows, N, got, NULL), 0);
            assert_memory_equal(expected, got, sizeof got);
            ms_pool_close(pool);
            msim_whitening_close(other);
        }
        for (int i = 0; i < N; i += 29) { /* alone, and in place */
            memcpy(got, rows + i * DIM, DIM * sizeof *rows);
            assert_int_equal(ms_whiten_apply(w, kernels, NULL, got, 1, got, NULL), 0);
            assert_memory_equal(expected + i * DIM, got, DIM * sizeof *got);
        }
    }
    msim_whitening_close(w);
}

/* ---- What counts ---- */

static void test_repeated(void **state) {
    enum { N = 400, DIM = 12 };
    static float more[3 * N * DIM];
    (void)state;
    make_rows(N, DIM);
    for (int i = 0; i < 3 * N; i++)
        memcpy(more + i * DIM, rows + (i < 2 * N ? i / 100 : i - 2 * N) * DIM, DIM * sizeof *more);
    msim_whitening *once = fit(N, DIM), *often = fit_at(more, 3 * N, DIM, NULL, 0, 2);
    assert_int_equal(often->stats.rows, 3 * N);
    assert_int_equal(often->stats.distinct, N);
    for (int i = 0; i < (int)ms_whiten_triangle(DIM); i++)
        assert_true(fabs(once->stats.covariance[i] - often->stats.covariance[i]) < ROUNDED);
    msim_whitening_close(once);
    msim_whitening_close(often);
}

static void test_combined(void **state) {
    enum { A = 300, B = 500, DIM = 12 };
    (void)state;
    make_rows(A + B, DIM);
    for (int i = A * DIM; i < (A + B) * DIM; i++) rows[i] += i % DIM == 3 ? 1.0f : 0.0f;
    msim_whitening *all = fit(A + B, DIM), *prior = fit_at(rows + A * DIM, B, DIM, NULL, 0, 1),
                   *both = fit_at(rows, A, DIM, prior, 0, 1),
                   *few = fit_at(rows, 2, DIM, prior, 0, 1);
    assert_int_equal(both->stats.prior_rows, B);
    for (int i = 0; i < DIM; i++)
        assert_true(fabs(all->stats.mean[i] - both->stats.mean[i]) < ROUNDED);
    for (int i = 0; i < (int)ms_whiten_triangle(DIM); i++) {
        assert_true(fabs(all->stats.covariance[i] - both->stats.covariance[i]) < ROUNDED);
        assert_true(fabs(prior->stats.covariance[i] - few->stats.covariance[i]) < 1e-2);
    }
    /* two rows have no pairs to learn from */
    assert_memory_equal(&few->background, &prior->background, sizeof few->background);
    msim_whitening_close(all);
    msim_whitening_close(prior);
    msim_whitening_close(both);
    msim_whitening_close(few);
}

/* A corpus whose rows have names, and altered copies of its rows 0, 3, 6, ...: in them component 2
 * is another, and so is a little of the rest. */
enum {
    NAMED = 300,
    NAMED_DIM = 8,
    ALTERED = NAMED / 3,
    TRIANGLE = NAMED_DIM * (NAMED_DIM + 1) / 2
};

typedef struct {
    float copies[ALTERED * NAMED_DIM];
    char names[16 * NAMED], of[16 * ALTERED]; /* of the rows; of the copies */
    int64_t starts[NAMED + 1], of_starts[ALTERED + 1];
    msim_corpus *corpus, *altered;
} altered_fixture;

static void open_altered(altered_fixture *f) {
    msim_error e = {0};
    *f = (altered_fixture){0};
    make_rows(NAMED, NAMED_DIM);
    for (int i = 0; i < NAMED; i++)
        f->starts[i + 1] = f->starts[i] + sprintf(f->names + f->starts[i], "piece %d", i);
    for (int m = 0; m < ALTERED; m++) {
        f->of_starts[m + 1] = f->of_starts[m] + sprintf(f->of + f->of_starts[m], "piece %d", 3 * m);
        for (int j = 0; j < NAMED_DIM; j++)
            f->copies[m * NAMED_DIM + j] = rows[3 * m * NAMED_DIM + j] +
                                           0.05f * (float)uniform_f64(&seed) +
                                           (j == 2 ? (float)uniform_f64(&seed) : 0.0f);
    }
    if (msim_corpus_open_rows(rows, NAMED, NAMED_DIM, f->names, f->starts, &f->corpus, &e) < 0 ||
        msim_corpus_open_rows(f->copies, ALTERED, NAMED_DIM, f->of, f->of_starts, &f->altered, &e) <
            0)
        fail_msg("%s", e.text);
}

static void close_altered(altered_fixture *f) {
    msim_corpus_close(f->corpus);
    msim_corpus_close(f->altered);
}

static void plain_nuisance(const altered_fixture *f, double *out) {
    for (int k = 0; k < TRIANGLE; k++) out[k] = 0;
    for (int m = 0; m < ALTERED; m++) {
        long double u[NAMED_DIM], v[NAMED_DIM];
        unit_of(f->copies + m * NAMED_DIM, NAMED_DIM, u);
        unit_of(rows + 3 * m * NAMED_DIM, NAMED_DIM, v);
        for (int i = 0, k = 0; i < NAMED_DIM; i++)
            for (int j = 0; j <= i; j++, k++)
                out[k] += (double)((u[i] - v[i]) * (u[j] - v[j])) / (2.0 * ALTERED);
    }
}

/* The component whose part in the map shrinks most from one map to another. */
static int most_shrunk(const msim_whitening *from, const msim_whitening *to) {
    double least = INFINITY;
    int at = -1;
    for (int j = 0; j < NAMED_DIM; j++) {
        double before = 0, after = 0;
        for (int i = j; i < NAMED_DIM; i++) {
            before += pow((double)from->factor[i * (i + 1) / 2 + j], 2);
            after += pow((double)to->factor[i * (i + 1) / 2 + j], 2);
        }
        if (after / before < least) {
            least = after / before;
            at = j;
        }
    }
    return at;
}

/* The nuisance is that of the pairs; it survives a file and joins another fit; and the map turns
 * from what the copies differ in. */
static void test_altered(void **state) {
    static altered_fixture f;
    double plain[TRIANGLE];
    msim_whitening *w, *read, *without, *joined;
    msim_error e = {0};
    (void)state;
    open_altered(&f);
    plain_nuisance(&f, plain);
    msim_whitening_options o = msim_whitening_options_default();
    assert_int_equal(msim_whitening_fit(f.corpus, &o, &without, &e), 0);
    o.altered = f.altered;
    o.nuisance_weight = 30.0;
    assert_int_equal(msim_whitening_fit(f.corpus, &o, &w, &e), 0);
    assert_int_equal(w->stats.altered, ALTERED);
    /* units are f32: each difference is right to 2^-24 or so, times its size of at most 1 */
    for (int k = 0; k < TRIANGLE; k++)
        assert_true(fabs(plain[k] - w->stats.nuisance[k]) < 4 * ROUNDED);
    assert_int_equal(most_shrunk(without, w), 2);
    assert_int_equal(msim_whitening_save(w, in_folder("n.whiten"), &e), 0);
    assert_int_equal(msim_whitening_open(in_folder("n.whiten"), &read, &e), 0);
    same_fit(w, read);
    assert_int_equal(read->stats.altered, ALTERED);
    assert_true(read->nuisance_weight == 30.0);
    o.altered = NULL;
    o.prior = read;
    assert_int_equal(msim_whitening_fit(f.corpus, &o, &joined, &e), 0);
    assert_int_equal(joined->stats.altered, ALTERED);
    assert_memory_equal(joined->stats.nuisance, w->stats.nuisance, sizeof plain);
    msim_whitening_close(w);
    msim_whitening_close(read);
    msim_whitening_close(without);
    msim_whitening_close(joined);
    close_altered(&f);
}

static void test_altered_refused(void **state) {
    static altered_fixture f;
    msim_whitening *w;
    msim_error e = {0};
    (void)state;
    open_altered(&f);
    msim_corpus *other = open_rows(rows, 40, NAMED_DIM), *narrow = open_rows(rows, 40, 5);
    msim_whitening_options o = msim_whitening_options_default();
    o.altered = f.corpus; /* no row of `other` has such a name */
    assert_int_equal(msim_whitening_fit(other, &o, &w, &e), -MSIM_E_EMPTY);
    assert_non_null(strstr(e.text, "no row has the name"));
    o.altered = narrow;
    assert_int_equal(msim_whitening_fit(f.corpus, &o, &w, &e), -MSIM_E_ARG);
    assert_non_null(strstr(e.text, "expected altered copies of width 8, got 5"));
    o.altered = NULL;
    for (int i = 0; i < 3; i++) {
        o.nuisance_weight = (double[]){NAN, -1, 2e6}[i];
        assert_int_equal(msim_whitening_fit(f.corpus, &o, &w, &e), -MSIM_E_ARG);
    }
    msim_corpus_close(other);
    msim_corpus_close(narrow);
    close_altered(&f);
}

static void refuse_fit(const float *from, int n, int dim, const msim_whitening_options *o, int code,
                       const char *words) {
    msim_corpus *corpus = open_rows(from, n, dim);
    msim_whitening *w = (msim_whitening *)&seed;
    msim_error e = {0};
    assert_int_equal(msim_whitening_fit(corpus, o, &w, &e), -code);
    assert_null(w);
    assert_non_null(strstr(e.text, words));
    msim_corpus_close(corpus);
}

static void test_refused(void **state) {
    enum { N = 100, DIM = 16 };
    (void)state;
    msim_whitening_options o = msim_whitening_options_default();
    make_rows(N, DIM);
    refuse_fit(rows, 4 * DIM - 1, DIM, &o, MSIM_E_EMPTY, "expected at least 64");
    refuse_fit(rows, 0, DIM, &o, MSIM_E_EMPTY, "got 0");
    for (int i = 1; i < N; i++) memcpy(rows + i * DIM, rows, DIM * sizeof *rows);
    refuse_fit(rows, N, DIM, &o, MSIM_E_EMPTY, "got 1");
    for (int i = 0; i < N; i++) rows[i * DIM] *= 1.0f + 1e-7f * (float)(i % 90);
    refuse_fit(rows, N, DIM, &o, MSIM_E_ARG, "all alike");
    make_rows(N, DIM);
    o.shrink = 0;
    refuse_fit(rows, N, DIM, &o, MSIM_E_ARG, "shrink");
    o.shrink = 0.1;
    o.max_rows = 99;
    refuse_fit(rows, N, DIM, &o, MSIM_E_ARG, "max_rows");
    o.max_rows = 0;
    msim_whitening *narrow = fit_at(rows, N, 8, NULL, 0, 1);
    o.prior = narrow;
    refuse_fit(rows, N, DIM, &o, MSIM_E_ARG, "expected a fit of width 16, got 8");
    msim_whitening_close(narrow);
}

static void test_sample(void **state) {
    enum { N = 120000, DIM = 3 };
    (void)state;
    float *many = test_alloc((size_t)N * DIM, sizeof *many);
    for (int i = 0; i < N * DIM; i++) many[i] = 1.0f + 0.4f * uniform(&seed);
    msim_corpus *corpus = open_rows(many, N, DIM);
    msim_whitening_options o = msim_whitening_options_default();
    msim_whitening *all, *some, *again;
    assert_int_equal(msim_whitening_fit(corpus, &o, &all, NULL), 0);
    o.max_rows = MSIM_WHITENING_LEAST_SAMPLE;
    assert_int_equal(msim_whitening_fit(corpus, &o, &some, NULL), 0);
    o.threads = 3;
    assert_int_equal(msim_whitening_fit(corpus, &o, &again, NULL), 0);
    same_fit(some, again);
    assert_int_equal(all->stats.rows, N);
    assert_int_equal(some->stats.rows, MSIM_WHITENING_LEAST_SAMPLE);
    assert_string_not_equal(all->hash, some->hash);
    for (size_t i = 0; i < ms_whiten_triangle(DIM); i++) /* five standard errors */
        assert_true(fabs(all->stats.covariance[i] - some->stats.covariance[i]) < 5e-4);
    msim_whitening_close(all);
    msim_whitening_close(some);
    msim_whitening_close(again);
    msim_corpus_close(corpus);
    ms_free(many);
}

/* ---- Files ---- */

static void test_file(void **state) {
    enum { N = 1200, DIM = 9 };
    size_t n_bytes;
    msim_whitening *read, *again;
    msim_error e = {0};
    (void)state;
    make_rows(N, DIM);
    msim_whitening *w = fit(N, DIM);
    memset(w->model, 'a', 64);
    assert_int_equal(msim_whitening_save(w, in_folder("a.whiten"), &e), 0);
    assert_int_equal(msim_whitening_open(in_folder("a.whiten"), &read, &e), 0);
    same_fit(w, read);
    assert_string_equal(w->model, read->model);
    assert_int_equal(read->stats.rows, w->stats.rows);
    unsigned char *bytes = read_file(in_folder("a.whiten"), &n_bytes);
    assert_int_equal(n_bytes, 272 + 4 * (DIM + DIM * (DIM + 1) / 2));
    for (size_t i = 0; i < n_bytes; i++) {
        bytes[i] ^= 0x41;
        write_file(in_folder("b.whiten"), bytes, n_bytes);
        again = w;
        assert_int_equal(msim_whitening_open(in_folder("b.whiten"), &again, &e), -MSIM_E_FORMAT);
        assert_null(again);
        bytes[i] ^= 0x41;
    }
    for (size_t n = 0; n < n_bytes; n += 17) {
        write_file(in_folder("b.whiten"), bytes, n);
        assert_int_equal(msim_whitening_open(in_folder("b.whiten"), &again, &e), -MSIM_E_FORMAT);
    }
    /* a map alone, as a whitened corpus has it */
    float mean[DIM], factor[DIM * (DIM + 1) / 2];
    msim_whitening_map(w, mean, factor);
    assert_int_equal(ms_whiten_from_map(DIM, mean, factor, &again, &e), 0);
    assert_string_equal(again->hash, w->hash);
    assert_int_equal(msim_whitening_save(again, in_folder("c.whiten"), &e), -MSIM_E_ARG);
    msim_whitening_close(again);
    factor[3] = INFINITY;
    assert_int_equal(ms_whiten_from_map(DIM, mean, factor, &again, &e), -MSIM_E_FORMAT);
    free(bytes);
    msim_whitening_close(w);
    msim_whitening_close(read);
}

/* ---- Memory ---- */

static void test_memory(void **state) {
    static float out[NAMED * NAMED_DIM];
    static altered_fixture f;
    msim_error e;
    (void)state;
    open_altered(&f);
    msim_whitening *prior = fit(NAMED, NAMED_DIM), *w = NULL, *read = NULL;
    msim_whitening_options o = msim_whitening_options_default();
    o.prior = prior;
    o.altered = f.altered;
    int rc = -MSIM_E_MEMORY, n = 0;
    while (rc == -MSIM_E_MEMORY) {
        ms_mem_fail_at(++n);
        rc = msim_whitening_fit(f.corpus, &o, &w, &e);
        ms_mem_fail_at(0);
        if (rc < 0) assert_null(w);
    }
    assert_int_equal(rc, 0);
    assert_true(n > 15);
    for (rc = -MSIM_E_MEMORY, n = 0; rc == -MSIM_E_MEMORY;) {
        ms_mem_fail_at(++n);
        rc = msim_whitening_save(w, in_folder("m.whiten"), &e);
        ms_mem_fail_at(0);
    }
    assert_int_equal(rc, 0);
    for (rc = -MSIM_E_MEMORY, n = 0; rc == -MSIM_E_MEMORY;) {
        ms_mem_fail_at(++n);
        rc = msim_whitening_open(in_folder("m.whiten"), &read, &e);
        ms_mem_fail_at(0);
    }
    assert_int_equal(rc, 0);
    assert_true(n > 5);
    for (rc = -MSIM_E_MEMORY, n = 0; rc == -MSIM_E_MEMORY;) {
        ms_mem_fail_at(++n);
        rc = msim_whitening_apply(w, rows, NAMED, out, 2, &e);
        ms_mem_fail_at(0);
    }
    assert_int_equal(rc, 0);
    msim_whitening_close(w);
    msim_whitening_close(read);
    msim_whitening_close(prior);
    close_altered(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_combined),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sample),
        cmocka_unit_test_setup_teardown(test_altered, folder_open, folder_close),
        cmocka_unit_test(test_altered_refused),
        cmocka_unit_test_setup_teardown(test_file, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(test_memory, folder_open, folder_close)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
