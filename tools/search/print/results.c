/* Contract: tools/search/print/results.h. */
#define _GNU_SOURCE
#include "results.h"
#include "base/mem.h"
#include "base/text/utf8.h"
#include "common/json.h"
#include "common/texts/place.h"
#include "common/texts/tsv.h"
#include "listing.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The original's list ---- */

/* Matches in rank order are, of each variant, in the order of its row of the original's matrix. */
static int64_t merge_as_original(const msim_corpus *corpus, const msim_match *matches, int64_t n,
                                 int64_t n_variants, bool keeps_all, int64_t *rows, float *sims,
                                 ms_listing_entry *entries) {
    enum { MOST_VARIANTS = 12 };
    int64_t k = n / n_variants, n_put[MOST_VARIANTS] = {0};
    for (int64_t i = 0; i < n; i++) {
        int64_t v = matches[i].transpose + n_variants / 2, at = v * k + n_put[v]++;
        int64_t piece = msim_corpus_piece_of(corpus, matches[i].row, NULL);
        rows[at] = msim_corpus_piece_first(corpus, piece, NULL);
        sims[at] = (float)matches[i].score;
    }
    return ms_listing_merge(rows, sims, (size_t)n_variants, (size_t)k, keeps_all, entries);
}

int64_t ms_results_as_original(const msim_corpus *corpus, const msim_match *matches, int64_t n,
                               int64_t n_variants, bool keeps_all, msim_match *out,
                               msim_error *err) {
    int64_t *rows = ms_alloc((size_t)n, sizeof *rows, "matches", err), n_entries = -1;
    float *sims = rows ? ms_alloc((size_t)n, sizeof *sims, "matches", err) : NULL;
    ms_listing_entry *entries = sims ? ms_alloc((size_t)n, sizeof *entries, "matches", err) : NULL;
    if (entries) {
        n_entries =
            merge_as_original(corpus, matches, n, n_variants, keeps_all, rows, sims, entries);
        if (n_entries < 0) ms_fail(err, MSIM_E_MEMORY, "out of memory: merging matches");
    }
    for (int64_t i = 0; i < n_entries; i++)
        out[i] = (msim_match){.row = entries[i].row,
                              .score = (double)entries[i].similarity,
                              .transpose = entries[i].transpose,
                              .from_seconds = -1.0,
                              .to_seconds = -1.0,
                              .from_token = -1,
                              .to_token = -1};
    ms_free(rows);
    ms_free(sims);
    ms_free(entries);
    return n_entries < 0 ? -MSIM_E_MEMORY : n_entries;
}

/* ---- Text on a terminal ---- */

/* Ranges of code points two columns wide (East Asian wide and the usual emoji) and of none
 * (combining, invisible). */
static const unsigned wide[][2] = {{0x1100, 0x115f},   {0x2e80, 0x303e},
                                   {0x3041, 0xa4cf},   {0xa960, 0xa97f},
                                   {0xac00, 0xd7a3},   {0xf900, 0xfaff},
                                   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                                   {0xffe0, 0xffe6},   {0x1f300, 0x1f64f},
                                   {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff},
                                   {0x20000, 0x3fffd}, {0, 0}};
static const unsigned none[][2] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},
                                   {0x610, 0x61a},   {0x64b, 0x65f},   {0x1ab0, 0x1aff},
                                   {0x1dc0, 0x1dff}, {0x200b, 0x200f}, {0x20d0, 0x20ff},
                                   {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0, 0}};

static bool is_in(const unsigned (*ranges)[2], unsigned point) {
    for (; (*ranges)[1]; ranges++)
        if (point >= (*ranges)[0] && point <= (*ranges)[1]) return true;
    return false;
}

/* The next character: its bytes, and its columns. *shown is false for what a terminal must not get:
 * control characters, bytes that are not UTF-8, and the marks that turn the direction of
 * writing. */
