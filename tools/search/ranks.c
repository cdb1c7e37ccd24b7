/* Rows that several ranks share: see tools/search/ranks.h. Ranks agree on every allocation before
 * the bytes it is for are sent: a rank that is out of memory fails the pass on all of them, and
 * nobody waits for what cannot come. */
#define _GNU_SOURCE
#include "ranks.h"
#include "base/mem.h"
#include "common/ranks.h"
#include "search/merge.h"
#include "search/variants.h"
#include <stdlib.h>
#include <string.h>

#define TILE_ROWS 256 /* a rank's rows begin at a multiple */

enum { ASK_END, ASK_TOP, ASK_ABOVE };

/* What rank 0 asks of all; vectors and excluded rows follow. */
typedef struct {
    int kind, metric, scan;
    int64_t n_vectors, k, n_excluded;
    double threshold;
    const float *vectors; /* each rank's own copy */
} question;

/* A row that reached the threshold. */
typedef struct {
    size_t vector;
    int64_t row;
    double score;
} found;

struct ms_search_ranks {
    const ms_search_settings *set; /* borrowed */
    int64_t n_rows, dim;           /* of the whole corpus */
    int64_t n_held;                /* rows of this rank */
    msim_context *context;         /* owned */
    float *vectors;                /* owned: [room, dim], of ranks other than 0 */
    int64_t *rows;                 /* owned: [room, k], of ranks other than 0 */
    double *scores;                /* owned: as rows */
    int64_t *excluded;             /* owned: of ranks other than 0 */
    size_t excluded_cap;
    found *hits; /* owned */
    size_t n_hits, hits_cap;
    int keeping; /* < 0: hits could not be kept, and why */
    msim_error why;
    ms_hit *mine, *theirs, *both; /* owned: [room, k] each, for merging */
};

/* The first row of a rank; of the rank after the last: all rows. */
static int64_t first_row(const ms_search_ranks *r, int64_t rank) {
    int64_t n_tiles = (r->n_rows + TILE_ROWS - 1) / TILE_ROWS, count = ms_ranks_count();
    int64_t row = (n_tiles / count * rank + (n_tiles % count * rank + count - 1) / count) *
                  TILE_ROWS;
    return row < r->n_rows ? row : r->n_rows;
}

static int open_context(ms_search_ranks *r, const msim_corpus *corpus, int64_t room, int64_t most,
                        msim_error *err) {
    int64_t first = first_row(r, ms_ranks_index());
    r->n_held = first_row(r, ms_ranks_index() + 1) - first;
    msim_options o = ms_cli_library_options(&r->set->common);
    o.precision = MSIM_PRECISION_BF16; /* of a model; there is none here */
    o.max_queries = room;
    o.max_k = most;
    int rc = msim_context_open(NULL, &o, &r->context, err);
    return rc < 0 ? rc : msim_context_load_rows(r->context, corpus, first, r->n_held, err);
}

static int open_buffers(ms_search_ranks *r, int64_t room, int64_t most, msim_error *err) {
    const size_t hit_bytes = (size_t)most * sizeof(ms_hit);
    r->mine = ms_alloc((size_t)room, hit_bytes, "search results", err);
    if (r->mine) r->theirs = ms_alloc((size_t)room, hit_bytes, "search results", err);
    if (r->theirs) r->both = ms_alloc((size_t)room, hit_bytes, "search results", err);
    if (!r->both) return -MSIM_E_MEMORY;
    if (ms_ranks_index() == 0) return 0; /* the searcher has the others */
    r->vectors = ms_alloc((size_t)room, (size_t)r->dim * sizeof *r->vectors, "queries", err);
    if (r->vectors)
        r->rows = ms_alloc((size_t)room, (size_t)most * sizeof *r->rows, "search results", err);
    if (r->rows)
        r->scores = ms_alloc((size_t)room, (size_t)most * sizeof *r->scores, "search results", err);
    return r->scores ? 0 : -MSIM_E_MEMORY;
}

