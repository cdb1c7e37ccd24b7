/* Fits a whitening on a corpus: which rows, their statistics, and how high unrelated rows of it
 * score. Contract: corpus/fits/whiten.h; docs/WHITENING.md. */
#include "base/mem.h"
#include "corpus/fits/cohort.h"
#include "corpus/fits/sample.h"
#include <inttypes.h>
#include <string.h>

enum {
    LEAST_PER_COMPONENT = 4, /* distinct rows of a fit: fewer leave C mostly shrink. Chosen. */
    /* Pieces of which pairs at random are so seldom related, with five relatives each, that these
     * are at most a tenth of the pairs beyond the last quantile. Chosen, not measured. */
    UNBENT_PIECES = 100000
};
/* Fixed, so that the same corpus always gives the same fit. */
#define SEED_ROWS UINT64_C(0x6d6964697369)

/* ---- Statistics ---- */

typedef struct {
    const msim_corpus *corpus;
    int64_t n_rows, n_used;
} row_sample;

static int read_row(void *user, int64_t i, float *out, msim_error *err) {
    const row_sample *s = user;
    return msim_corpus_vector(s->corpus, ms_sample_at(i, s->n_rows, s->n_used, SEED_ROWS), out,
                              err);
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
    /* All rows of the other fit steady C, however few it counts as. */
    int64_t least = LEAST_PER_COMPONENT * dim, got = out->distinct;
    if (rc >= 0 && out->prior_rows) got += o->prior->stats.distinct + o->prior->stats.prior_rows;
    if (rc >= 0 && got < least)
        rc = ms_fail(err, MSIM_E_EMPTY,
                     "whitening: %s: expected at least %" PRId64 " rows of different content, %d "
                     "for each component, got %" PRId64 "; a fit made elsewhere serves small "
                     "corpora",
                     msim_corpus_part_path(corpus, 0), least, LEAST_PER_COMPONENT, got);
    if (rc < 0) ms_whiten_stats_close(out);
    return rc;
}

/* ---- Unrelated pairs ---- */

/* Scores [n, n] become z, each as if the second of its rows were not in the cohort. Those of a row
 * with itself are dropped: what is left stands in front. Returns how many. */
static int64_t normalise(double *scores, size_t n, double *row) {
    int64_t n_z = 0;
    for (size_t i = 0; i < n; i++) {
        size_t n_others = 0;
        for (size_t j = 0; j < n; j++)
            if (j != i) row[n_others++] = scores[i * n + j];
        ms_level level = ms_level_of(row, n_others);
        for (size_t j = 0; j < n; j++) /* never ahead of what is read */
            if (j != i) scores[n_z++] = ms_level_z(&level, scores[i * n + j], scores[i * n + j]);
    }
    return n_z;
}

/* Relatives bend the quantiles of a corpus with few pieces, and z has the same ones in corpora of
 * any size (docs/WHITENING.md): then those of the prior are taken. */
static void choose_background(const msim_whitening *prior, int64_t pieces, ms_background *own) {
    const ms_background *other = &prior->background;
    if (other->n_knots > own->n_knots ||
        (other->n_knots == own->n_knots && pieces < UNBENT_PIECES && other->pieces > pieces))
        *own = *other;
}

static int find_background(const msim_corpus *corpus, const ms_fit_setup *setup, msim_whitening *w,
                           msim_error *err) {
    int64_t pieces = msim_corpus_pieces(corpus, err);
    ms_cohort cohort;
    double *scores = NULL, *row = NULL;
    if (pieces < 0) return (int)pieces;
    int rc = ms_cohort_open(corpus, w, setup, &cohort, err);
    if (rc >= 0 && cohort.n >= MS_LEVEL_LEAST) {
        rc = ms_cohort_pairs(&cohort, setup, &scores, err);
        row = scores ? ms_alloc(cohort.n, sizeof *row, "cohort", err) : NULL;
        if (row)
            ms_background_fit(&w->background, scores, normalise(scores, cohort.n, row), pieces);
        else
            rc = -MSIM_E_MEMORY;
    }
    const msim_whitening *prior = setup->options->prior;
    if (rc >= 0 && prior) choose_background(prior, pieces, &w->background);
    ms_free(row);
    ms_free(scores);
    ms_cohort_close(&cohort);
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