static size_t next_char(const char *text, size_t n, size_t *columns, bool *shown) {
    uint32_t point = 0;
    size_t len = ms_utf8_next(text, n, &point);
    *shown = len > 0 && ms_utf8_is_safe(point);
    *columns = !*shown ? 1 : is_in(none, point) ? 0 : is_in(wide, point) ? 2 : 1;
    return len ? len : 1;
}

size_t ms_results_width(const char *text, size_t n) {
    size_t width = 0, columns;
    bool shown;
    for (size_t i = 0; i < n; width += columns) i += next_char(text + i, n - i, &columns, &shown);
    return width;
}

size_t ms_results_fit(const char *text, size_t n, size_t columns, char *out) {
    size_t width = ms_results_width(text, n), at = 0, seen = 0, w;
    /* The end of a path says more than its beginning. */
    size_t head = columns > 1 ? (columns - 1) * 2 / 5 : 0,
           tail = columns > 1 ? columns - 1 - head : 0;
    bool shown, is_cut = width > columns, has_gap = false;
    for (size_t i = 0, len; i < n; i += len, seen += w) {
        len = next_char(text + i, n - i, &w, &shown);
        if (is_cut && seen + w > head && seen < width - tail) {
            if (!has_gap) at += (size_t)snprintf(out + at, 4, "\xe2\x80\xa6");
            has_gap = true;
            continue;
        }
        /* a mark whose letter is gone */
        if (is_cut && w == 0 && has_gap && seen <= width - tail) continue;
        if (shown)
            memcpy(out + at, text + i, len), at += len;
        else
            out[at++] = '?';
    }
    return at;
}

/* ---- Printing ---- */

int64_t ms_results_name(ms_results_out *out, int64_t row) {
    int64_t n = msim_corpus_name(out->corpus, row, out->name, out->name_cap);
    if (n < 0 || (size_t)n < out->name_cap) return n;
    int rc = ms_grow((void **)&out->name, &out->name_cap, (size_t)n + 1, 1, "a row's name", NULL);
    return rc < 0 ? rc : msim_corpus_name(out->corpus, row, out->name, out->name_cap);
}

/* Printing has no memory: nothing more is written, and the end says so. */
static int no_memory(void) { return ms_cli_output_failed(ENOMEM); }

msim_bar_span ms_results_bars(const ms_results_out *out, const msim_match *match) {
    msim_bar_span bars;
    bool has_bars = out->has_bars && match->from_seconds >= 0;
    return has_bars && msim_corpus_bars(out->corpus, match->row, &bars, NULL) >= 0
               ? bars
               : (msim_bar_span){0};
}

#define SPANS_HEAD \
    "\tfrom_token\tto_token\tfrom_seconds\tto_seconds\tquery_from_seconds\tquery_to_seconds"
#define BARS_HEAD "\tbar\tto_bar\tquery_bar\tquery_to_bar"
#define TO_BARS_HEAD "\tto_bar\tquery_to_bar" /* with --find, which has the other two */

int ms_results_begin(ms_results_out *out) {
    if (out->format != MS_RESULTS_TSV) return 0;
    (void)ms_cli_print("%squery\trank\tscore\ttranspose\trow\tname%s%s", out->notes ? "kind\t" : "",
                       out->has_spans ? out->notes ? SPANS_HEAD TO_BARS_HEAD : SPANS_HEAD BARS_HEAD
                                      : "",
                       out->searcher ? "\tp\tchance_matches\tlikeness" : "");
    if (out->notes) (void)ms_results_music_head();
    return ms_cli_write("\n", 1);
}

/* What match i's score means; asked for where out->searcher is set alone. */
static msim_meaning meaning_of(const ms_results_out *out, int64_t i) {
    msim_meaning meaning = {.size = sizeof meaning};
    if (msim_searcher_explain(out->searcher, out->answer, i, &meaning) < 0)
        meaning = (msim_meaning){.p = 1.0, .matches = 1.0};
    return meaning;
}

static int print_tsv_meaning(const ms_results_out *out, int64_t i) {
    msim_meaning meaning = meaning_of(out, i);
    return ms_cli_print("\t%.3g\t%.3g\t%s", meaning.p, meaning.matches,
                        msim_likeness_name(meaning.likeness));
}

