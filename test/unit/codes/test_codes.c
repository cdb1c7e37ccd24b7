/* Codes of rows: the certificate never leaves out a row at a threshold that is the row's own
 * score, searches give the plain scan's results to the last bit, the file's bytes follow from the
 * rows alone, and a file that is damaged or of other rows is refused. docs/SEARCH.md, Scans of
 * codes. */
#define _GNU_SOURCE
#include "base/bf16.h"
#include "search/bound_codes.h"
#include "base/mem.h"
#include "cpu/levels.h"
#include "cpu/search/codes.h"
#include "cpu/search/scan.h"
#include "cpu/search/search.h"
#include "codes/codes.h"
#include "support/files.h"
#include "support/random.h"
#include "support/rows.h"
#include "support/test.h"
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N = 421, Q = 7, MAX_K = N + 1, BOTH = MS_CODES_INT8 | MS_CODES_BF16 };

static char path[128];

static int set_up(void **state) {
    if (folder_open(state) < 0) return -1;
    snprintf(path, sizeof path, "%s/c.npy.msim", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder); /* fails when a temporary file was left behind */
}

static uint64_t seed;

enum made {
    RANDOM,
    CLUSTERED,
    FAR_CENTRE,
    DUPLICATED,
    NEAR_TIED,
    SAME,
    SPIKES,
    NORMS,
    ODD,
    MADE_COUNT
};

static double make_value(enum made made, int i, int j, int dim, const double *base, int dtype) {
    static const double odd[] = {0.0, NAN, INFINITY, -INFINITY, -0.0};
    /* how far norms may go */
    double wide = dtype == MSIM_DTYPE_F64 ? 1e3 : dtype == MSIM_DTYPE_F16 ? 0 : 1;
    switch (made) {
    case CLUSTERED: return base[j] + 0.3 * uniform_f64(&seed);
    case FAR_CENTRE: return 1.0 + 0.05 * uniform_f64(&seed);
    case DUPLICATED:
        return base[(i % 3) * 7 % dim] * base[j] * (1 + i % 2 * 3) +
               (i % 5 == 0 ? 0.01 * base[(j + 1) % dim] : 0);
    case NEAR_TIED: return base[j] + 1e-7 * uniform_f64(&seed);
    case SAME: return base[j];
    case SPIKES: return j == i % dim ? 1.0 : i % 2 ? 1e-3 * uniform_f64(&seed) : 0.0;
    case NORMS:
        return uniform_f64(&seed) *
               pow(10.0, wide * (i % 70 - 35) * (dtype == MSIM_DTYPE_F64 ? 8e-3 : 1.0));
    case ODD:
        if (i % 11 == 0) return i % 2 ? 0.0 : -0.0;
        if (i % 7 == 0) return j == i % dim ? odd[1 + i % 3] : uniform_f64(&seed);
        /* squares overflow; subnormal */
        if (i % 13 == 0)
            return wide * uniform_f64(&seed) * (dtype == MSIM_DTYPE_F64 ? 1e200 : 1e-42);
        if (i % 17 == 0) return uniform_f64(&seed) * (dtype == MSIM_DTYPE_F64 ? 1e-200 : 1e-6);
        return uniform_f64(&seed);
    default: return uniform_f64(&seed);
    }
}

typedef struct {
    unsigned char *bytes; /* owned */
    ms_rows view;
    uint64_t offsets[N];
    float *queries; /* owned: [Q, dim] */
} corpus;

/* Queries: a random one, near the rows, opposite to them, a row itself, zeros, tiny and huge, one
 * component. */
static void make_queries(corpus *c, const double *base) {
    size_t dim = (size_t)c->view.dim;
    c->queries = calloc(Q * dim, sizeof *c->queries);
    for (size_t j = 0; j < dim; j++) {
        float *q = c->queries + j;
        q[0] = (float)uniform_f64(&seed);
        q[dim] = (float)(base[j] + 0.01 * uniform_f64(&seed));
        q[2 * dim] = (float)-base[j];
        q[3 * dim] = (float)base[j] * 3.0f;
        q[4 * dim] = 0.0f;
        q[5 * dim] = (float)(uniform_f64(&seed) * (j % 2 ? 1e-44 : 1e-40));
        q[6 * dim] = j == dim / 2 ? 3e38f : 0.0f;
    }
}

