/* The searcher in a corpus whose pieces have several rows: K pieces, each by its best row with its
 * span, as a full ranking gives them when it is grouped by hand. One piece has far more rows than
 * the others, all near the query, so that passes must be repeated. On the CPU, with the small
 * checkpoint of test/data. */
#define _GNU_SOURCE
#include "base/text/base64.h"
#include "base/span.h"
#include "midisim.h"
#include <math.h>
#include <unistd.h>
#include "support/ok.h"

#define PIECE "test/data/midi/note-seq-tests/note_seq/testdata/melody.mid"
#define MODEL "test/data/checkpoints/tiny.safetensors"

enum { N = 500, MOST_DIM = 64, KEYS = 12, MOST_MATCHES = N * KEYS, BIG = 200, MOST_TOKENS = 3072 };

static struct {
    msim_model *model;
    msim_corpus *corpus; /* two files: the rows from `second` on are whole pieces */
    msim_options options;
    int64_t dim, second, n_pieces;
    float rows[N * MOST_DIM], query[MOST_DIM];
    int64_t piece[N]; /* of each row */
    unsigned char midi[1 << 16];
    size_t n_midi;
    int64_t hit_rows[KEYS + 1][N]; /* of the piece's keys, and of `query` */
    double hit_scores[KEYS + 1][N];
    char folder[64], paths[2][100];
} r;
static msim_error err;

static uint64_t seed = 88172645463325252u;
static float uniform(void) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (float)((double)(int64_t)(seed >> 11) * 0x1p-52 - 1.0);
}

/* ---- The corpus ---- */

/* Sizes of pieces: one of BIG rows, then 1 to 7. */
static int64_t rows_of_piece(int64_t piece) { return piece == 1 ? BIG : 1 + piece * 5 % 7; }

static ms_stored_span span_of(int64_t window) {
    return (ms_stored_span){.window = (uint32_t)window,
                            .from_token = (uint32_t)(window * 32),
                            .to_token = (uint32_t)(window * 32 + 64),
                            .from_ms = (uint32_t)(window * 4000 + 96),
                            .to_ms = (uint32_t)(window * 4000 + 8000)};
}

static void write_part(const char *path, int64_t first, int64_t n, const ms_stored_span *spans) {
    msim_corpus_layout layout = {.size = sizeof layout, .rows = n, .dim = r.dim, .name_chars = 8};
    msim_corpus_writer *writer;
    char name[200];
    ms_out_file file = {.fd = -1};
    ok(msim_corpus_writer_open(path, &layout, &writer, &err));
    for (int64_t i = first; i < first + n; i++) {
        size_t len = (size_t)snprintf(name, sizeof name, "p%03d", (int)r.piece[i]);
        ok(msim_corpus_writer_add(writer, name, len, r.rows + i * r.dim, &err));
    }
    ok(msim_corpus_writer_finish(writer, &err));
    msim_corpus_writer_close(writer);
    if (!spans) return;
    snprintf(name, sizeof name, "%s.json", path);
    ok(ms_out_file_open(&file, name, "", 0, &err));
    ms_out_file_put(&file, "{\"other\" : 1 , \"spans\":\"", 24);
    ms_base64_put(&file, spans, (size_t)n * sizeof *spans);
    ms_out_file_put(&file, "\"}", 2);
    ok(ms_out_file_finish(&file, &err));
    ms_out_file_close(&file);
}

/* Rows of the big piece lie near the first key of the query, each a little further than the one
 * before. Some rows are alike, some pieces begin with a row that is none, one is none at all. */
static void make_rows(const float *keys) {
    static ms_stored_span spans[N];
    int64_t piece = -1, window = 0, left = 0;
    for (int64_t i = 0; i < N; i++) {
        float *row = r.rows + i * r.dim;
        bool is_new = left == 0 || i >= r.second;
        window = is_new ? 0 : window + 1;
        if (is_new) left = rows_of_piece(++piece);
        left--;
        if (i < r.second) spans[i] = span_of(window);
        r.piece[i] = piece;
        for (int64_t d = 0; d < r.dim; d++)
            row[d] = piece == 1
                         ? keys[(i % 2) * 3 * r.dim + d] * (1 + 0.002f * (float)i * uniform())
                         : uniform();
        if (i % 11 == 10 && piece != 1) memcpy(row, row - r.dim, (size_t)r.dim * sizeof *row);
        if (piece == 9 || (piece == 4 && window == 0)) row[2] = NAN;
        if (piece == 6) memset(row, 0, (size_t)r.dim * sizeof *row);
    }
    r.n_pieces = piece + 1;
    write_part(r.paths[0], 0, r.second, spans);
    write_part(r.paths[1], r.second, N - r.second, NULL);
}

