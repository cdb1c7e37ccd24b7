/* Where queries come from: MIDI files, rows of the corpus, rows of other files; and the names that
 * matter for them. Contract: tools/search/search.h. */
#define _GNU_SOURCE
#include "search.h"
#include "common/name.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_TOKENS = 16384, MAX_SHOWN = 10 };

size_t ms_search_name(ms_search_job *j, const msim_corpus *corpus, int64_t row) {
    int64_t n = ms_name_get(corpus, row, &j->name, &j->name_cap);
    return n < 0 ? 0 : (size_t)n;
}

/* ---- Opening ---- */

static int open_set(ms_search_job *j, size_t i) {
    const char *path = j->set->vectors.items[i];
    char expected[64], got[64];
    msim_corpus_info info = {.size = sizeof info};
    ms_description made;
    msim_error e;
    int rc = msim_corpus_open(path, NULL, j->sets + i, &e);
    if (rc < 0) {
        ms_cli_error("%s", e.text);
        return rc == -MSIM_E_ARG ? MS_EXIT_USAGE : MS_EXIT_FAILED;
    }
    msim_corpus_get_info(j->sets[i], &info);
    if (info.rows > 0 && info.dim != j->rows.dim) {
        ms_cli_error(
            "queries and corpus do not fit: %s: expected rows of the corpus's width %lld, got %lld",
            path, (long long)j->rows.dim, (long long)info.dim);
        return MS_EXIT_USAGE;
    }
    j->n_queries += info.rows;
    if (info.rows == 0) {
        ms_cli_error("no queries: %s: expected at least one row, got none", path);
        j->n_failed++;
    }
    int found = ms_description_read(path, &made, &e);
    if (found < 0) ms_cli_warning("%s", e.text);
    if (found <= 0 || !j->is_described || strcmp(made.model_sha256, j->made.model_sha256) == 0)
        return -1;
    snprintf(expected, sizeof expected, "%s %.12s", j->made.family, j->made.model_sha256);
    snprintf(got, sizeof got, "%s %.12s", made.family, made.model_sha256);
    return ms_search_contradict(j, "another model", path, expected, got);
}

int ms_search_open_queries(ms_search_job *j) {
    const ms_search_settings *set = j->set;
    ms_files_request request = {.paths = set->common.operands.items,
                                .n_paths = set->common.operands.n,
                                .has_stream = true,
                                .watch = ms_cli_watch()};
    msim_error e;
    int status = -1;
    j->sets = ms_cli_alloc(set->vectors.n, sizeof *j->sets);
    for (size_t i = 0; i < set->vectors.n && status < 0; i++) status = open_set(j, i);
    if (status < 0 && set->common.operands.n) status = ms_search_open_model(j);
    if (status >= 0) return status;
    int rc = ms_files_list_open(&request, &j->files, &e);
    if (rc >= 0) rc = ms_files_skips_open(NULL, &j->skips, &e);
    if (rc < 0) {
        if (!ms_cli_stopped()) ms_cli_error("%s", e.text);
        return MS_EXIT_FAILED;
    }
    j->buffer.watch = ms_cli_watch();
    j->n_failed += (int64_t)j->files.n_empty_folders;
    j->n_queries += (int64_t)(j->files.n + set->likes.n);
    j->midi_variants = (size_t)msim_tokenizer_variants((int)set->transpose);
    return -1;
}

/* ---- Names ---- */

/* A path without its first folder, or NULL. */
static const char *shorter_path(const char *path) {
    const char *slash = strchr(path, '/');
    while (slash && *slash == '/') slash++;
    return slash && *slash ? slash : NULL;
}

static void want_self(ms_search_job *j) {
    size_t at, len;
    for (size_t i = 0; i < j->files.n; i++) {
        const ms_files_entry *entry = j->files.entries + i;
        if (entry->is_stream) continue;
        for (const char *name = entry->path; name; name = shorter_path(name))
            ms_search_names_want(&j->names, name, strlen(name));
        ms_files_stem(entry->path, &at, &len);
        ms_search_names_want(&j->names, entry->path + at, len);
    }
    for (size_t i = 0; i < j->set->vectors.n; i++)
        for (int64_t row = 0; row < msim_corpus_rows(j->sets[i]); row++) {
            size_t n = ms_search_name(j, j->sets[i], row);
            ms_search_names_want(&j->names, j->name, n);
        }
}