/* Where a match is, in the columns of SPANS_HEAD and BARS_HEAD. */
static int print_tsv_places(const ms_results_out *out, const ms_results_query *query, int64_t i) {
    const msim_match *m = query->matches + i;
    const msim_bar_span there = ms_results_bars(out, m),
                        here = query->bars ? query->bars[i] : (msim_bar_span){0};
    char bar[MS_PLACE_CHARS], to_bar[MS_PLACE_CHARS], from[MS_PLACE_CHARS], to[MS_PLACE_CHARS];
    ms_place_bar(bar, there.from_bar, there.from_beat);
    ms_place_bar(to_bar, there.to_bar, there.to_beat);
    ms_place_bar(from, here.from_bar, here.from_beat);
    ms_place_bar(to, here.to_bar, here.to_beat);
    (void)ms_cli_print("\t%lld\t%lld\t%.3f\t%.3f\t%.3f\t%.3f", (long long)m->from_token,
                       (long long)m->to_token, m->from_seconds, m->to_seconds,
                       query->spans ? query->spans[i].from_seconds : -1.0,
                       query->spans ? query->spans[i].to_seconds : -1.0);
    return out->notes ? ms_cli_print("\t%s\t%s", to_bar, to)
                      : ms_cli_print("\t%s\t%s\t%s\t%s", bar, to_bar, from, to);
}

static int print_tsv(ms_results_out *out, const ms_results_query *query) {
    const msim_match *matches = query->matches;
    int rc = out->notes ? ms_results_music_rows(out, query) : 0;
    for (int64_t i = 0; i < query->n && rc == 0; i++) {
        if (out->notes) (void)ms_cli_print("alike\t");
        rc = ms_tsv_write(query->label, query->n_label);
        if (rc == 0)
            rc = ms_cli_print("\t%lld\t%.9g\t%d\t%lld\t", (long long)(i + 1),
                              (double)(float)matches[i].score, matches[i].transpose,
                              (long long)matches[i].row);
        int64_t n_name = ms_results_name(out, matches[i].row);
        if (n_name < 0) rc = no_memory();
        if (rc == 0) rc = ms_tsv_write(out->name, (size_t)n_name);
        if (rc == 0 && out->has_spans) rc = print_tsv_places(out, query, i);
        if (rc == 0 && out->searcher) rc = print_tsv_meaning(out, i);
        if (rc == 0 && out->notes) rc = ms_results_music_gap(out, query, i);
        if (rc == 0) rc = ms_cli_write("\n", 1);
    }
    return rc;
}

static void put_text(ms_json_text *line, const char *text) {
    ms_json_put(line, text, strlen(text));
}

/* What f32 holds of a score; null for what JSON cannot say. */
static void put_score(ms_json_text *line, double score) {
    char number[32];
    snprintf(number, sizeof number, "%.9g", (double)(float)score);
    put_text(line, isfinite((float)score) ? number : "null");
}

/* Where in the piece; nothing for rows that are whole pieces. */
static void put_span(ms_json_text *line, const msim_match *match) {
    char text[160];
    snprintf(text, sizeof text,
             ",\"from_token\":%lld,\"to_token\":%lld,\"from_seconds\":%.3f,\"to_seconds\":%.3f",
             (long long)match->from_token, (long long)match->to_token, match->from_seconds,
             match->to_seconds);
    if (match->from_token >= 0) put_text(line, text);
}

/* Where that is in bars, if they are known; prefix: "" or "query_". */
static void put_bars(ms_json_text *line, const char *prefix, const msim_bar_span *bars) {
    char text[200];
    snprintf(text, sizeof text,
             ",\"%sbar\":%lld,\"%sbeat\":%.2f,\"%sto_bar\":%lld,\"%sto_beat\":%.2f", prefix,
             (long long)bars->from_bar, prefix, ms_place_beat(bars->from_beat), prefix,
             (long long)bars->to_bar, prefix, ms_place_beat(bars->to_beat));
    if (bars->from_bar) put_text(line, text);
}

