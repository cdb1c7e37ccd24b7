/* Exact cosine top-K on the CPU: one pass over the rows for all queries of a call. The pool hands out blocks of rows;
 * each worker scores its blocks against all queries in double and keeps one heap for each query, and the heaps are
 * merged at the end. A score's bits depend on row and query alone and the order of hits is total, so neither blocks nor
 * threads nor kernel level change a result. Owns its scratch, sized when opened; a search allocates nothing. One thread
 * at a time. docs/SEARCH.md defines the score. */
#include "cpu/cpu_search.h"
#include "core/mem.h"
#include "cpu/cpu_isa.h"
#include <math.h>

enum { BLOCK_ROWS = 64, QUERY_TILE = 64 }; /* 64 rows of 512 f32 stay in the second-level cache for all queries */

typedef struct {
    ms_topk *tops; /* owned: [max_queries] */
    ms_hit *hits;  /* owned: [max_queries, max_k], behind tops */
    double *dots;  /* owned: [BLOCK_ROWS, QUERY_TILE] */
    int64_t n_nonfinite;
} worker;

struct ms_cpu_search {
    ms_pool *pool;                 /* borrowed */
    const ms_cpu_kernels *kernels; /* static */
    worker *workers;               /* owned: [n_workers] */
    double *query_norms;           /* owned: [max_queries] */
    int n_workers;
    size_t max_queries, max_k;
    const ms_rows *views;          /* borrowed from the corpus */
    size_t n_views;
    int64_t n_rows, n_blocks;
    size_t dim;
    const float *queries;          /* borrowed while a search runs: [n_query, dim] */
    size_t n_query;
};

int ms_cpu_search_open(ms_pool *pool, int isa, const msim_options *options, ms_cpu_search **out, msim_error *err) {
    size_t n_hits;
    *out = NULL;
    const ms_cpu_kernels *kernels = ms_cpu_kernels_get(isa);
    if (!kernels) return ms_fail(err, MSIM_E_UNSUPPORTED, "search: expected a level of this CPU, got %d", isa);
    if (!ms_mul_size((size_t)options->max_queries, (size_t)options->max_k, &n_hits))
        return ms_fail(err, MSIM_E_LIMIT, "search: expected max_queries x max_k that fits in memory, got %lld x %lld",
                       (long long)options->max_queries, (long long)options->max_k);
    ms_cpu_search *s = ms_alloc(1, sizeof *s, "search", err);
    if (!s) return -MSIM_E_MEMORY;
    s->pool = pool;
    s->kernels = kernels;
    s->max_queries = (size_t)options->max_queries;
    s->max_k = (size_t)options->max_k;
    s->query_norms = ms_alloc(s->max_queries, sizeof *s->query_norms, "search", err);
    s->workers = s->query_norms ? ms_alloc((size_t)ms_pool_size(pool), sizeof *s->workers, "search", err) : NULL;
    if (s->workers) s->n_workers = ms_pool_size(pool);
    for (int i = 0; i < s->n_workers; i++) {
        worker *w = &s->workers[i];
        w->tops = ms_alloc(s->max_queries, sizeof *w->tops, "search heaps", err);
        if (w->tops) w->hits = ms_alloc(n_hits, sizeof *w->hits, "search heaps", err);
        if (w->hits) w->dots = ms_alloc(BLOCK_ROWS * QUERY_TILE, sizeof *w->dots, "search", err);
        if (!w->dots) break;
    }
    if (!s->n_workers || !s->workers[s->n_workers - 1].dots) {
        ms_cpu_search_close(s);
        return -MSIM_E_MEMORY;
    }
    *out = s;
    return MSIM_OK;
}

void ms_cpu_search_close(ms_cpu_search *s) {
    if (!s) return;
    for (int i = 0; i < s->n_workers; i++) {
        ms_free(s->workers[i].tops);
        ms_free(s->workers[i].hits);
        ms_free(s->workers[i].dots);
    }
    ms_free(s->workers);
    ms_free(s->query_norms);
    ms_free(s);
}

static int64_t blocks_of(const ms_rows *view) {
    return view->n_rows / BLOCK_ROWS + (view->n_rows % BLOCK_ROWS != 0);
}

int ms_cpu_search_load(ms_cpu_search *s, const ms_rows *views, size_t n_views, msim_error *err) {
    int64_t n_rows = 0, n_blocks = 0;
    for (size_t i = 0; i < n_views; i++) {
        if (views[i].dim != views[0].dim)
            return ms_fail(err, MSIM_E_ARG, "corpus part %zu: expected rows of width %lld, got %lld", i,
                           (long long)views[0].dim, (long long)views[i].dim);
        if (__builtin_add_overflow(n_rows, views[i].n_rows, &n_rows))
            return ms_fail(err, MSIM_E_LIMIT, "corpus: expected fewer than 2^63 rows, got more");
        n_blocks += blocks_of(&views[i]);
    }
    s->views = views;
    s->n_views = n_views;
    s->n_rows = n_rows;
    s->n_blocks = n_blocks;
    s->dim = n_views ? (size_t)views[0].dim : 0;
    return MSIM_OK;
}

