/* Measures of ranked answers (include/midisim.h, Evaluation; docs/QUALITY.md). */
#include "query/eval.h"
#include "base/mem.h"
#include "base/sized.h"
#include <inttypes.h>
#include <math.h>

/* ---- Options ---- */

static const msim_eval_options defaults = {.size = sizeof defaults, .resamples = 1000, .seed = 1};

void msim_eval_options_init(msim_eval_options *options) {
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

static int read_options(const msim_eval *e, const msim_eval_options *from, msim_eval_options *to,
                        msim_error *err) {
    *to = defaults;
    int rc = from ? ms_sized_in(to, sizeof *to, from, "evaluation options", err) : MSIM_OK;
    if (rc < 0) return rc;
    if (to->resamples < 0 || to->resamples > 1000000)
        return ms_fail(err, MSIM_E_ARG, "evaluation: resamples: expected 0..1000000, got %" PRId64,
                       to->resamples);
    if (e->n_queries == 0) return ms_fail(err, MSIM_E_EMPTY, "evaluation: no query was added");
    return MSIM_OK;
}

int msim_eval_open(msim_eval **out, msim_error *err) {
    *out = ms_alloc(1, sizeof **out, "evaluation", err);
    return *out ? MSIM_OK : -MSIM_E_MEMORY;
}

void msim_eval_close(msim_eval *e) {
    if (!e) return;
    ms_free(e->queries);
    ms_free(e->bins);
    ms_free(e);
}

/* ---- Answers ---- */

static double threshold_of(int32_t bin) { return (double)(bin - 10000) / 10000.0; }

/* The highest threshold that a score reaches: its bin; -1 when it reaches none. */
static int32_t bin_of(double score) {
    if (!(score >= -1.0)) return -1;
    if (score >= 1.0) return MS_EVAL_BINS - 1;
    int32_t bin = (int32_t)floor((score + 1.0) * 10000.0);
    if (bin > MS_EVAL_BINS - 2) bin = MS_EVAL_BINS - 2;
    while (threshold_of(bin) > score) bin--; /* the sum above was rounded */
    while (threshold_of(bin + 1) <= score) bin++;
    return bin;
}

static int check_answer(const double *scores, const unsigned char *is_relative, int64_t n,
                        msim_error *err) {
    int64_t n_relatives = 0;
    if (n > INT32_MAX)
        return ms_fail(err, MSIM_E_LIMIT, "evaluation: expected fewer than 2^31 candidates");
    for (int64_t i = 0; i < n; i++) {
        if (isnan(scores[i]) || (i && scores[i] > scores[i - 1]))
            return ms_fail(err, MSIM_E_ARG,
                           "evaluation: score %" PRId64 ": expected one no higher than the score "
                           "before, got %g",
                           i, scores[i]);
        n_relatives += is_relative[i] != 0;
    }
    if (n_relatives == 0)
        return ms_fail(err, MSIM_E_ARG, "evaluation: a query without a relative cannot be judged");
    return MSIM_OK;
}

/* Count the candidates of a query by bin. Scores fall, so candidates of one bin follow each
 * other. */
static int add_bins(msim_eval *e, const double *scores, const unsigned char *is_relative, int64_t n,
                    msim_error *err) {
    for (int64_t i = 0; i < n; i++) {
        int32_t bin = bin_of(scores[i]);
        bool is_new = i == 0 || bin_of(scores[i - 1]) != bin;
        if (bin < 0) break;
        int rc = is_new ? ms_grow((void **)&e->bins, &e->bins_cap, e->n_bins + 1, sizeof *e->bins,
                                  "scores of an evaluation", err)
                        : MSIM_OK;
        if (rc < 0) return rc;
        if (is_new) e->bins[e->n_bins++] = (ms_eval_bin){.bin = bin};
        e->bins[e->n_bins - 1].n++;
        e->bins[e->n_bins - 1].n_relatives += is_relative[i] != 0;
    }
    return MSIM_OK;
}

int msim_eval_add(msim_eval *e, const double *scores, const unsigned char *is_relative, int64_t n,
                  msim_error *err) {
    ms_eval_query q = {.bins = e->n_bins};
    double sum = 0;
    int rc = check_answer(scores, is_relative, n, err);
    if (rc >= 0)
        rc = ms_grow((void **)&e->queries, &e->queries_cap, e->n_queries + 1, sizeof *e->queries,
                     "queries of an evaluation", err);
    if (rc >= 0) rc = add_bins(e, scores, is_relative, n, err);
    if (rc < 0) {
        e->n_bins = q.bins;
        return rc;
    }
    for (int64_t i = 0; i < n; i++) {
        if (!is_relative[i]) continue;
        if (q.n_relatives++ == 0) q.first_rank = i + 1;
        sum += (double)q.n_relatives / (double)(i + 1);
    }
    q.average_precision = sum / (double)q.n_relatives;
    q.n_bins = e->n_bins - q.bins;
    e->queries[e->n_queries++] = q;
    e->n_pairs += n;
    e->n_relatives += q.n_relatives;
    return MSIM_OK;
}

/* ---- Measures of ranks ---- */

/* One number per query above the line of a ratio, and one below. */
typedef struct {
    double *above, *below; /* owned: [n_queries] */
} sides;

static int open_sides(const msim_eval *e, sides *out, msim_error *err) {
    out->above = ms_alloc(e->n_queries, sizeof *out->above, "measures of queries", err);
    out->below = out->above ? ms_alloc(e->n_queries, sizeof *out->below, "measures of queries", err)
                            : NULL;
    return out->below ? MSIM_OK : -MSIM_E_MEMORY;
}

static void close_sides(sides *s) {
    ms_free(s->above);
    ms_free(s->below);
}

enum mean_of { RECIPROCAL_RANK, AVERAGE_PRECISION, HIT };

/* The mean over queries; HIT: of whether the best relative is among the first k. */
static int mean(const msim_eval *e, enum mean_of what, int64_t k, const msim_eval_options *options,
                msim_measure *out, msim_error *err) {
    sides s = {0};
    int rc = open_sides(e, &s, err);
    for (size_t i = 0; i < e->n_queries && rc >= 0; i++) {
        const ms_eval_query *q = e->queries + i;
        s.below[i] = 1;
        s.above[i] = what == RECIPROCAL_RANK     ? 1.0 / (double)q->first_rank
                     : what == AVERAGE_PRECISION ? q->average_precision
                                                 : q->first_rank <= k;
    }
    if (rc >= 0) rc = ms_resample_ratio(s.above, s.below, e->n_queries, options, out, err);
    close_sides(&s);
    return rc;
}

static int median_rank(const msim_eval *e, const msim_eval_options *options, msim_measure *out,
                       msim_error *err) {
    int64_t *ranks = ms_alloc(e->n_queries, sizeof *ranks, "ranks of queries", err);
    if (!ranks) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < e->n_queries; i++) ranks[i] = e->queries[i].first_rank;
    int rc = ms_resample_median(ranks, e->n_queries, options, out, err);
    ms_free(ranks);
    return rc;
}

