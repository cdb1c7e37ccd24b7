/* Queries: opened, added to the searcher, answered. Contract: tools/search/queries.h. */
#define _GNU_SOURCE
#include "queries.h"
#include "pipeline/disk/description.h"
#include "base/mem.h"
#include "common/fits/fit.h"
#include "common/texts/progress.h"
#include "common/watch.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SHOWN = 10 };
/* Of a MIDI file, as an estimate: the files in test/data/midi have 11 bytes for each token. */
enum { BYTES_OF_TOKEN = 11 };
/* Numbers in the rows of a corpus so small that a pass is nothing beside the embedding of a query:
 * each MIDI query is answered at once. It depends on the corpus alone, as what is printed must. */
#define SMALL_CORPUS ((int64_t)1 << 26)
#define LONG_SECONDS 10.0

/* Name of a row of any corpus into q->name; returns its bytes. */
static int64_t read_name(ms_search_queries *q, const msim_corpus *corpus, int64_t row,
                         msim_error *err) {
    int64_t n = msim_corpus_name(corpus, row, q->name, q->name_cap);
    if (n < 0) return ms_fail(err, (int)-n, "a row without a name: %lld", (long long)row);
    if ((size_t)n < q->name_cap) return n;
    int rc = ms_grow((void **)&q->name, &q->name_cap, (size_t)n + 1, 1, "a row's name", err);
    return rc < 0 ? rc : msim_corpus_name(corpus, row, q->name, q->name_cap);
}

/* ---- Opening ---- */

static int compare_descriptions(const ms_search_corpus *c, const char *path, msim_error *err) {
    char expected[64], got[64];
    ms_description made;
    msim_error why;
    int found = ms_description_read(path, &made, &why);
    if (found < 0) ms_cli_warning("%s", why.text);
    if (found <= 0 || !c->how.is_described ||
        strcmp(made.model_sha256, c->how.made.model_sha256) == 0)
        return 0;
    snprintf(expected, sizeof expected, "%s %.12s", c->how.made.family, c->how.made.model_sha256);
    snprintf(got, sizeof got, "%s %.12s", made.family, made.model_sha256);
    return ms_search_contradict(c->set, "another model", path, expected, got, err);
}

/* Rows that are whitened must be so with the corpus's own map. */
static int compare_whitenings(const ms_search_queries *q, size_t i, msim_error *err) {
    int rc = ms_cli_compare_rows(q->whitening, q->sets[i], err);
    if (rc != MS_CLI_ROWS_OTHER) return rc;
    return ms_fail(err, MSIM_E_ARG, "queries and corpus do not fit: %.300s is whitened, %s",
                   q->corpus->set->vectors.items[i],
                   q->whitening ? "the corpus with another map" : "the corpus is not");
}