static corpus make_corpus(enum made made, int dtype, int dim) {
    corpus c;
    double *base = calloc((size_t)dim, sizeof *base);
    size_t elem = ms_dtype_bytes(dtype), row_bytes = (size_t)dim * elem + 7;
    seed = 88172645463325252u + (uint64_t)made * 10 + (uint64_t)dtype + (uint64_t)dim * 100;
    for (int j = 0; j < dim; j++) base[j] = made == FAR_CENTRE ? 1.0 : uniform_f64(&seed);
    c.bytes = calloc(N, row_bytes);
    for (int i = 0; i < N; i++) {
        c.offsets[i] = (uint64_t)i * row_bytes;
        for (int j = 0; j < dim; j++)
            put_value(c.bytes + 7 + (size_t)i * row_bytes + (size_t)j * elem, dtype,
                      make_value(made, i, j, dim, base, dtype));
    }
    c.view = (ms_rows){
        .base = c.bytes + 7, .row_bytes = row_bytes, .n_rows = N, .dim = dim, .dtype = dtype};
    make_queries(&c, base);
    free(base);
    return c;
}

static void release(corpus *c) {
    free(c->bytes);
    free(c->queries);
}

static ms_pool *open_pool(int threads) {
    ms_pool *pool;
    assert_int_equal(ms_pool_open(threads, &pool, NULL), 0);
    return pool;
}

/* Write and open the codes of a view. */
static ms_codes_file codes_of(const ms_rows *view, int codecs) {
    ms_codes_file file = {0};
    msim_error e = {0};
    ms_pool *pool = open_pool(2);
    if (ms_codes_write(path, view, (ms_codes_stamp){1, 2}, codecs, pool, (ms_codes_progress){0},
                       &e) < 0 ||
        ms_codes_open(path, view, &file, &e) < 0 ||
        ms_codes_check(path, view, &file, 1, pool, &e) < 0)
        fail_msg("%s", e.text);
    ms_pool_close(pool);
    return file;
}

static const int dims[] = {1, 2, 5, 16, 61, 130};
enum { N_DIMS = sizeof dims / sizeof *dims };

/* Level l of the list runs here, and not by the kernels of the level before. */
static int has_own_kernels(int l) {
    int isa = msim_isa_list(l), below = msim_isa_list(l - 1);
    const ms_codes_kernels *int8 = ms_codes_kernels_get(isa, 1),
                           *bf16 = ms_codes_kernels_get(isa, 0);
    return int8 &&
           (int8 != ms_codes_kernels_get(below, 1) || bf16 != ms_codes_kernels_get(below, 0));
}

/* ---- The certificate ---- */

static double exact_score(const corpus *c, const ms_cpu_kernels *k, int64_t row, size_t q) {
    double square, dot, norm;
    const float *query = c->queries + q * (size_t)c->view.dim;
    size_t dim = (size_t)c->view.dim;
    k->squares_f64(&square, ms_rows_at(&c->view, row), c->view.row_bytes, c->view.dtype, 1, dim);
    k->dots_f64(&dot, ms_rows_at(&c->view, row), c->view.row_bytes, c->view.dtype, query, 1, 1,
                dim);
    k->squares_f64(&norm, (const unsigned char *)query, 4 * dim, MSIM_DTYPE_F32, 1, dim);
    if (!isfinite(square)) return -INFINITY;
    return square == 0 || norm == 0 ? 0.0 : dot / (sqrt(norm) * sqrt(square)) + 0.0;
}

static int is_listed(const ms_codes *codes, int64_t row) {
    for (size_t i = 0; i < codes->n_zeros; i++)
        if (codes->zeros[i] == row) return 1;
    for (size_t i = 0; i < codes->n_nonfinite; i++)
        if (codes->nonfinite[i] == row) return 1;
    return 0;
}

typedef struct {
    int64_t n_wrong, n_left_out, n_checked;
} verdict;

/* Every row against every query: the threshold is the row's own score, then a little below, far
 * below and -infinity, at each of which it must be kept and its bound must hold; and above all
 * scores, to see that rows are left out at all. */
