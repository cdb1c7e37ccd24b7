/* The rounds of a search on a CUDA device: a group of up to 64 queries over all loaded rows, each
 * round a scan that leaves rows out by proof, scores in double of what it keeps, and a selection.
 * docs/SEARCH.md proves that no result is lost; here every threshold is the K-th best score of
 * distinct rows that are not excluded, and only rises.
 *
 * 1. A sample of single rows gives the first threshold without a scan (kernels/search/sample.c).
 * 2. Rounds over growing ranges. When the threshold comes from n rows, the next m rows keep about
 *    K m / n candidates, so ranges grow by what half fills the lists (a few rounds for millions of
 *    rows), corrected by what the last round kept. A list that overflows says so: what it did keep
 *    has raised the threshold, and a shorter range is taken. A range of no more rows than a list
 *    holds always fits, so every order of rows ends, at worst with all of them scored in double.
 *
 * A round costs one wait of the host: thresholds, scan, scores and selection stand in the stream
 * behind each other, and one copy brings counts and results back. The sample costs none: thresholds
 * are the device's, and only how long a range is must be known here. Where the rows are not on the
 * device there are two more: the lists come to the host, which gathers the rows. There a round that
 * keeps much is shortened to the candidates with the highest upper bounds and done again with the
 * threshold that they give, for gathering is what costs. A request's own threshold stays; its
 * rounds take two waits: a list that overflows must not be handed over. Nothing is allocated. */
#include "kernels/search/state.h"
#include <math.h>
#include <string.h>

enum { LEAST_GATHERED = 128 };

/* ---- Reports ---- */

/* Bytes of the report and, where there is no sink, the best behind it. */
static size_t answer_bytes(const ms_gpu_search *s) {
    if (s->plan.request->sink) return sizeof *s->host.report;
    return (size_t)((unsigned char *)(s->host.best + s->n_active * s->n_hits) -
                    (unsigned char *)s->host.report);
}

/* Bring the report and the best so far to the host, and wait for them; meanwhile the next window is
 * fetched. One copy for both: whichever round is the last, its results are there. */
static int wait_for_report(ms_gpu_search *s, msim_error *err) {
    int rc = ms_gpu_download(s->stream, s->host.report, s->device.report, answer_bytes(s), err);
    if (rc >= 0) rc = ms_gpu_windows_ahead(s, err);
    return rc < 0 ? rc : ms_gpu_sync(s->stream, err);
}

static int64_t most_candidates(const ms_gpu_search *s) {
    int64_t most = 0;
    for (int q = 0; q < s->n_active; q++)
        if (s->host.report->n_candidates[q] > most) most = s->host.report->n_candidates[q];
    return most;
}

static int64_t n_listed(const ms_gpu_search *s, int q) {
    int64_t n = s->host.report->n_candidates[q];
    return n < s->candidate_cap ? n : s->candidate_cap;
}

/* The first n counts of the lists, for the device. */
static int put_counts(ms_gpu_search *s, const int64_t *n, msim_error *err) {
    for (int q = 0; q < s->n_active; q++) s->host.lists->n_candidates[q] = (uint32_t)n[q];
    return ms_gpu_upload(s->stream, s->device.lists, s->host.lists, sizeof *s->host.lists, err);
}

void ms_gpu_count_evaluated(ms_gpu_search *s, const int64_t *n) {
    if (s->plan.scan == MSIM_SCAN_F64) return; /* the scan has them all */
    for (int q = 0; q < s->n_active; q++) s->n_evaluated += n[q];
}

/* ---- Rounds ---- */

/* How long the lists are. most: candidates of the longest list, with those that were dropped;
 * is_partial: some listed candidates were not scored. */
typedef struct {
    int64_t most;
    int is_partial;
} round_end;

/* The number of rows of the next round, from the longest list that a round over n rows gave. */
static void adapt(ms_gpu_search *s, int64_t n, int64_t most) {
    double before = (double)s->n_seen, rate = (double)(most > 0 ? most : 1) / (double)n;
    s->n_seen += n;
    double now = (double)s->n_seen, least = (double)s->n_hits / now;
    if (!s->plan.request->sink) rate *= before / now; /* the threshold comes from more rows */
    if (!s->plan.request->sink && rate < least) rate = least;
    double step = (double)s->candidate_cap / 2 / rate;
    s->step = step < (double)s->candidate_cap ? s->candidate_cap
              : step > (double)s->rows.n_rows ? s->rows.n_rows
                                              : (int64_t)step;
    if (s->step < s->candidate_cap) s->step = s->candidate_cap;
}

/* After an overflow in n rows: fewer. Less than a list holds cannot overflow. */
static int shorten(ms_gpu_search *s, int64_t n, int64_t most, msim_error *err) {
    if (n <= s->candidate_cap)
        return ms_fail(err, MSIM_E_DEVICE,
                       "search: expected at most %lld candidates of as many rows, got %lld",
                       (long long)n, (long long)most);
    double step = (double)n * (double)s->candidate_cap / 2 / (double)most;
    s->step = step < (double)s->candidate_cap ? s->candidate_cap
              : step > (double)n / 2          ? n / 2
                                              : (int64_t)step;
    if (s->step < s->candidate_cap) s->step = s->candidate_cap;
    return MSIM_OK;
}

