/* Contract: tools/eval/report.h. */
#define _GNU_SOURCE
#include "report.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text/json.h"
#include "common/json.h"
#include <stdio.h>
#include <string.h>

/* Ranks and recalls that are shown, and those of the curves in the CSV. */
static const int64_t shown_ranks[] = {1, 5, 10};
static const int64_t curve_ranks[] = {1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000};
static const double shown_recalls[] = {0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1};
enum {
    N_SHOWN_RANKS = sizeof shown_ranks / sizeof *shown_ranks,
    N_CURVE_RANKS = sizeof curve_ranks / sizeof *curve_ranks,
    N_SHOWN_RECALLS = sizeof shown_recalls / sizeof *shown_recalls,
    N_CURVE_RECALLS = 50,
    LABEL_WIDTH = 22,
    COLUMN_WIDTH = 24
};

static msim_eval_options options_of(const ms_eval_settings *set) {
    msim_eval_options o = msim_eval_options_default();
    o.resamples = set->resamples;
    return o;
}

/* Everything that is shown of one corpus. */
typedef struct {
    msim_eval_report report;
    msim_measure recalls[N_SHOWN_RANKS];
    msim_eval_point points[N_SHOWN_RECALLS];
} measured;

static int measure_point(const ms_eval_column *c, const msim_eval_options *o, double recall,
                         msim_eval_point *out, msim_error *err) {
    double threshold;
    int rc = msim_eval_threshold(c->eval, recall, &threshold, err);
    return rc < 0 ? rc : msim_eval_at(c->eval, o, threshold, out, err);
}

static int measure(const ms_eval_settings *set, const ms_eval_column *c, measured *out,
                   msim_error *err) {
    msim_eval_options o = options_of(set);
    out->report.size = sizeof out->report;
    int rc = msim_eval_get_report(c->eval, &o, &out->report, err);
    for (size_t i = 0; i < N_SHOWN_RANKS && rc >= 0; i++)
        rc = msim_eval_recall(c->eval, &o, shown_ranks[i], out->recalls + i, err);
    for (size_t i = 0; i < N_SHOWN_RECALLS && rc >= 0; i++)
        rc = measure_point(c, &o, shown_recalls[i], out->points + i, err);
    return rc;
}

static int measure_all(const ms_eval_settings *set, const ms_eval_column *columns, size_t n,
                       measured **out, msim_error *err) {
    int rc = 0;
    *out = ms_alloc(n, sizeof **out, "measures", err);
    if (!*out) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n && rc >= 0; i++) rc = measure(set, columns + i, *out + i, err);
    if (rc < 0) ms_free(*out);
    return rc;
}

/* ---- Table ---- */

/* A cell of a column; nothing is behind the last one. */
static void print_cell(const char *text, bool is_last) {
    (void)ms_cli_print("  %-*s%s", is_last ? 0 : COLUMN_WIDTH - 2, text, is_last ? "\n" : "");
}

/* The end of a path says more than its beginning. */
static void print_head(const char *path, bool is_last) {
    char text[COLUMN_WIDTH - 1];
    size_t n = strlen(path);
    if (n > COLUMN_WIDTH - 2)
        snprintf(text, sizeof text, "..%s", path + n - (COLUMN_WIDTH - 4));
    else
        snprintf(text, sizeof text, "%s", path);
    print_cell(text, is_last);
}

static void print_measure(const ms_eval_settings *set, const msim_measure *m, int digits,
                          bool is_last) {
    char text[96];
    if (set->resamples)
        snprintf(text, sizeof text, "%.*f [%.*f, %.*f]", digits, m->value, digits, m->low, digits,
                 m->high);
    else
        snprintf(text, sizeof text, "%.*f", digits, m->value);
    print_cell(text, is_last);
}

static void print_counts(const measured *m, const ms_eval_column *columns, size_t n) {
    char text[32];
    const char *const labels[] = {"pieces", "queries", "relatives"};
    for (size_t line = 0; line < 3; line++) {
        (void)ms_cli_print("%-*s", LABEL_WIDTH, labels[line]);
        for (size_t i = 0; i < n; i++) {
            int64_t counts[] = {columns[i].n_pieces, m[i].report.queries, m[i].report.relatives};
            print_cell(ms_cli_count(text, counts[line]), i + 1 == n);
        }
    }
}