/* The score of docs/SEARCH.md from its parts. A row with NaN or infinity has no finite square. */
static double score_of(double dot, double query_norm, double row_square, double row_norm) {
    if (!isfinite(row_square)) return -INFINITY;
    if (row_square == 0.0 || query_norm == 0.0) return 0.0;
    return dot / (query_norm * row_norm) + 0.0; /* the addition makes -0 the 0 it equals */
}

static void offer(ms_topk *top, ms_hit hit) {
    if (top->n == top->cap && !ms_hit_before(hit, top->hits[0])) return; /* nearly always: no call */
    ms_topk_push(top, hit);
}

/* One block: rows of one view, numbered through all views. */
static void score_block(void *arg, int64_t block, int index) {
    ms_cpu_search *s = arg;
    worker *w = &s->workers[index];
    const ms_rows *view = s->views;
    int64_t first_row = 0;
    for (; block >= blocks_of(view); view++) {
        block -= blocks_of(view);
        first_row += view->n_rows;
    }
    int64_t start = block * BLOCK_ROWS;
    size_t n = (size_t)(view->n_rows - start < BLOCK_ROWS ? view->n_rows - start : BLOCK_ROWS);
    const unsigned char *rows = view->base + (size_t)start * view->row_bytes;
    double squares[BLOCK_ROWS], norms[BLOCK_ROWS];
    s->kernels->squares_f64(squares, rows, view->row_bytes, view->dtype, n, s->dim);
    for (size_t r = 0; r < n; r++) {
        norms[r] = sqrt(squares[r]);
        w->n_nonfinite += !isfinite(squares[r]);
    }
    for (size_t q0 = 0; q0 < s->n_query; q0 += QUERY_TILE) {
        size_t nq = s->n_query - q0 < QUERY_TILE ? s->n_query - q0 : QUERY_TILE;
        s->kernels->dots_f64(w->dots, rows, view->row_bytes, view->dtype, s->queries + q0 * s->dim, nq, n, s->dim);
        for (size_t r = 0; r < n; r++)
            for (size_t q = 0; q < nq; q++) {
                double score = score_of(w->dots[r * nq + q], s->query_norms[q0 + q], squares[r], norms[r]);
                offer(&w->tops[q0 + q], (ms_hit){score, first_row + start + (int64_t)r});
            }
    }
}

int64_t ms_cpu_search_topk(ms_cpu_search *s, const float *queries, size_t n_query, int64_t k, ms_hit *hits,
                           msim_error *err) {
    if (n_query > s->max_queries || k < 0 || (size_t)k > s->max_k)
        return ms_fail(err, MSIM_E_LIMIT, "search: expected at most %zu queries and k %zu, got %zu and %lld",
                       s->max_queries, s->max_k, n_query, (long long)k);
    size_t n_hits = (size_t)(k < s->n_rows ? k : s->n_rows);
    if (n_hits == 0 || n_query == 0) return (int64_t)n_hits;
    s->queries = queries;
    s->n_query = n_query;
    s->kernels->squares_f64(s->query_norms, (const unsigned char *)queries, s->dim * sizeof *queries, MSIM_DTYPE_F32,
                            n_query, s->dim);
    for (size_t q = 0; q < n_query; q++) s->query_norms[q] = sqrt(s->query_norms[q]);
    for (int i = 0; i < s->n_workers; i++) {
        s->workers[i].n_nonfinite = 0;
        for (size_t q = 0; q < n_query; q++)
            ms_topk_init(&s->workers[i].tops[q], s->workers[i].hits + q * s->max_k, n_hits);
    }
    ms_pool_run(s->pool, s->n_blocks, score_block, s);
    for (size_t q = 0; q < n_query; q++) {
        ms_topk best;
        ms_topk_init(&best, hits + q * (size_t)k, n_hits);
        for (int i = 0; i < s->n_workers; i++) ms_topk_merge(&best, &s->workers[i].tops[q]);
        ms_topk_sort(&best);
    }
    s->queries = NULL;
    return (int64_t)n_hits;
}

int64_t ms_cpu_search_nonfinite(const ms_cpu_search *s) {
    int64_t n = 0;
    for (int i = 0; i < s->n_workers; i++) n += s->workers[i].n_nonfinite;
    return n;
}
