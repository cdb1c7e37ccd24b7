/* One scan of a search on a CUDA device: the queries in their slots, the constants for the
 * thresholds of now, the excluded rows, and the pass over a range of rows. Contract:
 * kernels/search/state.h. */
#include "kernels/search/state.h"
#include <float.h>
#include <string.h>

#define MOST_STEP ((int64_t)1 << 31) /* rows of a round: they are counted in 32 bits */

/* ---- Slots ---- */

static float *queries_of(const ms_gpu_search *s, int q) {
    return s->host.queries + (size_t)q * (size_t)s->rows.dim;
}

static void prepare_query(ms_gpu_search *s, size_t slot, int q, const ms_codes *codes) {
    const float *query = queries_of(s, q);
    double norm = s->host.norms[q];
    ms_bound_codes *b = &s->bounds[slot * (size_t)s->n_queries + (size_t)q];
    ms_gpu_constants *constants = &s->host.constants[slot];
    float *weight = s->weight;
    if (s->plan.scan == MSIM_SCAN_INT8) {
        ms_bound_int8_make(b, s->weight, query, norm, codes, INT8_MAX);
    } else if (s->plan.scan == MSIM_SCAN_BF16) {
        ms_bound_bf16_narrow_make(b, weight, query, norm, codes, ms_scan_bf16_chain(s->rows.dim));
    } else if (s->plan.scan == MSIM_SCAN_F32) {
        for (int64_t j = 0; j < s->rows.dim; j++) weight[j] = (float)(query[j] / norm);
    } else {
        memcpy(weight, query, (size_t)s->rows.dim * sizeof *weight);
    }
    ms_scan_queries_put(s->plan.scan, s->host.weights + slot * s->weights_bytes, q, s->n_active,
                        s->rows.dim, s->weight);
    if (!ms_plan_reads_codes(s->plan.scan)) return;
    constants->scale[q] = b->scale;
    constants->lambda[q] = b->lambda;
    constants->start[q] = b->start;
}

/* Find the slot with the queries for a slice. Scans that read rows use one slot for all slices. */
static int find_slot(ms_gpu_search *s, size_t slice, size_t *out, msim_error *err) {
    size_t slot = ms_plan_reads_codes(s->plan.scan) ? slice % s->n_slots : 0;
    size_t bytes = ms_scan_queries_bytes(s->plan.scan, s->n_active, s->rows.dim);
    const ms_codes *codes = s->rows.slices[slice].view->codes;
    *out = slot;
    if (s->slot_slice[slot] == slice ||
        (s->slot_slice[slot] != SIZE_MAX && !ms_plan_reads_codes(s->plan.scan)))
        return MSIM_OK;
    s->slot_slice[slot] = slice;
    memset(s->host.weights + slot * s->weights_bytes, 0, bytes);
    for (int q = 0; q < s->n_active; q++) prepare_query(s, slot, q, codes);
    return ms_gpu_upload(s->stream, s->device.weights + slot * s->weights_bytes,
                         s->host.weights + slot * s->weights_bytes, bytes, err);
}

int ms_gpu_prepare_queries(ms_gpu_search *s, msim_error *err) {
    size_t slot;
    return find_slot(s, 0, &slot, err);
}

/* Send the constants of a slot for the current thresholds. An upper threshold is never -infinity,
 * which is the upper bound of rows with NaN or infinity: the host adds those rows when they are
 * results. */
static int set_thresholds(ms_gpu_search *s, size_t slot, msim_error *err) {
    ms_gpu_constants *constants = &s->host.constants[slot];
    for (int q = 0; q < s->n_active; q++) {
        double threshold = s->threshold_of(s->threshold[q]);
        if (ms_plan_reads_codes(s->plan.scan)) {
            ms_bound_threshold a = ms_bound_codes_set_threshold(
                &s->bounds[slot * (size_t)s->n_queries + (size_t)q], threshold);
            constants->threshold[q] = a.threshold;
            constants->rho_factor[q] = a.rho_factor;
            constants->upper_threshold[q] = a.upper_threshold;
            continue;
        }
        constants->upper_threshold[q] = s->plan.scan == MSIM_SCAN_F64
                                            ? ms_bound_f32_below(threshold)
                                        : s->plan.is_ip
                                            ? ms_bound_f32_threshold_ip(threshold, s->host.norms[q])
                                            : ms_bound_f32_threshold(&s->f32, threshold);
        if (!(constants->upper_threshold[q] >= -FLT_MAX)) constants->upper_threshold[q] = -FLT_MAX;
    }
    return ms_gpu_upload(s->stream, &s->device.constants[slot], constants, sizeof *constants, err);
}

/* ---- One scan ---- */

/* Send the excluded rows from `row` on to the device, as many as there is room for. Returns the row
 * up to which they are there, or a failure. There is room for more than a tile's rows, so the
 * result lies more than a tile behind `row`. */
static int64_t put_excluded(ms_gpu_search *s, int64_t row, int64_t end, msim_error *err) {
    if (row >= s->excluded_from && end <= s->excluded_to) return s->excluded_to;
    ms_row_list list = ms_row_list_between(s->plan.excluded, row, INT64_MAX);
    s->excluded_from = row;
    s->excluded_to = s->rows.first_row + s->rows.n_rows;
    if (list.n > (size_t)s->excluded_cap) {
        list.n = (size_t)s->excluded_cap;
        s->excluded_to = list.rows[list.n];
    }
    s->n_excluded_there = s->n_outside + list.n;
    if (list.n) memcpy(s->host.excluded + s->n_outside, list.rows, list.n * sizeof *list.rows);
    int rc = ms_gpu_upload(s->stream, s->device.excluded, s->host.excluded,
                           s->n_excluded_there * sizeof *list.rows, err);
    return rc < 0 ? rc : s->excluded_to;
}