static int set_up(void **state) {
    (void)state;
    static int32_t ids[KEYS * MOST_TOKENS];
    static float keys[(KEYS + 1) * MOST_DIM];
    int64_t starts[KEYS + 1];
    const char *paths[] = {r.paths[0], r.paths[1]};
    msim_tokenizer *tokenizer;
    msim_context *context;
    msim_model_info info = {.size = sizeof info};
    strcpy(r.folder, "/tmp/midisim-pieces-XXXXXX");
    assert_non_null(mkdtemp(r.folder));
    for (int i = 0; i < 2; i++) snprintf(r.paths[i], sizeof r.paths[i], "%s/%d.npy", r.folder, i);
    r.options = msim_options_default();
    r.options.device = MSIM_DEVICE_CPU;
    r.options.threads = 2;
    ok(msim_model_open(MODEL, &r.options, &r.model, &err));
    msim_model_get_info(r.model, &info);
    r.dim = info.dim;
    r.second = 450;
    FILE *f = fopen(PIECE, "rb");
    assert_non_null(f);
    r.n_midi = fread(r.midi, 1, sizeof r.midi, f);
    fclose(f);
    msim_options o = r.options;
    o.max_k = N;
    o.max_batch_tokens = KEYS * MOST_TOKENS;
    ok(msim_tokenizer_open(NULL, &tokenizer, &err));
    ok(msim_tokenizer_encode(tokenizer, r.midi, r.n_midi, 6, MOST_TOKENS, ids, KEYS * MOST_TOKENS,
                             starts, &err));
    ok(msim_context_open(r.model, &o, &context, &err));
    ok(msim_context_embed(context, ids, starts, KEYS, NULL, keys, &err));
    for (int64_t d = 0; d < r.dim; d++) r.query[d] = keys[d] + 0.1f * uniform();
    memcpy(keys + KEYS * r.dim, r.query, (size_t)r.dim * sizeof *keys);
    make_rows(keys);
    ok(msim_corpus_open_many(paths, 2, NULL, &r.corpus, &err));
    ok(msim_context_load_corpus(context, r.corpus, &err));
    for (int v = 0; v <= KEYS; v++)
        ok(msim_context_search(context, keys + v * r.dim, 1, N, r.hit_rows[v], r.hit_scores[v],
                               &err));
    msim_context_close(context);
    msim_tokenizer_close(tokenizer);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char path[200];
    msim_corpus_close(r.corpus);
    msim_model_close(r.model);
    for (int i = 0; i < 2; i++) unlink(r.paths[i]);
    snprintf(path, sizeof path, "%s.json", r.paths[0]);
    unlink(path);
    return rmdir(r.folder);
}

/* ---- By hand ---- */

static int by_rank(const void *a, const void *b) {
    const msim_match *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return x->transpose - y->transpose;
}

static bool is_out(const msim_searcher_options *o, int64_t row) {
    for (size_t i = 0; i < o->n_excluded; i++)
        if (o->excluded[i] == row) return true;
    return false;
}

