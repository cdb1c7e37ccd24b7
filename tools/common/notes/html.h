/* --html FILE of several tools: the report of the library, filled with what a tool found. */
#ifndef MS_TOOLS_COMMON_NOTES_HTML_H
#define MS_TOOLS_COMMON_NOTES_HTML_H
#include "common/notes/asked.h"

typedef struct {
    msim_report *report; /* owned; NULL: --html was not given */
    const char *path;    /* borrowed, as is notes */
    const msim_notes *notes;
} ms_html;

#define MS_CLI_ROW_HTML(settings)                                                                 \
    {                                                                                             \
        .name = "html", .kind = MS_CLI_TEXT, .value = "FILE", .offset = offsetof(settings, html), \
        .help = "also write a report: one HTML file that shows and plays what was found, and "    \
                "needs no network"                                                                \
    }

/* Before the work: refuse to write a report to standard output, or over a file that is no page. */
int ms_html_check(const char *path, msim_error *err);
/* path NULL: there is none, and nothing below does anything. root: one more folder, or NULL. notes:
 * an index that has the notes of pieces, or NULL. */
int ms_html_open(const char *path, const ms_cli_texts *roots, const char *root,
                 const msim_notes *notes, ms_html *out, msim_error *err);
void ms_html_close(ms_html *html);

/* A query: a file, or with path NULL the notes that were asked, or without `asked` a piece below a
 * root. from, to: seconds, or -1. Returns its number. */
int64_t ms_html_query(ms_html *html, const char *label, size_t n, const char *path,
                      const ms_asked *asked, double from, double to, msim_error *err);
/* The piece of the note index that a match is, in the report. */
int64_t ms_html_piece(ms_html *html, const msim_note_match *match, msim_error *err);
/* All matches of a query that was answered by notes. */
int ms_html_found(ms_html *html, int64_t query, const ms_asked *asked, msim_error *err);
/* Write the file, and say what it has. */
int ms_html_write(const ms_html *html, msim_error *err);

#endif