/* The end of a round that begins at `row`: at most `step` rows, on a boundary that the next round
 * can begin at (a tile of codes; 16 rows of the window), and no more slices than there are
 * slots. */
int64_t ms_gpu_end_of_round(ms_gpu_search *s, const ms_gpu_window *w, int64_t row, int64_t step,
                            msim_error *err) {
    int64_t end = w->rows.first_row + w->rows.n_rows, origin = w->rows.first_row;
    if (step > MOST_STEP) step = MOST_STEP;
    if (step < end - row) end = row + step;
    int64_t excluded_to = put_excluded(s, row, end, err);
    if (excluded_to < 0) return excluded_to;
    if (excluded_to < end) end = excluded_to;
    const ms_slice *first = ms_slices_find(&s->rows, row),
                   *last = ms_slices_find(&s->rows, end - 1);
    if (ms_plan_reads_codes(s->plan.scan)) {
        if ((size_t)(last - first) >= s->n_slots) {
            last = first + s->n_slots - 1;
            end = last->first_row + last->n_rows;
        }
        origin = last->first_row - last->start % MS_CODES_TILE;
        if (end == last->first_row + last->n_rows) return end;
    }
    if (end == w->rows.first_row + w->rows.n_rows) return end;
    return end - (end - origin) % MS_CODES_TILE; /* a step is longer than a tile */
}

static void point_to(ms_gpu_scan *scan, const ms_gpu_constants *constants) {
    scan->start = constants->start;
    scan->scale = constants->scale;
    scan->lambda = constants->lambda;
    scan->threshold = constants->threshold;
    scan->rho_factor = constants->rho_factor;
    scan->upper_threshold = constants->upper_threshold;
}

/* Scan rows row .. end - 1, of one slice where codes are read: what is kept goes behind the
 * candidates there are. */
static int scan_piece(ms_gpu_search *s, const ms_gpu_window *w, const ms_slice *slice, int64_t row,
                      int64_t end, msim_error *err) {
    size_t slot;
    int rc = find_slot(s, (size_t)(slice - s->rows.slices), &slot, err);
    if (rc >= 0) rc = set_thresholds(s, slot, err);
    if (rc < 0) return rc;
    ms_gpu_scan scan = {.scan = s->plan.scan,
                        .is_ip = s->plan.is_ip,
                        .rows = w->rows,
                        .block_step = 1,
                        .norms = s->device.norms,
                        .queries = s->device.weights + slot * s->weights_bytes,
                        .n_query = s->n_active,
                        .margin = s->plan.is_ip ? s->f32.margin : 0.0f,
                        .excluded = s->device.excluded,
                        .n_excluded = (int64_t)s->n_excluded_there,
                        .candidates = s->device.candidates,
                        .n_candidates = s->device.report->n_candidates,
                        .candidate_cap = s->candidate_cap};
    point_to(&scan, &s->device.constants[slot]);
    if (ms_plan_reads_codes(s->plan.scan)) {
        int64_t origin = w->tiles ? w->tiles_row : slice->first_row - slice->start % MS_CODES_TILE;
        int64_t tile = (row - origin) / MS_CODES_TILE;
        row = origin + tile * MS_CODES_TILE; /* rows before a range, in its first tile, are among
                                              * the excluded */
        scan.tiles = (w->tiles ? w->tiles : s->tiles[slice - s->rows.slices]) +
                     (size_t)tile * ms_gpu_tile_bytes(s->rows.dim, s->plan.scan);
        scan.rows.data = NULL;
    } else {
        scan.rows.data = (const unsigned char *)w->rows.data +
                         (size_t)(row - w->rows.first_row) * w->rows.row_bytes;
        scan.values = w->values + (row - w->rows.first_row);
    }
    scan.rows.first_row = row;
    scan.rows.n_rows = end - row;
    scan.n_blocks = (scan.rows.n_rows + MS_GPU_BLOCK_ROWS - 1) / MS_GPU_BLOCK_ROWS;
    if (scan.n_excluded == 0) scan.excluded = NULL;
    return ms_scan_cuda(s->stream, &scan, err);
}

/* Candidates of rows row .. end - 1 for all queries, with their counts. */
int ms_gpu_scan_rows(ms_gpu_search *s, const ms_gpu_window *w, int64_t row, int64_t end,
                     msim_error *err) {
    ms_gpu_report *report = s->device.report;
    int rc = ms_gpu_fill(s->stream, report->n_candidates, 0, sizeof report->n_candidates, err);
    const ms_slice *slice = ms_slices_find(&s->rows, row);
    if (rc < 0 || !ms_plan_reads_codes(s->plan.scan))
        return rc < 0 ? rc : scan_piece(s, w, slice, row, end, err);
    for (; row < end && rc >= 0; slice++) {
        int64_t to = slice->first_row + slice->n_rows < end ? slice->first_row + slice->n_rows
                                                            : end;
        rc = scan_piece(s, w, slice, row, to, err);
        row = to;
    }
    return rc;
}
