/* Queries made ready on the device: norms, weights as scans read them, bounds and constants have
 * the bits that the host's functions give, for every scan, width and number of queries, and nothing
 * else is written. So do the constants for thresholds. docs/SEARCH.md; search/split.h,
 * search/bound.h. */
#include "search/bound_codes.h"
#include "codes/codes.h"
#include "query_layout.h"
#include "scan_rows.h"
#include <float.h>

enum { MAX_Q = MS_GPU_SCAN_QUERIES, SCANS = 4 };

static const int scans[SCANS] = {MSIM_SCAN_F64, MSIM_SCAN_F32, MSIM_SCAN_BF16, MSIM_SCAN_INT8};

static int reads_codes(int scan) { return scan == MSIM_SCAN_BF16 || scan == MSIM_SCAN_INT8; }

/* ---- What the host gives ---- */

typedef struct {
    int scan, n;
    int64_t dim;
    float *queries; /* owned: [n, dim], none of zeros */
    float *centre;  /* owned: [dim] */
    double norms[MAX_Q];
    ms_bound_codes bounds[MAX_Q];
    unsigned char *laid_out; /* owned */
    size_t bytes;
} wanted;

/* Queries of every kind; the centre of the corpus, or one of zeros. */
static wanted make_wanted(const corpus *c, int scan, int n, int has_centre, uint64_t seed) {
    wanted w = {.scan = scan, .n = n, .dim = c->dim, .bytes = queries_bytes(scan, n, c->dim)};
    size_t dim = (size_t)c->dim;
    double *scratch = test_alloc(ms_codes_scratch(dim), sizeof *scratch);
    int16_t *narrow = test_alloc(dim, sizeof *narrow);
    float *wide = test_alloc(dim, sizeof *wide);
    w.queries = test_alloc((size_t)n * dim, sizeof *w.queries);
    w.centre = test_alloc(dim, sizeof *w.centre);
    w.laid_out = test_alloc(w.bytes, 1);
    if (has_centre) ms_codes_find_centre(w.centre, &c->view, scratch);
    ms_codes codes = {.centre = w.centre, .n_rows = c->n_rows, .dim = c->dim};
    for (int q = 0; q < n; q++) {
        float *query = w.queries + (size_t)q * dim;
        make_query(query, c, q == 4 ? 7 : q, &seed);
        w.norms[q] = norm_of(query, c->dim);
        if (!(w.norms[q] > 0)) query[dim - 1] = 2.5f, w.norms[q] = norm_of(query, c->dim);
        for (size_t j = 0; j < dim; j++) wide[j] = (float)(query[j] / w.norms[q]);
        if (scan == MSIM_SCAN_INT8)
            ms_bound_int8_make(&w.bounds[q], narrow, query, w.norms[q], &codes, 127);
        if (scan == MSIM_SCAN_BF16)
            ms_bound_bf16_narrow_make(&w.bounds[q], wide, query, w.norms[q], &codes,
                                      ms_scan_bf16_chain(c->dim));
        put_query(scan, w.laid_out, q, n, c->dim,
                  scan == MSIM_SCAN_INT8  ? (const void *)narrow
                  : scan == MSIM_SCAN_F64 ? query
                                          : wide);
    }
    ms_free(scratch), ms_free(narrow), ms_free(wide);
    return w;
}

static void release_wanted(wanted *w) {
    ms_free(w->queries), ms_free(w->centre), ms_free(w->laid_out);
}

static void check_bounds(const ms_bound_codes *got, const ms_bound_codes *b) {
    assert_memory_equal(&got->scale, &b->scale, sizeof b->scale);
    assert_memory_equal(&got->lambda, &b->lambda, sizeof b->lambda);
    assert_int_equal(got->start, b->start);
    assert_memory_equal(&got->phi, &b->phi, sizeof b->phi);
    assert_memory_equal(&got->eta, &b->eta, sizeof b->eta);
    assert_memory_equal(&got->f, &b->f, sizeof b->f);
    assert_memory_equal(&got->at_centre, &b->at_centre, sizeof b->at_centre);
    assert_memory_equal(&got->sigma, &b->sigma, sizeof b->sigma);
    assert_memory_equal(&got->sigma_rho, &b->sigma_rho, sizeof b->sigma_rho);
    assert_memory_equal(&got->tau, &b->tau, sizeof b->tau);
    assert_int_equal(got->keeps_all, b->keeps_all);
}

/* ---- What the device gives ---- */

