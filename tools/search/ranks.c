/* The passes of midisim-search over rows that several ranks share: each holds one run of rows, rank
 * 0 asks, every rank searches its own, and results come together pair by pair, so that none holds
 * more than two of them. Merged by score and row, they are those of one process. Contract:
 * tools/search/search.h; docs/SCALE.md. */
#define _GNU_SOURCE
#include "common/ranks.h"
#include "search.h"
#include "search/merge.h"
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

/* The first row of a rank; of the rank after the last: all rows. */
static int64_t first_row(const ms_search_job *j, int64_t rank) {
    int64_t n_tiles = (j->rows.rows + TILE_ROWS - 1) / TILE_ROWS, count = ms_ranks_count();
    int64_t row = (n_tiles / count * rank + (n_tiles % count * rank + count - 1) / count) *
                  TILE_ROWS;
    return row < j->rows.rows ? row : j->rows.rows;
}

int ms_search_load_part(ms_search_job *j, msim_error *err) {
    int64_t first = first_row(j, ms_ranks_index());
    j->n_held = first_row(j, ms_ranks_index() + 1) - first;
    return msim_context_load_rows(j->searcher, j->corpus, first, j->n_held, err);
}

/* ---- Asking ---- */

/* MPI takes what it sends as not const, and leaves it alone. */
static void send_all(const void *bytes, size_t n) {
    ms_ranks_broadcast(0, (void *)(uintptr_t)bytes, n);
}

static void share_question(const question *q, const int64_t *excluded, int64_t dim) {
    send_all(q, sizeof *q);
    if (q->kind == ASK_END) return;
    send_all(q->vectors, (size_t)(q->n_vectors * dim) * sizeof *q->vectors);
    if (q->n_excluded) send_all(excluded, (size_t)q->n_excluded * sizeof *excluded);
}

/* One pass's numbers, over all ranks; the scan is rank 0's. */
static void add_stats(ms_search_job *j) {
    msim_stats stats = {.size = sizeof stats};
    if (j->n_held) msim_context_stats(j->searcher, &stats);
    int64_t sums[2] = {stats.rows_nonfinite, stats.rows_evaluated};
    ms_ranks_sum(sums, 2);
    j->out.n_nonfinite = sums[0];
    j->out.n_evaluated = sums[1];
    j->out.scan = msim_scan_name(stats.scan);
    j->out.device = stats.search_device;
    if (!j->out.scan) j->out.scan = "unknown";
}

/* ---- Coming together: in each round every second rank left gives its part to the one before */

/* The rank to take from in this round (step 1, 2, 4, ...), or -1; *to: the rank to give to, which
 * ends it, or -1. */
static int partner(int step, int *to) {
    int index = ms_ranks_index();
    *to = index % (2 * step) ? index - step : -1;
    return *to < 0 && index + step < ms_ranks_count() ? index + step : -1;
}

/* Every rank's n best of each query to the k best of all, on rank 0: owned; *n of each query. */
static ms_hit *merge_top(ms_hit *mine, int64_t *n, size_t n_query, int64_t k) {
    for (int step = 1, to; step < ms_ranks_count(); step *= 2) {
        int from = partner(step, &to);
        if (to >= 0) {
            ms_ranks_send(to, mine, n_query * (size_t)*n * sizeof *mine);
            break;
        }
        if (from < 0) continue;
        size_t bytes = ms_ranks_expect(from);
        int64_t n_theirs = (int64_t)(bytes / (n_query * sizeof *mine)),
                n_both = *n + n_theirs < k ? *n + n_theirs : k;
        ms_hit *theirs = ms_cli_alloc(bytes, 1);
        ms_ranks_receive(from, theirs, bytes);
        ms_hit *both = ms_cli_alloc(n_query * (size_t)n_both, sizeof *both);
        ms_share_hits found[] = {{mine, *n, *n}, {theirs, n_theirs, n_theirs}};
        ms_merge_shares(found, 2, n_query, n_both, both);
        free(theirs);
        free(mine);
        mine = both;
        *n = n_both;
    }
    return mine;
}

static void gather_hits(ms_search_job *j) {
    for (int step = 1, to; step < ms_ranks_count(); step *= 2) {
        int from = partner(step, &to);
        if (to >= 0) {
            ms_ranks_send(to, j->hits, j->n_hits * sizeof *j->hits);
            return;
        }
        if (from < 0) continue;
        size_t bytes = ms_ranks_expect(from), n = bytes / sizeof *j->hits;
        j->hits = ms_cli_grow(j->hits, &j->hits_cap, j->n_hits + n, sizeof *j->hits);
        ms_ranks_receive(from, j->hits + j->n_hits, bytes);
        j->n_hits += n;
    }
}

