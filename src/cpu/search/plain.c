/* The plain scan: scores every row in double against all queries. It defines the result of every
 * other scan, and small corpora use it. The pool hands out blocks of rows. The hits of a block that
 * can still matter are offered together, under the query's lock. */
#include "cpu/search/state.h"
#include "search/score.h"
#include <math.h>

/* Double dots and squares of a block; rows of a view that has offsets lie anywhere, and go one by
 * one. */
static void dots_of_block(const ms_cpu_search *s, const ms_search_block *b, double *dots,
                          double *squares, size_t q0, size_t nq) {
    const ms_rows *v = b->slice->view;
    const float *queries = s->plan.request->queries + q0 * s->dim;
    size_t step = v->offsets ? 1 : b->n;
    for (size_t r = 0; r < b->n; r += step) {
        const unsigned char *rows = ms_rows_at(v, b->start + (int64_t)r);
        s->kernels->dots_f64(dots + r * nq, rows, v->row_bytes, v->dtype, queries, nq, step,
                             s->dim);
        if (squares)
            s->kernels->squares_f64(squares + r, rows, v->row_bytes, v->dtype, step, s->dim);
    }
}

static void take_scores(ms_cpu_search *s, size_t q, const ms_search_block *b,
                        const double *scores) {
    ms_hit hits[MS_PLAIN_ROWS];
    size_t n = 0;
    int is_above = s->plan.request->sink != NULL;
    /* Only a score below threshold is out: an equal one may belong to a lower row. */
    double least = atomic_load_explicit(&s->queries[q].threshold, memory_order_relaxed);
    int64_t first = b->slice->first_row + (b->start - b->slice->start);
    for (size_t r = 0; r < b->n; r++)
        if (scores[r] >= least && !(is_above && scores[r] == -INFINITY) &&
            !ms_row_list_has(s->plan.excluded, first + (int64_t)r))
            hits[n++] = (ms_hit){scores[r], first + (int64_t)r};
    if (n == 0) return;
    if (is_above)
        ms_search_hand_over(s, q, hits, n);
    else
        ms_search_offer(s, q, hits, n);
}

void ms_plain_block(void *arg, int64_t block, int worker) {
    ms_cpu_search *s = arg;
    ms_search_worker *w = &s->workers[worker];
    ms_search_block b = ms_search_get_block(s, block, MS_PLAIN_ROWS);
    size_t n_query = s->plan.request->n_query;
    double squares[MS_PLAIN_ROWS], norms[MS_PLAIN_ROWS], scores[MS_PLAIN_ROWS];
    if (ms_search_is_stopped(s, (size_t)worker)) return;
    for (size_t q0 = 0; q0 < n_query; q0 += MS_PLAIN_QUERIES) {
        size_t nq = n_query - q0 < MS_PLAIN_QUERIES ? n_query - q0 : MS_PLAIN_QUERIES;
        dots_of_block(s, &b, w->dots, q0 == 0 ? squares : NULL, q0, nq);
        for (size_t r = 0; r < b.n && q0 == 0; r++) {
            norms[r] = sqrt(squares[r]);
            w->n_nonfinite += !isfinite(squares[r]);
        }
        for (size_t q = 0; q < nq; q++) {
            for (size_t r = 0; r < b.n; r++)
                scores[r] = ms_score(w->dots[r * nq + q], squares[r], norms[r], s->norms[q0 + q],
                                     s->plan.is_ip);
            take_scores(s, q0 + q, &b, scores);
        }
    }
    w->n_evaluated += (int64_t)(b.n * n_query);
}