static void print_line(const ms_eval_settings *set, const char *label, const measured *m, size_t n,
                       size_t offset, int digits) {
    (void)ms_cli_print("%-*s", LABEL_WIDTH, label);
    for (size_t i = 0; i < n; i++) {
        msim_measure one;
        memcpy(&one, (const char *)(m + i) + offset, sizeof one);
        print_measure(set, &one, digits, i + 1 == n);
    }
}

static void print_thresholds(const measured *m, size_t n) {
    char text[64];
    (void)ms_cli_print("\n%-*s", LABEL_WIDTH, "pairs: recall");
    for (size_t i = 0; i < n; i++) print_cell("threshold  precision", i + 1 == n);
    for (size_t k = 0; k < N_SHOWN_RECALLS; k++) {
        snprintf(text, sizeof text, "at least %g", shown_recalls[k]);
        (void)ms_cli_print("%-*s", LABEL_WIDTH, text);
        for (size_t i = 0; i < n; i++) {
            const msim_eval_point *p = m[i].points + k;
            snprintf(text, sizeof text, "%9.4f  %9.3f", p->threshold, p->precision.value);
            print_cell(text, i + 1 == n);
        }
    }
}

int ms_eval_print_table(const ms_eval_settings *set, const ms_eval_column *columns, size_t n,
                        msim_error *err) {
    measured *m;
    char label[32];
    int rc = measure_all(set, columns, n, &m, err);
    if (rc < 0) return rc;
    (void)ms_cli_print("%-*s", LABEL_WIDTH, "");
    for (size_t i = 0; i < n; i++) print_head(columns[i].path, i + 1 == n);
    print_counts(m, columns, n);
    for (size_t k = 0; k < N_SHOWN_RANKS; k++) {
        snprintf(label, sizeof label, "R@%lld", (long long)shown_ranks[k]);
        print_line(set, label, m, n, offsetof(measured, recalls) + k * sizeof(msim_measure), 3);
    }
    print_line(set, "MRR", m, n, offsetof(measured, report.mrr), 3);
    print_line(set, "mAP", m, n, offsetof(measured, report.map), 3);
    print_line(set, "median rank", m, n, offsetof(measured, report.median_rank), 1);
    print_line(set, "best F1 of pairs", m, n, offsetof(measured, report.best.f1), 3);
    print_line(set, "  its precision", m, n, offsetof(measured, report.best.precision), 3);
    print_line(set, "  its recall", m, n, offsetof(measured, report.best.recall), 3);
    (void)ms_cli_print("%-*s", LABEL_WIDTH, "  its threshold");
    for (size_t i = 0; i < n; i++) {
        snprintf(label, sizeof label, "%.4f", m[i].report.best.threshold);
        print_cell(label, i + 1 == n);
    }
    print_thresholds(m, n);
    ms_free(m);
    return 0;
}

/* ---- JSON ---- */

static void put_key(ms_json_text *to, const char *key) {
    char before = to->data && to->n ? to->data[to->n - 1] : '{';
    if (before != '{' && before != '[') ms_json_put(to, ",", 1);
    ms_json_put_string(to, key, strlen(key));
    ms_json_put(to, ":", 1);
}

static void put_real(ms_json_text *to, const char *key, double value) {
    char text[40];
    int n = snprintf(text, sizeof text, "%.9g", value);
    put_key(to, key);
    ms_json_put(to, text, (size_t)n);
}

static void put_count(ms_json_text *to, const char *key, int64_t value) {
    put_key(to, key);
    ms_json_put_int(to, value);
}

static void put_measure(ms_json_text *to, const char *key, const msim_measure *m) {
    char text[128];
    int n = snprintf(text, sizeof text, "{\"value\":%.9g,\"low\":%.9g,\"high\":%.9g}", m->value,
                     m->low, m->high);
    put_key(to, key);
    ms_json_put(to, text, (size_t)n);
}

static void put_point(ms_json_text *to, const msim_eval_point *p) {
    ms_json_put(to, "{", 1);
    put_real(to, "threshold", p->threshold);
    put_measure(to, "precision", &p->precision);
    put_measure(to, "recall", &p->recall);
    put_measure(to, "f1", &p->f1);
    ms_json_put(to, "}", 1);
}