static verdict own_scores(const corpus *c, const ms_scan_method *method, int isa) {
    static float upper[Q * MS_SCAN_ROWS] __attribute__((aligned(64)));
    static const double below[] = {0.0, 1e-9, 1e-3, 0.3, INFINITY};
    const ms_cpu_kernels *kernels = ms_cpu_kernels_get(isa);
    verdict v = {0};
    void *state;
    double norms[Q];
    size_t dim = (size_t)c->view.dim;
    ms_scan_setup setup = {.views = &c->view,
                           .n_views = 1,
                           .dim = dim,
                           .max_queries = Q,
                           .n_workers = 2,
                           .isa = isa,
                           .kernels = kernels};
    assert_int_equal(method->open(&setup, &state, NULL), 0);
    assert_non_null(state);
    kernels->squares_f64(norms, (const unsigned char *)c->queries, 4 * dim, MSIM_DTYPE_F32, Q, dim);
    for (size_t q = 0; q < Q; q++) norms[q] = sqrt(norms[q]);
    method->prepare(state, &(ms_scan_queries){.queries = c->queries, .norms = norms, .n_query = Q});
    for (int64_t row = 0; row < N; row++) {
        double scores[Q];
        for (size_t q = 0; q < Q; q++) scores[q] = exact_score(c, kernels, row, q);
        for (size_t i = 0; i < 6; i++) {
            float upper_thresholds[Q];
            for (size_t q = 0; q < Q; q++)
                upper_thresholds[q] = method->set_threshold(state, 1, 0, q,
                                                            i == 5 ? fmax(scores[q], 0) + 0.1 +
                                                                         0.3 * (double)(row % 5)
                                                                   : scores[q] - below[i]);
            assert_int_equal(method->block(state, 1, 0, row, 1, upper), 0);
            for (size_t q = 0; q < Q; q++) {
                float u = upper[q * MS_SCAN_ROWS];
                assert_true(upper_thresholds[q] > -INFINITY);
                if (is_listed(c->view.codes, row)) {
                    assert_true(u < upper_thresholds[q]);
                    continue;
                }
                v.n_checked++;
                double bound = isnan(u) ? INFINITY : method->bound(state, 1, 0, row, q, u);
                if (i == 5)
                    v.n_left_out += u < upper_thresholds[q];
                else
                    v.n_wrong += u < upper_thresholds[q];
                v.n_wrong += !(bound >= scores[q]);
            }
        }
    }
    method->close(state);
    return v;
}

static void never_leaves_out_its_own_score(void **state) {
    (void)state;
    for (int isa, l = 0; (isa = msim_isa_list(l)) > 0; l++) {
        int64_t n_left_out = 0, n_checked = 0;
        if (!has_own_kernels(l)) continue;
        for (enum made made = RANDOM; made < MADE_COUNT; made++)
            for (int i = 0; i < N_DIMS; i++) {
                int dtype = (int)(made + (enum made)i + (enum made)isa) % 4;
                corpus c = make_corpus(made, dtype, dims[i]);
                ms_codes_file file = codes_of(&c.view, BOTH);
                c.view.codes = &file.codes;
                for (int f = 0; f < 2; f++) {
                    verdict v = own_scores(&c, f ? &ms_scan_bf16 : &ms_scan_int8, isa);
                    if (v.n_wrong)
                        print_error("made %d, dim %d, dtype %d, scan %d, isa %d\n", made, dims[i],
                                    dtype, f, isa);
                    assert_int_equal(v.n_wrong, 0);
                    n_left_out += v.n_left_out;
                    n_checked += v.n_checked;
                }
                ms_codes_close(&file);
                release(&c);
            }
        assert_true(n_left_out > n_checked / 30); /* of the sixth that was meant to be */
    }
}

