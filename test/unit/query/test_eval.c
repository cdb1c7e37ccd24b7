/* Measures of ranked answers against values that were computed by hand. */
#define _GNU_SOURCE
#include "midisim.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static msim_error err;

static msim_eval *open_eval(void) {
    msim_eval *e;
    assert_int_equal(msim_eval_open(&e, &err), 0);
    return e;
}

static void add(msim_eval *e, const double *scores, const char *relatives) {
    unsigned char flags[16];
    int64_t n = (int64_t)strlen(relatives);
    for (int64_t i = 0; i < n; i++) flags[i] = relatives[i] == 'R';
    assert_int_equal(msim_eval_add(e, scores, flags, n, &err), 0);
}

static void is_near(double got, double expected) {
    if (!(fabs(got - expected) < 1e-12)) fail_msg("expected %.15g, got %.15g", expected, got);
}

/* Three queries: relatives at ranks 1 and 3; at 2; at 4. */
static msim_eval *three(void) {
    static const double a[] = {0.9, 0.8, 0.7, 0.1}, b[] = {0.95, 0.6, 0.5, 0.4},
                        c[] = {0.5, 0.5, 0.2, 0.2};
    msim_eval *e = open_eval();
    add(e, a, "R.R.");
    add(e, b, ".R..");
    add(e, c, "...R");
    return e;
}

static msim_eval_options plain(void) {
    msim_eval_options o = msim_eval_options_default();
    o.resamples = 0;
    return o;
}

static void measures_of_ranks(void **state) {
    msim_eval *e = three();
    msim_eval_options o = plain();
    msim_eval_report r = {.size = sizeof r};
    msim_measure m;
    (void)state;
    assert_int_equal(msim_eval_get_report(e, &o, &r, &err), 0);
    assert_int_equal(r.queries, 3);
    assert_int_equal(r.pairs, 12);
    assert_int_equal(r.relatives, 4);
    is_near(r.mrr.value, (1 + 1.0 / 2 + 1.0 / 4) / 3);
    is_near(r.map.value, ((1 + 2.0 / 3) / 2 + 1.0 / 2 + 1.0 / 4) / 3);
    is_near(r.median_rank.value, 2);
    is_near(r.median_rank.low, 2);
    const double hits[] = {1.0 / 3, 2.0 / 3, 2.0 / 3, 1, 1};
    for (int64_t k = 1; k <= 5; k++) {
        assert_int_equal(msim_eval_recall(e, &o, k, &m, &err), 0);
        is_near(m.value, hits[k - 1]);
    }
    assert_int_equal(msim_eval_recall(e, &o, 0, &m, &err), -MSIM_E_ARG);
    msim_eval_close(e);
}

/* At 0.6 five pairs are found (0.9, 0.8, 0.7; 0.95, 0.6), of which three are relatives. */
static void measures_of_pairs(void **state) {
    msim_eval *e = three();
    msim_eval_options o = plain();
    msim_eval_report r = {.size = sizeof r};
    msim_eval_point p;
    double threshold;
    (void)state;
    assert_int_equal(msim_eval_get_report(e, &o, &r, &err), 0);
    is_near(r.best.threshold, 0.6);
    is_near(r.best.precision.value, 3.0 / 5);
    is_near(r.best.recall.value, 3.0 / 4);
    is_near(r.best.f1.value, 2 * 3.0 / (5 + 4));
    assert_int_equal(msim_eval_at(e, &o, 0.2, &p, &err), 0);
    is_near(p.precision.value, 4.0 / 11);
    is_near(p.recall.value, 1);
    assert_int_equal(msim_eval_at(e, &o, 0.60001, &p, &err), 0); /* moved up to 0.6001 */
    is_near(p.threshold, 0.6001);
    is_near(p.recall.value, 2.0 / 4);
    assert_int_equal(msim_eval_at(e, &o, 1, &p, &err), 0); /* nothing is found */
    is_near(p.precision.value, 0);
    is_near(p.f1.value, 0);
    const double at[] = {0.9, 0.7, 0.6, 0.2};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(msim_eval_threshold(e, (i + 1) / 4.0, &threshold, &err), 0);
        is_near(threshold, at[i]);
    }
    assert_int_equal(msim_eval_at(e, &o, 1.5, &p, &err), -MSIM_E_ARG);
    assert_int_equal(msim_eval_at(e, &o, NAN, &p, &err), -MSIM_E_ARG);
    assert_int_equal(msim_eval_threshold(e, -0.5, &threshold, &err), -MSIM_E_ARG);
    msim_eval_close(e);
}

