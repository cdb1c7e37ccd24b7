/* Names that matter for a search. Contract: tools/search/names.h. */
#define _GNU_SOURCE
#include "names.h"
#include "base/text/lines.h"
#include "base/mem.h"
#include "common/watch.h"
#include <stdio.h>
#include <stdlib.h>
#include <ctype.h>
#include <string.h>

int ms_search_names_open(const ms_search_corpus *corpus, ms_search_names *out, msim_error *err) {
    const ms_search_settings *set = corpus->set;
    *out = (ms_search_names){.set = set, .corpus = corpus->corpus};
    int rc = msim_name_set_open(&out->names, err);
    if (rc >= 0) rc = msim_name_set_open(&out->left_out, err);
    for (size_t i = 0; i < set->likes.n && rc >= 0; i++)
        rc = ms_search_names_want(out, set->likes.items[i], strlen(set->likes.items[i]), err);
    for (size_t i = 0; i < set->excluded.n && rc >= 0; i++)
        rc = ms_search_names_want(out, set->excluded.items[i], strlen(set->excluded.items[i]), err);
    return rc;
}

void ms_search_names_close(ms_search_names *n) {
    msim_name_set_close(n->names);
    msim_name_set_close(n->left_out);
    ms_free(n->excluded);
}

int ms_search_names_want(ms_search_names *n, const char *name, size_t n_name, msim_error *err) {
    int64_t number = msim_name_set_add(n->names, name, n_name, err);
    return number < 0 ? (int)number : 0;
}

int64_t ms_search_names_rows(const ms_search_names *n, const char *name, size_t n_name,
                             const int64_t **rows) {
    return msim_name_set_rows(n->names, msim_name_set_find(n->names, name, n_name), rows);
}

int ms_search_names_leave(const ms_search_names *n, const char *name, size_t n_name,
                          msim_searcher *s, int64_t query, msim_error *err) {
    const int64_t *rows;
    int64_t n_rows = ms_search_names_rows(n, name, n_name, &rows);
    return n_rows ? msim_searcher_exclude(s, query, rows, (size_t)n_rows, err) : 0;
}

/* ---- Names of a file ---- */

/* A path without its first folder, or NULL. */
static const char *shorter_path(const char *path) {
    const char *slash = strchr(path, '/');
    while (slash && *slash == '/') slash++;
    return slash && *slash ? slash : NULL;
}

int ms_search_names_want_file(ms_search_names *n, const msim_walk_item *file, msim_error *err) {
    int rc = 0;
    if (file->is_stream) return 0;
    for (const char *name = file->path; name && rc >= 0; name = shorter_path(name))
        rc = ms_search_names_want(n, name, strlen(name), err);
    return rc < 0 ? rc : ms_search_names_want(n, file->stem, file->stem_bytes, err);
}

bool ms_search_names_is_of_file(const msim_walk_item *file, const char *name, size_t n_name) {
    if (file->is_stream) return false;
    for (const char *own = file->path; own; own = shorter_path(own))
        if (strlen(own) == n_name && memcmp(own, name, n_name) == 0) return true;
    return file->stem_bytes == n_name && memcmp(file->stem, name, n_name) == 0;
}

int ms_search_names_leave_file(const ms_search_names *n, const msim_walk_item *file,
                               msim_searcher *s, int64_t query, msim_error *err) {
    int rc = 0;
    if (file->is_stream) return 0;
    for (const char *name = file->path; name && rc >= 0; name = shorter_path(name))
        rc = ms_search_names_leave(n, name, strlen(name), s, query, err);
    return rc < 0 ? rc : ms_search_names_leave(n, file->stem, file->stem_bytes, s, query, err);
}

/* ---- Excluded rows ---- */

/* Names of --exclude-from, one per line. */
static int read_excluded(const char *path, msim_name_set *names, msim_error *err) {
    ms_lines lines;
    const char *line;
    size_t n;
    int64_t rc = ms_lines_open(&lines, path, '\n', err);
    while (rc >= 0 && !ms_cli_stopped() && (rc = ms_lines_next(&lines, &line, &n, err)) > 0)
        rc = msim_name_set_add(names, line, n, err);
    if (ms_cli_stopped()) rc = ms_fail(err, MSIM_E_STOPPED, "stopped");
    ms_lines_close(&lines);
    return rc < 0 ? (int)rc : 0;
}