/* Move the n candidates with the highest upper bounds to the front (NaN: above all). */
static void put_highest_first(ms_gpu_candidate *c, int64_t n_all, int64_t n) {
    int64_t low = 0, high = n_all - 1;
    for (int64_t i = 0; i < n_all; i++)
        if (isnan(c[i].upper)) c[i].upper = INFINITY;
    while (low < high) {
        float pivot = c[low + (high - low) / 2].upper;
        int64_t i = low, j = high;
        while (i <= j) {
            while (c[i].upper > pivot) i++;
            while (c[j].upper < pivot) j--;
            if (i > j) break;
            ms_gpu_candidate other = c[i];
            c[i++] = c[j];
            c[j--] = other;
        }
        if (n <= j + 1)
            high = j;
        else if (n >= i)
            low = i;
        else
            return;
    }
}

/* The lists come to the host, their rows go to the device; with `most` some of each list alone. */
static int bring_lists(ms_gpu_search *s, int64_t *n, int64_t most, msim_error *err) {
    int rc = MSIM_OK;
    for (int q = 0; q < s->n_active && rc >= 0; q++) {
        n[q] = n_listed(s, q);
        rc = ms_gpu_download(s->stream, s->host.candidates + q * s->candidate_cap,
                             s->device.candidates + q * s->candidate_cap,
                             (size_t)n[q] * sizeof *s->host.candidates, err);
    }
    if (rc >= 0) rc = ms_gpu_sync(s->stream, err);
    for (int q = 0; q < s->n_active && rc >= 0; q++) {
        if (n[q] <= most) continue;
        put_highest_first(s->host.candidates + q * s->candidate_cap, n[q], most);
        n[q] = most;
        rc = ms_gpu_upload(s->stream, s->device.candidates + q * s->candidate_cap,
                           s->host.candidates + q * s->candidate_cap,
                           (size_t)n[q] * sizeof *s->host.candidates, err);
    }
    return rc;
}

/* Score and select behind a scan whose rows are not on the device. */
static int select_gathered(ms_gpu_search *s, const ms_gpu_window *w, int may_be_partial,
                           round_end *out, msim_error *err) {
    ms_gpu_list own = ms_gpu_own_lists(s, s->device.lists->n_candidates);
    int64_t n[MS_GPU_SCAN_QUERIES],
        few = 2 * s->n_hits < LEAST_GATHERED ? LEAST_GATHERED : 2 * s->n_hits;
    int rc = wait_for_report(s, err);
    if (rc < 0) return rc;
    out->most = most_candidates(s);
    out->is_partial = may_be_partial && out->most > few;
    rc = bring_lists(s, n, out->is_partial ? few : s->candidate_cap, err);
    if (rc >= 0) rc = ms_gpu_score_gathered(s, &w->rows, n, err);
    if (rc >= 0) rc = put_counts(s, n, err);
    if (rc >= 0) rc = ms_gpu_select_best(s, &own, err);
    if (rc >= 0) rc = wait_for_report(s, err);
    ms_gpu_count_evaluated(s, n);
    return rc;
}

static int select_resident(ms_gpu_search *s, const ms_gpu_window *w, round_end *out,
                           msim_error *err) {
    int64_t n[MS_GPU_SCAN_QUERIES];
    ms_gpu_list own = ms_gpu_own_lists(s, s->device.report->n_candidates);
    int rc = ms_gpu_score_list(s, &w->rows, &own, NULL, 0, err);
    if (rc >= 0) rc = ms_gpu_select_best(s, &own, err);
    if (rc >= 0) rc = wait_for_report(s, err);
    if (rc < 0) return rc;
    out->most = most_candidates(s);
    for (int q = 0; q < s->n_active; q++) n[q] = n_listed(s, q);
    ms_gpu_count_evaluated(s, n);
    return MSIM_OK;
}

static int search_window(ms_gpu_search *s, const ms_gpu_window *w, msim_error *err) {
    int64_t row = w->rows.first_row, end = row + w->rows.n_rows, to;
    int may_be_partial = 1, rc;
    while (row < end) {
        round_end r = {0};
        if ((to = ms_gpu_end_of_round(s, w, row, s->step, err)) < 0) return (int)to;
        rc = ms_gpu_scan_rows(s, w, row, to, err);
        if (rc >= 0)
            rc = w->rows.data ? select_resident(s, w, &r, err)
                              : select_gathered(s, w, may_be_partial, &r, err);
        if (rc < 0) return rc;
        may_be_partial = !r.is_partial;
        if (r.is_partial) continue; /* the same rows, with the threshold of the best of them */
        if (r.most > s->candidate_cap) {
            if ((rc = shorten(s, to - row, r.most, err)) < 0) return rc;
            continue;
        }
        adapt(s, to - row, r.most);
        if (s->plan.scan == MSIM_SCAN_F64) s->n_evaluated += (to - row) * s->n_active;
        row = to;
    }
    return MSIM_OK;
}

