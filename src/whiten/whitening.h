/* A whitening: the linear map that makes a corpus's rows uncorrelated, and the statistics that it
 * was made from. docs/WHITENING.md defines the numbers. This module knows rows of f32 alone; the
 * corpus's side is corpus/fits/whiten.h. */
#ifndef MS_WHITEN_WHITENING_H
#define MS_WHITEN_WHITENING_H
#include "base/pool.h"
#include "base/status.h"
#include "whiten/background.h"
#include "whiten/kernels.h"
#include <stdbool.h>

enum {
    MS_WHITEN_DIM_MAX = 4096, /* a covariance of that width takes 67 MB */
    MS_WHITEN_HASH_BYTES = 32
};

/* Statistics of unit rows. */
typedef struct {
    int64_t dim;
    int64_t rows, distinct; /* rows that were used; those of them with content of their own */
    int64_t prior_rows;     /* rows that another fit counts as in them; 0: none */
    int64_t altered;        /* altered copies of pieces that `nuisance` comes from; 0: none */
    double *mean;           /* owned: [dim] */
    double *covariance;     /* owned: lower triangle, row by row; divided by the number of rows */
    double *nuisance;       /* owned: lower triangle, as above: the mean of d d^T / 2, where d is an
                             * altered copy minus its piece; NULL when there are none */
} ms_whiten_stats;

struct msim_whitening {
    ms_whiten_stats stats; /* mean and covariance NULL: of a whitened corpus, which has them not */
    double shrink;
    double nuisance_weight; /* 0: there is no nuisance, or it was left out */
    float *mean;            /* owned: [dim] */
    float *factor;  /* owned: lower triangle of the inverse of the Cholesky factor, row by row */
    double *panels; /* owned: the factor as the kernels read it */
    char model[2 * MS_WHITEN_HASH_BYTES + 1]; /* SHA-256 of the model's checkpoint, or "" */
    char hash[2 * MS_WHITEN_HASH_BYTES + 1];  /* SHA-256 of width, mean and factor */
    ms_background background;
};

static inline size_t ms_whiten_triangle(size_t dim) { return dim * (dim + 1) / 2; }
static inline size_t ms_whiten_panel_count(size_t dim) {
    return (dim + MS_WHITEN_LANES - 1) / MS_WHITEN_LANES;
}

int ms_whiten_stats_open(ms_whiten_stats *stats, int64_t dim, msim_error *err);
void ms_whiten_stats_close(ms_whiten_stats *stats);
/* Add another fit to a corpus's own statistics, which count as their distinct rows; the other
 * counts as at most prior_rows. */
int ms_whiten_combine(ms_whiten_stats *own, const msim_whitening *prior, int64_t prior_rows,
                      msim_error *err);

/* Reserve the nuisance matrix, zeros. */
int ms_whiten_nuisance_open(ms_whiten_stats *stats, msim_error *err);

/* Make the map from statistics, which the handle owns from now on, also after a failure. They are
 * rounded to f32 first, as files hold them. */
int ms_whiten_from_stats(ms_whiten_stats *stats, double shrink, double nuisance_weight,
                         msim_whitening **out, msim_error *err);
/* Make it from mean [dim] and factor alone, as the description of a whitened corpus has them. */
int ms_whiten_from_map(int64_t dim, const float *mean, const float *factor, msim_whitening **out,
                       msim_error *err);

/* out [n, dim] = the whitened rows [n, dim]; out may be rows. pool may be NULL. A row of zeros
 * stays one; a row with NaN or infinity becomes NaN. */
int ms_whiten_apply(const msim_whitening *w, const ms_whiten_kernels *kernels, ms_pool *pool,
                    const float *rows, size_t n, float *out, msim_error *err);

enum ms_whiten_class { MS_WHITEN_PLAIN = 0, MS_WHITEN_ZERO, MS_WHITEN_NONFINITE };
/* unit [dim] = the row at length 1, rounded to f32. Means nothing unless MS_WHITEN_PLAIN. */
enum ms_whiten_class ms_whiten_unit(float *unit, const float *row, size_t dim);

#endif
