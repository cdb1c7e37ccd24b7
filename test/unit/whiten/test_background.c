/* What scores mean: z against numbers that are written down, quantiles, and the tail beyond them
 * against tables of the normal distribution. docs/WHITENING.md, Scores with a meaning. */
#include "whiten/background.h"
#include "base/mem.h"
#include "support/levels.h"
#include "support/random.h"
#include "support/test.h"
#include <math.h>

static uint64_t seed = 1;

/* Nearly normal, by twelve uniform numbers. */
static double bell(void) {
    double x = 0;
    for (int i = 0; i < 12; i++) x += 0.5 * uniform_f64(&seed);
    return x;
}

/* z of scores that are written down: the highest tenth, but eight at least. */
static void test_level(void **state) {
    double scores[200], left = 0.0, squares = 0.0;
    (void)state;
    for (int i = 0; i < 200; i++) scores[i * 77 % 200] = i / 1000.0; /* 0 .. 0.199, in disorder */
    scores[5] = 0.97;                                                /* its own piece: out */
    double missing = 1e9;
    for (int i = 0; i < 200; i++)
        if (i * 77 % 200 == 5) missing = i / 1000.0;
    assert_true(missing < 0.18); /* not one of the highest */
    ms_level level = ms_level_of(scores, 200);
    assert_int_equal(level.n, 19); /* a tenth of 199 */
    /* 0.181 .. 0.199: mean 0.190, variance (19^2 - 1) / 12 e-6 = 3e-5 */
    assert_true(fabs(ms_level_z(&level, 0.190, NAN)) < 1e-9);
    assert_true(fabs(ms_level_z(&level, 0.250, NAN) - 0.060 / sqrt(3e-5)) < 1e-6);
    assert_true(ms_level_z(&level, 0.250, 0.17) == ms_level_z(&level, 0.250, NAN)); /* too low */
    assert_true(ms_level_z(&level, 0.250, 0.97) == ms_level_z(&level, 0.250, NAN)); /* out */
    for (int i = 180; i < 199; i++)
        left += i / 1000.0, squares += i * i / 1e6; /* 0.199 is judged */
    left /= 19;
    assert_true(fabs(ms_level_z(&level, 0.199, 0.199) -
                     (0.199 - left) / sqrt(squares / 19 - left * left)) < 1e-6);
    for (int i = 0; i < 20; i++) scores[i] = i / 1000.0;
    level = ms_level_of(scores, 20);
    assert_int_equal(level.n, 8);
    for (int i = 0; i < 200; i++) scores[i] = 0.3; /* all alike: no number of infinite size */
    level = ms_level_of(scores, 200);
    assert_true(fabs(ms_level_z(&level, 0.302, NAN) - 2.0) < 1e-9);
    for (int i = 0; i < 200; i++) scores[i] = 0.9; /* nothing but copies of it */
    level = ms_level_of(scores, 200);
    assert_true(ms_level_z(&level, 0.9, 0.9) < 0.0);
}

/* Any order, with repeats, gives what sorting gives. */
static void test_level_order(void **state) {
    enum { N = 300 };
    double scores[N], sorted[N];
    (void)state;
    for (int round = 0; round < 200; round++) {
        int n = 100 + round, k = n / 10;
        for (int i = 0; i < n; i++)
            scores[i] = sorted[i] = floor(uniform_f64(&seed) * (1 + round % 40)) / 64.0;
        for (int i = 0; i < n; i++) /* falling */
            for (int j = i; j > 0 && sorted[j] > sorted[j - 1]; j--) {
                double x = sorted[j];
                sorted[j] = sorted[j - 1];
                sorted[j - 1] = x;
            }
        ms_level level = ms_level_of(scores, (size_t)n);
        double sum = 0.0;
        for (int i = 0; i < k; i++) sum += sorted[i];
        assert_int_equal(level.n, k);
        assert_true(fabs(level.sum - sum) < 1e-12);
        assert_true(level.lowest == sorted[k - 1] && level.next == sorted[k]);
    }
}

