/* midisim-report: matches and maps as one HTML file. The library makes it; this finds what is to be
 * in it. */
#include "report.h"
#include "base/mem.h"
#include "common/notes/html.h"
#include "common/notes/open.h"
#include "common/watch.h"
#include <string.h>

typedef struct {
    const ms_reporting_settings *s;
    msim_notes *notes; /* owned, and so on */
    const char *root;
    msim_finder *finder;
    msim_report *report;
    int64_t n_failed;
} reporting;

/* ---- Files ---- */

/* A file that has no notes is in the report, and says why. */
static int64_t add_file(reporting *r, const char *path, msim_error *err) {
    msim_report_info before = {.size = sizeof before}, after = {.size = sizeof after};
    (void)msim_report_get_info(r->report, &before);
    const int64_t piece = msim_report_add_piece(r->report, path, strlen(path), path, err);
    (void)msim_report_get_info(r->report, &after);
    if (piece >= 0 && after.without_notes > before.without_notes) {
        ms_cli_error("%s: no notes can be read; the report says why", path);
        r->n_failed++;
    }
    return piece;
}

/* The first file against the others. */
static int compare_files(reporting *r, msim_error *err) {
    const ms_cli_texts *files = &r->s->common.operands;
    const int64_t piece = add_file(r, files->items[0], err);
    const int64_t query = piece < 0 ? piece : msim_report_add_query(r->report, piece, -1, -1, err);
    int64_t rc = query;
    for (size_t i = 1; i < files->n && rc >= 0 && !ms_cli_stopped(); i++) {
        msim_report_match match = msim_report_match_default();
        rc = match.piece = add_file(r, files->items[i], err);
        if (rc >= 0) rc = msim_report_add_match(r->report, query, &match, err);
        ms_cli_progress("files", (int64_t)i, (int64_t)files->n - 1);
    }
    ms_cli_progress_end();
    return rc < 0 ? (int)rc : 0;
}

/* ---- A note index ---- */

/* The notes of a file, without drums. 1; 0: it has none, which the report says. */
static int read_file(const char *path, msim_note_reader *reader, msim_piece_notes *out,
                     msim_error *err) {
    msim_error why;
    int64_t n = msim_midi_read(path, NULL, 0, &why);
    unsigned char *bytes = n > 0 ? ms_alloc((size_t)n, 1, "a MIDI file", err) : NULL;
    if (n > 0 && !bytes) return -MSIM_E_MEMORY;
    const int64_t again = bytes ? msim_midi_read(path, bytes, (size_t)n, &why) : -1;
    int rc = again > 0 && again <= n
                 ? msim_note_reader_read(reader, bytes, (size_t)again, out, &why)
                 : -MSIM_E_IO;
    ms_free(bytes);
    if (rc == -MSIM_E_MEMORY) return ms_fail(err, MSIM_E_MEMORY, "%s", why.text);
    return rc >= 0;
}

static int find_file(reporting *r, const char *path, msim_note_reader *reader, ms_html *html,
                     msim_error *err) {
    msim_piece_notes notes = {.size = sizeof notes};
    const msim_note_match *matches = NULL;
    int64_t n = add_file(r, path, err);
    const int64_t query = n < 0 ? n : msim_report_add_query(r->report, n, -1, -1, err);
    if (query < 0) return (int)query;
    int rc = read_file(path, reader, &notes, err);
    if (rc <= 0) return rc;
    n = msim_finder_find(r->finder, notes.notes, notes.n_notes, &matches, err);
    if (n < 0) return (int)n;
    ms_asked asked = {.matches = (msim_note_match *)matches, .n_matches = n};
    return ms_html_found(html, query, &asked, err);
}

static int find_files(reporting *r, msim_error *err) {
    const ms_cli_texts *files = &r->s->common.operands;
    ms_html html = {.report = r->report, .notes = r->notes};
    msim_note_reader *reader;
    int rc = msim_note_reader_open(&reader, err);
    for (size_t i = 0; i < files->n && rc >= 0 && !ms_cli_stopped(); i++) {
        rc = find_file(r, files->items[i], reader, &html, err);
        ms_cli_progress("files", (int64_t)i + 1, (int64_t)files->n);
    }
    ms_cli_progress_end();
    msim_note_reader_close(reader);
    return rc;
}

