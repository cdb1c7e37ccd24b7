/* Contract: corpus/fits/cohort.h. */
#include "corpus/fits/cohort.h"
#include "base/mem.h"
#include "base/random.h"
#include "corpus/fits/sample.h"
#include <math.h>
#include <string.h>

enum { LANES = MS_WHITEN_LANES, HEIGHT = MS_WHITEN_HEIGHT };
/* Fixed, so that a search draws the rows that the fit drew. */
#define SEED UINT64_C(0x77686974656e)

static size_t panel_count(const ms_cohort *c) { return (c->n + LANES - 1) / LANES; }

/* ---- The sample ---- */

/* One row of a piece into `to`: 1, or 0 when it cannot be compared. */
static int read_one(const msim_corpus *corpus, int64_t piece, int64_t number, float *to,
                    float *unit, size_t dim, msim_error *err) {
    int64_t first = msim_corpus_piece_first(corpus, piece, err),
            end = first < 0 ? first : msim_corpus_piece_first(corpus, piece + 1, err);
    if (end < 0) return (int)end;
    int64_t row = first +
                  (int64_t)(ms_random_at(~SEED, (uint64_t)number) % (uint64_t)(end - first));
    int rc = msim_corpus_vector(corpus, row, to, err);
    return rc < 0 ? rc : ms_whiten_unit(unit, to, dim) == MS_WHITEN_PLAIN;
}

/* Rows of different pieces: rows [*n, dim] and pieces [*n]. */
static int read_sample(const msim_corpus *corpus, int64_t n_pieces, size_t dim, float *rows,
                       int64_t *pieces, size_t *n, msim_error *err) {
    int64_t m = n_pieces < MS_COHORT_MOST ? n_pieces : MS_COHORT_MOST;
    float *unit = ms_alloc(dim, sizeof *unit, "cohort", err);
    int rc = unit ? MSIM_OK : -MSIM_E_MEMORY;
    *n = 0;
    for (int64_t i = 0; i < m && rc >= 0; i++) {
        pieces[*n] = ms_sample_at(i, n_pieces, m, SEED);
        rc = read_one(corpus, pieces[*n], i, rows + *n * dim, unit, dim, err);
        if (rc > 0) ++*n;
    }
    ms_free(unit);
    return rc < 0 ? rc : MSIM_OK;
}

/* Rows at length 1 into panels; those that whitening made unusable are left out. */
static int make_panels(ms_cohort *c, const float *rows, size_t n, msim_error *err) {
    size_t each = c->dim * LANES, n_panels = (n + LANES - 1) / LANES;
    float *unit = ms_alloc(c->dim, sizeof *unit, "cohort", err);
    c->panels = unit ? ms_alloc(n_panels * each, sizeof *c->panels, "cohort", err) : NULL;
    c->n = 0;
    for (size_t r = 0; r < n && c->panels; r++) {
        if (ms_whiten_unit(unit, rows + r * c->dim, c->dim) != MS_WHITEN_PLAIN) continue;
        float *to = c->panels + c->n / LANES * each + c->n % LANES;
        for (size_t j = 0; j < c->dim; j++) to[j * LANES] = unit[j];
        c->pieces[c->n++] = c->pieces[r];
    }
    ms_free(unit);
    return c->panels ? MSIM_OK : -MSIM_E_MEMORY;
}

int ms_cohort_open(const msim_corpus *corpus, const msim_whitening *w, const ms_fit_setup *setup,
                   ms_cohort *out, msim_error *err) {
    int64_t n_pieces = msim_corpus_pieces(corpus, err);
    size_t n = 0;
    *out = (ms_cohort){.dim = (size_t)w->stats.dim};
    if (n_pieces < 0) return (int)n_pieces;
    out->pieces = ms_alloc(MS_COHORT_MOST + 1, sizeof *out->pieces, "cohort", err);
    float *rows = out->pieces ? ms_alloc(MS_COHORT_MOST, out->dim * sizeof *rows, "cohort", err)
                              : NULL;
    int rc = rows ? read_sample(corpus, n_pieces, out->dim, rows, out->pieces, &n, err)
                  : -MSIM_E_MEMORY;
    if (rc >= 0 && setup) rc = ms_whiten_apply(w, setup->kernels, setup->pool, rows, n, rows, err);
    if (rc >= 0) rc = make_panels(out, rows, n, err);
    ms_free(rows);
    if (rc < 0) ms_cohort_close(out);
    return rc;
}

