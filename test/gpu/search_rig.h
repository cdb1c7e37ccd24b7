/* What the tests of exact search on a CUDA device share: corpora of every kind, and one search on
 * both devices. Limits (kernels/search/search.h) take small corpora through what large ones go
 * through. */
#ifndef TEST_GPU_SEARCH_RIG_H
#define TEST_GPU_SEARCH_RIG_H
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

static inline double value(enum made made, int i, int j, int n, const double *base, int dtype) {
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
static inline corpus make_corpus(enum made made, int dtype, int n, int dim) {
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

static inline void release(corpus *c) {
    free(c->bytes);
    free(c->offsets);
    free(c->queries);
}

static ms_pool *pool;
static ms_gpu_stream *stream;

static inline void attach(ms_rows *view, ms_codes_file *file, int codecs) {
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

static inline int set_up(void **state) {
    (void)state;
    return ms_pool_open(2, &pool, NULL) < 0 || ms_gpu_stream_open(0, &stream, NULL) < 0 ? -1 : 0;
}

static inline int tear_down(void **state) {
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

static inline ms_gpu_search *open_gpu(void) {
    msim_options o = {.size = sizeof(msim_options), .max_queries = MAX_QUERIES, .max_k = 2 * MAX_K};
    msim_error e = {0};
    ms_gpu_search *gpu;
    if (ms_gpu_search_open(stream, &o, &gpu, &e) < 0) fail_msg("%s", e.text);
    return gpu;
}

static inline pair open_pair(void) {
    msim_options o = {.size = sizeof(msim_options), .max_queries = MAX_QUERIES, .max_k = 2 * MAX_K};
    pair p = {.gpu = open_gpu()};
    assert_int_equal(ms_cpu_search_open(pool, msim_isa_best(), &o, &p.cpu, NULL), 0);
    return p;
}

static inline void close_pair(pair *p) {
    ms_gpu_search_close(p->gpu);
    ms_cpu_search_close(p->cpu);
}

static const ms_gpu_search_limits small = {
    .buffer_bytes = 20000, .candidate_cap = 256, .excluded_cap = 40, .slots = 2, .threads = 3};

/* Bytes that leave room for `want` alone: copies of a corpus of f32 are smaller than its rows. */
static inline ms_gpu_search_limits limits_for(ms_gpu_search_limits l, const pair *p,
                                              enum residence want, int codec) {
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

static inline void load(pair *p, const ms_rows *views, size_t n_views, int64_t first, int64_t n,
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

static inline void load_all(pair *p, const corpus *c, enum residence want, int codec) {
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

static inline ms_search_outcome same(pair *p, size_t n_query, int64_t k, int scan, int metric,
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

#endif
