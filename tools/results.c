/* Contract: tools/results.h. */
#define _GNU_SOURCE
#include "results.h"
#include "json.h"
#include "listing.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Merging ---- */

static int by_row(const void *a, const void *b) {
    const ms_results_match *x = a, *y = b;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->transpose - y->transpose;
}

static int by_rank(const void *a, const void *b) {
    const ms_results_match *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

int64_t ms_results_merge(const int64_t *rows, const double *scores, size_t n_variants, int64_t n, int64_t stride,
                         int first_transpose, int64_t k, ms_results_match *matches) {
    size_t n_all = 0, n_rows = 0;
    for (size_t v = 0; v < n_variants; v++)
        for (int64_t i = 0; i < n; i++)
            matches[n_all++] = (ms_results_match){.row = rows[(int64_t)v * stride + i],
                                                  .score = scores[(int64_t)v * stride + i],
                                                  .transpose = first_transpose + (int)v};
    if (n_all == 0) return 0;
    qsort(matches, n_all, sizeof *matches, by_row);
    for (size_t i = 0; i < n_all; i++)
        if (i == 0 || matches[i].row != matches[n_rows - 1].row) matches[n_rows++] = matches[i];
    qsort(matches, n_rows, sizeof *matches, by_rank);
    return (int64_t)n_rows < k ? (int64_t)n_rows : k;
}

/* ---- Text on a terminal ---- */

/* Ranges of code points two columns wide (East Asian wide and the usual emoji) and of none (combining, invisible). */
static const unsigned wide[][2] = {{0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xa960, 0xa97f},
                                   {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                                   {0xffe0, 0xffe6},   {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff},
                                   {0x20000, 0x3fffd}, {0, 0}};
static const unsigned none[][2] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},
                                   {0x64b, 0x65f},   {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200f},
                                   {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0, 0}};

static bool is_in(const unsigned (*ranges)[2], unsigned point) {
    for (; (*ranges)[1]; ranges++)
        if (point >= (*ranges)[0] && point <= (*ranges)[1]) return true;
    return false;
}

/* The next character: its bytes, and its columns. *shown is false for what a terminal must not get: control characters,
 * bytes that are not UTF-8, and the marks that turn the direction of writing. */
static size_t next_char(const char *text, size_t n, size_t *columns, bool *shown) {
    const unsigned char *s = (const unsigned char *)text;
    size_t len = ms_json_utf8_len(s, n);
    unsigned point = len <= 1 ? s[0] : s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) point = point << 6 | (s[i] & 0x3fu);
    *shown = len > 0 && point >= 0x20 && !(point >= 0x7f && point < 0xa0) && !(point >= 0x202a && point <= 0x202e) &&
             !(point >= 0x2066 && point <= 0x2069) && point != 0x2028 && point != 0x2029;
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
    size_t head = columns > 1 ? (columns - 1) * 2 / 5 : 0, tail = columns > 1 ? columns - 1 - head : 0;
    bool shown, is_cut = width > columns, has_gap = false;
    for (size_t i = 0, len; i < n; i += len, seen += w) {
        len = next_char(text + i, n - i, &w, &shown);
        if (is_cut && seen + w > head && seen < width - tail) {
            if (!has_gap) at += (size_t)snprintf(out + at, 4, "\xe2\x80\xa6");
            has_gap = true;
            continue;
        }
        if (is_cut && w == 0 && has_gap && seen <= width - tail) continue; /* a mark whose letter is gone */
        if (shown)
            memcpy(out + at, text + i, len), at += len;
        else
            out[at++] = '?';
    }
    return at;
}

/* ---- Printing ---- */

/* The name of a row into out->name; returns its bytes. */
static size_t get_name(ms_results_out *out, int64_t row) {
    int64_t n = msim_corpus_name(out->corpus, row, out->name, out->name_cap);
    if (n >= 0 && (size_t)n >= out->name_cap) {
        out->name = ms_cli_grow(out->name, &out->name_cap, (size_t)n + 1, 1);
        n = msim_corpus_name(out->corpus, row, out->name, out->name_cap);
    }
    return n < 0 ? 0 : (size_t)n;
}

