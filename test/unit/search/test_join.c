/* Joins against brute force: the pairs, their scores to the last bit and their order are the
 * definition's (docs/SEARCH.md, Joins), at every level and number of threads, with codes and
 * without, on rows made to break them. Also: two corpora, shards, hits that go through the
 * temporary file, ranks, stopping, refusals, and memory that runs out. */
#include "base/mem.h"
#include "cpu/levels.h"
#include "midisim.h"
#include "search/join/device.h"
#include "search/join/hits.h"
#include "support/joins.h"
#include "support/levels.h"
#include "support/ok.h"
#include "support/random.h"
#include "support/rows.h"
#include <math.h>
#include <pthread.h>
#include <unistd.h>

static msim_error err;

/* ---- Rows ---- */

static msim_corpus *open_rows(const float *rows, size_t n, size_t dim) {
    msim_corpus *corpus;
    ok(msim_corpus_open_rows(rows, (int64_t)n, (int64_t)dim, NULL, NULL, &corpus, &err));
    return corpus;
}

/* ---- Hits ---- */

/* The definition, spelled out. b NULL: rows of a with each other. */
static join_list brute_force(const float *a, size_t n_a, const float *b, size_t n_b, size_t dim,
                             double threshold) {
    join_list l = {0};
    double x[1024], y[1024];
    const float *right = b ? b : a;
    for (size_t i = 0; i < n_a; i++)
        for (size_t k = b ? 0 : i + 1; k < n_b; k++) {
            for (size_t j = 0; j < dim; j++) {
                x[j] = a[i * dim + j];
                y[j] = right[k * dim + j];
            }
            double xx = defined_dot(x, x, dim), yy = defined_dot(y, y, dim),
                   score = defined_dot(y, x, dim) / (sqrt(xx) * sqrt(yy)) + 0.0;
            if (!isfinite(xx) || !isfinite(yy)) continue;
            if (xx == 0 || yy == 0) score = 0;
            if (score >= threshold) take_hit(&l, (int64_t)i, (int64_t)k, score);
        }
    return l;
}

/* The hits of a list that reach a threshold. */
static join_list filter(const join_list *all, double threshold) {
    join_list l = {0};
    for (size_t i = 0; i < all->n; i++)
        if (all->hits[i].score >= threshold)
            take_hit(&l, all->hits[i].a, all->hits[i].b, all->hits[i].score);
    return l;
}

static void assert_same(const join_list *expected, const join_list *got, const char *what) {
    if (expected->n != got->n) fail_msg("%s: %zu pairs, expected %zu", what, got->n, expected->n);
    for (size_t i = 0; i < got->n; i++)
        if (memcmp(&got->hits[i], &expected->hits[i], sizeof(ms_join_hit)) != 0)
            fail_msg("%s: pair %zu is (%lld, %lld) %.17g, expected (%lld, %lld) %.17g", what, i,
                     (long long)got->hits[i].a, (long long)got->hits[i].b, got->hits[i].score,
                     (long long)expected->hits[i].a, (long long)expected->hits[i].b,
                     expected->hits[i].score);
}

static void join_and_compare(const msim_corpus *a, const msim_corpus *b, double threshold,
                             const msim_join_options *o, const join_list *expected,
                             const char *what) {
    join_list got = {0};
    msim_join_stats stats = {.size = sizeof stats};
    int64_t n = msim_join(a, b, threshold, o, take_hit, &got, &stats, &err);
    if (n < 0) fail_msg("%s: %s", what, err.text);
    assert_int_equal(n, got.n);
    assert_int_equal(stats.hits, got.n);
    assert_same(expected, &got, what);
    clear_hits(&got);
}

/* ---- Tests ---- */

/* Thresholds: nothing can reach it, some rows, exactly a score, 0 (rows of zeros), all. */
static size_t thresholds_of(const join_list *all, double *out) {
    size_t n = 0;
    out[n++] = 1.5;
    out[n++] = 0.999;
    out[n++] = all->n ? all->hits[all->n / 2].score : 0.5;
    out[n++] = 0.0;
    out[n++] = -1.0;
    out[n++] = -INFINITY;
    return n;
}

