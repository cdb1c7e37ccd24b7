/* Lists of candidates in a search on a CUDA device: their scores, wherever their rows are, and the
 * best of them. Contract: kernels/search/state.h. */
#include "kernels/search/state.h"
#include <string.h>

ms_gpu_list ms_gpu_own_lists(const ms_gpu_search *s, const uint32_t *n_candidates) {
    return (ms_gpu_list){.candidates = s->device.candidates, .n_candidates = n_candidates};
}

int ms_gpu_score_list(ms_gpu_search *s, const ms_gpu_rows *rows, const ms_gpu_list *list,
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

int ms_gpu_select_best(ms_gpu_search *s, const ms_gpu_list *list, msim_error *err) {
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

/* ---- Rows that the host gathers ---- */

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
    if (rc >= 0) rc = ms_gpu_score_list(s, &gathered, list, s->device.lists->gathered, from, err);
    return rc < 0 ? rc : ms_gpu_sync(s->stream, err); /* the host's buffers are free again */
}

/* How many pairs of candidates of n_lists lists fit the buffer, times two: scores lie in pairs. */
static int64_t gather_width(const ms_gpu_search *s, const ms_gpu_rows *rows, int n_lists) {
    return (int64_t)(s->gather_bytes / rows->row_bytes) / n_lists / 2 * 2;
}

int ms_gpu_score_gathered(ms_gpu_search *s, const ms_gpu_rows *rows, const int64_t *n,
                          msim_error *err) {
    int64_t width = gather_width(s, rows, s->n_active), most = 0;
    ms_gpu_lists *lists = s->host.lists;
    ms_gpu_list own = ms_gpu_own_lists(s, s->device.lists->n_candidates);
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

int ms_gpu_score_sample_gathered(ms_gpu_search *s, const ms_gpu_span *span, ms_gpu_list list,
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
