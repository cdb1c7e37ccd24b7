/* Contract: tools/eval/rank.h. All vectors of all queries go through the exact search, as many at a
 * time as a pass has room for. A pass gives the score of every row in double; of a piece the best
 * row counts. What a query's vectors gave is joined, and its candidates are put in the order of the
 * search: the higher score, then the lower row. */
#define _GNU_SOURCE
#include "rank.h"
#include "queries.h"
#include "common/fits/fit.h"
#include "common/name.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Vectors of one pass, as in a search. */
enum { MOST_VECTORS = 64 };

typedef struct {
    const ms_eval_settings *set;
    const msim_corpus *corpus, *from; /* what is searched; where the queries' rows are */
    ms_eval_column *out;
    msim_context *context;  /* owned */
    ms_eval_queries pieces; /* owned: of the corpus */
    ms_eval_queries others; /* owned: of other queries; empty without */
    const ms_eval_queries *asked;
    const msim_whitening *whitening; /* borrowed from the corpus: for rows that are not whitened */
    int64_t dim, n_pieces;
    int64_t *piece_of;   /* owned: [rows] */
    int64_t *same_query; /* owned: [n_pieces] the query of the same name, or -1; NULL: itself */
    bool *has_label;     /* owned: [labels] those of the query in hand */
    int64_t n_labels;
    bool *is_asked;        /* owned: [queries] it has a relative */
    float *vectors;        /* owned: [MOST_VECTORS, dim] */
    double *scores;        /* owned: [MOST_VECTORS, n_pieces] of the pass */
    double *sums, *joined; /* owned: [n_pieces] of the query in hand: of one key, of all */
    int64_t n_summed;
    int64_t *order;           /* owned: [n_pieces] */
    double *ranked;           /* owned: [n_pieces] */
    unsigned char *relatives; /* owned: [n_pieces] */
} ranking;

/* ---- Relatives ---- */

static void mark(ranking *r, int64_t query, bool on) {
    const ms_eval_labels *l = &r->asked->labels;
    for (int64_t i = l->starts[query]; i < l->starts[query + 1]; i++)
        r->has_label[l->labels[i]] = on;
}

static bool is_excluded(const ranking *r, int64_t query, int64_t piece) {
    if (!r->same_query) return piece == query;
    return !r->set->includes_self && r->same_query[piece] == query;
}

/* Of the query whose labels are marked. */
static bool is_relative(const ranking *r, int64_t piece) {
    const ms_eval_labels *l = &r->pieces.labels;
    for (int64_t i = l->starts[piece]; i < l->starts[piece + 1]; i++)
        if (r->has_label[l->labels[i]]) return true;
    return false;
}

/* How many pieces have each label, and how many of a query's own are among them: a query is asked
 * when another piece has one of its labels. */
static int choose_queries(ranking *r, msim_error *err) {
    int64_t n_asked = 0;
    for (int64_t q = 0; q < r->asked->n; q++) {
        const ms_eval_labels *l = &r->asked->labels;
        if (l->starts[q] == l->starts[q + 1]) {
            r->out->n_alone++;
            continue;
        }
        mark(r, q, true);
        for (int64_t p = 0; p < r->n_pieces && !r->is_asked[q]; p++)
            r->is_asked[q] = !is_excluded(r, q, p) && is_relative(r, p);
        mark(r, q, false);
        n_asked += r->is_asked[q];
        r->out->n_alone += !r->is_asked[q];
    }
    if (n_asked) return 0;
    return ms_fail(err, MSIM_E_EMPTY,
                   "nothing to measure: %.300s: no query has a relative in the corpus: the truth "
                   "must name its pieces as the corpus does",
                   r->out->path);
}

/* ---- The answer to one query ---- */

static const double *sorted_by; /* qsort has no room for it; one thread */

static int by_rank(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    if (sorted_by[*x] != sorted_by[*y]) return sorted_by[*x] > sorted_by[*y] ? -1 : 1;
    return (*x > *y) - (*x < *y);
}

static int finish_query(ranking *r, int64_t query, msim_error *err) {
    int64_t n = 0;
    for (int64_t p = 0; p < r->n_pieces; p++)
        if (!is_excluded(r, query, p)) r->order[n++] = p;
    sorted_by = r->joined;
    qsort(r->order, (size_t)n, sizeof *r->order, by_rank);
    mark(r, query, true);
    for (int64_t i = 0; i < n; i++) {
        r->ranked[i] = r->joined[r->order[i]];
        r->relatives[i] = is_relative(r, r->order[i]);
    }
    mark(r, query, false);
    return msim_eval_add(r->out->eval, r->ranked, r->relatives, n, err);
}

/* ---- Joining the vectors of a query ---- */

static void begin_query(ranking *r) {
    for (int64_t p = 0; p < r->n_pieces; p++) r->joined[p] = -INFINITY;
}

/* The key that was summed is complete: of all keys the best counts. */
static void finish_key(ranking *r) {
    for (int64_t p = 0; p < r->n_pieces && r->n_summed; p++) {
        double mean = r->sums[p] / (double)r->n_summed;
        if (mean > r->joined[p]) r->joined[p] = mean;
    }
    r->n_summed = 0;
}