int msim_eval_recall(const msim_eval *e, const msim_eval_options *options, int64_t k,
                     msim_measure *out, msim_error *err) {
    msim_eval_options o;
    int rc = read_options(e, options, &o, err);
    if (rc >= 0 && k < 1)
        rc = ms_fail(err, MSIM_E_ARG, "evaluation: k: expected at least 1, got %" PRId64, k);
    return rc < 0 ? rc : mean(e, HIT, k, &o, out, err);
}

/* ---- Measures of pairs ---- */

/* Pairs of one query that reach a threshold, and relatives among them. */
static void count_found(const msim_eval *e, const ms_eval_query *q, int32_t bin, double *n,
                        double *n_relatives) {
    *n = *n_relatives = 0;
    for (size_t i = q->bins; i < q->bins + q->n_bins && e->bins[i].bin >= bin; i++) {
        *n += e->bins[i].n;
        *n_relatives += e->bins[i].n_relatives;
    }
}

static int measure_point(const msim_eval *e, int32_t bin, const msim_eval_options *options,
                         msim_eval_point *out, msim_error *err) {
    sides found = {0}, both = {0}; /* relatives found and pairs found; twice the first, and both */
    double *relatives = NULL;
    size_t n = e->n_queries;
    int rc = open_sides(e, &found, err);
    if (rc >= 0) rc = open_sides(e, &both, err);
    if (rc >= 0 && !(relatives = ms_alloc(n, sizeof *relatives, "measures of queries", err)))
        rc = -MSIM_E_MEMORY;
    for (size_t i = 0; i < n && rc >= 0; i++) {
        count_found(e, e->queries + i, bin, found.below + i, found.above + i);
        relatives[i] = (double)e->queries[i].n_relatives;
        both.above[i] = 2 * found.above[i];
        both.below[i] = found.below[i] + relatives[i];
    }
    msim_eval_point point = {.threshold = threshold_of(bin)};
    if (rc >= 0)
        rc = ms_resample_ratio(found.above, found.below, n, options, &point.precision, err);
    if (rc >= 0) rc = ms_resample_ratio(found.above, relatives, n, options, &point.recall, err);
    if (rc >= 0) rc = ms_resample_ratio(both.above, both.below, n, options, &point.f1, err);
    if (rc >= 0) *out = point;
    close_sides(&found);
    close_sides(&both);
    ms_free(relatives);
    return rc;
}

