/* Exact search on a CUDA device against the CPU's plain scan: the same rows and the same bits of
 * scores for every scan and type of row, whether rows and codes stay on the device, stream
 * through it or are gathered, for corpora made to defeat the bounds or the sizes of rounds. Limits
 * (kernels/search/search.h) take small corpora through what large ones go through. A bound that is
 * made wrong on purpose must show. docs/SEARCH.md, docs/GPU.md. */
#define _GNU_SOURCE
#include "base/bf16.h"
#include "base/mem.h"
#include "base/pool.h"
#include "cpu/search/search.h"
#include "kernels/kernels.h"
#include "kernels/search/search.h"
#include "codes/codes.h"
#include "search/plan.h"
#include "support/random.h"
#include "support/rows.h"
#include "support/test.h"
#include <math.h>
#include <pthread.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
enum { IS_SLOW = 1 };
#else
enum { IS_SLOW = 0 };
#endif
enum { MAX_QUERIES = 70, MAX_K = 1024, BOTH = MS_CODES_INT8 | MS_CODES_BF16, PAD = 3 };

static uint64_t seed;

/* ---- Corpora ---- */

enum made { RANDOM, ASCENDING, DUPLICATED, TIED, BALL, FAR_CENTRE, NORMS, ODD, BROKEN, MADE_COUNT };

typedef struct {
    int n, dim;
    size_t row_bytes;
    unsigned char *bytes; /* owned */
    uint64_t *offsets;    /* owned: [n] */
    float *queries;       /* owned: [MAX_QUERIES, dim] */
    ms_rows view;         /* all rows */
} corpus;

static double value(enum made made, int i, int j, int n, const double *base, int dtype) {
    double wide = dtype == MSIM_DTYPE_F16 ? 0 : 1; /* how far norms may go */
    switch (made) {
    /* ever closer to the first query */
    case ASCENDING: return base[j] * (i + 1) / n + uniform_f64(&seed) * (n - i) / n;
    case DUPLICATED: return base[j] * (1 + i % 2 * 3);
    case TIED: return base[j] * (1 + i % 97) / 97.0;
    case BALL: return base[j] + 1e-4 * uniform_f64(&seed);
    case FAR_CENTRE: return 1.0 + 0.05 * uniform_f64(&seed);
    case NORMS: return uniform_f64(&seed) * pow(10.0, wide * (i % 78 - 40));
    case ODD:
        if (i % 5 == 0) return i % 2 ? 0.0 : -0.0;
        if (i % 7 == 0) return j == i % 16 ? (i % 2 ? NAN : -INFINITY) : uniform_f64(&seed);
        if (i % 13 == 0) return uniform_f64(&seed) * (dtype == MSIM_DTYPE_F64 ? 1e200 : 1e-6);
        return base[j] + uniform_f64(&seed);
    /* hardly a good row */
    case BROKEN:
        return i % 64 == 3 ? uniform_f64(&seed) : i % 64 == 4 ? 0.0 : j == i % 16 ? NAN : 1.0;
    default: return uniform_f64(&seed);
    }
}

/* Queries: near the rows' base, random, opposite, tiny, huge, of zeros (5), then random ones. */
static corpus make_corpus(enum made made, int dtype, int n, int dim) {
    size_t elem = ms_dtype_bytes(dtype);
    corpus c = {.n = n, .dim = dim, .row_bytes = (size_t)dim * elem + PAD};
    double *base = calloc((size_t)dim, sizeof *base);
    seed = 88172645463325252u + (uint64_t)made * 10 + (uint64_t)dtype + (uint64_t)dim * 100;
    for (int j = 0; j < dim; j++) base[j] = made == FAR_CENTRE ? 1.0 : uniform_f64(&seed);
    c.bytes = calloc((size_t)n + 1, c.row_bytes);
    c.offsets = calloc((size_t)n + 1, sizeof *c.offsets);
    c.queries = calloc(MAX_QUERIES * (size_t)dim, sizeof *c.queries);
    for (int i = 0; i < n; i++) {
        c.offsets[i] = (uint64_t)i * c.row_bytes;
        for (int j = 0; j < dim; j++)
            put_value(c.bytes + PAD + (size_t)i * c.row_bytes + (size_t)j * elem, dtype,
                      value(made, i, j, n, base, dtype));
    }
    for (int q = 0; q < MAX_QUERIES; q++)
        for (int j = 0; j < dim; j++) {
            double x = q == 0 ? base[j] : q == 2 ? -base[j] : q == 5 ? 0.0 : uniform_f64(&seed);
            c.queries[q * dim + j] = (float)(q == 3 ? x * 1e-42 : q == 4 ? x * 1e37 : x);
        }
    c.view = (ms_rows){
        .base = c.bytes + PAD, .row_bytes = c.row_bytes, .n_rows = n, .dim = dim, .dtype = dtype};
    free(base);
    return c;
}

