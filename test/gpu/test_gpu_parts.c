/* A context over several devices against one: parts that share device 0 stand for them. Vectors and
 * results to the bit, two batches under way, a share that fails, sinks that end a search, memory.
 * docs/GPU.md. */
#include "gpu_rig.h"
#include "kernels/shares.h"

enum { PARTS = 3, DIM = 64, ROWS = 900, MAX_K = 64, QUERIES = 3 };

static const int devices[PARTS] = {0, 0, 0};

static msim_options limits(void) {
    return (msim_options){.size = sizeof(msim_options),
                          .max_batch_tokens = RIG_TOKENS,
                          .max_batch_seqs = RIG_SEQS,
                          .max_queries = QUERIES,
                          .max_k = MAX_K};
}

static ms_gpu_shares *parts_of(ms_gpu_model *model, int n) {
    ms_gpu_model *models[PARTS] = {model, model, model};
    msim_options o = limits();
    ms_gpu_shares *p = NULL;
    rows_ok(ms_gpu_shares_open(devices, n, model ? models : NULL, &o, &p, err));
    return p;
}

/* ---- Embedding ---- */

static const int64_t lengths[][RIG_SEQS] = {
    {5},    {0, 0, 0}, {7, 7, 7}, {100, 1, 1, 1}, {1, 1, 1, 200}, {64, 65, 0, 3, 0, 128, 2, 9},
    {0, 40}};
static const int n_seqs[] = {1, 3, 3, 4, 4, 8, 2};
enum { BATCHES = sizeof n_seqs / sizeof *n_seqs };

static void sequences_are_divided(void **state) {
    (void)state;
    static rig_batch b[BATCHES];
    static float alone[BATCHES][RIG_SEQS * DIM], divided[BATCHES][RIG_SEQS * DIM];
    gpu_rig r = gpu_rig_open(DIM, 1, 1, RIG_TOKENS, RIG_SEQS);
    ms_gpu_shares *p = parts_of(r.model, PARTS);
    memset(divided, ROWS_POISON, sizeof divided);
    int64_t shares = 0;
    for (int i = 0; i < BATCHES; i++) {
        rig_fill(&b[i], lengths[i], NULL, n_seqs[i]);
        rig_vectors(&r, &b[i], NULL, alone[i]);
        rows_ok(ms_gpu_shares_submit(p, &b[i].batch, NULL, divided[i], err));
        for (int d = 0; d < PARTS; d++)
            shares += p->shares[d].has_batch[i % MSIM_BATCHES_UNDER_WAY];
        if (i >= MSIM_BATCHES_UNDER_WAY - 1) rows_ok(ms_gpu_shares_wait(p, err));
    }
    rows_ok(ms_gpu_shares_wait(p, err));
    for (int i = 0; i < BATCHES; i++)
        assert_memory_equal(alone[i], divided[i], (size_t)n_seqs[i] * DIM * sizeof(float));
    assert_true(shares > BATCHES + 4); /* several parts had something to do */
    msim_error e = {0};
    assert_int_equal(ms_gpu_shares_wait(p, &e), -MSIM_E_ARG);
    double seconds[MSIM_STAGE_COUNT];
    ms_gpu_shares_stage_seconds(p, seconds);
    for (int i = 0; i < MSIM_STAGE_COUNT; i++) assert_true(seconds[i] >= 0);
    ms_gpu_shares_close(p);
    gpu_rig_close(&r);
}

/* One part has no place left for its share: the batch is not under way, what the others took of it
 * is finished, and the batch before it comes out as if nothing had been. */
