/* Contract: whiten/background.h. Between two knots, and beyond the last, -log(share) is linear in
 * the score: an exponential tail. It is heavier than that of a normal distribution, as the pairs of
 * real corpora are, so a chance is rather overstated than understated. */
#include "whiten/background.h"
#include <math.h>
#include <stdlib.h>

/* Related pairs among those of two rows at random are about LIKELY / pieces, and they stand at the
 * upper end. A knot serves while they are at most a tenth of its share. Chosen, not measured. */
#define LIKELY 5.0
#define MOST_BENT 0.1
enum {
    LEAST_ABOVE = 50, /* pairs beyond the last knot: fewer say too little */
    LEAST_KNOTS = 4   /* down to a share of 0.05; with fewer there is no tail to speak of */
};

static const double shares[MS_BACKGROUND_KNOTS] = {0.5,  0.2,   0.1,   0.05,  0.02,
                                                   0.01, 0.005, 0.002, 0.001, 0.0005};

double ms_background_share(int i) { return shares[i]; }

static int by_score(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void ms_background_fit(ms_background *to, double *scores, int64_t n, int64_t pieces) {
    *to = (ms_background){0};
    if (n > 0) qsort(scores, (size_t)n, sizeof *scores, by_score);
    for (int i = 0; i < MS_BACKGROUND_KNOTS; i++) {
        double above = shares[i] * (double)n;
        if (above < LEAST_ABOVE || shares[i] * MOST_BENT < LIKELY / (double)pieces) break;
        double knot = scores[n - 1 - (int64_t)above];
        if (i > 0 && !(knot > to->knots[i - 1])) break;
        to->knots[i] = knot;
        to->n_knots = i + 1;
    }
    if (to->n_knots < LEAST_KNOTS) {
        *to = (ms_background){0};
        return;
    }
    to->pairs = n;
    to->pieces = pieces;
}

double ms_background_p(const ms_background *from, double score) {
    const double *knots = from->knots;
    int i = 1;
    if (isnan(score)) return 1.0;
    if (score < knots[0]) { /* the lower half is taken to be the upper one in a mirror */
        double mirrored = 2.0 * knots[0] - score;
        return 1.0 - ms_background_p(from, mirrored);
    }
    while (i + 1 < from->n_knots && score > knots[i]) i++;
    double step = log(shares[i - 1] / shares[i]) / (knots[i] - knots[i - 1]);
    return shares[i - 1] * exp(-(score - knots[i - 1]) * step);
}

int ms_background_is_valid(const ms_background *b) {
    if (b->pairs == 0) return b->n_knots == 0;
    if (b->pairs < 0 || b->pieces < 1 || b->n_knots < LEAST_KNOTS ||
        b->n_knots > MS_BACKGROUND_KNOTS)
        return 0;
    for (int i = 0; i < b->n_knots; i++)
        if (!(fabs(b->knots[i]) <= 2.0) || (i > 0 && !(b->knots[i] - b->knots[i - 1] > 1e-9)))
            return 0;
    return 1;
}
