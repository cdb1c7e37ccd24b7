/* Contract: tools/eval/truth.h. */
#define _GNU_SOURCE
#include "truth.h"
#include "base/mem.h"
#include "base/text/lines.h"
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHOWN = 5 };

/* A name of the file and a label that it has. */
typedef struct {
    int64_t name, label;
} named_label;

struct ms_eval_truth {
    const ms_eval_settings *set; /* borrowed */
    bool has_pattern;
    regex_t pattern;
    msim_name_set *keys; /* owned: folders, keys, groups; their number is the label */
    int64_t n_pairs;     /* labels of pairs */
    /* Of a file: */
    msim_name_set *names; /* owned: its names */
    named_label *pairs;   /* owned: [n], by name */
    size_t n, cap;
    bool *is_used; /* owned: [names] */
};

/* ---- A file ---- */

static int add_pair(ms_eval_truth *t, const char *name, size_t n_name, int64_t label,
                    msim_error *err) {
    int64_t number = msim_name_set_add(t->names, name, n_name, err);
    if (number < 0) return (int)number;
    int rc = ms_grow((void **)&t->pairs, &t->cap, t->n + 1, sizeof *t->pairs, "truth", err);
    if (rc >= 0) t->pairs[t->n++] = (named_label){number, label};
    return rc;
}

/* The first two columns of a line: "a<TAB>b" or "group<TAB>name". */
static int add_line(ms_eval_truth *t, bool is_groups, const char *line, size_t n, int64_t number,
                    msim_error *err) {
    const char *tab = memchr(line, '\t', n), *end = line + n;
    const char *second = tab ? tab + 1 : NULL,
               *next = second ? memchr(second, '\t', (size_t)(end - second)) : NULL;
    size_t n_first = tab ? (size_t)(tab - line) : 0,
           n_second = second ? (size_t)((next ? next : end) - second) : 0;
    if (n_first == 0 || n_second == 0)
        return ms_fail(err, MSIM_E_FORMAT,
                       "bad truth: %.300s: line %lld: expected two columns with a tab between "
                       "them",
                       t->set->truth, (long long)number);
    if (is_groups) {
        int64_t label = msim_name_set_add(t->keys, line, n_first, err);
        return label < 0 ? (int)label : add_pair(t, second, n_second, label, err);
    }
    int rc = add_pair(t, line, n_first, t->n_pairs, err);
    if (rc >= 0) rc = add_pair(t, second, n_second, t->n_pairs, err);
    t->n_pairs++;
    return rc;
}

static bool is_head(const char *line, size_t n) {
    static const char head[] = "group\tname";
    size_t n_head = sizeof head - 1;
    return n >= n_head && memcmp(line, head, n_head) == 0 && (n == n_head || line[n_head] == '\t');
}

static int by_name(const void *a, const void *b) {
    const named_label *x = a, *y = b;
    if (x->name != y->name) return x->name < y->name ? -1 : 1;
    return (x->label > y->label) - (x->label < y->label);
}

static int read_lines(ms_eval_truth *t, ms_lines *lines, msim_error *err) {
    bool is_groups = t->set->truth_format == MS_EVAL_GROUPS, is_first = true;
    const char *line;
    size_t n;
    int rc;
    for (int64_t number = 1; (rc = ms_lines_next(lines, &line, &n, err)) > 0; number++) {
        if (n == 0 || *line == '#') continue;
        bool is_title = is_first && is_head(line, n) && t->set->truth_format != MS_EVAL_PAIRS;
        is_first = false;
        if (is_title)
            is_groups = true;
        else if ((rc = add_line(t, is_groups, line, n, number, err)) < 0)
            return rc;
    }
    return rc;
}

static int read_file(ms_eval_truth *t, msim_error *err) {
    ms_lines lines;
    int rc = ms_lines_open(&lines, t->set->truth, '\n', err);
    if (rc >= 0) rc = msim_name_set_open(&t->names, err);
    if (rc >= 0) rc = read_lines(t, &lines, err);
    ms_lines_close(&lines);
    if (rc < 0) return rc;
    if (t->n == 0)
        return ms_fail(err, MSIM_E_EMPTY, "no truth: %.300s: the file has no pair and no group",
                       t->set->truth);
    qsort(t->pairs, t->n, sizeof *t->pairs, by_name);
    t->is_used = ms_alloc((size_t)msim_name_set_count(t->names), sizeof *t->is_used, "truth", err);
    return t->is_used ? 0 : -MSIM_E_MEMORY;
}

/* ---- Opening ---- */

static int open_pattern(ms_eval_truth *t, msim_error *err) {
    char why[200];
    int rc = regcomp(&t->pattern, t->set->pattern, REG_EXTENDED);
    if (rc != 0) {
        regerror(rc, &t->pattern, why, sizeof why);
        return ms_fail(err, MSIM_E_ARG, "--truth-pattern: '%.200s' is no regular expression: %s",
                       t->set->pattern, why);
    }
    t->has_pattern = true;
    return 0;
}

int ms_eval_truth_open(const ms_eval_settings *set, ms_eval_truth **out, msim_error *err) {
    ms_eval_truth *t = ms_alloc(1, sizeof *t, "truth", err);
    *out = NULL;
    if (!t) return -MSIM_E_MEMORY;
    t->set = set;
    int rc = msim_name_set_open(&t->keys, err);
    if (rc >= 0 && set->pattern)
        rc = open_pattern(t, err);
    else if (rc >= 0 && strcmp(set->truth, "folders") != 0)
        rc = read_file(t, err);
    if (rc < 0)
        ms_eval_truth_close(t);
    else
        *out = t;
    return rc;
}