/* ---- Thresholds ---- */

void ms_gpu_hand_over(ms_gpu_search *s, size_t q, double score_of, int64_t row) {
    const ms_search_request *request = s->plan.request;
    if (s->is_stopped || !ms_plan_is_hit(&s->plan, score_of)) return;
    s->n_handed++;
    if (request->sink(request->user, q, row, score_of)) s->is_stopped = 1;
}

/* Scores of the lists to the host, and from there to the sink. */
static int hand_lists_over(ms_gpu_search *s, const ms_gpu_window *w, msim_error *err) {
    int64_t n[MS_GPU_SCAN_QUERIES];
    ms_gpu_list own = ms_gpu_own_lists(s, s->device.report->n_candidates);
    int rc = bring_lists(s, n, s->candidate_cap, err);
    if (rc >= 0)
        rc = w->rows.data ? ms_gpu_score_list(s, &w->rows, &own, NULL, 0, err)
                          : ms_gpu_score_gathered(s, &w->rows, n, err);
    for (int q = 0; q < s->n_active && rc >= 0; q++)
        rc = ms_gpu_download(s->stream, s->host.scores + q * s->candidate_cap,
                             s->device.scores + q * s->candidate_cap,
                             (size_t)n[q] * sizeof *s->host.scores, err);
    if (rc >= 0) rc = ms_gpu_sync(s->stream, err);
    if (rc < 0) return rc;
    ms_gpu_count_evaluated(s, n);
    for (int q = 0; q < s->n_active; q++)
        for (int64_t i = 0; i < n[q] && !s->is_stopped; i++)
            ms_gpu_hand_over(s, s->active[q], s->host.scores[q * s->candidate_cap + i],
                             s->host.candidates[q * s->candidate_cap + i].row);
    return MSIM_OK;
}

static int hand_window_over(ms_gpu_search *s, const ms_gpu_window *w, msim_error *err) {
    int64_t row = w->rows.first_row, end = row + w->rows.n_rows, to;
    while (row < end && !s->is_stopped) {
        if ((to = ms_gpu_end_of_round(s, w, row, s->step, err)) < 0) return (int)to;
        int rc = ms_gpu_scan_rows(s, w, row, to, err);
        if (rc >= 0) rc = wait_for_report(s, err);
        if (rc < 0) return rc;
        int64_t most = most_candidates(s);
        if (most > s->candidate_cap) {
            if ((rc = shorten(s, to - row, most, err)) < 0) return rc;
            continue;
        }
        if (most && (rc = hand_lists_over(s, w, err)) < 0) return rc;
        adapt(s, to - row, most);
        if (s->plan.scan == MSIM_SCAN_F64) s->n_evaluated += (to - row) * s->n_active;
        row = to;
    }
    return MSIM_OK;
}

/* ---- A group ---- */

/* Send the group's queries and prepare them for the first scan: their norms are there then, which
 * the sample's scores need too. */
static int put_queries(ms_gpu_search *s, msim_error *err) {
    int rc = ms_gpu_upload(s->stream, s->device.queries, s->host.queries,
                           (size_t)s->n_active * (size_t)s->rows.dim * sizeof *s->host.queries,
                           err);
    if (rc >= 0) rc = ms_gpu_fill(s->stream, s->device.report, 0, answer_bytes(s), err);
    for (size_t i = 0; i < MS_GPU_SLOTS; i++) s->slot_slice[i] = SIZE_MAX;
    return rc < 0 ? rc : ms_gpu_prepare_queries(s, err);
}

/* This is done after a failure too: nothing of this search may be under way when the next one
 * begins. */
static int wait_for_all(ms_gpu_search *s, msim_error *err) {
    int rc = ms_gpu_sync(s->copies, err), rc2 = ms_gpu_sync(s->stream, rc < 0 ? NULL : err);
    return rc < 0 ? rc : rc2;
}

int ms_gpu_rounds_run(ms_gpu_search *s, msim_error *err) {
    ms_gpu_window w;
    int is_above = s->plan.request->sink != NULL;
    s->n_seen = 0;
    s->step = s->candidate_cap;
    int rc = put_queries(s, err);
    if (rc >= 0) rc = ms_gpu_windows_begin(s, err);
    if (rc >= 0 && !is_above) rc = ms_gpu_take_sample(s, err);
    while (rc >= 0 && !s->is_stopped) {
        if (ms_plan_should_stop(&s->plan)) {
            rc = ms_plan_stopped(err);
            break;
        }
        rc = ms_gpu_windows_next(s, &w, err);
        if (rc <= 0) break;
        rc = is_above ? hand_window_over(s, &w, err) : search_window(s, &w, err);
    }
    int waited = wait_for_all(s, rc < 0 ? NULL : err);
    return rc < 0 ? rc : waited;
}
