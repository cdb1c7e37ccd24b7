/* Contract: whiten/background.h. Between two knots log(share) is linear in z. Beyond the last knot
 * the tail is that of a normal distribution through the last two: z of real corpora is nearer to
 * one there than to an exponential tail, which overstated chances (docs/WHITENING.md). */
#include "whiten/background.h"
#include <math.h>
#include <stdlib.h>

enum {
    LEAST_ABOVE = 50, /* pairs beyond the last knot: fewer say too little */
    LEAST_KNOTS = 4,  /* down to a share of 0.05; with fewer there is no tail to speak of */
    TOP_SHARE = 10,   /* one in so many scores makes the level (Matejka et al. 2017: the highest) */
    LEAST_TOP = 8
};
/* A vector whose highest scores are all alike, as in a corpus of copies, gives no huge z. */
#define LEAST_SPREAD 1e-3
#define OWN_LEAST_SCORE 0.85 /* the same piece, as for the words of query/meaning.c */
#define MOST_KNOT 100.0

static const double shares[MS_BACKGROUND_KNOTS] = {0.5,  0.2,   0.1,   0.05,  0.02,
                                                   0.01, 0.005, 0.002, 0.001, 0.0005};
/* Where a normal variable exceeds the shares: z with erfc(z / sqrt(2)) / 2 = share. */
static const double normal_at[MS_BACKGROUND_KNOTS] = {0.0,
                                                      0.84162123357291441,
                                                      1.2815515655446004,
                                                      1.6448536269514722,
                                                      2.0537489106318230,
                                                      2.3263478740408408,
                                                      2.5758293035489004,
                                                      2.8781617390954826,
                                                      3.0902323061678132,
                                                      3.2905267314918945};

double ms_background_share(int i) { return shares[i]; }

/* ---- z ---- */

static void swap(double *a, double *b) {
    double x = *a;
    *a = *b;
    *b = x;
}

/* Bring the k highest of n to the front (Hoare's selection). The middle is the pivot, so that
 * scores in order cost no more than others. */
static void select_highest(double *x, size_t n, size_t k) {
    size_t from = 0, to = n;
    while (to - from > 1) {
        double pivot = x[from + (to - from) / 2];
        size_t i = from, j = to - 1;
        while (1) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i >= j) break;
            swap(x + i++, x + j--);
        }
        size_t middle = i == j ? i + 1 : i; /* before it: none lower than the pivot */
        if (middle >= to) middle = to - 1;
        if (k == middle - from) return;
        if (k < middle - from)
            to = middle;
        else {
            k -= middle - from;
            from = middle;
        }
    }
}

ms_level ms_level_of(double *scores, size_t n) {
    size_t n_left = 0;
    for (size_t i = 0; i < n; i++)
        if (scores[i] < OWN_LEAST_SCORE) scores[n_left++] = scores[i];
    size_t k = n_left / TOP_SHARE < LEAST_TOP ? LEAST_TOP : n_left / TOP_SHARE;
    if (k > n_left) k = n_left;
    if (k == 0) return (ms_level){.n = 1, .sum = 1.0, .squares = 1.0, .lowest = 2.0};
    select_highest(scores, n_left, k);
    ms_level level = {.n = k, .lowest = scores[0]};
    for (size_t i = 0; i < k; i++) {
        level.sum += scores[i];
        level.squares += scores[i] * scores[i];
        if (scores[i] < level.lowest) level.lowest = scores[i];
    }
    level.next = k < n_left ? scores[k] : level.lowest;
    for (size_t i = k; i < n_left; i++)
        if (scores[i] > level.next) level.next = scores[i];
    return level;
}

double ms_level_z(const ms_level *level, double score, double left_out) {
    double sum = level->sum, squares = level->squares, n = (double)level->n;
    if (left_out >= level->lowest && left_out < OWN_LEAST_SCORE) {
        sum += level->next - left_out;
        squares += level->next * level->next - left_out * left_out;
    }
    double mean = sum / n, variance = squares / n - mean * mean,
           spread = variance > LEAST_SPREAD * LEAST_SPREAD ? sqrt(variance) : LEAST_SPREAD;
    return (score - mean) / spread;
}

/* ---- Chances ---- */

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void ms_background_fit(ms_background *to, double *z, int64_t n, int64_t pieces) {
    *to = (ms_background){.pairs = n, .pieces = pieces};
    if (n > 0) qsort(z, (size_t)n, sizeof *z, rising);
    for (int i = 0; i < MS_BACKGROUND_KNOTS; i++) {
        double above = shares[i] * (double)n;
        if (above < LEAST_ABOVE) break;
        double knot = z[n - 1 - (int64_t)above];
        if (i > 0 && !(knot > to->knots[i - 1])) break;
        to->knots[i] = knot;
        to->n_knots = i + 1;
    }
    if (!ms_background_is_valid(to)) *to = (ms_background){0};
}

double ms_normal_log_tail(double z) {
    static const double log_sqrt_2pi = 0.91893853320467274;
    if (z < 20.0) return log(0.5 * erfc(z * M_SQRT1_2));
    /* erfc's asymptotic series; its next term is below 1e-9 from here on */
    double r = 1.0 / (z * z);
    return -0.5 * z * z - log(z) - log_sqrt_2pi + log1p(-r * (1.0 - r * (3.0 - r * 15.0)));
}

double ms_background_p(const ms_background *from, double z) {
    const double *knots = from->knots;
    int last = from->n_knots - 1, i = 1;
    if (isnan(z)) return 1.0;
    if (z < knots[0]) /* the lower half is taken to be the upper one in a mirror */
        return 1.0 - ms_background_p(from, 2.0 * knots[0] - z);
    if (z > knots[last]) {
        double step = (normal_at[last] - normal_at[last - 1]) / (knots[last] - knots[last - 1]);
        return exp(ms_normal_log_tail(normal_at[last] + (z - knots[last]) * step));
    }
    while (z > knots[i]) i++;
    double step = log(shares[i - 1] / shares[i]) / (knots[i] - knots[i - 1]);
    return shares[i - 1] * exp(-(z - knots[i - 1]) * step);
}

int ms_background_is_valid(const ms_background *b) {
    if (b->pairs == 0) return b->n_knots == 0;
    if (b->pairs < 0 || b->pieces < 1 || b->n_knots < LEAST_KNOTS ||
        b->n_knots > MS_BACKGROUND_KNOTS)
        return 0;
    for (int i = 0; i < b->n_knots; i++)
        if (!(fabs(b->knots[i]) <= MOST_KNOT) || (i > 0 && !(b->knots[i] - b->knots[i - 1] > 1e-9)))
            return 0;
    return 1;
}
