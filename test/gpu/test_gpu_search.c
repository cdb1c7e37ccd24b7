/* Exact search on a CUDA device against the CPU's plain scan: the same rows and the same bits of
 * scores for every scan and type of row, whether rows and codes stay on the device, stream
 * through it or are gathered, for corpora made to defeat the bounds or the sizes of rounds. Limits
 * (kernels/search/search.h) take small corpora through what large ones go through. A bound that is
 * made wrong on purpose must show. docs/SEARCH.md, docs/GPU.md. */
#define _GNU_SOURCE
#include "search_rig.h"

/* ---- Tests ---- */

static void every_form_type_and_residence(void **state) {
    (void)state;
    static const struct {
        int64_t k;
        size_t n_query;
    } shapes[] = {{1, 12}, {16, 7}, {100, 5}, {10, 1}};
    static int64_t some[650];
    size_t n_some = 0;
    int turn = 0;
    for (int64_t row = 0; row < 1300; row += 2) some[n_some++] = row;
    for (int dtype = MSIM_DTYPE_F32; dtype <= MSIM_DTYPE_F64; dtype++) {
        if (IS_SLOW && dtype == MSIM_DTYPE_BF16) continue; /* others have it too */
        corpus c = make_corpus(RANDOM, dtype, 1300, dtype % 3 ? 64 : 65);
        ms_codes_file file;
        pair p = open_pair();
        attach(&c.view, &file, BOTH);
        for (enum residence want = ALL; want <= NOTHING; want++) {
            /* there rows are not smaller */
            if (want == ROWS && dtype != MSIM_DTYPE_BF16 && dtype != MSIM_DTYPE_F16) continue;
            if (want == ROWS) file.codes.int8 = NULL; /* and bf16 copies are larger than they */
            load_all(&p, &c, want, MS_CODES_INT8);
            ms_gpu_residence r = ms_gpu_search_residence(p.gpu);
            assert_int_equal(r.has_rows, want == ALL || want == ROWS);
            assert_int_equal(r.has_int8, want == ALL || want == COPIES);
            for (int scan = MSIM_SCAN_AUTO; scan <= MSIM_SCAN_INT8; scan++) {
                if (scan == MSIM_SCAN_INT8 && !file.codes.int8) continue;
                size_t n_query = shapes[turn % 4].n_query;
                ms_search_outcome o =
                    same(&p, n_query, shapes[turn % 4].k, scan, MSIM_METRIC_COSINE, NULL, 0);
                if (scan == MSIM_SCAN_F64)
                    assert_int_equal(o.rows_evaluated,
                                     1300 * (int64_t)(n_query > 5 ? n_query - 1 : n_query));
                if (scan < MSIM_SCAN_BF16)
                    same(&p, n_query, shapes[turn % 4].k, scan, MSIM_METRIC_IP, NULL, 0);
                turn++;
            }
            /* Excluded rows are not in the sample either. */
            same(&p, 2, 16, want == COPIES ? MSIM_SCAN_INT8 : MSIM_SCAN_F32, MSIM_METRIC_COSINE,
                 some, n_some);
        }
        close_pair(&p);
        ms_codes_close(&file);
        release(&c);
    }
}

/* Orders and values that defeat what a bound or the length of a round counts on. */
static void adversarial_corpora(void **state) {
    (void)state;
    static const int64_t ks[] = {16, 1, 100};
    for (enum made made = ASCENDING; made < MADE_COUNT; made++) {
        int dtype = made == ODD    ? MSIM_DTYPE_F64
                    : made == TIED ? MSIM_DTYPE_BF16
                    : made == BALL ? MSIM_DTYPE_F16
                                   : MSIM_DTYPE_F32;
        corpus c = make_corpus(made, dtype, 1100, 40);
        ms_codes_file file;
        pair p = open_pair();
        attach(&c.view, &file, BOTH);
        for (int i = 0; i < 3; i++) {
            enum residence want = i == 0 ? ALL : i == 1 ? COPIES : NOTHING;
            if (IS_SLOW && (i + (int)made) % 3 == 0) continue;
            load_all(&p, &c, want, MS_CODES_INT8);
            for (int scan = MSIM_SCAN_F64; scan <= MSIM_SCAN_INT8; scan++) {
                if (scan != MSIM_SCAN_INT8 && (scan + i + (int)made) % 2) continue;
                same(&p, 6, ks[(i + scan) % 3], scan, MSIM_METRIC_COSINE, NULL, 0);
                if (scan == MSIM_SCAN_F32) same(&p, 6, ks[i], scan, MSIM_METRIC_IP, NULL, 0);
            }
        }
        close_pair(&p);
        ms_codes_close(&file);
        release(&c);
    }
}

