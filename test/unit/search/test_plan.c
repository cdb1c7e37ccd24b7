/* What a search decides before it looks at a row: the scan for each request, excluded rows within a
 * range, the rows that codes list, and which rows the sample has. */
#include "codes/layout.h"
#include "search/plan.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    AUTO = MSIM_SCAN_AUTO,
    F64 = MSIM_SCAN_F64,
    F32 = MSIM_SCAN_F32,
    BF16 = MSIM_SCAN_BF16,
    INT8 = MSIM_SCAN_INT8,
    COSINE = MSIM_METRIC_COSINE,
    IP = MSIM_METRIC_IP
};

#define ROWS (MS_SCAN_BIT(F64) | MS_SCAN_BIT(F32))
#define ALL (ROWS | MS_SCAN_BIT(BF16) | MS_SCAN_BIT(INT8))

/* ---- The choice of the scan ---- */

typedef struct {
    int wanted, metric;
    int64_t n_rows, k;
    unsigned scans, preferred;
    int scan; /* below 0: refused */
} choice;

static const choice choices[] = {
    /* AUTO takes what reads least, of the scans that are there and preferred. */
    {AUTO, COSINE, 2048, 10, ALL, ALL, INT8},
    {AUTO, COSINE, 2048, 10, ROWS | MS_SCAN_BIT(BF16), ALL, BF16},
    {AUTO, COSINE, 2048, 10, ROWS, ALL, F32},
    {AUTO, COSINE, 2048, 10, MS_SCAN_BIT(F64), ALL, F64},
    {AUTO, COSINE, 2048, 10, ALL, ROWS, F32},
    {AUTO, COSINE, 2048, 10, ALL, ROWS | MS_SCAN_BIT(BF16), BF16},
    {AUTO, IP, 2048, 10, ALL, ALL, F32},
    /* Few rows, or many results of the rows. */
    {AUTO, COSINE, 2047, 10, ALL, ALL, F64},
    {AUTO, COSINE, 2048, 256, ALL, ALL, INT8},
    {AUTO, COSINE, 2048, 257, ALL, ALL, F64},
    {AUTO, COSINE, 0, 0, ALL, ALL, F64},
    /* What is asked for is what is done, or refused. */
    {F64, COSINE, 2048, 10, ALL, ALL, F64},
    {F64, IP, 2048, 10, ALL, ALL, F64},
    {F32, COSINE, 1, 1, ALL, ALL, F32},
    {F32, IP, 1, 1, ALL, ALL, F32},
    {BF16, COSINE, 1, 1, ALL, ALL, BF16},
    {INT8, COSINE, 1, 1, ALL, ALL, INT8},
    {INT8, COSINE, 4096, 1, ALL, ROWS, INT8},
    {BF16, COSINE, 1, 1, ROWS | MS_SCAN_BIT(INT8), ALL, -MSIM_E_UNSUPPORTED},
    {INT8, COSINE, 1, 1, ROWS | MS_SCAN_BIT(BF16), ALL, -MSIM_E_UNSUPPORTED},
    {INT8, IP, 1, 1, ALL, ALL, -MSIM_E_UNSUPPORTED},
    {BF16, IP, 1, 1, ALL, ALL, -MSIM_E_UNSUPPORTED},
    {F32, COSINE, 0, 1, MS_SCAN_BIT(F64), ALL, F64},
};

static void scans_are_chosen(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        const choice *c = &choices[i];
        msim_error err = {0};
        msim_search_options o = {.metric = c->metric, .scan = c->wanted};
        ms_search_request request = {.k = c->k, .options = &o};
        ms_plan_backend backend = {.scans = c->scans, .preferred = c->preferred};
        int scan = ms_plan_choose_scan(&request, c->n_rows, &backend, &err);
        if (scan != c->scan) fail_msg("choice %zu: expected %d, got %d", i, c->scan, scan);
        assert_int_equal(err.code != 0, scan < 0);
        assert_int_equal(ms_plan_choose_scan(&request, c->n_rows, &backend, NULL), scan);
    }
}