static int open_index(reporting *r, msim_error *err) {
    msim_finder_options o = msim_finder_options_default();
    if (!r->s->index) return 0;
    int rc =
        ms_noteindex_open(r->s->index, ms_cli_threads(&r->s->common), &r->notes, &r->root, err);
    o.max_matches = r->s->top;
    o.evalue = r->s->evalue;
    return rc < 0 ? rc : msim_finder_open(r->notes, &o, &r->finder, err);
}

/* ---- The whole ---- */

static int open_report(reporting *r, msim_error *err) {
    msim_report_options o = msim_report_options_default();
    const char **roots = ms_alloc(r->s->roots.n + 1, sizeof *roots, "folders", err);
    if (!roots) return -MSIM_E_MEMORY;
    if (r->s->roots.n) memcpy(roots, r->s->roots.items, r->s->roots.n * sizeof *roots);
    o.n_roots = r->s->roots.n;
    if (r->root) roots[o.n_roots++] = r->root;
    o.roots = roots;
    o.notes = r->notes;
    o.title = r->s->title;
    o.max_points = r->s->points;
    o.progress = ms_cli_unit_progress;
    int rc = msim_report_open(&o, &r->report, err);
    ms_free(roots);
    return rc;
}

/* The points of a layout: a file of rows of two, which may be any that a corpus may be. */
static int read_layout(const char *path, float **points, int64_t *n, msim_error *err) {
    msim_corpus *layout;
    msim_corpus_info info = {.size = sizeof info};
    int rc = msim_corpus_open(path, NULL, &layout, err);
    if (rc < 0) return rc;
    (void)msim_corpus_get_info(layout, &info);
    *n = info.rows;
    if (info.dim != 2)
        rc = ms_fail(err, MSIM_E_ARG, "layout: %s: expected rows of 2 numbers, got rows of %lld",
                     path, (long long)info.dim);
    *points = rc < 0 ? NULL : ms_alloc((size_t)*n, 2 * sizeof **points, "a layout", err);
    if (rc >= 0) rc = *points ? msim_corpus_vectors(layout, 0, *n, *points, err) : -MSIM_E_MEMORY;
    if (rc >= 0) rc = msim_corpus_check(layout, err);
    msim_corpus_close(layout);
    return rc;
}

static int add_layout(reporting *r, const msim_corpus *corpus, msim_error *err) {
    float *points = NULL;
    int64_t n = 0;
    msim_error why;
    int rc = read_layout(r->s->layout, &points, &n, err);
    if (rc >= 0) {
        rc = msim_report_add_layout(r->report, corpus, points, n, &why);
        if (rc < 0) (void)ms_fail(err, -rc, "%s: %s", r->s->layout, why.text);
    }
    ms_free(points);
    return rc;
}

static int add_map(reporting *r, msim_error *err) {
    msim_corpus *corpus;
    if (!r->s->map) return 0;
    int rc = msim_corpus_open(r->s->map, NULL, &corpus, err);
    if (rc < 0) return rc;
    rc = r->s->layout ? add_layout(r, corpus, err) : msim_report_add_map(r->report, corpus, err);
    ms_cli_progress_end();
    msim_corpus_close(corpus);
    return rc;
}

static int run(const ms_reporting_settings *s) {
    reporting r = {.s = s};
    msim_error err = {0};
    int rc = ms_html_check(s->output, &err);
    if (rc >= 0) rc = open_index(&r, &err);
    if (rc >= 0) rc = open_report(&r, &err);
    if (rc >= 0 && s->common.operands.n)
        rc = s->index ? find_files(&r, &err) : compare_files(&r, &err);
    if (rc >= 0 && !ms_cli_stopped()) rc = add_map(&r, &err);
    if (rc >= 0 && !ms_cli_stopped()) {
        const ms_html html = {.report = r.report, .path = s->output};
        rc = ms_html_write(&html, &err);
    }
    if (rc < 0 && !ms_cli_stopped()) ms_cli_error("%s", err.text);
    msim_report_close(r.report);
    msim_finder_close(r.finder);
    msim_notes_close(r.notes);
    return rc < 0 ? rc : r.n_failed ? -MSIM_E_EMPTY : 0;
}

int main(int argc, char **argv) {
    static ms_reporting_settings s = {.top = 16, .points = 5000, .evalue = 1e-3};
    int rc = ms_cli_parse(&ms_reporting_tool, argc, argv, &s);
    if (rc == 0) rc = ms_reporting_check(&s);
    if (rc != 0) return ms_cli_finish(rc);
    ms_cli_catch_signals();
    return ms_cli_finish(run(&s));
}
