/* How high unrelated pairs score in a whitened corpus: quantiles of a sample, and the tail beyond
 * them. docs/WHITENING.md, Scores with a meaning. Values only. */
#ifndef MS_WHITEN_BACKGROUND_H
#define MS_WHITEN_BACKGROUND_H
#include "base/status.h"

enum { MS_BACKGROUND_KNOTS = 10 };

typedef struct {
    int64_t pairs;                     /* sampled; 0: nothing is known */
    int64_t pieces;                    /* of the corpus that they come from */
    int n_knots;                       /* quantiles that related pairs cannot have bent */
    double knots[MS_BACKGROUND_KNOTS]; /* scores that a share ms_background_share of pairs
                                        * reaches, rising */
} ms_background;

/* The share of unrelated pairs that reach knot i: 0.5, 0.2, ... */
double ms_background_share(int i);
/* Estimate it from the scores of n pairs, which are sorted. Leaves it unknown when `pieces` are too
 * few to tell related pairs from others. */
void ms_background_fit(ms_background *to, double *scores, int64_t n, int64_t pieces);
/* The chance that an unrelated pair scores `score` or more: 0..1. */
double ms_background_p(const ms_background *from, double score);
/* False for numbers that cannot be a background, as a damaged file may have them. */
int ms_background_is_valid(const ms_background *b);

#endif
