/* Pieces that share notes with a query, printed beside those that are alike: --find. Contract:
 * tools/search/print/results.h. */
#include "common/texts/place.h"
#include "common/texts/tsv.h"
#include "results.h"
#include <errno.h>
#include <string.h>

#define HEAD "\trelation\tevalue\tbits\t" MS_AGREED_NOTES_HEAD "\t" MS_AGREED_PLACE_HEAD

/* Printing failed for another reason than the output: nothing more is written, and it was said. */
static int failed(const msim_error *err) {
    ms_cli_error("%s", err->text);
    return ms_cli_output_failed(err->code == MSIM_E_MEMORY ? ENOMEM : EIO);
}

/* ---- TSV ---- */

int ms_results_music_head(void) { return ms_cli_print("%s", HEAD); }

static bool is_column(const char *at, const char *name) {
    const size_t n = strlen(name);
    return strncmp(at, name, n) == 0 && (at[n] == '\t' || at[n] == 0);
}

int ms_results_music_gap(const ms_results_out *out, const ms_results_query *query, int64_t i) {
    char bar[MS_PLACE_CHARS], query_bar[MS_PLACE_CHARS];
    const msim_bar_span there = ms_results_bars(out, query->matches + i),
                        here = query->bars ? query->bars[i] : (msim_bar_span){0};
    int rc = 0;
    ms_place_bar(bar, there.from_bar, there.from_beat);
    ms_place_bar(query_bar, here.from_bar, here.from_beat);
    for (const char *c = HEAD; (c = strchr(c, '\t'));) {
        rc = ms_cli_write(c++, 1);
        if (out->has_spans && is_column(c, "bar")) rc = ms_cli_print("%s", bar);
        if (out->has_spans && is_column(c, "query_bar")) rc = ms_cli_print("%s", query_bar);
    }
    return rc;
}

static int print_tsv(const ms_results_out *out, const ms_results_query *query, int64_t rank,
                     const ms_agreed *s) {
    const msim_note_match *m = s->match;
    (void)ms_cli_print("find\t");
    (void)ms_tsv_write(query->label, query->n_label);
    (void)ms_cli_print("\t%lld\t\t%d\t\t", (long long)rank, m->transpose);
    (void)ms_tsv_write(s->piece.name, s->piece.name_bytes);
    if (out->has_spans) (void)ms_cli_print("\t\t\t\t\t\t\t\t");
    if (out->searcher) (void)ms_cli_print("\t\t\t");
    (void)ms_cli_print("\t%s\t%.3g\t%.1f\t", msim_relation_name(m->relation), m->evalue, m->score);
    (void)ms_agreed_print_notes(s);
    (void)ms_cli_write("\t", 1);
    (void)ms_agreed_print_place(s);
    return ms_cli_write("\n", 1);
}

/* Every match, as a row of TSV or of the table. */
static int print_all(const ms_results_out *out, const ms_results_query *query, bool is_table) {
    int rc = 0;
    msim_error err;
    for (int64_t i = 0; query->asked && i < query->asked->n_matches && rc == 0; i++) {
        ms_agreed s;
        if (ms_agreed_load(out->notes, query->asked, i, &s, &err) < 0)
            rc = failed(&err);
        else
            rc = is_table ? ms_agreed_print_row(i + 1, &s) : print_tsv(out, query, i + 1, &s);
        ms_agreed_free(&s);
    }
    return rc;
}

int ms_results_music_rows(const ms_results_out *out, const ms_results_query *query) {
    return print_all(out, query, false);
}

/* ---- Table ---- */

static void print_heading(const char *text) {
    (void)ms_cli_style(MS_CLI_BOLD);
    (void)ms_cli_print("%s\n", text);
    (void)ms_cli_style(MS_CLI_PLAIN);
}

int ms_results_music_table(const ms_results_out *out, const ms_results_query *query) {
    int rc = 0;
    print_heading("The same music: pieces that share its notes");
    if (!query->asked)
        (void)ms_cli_print("not known: the query has no notes here\n");
    else if (query->asked->n_matches == 0)
        (void)ms_cli_print("none: no piece shares more notes with it than chance gives\n");
    else
        rc = ms_agreed_print_heads();
    if (rc == 0) rc = print_all(out, query, true);
    print_heading("Alike: pieces whose vectors are near");
    return rc;
}

/* ---- JSON ---- */

void ms_results_music_json(const ms_results_out *out, const ms_results_query *query,
                           ms_json_text *line) {
    static const char notes[] = ",\"notes\":", find[] = ",\"find\":", null[] = "null";
    msim_error err;
    ms_json_put(line, notes, sizeof notes - 1);
    if (query->asked)
        ms_json_put_int(line, (int64_t)query->asked->n_notes);
    else
        ms_json_put(line, null, sizeof null - 1);
    ms_json_put(line, find, sizeof find - 1);
    if (!query->asked)
        ms_json_put(line, null, sizeof null - 1);
    else if (ms_agreed_put_json(out->notes, query->asked, line, &err) < 0)
        (void)failed(&err);
}