void ms_cohort_close(ms_cohort *cohort) {
    ms_free(cohort->pieces);
    ms_free(cohort->panels);
    *cohort = (ms_cohort){0};
}

/* ---- Scores ---- */

void ms_cohort_scores(const ms_cohort *c, const float *vector, double *scores) {
    for (size_t p = 0; p < panel_count(c); p++) {
        const float *panel = c->panels + p * c->dim * LANES;
        double sum[LANES] = {0};
        for (size_t k = 0; k < c->dim; k++)
            for (size_t l = 0; l < LANES; l++) sum[l] += (double)vector[k] * panel[k * LANES + l];
        size_t left = c->n - p * LANES;
        memcpy(scores + p * LANES, sum, (left < LANES ? left : LANES) * sizeof *sum);
    }
}

double ms_cohort_score_of(const ms_cohort *c, int64_t piece, const float *vector) {
    size_t from = 0, to = c->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (c->pieces[middle] < piece)
            from = middle + 1;
        else
            to = middle;
    }
    if (from == c->n || c->pieces[from] != piece) return NAN;
    const float *row = c->panels + from / LANES * c->dim * LANES + from % LANES;
    double sum = 0.0;
    for (size_t k = 0; k < c->dim; k++) sum += (double)vector[k] * row[k * LANES];
    return sum;
}

typedef struct {
    const ms_whiten_kernels *kernels;
    const double *panels; /* [n_panels, dim, LANES] */
    size_t n, dim;
    double *scores; /* [n, n] */
} pair_job;

/* The scores of the rows of a panel with all rows up to its end. */
static void score_panel(void *arg, int64_t item, int worker) {
    const pair_job *job = arg;
    double tile[HEIGHT * LANES] __attribute__((aligned(MS_ALIGN)));
    size_t each = job->dim * LANES, panel = (size_t)item, n = job->n;
    (void)worker;
    for (size_t half = 0; half < LANES; half += HEIGHT)
        for (size_t other = 0; other <= panel; other++) {
            job->kernels->tile(tile, job->panels + panel * each + half, job->panels + other * each,
                               job->dim);
            for (size_t i = 0; i < HEIGHT; i++)
                for (size_t j = 0; j < LANES; j++) {
                    size_t a = panel * LANES + half + i, b = other * LANES + j;
                    if (b > a || a >= n) continue;
                    job->scores[a * n + b] = job->scores[b * n + a] = tile[i * LANES + j];
                }
        }
}

int ms_cohort_pairs(const ms_cohort *c, const ms_fit_setup *setup, double **out, msim_error *err) {
    size_t n_panels = panel_count(c), n_numbers = n_panels * c->dim * LANES;
    double *panels = ms_alloc(n_numbers, sizeof *panels, "cohort", err);
    pair_job job = {.kernels = setup->kernels, .panels = panels, .n = c->n, .dim = c->dim};
    job.scores = panels ? ms_alloc(c->n * c->n, sizeof *job.scores, "cohort", err) : NULL;
    if (job.scores) {
        for (size_t i = 0; i < n_numbers; i++) panels[i] = c->panels[i];
        ms_pool_run(setup->pool, (int64_t)n_panels, score_panel, &job);
    }
    ms_free(panels);
    *out = job.scores;
    return job.scores ? MSIM_OK : -MSIM_E_MEMORY;
}
