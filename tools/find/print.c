/* Prints the answers of midisim-find as table, TSV or JSON. Contract: tools/find/find.h. */
#include "base/text/json.h"
#include "common/json.h"
#include "common/texts/tsv.h"
#include "find.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* One match with what the index knows about its piece. */
typedef struct {
    const msim_note_match *match;
    msim_notes_piece piece;
    msim_loaded_piece *loaded; /* owned */
    msim_piece_notes notes;
    int64_t bar, query_bar;
    double beat, query_beat;
} shown_match;

void ms_find_bar(const msim_bar *bars, size_t n, double seconds, int64_t *bar, double *beat) {
    size_t low = 0, high = n; /* bars[low] begins at or before the time */
    const double ms = seconds * 1000 + 0.5;
    *bar = 0;
    *beat = 0;
    if (n == 0 || ms < bars[0].start_ms) return;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (bars[middle].start_ms <= ms)
            low = middle;
        else
            high = middle;
    }
    *bar = (int64_t)low + 1;
    const size_t like = low + 1 < n ? low : low > 0 ? low - 1 : low; /* the last bar's length */
    const double length = like + 1 < n ? bars[like + 1].start_ms - (double)bars[like].start_ms : 0;
    if (length > 0) *beat = 1 + (seconds * 1000 - bars[low].start_ms) / length * bars[low].beats;
    if (*beat < 1) *beat = 1;
}

static int load(const ms_find_out *out, const ms_find_query *q, int64_t i, shown_match *s,
                msim_error *err) {
    *s = (shown_match){.match = &q->matches[i],
                       .piece = {.size = sizeof s->piece},
                       .notes = {.size = sizeof s->notes}};
    if (msim_notes_get_piece(out->notes, s->match->piece, &s->piece) < 0)
        return ms_fail(err, MSIM_E_FORMAT, "the index is damaged: build it again");
    int rc = msim_notes_load_piece(out->notes, s->match->piece, &s->loaded, &s->notes, err);
    if (rc < 0) return rc;
    ms_find_bar(s->notes.bars, s->notes.n_bars, s->match->place.from, &s->bar, &s->beat);
    ms_find_bar(q->bars, q->n_bars, s->match->place.query_from, &s->query_bar, &s->query_beat);
    return 0;
}

static const msim_voice *voice_of(const shown_match *s) {
    const size_t v = (size_t)s->match->voice;
    return v < s->notes.n_voices ? &s->notes.voices[v] : NULL;
}

/* ---- TSV ---- */

void ms_find_put_cell(const char *text, size_t n) {
    for (size_t i = 0, from = 0; i <= n; i++) {
        const char *escape = i == n ? "" : ms_tsv_escape(text[i]);
        if (!escape) continue;
        (void)ms_cli_write(text + from, i - from);
        (void)ms_cli_write(escape, strlen(escape));
        from = i + 1;
    }
}

static int print_tsv(const ms_find_query *q, int64_t rank, const shown_match *s) {
    const msim_note_match *m = s->match;
    const msim_voice *voice = voice_of(s);
    ms_find_put_cell(q->label, strlen(q->label));
    (void)ms_cli_print("\t%lld\t%s\t%.3g\t%d\t%.1f\t%lld\t%lld\t%lld\t%.3f\t%d\t%.3f",
                       (long long)rank, msim_relation_name(m->relation), m->evalue,
                       m->is_significant, m->score, (long long)m->n_matched, (long long)m->of_query,
                       (long long)m->of_piece, m->identity, m->transpose, m->tempo);
    (void)ms_cli_print("\t%.3f\t%.3f\t%lld:%.2f\t%.3f\t%.3f\t%lld:%.2f\t%d\t%d\t%lld\t",
                       m->place.query_from, m->place.query_to, (long long)s->query_bar,
                       s->query_beat, m->place.from, m->place.to, (long long)s->bar, s->beat,
                       voice ? voice->track + 1 : 0, voice ? voice->channel + 1 : 0,
                       (long long)m->n_others);
    ms_find_put_cell(s->piece.name, s->piece.name_bytes);
    return ms_cli_write("\n", 1);
}

/* ---- JSON ---- */

static void put(ms_json_text *line, const char *text) { ms_json_put(line, text, strlen(text)); }