static void check_self(size_t n_rows, size_t dim, int isa, const int *threads, size_t n_threads) {
    float *rows = test_alloc(n_rows * dim + 1, sizeof *rows);
    make_join_rows(rows, n_rows, dim, n_rows + dim);
    msim_corpus *corpus = open_rows(rows, n_rows, dim);
    join_list all = brute_force(rows, n_rows, NULL, n_rows, dim, -INFINITY);
    double thresholds[8];
    size_t n = thresholds_of(&all, thresholds);
    for (size_t t = 0; t < n; t++) {
        join_list expected = filter(&all, thresholds[t]);
        for (size_t i = 0; i < n_threads; i++) {
            static const int scans[] = {MSIM_SCAN_AUTO, MSIM_SCAN_INT8, MSIM_SCAN_F64};
            msim_options device = msim_options_default();
            msim_join_options o = msim_join_options_default();
            char what[120];
            device.isa = isa;
            device.threads = threads[i];
            o.options = &device;
            o.scan = scans[(t + i) % 3];
            snprintf(what, sizeof what, "%s, %zu x %zu, threshold %g, %d threads, scan %d",
                     msim_isa_name(isa), n_rows, dim, thresholds[t], threads[i], o.scan);
            join_and_compare(corpus, NULL, thresholds[t], &o, &expected, what);
        }
        clear_hits(&expected);
    }
    clear_hits(&all);
    msim_corpus_close(corpus);
    ms_free(rows);
}

static void pairs_are_those_of_brute_force(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 7};
    FOR_EACH_ISA(isa) {
        if (!ms_cpu_kernels_get(isa)) continue;
        check_self(211, 70, isa, threads, 3);
        check_self(65, 512, isa, threads, 1);
        check_self(16, 3, isa, threads, 1);
        check_self(1, 64, isa, threads, 1);
        check_self(0, 64, isa, threads, 1);
    }
}

/* More than one block, so that the diagonal is met in all its places. */
static void blocks_meet_at_the_diagonal(void **state) {
    (void)state;
    enum { N = 1100, DIM = 20 };
    static const int threads[] = {3};
    check_self(N, DIM, ms_cpu_isa_best(), threads, 1);
}

/* The same row everywhere: all codes are equal, and the step is nearly 0. */
static void equal_rows_are_all_pairs(void **state) {
    (void)state;
    enum { N = 130, DIM = 64 };
    float rows[N * DIM];
    for (size_t i = 0; i < N * DIM; i++) rows[i] = (float)(1 + i % DIM);
    msim_corpus *corpus = open_rows(rows, N, DIM);
    join_list expected = brute_force(rows, N, NULL, N, DIM, -1);
    double score = expected.hits[0].score; /* of every pair: 1, or one bit beside it */
    join_and_compare(corpus, NULL, score, NULL, &expected, "equal rows");
    clear_hits(&expected);
    join_and_compare(corpus, NULL, nextafter(score, 2), NULL, &expected, "above equal rows");
    msim_corpus_close(corpus);
}