static void failed_submit(int n_before) {
    static rig_batch b;
    static float alone[RIG_SEQS * DIM], first[RIG_SEQS * DIM], second[RIG_SEQS * DIM],
        own[RIG_SEQS * DIM], poison[RIG_SEQS * DIM];
    gpu_rig r = gpu_rig_open(DIM, 1, 1, RIG_TOKENS, RIG_SEQS);
    ms_gpu_shares *p = parts_of(r.model, PARTS);
    ms_gpu_encoder *full = p->shares[1].encoder;
    msim_error e = {0};
    rig_fill(&b, lengths[2], NULL, n_seqs[2]);
    rig_vectors(&r, &b, NULL, alone);
    memset(first, ROWS_POISON, sizeof first);
    if (n_before) rows_ok(ms_gpu_shares_submit(p, &b.batch, NULL, first, err));
    for (int i = n_before; i < MSIM_BATCHES_UNDER_WAY; i++)
        rows_ok(ms_gpu_encoder_submit(full, &b.batch, NULL, own, err));
    assert_int_equal(ms_gpu_shares_submit(p, &b.batch, NULL, second, &e), -MSIM_E_LIMIT);
    memset(second, ROWS_POISON, sizeof second); /* from now on nobody else's */
    memset(poison, ROWS_POISON, sizeof poison);
    if (n_before) rows_ok(ms_gpu_shares_wait(p, err));
    if (n_before) assert_memory_equal(first, alone, 3 * DIM * sizeof(float));
    assert_int_equal(ms_gpu_shares_wait(p, &e), -MSIM_E_ARG);
    for (int i = n_before; i < MSIM_BATCHES_UNDER_WAY; i++) rows_ok(ms_gpu_encoder_wait(full, err));
    assert_memory_equal(second, poison, sizeof second);
    rows_ok(ms_gpu_shares_submit(p, &b.batch, NULL, second, err));
    rows_ok(ms_gpu_shares_wait(p, err));
    assert_memory_equal(second, alone, 3 * DIM * sizeof(float));
    ms_gpu_shares_close(p);
    gpu_rig_close(&r);
}

static void a_failed_share_undoes_the_batch(void **state) {
    (void)state;
    failed_submit(0);
    failed_submit(1);
}

/* A share whose batch fails when it is waited for: the wait of that batch says so, and the next
 * batch is untouched. */
static void a_share_that_fails_later(void **state) {
    (void)state;
    static rig_batch b;
    static float out[RIG_SEQS * DIM], next[RIG_SEQS * DIM], alone[RIG_SEQS * DIM];
    gpu_rig r = gpu_rig_open(DIM, 1, 1, RIG_TOKENS, RIG_SEQS);
    ms_gpu_shares *p = parts_of(r.model, PARTS);
    msim_error e = {0};
    rig_fill(&b, lengths[2], NULL, n_seqs[2]);
    rig_vectors(&r, &b, NULL, alone);
    rows_ok(ms_gpu_shares_submit(p, &b.batch, NULL, out, err));
    rows_ok(
        ms_gpu_encoder_wait(p->shares[1].encoder, err)); /* taken away: the part's own wait finds
                                                             * none */
    assert_int_equal(ms_gpu_shares_wait(p, &e), -MSIM_E_ARG);
    assert_true(e.text[0] != 0);
    rows_ok(ms_gpu_shares_submit(p, &b.batch, NULL, next, err));
    rows_ok(ms_gpu_shares_wait(p, err));
    assert_memory_equal(next, alone, 3 * DIM * sizeof(float));
    ms_gpu_shares_close(p);
    gpu_rig_close(&r);
}

/* ---- Search ---- */

static float rows[ROWS * DIM], queries[QUERIES * DIM];

static void fill_rows(void) {
    uint64_t seed = 11;
    for (int i = 0; i < ROWS * DIM; i++) rows[i] = uniform(&seed);
    for (int i = 0; i < QUERIES * DIM; i++) queries[i] = uniform(&seed);
    for (int copy = 310; copy < ROWS; copy += 290)
        memcpy(rows + copy * DIM, rows + 20 * DIM, DIM * sizeof *rows);
    memcpy(queries, rows + 20 * DIM, DIM * sizeof *rows); /* equal scores in every part */
    rows[50 * DIM] = rows[800 * DIM] = NAN;
}

typedef struct {
    int64_t n, most; /* calls so far; ends at `most` */
    int64_t sum;     /* of rows and queries, in any order */
    double scores;
} heard;

static int hear(void *user, size_t query, int64_t row, double score) {
    heard *h = user;
    assert_true(h->n < h->most);
    h->n++;
    h->sum += row * QUERIES + (int64_t)query;
    h->scores += score > 0.1;
    return h->n == h->most;
}