/* Every row in every key, ranked; the first of each piece (or piece and key) stays. */
static int64_t expect(const msim_searcher_options *o, int first_key, int n_keys, msim_match *out) {
    static msim_match all[MOST_MATCHES];
    int64_t n = 0, n_kept = 0, n_of_key[KEYS] = {0};
    for (int v = 0; v < n_keys; v++)
        for (int64_t i = 0; i < N; i++) {
            double score = r.hit_scores[first_key + v][i];
            int64_t row = r.hit_rows[first_key + v][i];
            if (!is_out(o, row) && (!o->has_threshold || score >= o->threshold))
                all[n++] = (msim_match){.row = row, .score = score, .transpose = v - n_keys / 2};
        }
    qsort(all, (size_t)n, sizeof *all, by_rank);
    for (int64_t i = 0; i < n; i++) {
        bool is_again = false;
        for (int64_t k = 0; k < n_kept && !is_again; k++)
            is_again = r.piece[out[k].row] == r.piece[all[i].row] &&
                       (o->keep == MSIM_KEEP_BEST || out[k].transpose == all[i].transpose);
        int64_t *of_key = n_of_key + all[i].transpose + n_keys / 2;
        if (is_again || (!o->has_threshold && o->keep == MSIM_KEEP_EACH && *of_key == o->k))
            continue;
        ++*of_key;
        out[n_kept++] = all[i];
    }
    return !o->has_threshold && o->keep != MSIM_KEEP_EACH && n_kept > o->k ? o->k : n_kept;
}

typedef struct {
    msim_match matches[MOST_MATCHES];
    int64_t n, n_answers;
} answers;

static int take(void *user, const msim_answer *a) {
    answers *to = user;
    memcpy(to->matches, a->matches, (size_t)a->n_matches * sizeof *a->matches);
    to->n = a->n_matches;
    to->n_answers++;
    return 0;
}

static void same_matches(const answers *got, const msim_match *expected, int64_t n) {
    assert_int_equal(got->n, n);
    for (int64_t i = 0; i < n; i++) {
        const msim_match *m = got->matches + i;
        msim_span span;
        assert_int_equal(m->row, expected[i].row);
        assert_int_equal(m->transpose, expected[i].transpose);
        assert_memory_equal(&m->score, &expected[i].score, sizeof m->score);
        ok(msim_corpus_span(r.corpus, m->row, &span, &err));
        assert_int_equal(span.piece, r.piece[m->row]);
        assert_int_equal(m->from_token, span.from_token);
        assert_int_equal(m->to_token, span.to_token);
        assert_true(m->from_seconds == span.from_seconds && m->to_seconds == span.to_seconds);
        assert_int_equal(m->from_token == -1, m->row >= r.second);
        if (m->row < r.second) assert_true(m->to_seconds >= 8.0);
    }
}

static answers got;
static msim_match expected[MOST_MATCHES];

static void check(const msim_searcher_options *o) {
    msim_searcher *s;
    got.n_answers = 0;
    ok(msim_searcher_open(r.model, r.corpus, &r.options, o, &s, &err));
    ok(msim_searcher_add_midi(s, r.midi, r.n_midi, &err));
    assert_int_equal(msim_searcher_run(s, take, &got, &err), 1);
    same_matches(&got, expected, expect(o, 0, KEYS, expected));
    ok(msim_searcher_add_vector(s, r.query, &err));
    assert_int_equal(msim_searcher_run(s, take, &got, &err), 1);
    same_matches(&got, expected, expect(o, KEYS, 1, expected));
    /* Several queries in one pass: one that needs more passes does not spoil the next. */
    ok(msim_searcher_add_vector(s, r.query, &err));
    ok(msim_searcher_add_midi(s, r.midi, r.n_midi, &err));
    assert_int_equal(msim_searcher_run(s, take, &got, &err), 2);
    same_matches(&got, expected, expect(o, 0, KEYS, expected));
    msim_searcher_close(s);
}

static void k_pieces_are_found(void **state) {
    (void)state;
    static const int64_t ks[] = {1, 2, 3, 16, 60, 5000}, out[] = {3, 17, 150, 449, 450, 451};
    for (int keep = MSIM_KEEP_BEST; keep <= MSIM_KEEP_EACH; keep++)
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
            msim_searcher_options o = msim_searcher_options_default();
            o.keep = keep;
            o.k = ks[i];
            check(&o);
            o.excluded = out;
            o.n_excluded = sizeof out / sizeof *out;
            check(&o);
        }
    assert_int_equal(msim_corpus_pieces(r.corpus, &err), r.n_pieces);
}