/* Where in the query, which was cut into windows. */
static void put_query_span(ms_json_text *line, const msim_span *span) {
    char text[200];
    snprintf(text, sizeof text,
             ",\"query_from_token\":%lld,\"query_to_token\":%lld,\"query_from_seconds\":%.3f,"
             "\"query_to_seconds\":%.3f",
             (long long)span->from_token, (long long)span->to_token, span->from_seconds,
             span->to_seconds);
    put_text(line, text);
}

static void put_meaning(ms_json_text *line, const ms_results_out *out, int64_t i) {
    msim_meaning meaning = meaning_of(out, i);
    char text[128];
    snprintf(text, sizeof text, ",\"p\":%.3g,\"chance_matches\":%.3g,\"likeness\":\"%s\"",
             meaning.p, meaning.matches, msim_likeness_name(meaning.likeness));
    put_text(line, text);
}

static int print_json(ms_results_out *out, const ms_results_query *query) {
    const msim_match *matches = query->matches;
    ms_json_text line = {0};
    char number[32];
    put_text(&line, "{\"query\":");
    ms_json_put_string(&line, query->label, query->n_label);
    if (out->notes) ms_results_music_json(out, query, &line);
    put_text(&line, ",\"matches\":[");
    for (int64_t i = 0; i < query->n; i++) {
        put_text(&line, i ? ",{\"rank\":" : "{\"rank\":");
        ms_json_put_int(&line, i + 1);
        put_text(&line, ",\"row\":");
        ms_json_put_int(&line, matches[i].row);
        put_text(&line, ",\"name\":");
        int64_t n_name = ms_results_name(out, matches[i].row);
        if (n_name < 0) line.is_failed = true;
        if (n_name >= 0) ms_json_put_string(&line, out->name, (size_t)n_name);
        put_text(&line, ",\"score\":");
        put_score(&line, matches[i].score);
        put_text(&line, ",\"transpose\":");
        ms_json_put_int(&line, matches[i].transpose);
        put_span(&line, matches + i);
        msim_bar_span bars = ms_results_bars(out, matches + i);
        put_bars(&line, "", &bars);
        if (query->spans) put_query_span(&line, query->spans + i);
        if (query->bars) put_bars(&line, "query_", query->bars + i);
        if (out->searcher) put_meaning(&line, out, i);
        put_text(&line, "}");
    }
    put_text(&line, "],\"exact\":true,\"metric\":");
    put_text(&line, out->is_product ? "\"ip\"" : "\"cosine\"");
    snprintf(number, sizeof number, "%.17g", out->threshold);
    if (out->has_threshold) put_text(&line, ",\"threshold\":");
    if (out->has_threshold) put_text(&line, number);
    put_text(&line, ",\"rows\":");
    ms_json_put_int(&line, msim_corpus_rows(out->corpus));
    put_text(&line, ",\"nonfinite_rows\":");
    ms_json_put_int(&line, out->n_nonfinite);
    put_text(&line, ",\"variants\":");
    ms_json_put_int(&line, query->n_variants);
    put_text(&line, ",\"evaluated\":");
    ms_json_put_int(&line, out->n_evaluated);
    put_text(&line, ",\"scan\":");
    ms_json_put_string(&line, out->scan, strlen(out->scan));
    put_text(&line, "}\n");
    int rc = ms_cli_write_json_text(&line);
    ms_json_text_free(&line);
    return rc;
}

/* Columns left for the name once everything before it is placed. */
static size_t name_columns(const ms_results_out *out, int before) {
    if (out->columns <= 0) return SIZE_MAX;
    return out->columns > before + 12 ? (size_t)(out->columns - before) : 12;
}

static int put_fitted(const char *text, size_t n, size_t columns) {
    char *shown = ms_alloc(4 * n + 8, 1, "a name", NULL);
    if (!shown) return no_memory();
    int rc = ms_cli_write(shown, ms_results_fit(text, n, columns, shown));
    ms_free(shown);
    return rc;
}

