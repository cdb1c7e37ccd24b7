/* What a search on a CUDA device keeps and takes: the sample's list, which is made once and stays
 * whatever is excluded, and memory, of the host and of the device, that is refused. Results are the
 * CPU's bits all the while. kernels/search/sample.c, kernels/search/rows.c. */
#define _GNU_SOURCE
#include "search_rig.h"
#include "search/plan.h"

/* ---- The sample, which stays on the device ---- */

static int by_number(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Rows of the sample that score best for query 0, ascending: at most n. Without them the K-th score
 * of the sample is lower, so a search that still counted them would leave results out. */
static size_t best_of_sample(pair *p, int64_t n_sample, int64_t *rows, size_t n) {
    static ms_hit all[MAX_K];
    msim_search_options o = {.size = sizeof(msim_search_options), .scan = MSIM_SCAN_F64};
    ms_search_request request = {.queries = p->queries, .n_query = 1, .k = MAX_K, .options = &o};
    int64_t found = ms_cpu_search_topk(p->cpu, &request, all, NULL);
    size_t n_rows = 0;
    for (int64_t i = 0; i < found && n_rows < n; i++)
        for (int64_t j = 0; j < n_sample; j++)
            if (all[i].row == p->first + ms_plan_sample_row(p->n, n_sample, j)) {
                rows[n_rows++] = all[i].row;
                break;
            }
    qsort(rows, n_rows, sizeof *rows, by_number);
    return n_rows;
}

static void sample_of(pair *p, int scan, int metric) {
    enum { CAP = 40 };
    int64_t best[CAP], many[3 * CAP], made = ms_gpu_search_samples(p->gpu);
    for (int i = 0; i < 3 * CAP; i++) many[i] = 7 * i;
    size_t n = best_of_sample(p, small.candidate_cap, best, CAP);
    assert_true(n >= 30);
    same(p, 12, 16, scan, metric, NULL, 0);
    assert_int_equal(ms_gpu_search_samples(p->gpu), made + 1);
    same(p, 1, 16, scan, metric, best, n);
    same(p, 33, 3, scan, metric, best, n);
    same(p, 2, 100, scan, metric, best, n / 2);
    same(p, 12, 16, scan, metric, many, CAP);
    same(p, 70, 16, scan, metric, NULL, 0);
    assert_int_equal(ms_gpu_search_samples(p->gpu), made + 1);
    same(p, 2, 16, scan, metric, many, 3 * CAP); /* more than the device holds: for this search */
    assert_int_equal(ms_gpu_search_samples(p->gpu), made + 2);
    same(p, 2, 16, scan, metric, best, n);
    assert_int_equal(ms_gpu_search_samples(p->gpu), made + 3);
}

static void the_sample_stays(void **state) {
    (void)state;
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_BF16, 1300, 33),
           other = make_corpus(ODD, MSIM_DTYPE_F32, 1150, 33);
    ms_codes_file files[2];
    pair p = open_pair();
    attach(&c.view, &files[0], BOTH);
    attach(&other.view, &files[1], BOTH);
    for (enum residence want = ALL; want <= NOTHING; want++) {
        if (want == ROWS || (IS_SLOW && want == COPIES)) continue;
        load_all(&p, &c, want, MS_CODES_INT8);
        sample_of(&p, MSIM_SCAN_F32, MSIM_METRIC_COSINE);
        sample_of(&p, MSIM_SCAN_INT8, MSIM_METRIC_COSINE); /* rows of zeros are not in it */
        if (IS_SLOW) continue;
        sample_of(&p, MSIM_SCAN_F32, MSIM_METRIC_IP);
        sample_of(&p, MSIM_SCAN_BF16, MSIM_METRIC_COSINE);
    }
    load_all(&p, &other, ALL, MS_CODES_INT8); /* as many rows wanted, of another corpus */
    sample_of(&p, MSIM_SCAN_INT8, MSIM_METRIC_COSINE);
    ms_rows views[2] = {c.view, other.view}; /* two spans */
    ms_gpu_search_limits l = small;
    load(&p, views, 2, 0, 2450, c.queries, &l);
    int64_t made = ms_gpu_search_samples(p.gpu), some[30];
    for (int i = 0; i < 30; i++) some[i] = ms_plan_sample_row(1300, 256 * 1300 / 2450, 3 * i);
    for (int i = 0; i < 3; i++) {
        same(&p, 12, 16, MSIM_SCAN_F32, MSIM_METRIC_COSINE, NULL, 0);
        same(&p, 3, 16, MSIM_SCAN_F32, MSIM_METRIC_COSINE, some, 30);
    }
    assert_int_equal(ms_gpu_search_samples(p.gpu), made + 1);
    close_pair(&p);
    for (int i = 0; i < 2; i++) ms_codes_close(&files[i]);
    release(&c);
    release(&other);
}

/* ---- Memory ---- */

/* Every allocation of the host fails once: an error, nothing loaded, and the context serves the
 * next load. */