/* The rows of a name are no results. Returns how many there are. */
static int64_t exclude(ms_search_names *n, const char *name, size_t n_name, msim_error *err) {
    const int64_t *rows;
    int64_t n_rows = ms_search_names_rows(n, name, n_name, &rows);
    int rc = ms_grow((void **)&n->excluded, &n->excluded_cap, n->n_excluded + (size_t)n_rows,
                     sizeof *n->excluded, "excluded rows", err);
    if (rc < 0) return rc;
    if (n_rows) memcpy(n->excluded + n->n_excluded, rows, (size_t)n_rows * sizeof *rows);
    n->n_excluded += (size_t)n_rows;
    return n_rows;
}

static int exclude_named(ms_search_names *n, msim_error *err) {
    for (size_t i = 0; i < n->set->excluded.n; i++) {
        const char *name = n->set->excluded.items[i];
        int64_t n_rows = exclude(n, name, strlen(name), err);
        if (n_rows < 0) return (int)n_rows;
        if (n_rows == 0) ms_cli_warning("--exclude: no row has the name '%s'", name);
    }
    return 0;
}

static int exclude_listed(ms_search_names *n, const msim_name_set *from, msim_error *err) {
    char count[32], all[32];
    int64_t n_unknown = 0, n_names = msim_name_set_count(from);
    for (int64_t i = 0; i < n_names; i++) {
        size_t n_name;
        const char *name = msim_name_set_name(from, i, &n_name);
        int64_t n_rows = exclude(n, name, n_name, err);
        if (n_rows < 0) return (int)n_rows;
        n_unknown += n_rows == 0;
    }
    if (n_unknown)
        ms_cli_warning("--exclude-from: %s of %s names are not the name of any row: %s",
                       ms_cli_count(count, n_unknown), ms_cli_count(all, n_names),
                       n->set->excluded_from);
    return 0;
}

/* Add the listed names to those that are looked up. */
static int want_all(ms_search_names *n, const msim_name_set *from, msim_error *err) {
    int rc = 0;
    for (int64_t i = 0; i < msim_name_set_count(from) && rc >= 0; i++) {
        size_t n_name;
        const char *name = msim_name_set_name(from, i, &n_name);
        rc = ms_search_names_want(n, name, n_name, err);
    }
    return rc;
}

/* The names of --exclude too: what left_out is for once the listed ones are counted. */
static int leave_out_named(ms_search_names *n, msim_error *err) {
    int64_t rc = 0;
    for (size_t i = 0; i < n->set->excluded.n && rc >= 0; i++) {
        const char *name = n->set->excluded.items[i];
        rc = msim_name_set_add(n->left_out, name, strlen(name), err);
    }
    return rc < 0 ? (int)rc : 0;
}

int ms_search_names_scan(ms_search_names *n, msim_error *err) {
    int rc = n->set->excluded_from ? read_excluded(n->set->excluded_from, n->left_out, err) : 0;
    if (rc >= 0) rc = want_all(n, n->left_out, err);
    if (rc >= 0) rc = msim_name_set_scan(n->names, n->corpus, ms_cli_count_progress, "names", err);
    ms_cli_progress_end();
    if (rc >= 0) rc = exclude_named(n, err);
    if (rc >= 0) rc = exclude_listed(n, n->left_out, err);
    return rc < 0 ? rc : leave_out_named(n, err);
}

bool ms_search_names_is_excluded(const ms_search_names *n, const char *name, size_t n_name) {
    return msim_name_set_find(n->left_out, name, n_name) >= 0;
}

/* ---- Names for completions ---- */

enum { MAX_ROWS = 200, NAME_BYTES = 4096 };

static bool is_fit(const char *name, const char *prefix, size_t n) {
    if (strncmp(name, prefix, n) != 0) return false;
    for (; *name; name++)
        if (iscntrl((unsigned char)*name)) return false;
    return true;
}

int ms_search_complete_rows(int argc, char **argv) {
    const char *prefix = argc > 2 ? argv[2] : "";
    size_t n = strlen(prefix);
    char name[NAME_BYTES];
    msim_corpus *corpus;
    msim_corpus_info info = {.size = sizeof info};
    if (argc < 4 || msim_corpus_open_many((const char *const *)argv + 3, (size_t)argc - 3, NULL,
                                          &corpus, NULL) < 0)
        return -MSIM_E_IO;
    if (msim_corpus_get_info(corpus, &info) < 0) info.rows = 0;
    for (int64_t row = 0, shown = 0; row < info.rows && shown < MAX_ROWS; row++) {
        int64_t bytes = msim_corpus_name(corpus, row, name, sizeof name);
        if (bytes < 0 || bytes >= NAME_BYTES || !is_fit(name, prefix, n)) continue;
        if (ms_cli_print("%s\n", name) < 0) break;
        shown++;
    }
    msim_corpus_close(corpus);
    return 0;
}