static void release(corpus *c) {
    free(c->bytes);
    free(c->offsets);
    free(c->queries);
}

static ms_pool *pool;
static ms_gpu_stream *stream;

static void attach(ms_rows *view, ms_codes_file *file, int codecs) {
    char path[] = "/tmp/midisim-gpu-search-XXXXXX";
    msim_error e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    if (ms_codes_write(path, view, (ms_codes_stamp){1, 2}, codecs, pool, (ms_codes_progress){0},
                       &e) < 0 ||
        ms_codes_open(path, view, file, &e) < 0)
        fail_msg("%s", e.text);
    unlink(path);
    view->codes = &file->codes;
}

static int set_up(void **state) {
    (void)state;
    return ms_pool_open(2, &pool, NULL) < 0 || ms_gpu_stream_open(0, &stream, NULL) < 0 ? -1 : 0;
}

static int tear_down(void **state) {
    (void)state;
    ms_gpu_stream_close(stream);
    ms_pool_close(pool);
    return 0;
}

/* ---- One search, twice ---- */

enum residence { ALL, COPIES, ROWS, NOTHING }; /* what stays on the device */

typedef struct {
    const ms_rows *views;
    size_t n_views;
    int64_t first, n;
    const float *queries;
    ms_gpu_search *gpu;
    ms_cpu_search *cpu;
} pair;

static ms_gpu_search *open_gpu(void) {
    msim_options o = {.size = sizeof(msim_options), .max_queries = MAX_QUERIES, .max_k = 2 * MAX_K};
    msim_error e = {0};
    ms_gpu_search *gpu;
    if (ms_gpu_search_open(stream, &o, &gpu, &e) < 0) fail_msg("%s", e.text);
    return gpu;
}

static pair open_pair(void) {
    msim_options o = {.size = sizeof(msim_options), .max_queries = MAX_QUERIES, .max_k = 2 * MAX_K};
    pair p = {.gpu = open_gpu()};
    assert_int_equal(ms_cpu_search_open(pool, msim_isa_best(), &o, &p.cpu, NULL), 0);
    return p;
}

static void close_pair(pair *p) {
    ms_gpu_search_close(p->gpu);
    ms_cpu_search_close(p->cpu);
}

static const ms_gpu_search_limits small = {
    .buffer_bytes = 20000, .candidate_cap = 256, .excluded_cap = 40, .slots = 2, .threads = 3};

/* Bytes that leave room for `want` alone: copies of a corpus of f32 are smaller than its rows. */
static ms_gpu_search_limits limits_for(ms_gpu_search_limits l, const pair *p, enum residence want,
                                       int codec) {
    size_t rows = 0, copies = 0, dim = (size_t)p->views[0].dim;
    for (size_t i = 0; i < p->n_views; i++) {
        size_t n = (size_t)p->views[i].n_rows;
        rows += n * ((dim * ms_dtype_bytes(p->views[i].dtype) + 15) / 16 * 16) + 4 * n;
        copies += (n + 31) / 16 *
                      (codec == MS_CODES_BF16 ? ms_codes_bf16_tile(dim) : ms_codes_int8_tile(dim)) +
                  512;
    }
    l.memory_bytes = want == ALL ? 0 : want == COPIES ? copies : want == ROWS ? rows + 1024 : 1;
    return l;
}