/* A score lies in the bin of the highest threshold that it reaches, also where sums round. */
static void every_threshold_finds_its_score(void **state) {
    msim_eval_options o = plain();
    msim_eval_point p;
    (void)state;
    for (int i = 0; i <= 20000; i += 7) {
        msim_eval *e = open_eval();
        double score = (i - 10000) / 10000.0;
        add(e, &score, "R");
        assert_int_equal(msim_eval_at(e, &o, score, &p, &err), 0);
        is_near(p.recall.value, 1);
        is_near(p.threshold, score);
        if (i < 20000) {
            assert_int_equal(msim_eval_at(e, &o, nextafter(score, 2), &p, &err), 0);
            is_near(p.recall.value, 0);
        }
        msim_eval_close(e);
    }
}

/* Where all queries are alike, every choice of them gives the same. Otherwise the interval holds
 * the value, has a width, and the seed alone decides about it. */
static void intervals(void **state) {
    msim_eval *alike = open_eval(), *e = open_eval();
    msim_eval_options o = msim_eval_options_default();
    msim_measure a, b, c;
    const double scores[] = {0.5, 0.25};
    (void)state;
    for (int i = 0; i < 100; i++) {
        add(alike, scores, ".R");
        add(e, scores, i % 4 ? "R." : ".R");
    }
    assert_int_equal(msim_eval_recall(alike, &o, 2, &a, &err), 0);
    assert_true(a.value == 1 && a.low == 1 && a.high == 1);
    assert_int_equal(msim_eval_recall(e, &o, 1, &a, &err), 0);
    assert_int_equal(msim_eval_recall(e, &o, 1, &b, &err), 0);
    assert_memory_equal(&a, &b, sizeof a);
    o.seed = 2;
    assert_int_equal(msim_eval_recall(e, &o, 1, &c, &err), 0);
    assert_memory_not_equal(&a, &c, sizeof a);
    /* a binomial share of 0.75 in 100: deviation 0.0433 */
    is_near(a.value, 0.75);
    assert_true(a.low > 0.75 - 3 * 0.0433 && a.low < 0.75 - 1.4 * 0.0433);
    assert_true(a.high < 0.75 + 3 * 0.0433 && a.high > 0.75 + 1.4 * 0.0433);
    msim_eval_close(alike);
    msim_eval_close(e);
}

static void an_even_number_has_a_median_between(void **state) {
    msim_eval *e = three();
    msim_eval_options o = plain();
    msim_eval_report r = {.size = sizeof r};
    const double scores[] = {0.9, 0.8, 0.7};
    (void)state;
    add(e, scores, "..R");
    assert_int_equal(msim_eval_get_report(e, &o, &r, &err), 0);
    is_near(r.median_rank.value, 2.5);
    o.resamples = 200;
    assert_int_equal(msim_eval_get_report(e, &o, &r, &err), 0);
    assert_true(r.median_rank.low >= 1 && r.median_rank.low <= 2.5 && r.median_rank.high <= 4);
    msim_eval_close(e);
}

static void what_is_refused(void **state) {
    msim_eval *e = open_eval();
    msim_eval_options o = msim_eval_options_default();
    msim_eval_report r = {.size = sizeof r};
    const double rising[] = {0.1, 0.2}, nan_score[] = {NAN, 0.2}, no_score[] = {0.5, -INFINITY};
    const unsigned char flags[] = {1, 0}, none[] = {0, 0};
    (void)state;
    assert_int_equal(msim_eval_get_report(e, &o, &r, &err), -MSIM_E_EMPTY);
    assert_int_equal(msim_eval_add(e, rising, flags, 2, &err), -MSIM_E_ARG);
    assert_int_equal(msim_eval_add(e, nan_score, flags, 2, &err), -MSIM_E_ARG);
    assert_int_equal(msim_eval_add(e, no_score, none, 2, &err), -MSIM_E_ARG);
    assert_int_equal(msim_eval_add(e, no_score, none, 0, &err), -MSIM_E_ARG);
    add(e, no_score, ".R"); /* a relative without a score is never found, but has a rank */
    assert_int_equal(msim_eval_get_report(e, &o, &r, &err), 0);
    is_near(r.mrr.value, 0.5);
    is_near(r.best.f1.value, 0);
    o.resamples = -1;
    assert_int_equal(msim_eval_get_report(e, &o, &r, &err), -MSIM_E_ARG);
    msim_eval_close(e);
    msim_eval_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(measures_of_ranks),
                                       cmocka_unit_test(measures_of_pairs),
                                       cmocka_unit_test(every_threshold_finds_its_score),
                                       cmocka_unit_test(intervals),
                                       cmocka_unit_test(an_even_number_has_a_median_between),
                                       cmocka_unit_test(what_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