static int put_escaped(const char *text, size_t n) {
    int rc = 0;
    for (size_t i = 0, from = 0; i <= n && rc == 0; i++) {
        const char *escape = i == n            ? ""
                             : text[i] == '\t' ? "\\t"
                             : text[i] == '\n' ? "\\n"
                             : text[i] == '\\' ? "\\\\"
                                               : NULL;
        if (!escape) continue;
        rc = ms_cli_write(text + from, i - from);
        if (rc == 0 && *escape) rc = ms_cli_write(escape, 2);
        from = i + 1;
    }
    return rc;
}

int ms_results_begin(ms_results_out *out) {
    return out->format == MS_RESULTS_TSV ? ms_cli_print("query\trank\tscore\ttranspose\trow\tname\n") : 0;
}

static int print_tsv(ms_results_out *out, const char *query, const ms_results_match *matches, int64_t n) {
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        rc = put_escaped(query, strlen(query));
        if (rc == 0)
            rc = ms_cli_print("\t%lld\t%.9g\t%d\t%lld\t", (long long)(i + 1), (double)(float)matches[i].score,
                              matches[i].transpose, (long long)matches[i].row);
        size_t n_name = get_name(out, matches[i].row);
        if (rc == 0) rc = put_escaped(out->name, n_name);
        if (rc == 0) rc = ms_cli_write("\n", 1);
    }
    return rc;
}

static void put_text(ms_json_text *line, const char *text) { ms_json_put(line, text, strlen(text)); }

static int print_json(ms_results_out *out, const char *query, size_t n_variants, const ms_results_match *matches,
                      int64_t n) {
    ms_json_text line = {0};
    char number[32];
    put_text(&line, "{\"query\":");
    ms_json_put_string(&line, query, strlen(query));
    put_text(&line, ",\"matches\":[");
    for (int64_t i = 0; i < n; i++) {
        put_text(&line, i ? ",{\"rank\":" : "{\"rank\":");
        ms_json_put_int(&line, i + 1);
        put_text(&line, ",\"row\":");
        ms_json_put_int(&line, matches[i].row);
        put_text(&line, ",\"name\":");
        size_t n_name = get_name(out, matches[i].row);
        ms_json_put_string(&line, out->name, n_name);
        snprintf(number, sizeof number, "%.9g", (double)(float)matches[i].score);
        put_text(&line, ",\"score\":");
        put_text(&line, isfinite(matches[i].score) ? number : "null");
        put_text(&line, ",\"transpose\":");
        ms_json_put_int(&line, matches[i].transpose);
        put_text(&line, "}");
    }
    put_text(&line, "],\"exact\":true,\"rows\":");
    ms_json_put_int(&line, msim_corpus_rows(out->corpus));
    put_text(&line, ",\"nonfinite_rows\":");
    ms_json_put_int(&line, out->n_nonfinite);
    put_text(&line, ",\"variants\":");
    ms_json_put_int(&line, (int64_t)n_variants);
    put_text(&line, "}\n");
    int rc = ms_cli_write(line.data, line.n);
    free(line.data);
    return rc;
}

/* Columns left for the name once everything before it is placed. */
static size_t name_columns(const ms_results_out *out, int before) {
    if (out->columns <= 0) return SIZE_MAX;
    return out->columns > before + 12 ? (size_t)(out->columns - before) : 12;
}

static int put_fitted(const char *text, size_t n, size_t columns) {
    char *shown = ms_cli_alloc(4 * n + 8, 1);
    int rc = ms_cli_write(shown, ms_results_fit(text, n, columns, shown));
    free(shown);
    return rc;
}

