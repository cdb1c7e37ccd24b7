/* The rounds of a search on a CUDA device: a group of up to 64 queries over all loaded rows, each
 * round a scan that leaves rows out by proof, scores in double of what it keeps, and a selection.
 * docs/SEARCH.md proves that no result is lost; here every threshold is the K-th best score of
 * distinct rows that are not excluded, and only rises.
 *
 * 1. A sample of single rows spread evenly, up to as many as a list of candidates holds, is scored
 *    without a scan: the first threshold. The rows are met again; the selection counts a row once.
 *    All queries share its list, which is made once and stays on the device: the rows that a
 *    request excludes are still in it, and get -infinity for a score.
 * 2. Rounds over growing ranges. When the threshold comes from n rows, the next m rows keep about
 *    K m / n candidates, so ranges grow by what half fills the lists (a few rounds for millions of
 *    rows), corrected by what the last round kept. A list that overflows says so: what it did keep
 *    has raised the threshold, and a shorter range is taken. A range of no more rows than a list
 *    holds always fits, so every order of rows ends, at worst with all of them scored in double.
 *
 * A round costs one wait of the host: thresholds, scan, scores and selection stand in the stream
 * behind each other, and one copy brings counts and results back. The sample costs none: thresholds
 * are the device's, and only how long a range is must be known here. Where the rows are not on the device there are
 * two more: the lists come to the host, which gathers the rows. There a round that keeps much is
 * shortened to the candidates with the highest upper bounds and done again with the threshold that
 * they give, for gathering is what costs. A request's own threshold stays; its rounds take two
 * waits: a list that overflows must not be handed over. Nothing is allocated. */
#include "kernels/search/state.h"
#include <math.h>
#include <string.h>

enum { LEAST_GATHERED = 128 };

/* ---- Scores and selection ---- */

/* The candidates of a round: lists of queries, each with its count; or one for all queries, the
 * sample's of a span. */
typedef struct {
    const ms_gpu_candidate *candidates;
    const uint32_t *n_candidates; /* device; NULL: shared */
    int64_t n_shared;             /* 0: each query its own */
    size_t n_excluded;            /* shared: looked up among those on the device */
} ms_gpu_list;

static ms_gpu_list own_lists(const ms_gpu_search *s, const uint32_t *n_candidates) {
    return (ms_gpu_list){.candidates = s->device.candidates, .n_candidates = n_candidates};
}

/* Scores of lists from `from` on. */
static int score(ms_gpu_search *s, const ms_gpu_rows *rows, const ms_gpu_list *list,
                 const int64_t *gathered, int64_t from, msim_error *err) {
    return ms_score_f64_cuda(s->stream,
                             &(ms_gpu_score){.rows = *rows,
                                             .gathered = gathered,
                                             .queries = s->device.queries,
                                             .norms = s->device.norms,
                                             .n_query = s->n_active,
                                             .is_ip = s->plan.is_ip,
                                             .candidates = list->candidates + from,
                                             .n_candidates = list->n_candidates,
                                             .candidate_cap = s->candidate_cap,
                                             .n_shared = list->n_shared,
                                             .excluded = s->device.excluded,
                                             .n_excluded = (int64_t)list->n_excluded,
                                             .scores = s->device.scores + from},
                             err);
}

static int select_best(ms_gpu_search *s, const ms_gpu_list *list, msim_error *err) {
    return ms_select_cuda(s->stream,
                          &(ms_gpu_select){.n_query = s->n_active,
                                           .k = s->n_hits,
                                           .n_shared = list->n_shared,
                                           .candidates = list->candidates,
                                           .n_candidates = list->n_candidates,
                                           .scores = s->device.scores,
                                           .candidate_cap = s->candidate_cap,
                                           .best = s->device.best,
                                           .n_best = s->device.report->n_best,
                                           .kth_score = s->device.kth_score},
                          err);
}

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

typedef struct {
    ms_gpu_search *s;
    const ms_gpu_candidate *lists; /* host: candidate_cap apart, or one */
    size_t row_bytes;
} gather_job;

static void gather_list(void *arg, int64_t q, int worker) {
    const gather_job *j = arg;
    ms_gpu_search *s = j->s;
    const ms_gpu_candidate *c = j->lists + q * s->candidate_cap;
    unsigned char *to = s->host_gather + (size_t)s->host.lists->gathered[q] * j->row_bytes;
    (void)worker;
    for (uint32_t i = 0; i < s->host.lists->n_candidates[q]; i++)
        ms_gpu_row_put(s, to + i * j->row_bytes, j->row_bytes, c[i].row);
}