int msim_eval_at(const msim_eval *e, const msim_eval_options *options, double threshold,
                 msim_eval_point *out, msim_error *err) {
    msim_eval_options o;
    int rc = read_options(e, options, &o, err);
    if (rc < 0) return rc;
    if (!(threshold >= -1.0 && threshold <= 1.0))
        return ms_fail(err, MSIM_E_ARG, "evaluation: threshold: expected -1..1, got %g", threshold);
    int32_t bin = bin_of(threshold);
    if (threshold_of(bin) < threshold) bin++;
    return measure_point(e, bin, &o, out, err);
}

/* All pairs and relatives by bin: [MS_EVAL_BINS], zeroed before. */
static void sum_bins(const msim_eval *e, int64_t *n, int64_t *n_relatives) {
    for (size_t i = 0; i < e->n_bins; i++) {
        n[e->bins[i].bin] += e->bins[i].n;
        n_relatives[e->bins[i].bin] += e->bins[i].n_relatives;
    }
}

/* Walk down the thresholds. With recall >= 0, the first at which so much is found; else the first
 * of the highest F1. */
static int find_bin(const msim_eval *e, double recall, int32_t *out, msim_error *err) {
    int64_t *n = ms_alloc(2 * MS_EVAL_BINS, sizeof *n, "thresholds", err), all = 0, right = 0;
    double best = -1;
    if (!n) return -MSIM_E_MEMORY;
    sum_bins(e, n, n + MS_EVAL_BINS);
    *out = recall >= 0 ? 0 : MS_EVAL_BINS - 1;
    for (int32_t bin = MS_EVAL_BINS - 1; bin >= 0; bin--) {
        all += n[bin];
        right += n[MS_EVAL_BINS + bin];
        if (recall >= 0 && (double)right >= recall * (double)e->n_relatives) {
            *out = bin;
            break;
        }
        double f1 = 2.0 * (double)right / (double)(all + e->n_relatives);
        if (recall < 0 && f1 > best) {
            best = f1;
            *out = bin;
        }
    }
    ms_free(n);
    return MSIM_OK;
}

int msim_eval_threshold(const msim_eval *e, double recall, double *out, msim_error *err) {
    int32_t bin;
    if (!(recall >= 0 && recall <= 1))
        return ms_fail(err, MSIM_E_ARG, "evaluation: recall: expected 0..1, got %g", recall);
    if (e->n_queries == 0) return ms_fail(err, MSIM_E_EMPTY, "evaluation: no query was added");
    int rc = find_bin(e, recall, &bin, err);
    if (rc >= 0) *out = threshold_of(bin);
    return rc;
}

int msim_eval_get_report(const msim_eval *e, const msim_eval_options *options,
                         msim_eval_report *out, msim_error *err) {
    msim_eval_options o;
    int32_t bin;
    int rc = read_options(e, options, &o, err);
    if (rc < 0) return rc;
    msim_eval_report report = {.size = sizeof report,
                               .queries = (int64_t)e->n_queries,
                               .pairs = e->n_pairs,
                               .relatives = e->n_relatives};
    rc = mean(e, RECIPROCAL_RANK, 0, &o, &report.mrr, err);
    if (rc >= 0) rc = mean(e, AVERAGE_PRECISION, 0, &o, &report.map, err);
    if (rc >= 0) rc = median_rank(e, &o, &report.median_rank, err);
    if (rc >= 0) rc = find_bin(e, -1, &bin, err);
    if (rc >= 0) rc = measure_point(e, bin, &o, &report.best, err);
    return rc < 0 ? rc : ms_sized_out(out, &report, sizeof report);
}