static int open_set(ms_search_queries *q, size_t i, msim_error *err) {
    const char *path = q->corpus->set->vectors.items[i];
    msim_corpus_info info = {.size = sizeof info};
    static const char prefix[] = "corpus: ";
    msim_error why;
    int rc = msim_corpus_open(path, NULL, q->sets + i, &why);
    if (rc == -MSIM_E_UNSUPPORTED) rc = -MSIM_E_FORMAT; /* a failure, not wrong use */
    if (rc < 0) {
        size_t skip = strncmp(why.text, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0;
        return ms_fail(err, -rc, "query vectors: %.480s", why.text + skip);
    }
    if (rc >= 0) rc = msim_corpus_get_info(q->sets[i], &info);
    if (rc < 0) return rc;
    if (info.rows > 0 && info.dim != q->corpus->info.dim)
        return ms_fail(err, MSIM_E_ARG,
                       "queries and corpus do not fit: %.300s: expected rows of the corpus's width "
                       "%lld, got %lld",
                       path, (long long)q->corpus->info.dim, (long long)info.dim);
    q->n_queries += info.rows;
    if (info.rows == 0) {
        ms_cli_error("no queries: %s: the file has no rows", path);
        q->n_failed++;
    }
    rc = compare_whitenings(q, i, err);
    return rc < 0 ? rc : compare_descriptions(q->corpus, path, err);
}

int ms_search_queries_open(const ms_search_corpus *corpus, ms_search_queries *out,
                           msim_error *err) {
    const ms_search_settings *set = corpus->set;
    msim_walk_options o = ms_cli_walk_options();
    msim_walk_stats stats = {.size = sizeof stats};
    int rc = 0;
    *out = (ms_search_queries){.corpus = corpus};
    o.paths = set->common.operands.items;
    o.n_paths = set->common.operands.n;
    o.has_stream = 1;
    out->sets = ms_alloc(set->vectors.n, sizeof *out->sets, "queries", err);
    if (out->sets)
        out->vector = ms_alloc((size_t)corpus->info.dim, sizeof *out->vector, "a query", err);
    if (!out->vector) return -MSIM_E_MEMORY;
    rc = msim_corpus_whitening(corpus->corpus, &out->whitening, err);
    for (size_t i = 0; i < set->vectors.n && rc >= 0; i++) rc = open_set(out, i, err);
    if (rc >= 0 && set->common.operands.n) rc = ms_search_model_open(corpus, &out->model, err);
    if (rc >= 0) rc = msim_walk_open(&o, &out->walk, err);
    if (rc >= 0) rc = msim_walk_get_stats(out->walk, &stats);
    if (rc >= 0) rc = ms_cli_skips_open(NULL, NULL, &out->skips, err);
    if (rc < 0) return rc;
    out->n_files = stats.files;
    out->n_failed += stats.empty_folders;
    out->n_queries += out->n_files + (int64_t)set->likes.n;
    out->midi_variants = (size_t)msim_tokenizer_variants((int)set->transpose);
    return 0;
}

void ms_search_queries_close(ms_search_queries *q) {
    msim_error e;
    for (size_t i = 0; q->sets && i < q->corpus->set->vectors.n; i++) msim_corpus_close(q->sets[i]);
    if (q->skips) (void)ms_cli_skips_close(q->skips, &e); /* writes no file */
    msim_walk_close(q->walk);
    ms_search_model_close(&q->model);
    ms_free(q->sets);
    ms_free(q->name);
    ms_free(q->vector);
}

int ms_search_queries_want_self(ms_search_queries *q, ms_search_names *names, msim_error *err) {
    int64_t rc = 0;
    msim_walk_item file = {.size = sizeof file};
    for (int64_t i = 0; i < q->n_files && rc >= 0; i++) {
        rc = msim_walk_get_input(q->walk, i, &file);
        if (rc < 0) return ms_fail(err, (int)-rc, "not in the list: query %lld", (long long)i);
        rc = ms_search_names_want_file(names, &file, err);
    }
    for (size_t i = 0; i < q->corpus->set->vectors.n; i++)
        for (int64_t row = 0; rc >= 0 && row < msim_corpus_rows(q->sets[i]); row++) {
            rc = read_name(q, q->sets[i], row, err);
            if (rc >= 0) rc = ms_search_names_want(names, q->name, (size_t)rc, err);
        }
    return rc < 0 ? (int)rc : 0;
}

int64_t ms_search_queries_room(const ms_search_queries *q) {
    size_t n_files = (size_t)q->n_files, n_others = (size_t)q->n_queries - n_files;
    bool has_windows = q->model.window_tokens && !q->model.is_pooled;
    if (q->n_queries >= MS_SEARCH_VECTORS || has_windows) return MS_SEARCH_VECTORS;
    size_t n = n_files * q->midi_variants + n_others;
    return n == 0 ? 1 : n < MS_SEARCH_VECTORS ? (int64_t)n : MS_SEARCH_VECTORS;
}

/* ---- Adding ---- */

/* A run over the queries. */
typedef struct {
    ms_search_queries *q;
    const ms_search_settings *set;
    const ms_search_names *names;
    ms_search_found *found;
    msim_searcher *s;
    ms_search_answers *answers;
    bool is_answered_at_once; /* a MIDI query does not wait for others */
    int64_t n_done;
    double began;
    bool has_said_time; /* see say_time_left */
} query_run;

/* Answer what waits when n more vectors would not fit the pass. */
static int make_room(query_run *r, int64_t n, msim_error *err) {
    return msim_searcher_waiting(r->s) + n > ms_search_queries_room(r->q)
               ? ms_search_answers_run(r->answers, r->s, err)
               : 0;
}

/* A row of a corpus as a query. */
static int add_row(query_run *r, const msim_corpus *from, int64_t row, const char *label,
                   size_t n_label, msim_error *err) {
    ms_search_queries *q = r->q;
    ms_search_query query = {
        .label = (char *)(uintptr_t)label, .n_label = n_label, .is_row = from == q->corpus->corpus};
    int64_t rc = make_room(r, 1, err);
    if (rc >= 0) rc = msim_corpus_vector(from, row, q->vector, err);
    if (rc < 0) return (int)rc;
    for (int64_t i = 0; i < q->corpus->info.dim; i++)
        if (!isfinite(q->vector[i])) {
            if (q->n_failed++ < MAX_SHOWN)
                ms_cli_error("query left out: '%.200s': expected finite numbers, got %g", label,
                             (double)q->vector[i]);
            return 0;
        }
    const msim_whitening *whitening;
    rc = msim_corpus_whitening(from, &whitening, err);
    if (rc >= 0 && query.is_row && r->found->notes)
        rc = ms_search_found_piece(r->found, label, &query.asked, err);
    query.has_notes = query.is_row && rc > 0;
    if (rc >= 0)
        rc = ms_search_answers_expect(r->answers, &query, err);
    else
        ms_asked_free(&query.asked);
    if (rc >= 0)
        rc = whitening ? msim_searcher_add_stored(r->s, q->vector, err)
                       : msim_searcher_add_vector(r->s, q->vector, err);
    if (rc >= 0 && r->set->excludes_self)
        rc = ms_search_names_leave(r->names, label, n_label, r->s, rc, err);
    return rc < 0 ? (int)rc : 0;
}

static int add_like(query_run *r, const char *name, msim_error *err) {
    char near[700];
    const int64_t *rows;
    int64_t n = ms_search_names_rows(r->names, name, strlen(name), &rows);
    if (n == 0) {
        int64_t n_near = msim_corpus_suggest(r->q->corpus->corpus, name, near, sizeof near, err);
        if (n_near < 0) return (int)n_near;
        ms_cli_error("--like: no row has the name '%.200s'%s%s", name, *near ? "; similar: " : "",
                     near);
        r->q->n_failed++;
        return 0;
    }
    /* the rows of one piece follow each other and have one name */
    int64_t piece = msim_corpus_piece_of(r->q->corpus->corpus, rows[0], err),
            last = piece < 0 ? piece : msim_corpus_piece_of(r->q->corpus->corpus, rows[n - 1], err);
    if (last < 0) return (int)last;
    if (last != piece)
        ms_cli_warning("--like: several rows have the name '%.200s': row %lld, the first, is taken",
                       name, (long long)rows[0]);
    return add_row(r, r->q->corpus->corpus, rows[0], name, strlen(name), err);
}

static int add_set(query_run *r, const msim_corpus *from, int64_t row, msim_error *err) {
    int64_t n = read_name(r->q, from, row, err);
    return n < 0 ? (int)n : add_row(r, from, row, r->q->name, (size_t)n, err);
}

static void skip(query_run *r, const msim_walk_item *file, int reason, const char *detail) {
    ms_cli_skips_add(r->q->skips, file->path, reason, detail,
                     msim_skip_is_failure(reason, file->is_named) != 0);
}

/* Add a file that was read. < 0 is a failure that ends the run. */
static int add_midi(query_run *r, const msim_walk_item *file, msim_error *err) {
    ms_search_query query = {.label = (char *)(uintptr_t)file->path,
                             .n_label = strlen(file->path),
                             .walk = r->q->walk,
                             .input = file->index,
                             .stream = file->is_stream ? (unsigned char *)(uintptr_t)file->bytes
                                                       : NULL,
                             .stream_bytes = file->n_bytes};
    int64_t n = msim_searcher_add_midi(r->s, file->bytes, file->n_bytes, err);
    if (n == -MSIM_E_FORMAT || n == -MSIM_E_EMPTY) {
        skip(r, file, msim_skip_reason_of_outcome(msim_searcher_outcome(r->s)), err->text);
        return 0;
    }
    int rc = n < 0 ? (int)n : 0;
    if (rc >= 0 && r->found->notes) {
        rc = ms_search_found_file(r->found, file, &query.asked, err);
        query.has_notes = true;
    }
    if (rc >= 0)
        rc = ms_search_answers_expect(r->answers, &query, err);
    else
        ms_asked_free(&query.asked);
    if (rc >= 0 && r->set->excludes_self)
        rc = ms_search_names_leave_file(r->names, file, r->s, n, err);
    return rc < 0 ? rc : 0;
}

static int add_file(query_run *r, int64_t input, msim_error *err) {
    msim_walk_item file = {.size = sizeof file};
    int rc = make_room(r, (int64_t)r->q->midi_variants, err);
    if (rc >= 0) rc = msim_walk_read(r->q->walk, input, &file, err);
    if (rc < 0) return rc;
    if (file.reason == MSIM_SKIP_NONE) {
        rc = add_midi(r, &file, err);
        if (rc >= 0 && r->is_answered_at_once && msim_searcher_waiting(r->s))
            rc = ms_search_answers_run(r->answers, r->s, err);
        return rc;
    }
    skip(r, &file, file.reason, file.detail);
    return 0;
}

/* ---- All of them ---- */

/* Of many queries: when the first have been answered, how long the rest will take. */
static void say_time_left(query_run *r) {
    char left[32], done[32], all[32];
    int64_t n_answered = r->answers->n_searched;
    double seconds = ms_cli_now() - r->began;
    if (r->has_said_time || n_answered == 0 || r->q->n_queries == 1) return;
    r->has_said_time = true;
    seconds *= (double)(r->q->n_queries - n_answered) / (double)n_answered;
    if (seconds < LONG_SECONDS) return;
    ms_progress_time(left, sizeof left, seconds);
    ms_cli_note("%s of %s queries answered; about %s left at this speed",
                ms_cli_count(done, n_answered), ms_cli_count(all, r->q->n_queries), left);
}

static void show_progress(query_run *r) {
    say_time_left(r);
    if (r->q->n_queries > 1) ms_cli_progress("queries", r->n_done, r->q->n_queries);
    r->n_done++;
}

/* What a folder or a list of MIDI files will cost. */
static void say_cost(const query_run *r) {
    const ms_search_queries *q = r->q;
    char files[32], size[32], count[32], rows[32];
    int64_t bytes = 0, tokens = 0, limit = q->model.max_tokens ? q->model.max_tokens : INT64_MAX;
    if (q->n_files < 2) return;
    for (int64_t i = 0; i < q->n_files; i++) {
        msim_walk_item file = {.size = sizeof file};
        if (msim_walk_get_input(q->walk, i, &file) < 0 || file.file_bytes <= 0) continue;
        int64_t n = file.file_bytes;
        bytes += n;
        tokens += n / BYTES_OF_TOKEN < limit ? n / BYTES_OF_TOKEN : limit;
    }
    ms_cli_note("%s MIDI files as queries, %s bytes, about %s tokens%s; over %s rows",
                ms_cli_count(files, q->n_files), ms_cli_count(size, bytes),
                ms_cli_count(count, tokens), q->midi_variants > 1 ? " in each of their keys" : "",
                ms_cli_count(rows, q->corpus->info.rows));
}

static int add_all(query_run *r, msim_error *err) {
    const ms_search_queries *q = r->q;
    const ms_search_settings *set = r->set;
    int rc = 0;
    for (int64_t i = 0; i < q->n_files && rc >= 0 && !ms_cli_stopped(); i++) {
        show_progress(r);
        rc = add_file(r, i, err);
    }
    for (size_t i = 0; i < set->likes.n && rc >= 0 && !ms_cli_stopped(); i++) {
        rc = add_like(r, set->likes.items[i], err);
        r->n_done++;
    }
    for (size_t i = 0; i < set->vectors.n && rc >= 0; i++) {
        int64_t n_rows = msim_corpus_rows(q->sets[i]);
        for (int64_t row = 0; row < n_rows && rc >= 0 && !ms_cli_stopped(); row++) {
            show_progress(r);
            rc = add_set(r, q->sets[i], row, err);
        }
    }
    return rc;
}

int ms_search_queries_run(ms_search_queries *q, const ms_search_names *names,
                          ms_search_found *found, msim_searcher *s, ms_search_answers *answers,
                          msim_error *err) {
    const msim_corpus_info *info = &q->corpus->info;
    query_run r = {.q = q,
                   .set = q->corpus->set,
                   .names = names,
                   .found = found,
                   .s = s,
                   .answers = answers,
                   .is_answered_at_once = info->rows <=
                                          SMALL_CORPUS / (info->dim > 0 ? info->dim : 1),
                   .began = ms_cli_now()};
    say_cost(&r);
    int rc = ms_results_begin(&answers->out) == 0 ? 0 : ms_fail(err, MSIM_E_STOPPED, "stopped");
    if (rc >= 0) rc = add_all(&r, err);
    if (rc >= 0) rc = ms_search_answers_run(answers, s, err);
    ms_cli_progress_end();
    if (q->n_failed > MAX_SHOWN) ms_cli_error("%lld failures in all", (long long)q->n_failed);
    return rc;
}