/* Enough rows for a map to be found. That it is used is seen in the statistics. */
static void two_corpora_join_behind_a_map(void **state) {
    (void)state;
    enum { N_A = 40, N_B = 8200, DIM = 256, DIRECTIONS = 12 };
    uint64_t seed = 5;
    float *a = test_alloc(N_A * DIM, sizeof *a), *b = test_alloc(N_B * DIM, sizeof *b),
          *directions = test_alloc(DIRECTIONS * DIM, sizeof *directions);
    for (size_t i = 0; i < DIRECTIONS * DIM; i++) directions[i] = uniform(&seed);
    for (size_t i = 0; i < N_A + N_B; i++) {
        float *x = i < N_A ? a + i * DIM : b + (i - N_A) * DIM;
        for (size_t j = 0; j < DIM; j++) x[j] = 0.05f * uniform(&seed);
        for (size_t d = 0; d < DIRECTIONS; d++) {
            float much = uniform(&seed);
            for (size_t j = 0; j < DIM; j++) x[j] += much * directions[d * DIM + j];
        }
    }
    make_join_rows(a, 16, DIM, 7); /* and some that are nowhere near */
    memcpy(b + 100 * DIM, a, N_A * DIM * sizeof *a);
    msim_corpus *left = open_rows(a, N_A, DIM), *right = open_rows(b, N_B, DIM);
    static const double thresholds[] = {0.9, 0.99, 0.0};
    join_list all = brute_force(a, N_A, b, N_B, DIM, 0);
    for (size_t t = 0; t < 3; t++) {
        join_list expected = filter(&all, thresholds[t]), got = {0};
        FOR_EACH_ISA(isa) {
            if (!ms_cpu_kernels_get(isa)) continue;
            msim_options device = msim_options_default();
            msim_join_options o = msim_join_options_default();
            msim_join_stats stats = {.size = sizeof stats};
            device.isa = isa;
            o.options = &device;
            ok(msim_join(left, right, thresholds[t], &o, take_hit, &got, &stats, &err));
            assert_same(&expected, &got, msim_isa_name(isa));
            assert_int_equal(stats.pairs, N_A * N_B);
            if (t < 2 && isa == ms_cpu_isa_best()) {
                assert_true(stats.is_mapped && stats.components < DIM);
                assert_true(stats.scored < stats.pairs / 4);
            }
            clear_hits(&got);
        }
        join_and_compare(right, left, 2, NULL, &got, "nothing reaches 2");
        clear_hits(&expected);
    }
    clear_hits(&all);
    msim_corpus_close(left);
    msim_corpus_close(right);
    ms_free(a);
    ms_free(b);
    ms_free(directions);
}

typedef struct {
    join_list *list;
    int calls, stops_at;
    int64_t last, all;
} watcher;

static int watch(void *user, int64_t done, int64_t all) {
    watcher *w = user;
    assert_true(done >= w->last && done <= all);
    w->last = done;
    w->all = all;
    return ++w->calls == w->stops_at;
}

enum { SMALL = 300, SMALL_DIM = 24 };

static msim_corpus *small_corpus(join_list *expected, double threshold) {
    static float rows[SMALL * SMALL_DIM];
    make_join_rows(rows, SMALL, SMALL_DIM, 11);
    *expected = brute_force(rows, SMALL, NULL, SMALL, SMALL_DIM, threshold);
    return open_rows(rows, SMALL, SMALL_DIM);
}

static void shards_one_after_the_other_are_the_whole(void **state) {
    (void)state;
    join_list expected;
    msim_corpus *corpus = small_corpus(&expected, 0.9);
    for (int64_t n_shards = 1; n_shards <= 9; n_shards += 2) {
        join_list got = {0};
        int64_t pairs = 0;
        for (int64_t shard = 1; shard <= n_shards; shard++) {
            msim_join_options o = msim_join_options_default();
            msim_join_stats stats = {.size = sizeof stats};
            o.shard = shard;
            o.n_shards = n_shards;
            ok(msim_join(corpus, NULL, 0.9, &o, take_hit, &got, &stats, &err));
            pairs += stats.pairs;
        }
        assert_same(&expected, &got, "shards");
        assert_int_equal(pairs, SMALL * (SMALL - 1) / 2);
        clear_hits(&got);
    }
    clear_hits(&expected);
    msim_corpus_close(corpus);
}

static void shards_have_about_as_many_pairs_each(void **state) {
    (void)state;
    const ms_join_shape shapes[] = {
        {3480123, 3480123, 1}, {3480123, 1000, 0}, {(int64_t)1 << 33, (int64_t)1 << 33, 1}};
    for (size_t s = 0; s < 3; s++) {
        int64_t n = 16, before = 0, all = ms_join_pairs_below(&shapes[s], shapes[s].n_left);
        for (int64_t i = 1; i <= n; i++) {
            int64_t end = ms_join_shard_first(&shapes[s], i, n);
            double share = (double)(ms_join_pairs_below(&shapes[s], end) -
                                    ms_join_pairs_below(&shapes[s], before)) /
                           (double)all;
            assert_true(fabs(share * (double)n - 1) < 0.01);
            before = end;
        }
        assert_int_equal(before, shapes[s].n_left);
    }
}