void ms_eval_truth_close(ms_eval_truth *t) {
    if (!t) return;
    if (t->has_pattern) regfree(&t->pattern);
    msim_name_set_close(t->keys);
    msim_name_set_close(t->names);
    ms_free(t->pairs);
    ms_free(t->is_used);
    ms_free(t);
}

/* ---- Labels ---- */

static int add_label(ms_eval_labels *l, int64_t label, msim_error *err) {
    int64_t n = l->starts[l->n];
    int rc = ms_grow((void **)&l->labels, &l->labels_cap, (size_t)n + 1, sizeof *l->labels,
                     "labels", err);
    if (rc < 0) return rc;
    l->labels[n] = label;
    l->starts[l->n] = n + 1;
    return 0;
}

static int add_key(ms_eval_truth *t, const char *key, size_t n, ms_eval_labels *out,
                   msim_error *err) {
    int64_t label = msim_name_set_add(t->keys, key, n, err);
    return label < 0 ? (int)label : add_label(out, label, err);
}

/* The folder of a name; a name without one belongs to nothing. */
static int label_by_folder(ms_eval_truth *t, const char *name, size_t n, ms_eval_labels *out,
                           msim_error *err) {
    const char *slash = memrchr(name, '/', n);
    return slash ? add_key(t, name, (size_t)(slash - name), out, err) : 0;
}

/* The first group of the pattern, or the whole match of one without a group. */
static int label_by_pattern(ms_eval_truth *t, const char *name, size_t n, ms_eval_labels *out,
                            msim_error *err) {
    regmatch_t found[2];
    char *text = ms_alloc(n + 1, 1, "a name", err);
    if (!text) return -MSIM_E_MEMORY;
    memcpy(text, name, n);
    text[n] = 0;
    int rc = regexec(&t->pattern, text, 2, found, 0) == 0 ? 1 : 0;
    const regmatch_t *key = t->pattern.re_nsub ? found + 1 : found;
    if (rc == 1 && key->rm_so >= 0)
        rc = add_key(t, text + key->rm_so, (size_t)(key->rm_eo - key->rm_so), out, err);
    ms_free(text);
    return rc < 0 ? rc : 0;
}

static int label_by_file(ms_eval_truth *t, const char *name, size_t n, ms_eval_labels *out,
                         msim_error *err) {
    int64_t number = msim_name_set_find(t->names, name, n);
    size_t low = 0, high = t->n;
    int rc = 0;
    if (number < 0) return 0;
    t->is_used[number] = true;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->pairs[middle].name < number)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < t->n && t->pairs[low].name == number && rc >= 0; low++)
        rc = add_label(out, t->pairs[low].label, err);
    return rc;
}

int ms_eval_truth_label(ms_eval_truth *t, const char *name, size_t n_name, ms_eval_labels *out,
                        msim_error *err) {
    int rc = ms_grow((void **)&out->starts, &out->starts_cap, (size_t)out->n + 2,
                     sizeof *out->starts, "labels", err);
    if (rc < 0) return rc;
    if (out->n == 0) out->starts[0] = 0;
    out->n++;
    out->starts[out->n] = out->starts[out->n - 1];
    if (t->has_pattern) return label_by_pattern(t, name, n_name, out, err);
    return t->names ? label_by_file(t, name, n_name, out, err)
                    : label_by_folder(t, name, n_name, out, err);
}

void ms_eval_labels_free(ms_eval_labels *l) {
    ms_free(l->labels);
    ms_free(l->starts);
    *l = (ms_eval_labels){0};
}

int64_t ms_eval_truth_count(const ms_eval_truth *t) {
    return msim_name_set_count(t->keys) + t->n_pairs;
}

/* ---- Names that are not in the corpus ---- */

static int64_t say_one(const ms_eval_truth *t, int64_t number, const msim_corpus *corpus,
                       msim_error *err) {
    size_t n;
    char near[500] = "", *text;
    const char *name = msim_name_set_name(t->names, number, &n);
    text = ms_alloc(n + 1, 1, "a name", err);
    if (!text) return -MSIM_E_MEMORY;
    memcpy(text, name, n);
    int64_t rc = msim_corpus_suggest(corpus, text, near, sizeof near, err);
    if (rc >= 0)
        ms_cli_warning("not in the corpus: '%.200s'%s%s", text, *near ? "; similar: " : "", near);
    ms_free(text);
    return rc;
}

int64_t ms_eval_truth_say_unused(ms_eval_truth *t, const msim_corpus *corpus, const char *path,
                                 msim_error *err) {
    int64_t n = t->names ? msim_name_set_count(t->names) : 0, n_unused = 0, rc = 0;
    char count[32], all[32];
    for (int64_t i = 0; i < n && rc >= 0; i++) {
        if (!t->is_used[i] && n_unused++ < MOST_SHOWN) rc = say_one(t, i, corpus, err);
        t->is_used[i] = false;
    }
    if (n_unused && rc >= 0)
        ms_cli_warning("%s of %s names in %s are not in %s and are left out",
                       ms_cli_count(count, n_unused), ms_cli_count(all, n), t->set->truth, path);
    return rc < 0 ? rc : n_unused;
}