static void load(pair *p, const ms_rows *views, size_t n_views, int64_t first, int64_t n,
                 const float *queries, const ms_gpu_search_limits *limits) {
    msim_error e = {0};
    p->views = views;
    p->n_views = n_views;
    p->first = first;
    p->n = n;
    p->queries = queries;
    ms_gpu_search_set_limits(p->gpu, limits);
    if (ms_gpu_search_load(p->gpu, views, n_views, first, n, &e) < 0) fail_msg("%s", e.text);
    assert_int_equal(ms_cpu_search_load(p->cpu, views, n_views, first, n, NULL), 0);
}

static void load_all(pair *p, const corpus *c, enum residence want, int codec) {
    p->views = &c->view;
    p->n_views = 1;
    ms_gpu_search_limits l = limits_for(small, p, want, codec);
    load(p, &c->view, 1, 0, c->n, c->queries, &l);
}

/* Differences from the CPU's plain scan; `o` is the request's, *outcome the device's. */
static int64_t differences(pair *p, size_t n_query, int64_t k, const msim_search_options *o,
                           ms_search_outcome *outcome) {
    static ms_hit hits[MAX_QUERIES * MAX_K], expected[MAX_QUERIES * MAX_K];
    msim_search_options plain = *o;
    ms_search_outcome cpu_outcome;
    msim_error e = {0};
    int64_t wrong = 0;
    plain.scan = MSIM_SCAN_F64;
    ms_search_request request = {
        .queries = p->queries, .n_query = n_query, .k = k, .options = &plain};
    int64_t n = ms_cpu_search_topk(p->cpu, &request, expected, NULL);
    assert_true(n >= 0);
    request.options = o;
    memset(hits, 0x55, sizeof hits);
    int64_t allocations = ms_mem_count(), got = ms_gpu_search_topk(p->gpu, &request, hits, &e);
    if (got < 0) fail_msg("%s", e.text);
    assert_int_equal(got, n);
    assert_int_equal(ms_mem_count(), allocations);
    for (size_t q = 0; q < n_query; q++)
        wrong += memcmp(hits + q * (size_t)k, expected + q * (size_t)k, (size_t)n * sizeof *hits) !=
                 0;
    ms_gpu_search_outcome(p->gpu, outcome);
    if (o->scan != MSIM_SCAN_AUTO) assert_int_equal(outcome->scan, o->scan);
    ms_cpu_search_outcome(p->cpu, &cpu_outcome);
    if (n > 0 && n_query > 0) assert_int_equal(outcome->rows_nonfinite, cpu_outcome.rows_nonfinite);
    return wrong;
}

static ms_search_outcome same(pair *p, size_t n_query, int64_t k, int scan, int metric,
                              const int64_t *excluded, size_t n_excluded) {
    msim_search_options o = {.size = sizeof(msim_search_options),
                             .scan = scan,
                             .metric = metric,
                             .excluded = excluded,
                             .n_excluded = n_excluded};
    ms_search_outcome outcome;
    int64_t wrong = differences(p, n_query, k, &o, &outcome);
    if (wrong)
        fail_msg("%d of %d queries differ: scan %d, metric %d, k %d, rows %d from %d, width %d, "
                 "excluded %d",
                 (int)wrong, (int)n_query, scan, metric, (int)k, (int)p->n, (int)p->first,
                 (int)p->views[0].dim, (int)n_excluded);
    return outcome;
}

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
        cmocka_unit_test(the_sample_stays),
        cmocka_unit_test(thresholds),
        cmocka_unit_test(refusals),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(each_allocation_refused),
        cmocka_unit_test(a_wrong_bound_is_seen),
        cmocka_unit_test(two_contexts_at_once),
        cmocka_unit_test(out_of_device_memory), /* last: the device has loaded all kernels by
                                                 * then */
    };
    setenv("EMU_MEMORY", "64M", 0); /* where the device is emulated: filling all of it is then
                                     * cheap */
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