/* Add what one vector gave. BEST: the best pair counts. MEAN: of each key, the mean over its
 * windows of the best row. */
static void join_vector(ranking *r, const double *scores) {
    if (r->set->join == MS_EVAL_JOIN_BEST) {
        for (int64_t p = 0; p < r->n_pieces; p++)
            if (scores[p] > r->joined[p]) r->joined[p] = scores[p];
        return;
    }
    for (int64_t p = 0; p < r->n_pieces; p++)
        r->sums[p] = r->n_summed ? r->sums[p] + scores[p] : scores[p];
    r->n_summed++;
}

/* ---- Passes ---- */

/* A row of a query that waits for the pass. */
typedef struct {
    int64_t query, part;
    bool is_first, is_last; /* of its query */
    bool is_valid;          /* its numbers are finite */
} waiting_row;

typedef struct {
    waiting_row rows[MOST_VECTORS];
    size_t n;
    int64_t part; /* of the row before */
} batch;

static int take_score(void *user, size_t vector, int64_t row, double score) {
    ranking *r = user;
    double *best = r->scores + (int64_t)vector * r->n_pieces + r->piece_of[row];
    if (score > *best) *best = score;
    return ms_cli_stopped() != 0;
}

static int stopped(msim_error *err) { return ms_fail(err, MSIM_E_STOPPED, "stopped"); }

static int run_pass(ranking *r, batch *b, msim_error *err) {
    msim_search_options o = msim_search_options_default();
    int rc = 0;
    o.scan = MSIM_SCAN_F64;
    for (int64_t i = 0; i < (int64_t)b->n * r->n_pieces; i++) r->scores[i] = -INFINITY;
    int64_t n = b->n ? msim_context_search_above(r->context, &o, r->vectors, b->n, -INFINITY,
                                                 take_score, r, err)
                     : 0;
    if (ms_cli_stopped()) return stopped(err);
    if (n < 0) return (int)n;
    for (size_t i = 0; i < b->n && rc >= 0; i++) {
        const waiting_row *w = b->rows + i;
        if (w->is_first) begin_query(r);
        if (w->is_first || w->part != b->part) finish_key(r);
        b->part = w->part;
        if (w->is_valid) join_vector(r, r->scores + (int64_t)i * r->n_pieces);
        if (!w->is_last) continue;
        finish_key(r);
        rc = finish_query(r, w->query, err);
    }
    b->n = 0;
    return rc;
}

static int64_t part_of(const msim_corpus *corpus, int64_t row) {
    int64_t part = 0;
    while (row >= msim_corpus_part_first(corpus, part + 1)) part++;
    return part;
}

/* Numbers that are not finite would be refused: such a row is zeros, and what it gives is not
 * joined. */
static int load(ranking *r, batch *b, int64_t row, msim_error *err) {
    float *to = r->vectors + (int64_t)b->n * r->dim;
    int rc = msim_corpus_vector(r->from, row, to, err);
    bool is_valid = rc >= 0;
    for (int64_t i = 0; i < r->dim && rc >= 0; i++) is_valid = is_valid && isfinite(to[i]);
    b->rows[b->n].is_valid = is_valid;
    if (is_valid && r->whitening) rc = msim_whitening_apply(r->whitening, to, 1, to, 1, err);
    if (rc >= 0 && !is_valid) {
        memset(to, 0, (size_t)r->dim * sizeof *to);
        r->out->n_broken++;
    }
    return rc;
}

static int ask(ranking *r, msim_error *err) {
    const ms_eval_queries *q = r->asked;
    batch b = {0};
    int rc = 0;
    for (int64_t query = 0; query < q->n && rc >= 0; query++) {
        for (int64_t i = q->starts[query]; r->is_asked[query] && i < q->starts[query + 1]; i++) {
            b.rows[b.n] = (waiting_row){.query = query,
                                        .part = part_of(r->from, q->rows[i]),
                                        .is_first = i == q->starts[query],
                                        .is_last = i + 1 == q->starts[query + 1]};
            rc = load(r, &b, q->rows[i], err);
            b.n++;
            if (rc >= 0 && b.n == MOST_VECTORS) rc = run_pass(r, &b, err);
            if (rc < 0) break;
        }
        ms_cli_progress("queries", query, q->n);
    }
    if (rc >= 0) rc = run_pass(r, &b, err);
    ms_cli_progress_end();
    return rc;
}

/* ---- Opening ---- */

/* Candidates that have the name of a query. */
static int find_same(ranking *r, msim_error *err) {
    char *name = NULL;
    size_t cap = 0;
    int64_t n = 0;
    r->same_query = ms_alloc((size_t)r->n_pieces, sizeof *r->same_query, "pieces", err);
    if (!r->same_query) return -MSIM_E_MEMORY;
    for (int64_t p = 0; p < r->n_pieces && n >= 0; p++) {
        n = ms_name_get(r->corpus, r->pieces.rows[r->pieces.starts[p]], &name, &cap, err);
        if (n >= 0) r->same_query[p] = msim_name_set_find(r->others.names, name, (size_t)n);
    }
    ms_free(name);
    return n < 0 ? (int)n : 0;
}

