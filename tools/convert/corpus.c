/* midisim-convert: corpora of any format into any other, and shards into one. Rows pass one at a
 * time, so memory does not grow with them; the library's writer sees to it that the output appears
 * whole or not at all. Contract: tools/convert/convert.h; formats: docs/FORMATS.md, Corpora. */
#define _GNU_SOURCE
#include "convert.h"
#include "common/name.h"
#include "common/watch.h"
#include "base/mem.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    const ms_convert_settings *s;
    msim_corpus *corpus;
    msim_corpus_info info;
    msim_corpus_merge *merge; /* owned; NULL: rows as they come */
    msim_corpus_layout layout;
    const char *out;
    ms_description description;
    bool has_sidecar;
    const msim_whitening *whitening; /* borrowed from the corpus; NULL: its rows are not whitened */
    ms_source *sources;              /* owned: of each input row, or NULL */
    uint32_t *order; /* owned: with merge and sources or spans: the input row of each output
                         * row */
    char *name;      /* owned */
    size_t name_cap;
    int64_t n_nonfinite;
} conversion;

/* ---- Settings beside the inputs ---- */

int ms_convert_description(const msim_corpus *corpus, int64_t part, ms_description *description,
                           msim_error *err) {
    const char *path = msim_corpus_part_path(corpus, part);
    int rc = ms_description_read(path, description, err);
    if (rc < 1) return rc;
    rc = ms_description_check(description, corpus, part, err);
    return rc < 0 ? rc : 1;
}

/* Take one more description into the common one. 0; 1 when they differ, with --force, in more than
 * where the model ran; < 0 when that is refused. */
static int combine(conversion *j, const ms_description *one, const char *path, msim_error *err) {
    char what[256];
    ms_description *all = &j->description;
    all->rows += one->rows;
    all->files += one->files;
    all->unread += one->unread;
    all->failed += one->failed;
    all->is_complete &= one->is_complete;
    if (!ms_description_differs(all, one, what, sizeof what)) return 0;
    if (!j->s->is_forced)
        return ms_fail(err, MSIM_E_ARG, "settings differ: %.200s: %.180s (--force goes on)", path,
                       what);
    ms_cli_warning("settings differ: %s: %s", path, what);
    ms_description there = *one;
    ms_description_add_levels(all, one);
    if (strcmp(all->device, one->device) != 0) snprintf(all->device, sizeof all->device, "mixed");
    return ms_description_differs_beyond_level(all, &there, what, sizeof what);
}

/* Where the rows of one part came from, behind those of the parts before. Without them for all
 * there are none; damaged ones count as none. */
static int gather_sources(conversion *j, int64_t part, msim_error *err) {
    ms_source *one = NULL;
    int64_t first = msim_corpus_part_first(j->corpus, part),
            n = msim_corpus_part_first(j->corpus, part + 1) - first;
    if (part == 0 && j->info.rows < UINT32_MAX) {
        j->sources = ms_alloc((size_t)j->info.rows, sizeof *j->sources, "sources of rows", err);
        if (!j->sources) return -MSIM_E_MEMORY;
    }
    if (!j->sources || n == 0) return 0;
    int rc = ms_description_read_sources(msim_corpus_part_path(j->corpus, part), n, &one, err);
    if (rc < 0 && rc != -MSIM_E_FORMAT) return rc;
    if (rc < 0) ms_cli_warning("%s", err->text);
    if (rc == 1) {
        memcpy(j->sources + first, one, (size_t)n * sizeof *one);
    } else {
        ms_free(j->sources);
        j->sources = NULL;
    }
    ms_free(one);
    return 0;
}