/* The check above can fail: with a rho that claims too much, rows are left out that must not be. */
static void a_wrong_bound_is_seen(void **state) {
    (void)state;
    for (int f = 0; f < 2; f++) {
        corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32, 61);
        ms_codes_file file = codes_of(&c.view, BOTH);
        size_t codes = f ? ms_codes_bf16(61) : ms_codes_int8(61),
               each = f ? ms_codes_bf16_tile(61) : ms_codes_int8_tile(61);
        unsigned char *tiles = malloc((N + 15) / 16 * each);
        memcpy(tiles, f ? file.codes.bf16 : file.codes.int8, (N + 15) / 16 * each);
        for (size_t t = 0; t < (N + 15) / 16; t++)
            memset(tiles + t * each + codes + (f ? MS_CODES_BF16_RHO : MS_CODES_INT8_RHO), 0,
                   MS_CODES_CONSTANT_BYTES);
        if (f)
            file.codes.bf16 = tiles;
        else
            file.codes.int8 = tiles;
        c.view.codes = &file.codes;
        assert_true(own_scores(&c, f ? &ms_scan_bf16 : &ms_scan_int8, MSIM_ISA_REF).n_wrong > 0);
        free(tiles);
        ms_codes_close(&file);
        release(&c);
    }
}

/* ---- Searches ---- */

static const int64_t ks[] = {1, 16, N - 1, N, N + 1};

typedef struct {
    double sum;
    int64_t n;
} above;

static int take_hit(void *user, size_t query, int64_t row, double score) {
    above *a = user;
    a->n++;
    a->sum += (double)(row + 1) * (double)(query + 1) + score;
    return 0;
}

static void same(ms_cpu_search *search, const corpus *c, int scan, const int64_t *excluded,
                 size_t n_excluded) {
    static ms_hit expected[Q * MAX_K], hits[Q * MAX_K];
    msim_search_options plain = {.size = sizeof(msim_search_options),
                                 .scan = MSIM_SCAN_F64,
                                 .excluded = excluded,
                                 .n_excluded = n_excluded},
                        o = plain;
    ms_search_outcome plain_outcome, outcome;
    o.scan = scan;
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        ms_search_request request = {
            .queries = c->queries, .n_query = Q, .k = ks[i], .options = &plain};
        int64_t n = ms_cpu_search_topk(search, &request, expected, NULL);
        ms_cpu_search_outcome(search, &plain_outcome);
        request.options = &o;
        int64_t allocations = ms_mem_count();
        assert_int_equal(ms_cpu_search_topk(search, &request, hits, NULL), n);
        assert_int_equal(ms_mem_count(), allocations);
        ms_cpu_search_outcome(search, &outcome);
        assert_int_equal(outcome.scan, scan);
        assert_int_equal(outcome.rows_nonfinite, plain_outcome.rows_nonfinite);
        for (size_t q = 0; q < Q; q++)
            assert_memory_equal(hits + q * (size_t)ks[i], expected + q * (size_t)ks[i],
                                (size_t)n * sizeof *hits);
    }
    for (double threshold = -1.1; threshold <= 1.2; threshold += 0.23) {
        above a = {0}, b = {0};
        ms_search_request request = {.queries = c->queries,
                                     .n_query = Q,
                                     .threshold = threshold < -1 ? -INFINITY : threshold,
                                     .sink = take_hit,
                                     .user = &a,
                                     .options = &plain};
        int64_t n = ms_cpu_search_above(search, &request, NULL);
        request.options = &o;
        request.user = &b;
        assert_int_equal(ms_cpu_search_above(search, &request, NULL), n);
        assert_int_equal(a.n, b.n);
        assert_true(fabs(a.sum - b.sum) <= 1e-9 * (1 + fabs(a.sum))); /* hits come in no order */
    }
}

static void searches(const corpus *c, const ms_rows *parts, size_t n_parts, int isa, int threads) {
    static int64_t some[N];
    size_t n_some = 0;
    msim_options o = {.size = sizeof(msim_options), .max_queries = Q, .max_k = MAX_K};
    ms_pool *pool = open_pool(threads);
    ms_cpu_search *search;
    for (int64_t row = 0; row < N; row++)
        if (row % 3 == 0 || row < 40) some[n_some++] = row;
    assert_int_equal(ms_cpu_search_open(pool, isa, &o, &search, NULL), 0);
    assert_int_equal(ms_cpu_search_load(search, parts, n_parts, 0, N, NULL), 0);
    for (int scan = MSIM_SCAN_BF16; scan <= MSIM_SCAN_INT8; scan++) {
        same(search, c, scan, NULL, 0);
        same(search, c, scan, some, n_some);
    }
    static const int64_t ranges[][2] = {{0, N},     {130, 201}, {7, 3},   {15, 18},
                                        {N - 1, 1}, {255, 2},   {16, 256}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        assert_int_equal(
            ms_cpu_search_load(search, parts, n_parts, ranges[i][0], ranges[i][1], NULL), 0);
        same(search, c, MSIM_SCAN_INT8, NULL, 0);
        same(search, c, MSIM_SCAN_BF16, some, n_some);
    }
    ms_cpu_search_close(search);
    ms_pool_close(pool);
}