/* ---- Slices, excluded rows and lists ---- */

enum { DIM = 2, VIEWS = 4 };

static const int64_t zeros[] = {0, 1, 5, 6}, nonfinite[] = {2, 9};
static const unsigned char tile[1];
static const ms_codes copies[2] = {
    {.int8 = tile, .bf16 = tile},
    {.int8 = tile, .zeros = zeros, .n_zeros = 4, .nonfinite = nonfinite, .n_nonfinite = 2}};

/* Rows 0 .. 7, none, 8 .. 17, 18 .. 20. */
static void make_views(ms_rows views[VIEWS]) {
    static const int64_t n_rows[VIEWS] = {8, 0, 10, 3};
    static const unsigned char bytes[64];
    for (int i = 0; i < VIEWS; i++)
        views[i] = (ms_rows){.base = bytes, .row_bytes = 2, .n_rows = n_rows[i], .dim = DIM};
    views[0].codes = views[3].codes = &copies[0];
    views[2].codes = &copies[1];
}

static void ranges_are_cut_into_slices(void **state) {
    (void)state;
    ms_rows views[VIEWS];
    make_views(views);
    for (int64_t first = 0; first <= 21; first++)
        for (int64_t n = 0; first + n <= 21; n++) {
            ms_slices s;
            int64_t row = first;
            assert_int_equal(ms_slices_open(&s, views, VIEWS, first, n, NULL), 0);
            assert_true(s.first_row == first && s.n_rows == n && s.dim == DIM);
            assert_true(s.has_int8 && !s.has_bf16); /* a view without rows needs none */
            for (size_t i = 0; i < s.n; i++) {
                const ms_slice *p = &s.slices[i];
                int64_t before = p->index == 0 ? 0 : p->index == 2 ? 8 : 18;
                assert_true(p->n_rows > 0 && p->view == &views[p->index]);
                assert_true(p->first_row == row && p->start == row - before);
                assert_true(p->start + p->n_rows <= p->view->n_rows);
                for (int64_t r = 0; r < p->n_rows; r++, row++) {
                    const ms_rows *view;
                    assert_ptr_equal(ms_slices_find(&s, row), p);
                    assert_ptr_equal(ms_slices_row(&s, row, &view),
                                     p->view->base + 2 * (p->start + r));
                    assert_ptr_equal(view, p->view);
                }
            }
            assert_int_equal(row, first + n);
            ms_slices_close(&s);
            assert_int_equal(s.n, 0);
            ms_slices_close(&s);
        }
}

static void bad_views_are_refused(void **state) {
    (void)state;
    ms_rows views[VIEWS];
    ms_slices s;
    msim_error err;
    make_views(views);
    views[3].dim = 3;
    assert_int_equal(ms_slices_open(&s, views, VIEWS, 0, 1, &err), -MSIM_E_ARG);
    assert_string_equal(err.text, "corpus part 3: expected rows of width 2, got 3");
    assert_true(s.n == 0 && s.slices == NULL);
    make_views(views);
    views[3].n_rows = INT64_MAX;
    assert_int_equal(ms_slices_open(&s, views, VIEWS, 0, 1, &err), -MSIM_E_LIMIT);
    assert_int_equal(ms_slices_open(&s, NULL, 0, 0, 0, NULL), 0);
    assert_true(s.n == 0 && s.dim == 0 && !s.has_int8);
    ms_slices_close(&s);
}

/* The plan of a search whose rows first .. first + n - 1 are loaded. */
static ms_search_plan plan_over(const ms_slices *s, const ms_search_request *request) {
    ms_search_plan plan;
    ms_plan_backend backend = {.max_queries = 4, .max_k = 50, .scans = ALL, .preferred = ALL};
    assert_int_equal(ms_plan_begin(&plan, request, s, &backend, NULL), 0);
    return plan;
}