static int compare_numbers(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A merged corpus of `of` shards is complete when they are all there, each once. shards [n] are
 * their numbers. */
static int check_shards(conversion *j, int64_t *shards, int64_t n, int64_t of, msim_error *err) {
    int64_t n_same = 0;
    if (n) qsort(shards, (size_t)n, sizeof *shards, compare_numbers);
    for (int64_t i = 1; i < n; i++) {
        if (shards[i] != shards[i - 1]) continue;
        if (!j->s->is_forced)
            return ms_fail(err, MSIM_E_ARG, "shard %lld of %lld is given twice (--force goes on)",
                           (long long)shards[i], (long long)of);
        ms_cli_warning("shard %lld of %lld is there twice", (long long)shards[i], (long long)of);
        n_same++;
    }
    if (n - n_same >= of) return 0;
    ms_cli_warning("%lld of %lld shards: the corpus is not complete", (long long)(n - n_same),
                   (long long)of);
    j->description.is_complete = false;
    return 0;
}

/* The description of the output, from those beside all inputs: they must agree, or there must be
 * none at all. */
static int gather(conversion *j, msim_error *err) {
    int64_t n_parts = msim_corpus_parts(j->corpus), n_found = 0, of = 0;
    int64_t *shards = ms_alloc((size_t)n_parts, sizeof *shards, "shards", err);
    bool differ = false;
    int rc = shards ? 0 : -MSIM_E_MEMORY;
    for (int64_t i = 0; i < n_parts && rc >= 0; i++) {
        const char *path = msim_corpus_part_path(j->corpus, i);
        ms_description one;
        rc = ms_convert_description(j->corpus, i, &one, err);
        if ((rc == -MSIM_E_FORMAT || rc == -MSIM_E_ARG) && j->s->is_forced) {
            ms_cli_warning("%s", err->text);
            rc = 0;
        }
        if (rc < 1) continue;
        if (n_found == 0) of = one.n_shards;
        shards[n_found] = one.shard;
        /* part of a whole no longer */
        if (j->s->is_merge && one.n_shards == of) one.shard = one.n_shards = 0;
        rc = gather_sources(j, i, err);
        if (rc < 0) break;
        if (n_found++ == 0)
            j->description = one;
        else
            rc = combine(j, &one, path, err);
        differ |= rc > 0;
    }
    j->has_sidecar = rc >= 0 && n_found == n_parts && !differ;
    if (rc >= 0 && n_found > 0 && n_found < n_parts && !j->s->is_forced)
        rc = ms_fail(err, MSIM_E_ARG,
                     "settings unknown: only %lld of %lld files have a description (.json) beside "
                     "them (--force goes on without)",
                     (long long)n_found, (long long)n_parts);
    else if (j->has_sidecar && j->s->is_merge && of > 0)
        rc = check_shards(j, shards, n_found, of, err);
    ms_free(shards);
    if (rc >= 0 && n_found > 0 && !j->has_sidecar)
        ms_cli_warning("no description is written, as that of the inputs is not one");
    return rc;
}

/* ---- What is written ---- */

/* The type that the rows have in all files, or -1. A corpus tells only that of the first. */
static int common_dtype(const conversion *j) {
    int dtype = j->info.dtype;
    for (int64_t i = 0; j->info.parts > 1 && i < j->info.parts && dtype >= 0; i++) {
        msim_corpus *one;
        msim_corpus_info info = {.size = sizeof info};
        if (msim_corpus_open(msim_corpus_part_path(j->corpus, i), NULL, &one, NULL) < 0) return -1;
        if (msim_corpus_get_info(one, &info) >= 0 && info.rows > 0 && info.dtype != dtype)
            dtype = -1;
        msim_corpus_close(one);
    }
    return dtype;
}

static int longest_name(conversion *j, msim_error *err) {
    for (int64_t i = 0; i < j->info.rows; i++) {
        int64_t n = ms_name_get(j->corpus, i, &j->name, &j->name_cap, err);
        if (n < 0) return (int)n;
        int64_t chars = msim_name_chars(j->name, (size_t)n);
        if (chars > j->layout.name_chars) j->layout.name_chars = chars;
        if (i % 4096) continue;
        ms_cli_progress("names", i, j->info.rows);
        if (ms_cli_stopped()) return ms_fail(err, MSIM_E_IO, "stopped");
    }
    ms_cli_progress_end();
    return 0;
}

static int plan(conversion *j, msim_error *err) {
    const ms_convert_settings *s = j->s;
    int format = s->format < 0 ? MSIM_FORMAT_STRUCTURED : s->format,
        dtype = s->dtype < 0 ? common_dtype(j) : s->dtype, rc = 0;
    if (s->dtype < 0 && !msim_format_has_dtype(format, dtype)) dtype = MSIM_DTYPE_F32;
    j->layout = (msim_corpus_layout){.size = sizeof(msim_corpus_layout),
                                     .rows = j->info.rows,
                                     .dim = j->info.dim,
                                     .dtype = dtype,
                                     .format = format,
                                     .name_field = s->name_field,
                                     .vector_field = s->vector_field};
    if (s->is_merge) {
        rc = msim_corpus_merge_open(j->corpus, ms_cli_count_progress, "names", &j->merge, err);
        ms_cli_progress_end();
        if (rc >= 0) j->layout.name_chars = msim_corpus_merge_name_chars(j->merge);
    } else if (format == MSIM_FORMAT_STRUCTURED) {
        rc = longest_name(j, err);
    }
    return rc;
}

/* The file that holds a row, for messages. */
static const char *path_of(const conversion *j, int64_t row) {
    int64_t part = 0;
    while (part + 1 < j->info.parts && msim_corpus_part_first(j->corpus, part + 1) <= row) part++;
    return msim_corpus_part_path(j->corpus, part);
}

static int check_finite(conversion *j, int64_t at, const char *name, const float *row,
                        msim_error *err) {
    uint32_t is_bad = 0;
    int64_t k = 0;
    for (int64_t i = 0; i < j->info.dim; i++) is_bad |= !(fabsf(row[i]) <= 3.402823466e38f);
    if (!is_bad) return 0;
    j->n_nonfinite++;
    if (j->s->keeps_nonfinite) return 0;
    while (isfinite(row[k])) k++;
    return ms_fail(
        err, MSIM_E_FORMAT,
        "bad row: %.150s: row %lld ('%.120s'): component %lld: expected a finite number, got %g "
        "(--keep-nonfinite keeps it)",
        path_of(j, at), (long long)at, name, (long long)k, (double)row[k]);
}

static int write_rows(conversion *j, msim_corpus_writer *writer, msim_error *err) {
    float *row = ms_alloc((size_t)j->info.dim, sizeof *row, "a row", err);
    int rc = row ? 0 : -MSIM_E_MEMORY;
    if ((j->sources || ms_description_has_spans(&j->description)) && j->merge) {
        j->order = ms_alloc((size_t)j->info.rows, sizeof *j->order, "order of rows", err);
        if (!j->order) rc = -MSIM_E_MEMORY;
    }
    for (int64_t i = 0; i < j->info.rows && rc >= 0; i++) {
        const char *name = NULL;
        size_t n = 0;
        int64_t at = i;
        msim_error why = {0};
        if (j->merge) {
            rc = msim_corpus_merge_next(j->merge, &at, &name, &n, err);
        } else {
            int64_t got = ms_name_get(j->corpus, i, &j->name, &j->name_cap, err);
            rc = got < 0 ? (int)got : 0;
            n = got < 0 ? 0 : (size_t)got;
            name = j->name;
        }
        if (rc >= 0) rc = msim_corpus_vector(j->corpus, at, row, err);
        if (j->order) j->order[i] = (uint32_t)at;
        if (rc >= 0) rc = check_finite(j, at, name, row, err);
        if (rc >= 0) rc = msim_corpus_writer_add(writer, name, n, row, &why);
        if (why.code == MSIM_E_IO)
            *err = why;
        else if (why.code) /* the writer knows the row's number in the output alone */
            ms_fail(err, why.code, "%.280s: '%.80s' of %.100s", why.text, name, path_of(j, at));
        if (i % 256) continue;
        ms_cli_progress("rows", i, j->info.rows);
        if (ms_cli_stopped()) rc = -MSIM_E_IO;
    }
    ms_cli_progress_end();
    ms_free(row);
    return rc < 0 ? rc : msim_corpus_check(j->corpus, err);
}

static void get_source(void *user, int64_t row, ms_source *out) {
    const conversion *j = user;
    *out = j->sources[j->order ? j->order[row] : row];
}

static int get_span(void *user, int64_t row, ms_stored_span *out, msim_error *err) {
    const conversion *j = user;
    msim_span span;
    int64_t at = j->order ? j->order[row] : row;
    int rc = msim_corpus_span(j->corpus, at, &span, err);
    int64_t first = rc < 0 ? rc : msim_corpus_piece_first(j->corpus, span.piece, err);
    if (first < 0) return (int)first;
    *out = ms_span_pack(&span, (uint32_t)(at - first));
    return 0;
}

static int get_bars(void *user, int64_t row, ms_stored_bars *out, msim_error *err) {
    const conversion *j = user;
    msim_bar_span bars;
    int rc = msim_corpus_bars(j->corpus, j->order ? j->order[row] : row, &bars, err);
    if (rc >= 0) *out = ms_bars_pack(&bars);
    return rc;
}

/* Give the output its name while no description stands beside it; put the old one back when that
 * fails. */
static int put_in_place(conversion *j, msim_corpus_writer *writer, msim_error *err) {
    char beside[4352], aside[4400];
    if (!ms_description_path(j->out, beside, sizeof beside))
        return ms_fail(err, MSIM_E_ARG, "path too long: %.80s...", j->out);
    snprintf(aside, sizeof aside, "%s" MS_CONVERT_ASIDE, j->out, (long)getpid());
    bool had_one = rename(beside, aside) == 0;
    if (!had_one && errno != ENOENT)
        return ms_fail(err, MSIM_E_IO, "cannot replace: %s: %s", beside, strerror(errno));
    int rc = msim_corpus_writer_finish(writer, err);
    if (had_one && (rc < 0 ? rename(aside, beside) : unlink(aside)) != 0 && rc >= 0)
        rc = ms_fail(err, MSIM_E_IO, "cannot remove: %s: %s", aside, strerror(errno));
    /* The codes beside it are of the rows that were there: they would only be refused. */
    if (rc >= 0 && (size_t)snprintf(aside, sizeof aside, "%s.msim", j->out) < sizeof aside)
        (void)unlink(aside);
    if (rc < 0 || (!j->has_sidecar && !j->whitening)) return rc;
    if (!j->has_sidecar) j->description = (ms_description){.rows = j->info.rows};
    snprintf(j->description.tool, sizeof j->description.tool, "midisim-convert");
    snprintf(j->description.version, sizeof j->description.version, "%s", msim_version());
    snprintf(j->description.dtype, sizeof j->description.dtype, "%s",
             msim_dtype_name(j->layout.dtype));
    const bool has_spans = ms_description_has_spans(&j->description);
    int has_bars = has_spans ? msim_corpus_has_bars(j->corpus, err) : 0;
    if (has_bars < 0) return has_bars;
    ms_description_rows rows = {.user = j,
                                .source = j->sources ? get_source : NULL,
                                .span = has_spans ? get_span : NULL,
                                .bars = has_bars ? get_bars : NULL,
                                .whitening = j->whitening};
    rc = ms_description_take_fingerprint(&j->description, j->out, err);
    /* Bare rows under a name that does not tell their format. */
    if (rc == -MSIM_E_FORMAT) rc = *j->description.fingerprint = 0;
    return rc < 0 ? rc : ms_description_write_to(beside, &j->description, &rows, err);
}

static int write_output(conversion *j, msim_error *err) {
    msim_corpus_writer *writer;
    if (ms_description_has_spans(&j->description) && j->merge && j->info.rows >= UINT32_MAX)
        return ms_fail(err, MSIM_E_LIMIT,
                       "--merge: expected fewer than 2^32 - 1 rows of windows, got %lld",
                       (long long)j->info.rows);
    int rc = msim_corpus_writer_open(j->out, &j->layout, &writer, err);
    if (rc < 0) return rc;
    rc = write_rows(j, writer, err);
    if (rc >= 0) rc = put_in_place(j, writer, err);
    msim_corpus_writer_close(writer);
    return rc;
}

static void say_done(const conversion *j, double seconds) {
    char rows[32], files[32];
    struct stat st;
    double megabytes = stat(j->out, &st) == 0 ? (double)st.st_size / 1e6 : 0;
    if (j->merge && msim_corpus_merge_repeats(j->merge))
        ms_cli_warning("%s rows have the name of the row before; such rows are in the order of the "
                       "files given",
                       ms_cli_count(rows, msim_corpus_merge_repeats(j->merge)));
    if (j->n_nonfinite)
        ms_cli_warning("%s row%s with NaN or infinity kept", ms_cli_count(rows, j->n_nonfinite),
                       ms_cli_plural(j->n_nonfinite));
    ms_cli_note("%s: %s, %s rows of %lld, %s, from %s file%s, %.1f MB, %.1f s", j->out,
                msim_format_name(j->layout.format), ms_cli_count(rows, j->info.rows),
                (long long)j->info.dim, msim_dtype_name(j->layout.dtype),
                ms_cli_count(files, j->info.parts), ms_cli_plural(j->info.parts), megabytes,
                seconds);
}

int ms_convert_corpus(const ms_convert_settings *s, const ms_cli_texts *inputs, const char *out) {
    msim_error err = {0};
    conversion j = {.s = s, .out = out};
    double began = ms_cli_now();
    bool is_refused = false;
    int rc = msim_corpus_open_many(inputs->items, inputs->n, s->names_file, &j.corpus, &err);
    j.info.size = sizeof j.info;
    if (rc >= 0) rc = msim_corpus_get_info(j.corpus, &j.info);
    if (rc >= 0) rc = msim_corpus_whitening(j.corpus, &j.whitening, &err);
    if (rc >= 0) {
        rc = gather(&j, &err);
        is_refused = rc == -MSIM_E_ARG;
    }
    if (rc >= 0 && s->is_merge && !j.info.has_names && j.info.rows > 0)
        rc = ms_fail(&err, MSIM_E_FORMAT,
                     "--merge: %.300s: the rows have no names, by which shards are joined",
                     inputs->items[0]);
    if (rc >= 0) rc = plan(&j, &err);
    if (rc >= 0) rc = write_output(&j, &err);
    if (rc >= 0)
        say_done(&j, ms_cli_now() - began);
    else if (!ms_cli_stopped())
        ms_cli_error("%s", err.text);
    msim_corpus_merge_close(j.merge);
    msim_corpus_close(j.corpus);
    ms_free(j.name);
    ms_free(j.sources);
    ms_free(j.order);
    return is_refused ? rc : ms_cli_as_failure(rc);
}