/* Bring n_rows rows that s->host.lists names to the device and score the lists from `from` on. */
static int gather_and_score(ms_gpu_search *s, const ms_gpu_rows *rows, const ms_gpu_list *list,
                            const ms_gpu_candidate *host_lists, int n_lists, int64_t n_rows,
                            int64_t from, msim_error *err) {
    ms_gpu_lists *lists = s->host.lists;
    ms_gpu_rows gathered = *rows;
    gathered.data = s->gather;
    gathered.n_rows = n_rows;
    ms_gpu_each(s, n_lists, gather_list, &(gather_job){s, host_lists + from, rows->row_bytes});
    int rc =
        ms_gpu_upload(s->stream, s->gather, s->host_gather, (size_t)n_rows * rows->row_bytes, err);
    if (rc >= 0) rc = ms_gpu_upload(s->stream, s->device.lists, lists, sizeof *lists, err);
    if (rc >= 0) rc = score(s, &gathered, list, s->device.lists->gathered, from, err);
    return rc < 0 ? rc : ms_gpu_sync(s->stream, err); /* the host's buffers are free again */
}

/* How many pairs of candidates of n_lists lists fit the buffer, times two: scores lie in pairs. */
static int64_t gather_width(const ms_gpu_search *s, const ms_gpu_rows *rows, int n_lists) {
    return (int64_t)(s->gather_bytes / rows->row_bytes) / n_lists / 2 * 2;
}

/* Score lists of candidates that host and device both have. Their rows go through the buffer, some
 * candidates of every list at a time. */
static int score_gathered(ms_gpu_search *s, const ms_gpu_rows *rows, const int64_t *n,
                          msim_error *err) {
    int64_t width = gather_width(s, rows, s->n_active), most = 0;
    ms_gpu_lists *lists = s->host.lists;
    ms_gpu_list own = own_lists(s, s->device.lists->n_candidates);
    int rc = MSIM_OK;
    for (int q = 0; q < s->n_active; q++)
        if (n[q] > most) most = n[q];
    for (int64_t from = 0; from < most && rc >= 0; from += width) {
        int64_t slot = 0;
        for (int q = 0; q < s->n_active; q++) {
            int64_t count = n[q] <= from ? 0 : n[q] - from < width ? n[q] - from : width;
            lists->n_candidates[q] = (uint32_t)count;
            lists->gathered[q] = slot;
            slot += count;
        }
        rc = gather_and_score(s, rows, &own, s->host.candidates, s->n_active, slot, from, err);
    }
    return rc;
}

/* The same for the sample of a span, which all queries share. */
static int score_sample_gathered(ms_gpu_search *s, const ms_gpu_span *span, ms_gpu_list list,
                                 msim_error *err) {
    int64_t width = gather_width(s, &span->rows, 1);
    ms_gpu_lists *lists = s->host.lists;
    int rc = MSIM_OK;
    memset(lists->gathered, 0, sizeof lists->gathered);
    for (int64_t from = 0; from < span->n_sample && rc >= 0; from += width) {
        list.n_shared = span->n_sample - from < width ? span->n_sample - from : width;
        lists->n_candidates[0] = (uint32_t)list.n_shared;
        rc = gather_and_score(s, &span->rows, &list, s->host.sample + span->sample_at, 1,
                              list.n_shared, from, err);
    }
    return rc;
}

/* The first n counts of the lists, for the device. */
static int put_counts(ms_gpu_search *s, const int64_t *n, msim_error *err) {
    for (int q = 0; q < s->n_active; q++) s->host.lists->n_candidates[q] = (uint32_t)n[q];
    return ms_gpu_upload(s->stream, s->device.lists, s->host.lists, sizeof *s->host.lists, err);
}

static void count_evaluated(ms_gpu_search *s, const int64_t *n) {
    if (s->plan.scan == MSIM_SCAN_F64) return; /* the scan has them all */
    for (int q = 0; q < s->n_active; q++) s->n_evaluated += n[q];
}

/* ---- The sample ---- */

/* Whether excluded rows are left out as they are scored: the device holds all of them. Else they
 * are left out of the list, which then serves this request alone. */
static bool is_excluded_there(const ms_gpu_search *s) {
    return s->plan.excluded.n <= (size_t)s->excluded_cap;
}

/* Every n_wanted-th row of a span, at the list's end. */
static void list_span(ms_gpu_search *s, ms_gpu_span *span, int64_t n_wanted) {
    const ms_gpu_rows *rows = &span->rows;
    span->n_sample = 0;
    for (int64_t i = 0; i < n_wanted; i++) {
        int64_t row = rows->first_row + ms_plan_sample_row(rows->n_rows, n_wanted, i);
        if (!is_excluded_there(s) && ms_row_list_has(s->plan.excluded, row)) continue;
        if (ms_plan_reads_codes(s->plan.scan) && ms_slices_is_listed(&s->rows, row)) continue;
        s->host.sample[span->sample_at + span->n_sample++] = (ms_gpu_candidate){.row = row};
    }
}

