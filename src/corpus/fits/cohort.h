/* Rows of different pieces of a corpus, with which the scores of a vector are compared: a sample
 * with a fixed seed, the same wherever the same corpus is open. docs/WHITENING.md, Scores with a
 * meaning. */
#ifndef MS_CORPUS_COHORT_H
#define MS_CORPUS_COHORT_H
#include "corpus/fits/whiten.h"

enum {
    /* Rows at most: 1.2 million pairs, of which 590 lie beyond the last knot. */
    MS_COHORT_MOST = 1536
};

typedef struct {
    size_t n, dim;
    float *panels;   /* owned: [n_panels, dim, 16], rows at length 1; behind the last row zeros */
    int64_t *pieces; /* owned: [n], of each row, rising */
} ms_cohort;

/* Draw it. With a setup the rows are as the model gives them and are whitened with w; without one
 * (NULL) they are whitened already. Rows of zeros, and those with NaN or infinity, are left out. */
int ms_cohort_open(const msim_corpus *corpus, const msim_whitening *w, const ms_fit_setup *setup,
                   ms_cohort *out, msim_error *err);
void ms_cohort_close(ms_cohort *cohort);
/* scores [n] = the cosines of its rows with a vector of length 1. Sums run in order of components,
 * so they are those of ms_cohort_pairs. */
void ms_cohort_scores(const ms_cohort *cohort, const float *vector, double *scores);
/* The same with its row of one piece alone; NaN when it has none of that piece. */
double ms_cohort_score_of(const ms_cohort *cohort, int64_t piece, const float *vector);
/* The scores of its rows with each other: *out [n, n], to be freed with ms_free. */
int ms_cohort_pairs(const ms_cohort *cohort, const ms_fit_setup *setup, double **out,
                    msim_error *err);

#endif