static void same_as_the_plain_scan(void **state) {
    (void)state;
    for (int isa, l = 0; (isa = msim_isa_list(l)) > 0; l++)
        printf("copies: level %s: %s\n", ms_cpu_isa_name(isa),
               ms_cpu_kernels_get(isa) ? "run" : "skipped (not in this build or CPU)");
    for (enum made made = RANDOM; made < MADE_COUNT; made++)
        for (int isa, l = 0; (isa = msim_isa_list(l)) > 0; l++) {
            int turn = (int)made + isa;
            if (!has_own_kernels(l)) continue;
            corpus c = make_corpus(made, turn % 4, dims[turn % N_DIMS]);
            if (turn % 3 == 0) c.view.offsets = c.offsets;
            ms_codes_file files[3], whole = codes_of(&c.view, BOTH);
            ms_rows parts[3] = {c.view, c.view, c.view};
            static const int64_t cut[] = {0, 100, 100, N}; /* an empty part too */
            for (int i = 0; i < 3; i++) {
                parts[i].base = c.bytes + 7 + (size_t)cut[i] * c.view.row_bytes;
                parts[i].offsets = NULL;
                parts[i].n_rows = cut[i + 1] - cut[i];
                if (parts[i].n_rows)
                    files[i] = codes_of(&parts[i], BOTH), parts[i].codes = &files[i].codes;
            }
            c.view.codes = &whole.codes;
            searches(&c, &c.view, 1, isa, 1 + turn % 3);
            searches(&c, parts, 3, isa, 1 + (turn + 1) % 3);
            ms_codes_close(&files[0]);
            ms_codes_close(&files[2]);
            ms_codes_close(&whole);
            release(&c);
        }
}

/* A part without codes: the scans that need them step back, or are refused. */
static void a_part_without_a_copy(void **state) {
    (void)state;
    ms_hit hits[Q];
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32, 16);
    ms_codes_file file = codes_of(&c.view, MS_CODES_INT8);
    ms_rows parts[2] = {c.view, c.view};
    msim_options limits = {.size = sizeof(msim_options), .max_queries = Q, .max_k = MAX_K};
    msim_search_options o = {.size = sizeof(msim_search_options), .scan = MSIM_SCAN_INT8};
    ms_search_request request = {.queries = c.queries, .n_query = Q, .k = 1, .options = &o};
    ms_pool *pool = open_pool(1);
    ms_cpu_search *search;
    parts[0].codes = &file.codes;
    assert_int_equal(ms_cpu_search_open(pool, MSIM_ISA_REF, &limits, &search, NULL), 0);
    assert_int_equal(ms_cpu_search_load(search, parts, 2, 0, 2 * N, NULL), 0);
    assert_int_equal(ms_cpu_search_topk(search, &request, hits, NULL), -MSIM_E_UNSUPPORTED);
    assert_int_equal(ms_cpu_search_load(search, parts, 1, 0, N, NULL), 0);
    assert_int_equal(ms_cpu_search_topk(search, &request, hits, NULL), 1);
    o.scan = MSIM_SCAN_BF16; /* the file has int8 alone */
    assert_int_equal(ms_cpu_search_topk(search, &request, hits, NULL), -MSIM_E_UNSUPPORTED);
    ms_cpu_search_close(search);
    ms_pool_close(pool);
    ms_codes_close(&file);
    release(&c);
}

/* ---- The file ---- */

