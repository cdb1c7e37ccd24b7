/* Intervals of measures by resampling queries: query/eval.h. The choices come from one generator
 * (base/random.h), so the same seed gives the same intervals everywhere. */
#include "query/eval.h"
#include "base/mem.h"
#include "base/random.h"
#include <stdlib.h>
#include <string.h>

/* How often each of n queries is in one choice of n: counts [n]. */
static void choose(uint64_t *state, uint32_t *counts, size_t n) {
    memset(counts, 0, n * sizeof *counts);
    /* The upper half of the product of a 32-bit number and n, which is below 2^32: its bias is
     * below n / 2^32. */
    for (size_t i = 0; i < n; i++) counts[(ms_random_next(state) >> 32) * n >> 32]++;
}

static int by_value(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* What is left between 2.5 % at either end of n results, which are put in order. */
static void take_interval(double *results, size_t n, msim_measure *out) {
    if (n == 0) return;
    size_t out_of_it = n / 40;
    qsort(results, n, sizeof *results, by_value);
    out->low = results[out_of_it];
    out->high = results[n - 1 - out_of_it];
}

/* Room for one choice and for all results. */
typedef struct {
    uint32_t *counts; /* owned: [n_queries] */
    double *results;  /* owned: [n] */
    size_t n;
} resamples;

static int open_resamples(resamples *r, size_t n_queries, const msim_eval_options *options,
                          msim_error *err) {
    r->n = (size_t)options->resamples;
    r->counts = ms_alloc(n_queries, sizeof *r->counts, "resampled queries", err);
    r->results = r->counts ? ms_alloc(r->n, sizeof *r->results, "resampled measures", err) : NULL;
    return r->results ? MSIM_OK : -MSIM_E_MEMORY;
}

static void close_resamples(resamples *r) {
    ms_free(r->counts);
    ms_free(r->results);
}

/* Without counts every query counts once. */
static double ratio(const double *above, const double *below, const uint32_t *counts, size_t n) {
    double x = 0, y = 0;
    for (size_t i = 0; i < n; i++) {
        x += counts ? counts[i] * above[i] : above[i];
        y += counts ? counts[i] * below[i] : below[i];
    }
    return y != 0 ? x / y : 0;
}

int ms_resample_ratio(const double *above, const double *below, size_t n,
                      const msim_eval_options *options, msim_measure *out, msim_error *err) {
    resamples r = {0};
    uint64_t state = options->seed;
    int rc = open_resamples(&r, n, options, err);
    double value = ratio(above, below, NULL, n);
    if (rc >= 0) *out = (msim_measure){value, value, value};
    for (size_t i = 0; i < r.n && rc >= 0; i++) {
        choose(&state, r.counts, n);
        r.results[i] = ratio(above, below, r.counts, n);
    }
    if (rc >= 0) take_interval(r.results, r.n, out);
    close_resamples(&r);
    return rc;
}

typedef struct {
    int64_t value;
    size_t query;
} placed;

static int by_place(const void *a, const void *b) {
    const placed *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return (x->query > y->query) - (x->query < y->query);
}

/* The mean of the two values in the middle, which are one when n is odd. */
static double median(const placed *sorted, const uint32_t *counts, size_t n) {
    size_t seen = 0, at = 0;
    int64_t sum = 0;
    for (size_t i = 0; i < 2; i++) {
        size_t wanted = i ? n / 2 : (n - 1) / 2; /* from 0 */
        for (;; at++) {
            size_t n_here = counts ? counts[sorted[at].query] : 1;
            if (seen + n_here > wanted) break;
            seen += n_here;
        }
        sum += sorted[at].value;
    }
    return (double)sum / 2;
}

int ms_resample_median(const int64_t *values, size_t n, const msim_eval_options *options,
                       msim_measure *out, msim_error *err) {
    resamples r = {0};
    uint64_t state = options->seed;
    placed *sorted = ms_alloc(n, sizeof *sorted, "ranks of queries", err);
    int rc = sorted ? open_resamples(&r, n, options, err) : -MSIM_E_MEMORY;
    for (size_t i = 0; i < n && rc >= 0; i++) sorted[i] = (placed){values[i], i};
    if (rc >= 0) {
        qsort(sorted, n, sizeof *sorted, by_place);
        double value = median(sorted, NULL, n);
        *out = (msim_measure){value, value, value};
    }
    for (size_t i = 0; i < r.n && rc >= 0; i++) {
        choose(&state, r.counts, n);
        r.results[i] = median(sorted, r.counts, n);
    }
    if (rc >= 0) take_interval(r.results, r.n, out);
    close_resamples(&r);
    ms_free(sorted);
    return rc;
}