static void out_of_memory(void **state) {
    (void)state;
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32, 60, 16);
    msim_options options = {.size = sizeof(msim_options), .max_queries = 2, .max_k = 4};
    ms_gpu_search *gpu;
    msim_error e = {0};
    int failures = 0;
    for (int64_t n = 1, rc = -1; rc < 0; n++) {
        ms_mem_fail_at(n);
        rc = ms_gpu_search_open(stream, &options, &gpu, &e);
        ms_mem_fail_at(0);
        failures += rc < 0;
        if (rc < 0) assert_true(rc == -MSIM_E_MEMORY && gpu == NULL);
    }
    for (int64_t n = 1, rc = -1; rc < 0; n++) {
        ms_mem_fail_at(n);
        rc = ms_gpu_search_load(gpu, &c.view, 1, 0, c.n, &e);
        ms_mem_fail_at(0);
        failures += rc < 0;
        if (rc < 0) assert_int_equal(rc, -MSIM_E_MEMORY);
    }
    assert_true(failures >= 4);
    ms_gpu_search_close(gpu);
    ms_gpu_search_close(NULL);
    release(&c);
}

/* The emulator's; a card has none. */
extern void emu_refuse_allocation(int64_t n) __attribute__((weak));

/* Every allocation of the device and of pinned memory is refused once: rows then stream or nothing
 * is loaded, and what is loaded gives the CPU's bits. */
static void each_allocation_refused(void **state) {
    (void)state;
    if (!emu_refuse_allocation) skip();
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_BF16, 1100, 40);
    ms_codes_file file;
    pair p = open_pair();
    int n_refused = 0, n_smaller = 0, is_whole = 0;
    attach(&c.view, &file, BOTH);
    p.views = &c.view, p.n_views = 1, p.n = c.n, p.queries = c.queries;
    assert_int_equal(ms_cpu_search_load(p.cpu, &c.view, 1, 0, c.n, NULL), 0);
    ms_gpu_search_set_limits(p.gpu, &small);
    for (int64_t n = 1; !is_whole; n++) {
        msim_error e = {0};
        emu_refuse_allocation(n);
        int rc = ms_gpu_search_load(p.gpu, &c.view, 1, 0, c.n, &e);
        is_whole = n > 20;
        emu_refuse_allocation(0);
        if (rc < 0) assert_true(rc == -MSIM_E_MEMORY && strstr(e.text, "cannot take"));
        n_refused += rc < 0;
        if (rc < 0) continue;
        ms_gpu_residence r = ms_gpu_search_residence(p.gpu);
        n_smaller += !r.has_rows || !r.has_int8;
        if (is_whole) assert_true(r.has_rows && r.has_int8); /* there are fewer than that */
        same(&p, 12, 16, MSIM_SCAN_INT8, MSIM_METRIC_COSINE, NULL, 0);
        same(&p, 1, 16, MSIM_SCAN_F32, MSIM_METRIC_IP, NULL, 0);
    }
    assert_true(n_refused >= 3 && n_smaller >= 1);
    close_pair(&p);
    ms_codes_close(&file);
    release(&c);
}

/* With ever less of the device's memory: rows stay, then stream, then through smaller buffers, then
 * a refusal; what an attempt took is given back. */
static void out_of_device_memory(void **state) {
    (void)state;
    static const size_t room[] = {24 << 20, 12 << 20, 9 << 20, 1 << 20};
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32, 2500, 1024); /* 10 MB */
    static const ms_gpu_search_limits ordinary = {0};
    msim_options options = {
        .size = sizeof(msim_options), .max_queries = 60, .max_k = 100, .threads = 1};
    msim_error e = {0};
    ms_gpu_search *gpu;
    assert_int_equal(ms_gpu_search_open(stream, &options, &gpu, NULL), 0);
    ms_gpu_search_set_limits(gpu, &ordinary);
    for (size_t i = 0; i < sizeof room / sizeof *room; i++) {
        ms_gpu_info info, after;
        /* gives the last rows' memory back */
        assert_int_equal(ms_gpu_search_load(gpu, &c.view, 1, 0, 0, NULL), 0);
        assert_int_equal(ms_gpu_get_info(0, &info, NULL), 0);
        void *most = ms_gpu_alloc(stream, info.free_bytes - room[i], 1, "most of it", &e);
        if (!most) fail_msg("%s", e.text);
        int rc = ms_gpu_search_load(gpu, &c.view, 1, 0, c.n, &e);
        if (rc < 0 && i < 3) fail_msg("%s", e.text);
        if (i == 3) assert_true(rc == -MSIM_E_MEMORY && strstr(e.text, "cannot take"));
        assert_int_equal(ms_gpu_search_residence(gpu).has_rows, i == 0);
        if (rc >= 0 && !IS_SLOW) {
            ms_hit hits[2];
            msim_search_options o = {.size = sizeof(msim_search_options), .scan = MSIM_SCAN_F32};
            float *last = calloc((size_t)c.dim, sizeof *last);
            memcpy(last, c.view.base + (size_t)(c.n - 1) * c.row_bytes,
                   (size_t)c.dim * sizeof *last);
            ms_search_request request = {.queries = last, .n_query = 1, .k = 2, .options = &o};
            assert_int_equal(ms_gpu_search_topk(gpu, &request, hits, &e), 2);
            assert_int_equal(hits[0].row, c.n - 1);
            free(last);
        }
        if (i == 3) ms_gpu_search_close(gpu);
        ms_gpu_free(stream, most);
        if (i < 3) continue;
        assert_int_equal(ms_gpu_get_info(0, &after, NULL), 0);
        assert_true(after.free_bytes >= info.free_bytes);
    }
    release(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sample_stays), cmocka_unit_test(out_of_memory),
        cmocka_unit_test(each_allocation_refused),
        cmocka_unit_test(out_of_device_memory), /* last: the device has loaded all kernels by
                                                 * then */
    };
    setenv("EMU_MEMORY", "64M", 0); /* where the device is emulated: filling all of it is then
                                     * cheap */
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