int ms_search_ranks_open(const ms_search_corpus *corpus, int64_t room, ms_search_ranks **out,
                         msim_error *err) {
    const ms_search_settings *set = corpus->set;
    int64_t n_rows = corpus->info.rows, extra = set->excludes_self ? MS_SEARCH_EXTRA : 0,
            n_pieces = msim_corpus_pieces(corpus->corpus, err),
            most = set->has_threshold || n_pieces < 1
                       ? 1
                       : ms_variants_fetched(n_rows, n_pieces, set->k, extra);
    ms_search_ranks *r = ms_alloc(1, sizeof *r, "ranks", err);
    int rc = !r ? -MSIM_E_MEMORY : n_pieces < 0 ? (int)n_pieces : 0;
    ms_ranks_broadcast(0, &room, sizeof room);
    if (r) {
        *r = (ms_search_ranks){.set = set, .n_rows = n_rows, .dim = corpus->info.dim};
        if (rc >= 0) rc = open_buffers(r, room, most, err);
        if (rc >= 0) rc = open_context(r, corpus->corpus, room, most, err);
    }
    rc = ms_ranks_agree(rc, err);
    *out = r;
    return rc;
}

void ms_search_ranks_close(ms_search_ranks *r) {
    if (!r) return;
    msim_context_close(r->context);
    ms_free(r->vectors);
    ms_free(r->rows);
    ms_free(r->scores);
    ms_free(r->excluded);
    ms_free(r->hits);
    ms_free(r->mine);
    ms_free(r->theirs);
    ms_free(r->both);
    ms_free(r);
}

/* ---- Asking ---- */

/* MPI takes what it sends as not const, and leaves it alone. */
static void send_all(const void *bytes, size_t n) {
    ms_ranks_broadcast(0, (void *)(uintptr_t)bytes, n);
}

static int share_question(const question *q, const int64_t *excluded, int64_t dim,
                          msim_error *err) {
    send_all(q, sizeof *q);
    if (q->kind == ASK_END) return 0;
    send_all(q->vectors, (size_t)(q->n_vectors * dim) * sizeof *q->vectors);
    int rc = ms_ranks_agree(0, err); /* the others have room for the excluded rows */
    if (rc >= 0 && q->n_excluded) send_all(excluded, (size_t)q->n_excluded * sizeof *excluded);
    return rc;
}

/* One pass's numbers, over all ranks; scan and device are rank 0's. */
static void add_stats(ms_search_ranks *r, msim_pass_stats *out) {
    msim_stats stats = {.size = sizeof stats};
    if (r->n_held) msim_context_stats(r->context, &stats);
    int64_t sums[2] = {stats.rows_nonfinite, stats.rows_evaluated};
    ms_ranks_sum(sums, 2);
    out->rows_nonfinite = sums[0];
    out->rows_evaluated = sums[1];
    out->scan = stats.scan;
    out->device = stats.search_device;
}

/* ---- Coming together: in each round every second rank left gives its part to the one before */

/* The rank to take from in this round (step 1, 2, 4, ...), or -1; *to: the rank to give to, which
 * ends it, or -1. */
static int partner(int step, int *to) {
    int index = ms_ranks_index();
    *to = index % (2 * step) ? index - step : -1;
    return *to < 0 && index + step < ms_ranks_count() ? index + step : -1;
}

/* Every rank's n best of each query, in r->mine, to the k best of all, there on rank 0. Returns how
 * many of each query. */