/* 99.12% for a cosine; a product as it is; what is no number in words. */
static void show_score(const ms_results_out *out, double score, char *text, size_t cap) {
    if (!isfinite(score))
        snprintf(text, cap, "invalid");
    else if (out->is_product)
        snprintf(text, cap, "%.5g", score);
    else
        snprintf(text, cap, "%.2f%%", 100.0 * score);
}

/* Columns of a place: "1:05-1:38", with bars "1:05-1:38 bars 12-20", to the left. */
static int place_width(const ms_results_out *out) { return out->has_bars ? -22 : 11; }

/* A place, or "all" for something whole. A stretch that ends with a bar ends where the next one
 * begins. */
static int print_place(const ms_results_out *out, double from_seconds, double to_seconds,
                       const msim_bar_span *bars) {
    char text[MS_PLACE_CHARS] = "all";
    const bool ends_bar = bars->to_bar > bars->from_bar && bars->to_beat <= 1;
    if (from_seconds >= 0)
        ms_place_passage(text, from_seconds, to_seconds, bars->from_bar, bars->to_bar - ends_bar);
    return ms_cli_print("%*s  ", place_width(out), text);
}

/* Where a match is: in the query, if that was cut, and in the piece, if it has several rows. */
static int print_places(const ms_results_out *out, const ms_results_query *query, int64_t i) {
    const msim_match *match = query->matches + i;
    const msim_bar_span bars = ms_results_bars(out, match), unknown = {0};
    int rc = 0;
    if (query->spans)
        rc = print_place(out, query->spans[i].from_seconds, query->spans[i].to_seconds,
                         out->has_bars && query->bars ? query->bars + i : &unknown);
    if (out->has_spans) rc = print_place(out, match->from_seconds, match->to_seconds, &bars);
    return rc;
}

/* How many matches chance would give, and the word for it. */
static int print_meaning(const ms_results_out *out, int64_t i) {
    msim_meaning meaning = meaning_of(out, i);
    char number[32];
    snprintf(number, sizeof number, meaning.matches >= 100 ? "%.0f" : "%.2g", meaning.matches);
    if (meaning.matches < 1e-9) snprintf(number, sizeof number, "< 1e-9");
    return ms_cli_print("%9s  %-9s  ", number, msim_likeness_name(meaning.likeness));
}

/* Said first, because the list that follows looks like any other. A lower score may mean more than
 * the first, in another key or window. */
static void say_unrelated(const ms_results_out *out, const ms_results_query *query) {
    for (int64_t i = 0; i < query->n; i++)
        if (meaning_of(out, i).likeness != MSIM_LIKENESS_UNRELATED) return;
    if (query->n)
        (void)ms_cli_print("nothing here is related to it: chance alone gives scores like these\n");
}

/* The line above the columns of a table. */
static int print_heads(const ms_results_out *out, const ms_results_query *query, int rank_width,
                       int score_width) {
    char count[32], pieces[64] = "", in_query[40] = "", where[40] = "";
    int64_t n_rows = msim_corpus_rows(out->corpus);
    if (query->spans) snprintf(in_query, sizeof in_query, "%*s  ", place_width(out), "in query");
    if (out->has_spans) snprintf(where, sizeof where, "%*s  ", place_width(out), "where");
    if (out->has_spans)
        snprintf(pieces, sizeof pieces, "%s piece%s, ", ms_cli_count(count, out->n_pieces),
                 ms_cli_plural(out->n_pieces));
    return ms_cli_print("%*s  %*s  %6s  %s%s%sname (%s%s row%s, best of %lld variant%s)",
                        rank_width, "rank", score_width, "score", "transp",
                        out->searcher ? "by chance  likeness   " : "", in_query, where, pieces,
                        ms_cli_count(count, n_rows), ms_cli_plural(n_rows),
                        (long long)query->n_variants, ms_cli_plural(query->n_variants));
}

