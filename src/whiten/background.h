/* How high unrelated pairs score in a whitened corpus. A score is first compared with the scores
 * that the same vector has with a cohort of other pieces: z says how far it stands above the
 * highest of these (adaptive score normalisation, as for telling speakers apart: Matejka et al.
 * 2017). Then quantiles of z, and the tail beyond them, say how likely it is. docs/WHITENING.md,
 * Scores with a meaning. Values only. */
#ifndef MS_WHITEN_BACKGROUND_H
#define MS_WHITEN_BACKGROUND_H
#include "base/status.h"
#include <stddef.h>

enum {
    MS_BACKGROUND_KNOTS = 10,
    /* Rows of a cohort that say enough about a vector: fewer, and nothing is known. Chosen. */
    MS_LEVEL_LEAST = 100
};

/* ---- z ---- */

/* Of one vector: the highest tenth of its scores with a cohort. Scores of 0.85 or more are not
 * among them: such a row is the vector's own piece, or a copy of it. */
typedef struct {
    size_t n;            /* scores that it consists of; 0: none is known */
    double sum, squares; /* of them */
    double lowest, next; /* of them; and the highest of all others */
} ms_level;

/* From n scores, whose order changes. */
ms_level ms_level_of(double *scores, size_t n);
/* How many standard deviations `score` stands above the mean. `left_out` is a score of the cohort
 * that does not count, since it is of the piece that is judged; NaN: there is none. */
double ms_level_z(const ms_level *level, double score, double left_out);

/* ---- Chances ---- */

typedef struct {
    int64_t pairs;                     /* sampled; 0: nothing is known */
    int64_t pieces;                    /* of the corpus that they come from */
    int n_knots;                       /* quantiles beyond which enough pairs lie */
    double knots[MS_BACKGROUND_KNOTS]; /* z that a share ms_background_share of pairs reaches,
                                        * rising */
} ms_background;

/* The share of unrelated pairs that reach knot i: 0.5, 0.2, ... */
double ms_background_share(int i);
/* Estimate it from the z of n ordered pairs, which are sorted. Leaves it unknown when they are too
 * few. */
void ms_background_fit(ms_background *to, double *z, int64_t n, int64_t pieces);
/* The chance that an unrelated pair has a z of `z` or more: 0..1. 1 for NaN. */
double ms_background_p(const ms_background *from, double z);
/* log of the chance that a normal variable is z or more, for z of 0 or more. */
double ms_normal_log_tail(double z);
/* False for numbers that cannot be a background, as a damaged file may have them. */
int ms_background_is_valid(const ms_background *b);

#endif
