/* Fits a whitening on a corpus: which rows, their statistics, and how high unrelated rows of it
 * score. Contract: corpus/fits/whiten.h; docs/WHITENING.md. */
#include "base/mem.h"
#include "base/random.h"
#include "corpus/fits/whiten.h"
#include <inttypes.h>
#include <string.h>

enum {
    LEAST_PER_COMPONENT = 4, /* distinct rows of a fit: fewer leave C mostly shrink. Chosen. */
    /* Pieces whose pairs are scored: 1.2 million pairs, of which 590 lie beyond the last knot. */
    PAIRED = 1536,
    LANES = MS_WHITEN_LANES,
    HEIGHT = MS_WHITEN_HEIGHT
};
/* Fixed, so that the same corpus always gives the same fit. */
#define SEED_ROWS UINT64_C(0x6d6964697369)
#define SEED_PAIRS UINT64_C(0x77686974656e)

/* i * n / m without overflow, for i <= m. */
static int64_t scaled(int64_t i, int64_t n, int64_t m) { return n / m * i + n % m * i / m; }

/* Number i of a sample of m of n: one from each of m stretches. All, if m is n. */
static int64_t sampled(int64_t i, int64_t n, int64_t m, uint64_t seed) {
    int64_t from = scaled(i, n, m), to = scaled(i + 1, n, m);
    return from + (int64_t)(ms_random_at(seed, (uint64_t)i) % (uint64_t)(to - from));
}

/* ---- Statistics ---- */

typedef struct {
    const msim_corpus *corpus;
    int64_t n_rows, n_used;
} row_sample;

static int read_row(void *user, int64_t i, float *out, msim_error *err) {
    const row_sample *s = user;
    return msim_corpus_vector(s->corpus, sampled(i, s->n_rows, s->n_used, SEED_ROWS), out, err);
}

static int add_all(ms_whiten_sums *sums, row_sample *sample, const msim_whitening_options *o,
                   msim_error *err) {
    int rc = MSIM_OK;
    for (int64_t at = 0; at < sample->n_used && rc >= 0; at += MS_WHITEN_ROUND) {
        int64_t left = sample->n_used - at, n = left < MS_WHITEN_ROUND ? left : MS_WHITEN_ROUND;
        rc = ms_whiten_sums_add(sums, at, n, read_row, sample, err);
        if (rc >= 0 && o->progress && o->progress(o->user, at + n, sample->n_used) != 0)
            rc = ms_fail(err, MSIM_E_STOPPED,
                         "whitening: stopped by the caller after %" PRId64 " of %" PRId64 " rows",
                         at + n, sample->n_used);
    }
    return rc;
}

static int gather(const msim_corpus *corpus, const ms_fit_setup *setup, int64_t dim,
                  ms_whiten_stats *out, msim_error *err) {
    const msim_whitening_options *o = setup->options;
    row_sample sample = {.corpus = corpus, .n_rows = msim_corpus_rows(corpus)};
    ms_whiten_sums *sums;
    sample.n_used = o->max_rows && o->max_rows < sample.n_rows ? o->max_rows : sample.n_rows;
    int rc = ms_whiten_sums_open(dim, setup->kernels, setup->pool, &sums, err);
    if (rc < 0) return rc;
    rc = add_all(sums, &sample, o, err);
    if (rc >= 0) rc = ms_whiten_sums_finish(sums, out, err);
    ms_whiten_sums_close(sums);
    if (rc < 0) return rc;
    if (o->altered) rc = ms_corpus_add_altered(corpus, o->altered, out, err);
    if (rc >= 0 && o->prior) rc = ms_whiten_combine(out, o->prior, o->prior_rows, err);
    int64_t least = LEAST_PER_COMPONENT * dim;
    if (rc >= 0 && out->distinct + out->prior_rows < least)
        rc = ms_fail(err, MSIM_E_EMPTY,
                     "whitening: %s: expected at least %" PRId64 " rows of different content, %d "
                     "for each component, got %" PRId64 "; a fit made elsewhere serves small "
                     "corpora",
                     msim_corpus_part_path(corpus, 0), least, LEAST_PER_COMPONENT,
                     out->distinct + out->prior_rows);
    if (rc < 0) ms_whiten_stats_close(out);
    return rc;
}

/* ---- Unrelated pairs ---- */

/* Rows of different pieces, whitened: rows [*n, dim]. */
static int sample_pieces(const msim_corpus *corpus, const msim_whitening *w,
                         const ms_fit_setup *setup, int64_t pieces, float *rows, size_t *n,
                         msim_error *err) {
    int64_t m = pieces < PAIRED ? pieces : PAIRED, dim = w->stats.dim;
    float *unit = ms_alloc((size_t)dim, sizeof *unit, "whitening", err);
    int rc = unit ? MSIM_OK : -MSIM_E_MEMORY;
    *n = 0;
    for (int64_t i = 0; i < m && rc >= 0; i++) {
        int64_t piece = sampled(i, pieces, m, SEED_PAIRS),
                first = msim_corpus_piece_first(corpus, piece, err),
                end = first < 0 ? first : msim_corpus_piece_first(corpus, piece + 1, err);
        if (end < 0) rc = (int)end;
        if (rc < 0) break;
        int64_t row = first +
                      (int64_t)(ms_random_at(~SEED_PAIRS, (uint64_t)i) % (uint64_t)(end - first));
        float *to = rows + *n * (size_t)dim;
        rc = msim_corpus_vector(corpus, row, to, err);
        if (rc >= 0 && ms_whiten_unit(unit, to, (size_t)dim) == MS_WHITEN_PLAIN) ++*n;
    }
    ms_free(unit);
    return rc < 0 ? rc : ms_whiten_apply(w, setup->kernels, setup->pool, rows, *n, rows, err);
}