static void print_title(const ms_results_out *out, const ms_results_query *query, int rank_width,
                        int score_width) {
    (void)ms_cli_print("%s", out->n_printed ? "\n" : "");
    (void)ms_cli_style(MS_CLI_BOLD);
    (void)put_fitted(query->label, query->n_label, name_columns(out, 0));
    (void)ms_cli_style(MS_CLI_PLAIN);
    (void)ms_cli_write("\n", 1);
    if (out->notes) (void)ms_results_music_table(out, query);
    if (out->searcher) say_unrelated(out, query);
    (void)ms_cli_style(MS_CLI_DIM);
    (void)print_heads(out, query, rank_width, score_width);
    (void)ms_cli_style(MS_CLI_PLAIN);
}

static int print_table(ms_results_out *out, const ms_results_query *query) {
    char rank[24], score[32], transpose[16];
    const msim_match *matches = query->matches;
    int rank_width = snprintf(rank, sizeof rank, "%lld", (long long)query->n);
    int score_width = out->is_product ? 11 : 8;
    if (rank_width < 4) rank_width = 4;
    int n_places = (out->has_spans ? 1 : 0) + (query->spans ? 1 : 0);
    int before = rank_width + 2 + score_width + 2 + 6 + 2 + (out->searcher ? 22 : 0) +
                 n_places * (abs(place_width(out)) + 2);
    print_title(out, query, rank_width, score_width);
    int rc = ms_cli_write("\n", 1);
    for (int64_t i = 0; i < query->n && rc == 0; i++) {
        show_score(out, matches[i].score, score, sizeof score);
        snprintf(transpose, sizeof transpose, matches[i].transpose ? "%+d" : "%d",
                 matches[i].transpose);
        int64_t n_name = ms_results_name(out, matches[i].row);
        if (n_name < 0) return no_memory();
        (void)ms_cli_print("%*lld  ", rank_width, (long long)(i + 1));
        (void)ms_cli_style(MS_CLI_BOLD);
        (void)ms_cli_print("%*s", score_width, score);
        (void)ms_cli_style(MS_CLI_PLAIN);
        rc = ms_cli_print("  %6s  ", transpose);
        if (rc == 0 && out->searcher) rc = print_meaning(out, i);
        if (rc == 0) rc = print_places(out, query, i);
        if (rc == 0) rc = put_fitted(out->name, (size_t)n_name, name_columns(out, before));
        if (rc == 0) rc = ms_cli_write("\n", 1);
    }
    return rc;
}

static int put_listing(void *arg, const char *bytes, size_t n) {
    (void)arg;
    return ms_cli_write(bytes, n);
}

static const char *listing_name(void *arg, int64_t row, size_t *n) {
    ms_results_out *out = arg;
    int64_t n_name = ms_results_name(out, row);
    if (n_name < 0) (void)no_memory();
    *n = n_name < 0 ? 0 : (size_t)n_name;
    return out->name;
}

static int print_listing(ms_results_out *out, const ms_results_query *query) {
    ms_listing_entry *entries = ms_alloc((size_t)query->n, sizeof *entries, "matches", NULL);
    if (!entries) return no_memory();
    for (int64_t i = 0; i < query->n; i++)
        entries[i] = (ms_listing_entry){.row = query->matches[i].row,
                                        .transpose = query->matches[i].transpose,
                                        .similarity = (float)query->matches[i].score};
    ms_listing_out to = {put_listing, listing_name, out};
    int rc = ms_listing_print(&to, entries, query->n);
    ms_free(entries);
    return rc;
}

int ms_results_print(ms_results_out *out, const ms_results_query *query) {
    int rc = out->format == MS_RESULTS_TSV       ? print_tsv(out, query)
             : out->format == MS_RESULTS_JSON    ? print_json(out, query)
             : out->format == MS_RESULTS_MIDISIM ? print_listing(out, query)
                                                 : print_table(out, query);
    out->n_printed++;
    return rc;
}

void ms_results_free(ms_results_out *out) {
    ms_free(out->name);
    out->name = NULL;
    out->name_cap = 0;
}