/* Names of --exclude-from, one a line. */
static int read_excluded(const char *path, ms_search_texts *names) {
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    if (!file) {
        ms_cli_error("cannot read: %s: %s", path, strerror(errno));
        return MS_EXIT_FAILED;
    }
    errno = 0;
    while (!ms_cli_stopped() && (n = getdelim(&line, &cap, '\n', file)) > 0) {
        if (line[n - 1] == '\n') line[--n] = 0;
        (void)ms_search_texts_add(names, line, (size_t)n, NULL);
    }
    bool is_bad = ferror(file) != 0 && !ms_cli_stopped();
    if (is_bad) ms_cli_error("cannot read: %s: %s", path, strerror(errno));
    free(line);
    if (!is_stdin) fclose(file);
    return is_bad || ms_cli_stopped() ? MS_EXIT_FAILED : -1;
}

void ms_search_add_rows(const ms_search_job *j, const char *name, size_t n, int64_t **rows,
                        size_t *n_rows, size_t *cap) {
    for (int64_t hit = ms_search_names_first(&j->names, name, n); hit >= 0;
         hit = j->names.hits[hit].next) {
        *rows = ms_cli_grow(*rows, cap, *n_rows + 1, sizeof **rows);
        (*rows)[(*n_rows)++] = j->names.hits[hit].row;
    }
}