static void put_where(ms_json_text *line, const shown_match *s) {
    const msim_note_match *m = s->match;
    const msim_voice *voice = voice_of(s);
    char text[400];
    snprintf(text, sizeof text,
             ",\"query_from\":%.3f,\"query_to\":%.3f,\"from\":%.3f,\"to\":%.3f,\"query_bar\":%lld,"
             "\"query_beat\":%.2f,\"bar\":%lld,\"beat\":%.2f",
             m->place.query_from, m->place.query_to, m->place.from, m->place.to,
             (long long)s->query_bar, s->query_beat, (long long)s->bar, s->beat);
    put(line, text);
    if (voice) {
        snprintf(text, sizeof text,
                 ",\"track\":%d,\"channel\":%d,\"program\":%d,\"voice_share\":%.3f",
                 voice->track + 1, voice->channel + 1, voice->program, m->voice_share);
        put(line, text);
        put(line, ",\"track_name\":");
        ms_json_put_string(line, voice->name, voice->name_bytes);
    }
    put(line, ",\"also\":[");
    for (int64_t i = 0; i < m->n_others; i++) {
        snprintf(text, sizeof text,
                 "%s{\"query_from\":%.3f,\"query_to\":%.3f,\"from\":%.3f,"
                 "\"to\":%.3f,\"notes\":%lld}",
                 i ? "," : "", m->others[i].query_from, m->others[i].query_to, m->others[i].from,
                 m->others[i].to, (long long)m->others[i].n_matched);
        put(line, text);
    }
    put(line, "]");
}

static void put_match(ms_json_text *line, int64_t rank, const shown_match *s) {
    const msim_note_match *m = s->match;
    char text[400];
    snprintf(text, sizeof text, "%s{\"rank\":%lld,\"name\":", rank > 1 ? "," : "", (long long)rank);
    put(line, text);
    ms_json_put_string(line, s->piece.name, s->piece.name_bytes);
    snprintf(text, sizeof text,
             ",\"relation\":\"%s\",\"same_key\":%s,\"same_tempo\":%s,\"significant\":%s,"
             "\"evalue\":%.4g,\"score\":%.2f,\"notes\":%lld,\"of\":[%lld,%lld],\"identity\":%.4f,"
             "\"transpose\":%d,\"tempo\":%.4f,\"residual\":%.4f",
             msim_relation_name(m->relation), m->is_same_key ? "true" : "false",
             m->is_same_tempo ? "true" : "false", m->is_significant ? "true" : "false", m->evalue,
             m->score, (long long)m->n_matched, (long long)m->of_query, (long long)m->of_piece,
             m->identity, m->transpose, m->tempo, m->residual);
    put(line, text);
    put_where(line, s);
    put(line, "}");
}

static int print_json(const ms_find_out *out, const ms_find_query *q, msim_error *err) {
    ms_json_text line = {0};
    shown_match s;
    int rc = 0;
    put(&line, "{\"query\":");
    ms_json_put_string(&line, q->label, strlen(q->label));
    put(&line, ",\"notes\":");
    ms_json_put_int(&line, (int64_t)q->n_notes);
    put(&line, ",\"matches\":[");
    for (int64_t i = 0; i < q->n_matches && rc >= 0; i++) {
        rc = load(out, q, i, &s, err);
        if (rc >= 0) put_match(&line, i + 1, &s);
        msim_notes_free_piece(s.loaded);
    }
    put(&line, "]}\n");
    if (rc >= 0 && ms_cli_write_json_text(&line) < 0) rc = -MSIM_E_STOPPED;
    ms_json_text_free(&line);
    return rc;
}

/* ---- Table ---- */

/* "1:05-1:38 (bar 12.3)" */
static void show_place(char *text, size_t cap, double from, double to, int64_t bar, double beat) {
    const long long a = (long long)from, b = (long long)ceil(to);
    const int n = snprintf(text, cap, "%lld:%02lld-%lld:%02lld", a / 60, a % 60, b / 60, b % 60);
    if (bar > 0 && n > 0 && (size_t)n < cap)
        snprintf(text + n, cap - (size_t)n, " %lld:%.3g", (long long)bar, floor(beat * 4) / 4);
}