static void check_prepared(const wanted *w) {
    size_t n = (size_t)w->n, dim = (size_t)w->dim;
    static ms_bound_codes bounds[MAX_Q];
    double norms[MAX_Q];
    float scale[MAX_Q], lambda[MAX_Q];
    int codes = reads_codes(w->scan), is_int8 = w->scan == MSIM_SCAN_INT8;
    unsigned char *laid_out = test_alloc(w->bytes, 1);
    assert_int_equal(ms_scan_queries_bytes(w->scan, w->n, w->dim), w->bytes);
    ms_gpu_prepare p = {.scan = w->scan,
                        .n_query = w->n,
                        .dim = w->dim,
                        .queries = on_device(w->queries, n * dim * sizeof *w->queries),
                        .centre = codes ? on_device(w->centre, dim * sizeof *w->centre) : NULL,
                        .norms = poisoned(n * sizeof *norms),
                        .laid_out = poisoned(w->bytes),
                        .bounds = codes ? poisoned(n * sizeof *bounds) : NULL,
                        .scale = is_int8 ? poisoned(n * sizeof *scale) : NULL,
                        .lambda = is_int8 ? poisoned(n * sizeof *lambda) : NULL};
    assert_int_equal(ms_prepare_cuda(stream, &p, NULL), MSIM_OK);
    fetch(norms, p.norms, n * sizeof *norms);
    fetch(laid_out, p.laid_out, w->bytes);
    if (codes) fetch(bounds, p.bounds, n * sizeof *bounds);
    if (is_int8) fetch(scale, p.scale, n * sizeof *scale);
    if (is_int8) fetch(lambda, p.lambda, n * sizeof *lambda);
    assert_memory_equal(norms, w->norms, n * sizeof *norms);
    assert_memory_equal(laid_out, w->laid_out, w->bytes);
    for (int q = 0; q < w->n && codes; q++) {
        check_bounds(&bounds[q], &w->bounds[q]);
        if (!is_int8) continue;
        assert_memory_equal(&scale[q], &w->bounds[q].scale, sizeof *scale);
        assert_memory_equal(&lambda[q], &w->bounds[q].lambda, sizeof *lambda);
    }
    release_buffers();
    ms_free(laid_out);
}

static void bits_of_the_host(void **state) {
    (void)state;
    static const int64_t dims[] = {1, 3, 16, 17, 31, 33, 64, 100, 130, 512, 768, 1030};
    static const int counts[] = {1, 12, 33, 2, 7, 64, 8, 17, 24};
    enum { N_DIMS = sizeof dims / sizeof *dims, N_COUNTS = sizeof counts / sizeof *counts };
    for (int scan = 0; scan < SCANS; scan++)
        for (int d = 0; d < N_DIMS; d++)
            for (int turn = 0; turn < 3; turn++) {
                int made = (d + scan + turn) % MADE_COUNT;
                corpus c = make_corpus(made == ODD ? RANDOM : made, (d + turn) % 4, 41, dims[d],
                                       (uint64_t)(d * 10 + turn));
                wanted w = make_wanted(&c, scans[scan], counts[(d + turn * 3 + scan) % N_COUNTS],
                                       turn != 2, (uint64_t)(d + 100 * turn));
                check_prepared(&w);
                release_wanted(&w);
                release_corpus(&c);
            }
}

/* A query that is another by one ulp has other bounds: comparing bits says so much. */
static void one_ulp_shows(void **state) {
    (void)state;
    enum { DIM = 64 };
    corpus c = make_corpus(BALL, MSIM_DTYPE_F32, 20, DIM, 3);
    wanted w = make_wanted(&c, MSIM_SCAN_INT8, 1, 1, 9);
    ms_codes codes = {.centre = w.centre, .n_rows = 20, .dim = DIM};
    ms_bound_codes other;
    int16_t narrow[DIM];
    w.queries[DIM - 1] = nextafterf(w.queries[DIM - 1], INFINITY);
    ms_bound_int8_make(&other, narrow, w.queries, norm_of(w.queries, DIM), &codes, 127);
    assert_true(other.eta != w.bounds[0].eta);
    release_wanted(&w);
    release_corpus(&c);
}

/* ---- Thresholds ---- */

static float wanted_upper(const ms_gpu_thresholds *t, double threshold, double norm) {
    float upper = t->scan == MSIM_SCAN_F64 ? ms_bound_f32_below(threshold)
                  : t->is_ip               ? ms_bound_f32_threshold_ip(threshold, norm)
                                           : ms_bound_f32_threshold(&t->f32, threshold);
    return upper >= -FLT_MAX ? upper : -FLT_MAX;
}