static int64_t merge_top(ms_search_ranks *r, int64_t n, size_t n_query, int64_t k) {
    for (int step = 1, to; step < ms_ranks_count(); step *= 2) {
        int from = partner(step, &to);
        if (to >= 0) {
            ms_ranks_send(to, r->mine, n_query * (size_t)n * sizeof *r->mine);
            break;
        }
        if (from < 0) continue;
        size_t bytes = ms_ranks_expect(from); /* at most k of each query: theirs has room */
        int64_t n_theirs = (int64_t)(bytes / (n_query * sizeof *r->mine)),
                n_both = n + n_theirs < k ? n + n_theirs : k;
        ms_ranks_receive(from, r->theirs, bytes);
        ms_share_hits shares[] = {{r->mine, n, n}, {r->theirs, n_theirs, n_theirs}};
        ms_merge_shares(shares, 2, n_query, n_both, r->both);
        ms_hit *merged = r->both;
        r->both = r->mine;
        r->mine = merged;
        n = n_both;
    }
    return n;
}

/* One round: its giving rank tells how many hits come, its taking rank makes room, all agree, and
 * the hits go over. */
static int gather_round(ms_search_ranks *r, int from, int to, msim_error *err) {
    int64_t n = (int64_t)r->n_hits;
    int rc = 0;
    if (to >= 0) ms_ranks_send(to, &n, sizeof n);
    if (from >= 0) {
        ms_ranks_receive(from, &n, ms_ranks_expect(from));
        rc = ms_grow((void **)&r->hits, &r->hits_cap, r->n_hits + (size_t)n, sizeof *r->hits,
                     "search results", err);
    }
    rc = ms_ranks_agree(rc, err);
    if (rc < 0) return rc;
    if (to >= 0) ms_ranks_send(to, r->hits, r->n_hits * sizeof *r->hits);
    if (from >= 0) {
        ms_ranks_receive(from, r->hits + r->n_hits, ms_ranks_expect(from));
        r->n_hits += (size_t)n;
    }
    return 0;
}

/* Collective: a rank that has given its hits goes along until all are done. */
static int gather_hits(ms_search_ranks *r, msim_error *err) {
    bool has_given = false;
    int rc = 0;
    for (int step = 1, to; rc >= 0 && step < ms_ranks_count(); step *= 2) {
        int from = partner(step, &to);
        rc = gather_round(r, has_given ? -1 : from, has_given ? -1 : to, err);
        has_given |= to >= 0;
    }
    return rc;
}

/* ---- A pass, on every rank ---- */

static int64_t pass_top(ms_search_ranks *r, const question *q, const msim_search_options *options,
                        int64_t *rows, double *scores, msim_pass_stats *stats, msim_error *err) {
    int64_t n = 0;
    if (r->n_held)
        n = msim_context_search_with(r->context, options, q->vectors, (size_t)q->n_vectors, q->k,
                                     rows, scores, err);
    int rc = ms_ranks_agree(n < 0 ? (int)n : 0, err);
    if (rc < 0) return rc;
    add_stats(r, stats);
    for (int64_t v = 0; v < q->n_vectors; v++)
        for (int64_t i = 0; i < n; i++)
            r->mine[v * n + i] = (ms_hit){.score = scores[v * q->k + i], .row = rows[v * q->k + i]};
    n = merge_top(r, n, (size_t)q->n_vectors, q->k);
    for (int64_t v = 0; ms_ranks_index() == 0 && v < q->n_vectors; v++)
        for (int64_t i = 0; i < n; i++) {
            scores[v * q->k + i] = r->mine[v * n + i].score;
            rows[v * q->k + i] = r->mine[v * n + i].row;
        }
    return n;
}

static int keep_hit(void *user, size_t query, int64_t row, double score) {
    ms_search_ranks *r = user;
    r->keeping = ms_grow((void **)&r->hits, &r->hits_cap, r->n_hits + 1, sizeof *r->hits,
                         "search results", &r->why);
    if (r->keeping < 0) return 1;
    r->hits[r->n_hits++] = (found){.vector = query, .row = row, .score = score};
    return ms_cli_stopped();
}