static void bytes_depend_on_rows_alone(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 5};
    for (enum made made = RANDOM; made < MADE_COUNT; made++) {
        corpus c = make_corpus(made, (int)made % 4, 61);
        unsigned char *first = NULL;
        size_t n_first = 0;
        for (size_t i = 0; i < 3; i++) {
            size_t n;
            ms_pool *pool = open_pool(threads[i]);
            assert_int_equal(ms_codes_write(path, &c.view, (ms_codes_stamp){5, 6}, BOTH, pool,
                                            (ms_codes_progress){0}, NULL),
                             0);
            ms_pool_close(pool);
            unsigned char *bytes = read_file(path, &n);
            if (i == 0) {
                first = bytes, n_first = n;
                continue;
            }
            assert_int_equal(n, n_first);
            assert_memory_equal(bytes, first, n);
            free(bytes);
        }
        free(first);
        release(&c);
    }
}

/* 528 bytes a row for int8 at width 512, as documented, plus head and centre to a page. */
static void size_is_as_documented(void **state) {
    (void)state;
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32, 512);
    size_t n;
    ms_codes_file file = codes_of(&c.view, MS_CODES_INT8);
    free(read_file(path, &n));
    assert_int_equal(n, 4096 + (N + 15) / 16 * 16 * 528);
    assert_non_null(file.codes.int8);
    assert_null(file.codes.bf16);
    ms_codes_close(&file);
    release(&c);
}

static void changed_rows_are_seen(void **state) {
    (void)state;
    corpus c = make_corpus(CLUSTERED, MSIM_DTYPE_F32, 61);
    ms_codes_file file = codes_of(&c.view, BOTH);
    msim_error e = {0};
    for (int row = 0; row < N; row += 29) { /* fewer tiles than are sampled: all are looked at */
        unsigned char *at = c.bytes + 7 + (size_t)row * c.view.row_bytes + 4 * 13, old = at[1];
        at[1] ^= 0x40;
        at[3] ^= 0x20;
        assert_int_equal(ms_codes_check(path, &c.view, &file, 0, NULL, &e), -MSIM_E_FORMAT);
        assert_non_null(strstr(e.text, "prepare it again"));
        assert_int_equal(ms_codes_check(path, &c.view, &file, 1, NULL, &e), -MSIM_E_FORMAT);
        at[1] = old;
        at[3] ^= 0x20;
        assert_int_equal(ms_codes_check(path, &c.view, &file, 0, NULL, &e), 0);
    }
    ms_rows other = c.view;
    ms_codes_file none;
    other.n_rows--;
    assert_int_equal(ms_codes_open(path, &other, &none, &e), -MSIM_E_FORMAT);
    other.n_rows++, other.dim--;
    assert_int_equal(ms_codes_open(path, &other, &none, &e), -MSIM_E_FORMAT);
    other.dim++, other.dtype = MSIM_DTYPE_BF16;
    assert_int_equal(ms_codes_open(path, &other, &none, &e), -MSIM_E_FORMAT);
    assert_null(none.map.data);
    ms_codes_close(&file);
    release(&c);
}

/* Every byte of the head, the centre and the lists damaged in turn, every length: refused. A byte
 * of the tiles: refused by the full check. Nothing reads outside the file (the sanitizers
 * watch). */
static void damage_is_refused(void **state) {
    (void)state;
    corpus c = make_corpus(ODD, MSIM_DTYPE_F32, 5);
    ms_codes_file file = codes_of(&c.view, BOTH);
    size_t n, tiles = 4096, lists;
    unsigned char *good = read_file(path, &n);
    msim_error e = {0};
    lists = 8 * (file.codes.n_zeros + file.codes.n_nonfinite);
    assert_true(file.codes.n_zeros > 10 && file.codes.n_nonfinite > 10);
    ms_codes_close(&file);
    for (size_t at = 0; at < n; at += at < 148 || at >= n - lists ? 1 : 97) {
        if (at >= 148 && at < tiles) at = tiles; /* padding is not looked at */
        for (unsigned char bit = 1; bit; bit = (unsigned char)(bit << 3)) {
            good[at] ^= bit;
            write_file(path, good, n);
            int rc = ms_codes_open(path, &c.view, &file, &e);
            if (at >= tiles && at < n - lists) {
                assert_int_equal(rc, 0);
                rc = ms_codes_check(path, &c.view, &file, 1, NULL, &e);
                ms_codes_close(&file);
            }
            assert_int_equal(rc, -MSIM_E_FORMAT);
            good[at] ^= bit;
        }
    }
    for (size_t cut = 0; cut < n; cut += cut < 160 ? 1 : 61) {
        write_file(path, good, cut);
        assert_int_equal(ms_codes_open(path, &c.view, &file, &e), -MSIM_E_FORMAT);
    }
    write_file(path, good, n);
    assert_int_equal(ms_codes_open(path, &c.view, &file, &e), 0);
    assert_int_equal(ms_codes_check(path, &c.view, &file, 1, NULL, &e), 0);
    ms_codes_close(&file);
    free(good);
    release(&c);
}

