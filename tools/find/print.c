/* Prints the answers of midisim-find as table, TSV or JSON. Contract: tools/find/find.h. */
#include "common/json.h"
#include "common/notes/agreed.h"
#include "common/texts/tsv.h"
#include "find.h"
#include <string.h>

static int print_tsv(const ms_asked *q, int64_t rank, const ms_agreed *s) {
    const msim_note_match *m = s->match;
    (void)ms_tsv_write(q->label, strlen(q->label));
    (void)ms_cli_print("\t%lld\t%s\t%.3g\t%d\t%.1f\t", (long long)rank,
                       msim_relation_name(m->relation), m->evalue, m->is_significant, m->score);
    (void)ms_agreed_print_notes(s);
    (void)ms_cli_print("\t%d\t", m->transpose);
    (void)ms_agreed_print_place(s);
    (void)ms_cli_write("\t", 1);
    (void)ms_tsv_write(s->piece.name, s->piece.name_bytes);
    return ms_cli_write("\n", 1);
}

static int print_json(const ms_find_out *out, const ms_asked *q, msim_error *err) {
    ms_json_text line = {0};
    static const char query[] = "{\"query\":", heard[] = "{\"heard\":", notes[] = ",\"notes\":",
                      matches[] = ",\"matches\":";
    if (out->settings->is_stream) {
        ms_json_put(&line, heard, sizeof heard - 1);
        ms_json_put_int(&line, out->n_heard);
    } else {
        ms_json_put(&line, query, sizeof query - 1);
        ms_json_put_string(&line, q->label, strlen(q->label));
    }
    ms_json_put(&line, notes, sizeof notes - 1);
    ms_json_put_int(&line, (int64_t)q->n_notes);
    ms_json_put(&line, matches, sizeof matches - 1);
    int rc = ms_agreed_put_json(out->notes, q, &line, err);
    ms_json_put(&line, "}\n", 2);
    if (rc >= 0 && ms_cli_write_json_text(&line) < 0) rc = -MSIM_E_STOPPED;
    ms_json_text_free(&line);
    return rc;
}

/* ---- Table ---- */

static void print_heads(const ms_find_out *out, const ms_asked *q) {
    char count[32];
    (void)ms_cli_style(MS_CLI_BOLD);
    (void)ms_cli_write(q->label, strlen(q->label));
    (void)ms_cli_style(MS_CLI_PLAIN);
    if (out->settings->is_stream)
        (void)ms_cli_print(" notes have come; the latest %s count\n",
                           ms_cli_count(count, (int64_t)q->n_notes));
    else
        (void)ms_cli_print(" (%s notes)\n", ms_cli_count(count, (int64_t)q->n_notes));
    if (q->n_matches) (void)ms_agreed_print_heads();
}

static int print_line_of_chance(const ms_find_out *out) {
    (void)ms_cli_style(MS_CLI_DIM);
    int rc = ms_cli_print("      ---- chance gives such matches too (E above %g) ----\n",
                          out->settings->evalue);
    (void)ms_cli_style(MS_CLI_PLAIN);
    return rc;
}

/* ---- All formats ---- */

int ms_find_begin(const ms_find_out *out) {
    if (out->settings->format != MS_FIND_TSV) return 0;
    return ms_cli_print("query\trank\trelation\tevalue\tsignificant\tscore\t" MS_AGREED_NOTES_HEAD
                        "\ttranspose\t" MS_AGREED_PLACE_HEAD "\tname\n");
}

static int print_rows(ms_find_out *out, const ms_asked *q, msim_error *err) {
    const bool is_table = out->settings->format == MS_FIND_TABLE;
    int rc = 0, written = 0;
    if (is_table && out->n_printed) (void)ms_cli_write("\n", 1);
    if (is_table) print_heads(out, q);
    if (is_table && q->n_matches == 0) written = ms_cli_print("      nothing like it\n");
    for (int64_t i = 0; i < q->n_matches && rc >= 0 && written == 0; i++) {
        ms_agreed s;
        const bool is_first_chance = !q->matches[i].is_significant &&
                                     (i == 0 || q->matches[i - 1].is_significant);
        if (is_table && is_first_chance) (void)print_line_of_chance(out);
        rc = ms_agreed_load(out->notes, q, i, &s, err);
        if (rc >= 0) written = is_table ? ms_agreed_print_row(i + 1, &s) : print_tsv(q, i + 1, &s);
        ms_agreed_free(&s);
    }
    return rc < 0 ? rc : written < 0 ? -MSIM_E_STOPPED : 0;
}

int ms_find_print(ms_find_out *out, const ms_asked *q) {
    msim_error err = {0};
    int rc = out->settings->format == MS_FIND_JSON ? print_json(out, q, &err)
                                                   : print_rows(out, q, &err);
    out->n_printed++;
    if (rc < 0 && rc != -MSIM_E_STOPPED) ms_cli_error("%s", err.text);
    return rc;
}