/* The sizes that searches really have: lists of 3,072, which 5,000 equal rows overflow; results up
 * to 1,024. */
static void ordinary_limits(void **state) {
    (void)state;
    static const ms_gpu_search_limits ordinary = {0};
    static const enum made mades[] = {DUPLICATED, RANDOM};
    for (size_t i = 0; i < 2; i++) {
        corpus c = make_corpus(mades[i], MSIM_DTYPE_F32, 5000, 16);
        ms_codes_file file;
        pair p = open_pair();
        attach(&c.view, &file, MS_CODES_INT8);
        load(&p, &c.view, 1, 0, c.n, c.queries, &ordinary);
        same(&p, 2, 10, MSIM_SCAN_INT8, MSIM_METRIC_COSINE, NULL, 0);
        same(&p, 2, 10, MSIM_SCAN_F32, MSIM_METRIC_COSINE, NULL, 0);
        same(&p, 2, 600, MSIM_SCAN_AUTO, MSIM_METRIC_COSINE, NULL, 0);
        same(&p, 3, 1024, MSIM_SCAN_F64, MSIM_METRIC_IP, NULL, 0);
        close_pair(&p);
        ms_codes_close(&file);
        release(&c);
    }
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32, 300, 512);
    pair p = open_pair();
    load(&p, &c.view, 1, 0, c.n, c.queries, &ordinary);
    same(&p, 12, 16, MSIM_SCAN_F32, MSIM_METRIC_COSINE, NULL, 0);
    close_pair(&p);
    release(&c);
}

/* Parts: of one type, without rows, of another type with offsets, and one of few rows; each with a
 * copy of its own. */
static void ranges_parts_and_exclusions(void **state) {
    (void)state;
    enum { N = 900, D = 48 };
    static const int64_t ranges[][2] = {{0, N + 70}, {130, 401}, {7, 3},   {395, 18},
                                        {N + 69, 1}, {401, 500}, {16, 256}};
    corpus c = make_corpus(BALL, MSIM_DTYPE_F32, N, D),
           other = make_corpus(ODD, MSIM_DTYPE_F16, 70, D);
    corpus third = make_corpus(FAR_CENTRE, MSIM_DTYPE_F32, 489, D);
    ms_codes_file files[4];
    ms_rows views[5];
    static int64_t some[N + 70], all[N + 70];
    size_t n_some = 0;
    for (int i = 0; i < 5; i++) views[i] = c.view;
    views[0].n_rows = 400;
    views[1].n_rows = 0;
    views[2] = other.view;
    views[2].offsets = other.offsets;
    views[3] = third.view;
    views[4].base += 889 * c.row_bytes;
    views[4].n_rows = 11;
    for (int i = 0, f = 0; i < 5; i++)
        if (views[i].n_rows) attach(&views[i], &files[f++], BOTH);
    for (int64_t row = 0; row < N + 70; row++) {
        all[row] = row;
        if (row % 3 == 0 || row < 140) some[n_some++] = row;
    }
    for (int j = 0; j < D; j++)
        c.queries[D + j] = 1.0f; /* near the third corpus, as the first is
                                                          * near its own */
    pair p = open_pair();
    p.views = views;
    p.n_views = 5;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (int j = 0; j < 3; j++) {
            enum residence want = j == 0 ? ALL : j == 1 ? COPIES : NOTHING;
            ms_gpu_search_limits l = limits_for(small, &p, want, MS_CODES_INT8);
            if (i > 1 && (i + (size_t)j) % 3) continue;
            load(&p, views, 5, ranges[i][0], ranges[i][1], c.queries, &l);
            for (int scan = MSIM_SCAN_F64; scan <= MSIM_SCAN_INT8; scan++) {
                if (i > 1 && (scan + j) % 2) continue;
                same(&p, 2, 17, scan, MSIM_METRIC_COSINE, NULL, 0);
                same(&p, 2, 17, scan, MSIM_METRIC_COSINE, some, n_some);
                same(&p, 2, 17, scan, MSIM_METRIC_COSINE, all + 1, N + 67);
            }
            same(&p, 2, 5, MSIM_SCAN_INT8, MSIM_METRIC_COSINE, all, N + 70);
        }
    close_pair(&p);
    for (int f = 0; f < 4; f++) ms_codes_close(&files[f]);
    release(&c);
    release(&other);
    release(&third);
}