static int stop_at_once(void *user, int64_t done, int64_t all) {
    int *calls = user;
    assert_true(done <= all && all == N);
    return ++*calls;
}

static void stopped_and_failing_writes_leave_nothing(void **state) {
    (void)state;
    corpus c = make_corpus(ODD, MSIM_DTYPE_F32, 16);
    msim_error e = {0};
    int calls = 0, failures = 0;
    unlink(path);
    ms_pool *pool = open_pool(2);
    assert_int_equal(ms_codes_write(path, &c.view, (ms_codes_stamp){0}, BOTH, pool,
                                    (ms_codes_progress){stop_at_once, &calls}, &e),
                     -MSIM_E_STOPPED);
    assert_int_equal(calls, 1);
    assert_int_not_equal(access(path, F_OK), 0);
    for (int n = 1;; n++) {
        ms_mem_fail_at(n);
        int rc = ms_codes_write(path, &c.view, (ms_codes_stamp){0}, BOTH, pool,
                                (ms_codes_progress){0}, &e);
        ms_mem_fail_at(0);
        if (rc == 0) break;
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_int_not_equal(access(path, F_OK), 0);
        failures++;
    }
    assert_true(failures >= 6);
    ms_pool_close(pool);
    release(&c);
}

static void no_rows(void **state) {
    (void)state;
    corpus c = make_corpus(RANDOM, MSIM_DTYPE_F32, 16);
    c.view.n_rows = 0;
    ms_codes_file file = codes_of(&c.view, BOTH);
    assert_int_equal(ms_codes_check(path, &c.view, &file, 0, NULL, NULL), 0);
    ms_codes_close(&file);
    release(&c);
}

/* ---- Corpora ---- */

enum { ROWS = 2500, DIM = 12 };

static void write_rows(const char *rows_path, int format, int shift) {
    msim_corpus_layout layout = {.size = sizeof(msim_corpus_layout),
                                 .rows = ROWS,
                                 .dim = DIM,
                                 .name_chars = 8,
                                 .dtype = MSIM_DTYPE_F32,
                                 .format = format};
    msim_corpus_writer *w;
    float row[DIM];
    assert_int_equal(msim_corpus_writer_open(rows_path, &layout, &w, NULL), 0);
    seed = 7;
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < DIM; j++)
            row[j] = (float)(uniform_f64(&seed) + 0.5 * j) + (float)(i == 1000 ? shift : 0);
        assert_int_equal(msim_corpus_writer_add(w, "name", 4, row, NULL), 0);
    }
    assert_int_equal(msim_corpus_writer_finish(w, NULL), 0);
    msim_corpus_writer_close(w);
}

static int attach(const char *rows_path, int is_full, int scan, int64_t *first_row) {
    msim_corpus *opened;
    msim_context *ctx;
    msim_options o = msim_options_default();
    msim_search_options how = msim_search_options_default();
    msim_stats stats = {.size = sizeof stats};
    float query[DIM] = {1, 2, 3};
    double score;
    msim_error e = {0};
    o.device = MSIM_DEVICE_CPU;
    o.threads = 2;
    assert_int_equal(msim_corpus_open(rows_path, NULL, &opened, NULL), 0);
    int rc = msim_corpus_attach_codes(opened, 0, path, is_full, &e);
    if (rc >= 0) {
        assert_int_equal(msim_context_open(NULL, &o, &ctx, NULL), 0);
        assert_int_equal(msim_context_load_corpus(ctx, opened, NULL), 0);
        rc = (int)msim_context_search_with(ctx, &how, query, 1, 1, first_row, &score, NULL);
        msim_context_stats(ctx, &stats);
        if (rc >= 0) assert_int_equal(stats.scan, scan);
        assert_true(stats.rows_evaluated < ROWS / 2);
        msim_context_close(ctx);
    }
    msim_corpus_close(opened);
    return rc;
}