/* From tables of the normal distribution. */
static void test_normal_tail(void **state) {
    static const double known[][2] = {{0.0, 0.5},
                                      {1.0, 0.15865525393145705},
                                      {3.0, 1.3498980316300946e-3},
                                      {6.0, 9.8658764503769814e-10},
                                      {10.0, 7.6198530241605261e-24},
                                      {37.0, 5.7255712225245e-300}};
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_true(fabs(exp(ms_normal_log_tail(known[i][0])) / known[i][1] - 1) < 1e-7);
    /* where the one form takes over from the other there is no step */
    double below = ms_normal_log_tail(nextafter(20.0, 0.0)), above = ms_normal_log_tail(20.0);
    assert_true(above <= below && below - above < 1e-7);
    assert_true(fabs(ms_normal_log_tail(1e4) / -5e7 - 1) < 1e-6);
    assert_true(ms_normal_log_tail(INFINITY) == -INFINITY);
}

static void test_background(void **state) {
    enum { N = 400000 };
    double *scores = test_alloc(N, sizeof *scores);
    ms_background b, few;
    (void)state;
    for (int i = 0; i < N; i++) scores[i] = 0.05 * bell();
    ms_background_fit(&b, scores, N, 1000);
    assert_int_equal(b.n_knots, 10);
    assert_true(ms_background_is_valid(&b));
    for (int i = 0; i < b.n_knots; i++) /* where the knots are, p is their share */
        assert_true(fabs(ms_background_p(&b, b.knots[i]) / ms_background_share(i) - 1) < 1e-9);
    assert_true(fabs(ms_background_p(&b, 0.05) - 0.1587) < 0.01);
    assert_true(fabs(ms_background_p(&b, -0.05) - 0.8413) < 0.01);
    double last = 1.0;
    for (double s = -1.0; s <= 1.0; s += 0.001) {
        double p = ms_background_p(&b, s);
        assert_true(p <= last && p > 0.0);
        last = p;
    }
    assert_true(ms_background_p(&b, NAN) == 1.0);
    assert_true(ms_background_p(&b, -INFINITY) == 1.0 && ms_background_p(&b, INFINITY) == 0.0);
    ms_background_fit(&few, scores, 2000, 1000); /* fewer knots: 50 pairs beyond each */
    assert_int_equal(few.n_knots, 4);
    ms_background_fit(&few, scores, 100, 1000); /* too few pairs */
    assert_int_equal(few.pairs, 0);
    ms_background_fit(&few, scores, 0, 1);
    assert_int_equal(few.pairs, 0);
    ms_free(scores);
}

/* Beyond the last knot the tail is the normal one through the last two, whatever their unit. */
static void test_tail(void **state) {
    /* knots of a normal distribution of mean 2 and deviation 3 */
    ms_background b = {.pairs = 1000000, .pieces = 1000, .n_knots = 10};
    static const double at[MS_BACKGROUND_KNOTS] = {0,          0.84162123, 1.28155157, 1.64485363,
                                                   2.05374891, 2.32634787, 2.57582930, 2.87816174,
                                                   3.09023231, 3.29052673};
    (void)state;
    for (int i = 0; i < MS_BACKGROUND_KNOTS; i++) b.knots[i] = 2.0 + 3.0 * at[i];
    assert_true(fabs(ms_background_p(&b, 2.0 + 3.0 * 6.0) / 9.8658764503769814e-10 - 1) < 1e-5);
    assert_true(fabs(ms_background_p(&b, 2.0 + 3.0 * 10.0) / 7.6198530241605261e-24 - 1) < 1e-5);
    b.n_knots = 4;
    assert_true(fabs(ms_background_p(&b, 2.0 + 3.0 * 6.0) / 9.8658764503769814e-10 - 1) < 1e-5);
    b.knots[3] = 101.0; /* no z is so high */
    assert_true(!ms_background_is_valid(&b));
    b.knots[3] = 99.0;
    assert_true(ms_background_is_valid(&b));
    b.knots[2] = 99.0;
    assert_true(!ms_background_is_valid(&b));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_level), cmocka_unit_test(test_level_order),
        cmocka_unit_test(test_normal_tail), cmocka_unit_test(test_background),
        cmocka_unit_test(test_tail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