static void check_thresholds(const wanted *w, int is_ip, double least, int64_t k, double shift) {
    static const double scores[] = {-INFINITY, -1.0, -0.25, 0.0, 1e-300,
                                    0.3,       0.9,  1.0,   1.7, INFINITY};
    enum { N_SCORES = sizeof scores / sizeof *scores };
    int codes = reads_codes(w->scan);
    size_t each = (size_t)w->n * sizeof(float);
    double kth[MAX_Q];
    uint32_t n_best[MAX_Q], cleared[MAX_Q], zeros[MAX_Q] = {0};
    float threshold[MAX_Q], factor[MAX_Q], upper[MAX_Q];
    for (int q = 0; q < w->n; q++)
        kth[q] = scores[(q * 3 + (int)k) % N_SCORES], n_best[q] = (uint32_t)(q % 5 ? k : k / 2);
    ms_gpu_thresholds t = {.scan = w->scan,
                           .is_ip = is_ip,
                           .n_query = w->n,
                           .least = least,
                           .shift = shift,
                           .k = k,
                           .kth_score = on_device(kth, (size_t)w->n * sizeof *kth),
                           .n_best = on_device(n_best, (size_t)w->n * sizeof *n_best),
                           .bounds = codes ? on_device(w->bounds, (size_t)w->n * sizeof *w->bounds)
                                           : NULL,
                           .norms = on_device(w->norms, (size_t)w->n * sizeof *w->norms),
                           .f32 = ms_bound_f32_make((size_t)w->dim, ms_scan_f32_lanes()),
                           .threshold = codes ? poisoned(each) : NULL,
                           .rho_factor = codes ? poisoned(each) : NULL,
                           .upper_threshold = poisoned(each),
                           .n_candidates = k % 2 ? poisoned(sizeof cleared) : NULL};
    assert_int_equal(ms_thresholds_cuda(stream, &t, NULL), MSIM_OK);
    fetch(upper, t.upper_threshold, each);
    if (codes) fetch(threshold, t.threshold, each);
    if (codes) fetch(factor, t.rho_factor, each);
    if (t.n_candidates) fetch(cleared, t.n_candidates, sizeof cleared);
    if (t.n_candidates) assert_memory_equal(cleared, zeros, sizeof zeros);
    for (int q = 0; q < w->n; q++) {
        double now = k > 0 && n_best[q] >= k && kth[q] > least ? kth[q] : least;
        now += shift;
        if (codes) {
            ms_bound_threshold b = ms_bound_codes_set_threshold(&w->bounds[q], now);
            assert_memory_equal(&threshold[q], &b.threshold, sizeof b.threshold);
            assert_memory_equal(&factor[q], &b.rho_factor, sizeof b.rho_factor);
            assert_memory_equal(&upper[q], &b.upper_threshold, sizeof b.upper_threshold);
        } else {
            float x = wanted_upper(&t, now, w->norms[q]);
            assert_memory_equal(&upper[q], &x, sizeof x);
        }
        assert_true(upper[q] >= -FLT_MAX);
    }
    release_buffers();
}

static void thresholds_of_now(void **state) {
    (void)state;
    static const double leasts[] = {-INFINITY, -0.1, 0.35, 1.2, INFINITY};
    for (int scan = 0; scan < SCANS; scan++)
        for (int i = 0; i < 5; i++) {
            corpus c = make_corpus(i % 2 ? BALL : LENGTHS, MSIM_DTYPE_F32, 41, 70, (uint64_t)i);
            wanted w = make_wanted(&c, scans[scan], i == 0 ? 64 : i == 1 ? 1 : 33, 1, (uint64_t)i);
            w.bounds[w.n - 1].keeps_all = 1;
            for (int is_ip = 0; is_ip < (reads_codes(w.scan) ? 1 : 2); is_ip++) {
                check_thresholds(&w, is_ip, leasts[i], 5, 0.0);
                check_thresholds(&w, is_ip, leasts[i], 1024, 0.0);
                check_thresholds(&w, is_ip, leasts[i], 0, 0.0);
                check_thresholds(&w, is_ip, leasts[i], 7, 0.5);
            }
            release_wanted(&w);
            release_corpus(&c);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bits_of_the_host),
                                       cmocka_unit_test(one_ulp_shows),
                                       cmocka_unit_test(thresholds_of_now)};
    return cmocka_run_group_tests(tests, open_stream, close_stream);
}