static void corpora_of_several_forms(void **state) {
    (void)state;
    static const int formats[] = {MSIM_FORMAT_STRUCTURED, MSIM_FORMAT_PLAIN, MSIM_FORMAT_PICKLED};
    char rows_path[128], names_path[160];
    int64_t found[3];
    unlink(path);
    snprintf(rows_path, sizeof rows_path, "%s/c.npy", folder);
    snprintf(names_path, sizeof names_path, "%s.names", rows_path);
    for (int i = 0; i < 3; i++) {
        msim_corpus *opened;
        struct stat st;
        write_rows(rows_path, formats[i], 0);
        assert_int_equal(msim_corpus_open(rows_path, NULL, &opened, NULL), 0);
        assert_int_equal(
            msim_corpus_write_codes(opened, 0, path, MSIM_SCAN_F32, 2, NULL, NULL, NULL),
            -MSIM_E_ARG);
        assert_int_equal(
            msim_corpus_write_codes(opened, 1, path, MSIM_SCAN_INT8, 2, NULL, NULL, NULL),
            -MSIM_E_ARG);
        assert_int_equal(
            msim_corpus_write_codes(opened, 0, path, MSIM_SCAN_BF16, 2, NULL, NULL, NULL), 0);
        assert_int_equal(attach(rows_path, 0, MSIM_SCAN_BF16, &found[i]), 1);
        /* The other codec joins it; codes of other rows would have been replaced. */
        assert_int_equal(
            msim_corpus_write_codes(opened, 0, path, MSIM_SCAN_INT8, 2, NULL, NULL, NULL), 0);
        msim_corpus_close(opened);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size,
                         4096 + (ROWS + 15) / 16 *
                                    (ms_codes_int8_tile(DIM) + ms_codes_bf16_tile(DIM)));
        assert_int_equal(attach(rows_path, 0, MSIM_SCAN_INT8, &found[i]), 1);
        assert_int_equal(attach(rows_path, 1, MSIM_SCAN_INT8, &found[i]), 1);
        assert_int_equal(found[i], found[0]);
        /* One row of 2,500 changed: by the file's time, and by looking at all. */
        assert_int_equal(stat(rows_path, &st), 0);
        write_rows(rows_path, formats[i], 1);
        assert_int_equal(attach(rows_path, 0, 0, &found[i]), -MSIM_E_FORMAT);
        struct timespec times[2] = {st.st_mtim, st.st_mtim};
        assert_int_equal(utimensat(AT_FDCWD, rows_path, times, 0), 0);
        assert_int_equal(attach(rows_path, 1, 0, &found[i]), -MSIM_E_FORMAT);
        /* not among the samples, as documented */
        assert_int_equal(attach(rows_path, 0, MSIM_SCAN_INT8, &found[i]), 1);
        /* Another time, the same rows: looked at, and taken. */
        write_rows(rows_path, formats[i], 0);
        assert_int_equal(attach(rows_path, 0, MSIM_SCAN_INT8, &found[i]), 1);
        unlink(rows_path);
        unlink(names_path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(never_leaves_out_its_own_score),
                                       cmocka_unit_test(a_wrong_bound_is_seen),
                                       cmocka_unit_test(same_as_the_plain_scan),
                                       cmocka_unit_test(a_part_without_a_copy),
                                       cmocka_unit_test(bytes_depend_on_rows_alone),
                                       cmocka_unit_test(size_is_as_documented),
                                       cmocka_unit_test(changed_rows_are_seen),
                                       cmocka_unit_test(damage_is_refused),
                                       cmocka_unit_test(stopped_and_failing_writes_leave_nothing),
                                       cmocka_unit_test(no_rows),
                                       cmocka_unit_test(corpora_of_several_forms)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