static int compare_rows(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

void ms_search_sort_rows(int64_t *rows, size_t *n_rows) {
    size_t n = 0;
    if (*n_rows) qsort(rows, *n_rows, sizeof *rows, compare_rows);
    for (size_t i = 0; i < *n_rows; i++)
        if (i == 0 || rows[i] != rows[n - 1]) rows[n++] = rows[i];
    *n_rows = n;
}

static void exclude_rows(ms_search_job *j, const ms_search_texts *from) {
    char count[32], all[32];
    int64_t n_unknown = 0;
    for (size_t i = 0; i < j->set->excluded.n; i++) {
        const char *name = j->set->excluded.items[i];
        if (ms_search_names_first(&j->names, name, strlen(name)) < 0)
            ms_cli_warning("--exclude: no row has the name '%s'", name);
        ms_search_add_rows(j, name, strlen(name), &j->excluded, &j->n_excluded, &j->excluded_cap);
    }
    for (size_t i = 0; i < from->n; i++) {
        const char *name = from->bytes + from->items[i].at;
        n_unknown += ms_search_names_first(&j->names, name, from->items[i].n) < 0;
        ms_search_add_rows(j, name, from->items[i].n, &j->excluded, &j->n_excluded,
                           &j->excluded_cap);
    }
    if (n_unknown)
        ms_cli_note("--exclude-from: %s of %s names are no row's: %s",
                    ms_cli_count(count, n_unknown), ms_cli_count(all, (int64_t)from->n),
                    j->set->excluded_from);
    ms_search_sort_rows(j->excluded, &j->n_excluded);
}

int ms_search_find_names(ms_search_job *j) {
    const ms_search_settings *set = j->set;
    ms_search_texts from = {0};
    int status = set->excluded_from ? read_excluded(set->excluded_from, &from) : -1;
    for (size_t i = 0; i < set->likes.n; i++)
        ms_search_names_want(&j->names, set->likes.items[i], strlen(set->likes.items[i]));
    for (size_t i = 0; i < set->excluded.n; i++)
        ms_search_names_want(&j->names, set->excluded.items[i], strlen(set->excluded.items[i]));
    for (size_t i = 0; i < from.n; i++)
        ms_search_names_want(&j->names, from.bytes + from.items[i].at, from.items[i].n);
    if (set->excludes_self) want_self(j);
    if (status < 0 && !ms_search_names_scan(&j->names, j->corpus)) status = MS_EXIT_FAILED;
    if (status < 0) exclude_rows(j, &from);
    ms_search_texts_free(&from);
    return status;
}

/* ---- Adding to the group ---- */

/* The next query of the group; room for its vectors is there. */
static ms_search_query *new_query(ms_search_job *j, const char *label, size_t n_label,
                                  size_t n_variants) {
    ms_search_query *q = j->group + j->n_group++;
    *q = (ms_search_query){.n_label = n_label, .first = j->n_vectors, .n_variants = n_variants};
    q->label = ms_cli_alloc(n_label + 1, 1);
    memcpy(q->label, label, n_label);
    j->n_vectors += n_variants;
    return q;
}

static bool is_excluded(const ms_search_job *j, int64_t row) {
    return j->n_excluded && bsearch(&row, j->excluded, j->n_excluded, sizeof row, compare_rows);
}

/* Rows of the query's own names, without those that are out anyway. */
static void find_self(ms_search_job *j, ms_search_query *q) {
    size_t at, len, n = 0;
    if (!j->set->excludes_self || (q->file && q->file->is_stream)) return;
    for (const char *name = q->file ? q->label : NULL; name; name = shorter_path(name))
        ms_search_add_rows(j, name, strlen(name), &q->self, &q->n_self, &q->self_cap);
    if (q->file) {
        ms_files_stem(q->label, &at, &len);
        ms_search_add_rows(j, q->label + at, len, &q->self, &q->n_self, &q->self_cap);
    } else {
        ms_search_add_rows(j, q->label, q->n_label, &q->self, &q->n_self, &q->self_cap);
    }
    ms_search_sort_rows(q->self, &q->n_self);
    for (size_t i = 0; i < q->n_self; i++)
        if (!is_excluded(j, q->self[i])) q->self[n++] = q->self[i];
    q->n_self = n;
}

/* Search what is in the group when n more vectors would not fit. */
static int make_room(ms_search_job *j, size_t n, msim_error *err) {
    return j->n_vectors + n > j->group_cap ? ms_search_pass(j, err) : 0;
}

/* A row of a corpus as a query. */
static int add_row(ms_search_job *j, const msim_corpus *from, int64_t row, const char *label,
                   size_t n_label, msim_error *err) {
    int rc = make_room(j, 1, err);
    if (rc != 0) return rc;
    float *to = j->vectors + j->n_vectors * (size_t)j->rows.dim;
    if ((rc = msim_corpus_vector(from, row, to, err)) < 0) return rc;
    for (int64_t i = 0; i < j->rows.dim; i++)
        if (!isfinite(to[i])) {
            if (j->n_failed++ < MAX_SHOWN)
                ms_cli_error("query left out: '%.200s': expected finite numbers, got %g", label,
                             (double)to[i]);
            return 0;
        }
    ms_search_query *q = new_query(j, label, n_label, 1);
    q->is_row = from == j->corpus;
    find_self(j, q);
    return 0;
}

static int add_like(ms_search_job *j, const char *name, msim_error *err) {
    char near[700];
    int64_t hit = ms_search_names_first(&j->names, name, strlen(name));
    if (hit < 0) {
        ms_search_names_suggest(j->corpus, name, strlen(name), near, sizeof near);
        ms_cli_error("--like: no row has the name '%.200s'%s%s", name, *near ? "; similar: " : "",
                     near);
        j->n_failed++;
        return 0;
    }
    if (j->names.hits[hit].next >= 0)
        ms_cli_warning("--like: several rows have the name '%.200s': row %lld, the first, is taken",
                       name, (long long)j->names.hits[hit].row);
    return add_row(j, j->corpus, j->names.hits[hit].row, name, strlen(name), err);
}

/* ---- MIDI files ---- */

/* A context whose batches hold a sequence of n tokens; a longer query than before gets a larger
 * one. */
static int ensure_encoder(ms_search_job *j, int64_t n_tokens, msim_error *err) {
    if (j->encoder && n_tokens <= j->batch_tokens) return 0;
    msim_options o = ms_cli_library_options(&j->set->common);
    o.max_batch_tokens = n_tokens > BATCH_TOKENS ? n_tokens : BATCH_TOKENS;
    o.max_queries = o.max_k = 1;
    msim_context_close(j->encoder);
    j->encoder = NULL;
    j->batch_tokens = o.max_batch_tokens;
    return msim_context_open(j->model, &o, &j->encoder, err);
}

/* Embed the variants in the order of starts [midi_variants + 1] into out, as many at a time as fit
 * a batch. */
static int embed_variants(ms_search_job *j, const int64_t *starts, float *out, msim_error *err) {
    int64_t batch_starts[MS_SEARCH_VARIANTS + 1];
    double began = ms_cli_now();
    for (size_t first = 0, n; first < j->midi_variants; first += n) {
        for (n = 0; first + n < j->midi_variants; n++) {
            batch_starts[n] = starts[first + n] - starts[first];
            if (n && starts[first + n + 1] - starts[first] > j->batch_tokens) break;
        }
        batch_starts[n] = starts[first + n] - starts[first];
        int rc = msim_context_embed(j->encoder, j->ids + starts[first], batch_starts, n,
                                    j->is_weighted ? j->weights : NULL,
                                    out + first * (size_t)j->rows.dim, err);
        if (rc < 0) return rc;
    }
    j->embed_seconds += ms_cli_now() - began;
    return 0;
}

/* Add one file's vectors to the group. Returns a msim_skip_reason, or < 0 for a failure that ends
 * the run. */
static int add_file(ms_search_job *j, const ms_files_entry *entry, char *detail, msim_error *err) {
    int64_t starts[MS_SEARCH_VARIANTS + 1], limit = j->max_tokens ? j->max_tokens : INT64_MAX;
    int reason = ms_files_read(entry, &j->buffer, detail, err);
    if (reason != MSIM_SKIP_NONE) return reason;
    int factor = (int)j->set->transpose;
    size_t bound = msim_tokenizer_bound(j->buffer.n_bytes, factor, limit);
    j->ids = ms_cli_grow(j->ids, &j->ids_cap, bound, sizeof *j->ids);
    int64_t n = msim_tokenizer_encode(j->tokenizer, j->buffer.data, j->buffer.n_bytes, factor,
                                      limit, j->ids, j->ids_cap, starts, err);
    if (n == -MSIM_E_FORMAT || n == -MSIM_E_EMPTY) {
        snprintf(detail, MS_FILES_DETAIL, "%s", err->text);
        return ms_files_reason_of_outcome(msim_tokenizer_outcome(j->tokenizer));
    }
    if (n < 0) return (int)n;
    if (msim_tokenizer_full_length(j->tokenizer) > starts[1]) j->n_cut++;
    int rc = ensure_encoder(j, starts[1], err);
    if (rc >= 0)
        rc = embed_variants(j, starts, j->vectors + j->n_vectors * (size_t)j->rows.dim, err);
    if (rc < 0) return rc;
    ms_search_query *q = new_query(j, entry->path, strlen(entry->path), j->midi_variants);
    q->file = entry;
    if (entry->is_stream && j->copier) {
        q->stream = ms_cli_alloc(j->buffer.n_bytes, 1);
        q->stream_bytes = j->buffer.n_bytes;
        memcpy(q->stream, j->buffer.data, j->buffer.n_bytes);
    }
    find_self(j, q);
    return MSIM_SKIP_NONE;
}

static int run_file(ms_search_job *j, const ms_files_entry *entry, msim_error *err) {
    char detail[MS_FILES_DETAIL];
    int rc = make_room(j, j->midi_variants, err);
    if (rc != 0) return rc;
    rc = add_file(j, entry, detail, err);
    if (rc <= 0) return rc;
    ms_files_skips_add(j->skips, entry->path, rc, detail, entry->is_named);
    return 0;
}

/* ---- All of them ---- */

static void show_progress(const ms_search_job *j, int64_t done) {
    if (j->n_queries > 1) ms_cli_progress("queries", done, j->n_queries);
}

int ms_search_run_queries(ms_search_job *j) {
    const ms_search_settings *set = j->set;
    msim_error e;
    int64_t done = 0;
    int rc = ms_results_begin(&j->out) == 0 ? 0 : 1;
    for (size_t i = 0; i < j->files.n && rc == 0 && !ms_cli_stopped(); i++) {
        show_progress(j, done++);
        rc = run_file(j, j->files.entries + i, &e);
    }
    for (size_t i = 0; i < set->likes.n && rc == 0 && !ms_cli_stopped(); i++, done++)
        rc = add_like(j, set->likes.items[i], &e);
    for (size_t i = 0; i < set->vectors.n && rc == 0; i++)
        for (int64_t row = 0; row < msim_corpus_rows(j->sets[i]) && rc == 0 && !ms_cli_stopped();
             row++) {
            show_progress(j, done++);
            size_t n = ms_search_name(j, j->sets[i], row);
            rc = add_row(j, j->sets[i], row, j->name, n, &e);
        }
    if (rc == 0) rc = ms_search_pass(j, &e);
    ms_cli_progress_end();
    if (rc < 0 && !ms_cli_stopped()) ms_cli_error("%s", e.text);
    if (j->n_failed > MAX_SHOWN) ms_cli_error("%lld failures in all", (long long)j->n_failed);
    return rc < 0 ? MS_EXIT_FAILED : MS_EXIT_OK;
}

void ms_search_close_queries(ms_search_job *j) {
    msim_error e;
    for (size_t i = 0; j->sets && i < j->set->vectors.n; i++) msim_corpus_close(j->sets[i]);
    free(j->sets);
    free(j->excluded);
    free(j->ids);
    free(j->name);
    msim_context_close(j->encoder);
    if (j->skips) (void)ms_files_skips_close(j->skips, &e);
    ms_search_names_free(&j->names);
    ms_files_list_close(&j->files);
    ms_files_buffer_free(&j->buffer);
}