static void compare(ms_gpu_shares *one, ms_gpu_shares *many, const ms_rows *views, size_t n_views,
                    int64_t first, int64_t n_rows) {
    static const int64_t excluded[] = {0, 21, 310, 600, 899};
    static ms_hit wanted[QUERIES * MAX_K], got[QUERIES * MAX_K];
    static const int64_t ks[] = {1, 10, MAX_K};
    rows_ok(ms_gpu_shares_load(one, views, n_views, first, n_rows, err));
    rows_ok(ms_gpu_shares_load(many, views, n_views, first, n_rows, err));
    for (int i = 0; i < 6; i++) {
        msim_search_options o = {.size = sizeof(msim_search_options),
                                 .metric = MSIM_METRIC_COSINE,
                                 .scan = MSIM_SCAN_AUTO};
        ms_search_request request = {
            .queries = queries, .n_query = QUERIES, .options = &o, .k = ks[i % 3]};
        if (i >= 3) o.excluded = excluded, o.n_excluded = 5;
        memset(got, ROWS_POISON, sizeof got);
        int64_t n_wanted = ms_gpu_shares_topk(one, &request, wanted, NULL),
                n_got = ms_gpu_shares_topk(many, &request, got, NULL);
        assert_int_equal(n_got, n_wanted);
        assert_true(n_got >= 0 && n_got <= request.k);
        for (int q = 0; q < QUERIES; q++)
            assert_memory_equal(got + q * request.k, wanted + q * request.k,
                                (size_t)n_got * sizeof *got);
        ms_search_outcome a, b;
        ms_gpu_shares_outcome(one, &a);
        ms_gpu_shares_outcome(many, &b);
        assert_int_equal(a.rows_nonfinite, b.rows_nonfinite);
        heard all = {.most = INT64_MAX}, divided = all, few = {.most = 5};
        request.threshold = 0.0;
        request.sink = hear;
        request.user = &all;
        int64_t n = ms_gpu_shares_above(one, &request, NULL);
        assert_int_equal(n, all.n);
        request.user = &divided;
        n = ms_gpu_shares_above(many, &request, NULL);
        assert_int_equal(n, all.n);
        assert_true(divided.n == all.n && divided.sum == all.sum && divided.scores == all.scores);
        request.user = &few;
        n = ms_gpu_shares_above(many, &request, NULL);
        assert_int_equal(n, all.n < 5 ? all.n : 5);
        assert_int_equal(few.n, n);
    }
}

static void rows_are_divided(void **state) {
    (void)state;
    ms_rows whole = {.base = (const unsigned char *)rows,
                     .row_bytes = DIM * sizeof *rows,
                     .n_rows = ROWS,
                     .dim = DIM,
                     .dtype = MSIM_DTYPE_F32};
    ms_rows halves[2] = {whole, whole};
    halves[0].n_rows = 333;
    halves[1].base += 333 * whole.row_bytes;
    halves[1].n_rows = ROWS - 333;
    fill_rows();
    ms_gpu_shares *one = parts_of(NULL, 1), *many = parts_of(NULL, PARTS);
    compare(one, many, &whole, 1, 0, ROWS);
    compare(one, many, halves, 2, 37, 811);
    compare(one, many, halves, 2, 332, 2);
    compare(one, many, &whole, 1, 256, 1);
    compare(one, many, &whole, 1, 5, 0);
    ms_gpu_shares_close(one);
    ms_gpu_shares_close(many);
}

/* ---- Failures ---- */

static void every_failed_allocation_is_an_error(void **state) {
    (void)state;
    ms_rows whole = {.base = (const unsigned char *)rows,
                     .row_bytes = DIM * sizeof *rows,
                     .n_rows = ROWS,
                     .dim = DIM,
                     .dtype = MSIM_DTYPE_F32};
    gpu_rig r = gpu_rig_open(DIM, 1, 1, 64, 4);
    ms_gpu_model *models[PARTS] = {r.model, r.model, r.model};
    msim_options o = limits();
    int64_t n_failed = 0;
    o.max_batch_tokens = 64;
    fill_rows();
    for (int64_t n = 1;; n++) {
        ms_gpu_shares *p = NULL;
        msim_error e = {0};
        ms_mem_fail_at(n);
        int rc = ms_gpu_shares_open(devices, PARTS, models, &o, &p, &e);
        int loaded = rc < 0 ? rc : ms_gpu_shares_load(p, &whole, 1, 0, ROWS, &e);
        ms_mem_fail_at(0);
        assert_true(rc == MSIM_OK || rc == -MSIM_E_MEMORY);
        assert_true((rc < 0) == (p == NULL));
        if (rc >= 0 && loaded < 0) { /* nothing is loaded, and another try does */
            assert_int_equal(loaded, -MSIM_E_MEMORY);
            rows_ok(ms_gpu_shares_load(p, &whole, 1, 0, ROWS, err));
        }
        ms_gpu_shares_close(p);
        if (loaded >= 0) break;
        assert_int_equal(e.code, MSIM_E_MEMORY);
        n_failed++;
    }
    assert_true(n_failed > 10);
    gpu_rig_close(&r);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_divided),
        cmocka_unit_test(a_failed_share_undoes_the_batch),
        cmocka_unit_test(a_share_that_fails_later),
        cmocka_unit_test(rows_are_divided),
        cmocka_unit_test(every_failed_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
