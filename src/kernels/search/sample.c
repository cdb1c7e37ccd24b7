/* The sample of a search on a CUDA device: the rows that give the first threshold. Single rows,
 * spread evenly over all, up to as many as a list of candidates holds; their scores are taken
 * without a scan. All queries share the list, which is made once and stays on the device: the rows
 * that a request excludes are still in it, and get -infinity for a score. The rows are met again;
 * the selection counts a row once. Contract: kernels/search/state.h. */
#include "kernels/search/state.h"

/* Whether excluded rows are left out as they are scored: the device holds all of them. Else they
 * are left out of the list, which then serves this request alone. */
static bool is_excluded_there(const ms_gpu_search *s) {
    return s->plan.excluded.n <= (size_t)s->excluded_cap;
}

/* The rows of a span, spread evenly, at the end of the list: its share of n_wanted. */
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
    int rc = span->rows.data ? ms_gpu_score_list(s, &span->rows, &list, NULL, 0, err)
                             : ms_gpu_score_sample_gathered(s, span, list, err);
    if (rc >= 0) rc = ms_gpu_select_best(s, &list, err);
    for (int q = 0; q < s->n_active; q++) counts[q] = span->n_sample;
    ms_gpu_count_evaluated(s, counts);
    s->n_seen += span->n_sample;
    return rc;
}

int ms_gpu_take_sample(ms_gpu_search *s, msim_error *err) {
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