static void put_column(ms_json_text *to, const ms_eval_settings *set, const ms_eval_column *c,
                       const measured *m) {
    char key[32];
    ms_json_put(to, "{", 1);
    put_key(to, "corpus");
    ms_json_put_string(to, c->path, strlen(c->path));
    put_count(to, "pieces", c->n_pieces);
    put_count(to, "rows", c->n_rows);
    put_count(to, "queries", m->report.queries);
    put_count(to, "without_relatives", c->n_alone);
    put_count(to, "pairs", m->report.pairs);
    put_count(to, "relatives", m->report.relatives);
    for (size_t i = 0; i < N_SHOWN_RANKS; i++) {
        snprintf(key, sizeof key, "recall_at_%lld", (long long)shown_ranks[i]);
        put_measure(to, key, m->recalls + i);
    }
    put_measure(to, "mrr", &m->report.mrr);
    put_measure(to, "map", &m->report.map);
    put_measure(to, "median_rank", &m->report.median_rank);
    put_key(to, "best_f1");
    put_point(to, &m->report.best);
    put_key(to, "thresholds");
    ms_json_put(to, "[", 1);
    for (size_t i = 0; i < N_SHOWN_RECALLS; i++) {
        if (i) ms_json_put(to, ",", 1);
        put_point(to, m->points + i);
    }
    ms_json_put(to, "]", 1);
    put_count(to, "resamples", set->resamples);
    ms_json_put(to, "}\n", 2);
}

int ms_eval_print_json(const ms_eval_settings *set, const ms_eval_column *columns, size_t n,
                       msim_error *err) {
    measured *m;
    int rc = measure_all(set, columns, n, &m, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++) {
        ms_json_text line = {0};
        put_column(&line, set, columns + i, m + i);
        (void)ms_cli_write_json_text(&line);
        ms_json_text_free(&line);
    }
    ms_free(m);
    return 0;
}

/* ---- CSV ---- */

static void put_text(ms_out_file *f, const char *text) { ms_out_file_put(f, text, strlen(text)); }

/* A cell in quotes, as RFC 4180 has it. */
static void put_cell(ms_out_file *f, const char *text) {
    put_text(f, "\"");
    for (const char *at = text; *at; at++) {
        if (*at == '"') put_text(f, "\"");
        ms_out_file_put(f, at, 1);
    }
    put_text(f, "\"");
}

static void put_row(ms_out_file *f, const char *corpus, const char *name, double at,
                    const msim_measure *m) {
    char text[160];
    put_cell(f, corpus);
    snprintf(text, sizeof text, ",%s,%.9g,%.9g,%.9g,%.9g\n", name, at, m->value, m->low, m->high);
    put_text(f, text);
}

static int put_curves(ms_out_file *f, const ms_eval_settings *set, const ms_eval_column *c,
                      msim_error *err) {
    msim_eval_options o = options_of(set);
    msim_measure m;
    msim_eval_point p;
    int rc = 0;
    for (size_t i = 0; i < N_CURVE_RANKS && rc >= 0; i++) {
        rc = msim_eval_recall(c->eval, &o, curve_ranks[i], &m, err);
        if (rc >= 0) put_row(f, c->path, "recall_at", (double)curve_ranks[i], &m);
    }
    for (int i = 1; i <= N_CURVE_RECALLS && rc >= 0; i++) {
        rc = measure_point(c, &o, (double)i / N_CURVE_RECALLS, &p, err);
        if (rc < 0) break;
        put_row(f, c->path, "precision", p.threshold, &p.precision);
        put_row(f, c->path, "recall", p.threshold, &p.recall);
        put_row(f, c->path, "f1", p.threshold, &p.f1);
    }
    return rc;
}

static int put_csv(ms_out_file *f, const ms_eval_settings *set, const ms_eval_column *c,
                   msim_error *err) {
    msim_eval_options o = options_of(set);
    msim_eval_report r = {.size = sizeof r};
    int rc = msim_eval_get_report(c->eval, &o, &r, err);
    if (rc < 0) return rc;
    put_row(f, c->path, "mrr", 0, &r.mrr);
    put_row(f, c->path, "map", 0, &r.map);
    put_row(f, c->path, "median_rank", 0, &r.median_rank);
    put_row(f, c->path, "best_f1", r.best.threshold, &r.best.f1);
    return put_curves(f, set, c, err);
}

int ms_eval_write_csv(const ms_eval_settings *set, const ms_eval_column *columns, size_t n,
                      msim_error *err) {
    ms_out_file f = {0};
    int rc = ms_out_file_open(&f, set->csv, "", 0, err);
    if (rc >= 0) put_text(&f, "corpus,measure,at,value,low,high\n");
    for (size_t i = 0; i < n && rc >= 0; i++) rc = put_csv(&f, set, columns + i, err);
    if (rc >= 0) rc = ms_out_file_finish(&f, err);
    ms_out_file_close(&f);
    return rc;
}