/* So little memory that nearly all hits go through the file, in many runs. */
static void hits_beyond_the_memory_go_through_a_file(void **state) {
    (void)state;
    join_list expected, got = {0};
    msim_corpus *corpus = small_corpus(&expected, -1.0);
    msim_options device = msim_options_default();
    msim_join_options o = msim_join_options_default();
    msim_join_stats stats = {.size = sizeof stats};
    device.threads = 3;
    o.options = &device;
    o.memory_bytes = 0;
    ok(msim_join(corpus, NULL, -1.0, &o, take_hit, &got, &stats, &err));
    assert_same(&expected, &got, "spilled");
    assert_true(stats.spilled > (int64_t)got.n / 2);
    clear_hits(&got);
    o.folder = "/nonexistent/folder";
    assert_int_equal(msim_join(corpus, NULL, -1.0, &o, take_hit, &got, NULL, &err), -MSIM_E_IO);
    assert_non_null(strstr(err.text, "/nonexistent/folder"));
    assert_int_equal(got.n, 0);
    clear_hits(&expected);
    msim_corpus_close(corpus);
}

/* ---- Ranks: threads of this program ---- */

enum { RANKS = 3 };

static struct {
    pthread_barrier_t barrier;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int rcs[RANKS];
    msim_error errs[RANKS];
    int64_t values[RANKS][16];
    const void *bytes[RANKS]; /* that this rank wants to send to rank 0 */
    size_t n_bytes[RANKS];
} team;

static int team_agree(void *user, int rc, msim_error *e) {
    int index = *(int *)user, failed = -1;
    team.rcs[index] = rc;
    if (rc < 0) team.errs[index] = *e;
    pthread_barrier_wait(&team.barrier);
    for (int i = RANKS - 1; i >= 0; i--)
        if (team.rcs[i] < 0) failed = i;
    if (failed >= 0) *e = team.errs[failed];
    if (failed >= 0) rc = team.rcs[failed];
    pthread_barrier_wait(&team.barrier);
    return rc;
}

static void team_sum(void *user, int64_t *values, int n) {
    memcpy(team.values[*(int *)user], values, (size_t)n * sizeof *values);
    pthread_barrier_wait(&team.barrier);
    for (int i = 0; i < n; i++) {
        values[i] = 0;
        for (int rank = 0; rank < RANKS; rank++) values[i] += team.values[rank][i];
    }
    pthread_barrier_wait(&team.barrier);
}

static void team_send(void *user, int to, const void *bytes, size_t n) {
    int from = *(int *)user;
    assert_int_equal(to, 0);
    pthread_mutex_lock(&team.lock);
    team.bytes[from] = bytes;
    team.n_bytes[from] = n;
    pthread_cond_broadcast(&team.changed);
    while (team.bytes[from]) pthread_cond_wait(&team.changed, &team.lock);
    pthread_mutex_unlock(&team.lock);
}

static size_t team_expect(void *user, int from) {
    (void)user;
    pthread_mutex_lock(&team.lock);
    while (!team.bytes[from]) pthread_cond_wait(&team.changed, &team.lock);
    size_t n = team.n_bytes[from];
    pthread_mutex_unlock(&team.lock);
    return n;
}

static void team_receive(void *user, int from, void *bytes, size_t n) {
    (void)user;
    pthread_mutex_lock(&team.lock);
    assert_int_equal(n, team.n_bytes[from]);
    memcpy(bytes, team.bytes[from], n);
    team.bytes[from] = NULL;
    pthread_cond_broadcast(&team.changed);
    pthread_mutex_unlock(&team.lock);
}

typedef struct {
    int index;
    const msim_corpus *corpus;
    msim_join_options o;
    msim_options device;
    msim_join_stats stats;
    join_list got;
    int64_t rc;
    msim_error e;
} member;

static void *run_member(void *arg) {
    member *m = arg;
    msim_ranks ranks = {.size = sizeof ranks,
                        .user = &m->index,
                        .index = m->index,
                        .count = RANKS,
                        .agree = team_agree,
                        .sum = team_sum,
                        .send = team_send,
                        .expect = team_expect,
                        .receive = team_receive};
    m->o.ranks = &ranks;
    m->o.options = &m->device;
    m->device.threads = 1;
    m->stats.size = sizeof m->stats;
    m->rc = msim_join(m->corpus, NULL, 0.9, &m->o, take_hit, &m->got, &m->stats, &m->e);
    return NULL;
}