static int print_table(ms_results_out *out, const char *query, size_t n_variants, const ms_results_match *matches,
                       int64_t n) {
    char rank[24], percent[24], transpose[16], count[32];
    const char *bold = out->has_color ? "\033[1m" : "", *dim = out->has_color ? "\033[2m" : "",
               *plain = out->has_color ? "\033[0m" : "";
    int64_t n_rows = msim_corpus_rows(out->corpus);
    int rank_width = snprintf(rank, sizeof rank, "%lld", (long long)n);
    if (rank_width < 4) rank_width = 4;
    int before = rank_width + 2 + 8 + 2 + 6 + 2;
    int rc = ms_cli_print("%s%s", out->n_printed ? "\n" : "", bold);
    if (rc == 0) rc = put_fitted(query, strlen(query), name_columns(out, 0));
    if (rc == 0)
        rc = ms_cli_print("%s\n%s%*s  %8s  %6s  name (%s row%s, best of %zu variant%s)%s\n", plain, dim, rank_width,
                          "rank", "score", "transp", ms_cli_count(count, n_rows), n_rows == 1 ? "" : "s", n_variants,
                          n_variants == 1 ? "" : "s", plain);
    for (int64_t i = 0; i < n && rc == 0; i++) {
        if (isfinite(matches[i].score))
            snprintf(percent, sizeof percent, "%.2f%%", 100.0 * matches[i].score);
        else
            snprintf(percent, sizeof percent, "invalid");
        snprintf(transpose, sizeof transpose, matches[i].transpose ? "%+d" : "%d", matches[i].transpose);
        size_t n_name = get_name(out, matches[i].row);
        rc = ms_cli_print("%*lld  %s%8s%s  %6s  ", rank_width, (long long)(i + 1), bold, percent, plain, transpose);
        if (rc == 0) rc = put_fitted(out->name, n_name, name_columns(out, before));
        if (rc == 0) rc = ms_cli_write("\n", 1);
    }
    return rc;
}

int ms_results_print(ms_results_out *out, const char *query, size_t n_variants, const ms_results_match *matches,
                     int64_t n) {
    int rc = out->format == MS_RESULTS_TSV    ? print_tsv(out, query, matches, n)
             : out->format == MS_RESULTS_JSON ? print_json(out, query, n_variants, matches, n)
                                              : print_table(out, query, n_variants, matches, n);
    out->n_printed++;
    return rc;
}

static int put_listing(void *arg, const char *bytes, size_t n) {
    (void)arg;
    return ms_cli_write(bytes, n);
}

static const char *listing_name(void *arg, int64_t row, size_t *n) {
    ms_results_out *out = arg;
    *n = get_name(out, row);
    return out->name;
}

int ms_results_print_midisim(ms_results_out *out, const int64_t *rows, const double *scores, size_t n_variants,
                             int64_t n, int64_t stride) {
    size_t n_all = n_variants * (size_t)n;
    int64_t *row_matrix = ms_cli_alloc(n_all, sizeof *row_matrix);
    float *sims = ms_cli_alloc(n_all, sizeof *sims);
    ms_listing_entry *entries = ms_cli_alloc(n_all, sizeof *entries);
    for (size_t v = 0; v < n_variants; v++)
        for (int64_t i = 0; i < n; i++) {
            row_matrix[v * (size_t)n + (size_t)i] = rows[(int64_t)v * stride + i];
            sims[v * (size_t)n + (size_t)i] = (float)scores[(int64_t)v * stride + i];
        }
    int64_t n_entries = ms_listing_merge(row_matrix, sims, n_variants, (size_t)n, entries);
    ms_listing_out to = {put_listing, listing_name, out};
    int rc = n_entries < 0 ? -1 : ms_listing_print(&to, entries, n_entries);
    if (n_entries < 0) ms_cli_error("out of memory: merging %zu matches", n_all);
    free(row_matrix);
    free(sims);
    free(entries);
    out->n_printed++;
    return rc;
}

void ms_results_free(ms_results_out *out) {
    free(out->name);
    out->name = NULL;
    out->name_cap = 0;
}
