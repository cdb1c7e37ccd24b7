/* One scan of a search on a CUDA device: the queries in their slots, the constants for the
 * thresholds of now, the excluded rows, and the pass over a range of rows. Queries and constants
 * are made on the device (kernels/search/prepare.cu); the host sends queries as they come, and the
 * centre of codes once for each slot. Contract: kernels/search/state.h. */
#include "kernels/search/state.h"
#include <string.h>

#define MOST_STEP ((int64_t)1 << 31) /* rows of a round: they are counted in 32 bits */

/* ---- Slots ---- */

/* The centre of a slice's codes into a slot, where it stays while the slot is the slice's. The
 * host's copy is free: what it held has been used by a round that is over. */
static int put_centre(ms_gpu_search *s, size_t slot, size_t slice, msim_error *err) {
    size_t dim = (size_t)s->rows.dim, bytes = dim * sizeof(float);
    if (s->slot_centre[slot] == slice) return MSIM_OK;
    s->slot_centre[slot] = SIZE_MAX;
    memcpy(s->host.centres + slot * dim, s->rows.slices[slice].view->codes->centre, bytes);
    int rc = ms_gpu_upload(s->stream, s->device.centres + slot * dim, s->host.centres + slot * dim,
                           bytes, err);
    if (rc >= 0) s->slot_centre[slot] = slice;
    return rc;
}

/* The group's queries, made ready in a slot. */
static int prepare_slot(ms_gpu_search *s, size_t slot, msim_error *err) {
    int scan = s->plan.scan, reads_codes = ms_plan_reads_codes(scan);
    ms_gpu_constants *c = &s->device.constants[slot];
    return ms_prepare_cuda(
        s->stream,
        &(ms_gpu_prepare){
            .scan = scan,
            .n_query = s->n_active,
            .dim = s->rows.dim,
            .queries = s->device.queries,
            .centre = reads_codes ? s->device.centres + slot * (size_t)s->rows.dim : NULL,
            .norms = s->device.norms,
            .laid_out = s->device.weights + slot * s->weights_bytes,
            .bounds = reads_codes ? s->device.bounds + slot * (size_t)s->n_queries : NULL,
            .scale = c->scale,
            .lambda = c->lambda},
        err);
}

/* Find the slot with the queries for a slice. Scans that read rows use one slot for all slices. */
static int find_slot(ms_gpu_search *s, size_t slice, size_t *out, msim_error *err) {
    int reads_codes = ms_plan_reads_codes(s->plan.scan);
    size_t slot = reads_codes ? slice % s->n_slots : 0;
    *out = slot;
    if (s->slot_slice[slot] == slice || (s->slot_slice[slot] != SIZE_MAX && !reads_codes))
        return MSIM_OK;
    s->slot_slice[slot] = slice;
    int rc = reads_codes ? put_centre(s, slot, slice, err) : MSIM_OK;
    return rc < 0 ? rc : prepare_slot(s, slot, err);
}

int ms_gpu_prepare_queries(ms_gpu_search *s, msim_error *err) {
    size_t slot;
    return find_slot(s, 0, &slot, err);
}

/* The constants of a slot for the thresholds of now. is_first: of a round, which empties the
 * lists. */
static int set_thresholds(ms_gpu_search *s, size_t slot, int is_first, msim_error *err) {
    ms_gpu_constants *c = &s->device.constants[slot];
    ms_gpu_report *report = s->device.report;
    return ms_thresholds_cuda(
        s->stream,
        &(ms_gpu_thresholds){.scan = s->plan.scan,
                             .is_ip = s->plan.is_ip,
                             .n_query = s->n_active,
                             .least = s->plan.threshold,
                             .shift = s->shift,
                             .k = s->plan.request->sink ? 0 : s->n_hits,
                             .kth_score = s->device.kth_score,
                             .n_best = report->n_best,
                             .bounds = s->device.bounds + slot * (size_t)s->n_queries,
                             .norms = s->device.norms,
                             .f32 = s->f32,
                             .threshold = c->threshold,
                             .rho_factor = c->rho_factor,
                             .upper_threshold = c->upper_threshold,
                             .n_candidates = is_first ? report->n_candidates : NULL},
        err);
}

/* ---- One scan ---- */

int64_t ms_gpu_put_excluded(ms_gpu_search *s, int64_t row, int64_t end, msim_error *err) {
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
    int64_t excluded_to = ms_gpu_put_excluded(s, row, end, err);
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

/* scale and lambda are numbers of int8 codes: other scans have none written. */
static void point_to(ms_gpu_scan *scan, const ms_gpu_constants *constants) {
    const bool is_int8 = scan->scan == MSIM_SCAN_INT8;
    scan->scale = is_int8 ? constants->scale : NULL;
    scan->lambda = is_int8 ? constants->lambda : NULL;
    scan->threshold = constants->threshold;
    scan->rho_factor = constants->rho_factor;
    scan->upper_threshold = constants->upper_threshold;
}

/* Scan rows row .. end - 1, of one slice where codes are read: what is kept goes behind the
 * candidates there are, of which there are none before the first piece of a round. */
static int scan_piece(ms_gpu_search *s, const ms_gpu_window *w, const ms_slice *slice, int64_t row,
                      int64_t end, int is_first, msim_error *err) {
    size_t slot;
    int rc = find_slot(s, (size_t)(slice - s->rows.slices), &slot, err);
    if (rc >= 0) rc = set_thresholds(s, slot, is_first, err);
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
    const ms_slice *slice = ms_slices_find(&s->rows, row);
    int rc = MSIM_OK;
    if (!ms_plan_reads_codes(s->plan.scan)) return scan_piece(s, w, slice, row, end, 1, err);
    for (int is_first = 1; row < end && rc >= 0; slice++, is_first = 0) {
        int64_t to = slice->first_row + slice->n_rows < end ? slice->first_row + slice->n_rows
                                                            : end;
        rc = scan_piece(s, w, slice, row, to, is_first, err);
        row = to;
    }
    return rc;
}