static int pass_above(ms_search_ranks *r, const question *q, const msim_search_options *options,
                      msim_pass_stats *stats, msim_error *err) {
    int64_t n = 0;
    r->n_hits = 0;
    r->keeping = 0;
    if (r->n_held)
        n = msim_context_search_above(r->context, options, q->vectors, (size_t)q->n_vectors,
                                      q->threshold, keep_hit, r, err);
    if (r->keeping < 0) *err = r->why;
    int rc = ms_ranks_agree(r->keeping < 0 ? r->keeping : n < 0 ? (int)n : 0, err);
    if (rc < 0) return rc;
    if (ms_ranks_stopped())
        return ms_fail(err, MSIM_E_STOPPED, "stopped"); /* hits may be missing */
    add_stats(r, stats);
    return gather_hits(r, err);
}

/* ---- Rank 0 asks, the others serve ---- */

static int64_t ask_top(void *user, const msim_search_options *options, const float *vectors,
                       size_t n_vectors, int64_t k, int64_t *rows, double *scores,
                       msim_pass_stats *stats, msim_error *err) {
    ms_search_ranks *r = user;
    question q = {.kind = ASK_TOP,
                  .metric = options->metric,
                  .scan = options->scan,
                  .n_vectors = (int64_t)n_vectors,
                  .k = k,
                  .n_excluded = (int64_t)options->n_excluded,
                  .vectors = vectors};
    int rc = share_question(&q, options->excluded, r->dim, err);
    return rc < 0 ? rc : pass_top(r, &q, options, rows, scores, stats, err);
}

static int64_t ask_above(void *user, const msim_search_options *options, const float *vectors,
                         size_t n_vectors, double threshold, msim_hit_sink sink, void *sink_user,
                         msim_pass_stats *stats, msim_error *err) {
    ms_search_ranks *r = user;
    question q = {.kind = ASK_ABOVE,
                  .metric = options->metric,
                  .scan = options->scan,
                  .n_vectors = (int64_t)n_vectors,
                  .threshold = threshold,
                  .n_excluded = (int64_t)options->n_excluded,
                  .vectors = vectors};
    int rc = share_question(&q, options->excluded, r->dim, err);
    if (rc >= 0) rc = pass_above(r, &q, options, stats, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < r->n_hits; i++)
        if (sink(sink_user, r->hits[i].vector, r->hits[i].row, r->hits[i].score) != 0)
            return (int64_t)i + 1;
    return (int64_t)r->n_hits;
}

msim_passes ms_search_ranks_passes(ms_search_ranks *r) {
    return (msim_passes){
        .size = sizeof(msim_passes), .top = ask_top, .above = ask_above, .user = r};
}

void ms_search_ranks_dismiss(ms_search_ranks *r) {
    question q = {.kind = ASK_END};
    (void)share_question(&q, NULL, r->dim, NULL); /* nothing follows that could fail */
}

void ms_search_ranks_serve(ms_search_ranks *r) {
    msim_pass_stats stats = {.size = sizeof stats};
    msim_error e;
    for (;;) {
        question q;
        ms_ranks_broadcast(0, &q, sizeof q);
        if (q.kind == ASK_END) return;
        msim_search_options options = msim_search_options_default();
        options.metric = q.metric;
        options.scan = q.scan;
        options.should_stop = ms_cli_should_stop;
        q.vectors = r->vectors;
        ms_ranks_broadcast(0, r->vectors, (size_t)(q.n_vectors * r->dim) * sizeof *r->vectors);
        int rc = ms_grow((void **)&r->excluded, &r->excluded_cap, (size_t)q.n_excluded,
                         sizeof *r->excluded, "excluded rows", &e);
        if (ms_ranks_agree(rc, &e) < 0)
            continue; /* what fails here, all ranks know; rank 0 says it */
        options.excluded = r->excluded;
        options.n_excluded = (size_t)q.n_excluded;
        if (q.n_excluded)
            ms_ranks_broadcast(0, r->excluded, (size_t)q.n_excluded * sizeof *r->excluded);
        if (q.kind == ASK_TOP)
            (void)pass_top(r, &q, &options, r->rows, r->scores, &stats, &e);
        else
            (void)pass_above(r, &q, &options, &stats, &e);
    }
}