/* Make the sample and bring it to the device, unless it is there. */
static int put_sample(ms_gpu_search *s, int64_t n_wanted, msim_error *err) {
    ms_gpu_sample *there = &s->sample;
    int reads_codes = ms_plan_reads_codes(s->plan.scan);
    int64_t n = 0;
    if (is_excluded_there(s) && there->n_wanted == n_wanted && there->reads_codes == reads_codes)
        return MSIM_OK;
    there->n_wanted = 0;
    there->n_made++;
    for (size_t i = 0; i < s->n_spans; i++) {
        ms_gpu_span *span = &s->spans[i];
        span->sample_at = n;
        list_span(s, span,
                  (int64_t)((double)n_wanted * (double)span->rows.n_rows / (double)s->rows.n_rows));
        n += span->n_sample;
    }
    int rc = ms_gpu_upload(s->stream, s->device.sample, s->host.sample,
                           (size_t)n * sizeof *s->host.sample, err);
    if (rc < 0 || !is_excluded_there(s)) return rc;
    there->n_wanted = n_wanted;
    there->reads_codes = reads_codes;
    return MSIM_OK;
}

static int sample_span(ms_gpu_search *s, const ms_gpu_span *span, msim_error *err) {
    ms_gpu_list list = {.candidates = s->device.sample + span->sample_at,
                        .n_shared = span->n_sample,
                        .n_excluded = is_excluded_there(s) ? s->n_excluded_there : 0};
    int64_t counts[MS_GPU_SCAN_QUERIES];
    if (span->n_sample == 0) return MSIM_OK;
    int rc = span->rows.data ? score(s, &span->rows, &list, NULL, 0, err)
                             : score_sample_gathered(s, span, list, err);
    if (rc >= 0) rc = select_best(s, &list, err);
    for (int q = 0; q < s->n_active; q++) counts[q] = span->n_sample;
    count_evaluated(s, counts);
    s->n_seen += span->n_sample;
    return rc;
}

/* The host does not wait for the sample: the first round's thresholds are made of its K-th scores
 * on the device. */
static int take_sample(ms_gpu_search *s, msim_error *err) {
    int64_t wanted = (int64_t)ms_plan_sample_rows(s->rows.n_rows, s->n_hits, s->candidate_cap),
            first = s->rows.first_row, there = 0;
    int rc = MSIM_OK;
    if (s->rows.n_rows < 4 * wanted) return MSIM_OK; /* the first rounds do as well */
    if (is_excluded_there(s)) there = ms_gpu_put_excluded(s, first, first + s->rows.n_rows, err);
    if (there < 0) return (int)there;
    rc = put_sample(s, wanted, err);
    for (size_t i = 0; i < s->n_spans && rc >= 0; i++) rc = sample_span(s, &s->spans[i], err);
    /* of its rows, these may be results: as many as of all rows */
    if (is_excluded_there(s)) s->n_seen = s->n_seen * s->plan.n_rows / s->rows.n_rows;
    if (rc < 0 || s->n_seen == 0) return rc;
    s->step = (int64_t)((double)s->candidate_cap / 2 * (double)s->n_seen / (double)s->n_hits);
    if (s->step < s->candidate_cap) s->step = s->candidate_cap;
    return MSIM_OK;
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
    ms_gpu_list own = own_lists(s, s->device.lists->n_candidates);
    int64_t n[MS_GPU_SCAN_QUERIES],
        few = 2 * s->n_hits < LEAST_GATHERED ? LEAST_GATHERED : 2 * s->n_hits;
    int rc = wait_for_report(s, err);
    if (rc < 0) return rc;
    out->most = most_candidates(s);
    out->is_partial = may_be_partial && out->most > few;
    rc = bring_lists(s, n, out->is_partial ? few : s->candidate_cap, err);
    if (rc >= 0) rc = score_gathered(s, &w->rows, n, err);
    if (rc >= 0) rc = put_counts(s, n, err);
    if (rc >= 0) rc = select_best(s, &own, err);
    if (rc >= 0) rc = wait_for_report(s, err);
    count_evaluated(s, n);
    return rc;
}

static int select_resident(ms_gpu_search *s, const ms_gpu_window *w, round_end *out,
                           msim_error *err) {
    int64_t n[MS_GPU_SCAN_QUERIES];
    ms_gpu_list own = own_lists(s, s->device.report->n_candidates);
    int rc = score(s, &w->rows, &own, NULL, 0, err);
    if (rc >= 0) rc = select_best(s, &own, err);
    if (rc >= 0) rc = wait_for_report(s, err);
    if (rc < 0) return rc;
    out->most = most_candidates(s);
    for (int q = 0; q < s->n_active; q++) n[q] = n_listed(s, q);
    count_evaluated(s, n);
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
    ms_gpu_list own = own_lists(s, s->device.report->n_candidates);
    int rc = bring_lists(s, n, s->candidate_cap, err);
    if (rc >= 0)
        rc = w->rows.data ? score(s, &w->rows, &own, NULL, 0, err)
                          : score_gathered(s, &w->rows, n, err);
    for (int q = 0; q < s->n_active && rc >= 0; q++)
        rc = ms_gpu_download(s->stream, s->host.scores + q * s->candidate_cap,
                             s->device.scores + q * s->candidate_cap,
                             (size_t)n[q] * sizeof *s->host.scores, err);
    if (rc >= 0) rc = ms_gpu_sync(s->stream, err);
    if (rc < 0) return rc;
    count_evaluated(s, n);
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
    if (rc >= 0 && !is_above) rc = take_sample(s, err);
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