/* Both metrics in turn without loading anew: what the f32 scan keeps of each row is another number
 * for each. Half of the rows are one and the same, and long; a sample meets one in four of them.
 * With the inverse of their length for it, a dot product that f32 rounded down would leave out the
 * others, though the first of them are results. */
static void metrics_in_turn(void **state) {
    (void)state;
    corpus c = make_corpus(DUPLICATED, MSIM_DTYPE_F32, 1100, 40);
    pair p = open_pair();
    load_all(&p, &c, ALL, 0);
    for (int i = 0; i < 2; i++) {
        same(&p, 32, 16, MSIM_SCAN_F32, MSIM_METRIC_IP, NULL, 0);
        same(&p, 4, 16, MSIM_SCAN_F32, MSIM_METRIC_COSINE, NULL, 0);
    }
    close_pair(&p);
    release(&c);
}

static void groups_of_queries_and_sizes(void **state) {
    (void)state;
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_BF16, 280, 30),
           odd = make_corpus(ODD, MSIM_DTYPE_F32, 150, 30);
    pair p = open_pair();
    load_all(&p, &c, ALL, 0);
    same(&p, 64, 4, MSIM_SCAN_F32, MSIM_METRIC_COSINE, NULL, 0);
    same(&p, 70, 4, MSIM_SCAN_F32, MSIM_METRIC_IP, NULL, 0);
    same(&p, 70, 280, MSIM_SCAN_AUTO, MSIM_METRIC_COSINE, NULL, 0);
    same(&p, 1, 1000, MSIM_SCAN_F32, MSIM_METRIC_COSINE, NULL, 0);
    same(&p, 0, 5, MSIM_SCAN_AUTO, MSIM_METRIC_COSINE, NULL, 0);
    same(&p, 3, 0, MSIM_SCAN_AUTO, MSIM_METRIC_COSINE, NULL, 0);
    load_all(&p, &odd, NOTHING, 0); /* another corpus in the same context; all its rows are
                                     * results */
    same(&p, 7, 150, MSIM_SCAN_F32, MSIM_METRIC_COSINE, NULL, 0);
    same(&p, 7, 200, MSIM_SCAN_F64, MSIM_METRIC_IP, NULL, 0);
    p.queries = odd.queries + 5 * 30; /* the query of zeros alone: no pass */
    load(&p, &odd.view, 1, 0, 150, p.queries, &small);
    same(&p, 1, 149, MSIM_SCAN_F32, MSIM_METRIC_COSINE, NULL, 0);
    load(&p, &odd.view, 1, 20, 0, odd.queries, &small);
    same(&p, 3, 5, MSIM_SCAN_AUTO, MSIM_METRIC_COSINE, NULL, 0);
    load(&p, NULL, 0, 0, 0, odd.queries, &small);
    same(&p, 3, 5, MSIM_SCAN_AUTO, MSIM_METRIC_COSINE, NULL, 0);
    load_all(&p, &c, ALL, 0);
    same(&p, 3, 5, MSIM_SCAN_AUTO, MSIM_METRIC_COSINE, NULL, 0);
    close_pair(&p);
    release(&c);
    release(&odd);
}

static void random_rows_cost_few_scores(void **state) {
    (void)state;
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32, 3000, 32);
    ms_codes_file file;
    pair p = open_pair();
    attach(&c.view, &file, MS_CODES_INT8);
    for (int i = 0; i < 2; i++) {
        load_all(&p, &c, i ? COPIES : ALL, MS_CODES_INT8);
        ms_search_outcome o = same(&p, 5, 5, MSIM_SCAN_INT8, MSIM_METRIC_COSINE, NULL, 0);
        assert_true(o.rows_evaluated >= 5 * 5 && o.rows_evaluated < 5 * 1000);
    }
    close_pair(&p);
    ms_codes_close(&file);
    release(&c);
}

/* ---- Thresholds ---- */

typedef struct {
    size_t n, stop_after;
    ms_hit hits[20000];
} taken;

static int take_hit(void *user, size_t query, int64_t row, double score) {
    taken *t = user;
    assert_true(t->n < sizeof t->hits / sizeof *t->hits);
    t->hits[t->n++] = (ms_hit){score, row * 100 + (int64_t)query};
    return t->n == t->stop_after;
}

static int by_row(const void *a, const void *b) {
    int64_t x = ((const ms_hit *)a)->row, y = ((const ms_hit *)b)->row;
    return (x > y) - (x < y);
}