static int open_memory(ranking *r, msim_error *err) {
    size_t n = (size_t)r->n_pieces, dim = (size_t)r->dim;
    bool is_whole =
        (r->piece_of = ms_alloc((size_t)r->pieces.n_rows, sizeof *r->piece_of, "pieces", err)) &&
        (r->has_label = ms_alloc((size_t)r->n_labels, sizeof *r->has_label, "labels", err)) &&
        (r->is_asked = ms_alloc((size_t)r->asked->n, sizeof *r->is_asked, "queries", err)) &&
        (r->vectors = ms_alloc(MOST_VECTORS, dim * sizeof *r->vectors, "queries", err)) &&
        (r->scores = ms_alloc(MOST_VECTORS, n * sizeof *r->scores, "scores", err)) &&
        (r->sums = ms_alloc(n, sizeof *r->sums, "scores", err)) &&
        (r->joined = ms_alloc(n, sizeof *r->joined, "scores", err)) &&
        (r->order = ms_alloc(n, sizeof *r->order, "ranks", err)) &&
        (r->ranked = ms_alloc(n, sizeof *r->ranked, "ranks", err)) &&
        (r->relatives = ms_alloc(n, sizeof *r->relatives, "ranks", err));
    if (!is_whole) return -MSIM_E_MEMORY;
    for (int64_t p = 0; p < r->n_pieces; p++)
        for (int64_t i = r->pieces.starts[p]; i < r->pieces.starts[p + 1]; i++)
            r->piece_of[r->pieces.rows[i]] = p;
    return 0;
}

/* Rows that ask must be whitened as those of the corpus are: now, or already with the same map. */
static int compare_whitenings(ranking *r, const msim_corpus *queries, msim_error *err) {
    const msim_whitening *own;
    int rc = msim_corpus_whitening(r->corpus, &own, err);
    if (rc >= 0) rc = ms_cli_compare_rows(own, queries, err);
    if (rc == MS_CLI_ROWS_RAW) r->whitening = own;
    if (rc != MS_CLI_ROWS_OTHER) return rc;
    return ms_fail(err, MSIM_E_ARG,
                   "queries and corpus do not fit: the queries are whitened, %.300s is not, or by "
                   "another fit",
                   r->out->path);
}

static int open_ranking(ranking *r, ms_eval_truth *truth, const msim_corpus *queries,
                        msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    int rc = ms_eval_queries_open(truth, r->corpus, true, &r->pieces, err);
    if (rc >= 0 && queries) rc = ms_eval_queries_open(truth, queries, false, &r->others, err);
    if (rc >= 0) rc = msim_corpus_get_info(r->corpus, &info);
    if (rc < 0) return rc;
    r->from = queries ? queries : r->corpus;
    r->asked = queries ? &r->others : &r->pieces;
    r->n_pieces = r->out->n_pieces = r->pieces.n;
    r->n_labels = ms_eval_truth_count(truth);
    r->dim = info.dim;
    r->out->n_rows = info.rows;
    rc = open_memory(r, err);
    if (rc >= 0 && queries) rc = find_same(r, err);
    if (rc >= 0 && queries) rc = compare_whitenings(r, queries, err);
    return rc;
}

static int open_context(ranking *r, msim_error *err) {
    msim_options o = ms_cli_library_options(&r->set->common);
    o.precision = MSIM_PRECISION_BF16; /* of a model; there is none here */
    o.max_queries = MOST_VECTORS;
    o.max_k = 1;
    int rc = msim_context_open(NULL, &o, &r->context, err);
    return rc < 0 ? rc : msim_context_load_corpus(r->context, r->corpus, err);
}

static void close_ranking(ranking *r) {
    msim_context_close(r->context);
    ms_eval_queries_close(&r->pieces);
    ms_eval_queries_close(&r->others);
    ms_free(r->piece_of);
    ms_free(r->same_query);
    ms_free(r->has_label);
    ms_free(r->is_asked);
    ms_free(r->vectors);
    ms_free(r->scores);
    ms_free(r->sums);
    ms_free(r->joined);
    ms_free(r->order);
    ms_free(r->ranked);
    ms_free(r->relatives);
}

int ms_eval_rank(const ms_eval_settings *set, ms_eval_truth *truth, const msim_corpus *corpus,
                 const msim_corpus *queries, ms_eval_column *out, msim_error *err) {
    ranking r = {.set = set, .corpus = corpus, .out = out};
    int rc = open_ranking(&r, truth, queries, err);
    int64_t n_unused = rc < 0 ? rc : ms_eval_truth_say_unused(truth, corpus, out->path, err);
    if (n_unused < 0) rc = (int)n_unused;
    if (rc >= 0) rc = choose_queries(&r, err);
    if (rc >= 0) rc = msim_eval_open(&out->eval, err);
    if (rc >= 0) rc = open_context(&r, err);
    if (rc >= 0) rc = ask(&r, err);
    if (rc >= 0) rc = msim_corpus_check(corpus, err);
    close_ranking(&r);
    return rc;
}