/* bad: the rank that has no folder for its hits; -1: none. */
static void run_team(member *members, const msim_corpus *corpus, int bad, size_t most) {
    pthread_t threads[RANKS];
    pthread_barrier_init(&team.barrier, NULL, RANKS);
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.changed, NULL);
    for (int i = 0; i < RANKS; i++) {
        members[i] = (member){.index = i,
                              .corpus = corpus,
                              .o = msim_join_options_default(),
                              .device = msim_options_default(),
                              .got.most = most};
        members[i].o.memory_bytes = 0; /* so that files are needed */
        if (i == bad) members[i].o.folder = "/nonexistent/folder";
        assert_int_equal(pthread_create(threads + i, NULL, run_member, members + i), 0);
    }
    for (int i = 0; i < RANKS; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&team.barrier);
    pthread_mutex_destroy(&team.lock);
    pthread_cond_destroy(&team.changed);
}

static void ranks_find_what_one_process_finds(void **state) {
    (void)state;
    join_list expected;
    msim_corpus *corpus = small_corpus(&expected, 0.9);
    member members[RANKS];
    run_team(members, corpus, -1, 0);
    assert_same(&expected, &members[0].got, "ranks");
    assert_int_equal(members[0].rc, expected.n);
    for (int i = 0; i < RANKS; i++) {
        assert_int_equal(members[i].stats.pairs, SMALL * (SMALL - 1) / 2);
        assert_int_equal(members[i].stats.hits, expected.n);
        assert_true(members[i].stats.spilled > 0);
        if (i) assert_int_equal(members[i].rc + (int64_t)members[i].got.n, 0);
    }
    clear_hits(&members[0].got);
    run_team(members, corpus, -1, expected.n - 1); /* the sink ends it among the last rank's hits */
    assert_int_equal(members[0].rc, expected.n - 1);
    clear_hits(&members[0].got);
    for (int bad = 1; bad < RANKS; bad++) { /* so few rows leave none for rank 0 */
        run_team(members, corpus, bad, 0);
        for (int i = 0; i < RANKS; i++) {
            assert_int_equal(members[i].rc, -MSIM_E_IO);
            assert_non_null(strstr(members[i].e.text, "/nonexistent/folder"));
            clear_hits(&members[i].got);
        }
    }
    clear_hits(&expected);
    msim_corpus_close(corpus);
}

static void a_sink_may_end_the_join(void **state) {
    (void)state;
    join_list expected, got = {.most = 7};
    msim_corpus *corpus = small_corpus(&expected, 0.5);
    assert_int_equal(msim_join(corpus, NULL, 0.5, NULL, take_hit, &got, NULL, &err), 7);
    expected.n = 7;
    assert_same(&expected, &got, "ended");
    clear_hits(&got);
    clear_hits(&expected);
    msim_corpus_close(corpus);
}

static int stop_at_once(void *user) {
    (void)user;
    return 1;
}

static void a_join_can_be_stopped(void **state) {
    (void)state;
    join_list expected, got = {0};
    msim_corpus *corpus = small_corpus(&expected, 0.5);
    watcher w = {0};
    msim_join_options o = msim_join_options_default();
    o.progress = watch;
    o.user = &w;
    ok(msim_join(corpus, NULL, 0.5, &o, take_hit, &got, NULL, &err));
    assert_int_equal(w.last, w.all);
    assert_int_equal(w.all, SMALL * (SMALL - 1) / 2);
    clear_hits(&got);
    for (int at = 1; at <= w.calls; at++) {
        watcher stopping = {.stops_at = at};
        o.user = &stopping;
        assert_int_equal(msim_join(corpus, NULL, 0.5, &o, take_hit, &got, NULL, &err),
                         -MSIM_E_STOPPED);
        assert_string_equal(err.text, "join: stopped by the caller");
        clear_hits(&got);
    }
    o = msim_join_options_default();
    o.should_stop = stop_at_once;
    assert_int_equal(msim_join(corpus, NULL, 0.5, &o, take_hit, &got, NULL, &err), -MSIM_E_STOPPED);
    assert_int_equal(got.n, 0);
    clear_hits(&expected);
    msim_corpus_close(corpus);
}