/* ---- A pass, on every rank ---- */

static int64_t pass_top(ms_search_job *j, const question *q, const msim_search_options *options,
                        msim_error *err) {
    int64_t n = 0;
    if (j->n_held)
        n = msim_context_search_with(j->searcher, options, q->vectors, (size_t)q->n_vectors, q->k,
                                     j->hit_rows, j->hit_scores, err);
    int rc = ms_ranks_agree(n < 0 ? (int)n : 0, err);
    if (rc < 0) return rc;
    add_stats(j);
    if (ms_ranks_count() == 1) return n;
    ms_hit *mine = ms_cli_alloc((size_t)(q->n_vectors * n), sizeof *mine);
    for (int64_t v = 0; v < q->n_vectors; v++)
        for (int64_t i = 0; i < n; i++)
            mine[v * n + i] =
                (ms_hit){.score = j->hit_scores[v * q->k + i], .row = j->hit_rows[v * q->k + i]};
    mine = merge_top(mine, &n, (size_t)q->n_vectors, q->k);
    for (int64_t v = 0; ms_ranks_index() == 0 && v < q->n_vectors; v++)
        for (int64_t i = 0; i < n; i++) {
            j->hit_scores[v * q->k + i] = mine[v * n + i].score;
            j->hit_rows[v * q->k + i] = mine[v * n + i].row;
        }
    free(mine);
    return n;
}

static int keep_hit(void *user, size_t query, int64_t row, double score) {
    ms_search_job *j = user;
    j->hits = ms_cli_grow(j->hits, &j->hits_cap, j->n_hits + 1, sizeof *j->hits);
    j->hits[j->n_hits++] = (ms_search_hit){.vector = query, .row = row, .score = score};
    return ms_cli_stopped();
}

static int pass_above(ms_search_job *j, const question *q, const msim_search_options *options,
                      msim_error *err) {
    int64_t n = 0;
    j->n_hits = 0;
    if (j->n_held)
        n = msim_context_search_above(j->searcher, options, q->vectors, (size_t)q->n_vectors,
                                      q->threshold, keep_hit, j, err);
    int rc = ms_ranks_agree(n < 0 ? (int)n : 0, err);
    if (rc < 0 || ms_ranks_stopped()) return rc; /* hits may be missing */
    add_stats(j);
    gather_hits(j);
    return 0;
}

/* ---- Rank 0 asks, the others serve ---- */

int64_t ms_search_top(ms_search_job *j, const msim_search_options *options, const float *vectors,
                      size_t n_vectors, int64_t k, msim_error *err) {
    question q = {.kind = ASK_TOP,
                  .metric = options->metric,
                  .scan = options->scan,
                  .n_vectors = (int64_t)n_vectors,
                  .k = k,
                  .n_excluded = (int64_t)options->n_excluded,
                  .vectors = vectors};
    share_question(&q, options->excluded, j->rows.dim);
    return pass_top(j, &q, options, err);
}

int ms_search_above(ms_search_job *j, const msim_search_options *options, msim_error *err) {
    question q = {.kind = ASK_ABOVE,
                  .metric = options->metric,
                  .scan = options->scan,
                  .n_vectors = (int64_t)j->n_vectors,
                  .threshold = j->set->threshold,
                  .n_excluded = (int64_t)options->n_excluded,
                  .vectors = j->vectors};
    share_question(&q, options->excluded, j->rows.dim);
    return pass_above(j, &q, options, err);
}

void ms_search_dismiss(ms_search_job *j) {
    question q = {.kind = ASK_END};
    share_question(&q, NULL, j->rows.dim);
}

void ms_search_serve(ms_search_job *j) {
    msim_error e;
    for (;;) {
        question q;
        ms_ranks_broadcast(0, &q, sizeof q);
        if (q.kind == ASK_END) return;
        msim_search_options options = msim_search_options_default();
        options.metric = q.metric;
        options.scan = q.scan;
        q.vectors = j->vectors;
        ms_ranks_broadcast(0, j->vectors, (size_t)(q.n_vectors * j->rows.dim) * sizeof *j->vectors);
        j->excluded =
            ms_cli_grow(j->excluded, &j->excluded_cap, (size_t)q.n_excluded, sizeof *j->excluded);
        options.excluded = j->excluded;
        options.n_excluded = (size_t)q.n_excluded;
        if (q.n_excluded)
            ms_ranks_broadcast(0, j->excluded, (size_t)q.n_excluded * sizeof *j->excluded);
        /* What fails here, all ranks know; rank 0 says it and ends. */
        if (q.kind == ASK_TOP)
            (void)pass_top(j, &q, &options, &e);
        else
            (void)pass_above(j, &q, &options, &e);
    }
}
