/* The searcher against a merge by hand: the best of a piece's keys, k, threshold, excluded rows,
 * every key kept, passes done by the caller; that what runs out of memory says so; and what it is
 * made of: corpora in memory, rows and names by the range, rows by name, rows in order of name, one
 * file to a vector. On the CPU, with the small checkpoint of test/data. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "midisim.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

#define PIECE "test/data/midi/note-seq-tests/note_seq/testdata/melody.mid"
#define MODEL "test/data/checkpoints/tiny.safetensors"

enum { N = 300, MOST_DIM = 64, KEYS = 12, MOST_MATCHES = N * KEYS, MOST_TOKENS = 3072 };

typedef struct {
    msim_model *model;
    msim_corpus *corpus;
    msim_options options;
    int64_t dim;
    float rows[N * MOST_DIM];
    char names[N * 16];
    int64_t name_starts[N + 1];
    unsigned char midi[1 << 16];
    size_t n_midi;
    float keys[KEYS * MOST_DIM]; /* the piece in its keys */
    int64_t hit_rows[KEYS][N];   /* all rows, best first, of each key */
    double hit_scores[KEYS][N];
    msim_error err;
} rig;

static uint64_t seed = 88172645463325252u;
static float uniform(void) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (float)((double)(int64_t)(seed >> 11) * 0x1p-52 - 1.0);
}

