/* Reports: the public functions of include/midisim.h. */
#include "report/report.h"
#include "base/sized.h"
#include <string.h>

void msim_report_options_init(msim_report_options *options) {
    const msim_report_options defaults = {.size = sizeof defaults,
                                          .max_piece_notes = 50000,
                                          .max_notes = 2000000,
                                          .max_groups = 500,
                                          .max_points = 5000,
                                          .max_point_notes = 64};
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

void msim_report_match_init(msim_report_match *match) {
    const msim_report_match defaults = {.size = sizeof defaults,
                                        .piece = -1,
                                        .chance = -1,
                                        .query_from = -1,
                                        .query_to = -1,
                                        .from = -1,
                                        .to = -1};
    (void)ms_sized_out(match, &defaults, sizeof defaults);
}

static int check(const msim_report_options *o, msim_error *err) {
    if (o->max_piece_notes < 0 || o->max_notes < 0 || o->max_groups < 0 || o->max_points < 0 ||
        o->max_point_notes < 0)
        return ms_fail(err, MSIM_E_ARG, "report: expected numbers from 0 on in its options");
    if (o->n_roots > 0 && !o->roots)
        return ms_fail(err, MSIM_E_ARG, "report: expected roots, got none");
    return MSIM_OK;
}

static int copy_texts(msim_report *r, msim_error *err) {
    r->title = ms_mem_copy_text(r->o.title ? r->o.title : "", "a title", err);
    if (!r->title) return -MSIM_E_MEMORY;
    r->roots = ms_alloc(r->o.n_roots, sizeof *r->roots, "roots", err);
    if (!r->roots) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < r->o.n_roots; i++) {
        r->roots[i] = ms_mem_copy_text(r->o.roots[i], "a root", err);
        if (!r->roots[i]) return -MSIM_E_MEMORY;
    }
    return MSIM_OK;
}

int msim_report_open(const msim_report_options *options, msim_report **out, msim_error *err) {
    *out = NULL;
    msim_report *r = ms_alloc(1, sizeof *r, "report", err);
    if (!r) return -MSIM_E_MEMORY;
    r->o.size = sizeof r->o;
    msim_report_options_init(&r->o);
    int rc = options ? ms_sized_in(&r->o, sizeof r->o, options, "report options", err) : MSIM_OK;
    if (rc >= 0) rc = check(&r->o, err);
    if (rc < 0) r->o.n_roots = 0;
    if (rc >= 0) rc = copy_texts(r, err);
    if (rc >= 0) rc = msim_note_reader_open(&r->reader, err);
    if (rc >= 0) rc = msim_aligner_open(&r->aligner, err);
    if (rc < 0) {
        msim_report_close(r);
        return rc;
    }
    msim_note_reader_keep_drums(r->reader, 1);
    *out = r;
    return MSIM_OK;
}

void msim_report_close(msim_report *r) {
    if (!r) return;
    for (size_t i = 0; i < r->n_pieces; i++) ms_report_free_piece(&r->pieces[i]);
    for (size_t i = 0; i < r->n_queries; i++) ms_json_text_free(&r->queries[i].matches);
    for (size_t i = 0; r->roots && i < r->o.n_roots; i++) ms_free(r->roots[i]);
    ms_json_text_free(&r->groups);
    ms_json_text_free(&r->map);
    msim_note_reader_close(r->reader);
    msim_aligner_close(r->aligner);
    ms_free(r->pieces);
    ms_free(r->table);
    ms_free(r->queries);
    ms_free(r->roots);
    ms_free(r->title);
    ms_free(r);
}

int ms_report_progress(const msim_report *r, const char *unit, int64_t done, int64_t all,
                       msim_error *err) {
    if (r->o.progress && r->o.progress(r->o.user, unit, done, all))
        return ms_fail(err, MSIM_E_STOPPED, "report: its progress asked to stop");
    return MSIM_OK;
}

int msim_report_get_info(const msim_report *r, msim_report_info *out) {
    const msim_report_info info = {.size = sizeof info,
                                   .pieces = (int64_t)r->n_pieces,
                                   .without_notes = r->n_without,
                                   .queries = (int64_t)r->n_queries,
                                   .matches = r->n_matches,
                                   .groups = r->n_groups + r->n_groups_left_out,
                                   .points = r->n_points,
                                   .not_found = r->n_not_found};
    return ms_sized_out(out, &info, sizeof info);
}