static void excluded_rows_are_those_of_the_range(void **state) {
    (void)state;
    static const int64_t excluded[] = {-3, 0, 1, 7, 8, 13, 14, 20, 21, 400};
    ms_rows views[VIEWS];
    make_views(views);
    msim_search_options o = {.scan = INT8, .excluded = excluded, .n_excluded = 10};
    ms_search_request request = {.k = 3, .options = &o, .n_query = 1};
    for (int64_t first = 0; first <= 21; first++)
        for (int64_t n = 0; first + n <= 21; n++) {
            ms_slices s;
            int64_t n_inside = 0;
            assert_int_equal(ms_slices_open(&s, views, VIEWS, first, n, NULL), 0);
            ms_search_plan plan = plan_over(&s, &request);
            for (size_t i = 0; i < 10; i++) {
                bool is_inside = excluded[i] >= first && excluded[i] < first + n;
                assert_int_equal(ms_row_list_has(plan.excluded, excluded[i]), is_inside);
                if (is_inside) assert_int_equal(plan.excluded.rows[n_inside++], excluded[i]);
            }
            assert_int_equal(plan.excluded.n, n_inside);
            assert_int_equal(plan.n_rows, n - n_inside);
            assert_false(ms_row_list_has(plan.excluded, 2));
            ms_plan_end(&plan);
            assert_true(plan.request == NULL && plan.excluded.n == 0 && plan.scan == INT8);
            ms_slices_close(&s);
        }
}

/* The walk through one list: rows of view 2, which begin at row 8 of the corpus. */
static void expect_walk(const ms_slices *s, ms_row_list excluded,
                        ms_row_list (*list)(const ms_slice *), const int64_t *all, size_t n_all) {
    ms_listed_walk walk = {.slices = s, .excluded = excluded, .list = list};
    for (size_t i = 0; i < n_all; i++) {
        int64_t row = 8 + all[i];
        bool is_loaded = row >= s->first_row && row < s->first_row + s->n_rows;
        if (is_loaded) assert_true(ms_slices_is_listed(s, row));
        if (is_loaded && !ms_row_list_has(excluded, row))
            assert_int_equal(ms_listed_next(&walk), row);
    }
    assert_int_equal(ms_listed_next(&walk), -1);
    assert_int_equal(ms_listed_next(&walk), -1);
}

static void listed_rows_are_walked(void **state) {
    (void)state;
    static const int64_t excluded[] = {9, 14};
    ms_rows views[VIEWS];
    make_views(views);
    for (int64_t first = 0; first <= 21; first++)
        for (int64_t n = 0; first + n <= 21; n++) {
            ms_slices s;
            assert_int_equal(ms_slices_open(&s, views, VIEWS, first, n, NULL), 0);
            for (size_t n_excluded = 0; n_excluded <= 2; n_excluded++) {
                ms_row_list out = {excluded, n_excluded};
                expect_walk(&s, out, ms_slice_zeros, zeros, 4);
                expect_walk(&s, out, ms_slice_nonfinite, nonfinite, 2);
            }
            int64_t end = first + n;
            assert_int_equal(ms_slices_count_nonfinite(&s),
                             (first <= 10 && end > 10) + (first <= 17 && end > 17));
            if (first <= 11 && end > 11) assert_false(ms_slices_is_listed(&s, 11));
            ms_slices_close(&s);
        }
}

/* ---- Requests ---- */

static int no_hit(void *user, size_t query, int64_t row, double score) {
    (void)user, (void)query, (void)row, (void)score;
    return 0;
}