static void same_above(pair *p, size_t n_query, double threshold, int scan, int metric,
                       const int64_t *excluded, size_t n) {
    static taken ours, expected;
    msim_search_options o = {.size = sizeof(msim_search_options),
                             .scan = MSIM_SCAN_F64,
                             .metric = metric,
                             .excluded = excluded,
                             .n_excluded = n};
    ms_search_request request = {.queries = p->queries,
                                 .n_query = n_query,
                                 .options = &o,
                                 .threshold = threshold,
                                 .sink = take_hit,
                                 .user = &expected};
    msim_error e = {0};
    ours.n = expected.n = ours.stop_after = 0;
    int64_t all = ms_cpu_search_above(p->cpu, &request, NULL);
    assert_int_equal(all, expected.n);
    o.scan = scan;
    request.user = &ours;
    int64_t allocations = ms_mem_count(), got = ms_gpu_search_above(p->gpu, &request, &e);
    if (got < 0) fail_msg("%s", e.text);
    assert_int_equal(ms_mem_count(), allocations);
    assert_int_equal(got, ours.n);
    assert_int_equal(got, expected.n);
    qsort(ours.hits, ours.n, sizeof *ours.hits, by_row);
    qsort(expected.hits, expected.n, sizeof *expected.hits, by_row);
    assert_memory_equal(ours.hits, expected.hits, ours.n * sizeof *ours.hits);
    if (got == 0) return;
    ours.n = 0;
    ours.stop_after = ((size_t)got + 1) / 2;
    got = ms_gpu_search_above(p->gpu, &request, &e);
    assert_int_equal(got, ours.stop_after);
    assert_int_equal(ours.n, ours.stop_after);
}

static void thresholds(void **state) {
    (void)state;
    static const double levels[] = {-INFINITY, -0.2, 0.0, 0.3, 0.6, 1.5, INFINITY};
    int64_t some[300];
    for (int i = 0; i < 300; i++) some[i] = 2 * i;
    for (int i = 0; i < 3; i++) {
        corpus c = make_corpus(i == 0   ? ODD
                               : i == 1 ? ASCENDING
                                        : TIED,
                               i == 2 ? MSIM_DTYPE_BF16 : MSIM_DTYPE_F32, 700, 24);
        ms_codes_file file;
        pair p = open_pair();
        attach(&c.view, &file, BOTH);
        for (int j = 0; j < 3; j++) {
            if (IS_SLOW && i == j) continue;
            load_all(&p, &c, j == 0 ? ALL : j == 1 ? COPIES : NOTHING, MS_CODES_INT8);
            for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
                int scan = MSIM_SCAN_F64 + ((int)l + i + j) % 4;
                same_above(&p, 6, levels[l], scan, MSIM_METRIC_COSINE, NULL, 0);
                if (l % 2) same_above(&p, 2, levels[l], scan, MSIM_METRIC_COSINE, some, 300);
                if (l % 3 == 0)
                    same_above(&p, 3, levels[l], MSIM_SCAN_F32, MSIM_METRIC_IP, NULL, 0);
            }
        }
        close_pair(&p);
        ms_codes_close(&file);
        release(&c);
    }
}

/* ---- What must fail ---- */

static void refusals(void **state) {
    (void)state;
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32, 40, 16);
    pair p = open_pair();
    static ms_hit hits[4];
    msim_error e = {0};
    load_all(&p, &c, ALL, 0);
    msim_search_options o = {.size = sizeof(msim_search_options), .scan = MSIM_SCAN_INT8};
    ms_search_request request = {.queries = c.queries, .n_query = 1, .k = 3, .options = &o};
    assert_int_equal(ms_gpu_search_topk(p.gpu, &request, hits, &e), -MSIM_E_UNSUPPORTED);
    assert_string_equal(
        e.text,
        "search: scan int8: the corpus has no such codes attached; attach them first, or use "
        "scan auto");
    o.scan = MSIM_SCAN_BF16;
    assert_int_equal(ms_gpu_search_topk(p.gpu, &request, hits, &e), -MSIM_E_UNSUPPORTED);
    o.scan = MSIM_SCAN_AUTO;
    request.k = MAX_K + 1;
    assert_int_equal(ms_gpu_search_topk(p.gpu, &request, hits, &e), -MSIM_E_UNSUPPORTED);
    assert_string_equal(e.text, "search: k: expected at most 1024 on a CUDA device, got 1025");
    request.k = 2 * MAX_K + 1;
    assert_int_equal(ms_gpu_search_topk(p.gpu, &request, hits, &e), -MSIM_E_LIMIT);
    request.k = 1;
    request.n_query = MAX_QUERIES + 1;
    assert_int_equal(ms_gpu_search_topk(p.gpu, &request, hits, &e), -MSIM_E_LIMIT);
    ms_rows views[2] = {c.view, c.view};
    views[1].dim = 15;
    assert_int_equal(ms_gpu_search_load(p.gpu, views, 2, 0, 40, &e), -MSIM_E_ARG);
    load_all(&p, &c, ALL, 0);
    same(&p, 2, 3, MSIM_SCAN_F32, MSIM_METRIC_COSINE, NULL, 0);
    close_pair(&p);
    release(&c);
}