static void refuse(const msim_corpus *a, const msim_corpus *b, double threshold,
                   const msim_join_options *o, int code, const char *text) {
    join_list got = {0};
    assert_int_equal(msim_join(a, b, threshold, o, take_hit, &got, NULL, &err), -code);
    assert_string_equal(err.text, text);
    assert_int_equal(got.n, 0);
}

static void what_cannot_be_joined_is_refused(void **state) {
    (void)state;
    float narrow[2 * 3] = {1, 2, 3, 4, 5, 6};
    join_list expected;
    msim_corpus *corpus = small_corpus(&expected, 2), *other = open_rows(narrow, 2, 3);
    refuse(corpus, other, 0.5, NULL, MSIM_E_ARG, "join: expected rows of one width, got 24 and 3");
    refuse(corpus, NULL, NAN, NULL, MSIM_E_ARG, "join: threshold: expected a number, got NaN");
    msim_join_options o = msim_join_options_default();
    o.scan = MSIM_SCAN_F32;
    refuse(corpus, NULL, 0.5, &o, MSIM_E_ARG, "join: scan: expected auto, f64 or int8, got f32");
    o = msim_join_options_default();
    o.n_shards = 3;
    refuse(corpus, NULL, 0.5, &o, MSIM_E_ARG, "join: shard: expected 1..3, got 0");
    o = msim_join_options_default();
    o.memory_bytes = -1;
    refuse(corpus, NULL, 0.5, &o, MSIM_E_ARG, "join: memory: expected 0 bytes or more, got -1");
    msim_options device = msim_options_default();
    device.device = MSIM_DEVICE_CUDA;
    o = msim_join_options_default();
    o.options = &device;
    o.scan = MSIM_SCAN_F64;
    refuse(corpus, NULL, 0.5, &o, MSIM_E_UNSUPPORTED,
           "join: scan: expected auto or int8 on CUDA, got f64: it runs on the CPU");
    msim_corpus_close(corpus);
    msim_corpus_close(other);
}

/* What a device found comes block by block of left rows, each pair once. */
static void found_pairs_are_sorted_by_block(void **state) {
    (void)state;
    enum { N = 5000 };
    static uint32_t pairs[N], sorted[N];
    uint64_t seed = 17;
    size_t at = 0, n_runs = 0;
    int64_t sum = 0, block = -1;
    for (size_t i = 0; i < N; i++) {
        pairs[i] = (uint32_t)(splitmix(&seed) % MS_JOIN_STRIP << 16 | splitmix(&seed) % 65536);
        sum += pairs[i];
    }
    ms_join_found_sort(sorted, pairs, N);
    for (size_t run; at < N; at += run, n_runs++) {
        run = ms_join_found_run(sorted + at, N - at);
        assert_true(run >= 1 && at + run <= N && (sorted[at] >> 16) / MS_JOIN_LEFT > block);
        block = (sorted[at] >> 16) / MS_JOIN_LEFT;
        for (size_t i = at; i < at + run; i++) {
            assert_int_equal((sorted[i] >> 16) / MS_JOIN_LEFT, block);
            sum -= sorted[i];
        }
    }
    assert_int_equal(at, N);
    assert_int_equal(n_runs, MS_JOIN_STRIP / MS_JOIN_LEFT);
    assert_int_equal(sum, 0);
}

