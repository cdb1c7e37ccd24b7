/* Contract: tools/common/notes/html.h. */
#include "common/notes/html.h"
#include "base/file.h"
#include "base/mem.h"
#include "common/watch.h"
#include <string.h>

int ms_html_check(const char *path, msim_error *err) {
    if (strcmp(path, "-") == 0)
        return ms_fail(err, MSIM_E_ARG, "a report cannot go to standard output: give a file name");
    return ms_file_check_replace(path, "<!doctype html>", "an HTML page", err);
}

int ms_html_open(const char *path, const ms_cli_texts *roots, const char *root,
                 const msim_notes *notes, ms_html *out, msim_error *err) {
    msim_report_options o = msim_report_options_default();
    *out = (ms_html){.path = path, .notes = notes};
    int rc = path ? ms_html_check(path, err) : 0;
    if (!path || rc < 0) return rc;
    const char **all = ms_alloc(roots->n + 1, sizeof *all, "folders", err);
    if (!all) return -MSIM_E_MEMORY;
    if (roots->n) memcpy(all, roots->items, roots->n * sizeof *all);
    o.n_roots = roots->n;
    if (root) all[o.n_roots++] = root;
    o.roots = all;
    o.notes = notes;
    o.progress = ms_cli_unit_progress;
    rc = msim_report_open(&o, &out->report, err);
    ms_free(all);
    return rc;
}

void ms_html_close(ms_html *h) {
    msim_report_close(h->report);
    *h = (ms_html){0};
}

/* Typed notes have no voices of their own: they sound as a piano. */
static int64_t add_asked(ms_html *h, const char *label, size_t n, const ms_asked *asked,
                         msim_error *err) {
    const msim_piece_notes piece = {.size = sizeof piece,
                                    .notes = asked->notes,
                                    .n_notes = asked->n_notes,
                                    .voices = asked->voices,
                                    .n_voices = asked->n_voices,
                                    .bars = asked->bars,
                                    .n_bars = asked->n_bars};
    return msim_report_add_notes(h->report, label, n, &piece, err);
}

int64_t ms_html_query(ms_html *h, const char *label, size_t n, const char *path,
                      const ms_asked *asked, double from, double to, msim_error *err) {
    const int64_t piece = path || !asked ? msim_report_add_piece(h->report, label, n, path, err)
                                         : add_asked(h, label, n, asked, err);
    return piece < 0 ? piece : msim_report_add_query(h->report, piece, from, to, err);
}

int64_t ms_html_piece(ms_html *h, const msim_note_match *match, msim_error *err) {
    msim_notes_piece piece = {.size = sizeof piece};
    if (msim_notes_get_piece(h->notes, match->piece, &piece) < 0)
        return ms_fail(err, MSIM_E_FORMAT, "the note index is damaged: build it again");
    return msim_report_add_piece(h->report, piece.name, piece.name_bytes, NULL, err);
}

int ms_html_found(ms_html *h, int64_t query, const ms_asked *asked, msim_error *err) {
    for (int64_t i = 0; i < asked->n_matches; i++) {
        msim_report_match match = msim_report_match_default();
        match.notes = &asked->matches[i];
        match.piece = ms_html_piece(h, match.notes, err);
        if (match.piece < 0) return (int)match.piece;
        const int64_t rc = msim_report_add_match(h->report, query, &match, err);
        if (rc < 0) return (int)rc;
    }
    return 0;
}

int ms_html_write(const ms_html *h, msim_error *err) {
    msim_report_info info = {.size = sizeof info};
    char pieces[32], without[32];
    if (!h->report) return 0;
    int rc = msim_report_write(h->report, h->path, err);
    if (rc < 0) return rc;
    (void)msim_report_get_info(h->report, &info);
    const char *plural = ms_cli_plural(info.pieces);
    ms_cli_count(pieces, info.pieces);
    if (info.points)
        ms_cli_note("wrote %s: %s piece%s, a map of %s point%s", h->path, pieces, plural,
                    ms_cli_count(without, info.points), ms_cli_plural(info.points));
    else if (info.without_notes)
        ms_cli_note("wrote %s: %s piece%s, %s of them without notes, which cannot be shown%s",
                    h->path, pieces, plural, ms_cli_count(without, info.without_notes),
                    info.not_found ? ": --midi-root names the folder of their files" : "");
    else
        ms_cli_note("wrote %s: %s piece%s", h->path, pieces, plural);
    return 0;
}