static void requests_are_taken_up(void **state) {
    (void)state;
    ms_rows views[VIEWS];
    ms_slices s;
    msim_error err;
    make_views(views);
    assert_int_equal(ms_slices_open(&s, views, VIEWS, 0, 21, NULL), 0);
    msim_search_options o = {.metric = IP, .scan = F32};
    ms_search_request request = {.n_query = 4, .k = 50, .options = &o};
    ms_search_plan plan = plan_over(&s, &request);
    assert_true(plan.is_ip && plan.scan == F32 && plan.n_rows == 21);
    assert_true(plan.request == &request && plan.threshold == -INFINITY);
    request.sink = no_hit;
    request.threshold = 0.25;
    plan = plan_over(&s, &request);
    assert_true(plan.threshold == 0.25);
    assert_true(ms_plan_is_hit(&plan, 0.25) && ms_plan_is_hit(&plan, INFINITY));
    assert_false(ms_plan_is_hit(&plan, 0.2499) || ms_plan_is_hit(&plan, -INFINITY));
    request.threshold = -INFINITY;
    assert_true(ms_plan_is_hit(&plan, -1e300) && !ms_plan_is_hit(&plan, -INFINITY));
    ms_plan_backend backend = {.max_queries = 4, .max_k = 50, .scans = ALL, .preferred = ALL};
    ms_search_request bad[] = {request, request, request};
    bad[0].n_query = 5, bad[1].k = 51, bad[2].k = -1;
    for (int i = 0; i < 3; i++) {
        plan.scan = 77;
        assert_int_equal(ms_plan_begin(&plan, &bad[i], &s, &backend, &err), -MSIM_E_LIMIT);
        assert_int_equal(plan.scan, 77);
    }
    assert_string_equal(err.text, "search: expected at most 4 queries and k 50, got 4 and -1");
    ms_slices_close(&s);
}

/* ---- The sample ---- */

static void samples_are_sized(void **state) {
    (void)state;
    assert_true(ms_plan_sample_rows(100, 1, 5000) == 1024);         /* the least */
    assert_true(ms_plan_sample_rows(4000000, 1, 5000) == 2000);     /* sqrt(rows x k) */
    assert_true(ms_plan_sample_rows(2000, 1000, 5000) == 2000);     /* twice k */
    assert_true(ms_plan_sample_rows(4000000000, 10, 5000) == 5000); /* what there is room for */
}

/* The sample's blocks and the others are all blocks, each once, and the sample is spread. */
static void blocks_are_all_taken_once(void **state) {
    (void)state;
    enum { MOST = 200 };
    for (int64_t n_blocks = 0; n_blocks <= MOST; n_blocks++)
        for (int64_t wanted = 0; wanted <= 40; wanted++) {
            unsigned char seen[MOST] = {0};
            ms_plan_blocks sample = ms_plan_sample_blocks(256.0 * (double)wanted, n_blocks, 256);
            assert_int_equal(sample.n, wanted && n_blocks / wanted >= 2 ? wanted : 0);
            for (int64_t i = 0; i < sample.n; i++) {
                assert_int_equal(ms_plan_sample_block(&sample, i), i * (n_blocks / wanted));
                seen[ms_plan_sample_block(&sample, i)]++;
            }
            for (int64_t i = 0, last = -1; i < n_blocks - sample.n; i++) {
                int64_t block = ms_plan_other_block(&sample, i);
                assert_true(block > last && block < n_blocks);
                seen[last = block]++;
            }
            for (int64_t i = 0; i < n_blocks; i++) assert_int_equal(seen[i], 1);
        }
}

static void sampled_rows_are_spread(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 7, 1000, INT64_MAX / 2};
    for (size_t i = 0; i < 4; i++)
        for (int64_t n = 1; n <= 1000 && n <= sizes[i]; n += 37) {
            int64_t step = sizes[i] / n, last = ms_plan_sample_row(sizes[i], n, 0);
            assert_int_equal(last, 0);
            for (int64_t at = 1; at < n; at++) {
                int64_t row = ms_plan_sample_row(sizes[i], n, at);
                assert_true(row - last >= step && row - last <= step + 1 && row < sizes[i]);
                last = row;
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scans_are_chosen),
        cmocka_unit_test(ranges_are_cut_into_slices),
        cmocka_unit_test(bad_views_are_refused),
        cmocka_unit_test(excluded_rows_are_those_of_the_range),
        cmocka_unit_test(listed_rows_are_walked),
        cmocka_unit_test(requests_are_taken_up),
        cmocka_unit_test(samples_are_sized),
        cmocka_unit_test(blocks_are_all_taken_once),
        cmocka_unit_test(sampled_rows_are_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