static void all_pieces_above_a_threshold_are_found(void **state) {
    (void)state;
    static const double thresholds[] = {0.9, 0.2, -1.0, -INFINITY, 2.0};
    for (int keep = MSIM_KEEP_BEST; keep <= MSIM_KEEP_ALL; keep++)
        for (size_t i = 0; i < sizeof thresholds / sizeof *thresholds; i++) {
            msim_searcher_options o = msim_searcher_options_default();
            o.keep = keep;
            o.has_threshold = 1;
            o.threshold = thresholds[i];
            /* by hand, rows that are none never reach a threshold */
            for (int v = 0; v <= KEYS; v++)
                for (int64_t h = 0; h < N; h++)
                    if (r.hit_scores[v][h] == -INFINITY) r.hit_scores[v][h] = NAN;
            check(&o);
            for (int v = 0; v <= KEYS; v++)
                for (int64_t h = 0; h < N; h++)
                    if (isnan(r.hit_scores[v][h])) r.hit_scores[v][h] = -INFINITY;
        }
}

/* A row finds neither itself nor the other rows of its piece. */
static void a_row_does_not_find_its_piece(void **state) {
    (void)state;
    static const int64_t rows[] = {0, 1 + 30, 1 + 150, 449, 460};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        msim_searcher_options o = msim_searcher_options_default();
        msim_searcher *s;
        o.excludes_self = 1;
        o.k = 5;
        ok(msim_searcher_open(NULL, r.corpus, &r.options, &o, &s, &err));
        ok(msim_searcher_add_row(s, rows[i], &err));
        assert_int_equal(msim_searcher_run(s, take, &got, &err), 1);
        assert_int_equal(got.n, 5);
        for (int64_t m = 0; m < got.n; m++) {
            assert_int_not_equal(r.piece[got.matches[m].row], r.piece[rows[i]]);
            for (int64_t x = 0; x < m; x++)
                assert_int_not_equal(r.piece[got.matches[m].row], r.piece[got.matches[x].row]);
        }
        msim_searcher_close(s);
    }
}

/* ---- Passes by the caller ---- */

typedef struct {
    msim_context *context;
    int n_top, n_above;
    int64_t most_k;
} team;

static int64_t top(void *user, const msim_search_options *o, const float *vectors, size_t n,
                   int64_t k, int64_t *rows, double *scores, msim_pass_stats *stats,
                   msim_error *e) {
    team *t = user;
    t->n_top++;
    if (k > t->most_k) t->most_k = k;
    (void)stats;
    return msim_context_search_with(t->context, o, vectors, n, k, rows, scores, e);
}

static int64_t above(void *user, const msim_search_options *o, const float *vectors, size_t n,
                     double threshold, msim_hit_sink sink, void *sink_user, msim_pass_stats *stats,
                     msim_error *e) {
    team *t = user;
    t->n_above++;
    (void)stats;
    return msim_context_search_above(t->context, o, vectors, n, threshold, sink, sink_user, e);
}

/* Where the first rows settle it there is one pass; else few more, none of which asks for more
 * rows than the first. */
static void passes_are_repeated_only_where_they_must(void **state) {
    (void)state;
    team t = {0};
    msim_passes passes = {.size = sizeof passes, .top = top, .above = above, .user = &t};
    msim_searcher_options o = msim_searcher_options_default();
    msim_options options = r.options;
    msim_searcher *s;
    options.max_k = N;
    ok(msim_context_open(NULL, &options, &t.context, &err));
    ok(msim_context_load_corpus(t.context, r.corpus, &err));
    o.passes = &passes;
    for (o.k = 1; o.k <= 2; o.k++) {
        t.n_top = t.n_above = 0;
        t.most_k = 0;
        ok(msim_searcher_open(NULL, r.corpus, &r.options, &o, &s, &err));
        ok(msim_searcher_add_vector(s, r.query, &err));
        assert_int_equal(msim_searcher_run(s, take, &got, &err), 1);
        same_matches(&got, expected, expect(&o, KEYS, 1, expected));
        assert_int_equal(t.n_top, o.k);
        assert_int_equal(t.n_above, o.k - 1);
        assert_true(t.most_k < BIG);
        msim_searcher_close(s);
    }
    msim_context_close(t.context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(k_pieces_are_found),
        cmocka_unit_test(all_pieces_above_a_threshold_are_found),
        cmocka_unit_test(a_row_does_not_find_its_piece),
        cmocka_unit_test(passes_are_repeated_only_where_they_must),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