typedef struct {
    const ms_whiten_kernels *kernels;
    const double *panels; /* [n_panels, dim, LANES] */
    size_t n, dim;
    double *scores; /* [n (n - 1) / 2]: row i with each row before it, i = 1 .. n - 1 */
} pair_job;

/* The scores of the rows of a panel with all rows before them. */
static void score_panel(void *arg, int64_t item, int worker) {
    const pair_job *job = arg;
    double tile[HEIGHT * LANES] __attribute__((aligned(MS_ALIGN)));
    size_t each = job->dim * LANES, panel = (size_t)item;
    (void)worker;
    for (size_t half = 0; half < LANES; half += HEIGHT)
        for (size_t other = 0; other <= panel; other++) {
            job->kernels->tile(tile, job->panels + panel * each + half, job->panels + other * each,
                               job->dim);
            for (size_t i = 0; i < HEIGHT; i++)
                for (size_t j = 0; j < LANES; j++) {
                    size_t a = panel * LANES + half + i, b = other * LANES + j;
                    if (b < a && a < job->n) job->scores[a * (a - 1) / 2 + b] = tile[i * LANES + j];
                }
        }
}

/* The scores of all pairs of n rows: *out, to be freed. */
static int score_pairs(const float *rows, size_t n, size_t dim, const ms_fit_setup *setup,
                       double **out, msim_error *err) {
    size_t n_panels = (n + LANES - 1) / LANES;
    double *panels = ms_alloc(n_panels * dim * LANES, sizeof *panels, "whitening", err);
    pair_job job = {.kernels = setup->kernels, .panels = panels, .n = n, .dim = dim};
    job.scores = panels ? ms_alloc(n * (n - 1) / 2, sizeof *job.scores, "whitening", err) : NULL;
    if (job.scores) {
        for (size_t r = 0; r < n; r++)
            for (size_t j = 0; j < dim; j++)
                panels[(r / LANES * dim + j) * LANES + r % LANES] = rows[r * dim + j];
        ms_pool_run(setup->pool, (int64_t)n_panels, score_panel, &job);
    }
    ms_free(panels);
    *out = job.scores;
    return job.scores ? MSIM_OK : -MSIM_E_MEMORY;
}

/* Of a corpus with few pieces, less is known than the other fit may know. */
static int find_background(const msim_corpus *corpus, const ms_fit_setup *setup, msim_whitening *w,
                           msim_error *err) {
    int64_t pieces = msim_corpus_pieces(corpus, err);
    double *scores = NULL;
    size_t n = 0;
    if (pieces < 0) return (int)pieces;
    float *rows = ms_alloc(PAIRED, (size_t)w->stats.dim * sizeof *rows, "whitening", err);
    int rc = rows ? sample_pieces(corpus, w, setup, pieces, rows, &n, err) : -MSIM_E_MEMORY;
    if (rc >= 0 && n > 1) {
        rc = score_pairs(rows, n, (size_t)w->stats.dim, setup, &scores, err);
        if (rc >= 0) ms_background_fit(&w->background, scores, (int64_t)(n * (n - 1) / 2), pieces);
    }
    const msim_whitening *prior = setup->options->prior;
    if (rc >= 0 && prior && prior->background.n_knots > w->background.n_knots)
        w->background = prior->background;
    ms_free(scores);
    ms_free(rows);
    return rc;
}

/* ---- All of it ---- */

int ms_corpus_fit(const msim_corpus *corpus, const ms_fit_setup *setup, msim_whitening **out,
                  msim_error *err) {
    const msim_whitening_options *o = setup->options;
    msim_corpus_info info = {.size = sizeof info};
    ms_whiten_stats stats = {0};
    msim_whitening *w = NULL;
    *out = NULL;
    int rc = msim_corpus_get_info(corpus, &info);
    if (rc >= 0) rc = gather(corpus, setup, info.dim, &stats, err);
    if (rc >= 0) rc = ms_whiten_from_stats(&stats, o->shrink, o->nuisance_weight, &w, err);
    if (rc >= 0) rc = find_background(corpus, setup, w, err);
    if (rc >= 0) rc = msim_corpus_check(corpus, err);
    if (rc < 0) {
        msim_whitening_close(w);
        return rc;
    }
    if (o->model_sha256) memcpy(w->model, o->model_sha256, strlen(o->model_sha256));
    *out = w;
    return MSIM_OK;
}