/* Every allocation of a join fails once; after each the join fails in an ordinary way. */
static void running_out_of_memory_is_an_ordinary_error(void **state) {
    (void)state;
    join_list expected;
    msim_corpus *corpus = small_corpus(&expected, 0.9);
    msim_options device = msim_options_default();
    msim_join_options o = msim_join_options_default();
    device.threads = 2;
    o.options = &device;
    o.memory_bytes = 0;
    for (int64_t at = 1;; at++) {
        join_list got = {.most = 0};
        static ms_join_hit room[100000];
        got.hits = room;
        got.cap = 100000;
        ms_mem_fail_at(at);
        int64_t n = msim_join(corpus, NULL, 0.9, &o, take_hit, &got, NULL, &err);
        ms_mem_fail_at(0);
        if (n >= 0) {
            assert_same(&expected, &got, "enough memory");
            assert_true(at > 15);
            break;
        }
        assert_int_equal(n, -MSIM_E_MEMORY);
        assert_int_equal(err.code, MSIM_E_MEMORY);
    }
    clear_hits(&expected);
    msim_corpus_close(corpus);
}

/* Rows of the narrow types, as files hold them, and scores with the bits of a search. */
static void scores_are_those_of_a_search(void **state) {
    (void)state;
    enum { N = 140, DIM = 48 };
    static const int dtypes[] = {MSIM_DTYPE_F32, MSIM_DTYPE_F16};
    static float rows[N * DIM];
    make_join_rows(rows, N, DIM, 21);
    for (size_t i = 0; i < N * DIM; i++) /* what f16 can hold */
        if (!(fabsf(rows[i]) < 60000)) rows[i] = 1;
    for (size_t d = 0; d < 2; d++) {
        char path[] = "/tmp/msim_join_XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0 && close(fd) == 0);
        msim_corpus_layout layout = {.size = sizeof layout,
                                     .rows = N,
                                     .dim = DIM,
                                     .name_chars = 8,
                                     .dtype = dtypes[d],
                                     .format = MSIM_FORMAT_STRUCTURED};
        msim_corpus_writer *w;
        msim_corpus *corpus;
        ok(msim_corpus_writer_open(path, &layout, &w, &err));
        for (size_t i = 0; i < N; i++)
            ok(msim_corpus_writer_add(w, "name", 4, rows + i * DIM, &err));
        ok(msim_corpus_writer_finish(w, &err));
        msim_corpus_writer_close(w);
        ok(msim_corpus_open(path, NULL, &corpus, &err));
        join_list got = {0};
        ok(msim_join(corpus, NULL, 0.8, NULL, take_hit, &got, NULL, &err));
        msim_context *ctx;
        ok(msim_context_open(NULL, NULL, &ctx, &err));
        ok(msim_context_load_corpus(ctx, corpus, &err));
        size_t at = 0;
        for (int64_t a = 0; a < N; a++) {
            static int64_t best[N];
            static double scores[N], of_row[N];
            float query[DIM];
            ok(msim_corpus_vector(corpus, a, query, &err));
            ok(msim_context_search(ctx, query, 1, N, best, scores, &err));
            for (int i = 0; i < N; i++) of_row[best[i]] = scores[i];
            for (int64_t b = a + 1; b < N; b++) {
                if (!(of_row[b] >= 0.8)) continue;
                assert_true(at < got.n && got.hits[at].a == a && got.hits[at].b == b);
                assert_memory_equal(&got.hits[at++].score, &of_row[b], sizeof(double));
            }
        }
        assert_int_equal(at, got.n);
        assert_true(at > 100);
        clear_hits(&got);
        msim_context_close(ctx);
        msim_corpus_close(corpus);
        assert_int_equal(unlink(path), 0);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_those_of_brute_force),
        cmocka_unit_test(blocks_meet_at_the_diagonal),
        cmocka_unit_test(equal_rows_are_all_pairs),
        cmocka_unit_test(two_corpora_join_behind_a_map),
        cmocka_unit_test(shards_one_after_the_other_are_the_whole),
        cmocka_unit_test(shards_have_about_as_many_pairs_each),
        cmocka_unit_test(hits_beyond_the_memory_go_through_a_file),
        cmocka_unit_test(ranks_find_what_one_process_finds),
        cmocka_unit_test(a_sink_may_end_the_join),
        cmocka_unit_test(a_join_can_be_stopped),
        cmocka_unit_test(what_cannot_be_joined_is_refused),
        cmocka_unit_test(found_pairs_are_sorted_by_block),
        cmocka_unit_test(running_out_of_memory_is_an_ordinary_error),
        cmocka_unit_test(scores_are_those_of_a_search),
    };
    print_levels("join");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