/* The comparison sees a bound that does not hold: thresholds too high by a little leave results
 * out. */
static void a_wrong_bound_is_seen(void **state) {
    (void)state;
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32, 1300, 24);
    ms_codes_file file;
    pair p = open_pair();
    ms_search_outcome outcome;
    attach(&c.view, &file, BOTH);
    load(&p, &c.view, 1, 0, c.n, c.queries, &small);
    ms_gpu_search_set_shift(p.gpu, 0.5);
    for (int scan = MSIM_SCAN_F64; scan <= MSIM_SCAN_INT8; scan++) {
        msim_search_options o = {.size = sizeof(msim_search_options), .scan = scan};
        assert_true(differences(&p, 5, 16, &o, &outcome) > 0);
    }
    close_pair(&p);
    ms_codes_close(&file);
    release(&c);
}

/* ---- Two at once ---- */

typedef struct {
    const corpus *c;
    ms_hit hits[5 * 8];
    int64_t got;
} caller;

static void *search_on_own_stream(void *arg) {
    caller *a = arg;
    msim_options options = {.size = sizeof(msim_options), .max_queries = 5, .max_k = 8};
    msim_search_options o = {.size = sizeof(msim_search_options), .scan = MSIM_SCAN_F32};
    ms_search_request request = {.queries = a->c->queries, .n_query = 5, .k = 8, .options = &o};
    ms_gpu_stream *own = NULL;
    ms_gpu_search *gpu = NULL;
    a->got = ms_gpu_stream_open(0, &own, NULL);
    if (a->got >= 0) a->got = ms_gpu_search_open(own, &options, &gpu, NULL);
    if (a->got >= 0) a->got = ms_gpu_search_load(gpu, &a->c->view, 1, 0, a->c->n, NULL);
    for (int i = 0; i < 2 && a->got >= 0; i++)
        a->got = ms_gpu_search_topk(gpu, &request, a->hits, NULL);
    ms_gpu_search_close(gpu);
    ms_gpu_stream_close(own);
    return NULL;
}

static void two_contexts_at_once(void **state) {
    (void)state;
    static caller callers[2];
    corpus c[2] = {make_corpus(RANDOM, MSIM_DTYPE_F32, 400, 20),
                   make_corpus(ASCENDING, MSIM_DTYPE_F16, 300, 20)};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        callers[i] = (caller){.c = &c[i]};
        assert_int_equal(pthread_create(&threads[i], NULL, search_on_own_stream, &callers[i]), 0);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        ms_hit expected[5 * 8];
        msim_search_options o = {.size = sizeof(msim_search_options), .scan = MSIM_SCAN_F64};
        ms_search_request request = {.queries = c[i].queries, .n_query = 5, .k = 8, .options = &o};
        pair p = open_pair();
        load_all(&p, &c[i], ALL, 0);
        assert_int_equal(callers[i].got, 8);
        assert_int_equal(ms_cpu_search_topk(p.cpu, &request, expected, NULL), 8);
        assert_memory_equal(callers[i].hits, expected, sizeof expected);
        close_pair(&p);
        release(&c[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_type_and_residence),
        cmocka_unit_test(adversarial_corpora),
        cmocka_unit_test(ordinary_limits),
        cmocka_unit_test(ranges_parts_and_exclusions),
        cmocka_unit_test(metrics_in_turn),
        cmocka_unit_test(groups_of_queries_and_sizes),
        cmocka_unit_test(random_rows_cost_few_scores),
        cmocka_unit_test(thresholds),
        cmocka_unit_test(refusals),
        cmocka_unit_test(a_wrong_bound_is_seen),
        cmocka_unit_test(two_contexts_at_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
