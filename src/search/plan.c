/* What a search decides before it reads a row: see search/plan.h. */
#include "search/plan.h"

/* A scan that leaves rows out saves nothing below SMALL_ROWS rows, or where more than one row in
 * MANY_RESULTS is a result. */
enum { SMALL_ROWS = 2048, MANY_RESULTS = 8, LEAST_SAMPLE = 1024 };

int ms_plan_choose_scan(const ms_search_request *request, int64_t n_rows,
                        const ms_plan_backend *backend, msim_error *err) {
    static const int by_bytes[] = {MSIM_SCAN_INT8, MSIM_SCAN_BF16, MSIM_SCAN_F32};
    int wanted = request->options->scan;
    unsigned scans = backend->scans;
    if (request->options->metric == MSIM_METRIC_IP)
        scans &= ~(MS_SCAN_BIT(MSIM_SCAN_INT8) | MS_SCAN_BIT(MSIM_SCAN_BF16));
    if (wanted == MSIM_SCAN_AUTO) {
        bool is_small = n_rows < SMALL_ROWS || request->k > n_rows / MANY_RESULTS;
        scans &= backend->preferred;
        for (size_t i = 0; i < sizeof by_bytes / sizeof *by_bytes && !is_small; i++)
            if (scans & MS_SCAN_BIT(by_bytes[i])) return by_bytes[i];
        return MSIM_SCAN_F64;
    }
    if (wanted == MSIM_SCAN_F64 || scans & MS_SCAN_BIT(wanted)) return wanted;
    if (!ms_plan_reads_codes(wanted)) return MSIM_SCAN_F64; /* f32 of no rows */
    return ms_fail(err, MSIM_E_UNSUPPORTED,
                   "search: scan %s: the corpus has no such codes attached; attach them first, or "
                   "use scan auto",
                   msim_scan_name(wanted));
}

int ms_plan_begin(ms_search_plan *plan, const ms_search_request *request, const ms_slices *rows,
                  const ms_plan_backend *backend, msim_error *err) {
    const msim_search_options *o = request->options;
    if (request->n_query > backend->max_queries || request->k < 0 || request->k > backend->max_k)
        return ms_fail(err, MSIM_E_LIMIT,
                       "search: expected at most %zu queries and k %lld, got %zu and %lld",
                       backend->max_queries, (long long)backend->max_k, request->n_query,
                       (long long)request->k);
    int scan = ms_plan_choose_scan(request, rows->n_rows, backend, err);
    if (scan < 0) return scan;
    ms_row_list excluded = ms_row_list_between((ms_row_list){o->excluded, o->n_excluded},
                                               rows->first_row, rows->first_row + rows->n_rows);
    *plan = (ms_search_plan){.request = request,
                             .excluded = excluded,
                             .scan = scan,
                             .is_ip = o->metric == MSIM_METRIC_IP,
                             .n_rows = rows->n_rows - (int64_t)excluded.n,
                             .threshold = request->sink ? request->threshold : -INFINITY};
    return MSIM_OK;
}

void ms_plan_end(ms_search_plan *plan) {
    plan->request = NULL;
    plan->excluded = (ms_row_list){0};
}

int ms_plan_stopped(msim_error *err) {
    return ms_fail(err, MSIM_E_STOPPED, "search: stopped by the caller");
}

/* ---- The sample ---- */

/* sqrt(rows x k) rows leave about as many candidates among the others as they are themselves. */
double ms_plan_sample_rows(int64_t n_rows, int64_t k, int64_t cap) {
    double rows = sqrt((double)n_rows * (double)k);
    if (rows < LEAST_SAMPLE) rows = LEAST_SAMPLE;
    if (rows < 2.0 * (double)k) rows = 2.0 * (double)k;
    return rows > (double)cap ? (double)cap : rows;
}

ms_plan_blocks ms_plan_sample_blocks(double n_rows, int64_t n_blocks, int64_t block_rows) {
    int64_t n = (int64_t)n_rows / block_rows, stride = n ? n_blocks / n : 0;
    return stride < 2 ? (ms_plan_blocks){0} : (ms_plan_blocks){.n = n, .stride = stride};
}

int64_t ms_plan_sample_block(const ms_plan_blocks *sample, int64_t i) { return i * sample->stride; }

int64_t ms_plan_other_block(const ms_plan_blocks *sample, int64_t i) {
    int64_t between = sample->stride - 1; /* blocks from one of the sample to the next */
    if (sample->n == 0 || i >= sample->n * between) return i + sample->n;
    return i / between * sample->stride + 1 + i % between;
}

/* In two steps, because a product of both numbers need not fit. */
int64_t ms_plan_sample_row(int64_t n_rows, int64_t n_sample, int64_t i) {
    return n_rows / n_sample * i + n_rows % n_sample * i / n_sample;
}