#define ok(call)                                               \
    do {                                                       \
        int64_t ok_rc = (call);                                \
        if (ok_rc < 0) fail_msg("%s: %s", #call, r->err.text); \
    } while (0)

/* Rows of which some are alike, one is zero, and one is no row; names of which some are alike. */
static void make_rows(rig *r) {
    int64_t at = 0;
    for (int64_t i = 0; i < N; i++) {
        float *row = r->rows + i * r->dim;
        for (int64_t j = 0; j < r->dim; j++) row[j] = uniform();
        if (i % 7 == 6) memcpy(row, row - r->dim, (size_t)r->dim * sizeof *row);
        if (i == 100) memset(row, 0, (size_t)r->dim * sizeof *row);
        if (i == 200) row[1] = NAN;
        r->name_starts[i] = at;
        at += sprintf(r->names + at, "%c/%d.mid", "cab"[i % 3], (int)(i / 4 * 37 % 101));
    }
    r->name_starts[N] = at;
}

/* The piece in its keys, and all rows for each of them, through the plain calls. */
static void search_by_hand(rig *r) {
    static int32_t ids[KEYS * MOST_TOKENS];
    int64_t starts[KEYS + 1];
    msim_tokenizer *tokenizer;
    msim_context *context;
    msim_options o = r->options;
    FILE *f = fopen(PIECE, "rb");
    assert_non_null(f);
    r->n_midi = fread(r->midi, 1, sizeof r->midi, f);
    fclose(f);
    o.max_k = N;
    o.max_batch_tokens = KEYS * MOST_TOKENS;
    ok(msim_tokenizer_open(NULL, &tokenizer, &r->err));
    assert_int_equal(msim_tokenizer_encode(tokenizer, r->midi, r->n_midi, 6, MOST_TOKENS, ids,
                                           KEYS * MOST_TOKENS, starts, &r->err),
                     KEYS);
    ok(msim_context_open(r->model, &o, &context, &r->err));
    ok(msim_context_embed(context, ids, starts, KEYS, NULL, r->keys, &r->err));
    ok(msim_context_load_corpus(context, r->corpus, &r->err));
    assert_int_equal(
        msim_context_search(context, r->keys, KEYS, N, r->hit_rows[0], r->hit_scores[0], &r->err),
        N);
    msim_context_close(context);
    msim_tokenizer_close(tokenizer);
}

static rig *rig_open(void) {
    static rig made;
    rig *r = &made;
    msim_model_info info = {.size = sizeof info};
    if (r->model) return r;
    r->options = msim_options_default();
    r->options.device = MSIM_DEVICE_CPU;
    r->options.threads = 2;
    ok(msim_model_open(MODEL, &r->options, &r->model, &r->err));
    msim_model_get_info(r->model, &info);
    r->dim = info.dim;
    assert_true(r->dim <= MOST_DIM);
    make_rows(r);
    ok(msim_corpus_open_rows(r->rows, N, r->dim, r->names, r->name_starts, &r->corpus, &r->err));
    search_by_hand(r);
    return r;
}

/* ---- Answers by hand ---- */

static int by_rank(const void *a, const void *b) {
    const msim_match *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return x->transpose - y->transpose;
}

/* What the piece finds: the slow way. */
static int64_t expect(const rig *r, const msim_searcher_options *o, msim_match *out) {
    int64_t n = 0, n_kept = 0;
    for (int v = 0; v < KEYS; v++)
        for (int64_t i = 0, taken = 0; i < N; i++) {
            bool is_out = false;
            for (size_t x = 0; x < o->n_excluded; x++)
                is_out |= o->excluded[x] == r->hit_rows[v][i];
            if (is_out || (o->has_threshold ? !(r->hit_scores[v][i] >= o->threshold)
                                            : o->keep == MSIM_KEEP_EACH && taken == o->k))
                continue;
            taken++;
            out[n++] = (msim_match){
                .row = r->hit_rows[v][i], .score = r->hit_scores[v][i], .transpose = v - 6};
        }
    qsort(out, (size_t)n, sizeof *out, by_rank);
    for (int64_t i = 0; i < n; i++) {
        bool is_again = false;
        for (int64_t x = 0; x < n_kept && o->keep == MSIM_KEEP_BEST; x++)
            is_again |= out[x].row == out[i].row;
        if (!is_again) out[n_kept++] = out[i];
    }
    return !o->has_threshold && o->keep != MSIM_KEEP_EACH && n_kept > o->k ? o->k : n_kept;
}

typedef struct {
    msim_match matches[MOST_MATCHES];
    int64_t n, query, variants, n_answers;
    msim_pass_stats pass;
    int stops_at; /* answer that ends the run; 0: none */
} answers;

static int take(void *user, const msim_answer *a) {
    answers *to = user;
    assert_true(a->n_matches <= MOST_MATCHES);
    memcpy(to->matches, a->matches, (size_t)a->n_matches * sizeof *a->matches);
    to->n = a->n_matches;
    to->query = a->query;
    to->variants = a->variants;
    to->pass = *a->pass;
    return ++to->n_answers == to->stops_at;
}

static void same_matches(const msim_match *got, int64_t n_got, const msim_match *expected,
                         int64_t n_expected) {
    assert_int_equal(n_got, n_expected);
    for (int64_t i = 0; i < n_got; i++) {
        assert_int_equal(got[i].row, expected[i].row);
        assert_int_equal(got[i].transpose, expected[i].transpose);
        assert_memory_equal(&got[i].score, &expected[i].score, sizeof got[i].score);
        assert_true(got[i].from_seconds < 0 && got[i].to_seconds < 0 && got[i].from_token == -1 &&
                    got[i].to_token == -1);
    }
}

/* The piece under these options finds what the slow way finds. */
static void check_piece(rig *r, const msim_searcher_options *o) {
    static msim_match expected[MOST_MATCHES];
    static answers got;
    msim_searcher *s;
    got.n_answers = got.stops_at = 0;
    ok(msim_searcher_open(r->model, r->corpus, &r->options, o, &s, &r->err));
    assert_int_equal(msim_searcher_add_midi(s, r->midi, r->n_midi, &r->err), 0);
    assert_int_equal(msim_searcher_waiting(s), KEYS);
    assert_int_equal(msim_searcher_run(s, take, &got, &r->err), 1);
    assert_int_equal(got.n_answers, 1);
    assert_int_equal(got.variants, KEYS);
    assert_int_equal(got.pass.device, MSIM_DEVICE_CPU);
    assert_int_equal(got.pass.rows_nonfinite, 1);
    same_matches(got.matches, got.n, expected, expect(r, o, expected));
    assert_int_equal(msim_searcher_waiting(s), 0);
    msim_searcher_close(s);
}

static void best_of_the_keys(void **state) {
    (void)state;
    static const int64_t ks[] = {1, 2, 16, N - 1, N, 3 * N}, out[] = {200, 5, 17, 5, 299, 0};
    rig *r = rig_open();
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        for (int keep = MSIM_KEEP_BEST; keep <= MSIM_KEEP_EACH; keep++) {
            msim_searcher_options o = msim_searcher_options_default();
            o.k = ks[i];
            o.keep = keep;
            check_piece(r, &o);
            o.excluded = out;
            o.n_excluded = 6;
            check_piece(r, &o);
        }
}

static void all_above_a_threshold(void **state) {
    (void)state;
    static const int64_t out[] = {7, 3};
    rig *r = rig_open();
    const double thresholds[] = {-INFINITY, -0.1, 0.0, 0.2, r->hit_scores[3][4], 2.0};
    for (size_t i = 0; i < sizeof thresholds / sizeof *thresholds; i++)
        for (int keep = MSIM_KEEP_BEST; keep <= MSIM_KEEP_EACH; keep++) {
            msim_searcher_options o = msim_searcher_options_default();
            o.has_threshold = 1;
            o.threshold = thresholds[i];
            o.keep = keep;
            if (i % 2) o.excluded = out, o.n_excluded = 2;
            if (i == 0) continue; /* rows with NaN never: the slow way has them last */
            check_piece(r, &o);
        }
}

/* ---- Rows, vectors, groups, own rows ---- */

/* Every query's answer in turn: rows and scores, told apart by n. */
typedef struct {
    int64_t n[N], rows[N][8];
    double scores[N][8];
    int64_t n_answers;
} many;

static int take_many(void *user, const msim_answer *a) {
    many *to = user;
    assert_int_equal(a->query, to->n_answers);
    to->n[a->query] = a->n_matches;
    for (int64_t i = 0; i < a->n_matches && i < 8; i++) {
        to->rows[a->query][i] = a->matches[i].row;
        to->scores[a->query][i] = a->matches[i].score;
        assert_int_equal(a->matches[i].transpose, 0);
    }
    to->n_answers++;
    return 0;
}

static void groups_change_nothing(void **state) {
    (void)state;
    static many one, other;
    rig *r = rig_open();
    for (int is_small = 0; is_small < 2; is_small++) {
        many *to = is_small ? &other : &one;
        msim_searcher *s;
        msim_searcher_options o = msim_searcher_options_default();
        o.k = 8;
        if (is_small) o.max_vectors = 3;
        ok(msim_searcher_open(NULL, r->corpus, &r->options, &o, &s, &r->err));
        for (int64_t row = 0; row < 90; row++)
            assert_int_equal(row % 2 ? msim_searcher_add_row(s, row, &r->err)
                                     : msim_searcher_add_vector(s, r->rows + row * r->dim, &r->err),
                             row);
        assert_int_equal(msim_searcher_run(s, take_many, to, &r->err), 90);
        assert_int_equal(to->n_answers, 90);
        msim_searcher_stats stats = {.size = sizeof stats};
        msim_searcher_get_stats(s, &stats);
        assert_int_equal(stats.answered, 90);
        assert_int_equal(stats.matches, 90 * 8);
        msim_searcher_close(s);
    }
    assert_memory_equal(&one, &other, sizeof one);
    assert_int_equal(one.rows[4][0], 4);
    assert_int_equal(one.rows[13][0], 12); /* the same row twice: the lower */
}

static void own_rows_are_left_out(void **state) {
    (void)state;
    static many got;
    static int64_t own[N];
    rig *r = rig_open();
    msim_searcher *s;
    msim_searcher_options o = msim_searcher_options_default();
    o.k = 8;
    o.excludes_self = 1;
    ok(msim_searcher_open(NULL, r->corpus, &r->options, &o, &s, &r->err));
    for (int64_t n_own = 1; n_own < N; n_own += 61) {
        memset(&got, 0, sizeof got);
        for (int64_t row = 0; row < 4; row++) {
            assert_int_equal(msim_searcher_add_row(s, row, &r->err), row);
            for (int64_t i = 0; i < n_own; i++) own[i] = N - 1 - i;
            if (row % 2) ok(msim_searcher_exclude(s, row, own, (size_t)n_own, &r->err));
        }
        assert_int_equal(msim_searcher_run(s, take_many, &got, &r->err), 4);
        for (int64_t row = 0; row < 4; row++) {
            int64_t left = N - 1 - (row % 2 ? n_own : 0);
            if (row % 2 && n_own >= N - row) left++; /* the row itself is among them */
            assert_int_equal(got.n[row], left < 8 ? left : 8);
            for (int64_t i = 0; i < got.n[row]; i++) {
                assert_int_not_equal(got.rows[row][i], row);
                assert_true(row % 2 == 0 || got.rows[row][i] < N - n_own);
            }
        }
    }
    assert_int_equal(msim_searcher_exclude(s, 0, own, 1, &r->err), -MSIM_E_ARG);
    msim_searcher_close(s);
}

static void refused(rig *r, int64_t rc, int code, const char *words) {
    assert_int_equal(rc, -code);
    assert_int_equal(r->err.code, code);
    if (!strstr(r->err.text, words)) fail_msg("'%s' lacks '%s'", r->err.text, words);
}

static void what_is_refused(void **state) {
    (void)state;
    rig *r = rig_open();
    msim_searcher *s;
    msim_searcher_options o = msim_searcher_options_default();
    msim_match found[2];
    o.k = 0;
    refused(r, msim_searcher_open(NULL, r->corpus, NULL, &o, &s, &r->err), MSIM_E_ARG, "k:");
    assert_null(s);
    o = (msim_searcher_options){.k = 1};
    refused(r, msim_searcher_open(NULL, r->corpus, NULL, &o, &s, &r->err), MSIM_E_ARG, "size");
    o = msim_searcher_options_default();
    o.has_threshold = 1, o.threshold = NAN;
    refused(r, msim_searcher_open(NULL, r->corpus, NULL, &o, &s, &r->err), MSIM_E_ARG, "NaN");
    o = msim_searcher_options_default();
    o.max_vectors = 11;
    ok(msim_searcher_open(NULL, r->corpus, &r->options, &o, &s, &r->err));
    refused(r, msim_searcher_add_midi(s, r->midi, r->n_midi, &r->err), MSIM_E_ARG, "model");
    refused(r, msim_searcher_add_row(s, 200, &r->err), MSIM_E_ARG, "finite");
    refused(r, msim_searcher_add_row(s, N, &r->err), MSIM_E_ARG, "row");
    assert_int_equal(msim_searcher_waiting(s), 0);
    msim_searcher_close(s);
    ok(msim_searcher_open(r->model, r->corpus, &r->options, &o, &s, &r->err));
    refused(r, msim_searcher_add_midi(s, r->midi, r->n_midi, &r->err), MSIM_E_LIMIT, "12");
    msim_searcher_close(s);
    ok(msim_searcher_open(r->model, r->corpus, &r->options, NULL, &s, &r->err));
    refused(r, msim_searcher_add_midi(s, "MThd", 4, &r->err), MSIM_E_FORMAT, "");
    assert_int_equal(msim_searcher_outcome(s), MSIM_OUTCOME_NOT_MIDI);
    refused(r, msim_searcher_add_file(s, MODEL, &r->err), MSIM_E_FORMAT, MODEL);
    refused(r, msim_searcher_add_file(s, "test/data", &r->err), MSIM_E_IO, "regular");
    refused(r, msim_searcher_add_file(s, "absent.mid", &r->err), MSIM_E_IO, "absent.mid");
    ok(msim_searcher_add_row(s, 1, &r->err));
    refused(r, msim_searcher_file(s, PIECE, found, 2, &r->err), MSIM_E_ARG, "queries wait");
    msim_searcher_close(s);
}

static int stop_now(void *user) { return ++*(int *)user > 2; }

static void stopping(void **state) {
    (void)state;
    static answers got;
    rig *r = rig_open();
    msim_searcher *s;
    msim_searcher_options o = msim_searcher_options_default();
    int n_asked = 0;
    ok(msim_searcher_open(NULL, r->corpus, &r->options, NULL, &s, &r->err));
    for (int64_t row = 0; row < 5; row++) ok(msim_searcher_add_row(s, row, &r->err));
    got.n_answers = 0, got.stops_at = 2;
    refused(r, msim_searcher_run(s, take, &got, &r->err), MSIM_E_STOPPED, "stopped");
    assert_int_equal(got.n_answers, 2);
    assert_int_equal(msim_searcher_waiting(s), 0);
    assert_int_equal(msim_searcher_run(s, take, &got, &r->err), 0);
    msim_searcher_close(s);
    o.has_threshold = 1, o.threshold = -2.0;
    o.should_stop = stop_now, o.stop_user = &n_asked;
    ok(msim_searcher_open(NULL, r->corpus, &r->options, &o, &s, &r->err));
    ok(msim_searcher_add_row(s, 0, &r->err));
    got.n_answers = got.stops_at = 0;
    refused(r, msim_searcher_run(s, take, &got, &r->err), MSIM_E_STOPPED, "stopped");
    assert_int_equal(got.n_answers, 0);
    msim_searcher_close(s);
}

/* A single pass ends before it has seen all rows, whatever its scan; and so does the embedding of a
 * query. */
static void stopping_inside(void **state) {
    (void)state;
    static answers got;
    static const int scans[] = {MSIM_SCAN_F64, MSIM_SCAN_F32};
    rig *r = rig_open();
    msim_options options = r->options;
    options.threads = 1; /* of several, the one that asks may find no block left */
    for (int i = 0; i < 6; i++) {
        int n_asked = 0;
        msim_searcher *s;
        msim_searcher_options o = msim_searcher_options_default();
        o.scan = scans[i % 2];
        o.should_stop = stop_now, o.stop_user = &n_asked;
        if (i / 2 == 1) o.has_threshold = 1, o.threshold = 2.0;
        ok(msim_searcher_open(r->model, r->corpus, &options, &o, &s, &r->err));
        if (i / 2 == 2) {
            n_asked = 2;
            refused(r, msim_searcher_add_midi(s, r->midi, r->n_midi, &r->err), MSIM_E_STOPPED,
                    "stopped");
            assert_int_equal(n_asked, 3);
            n_asked = 0;
        }
        assert_int_equal(msim_searcher_waiting(s), 0);
        ok(msim_searcher_add_row(s, 0, &r->err));
        got.n_answers = got.stops_at = 0;
        n_asked = 2;
        refused(r, msim_searcher_run(s, take, &got, &r->err), MSIM_E_STOPPED, "stopped");
        assert_int_equal(got.n_answers, 0);
        assert_int_equal(n_asked, 3); /* once: no block is read afterwards */
        n_asked = -1000;
        ok(msim_searcher_add_row(s, 0, &r->err));
        assert_int_equal(msim_searcher_run(s, take, &got, &r->err), 1); /* all is as it was */
        assert_int_equal(got.n_answers, 1);
        msim_searcher_close(s);
    }
}

/* ---- Passes done by the caller ---- */

static int64_t top(void *user, const msim_search_options *options, const float *vectors,
                   size_t n_vectors, int64_t k, int64_t *rows, double *scores,
                   msim_pass_stats *stats, msim_error *err) {
    stats->rows_nonfinite = 1;
    stats->device = MSIM_DEVICE_CPU;
    return msim_context_search_with(user, options, vectors, n_vectors, k, rows, scores, err);
}

static int64_t above(void *user, const msim_search_options *options, const float *vectors,
                     size_t n_vectors, double threshold, msim_hit_sink sink, void *sink_user,
                     msim_pass_stats *stats, msim_error *err) {
    stats->rows_nonfinite = 1;
    stats->device = MSIM_DEVICE_CPU;
    return msim_context_search_above(user, options, vectors, n_vectors, threshold, sink, sink_user,
                                     err);
}

static void passes_of_the_caller(void **state) {
    (void)state;
    rig *r = rig_open();
    msim_options o = r->options;
    msim_searcher_options so = msim_searcher_options_default();
    msim_passes passes = {.size = sizeof passes, .top = top, .above = above};
    msim_context *context;
    ok(msim_context_open(NULL, &o, &context, &r->err));
    ok(msim_context_load_corpus(context, r->corpus, &r->err));
    passes.user = context;
    so.passes = &passes;
    check_piece(r, &so);
    so.has_threshold = 1, so.threshold = 0.1;
    check_piece(r, &so);
    msim_context_close(context);
}

/* ---- Out of memory ---- */

/* Whatever allocation fails: one plain error, and afterwards everything works. */
static void out_of_memory(void **state) {
    (void)state;
    static msim_match expected[MOST_MATCHES];
    static answers got;
    rig *r = rig_open();
    for (int is_above = 0; is_above < 2; is_above++) {
        msim_searcher_options o = msim_searcher_options_default();
        o.has_threshold = is_above, o.threshold = 0.0;
        o.excludes_self = 1;
        int64_t rc = -1, n_expected = expect(r, &o, expected);
        for (int64_t n = 1; rc < 0; n++) {
            msim_searcher *s;
            got.n_answers = got.stops_at = 0;
            ms_mem_fail_at(n);
            rc = msim_searcher_open(r->model, r->corpus, &r->options, &o, &s, &r->err);
            if (rc >= 0) rc = msim_searcher_add_row(s, 3, &r->err);
            if (rc >= 0) rc = msim_searcher_add_file(s, PIECE, &r->err);
            if (rc >= 0) rc = msim_searcher_exclude(s, 0, (const int64_t[]){4}, 1, &r->err);
            if (rc >= 0) rc = msim_searcher_run(s, take, &got, &r->err);
            ms_mem_fail_at(0);
            if (rc < 0) {
                assert_int_equal(rc, -MSIM_E_MEMORY);
                assert_int_equal(r->err.code, MSIM_E_MEMORY);
                assert_true(strlen(r->err.text) > 0);
            }
            msim_searcher_close(s);
            assert_true(n < 10000);
        }
        assert_int_equal(got.n_answers, 2);
        same_matches(got.matches, got.n, expected, n_expected);
    }
}

static int64_t use_names(rig *r, msim_error *err) {
    char near[64];
    const int64_t *rows;
    msim_name_set *set;
    int64_t rc = msim_name_set_open(&set, err), n_rows = 0;
    for (int64_t i = 0; i < N && rc >= 0; i++)
        rc = msim_name_set_add(set, r->names + r->name_starts[i],
                               (size_t)(r->name_starts[i + 1] - r->name_starts[i]), err);
    if (rc >= 0) rc = msim_name_set_scan(set, r->corpus, NULL, NULL, err);
    for (int64_t i = 0; rc >= 0 && i < msim_name_set_count(set); i++)
        n_rows += msim_name_set_rows(set, i, &rows);
    msim_name_set_close(set);
    if (rc >= 0) rc = msim_corpus_find(r->corpus, "a/0.mid", NULL, 0, err);
    if (rc >= 0) rc = msim_corpus_suggest(r->corpus, "x/0.kar", near, sizeof near, err);
    return rc < 0 ? rc : n_rows;
}

static int64_t use_merge(rig *r, msim_error *err) {
    msim_corpus_merge *merge;
    const char *name;
    size_t n;
    int64_t row, n_rows = 0;
    int rc = msim_corpus_merge_open(r->corpus, NULL, NULL, &merge, err);
    while (rc >= 0 && (rc = msim_corpus_merge_next(merge, &row, &name, &n, err)) > 0) n_rows++;
    msim_corpus_merge_close(merge);
    return rc < 0 ? rc : n_rows;
}

static int64_t use_memory(rig *r, msim_error *err) {
    msim_corpus *corpus;
    int rc = msim_corpus_open_rows(r->rows, N, r->dim, NULL, NULL, &corpus, err);
    msim_corpus_close(corpus);
    return rc < 0 ? rc : N;
}

static void out_of_memory_elsewhere(void **state) {
    (void)state;
    int64_t (*const uses[])(rig *, msim_error *) = {use_names, use_merge, use_memory};
    rig *r = rig_open();
    for (size_t u = 0; u < sizeof uses / sizeof *uses; u++) {
        int64_t rc = -1;
        for (int64_t n = 1; rc < 0; n++) {
            r->err = (msim_error){0};
            ms_mem_fail_at(n);
            rc = uses[u](r, &r->err);
            ms_mem_fail_at(0);
            if (rc < 0) assert_int_equal(rc, -MSIM_E_MEMORY);
            if (rc < 0) assert_int_equal(r->err.code, MSIM_E_MEMORY);
            assert_true(n < 10000);
        }
        assert_int_equal(rc, N);
    }
}

/* ---- Corpora in memory, by the range ---- */

static void a_corpus_in_memory(void **state) {
    (void)state;
    static float rows[N * MOST_DIM];
    char names[N * 16], name[32];
    int64_t starts[N + 1];
    rig *r = rig_open();
    msim_corpus_info info = {.size = sizeof info};
    msim_corpus_get_info(r->corpus, &info);
    assert_int_equal(info.rows, N);
    assert_int_equal(info.dim, r->dim);
    assert_true(info.has_names);
    assert_string_equal(info.format, "memory");
    assert_string_equal(msim_corpus_part_path(r->corpus, 0), "memory");
    assert_int_equal(msim_corpus_part_rows(r->corpus, 0), N);
    assert_int_equal(msim_corpus_part_rows(r->corpus, 1), -MSIM_E_ARG);
    ok(msim_corpus_vectors(r->corpus, 5, N - 5, rows, &r->err));
    assert_memory_equal(rows, r->rows + 5 * r->dim, (size_t)((N - 5) * r->dim) * sizeof *rows);
    refused(r, msim_corpus_vectors(r->corpus, 5, N, rows, &r->err), MSIM_E_ARG, "range");
    int64_t all = r->name_starts[N];
    assert_int_equal(msim_corpus_names(r->corpus, 0, N, NULL, 0, starts), all);
    assert_memory_equal(starts, r->name_starts, sizeof starts);
    assert_int_equal(msim_corpus_names(r->corpus, 0, N, names, (size_t)all + 1, starts), all);
    assert_memory_equal(names, r->names, (size_t)all);
    assert_int_equal(msim_corpus_names(r->corpus, N - 1, 2, names, sizeof names, starts),
                     -MSIM_E_ARG);
    assert_int_equal(msim_corpus_name(r->corpus, 4, name, 3), 8);
    assert_string_equal(name, "a/"); /* "a/37.mid", cut */
    msim_corpus *plain;
    ok(msim_corpus_open_rows(r->rows, 3, r->dim, NULL, NULL, &plain, &r->err));
    assert_int_equal(msim_corpus_name(plain, 2, name, sizeof name), 1);
    assert_string_equal(name, "2");
    msim_corpus_close(plain);
    refused(r, msim_corpus_open_rows(r->rows, 3, 0, NULL, NULL, &plain, &r->err), MSIM_E_ARG, "0");
    const int64_t falling[] = {0, 2, 1};
    refused(r, msim_corpus_open_rows(r->rows, 2, r->dim, "ab", falling, &plain, &r->err),
            MSIM_E_ARG, "ascending");
}

/* ---- Names ---- */

static void rows_by_name(void **state) {
    (void)state;
    rig *r = rig_open();
    const int64_t *rows;
    int64_t found[N];
    msim_name_set *set;
    ok(msim_name_set_open(&set, &r->err));
    assert_int_equal(msim_name_set_find(set, "a/0.mid", 7), -MSIM_E_EMPTY);
    for (int64_t i = 0; i < N; i += 2)
        ok(msim_name_set_add(set, r->names + r->name_starts[i],
                             (size_t)(r->name_starts[i + 1] - r->name_starts[i]), &r->err));
    ok(msim_name_set_add(set, "", 0, &r->err));
    ok(msim_name_set_scan(set, r->corpus, NULL, NULL, &r->err));
    for (int64_t number = 0; number < msim_name_set_count(set); number++) {
        size_t n_name;
        char name[32] = "";
        const char *text = msim_name_set_name(set, number, &n_name);
        memcpy(name, text, n_name);
        name[n_name] = 0;
        assert_int_equal(msim_name_set_find(set, name, n_name), number);
        int64_t n = msim_name_set_rows(set, number, &rows);
        assert_int_equal(msim_corpus_find(r->corpus, name, found, N, &r->err), n);
        if (n) assert_memory_equal(found, rows, (size_t)n * sizeof *found);
        for (int64_t i = 0, at = 0; i < N; i++) {
            bool is_it = (size_t)(r->name_starts[i + 1] - r->name_starts[i]) == n_name &&
                         memcmp(r->names + r->name_starts[i], name, n_name) == 0;
            if (is_it) assert_int_equal(rows[at++], i);
            if (i == N - 1) assert_int_equal(at, n);
        }
    }
    assert_int_equal(msim_name_set_rows(set, msim_name_set_count(set), &rows), 0);
    int64_t later = msim_name_set_add(set, "later", 5, &r->err);
    assert_int_equal(msim_name_set_rows(set, later, &rows), 0);
    msim_name_set_close(set);
}

static int stop_scan(void *user, int64_t done, int64_t all) {
    assert_true(done >= 0 && all == N);
    return ++*(int *)user;
}

static void suggestions(void **state) {
    (void)state;
    static const char names[] = "a/song.midB/Song.kar.gzsong.mid.mid.hidden";
    static const int64_t starts[] = {0, 10, 23, 35, 42};
    static const float rows[4] = {1, 2, 3, 4};
    rig *r = rig_open();
    char text[64];
    int n_asked = 0;
    msim_corpus *corpus;
    msim_name_set *set;
    ok(msim_corpus_open_rows(rows, 4, 1, names, starts, &corpus, &r->err));
    assert_int_equal(msim_corpus_suggest(corpus, "x/SONG", text, sizeof text, &r->err), 2);
    assert_string_equal(text, "'a/song.mid', 'B/Song.kar.gz'");
    assert_int_equal(msim_corpus_suggest(corpus, "song.mid.mid", text, 20, &r->err), 1);
    assert_string_equal(text, "'song.mid.mid'");
    assert_int_equal(msim_corpus_suggest(corpus, ".hidden", text, sizeof text, &r->err), 1);
    assert_int_equal(msim_corpus_suggest(corpus, "other", text, sizeof text, &r->err), 0);
    assert_string_equal(text, "");
    msim_corpus_close(corpus);
    ok(msim_name_set_open(&set, &r->err));
    ok(msim_name_set_add(set, "x", 1, &r->err));
    refused(r, msim_name_set_scan(set, r->corpus, stop_scan, &n_asked, &r->err), MSIM_E_STOPPED,
            "stopped");
    msim_name_set_close(set);
}

static void rows_in_order_of_name(void **state) {
    (void)state;
    rig *r = rig_open();
    msim_corpus_merge *merge;
    char before[32] = "";
    const char *name;
    size_t n;
    int64_t row, row_before = -1, n_rows = 0, n_same = 0;
    ok(msim_corpus_merge_open(r->corpus, NULL, NULL, &merge, &r->err));
    assert_int_equal(msim_corpus_merge_name_chars(merge), 9);
    while (msim_corpus_merge_next(merge, &row, &name, &n, &r->err) == 1) {
        int order = strcmp(before, name);
        assert_int_equal(strlen(name), n);
        assert_true(order < 0 || (order == 0 && row_before < row));
        n_same += n_rows > 0 && order == 0;
        row_before = row;
        n_rows++;
        strcpy(before, name);
    }
    assert_int_equal(n_rows, N);
    assert_true(n_same > 0);
    assert_int_equal(msim_corpus_merge_repeats(merge), n_same);
    msim_corpus_merge_close(merge);
}

/* ---- Files ---- */

static void one_file(void **state) {
    (void)state;
    static msim_match expected[MOST_MATCHES];
    rig *r = rig_open();
    char path[] = "/tmp/midisim-searcher-XXXXXX";
    float vector[MOST_DIM];
    msim_match found[16];
    msim_searcher *s;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    gzFile z = gzdopen(fd, "wb");
    assert_int_equal(gzwrite(z, r->midi, (unsigned)r->n_midi), r->n_midi);
    assert_int_equal(gzclose(z), Z_OK);
    msim_searcher_options o = msim_searcher_options_default();
    int64_t n = expect(r, &o, expected);
    ok(msim_searcher_open(r->model, r->corpus, &r->options, &o, &s, &r->err));
    for (int is_packed = 0; is_packed < 2; is_packed++) {
        const char *from = is_packed ? path : PIECE;
        assert_int_equal(msim_searcher_file(s, from, found, 16, &r->err), 16);
        same_matches(found, 16, expected, n);
        assert_int_equal(msim_searcher_file(s, from, found, 0, &r->err), 16);
        for (int key = 0; key < KEYS; key += 5) {
            ok(msim_embed_file(r->model, &r->options, from, key - 6, vector, &r->err));
            assert_memory_equal(vector, r->keys + key * r->dim, (size_t)r->dim * sizeof *vector);
        }
    }
    ok(msim_embed_midi(r->model, &r->options, r->midi, r->n_midi, 0, vector, &r->err));
    assert_memory_equal(vector, r->keys + 6 * r->dim, (size_t)r->dim * sizeof *vector);
    assert_int_equal(truncate(path, (off_t)100), 0);
    refused(r, msim_embed_file(r->model, &r->options, path, 0, vector, &r->err), MSIM_E_FORMAT,
            path);
    msim_searcher_close(s);
    unlink(path);
}

static void the_default_model(void **state) {
    (void)state;
    rig *r = rig_open();
    char folder[] = "/tmp/midisim-default-XXXXXX", path[512], inner[64], file[128];
    assert_non_null(mkdtemp(folder));
    setenv("MIDISIM_MODEL", "some/where.pth", 1);
    ok(msim_default_model(path, sizeof path, &r->err));
    assert_string_equal(path, "some/where.pth");
    refused(r, msim_default_model(path, 4, &r->err), MSIM_E_LIMIT, "under 4 bytes");
    unsetenv("MIDISIM_MODEL");
    setenv("XDG_DATA_HOME", folder, 1);
    refused(r, msim_default_model(path, sizeof path, &r->err), MSIM_E_EMPTY, folder);
    snprintf(inner, sizeof inner, "%s/midisim", folder);
    assert_int_equal(mkdir(inner, 0777), 0);
    static const char *const names[] = {"zzz.pth", "midisim-small.pth",
                                        "midisim-small.safetensors"};
    for (int i = 0; i < 3; i++) {
        snprintf(file, sizeof file, "%s/%s", inner, names[i]);
        fclose(fopen(file, "w"));
        ok(msim_default_model(path, sizeof path, &r->err));
        assert_string_equal(path, file);
    }
    for (int i = 0; i < 3; i++) {
        snprintf(file, sizeof file, "%s/%s", inner, names[i]);
        unlink(file);
    }
    rmdir(inner);
    rmdir(folder);
}

static int tear_down(void **state) {
    (void)state;
    rig *r = rig_open();
    msim_corpus_close(r->corpus);
    msim_model_close(r->model);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(best_of_the_keys),
                                       cmocka_unit_test(all_above_a_threshold),
                                       cmocka_unit_test(groups_change_nothing),
                                       cmocka_unit_test(own_rows_are_left_out),
                                       cmocka_unit_test(what_is_refused),
                                       cmocka_unit_test(stopping),
                                       cmocka_unit_test(stopping_inside),
                                       cmocka_unit_test(passes_of_the_caller),
                                       cmocka_unit_test(out_of_memory),
                                       cmocka_unit_test(out_of_memory_elsewhere),
                                       cmocka_unit_test(a_corpus_in_memory),
                                       cmocka_unit_test(rows_by_name),
                                       cmocka_unit_test(suggestions),
                                       cmocka_unit_test(rows_in_order_of_name),
                                       cmocka_unit_test(one_file),
                                       cmocka_unit_test(the_default_model)};
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