static int print_row(int64_t rank, const shown_match *s) {
    const msim_note_match *m = s->match;
    const msim_voice *voice = voice_of(s);
    char query[80], place[80], agree[48], tempo[16] = "", track[16] = "", more[32] = "";
    show_place(query, sizeof query, m->place.query_from, m->place.query_to, s->query_bar,
               s->query_beat);
    show_place(place, sizeof place, m->place.from, m->place.to, s->bar, s->beat);
    snprintf(agree, sizeof agree, "%lld/%lld", (long long)m->n_matched, (long long)m->of_query);
    snprintf(tempo, sizeof tempo, "%.2f", m->tempo > 0 ? 1 / m->tempo : 0);
    if (voice && s->notes.n_voices > 1 && m->voice_share >= 0.8)
        snprintf(track, sizeof track, "%d", voice->track + 1);
    if (m->n_others) snprintf(more, sizeof more, "  +%lld places", (long long)m->n_others);
    (void)ms_cli_print("%4lld  ", (long long)rank);
    (void)ms_cli_style(m->is_significant ? MS_CLI_BOLD : MS_CLI_PLAIN);
    (void)ms_cli_print("%-16s", msim_relation_name(m->relation));
    (void)ms_cli_style(MS_CLI_PLAIN);
    (void)ms_cli_print("  %8.1e  %11s  %3.0f%%  %-21s  %-21s  %+4d  %5s  %5s  ", m->evalue, agree,
                       100.0 * (double)m->n_matched / (double)m->of_piece, query, place,
                       m->transpose, tempo, track);
    (void)ms_cli_write(s->piece.name, s->piece.name_bytes);
    return ms_cli_print("%s\n", more);
}

static void print_heads(const ms_find_query *q) {
    char count[32];
    (void)ms_cli_style(MS_CLI_BOLD);
    (void)ms_cli_write(q->label, strlen(q->label));
    (void)ms_cli_style(MS_CLI_PLAIN);
    (void)ms_cli_print(" (%s notes)\n", ms_cli_count(count, (int64_t)q->n_notes));
    if (q->n_matches == 0) return;
    (void)ms_cli_style(MS_CLI_DIM);
    (void)ms_cli_print("rank  %-16s  %8s  %11s  %4s  %-21s  %-21s  %4s  %5s  %5s  name\n",
                       "relation", "E", "notes agree", "of it", "in the query, bar",
                       "in the match, bar", "key", "tempo", "track");
    (void)ms_cli_style(MS_CLI_PLAIN);
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
    return ms_cli_print(
        "query\trank\trelation\tevalue\tsignificant\tscore\tnotes\tof_query\tof_piece"
        "\tidentity\ttranspose\ttempo\tquery_from\tquery_to\tquery_bar\tfrom\tto"
        "\tbar\ttrack\tchannel\tplaces\tname\n");
}

static int print_rows(ms_find_out *out, const ms_find_query *q, msim_error *err) {
    const bool is_table = out->settings->format == MS_FIND_TABLE;
    int rc = 0, written = 0;
    if (is_table && out->n_printed) (void)ms_cli_write("\n", 1);
    if (is_table) print_heads(q);
    if (is_table && q->n_matches == 0) written = ms_cli_print("      nothing like it\n");
    for (int64_t i = 0; i < q->n_matches && rc >= 0 && written == 0; i++) {
        shown_match s;
        const bool is_first_chance = !q->matches[i].is_significant &&
                                     (i == 0 || q->matches[i - 1].is_significant);
        if (is_table && is_first_chance) (void)print_line_of_chance(out);
        rc = load(out, q, i, &s, err);
        if (rc >= 0) written = is_table ? print_row(i + 1, &s) : print_tsv(q, i + 1, &s);
        msim_notes_free_piece(s.loaded);
    }
    return rc < 0 ? rc : written < 0 ? -MSIM_E_STOPPED : 0;
}

int ms_find_print(ms_find_out *out, const ms_find_query *q) {
    msim_error err = {0};
    int rc = out->settings->format == MS_FIND_JSON ? print_json(out, q, &err)
                                                   : print_rows(out, q, &err);
    out->n_printed++;
    if (rc < 0 && rc != -MSIM_E_STOPPED) ms_cli_error("%s", err.text);
    return rc;
}
