/* The rank order is total and the same for scores and for keys; lists of shares merge to the list
 * of all their rows. */
#include "search/merge.h"
#include "search/rank.h"
#include "search/score.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Best first, in pairs of neighbours as close as doubles are. */
static const double falling[] = {INFINITY,
                                 0x1.fffffffffffffp1023,
                                 1.0000000000000002,
                                 1.0,
                                 0.9999999999999999,
                                 0x1p-1022,
                                 0x1p-1074,
                                 0.0,
                                 -0x1p-1074,
                                 -0x1p-1022,
                                 -0.9999999999999999,
                                 -1.0,
                                 -1.0000000000000002,
                                 -0x1.fffffffffffffp1023,
                                 -INFINITY};
enum { N_SCORES = sizeof falling / sizeof *falling };

static bool key_before(double a, int64_t row_a, double b, int64_t row_b) {
    return ms_rank_key_before(ms_rank_key(a), row_a, ms_rank_key(b), row_b);
}

static void the_order_is_total(void **state) {
    (void)state;
    static const int64_t rows[] = {0, 1, INT64_MAX};
    for (int i = 0; i < 3 * N_SCORES; i++)
        for (int j = 0; j < 3 * N_SCORES; j++) {
            double a = falling[i / 3], b = falling[j / 3];
            int64_t row_a = rows[i % 3], row_b = rows[j % 3];
            assert_int_equal(ms_rank_before(a, row_a, b, row_b), i < j);
            assert_int_equal(key_before(a, row_a, b, row_b), i < j);
        }
}

static void keys_give_scores_back(void **state) {
    (void)state;
    for (int i = 0; i < N_SCORES; i++) {
        double back = ms_rank_score_of(ms_rank_key(falling[i]));
        assert_memory_equal(&back, &falling[i], sizeof back);
    }
    assert_true(ms_rank_key(-0.0) == ms_rank_key(0.0));
    assert_true(ms_rank_key(NAN) == ms_rank_key(-INFINITY));
    assert_true(ms_rank_key(-NAN) == ms_rank_key(-INFINITY));
    /* What fills a list that is sorted by keys ranks after every row. */
    assert_true(ms_rank_key_before(ms_rank_key(-INFINITY), INT64_MAX - 1, UINT64_MAX, INT64_MAX));
}

static void scores_of_odd_rows(void **state) {
    (void)state;
    double zero = 0.0, score = ms_score(-0.0, 1.0, 1.0, 1.0, 0);
    assert_memory_equal(&score, &zero, sizeof score);
    score = ms_score(-0.0, 1.0, 1.0, 1.0, 1);
    assert_memory_equal(&score, &zero, sizeof score);
    assert_true(ms_score(6.0, 4.0, 2.0, 3.0, 0) == 1.0);
    assert_true(ms_score(6.0, 4.0, 0.0, 3.0, 1) == 6.0);
    assert_true(ms_score(0.0, 0.0, 0.0, 3.0, 0) == 0.0);
    assert_true(ms_score(0.0, 4.0, 2.0, 0.0, 0) == 0.0);
    for (int is_ip = 0; is_ip <= 1; is_ip++) {
        assert_true(ms_score(1.0, INFINITY, INFINITY, 1.0, is_ip) == -INFINITY);
        assert_true(ms_score(NAN, NAN, NAN, 1.0, is_ip) == -INFINITY);
    }
}

enum { SHARES = 3, QUERIES = 2, ROWS = 20 };

/* Scores of few values, so that there are many ties. */
static ms_hit hit_of(size_t q, int64_t row) {
    return (ms_hit){.score = (double)((row * 7 + (int64_t)q) % 4), .row = row};
}

/* Rows first .. end - 1, ranked, the k best of each query; returns how many each has. */
static int64_t rank_rows(ms_hit *hits, int64_t first, int64_t end, int64_t k) {
    int64_t n = end - first < k ? end - first : k;
    for (size_t q = 0; q < QUERIES; q++) {
        ms_topk top;
        ms_topk_init(&top, hits + (int64_t)q * k, (size_t)n);
        for (int64_t row = first; row < end; row++) ms_topk_push(&top, hit_of(q, row));
        ms_topk_sort(&top);
    }
    return n;
}

static void shares_merge_to_one_list(void **state) {
    (void)state;
    static const int64_t ends[SHARES] = {3, 3, ROWS}; /* the second has no rows */
    for (int64_t k = 0; k <= ROWS + 2; k++) {
        ms_hit found[SHARES][QUERIES * (ROWS + 2)], all[QUERIES * (ROWS + 2)],
            merged[QUERIES * (ROWS + 2)];
        ms_share_hits shares[SHARES];
        for (int i = 0; i < SHARES; i++) {
            int64_t n = rank_rows(found[i], i ? ends[i - 1] : 0, ends[i], k);
            shares[i] = (ms_share_hits){.hits = found[i], .n = n, .stride = k};
        }
        int64_t n = rank_rows(all, 0, ROWS, k);
        assert_int_equal(ms_merge_shares(shares, SHARES, QUERIES, k, merged), n);
        for (int64_t i = 0; i < QUERIES * k; i++)
            if (i % k < n) assert_memory_equal(&merged[i], &all[i], sizeof *all);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_total),
        cmocka_unit_test(keys_give_scores_back),
        cmocka_unit_test(scores_of_odd_rows),
        cmocka_unit_test(shares_merge_to_one_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
