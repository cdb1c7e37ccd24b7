/* Writes the whitened rows of a part as a corpus of its own, with a description that holds the map.
 * include/midisim.h, Whitening; docs/FORMATS.md, CORPUS.npy.json. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "base/sized.h"
#include "base/text/json.h"
#include "pipeline/disk/description.h"
#include "pipeline/disk/sources.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BLOCK_FLOATS = 1 << 21,
    LEAST_BLOCK = 64
}; /* numbers and rows that are whitened at a time */

typedef struct {
    const msim_corpus *corpus;
    const msim_whitening *w;
    const msim_whitened_options *o;
    const char *path;
    int64_t part, first, n_rows, dim;
    float *rows; /* owned: [block, dim] */
    int64_t block;
    char *name; /* owned */
    size_t name_cap;
    ms_description made;
    bool is_described;
    ms_source *sources; /* owned; NULL: not known */
} whitening_job;

static int64_t read_name(whitening_job *j, int64_t row, msim_error *err) {
    int64_t n = msim_corpus_name(j->corpus, row, j->name, j->name_cap);
    if (n < 0) return ms_fail(err, (int)-n, "a row without a name: %lld", (long long)row);
    if ((size_t)n < j->name_cap) return n;
    int rc = ms_grow((void **)&j->name, &j->name_cap, (size_t)n + 1, 1, "a row's name", err);
    return rc < 0 ? rc : msim_corpus_name(j->corpus, row, j->name, j->name_cap);
}

static int longest_name(whitening_job *j, int64_t *chars, msim_error *err) {
    *chars = 0;
    for (int64_t i = 0; i < j->n_rows; i++) {
        int64_t n = read_name(j, j->first + i, err);
        if (n < 0) return (int)n;
        int64_t some = msim_name_chars(j->name, (size_t)n);
        if (some > *chars) *chars = some;
    }
    return MSIM_OK;
}

/* ---- Rows ---- */

static int refuse_row(const whitening_job *j, int64_t row, msim_error *err) {
    return ms_fail(err, MSIM_E_FORMAT, "bad row: %.250s: row %lld ('%.120s'): NaN or infinity",
                   msim_corpus_part_path(j->corpus, j->part), (long long)row, j->name);
}

static int write_block(whitening_job *j, int64_t from, int64_t n, msim_corpus_writer *writer,
                       msim_error *err) {
    int rc = msim_corpus_vectors(j->corpus, j->first + from, n, j->rows, err);
    if (rc >= 0) rc = msim_whitening_apply(j->w, j->rows, (size_t)n, j->rows, j->o->threads, err);
    for (int64_t i = 0; i < n && rc >= 0; i++) {
        const float *row = j->rows + i * j->dim;
        int64_t n_name = read_name(j, j->first + from + i, err);
        rc = n_name < 0 ? (int)n_name : MSIM_OK;
        if (rc >= 0 && j->o->refuses_nonfinite && isnan(row[0])) rc = refuse_row(j, from + i, err);
        if (rc >= 0) rc = msim_corpus_writer_add(writer, j->name, (size_t)n_name, row, err);
    }
    return rc;
}

static int write_rows(whitening_job *j, msim_corpus_writer *writer, msim_error *err) {
    int rc = MSIM_OK;
    for (int64_t at = 0; at < j->n_rows && rc >= 0; at += j->block) {
        int64_t left = j->n_rows - at, n = left < j->block ? left : j->block;
        rc = write_block(j, at, n, writer, err);
        if (rc >= 0 && j->o->progress && j->o->progress(j->o->user, at + n, j->n_rows) != 0)
            rc = ms_fail(err, MSIM_E_STOPPED, "whitening: stopped by the caller");
    }
    return rc < 0 ? rc : msim_corpus_check(j->corpus, err);
}

/* ---- The description ---- */

int ms_description_read_key(const char *corpus, char *key, size_t cap, msim_error *err) {
    char path[4352];
    struct stat st;
    size_t n;
    *key = 0;
    if (!ms_description_path(corpus, path, sizeof path) || stat(path, &st) != 0) return 0;
    char *text = ms_description_read_text(corpus, &n, err);
    if (!text) return -err->code;
    cJSON *json = ms_json_parse(text, n, err);
    if (json &&
        !ms_json_get_text(cJSON_GetObjectItemCaseSensitive(json, "whitening"), "key", key, cap))
        *key = 0;
    cJSON_Delete(json);
    ms_free(text);
    return json ? 0 : -err->code;
}

static int read_description(whitening_job *j, msim_error *err) {
    const char *from = msim_corpus_part_path(j->corpus, j->part);
    msim_error why;
    int rc = ms_description_read(from, &j->made, &why);
    if (rc == 1) {
        rc = ms_description_check(&j->made, j->corpus, j->part, &why);
        j->is_described = rc >= 0;
    }
    if (rc < 0 && rc != -MSIM_E_MEMORY && j->o->ignores_description) rc = MSIM_OK;
    if (rc < 0) return ms_fail(err, -rc, "%s", why.text);
    if (!j->is_described) {
        j->made = (ms_description){0};
        return MSIM_OK;
    }
    rc = ms_description_read_sources(from, j->n_rows, &j->sources, &why);
    return rc < 0 && rc != -MSIM_E_FORMAT ? ms_fail(err, -rc, "%s", why.text) : MSIM_OK;
}

static void get_source(void *user, int64_t row, ms_source *out) {
    *out = ((const whitening_job *)user)->sources[row];
}

static int get_span(void *user, int64_t row, ms_stored_span *out, msim_error *err) {
    const whitening_job *j = user;
    msim_span span;
    int rc = msim_corpus_span(j->corpus, j->first + row, &span, err);
    int64_t first = rc < 0 ? rc : msim_corpus_piece_first(j->corpus, span.piece, err);
    if (first < 0) return (int)first;
    *out = ms_span_pack(&span, (uint32_t)(j->first + row - first));
    return MSIM_OK;
}

static int get_bars(void *user, int64_t row, ms_stored_bars *out, msim_error *err) {
    const whitening_job *j = user;
    msim_bar_span bars;
    int rc = msim_corpus_bars(j->corpus, j->first + row, &bars, err);
    if (rc >= 0) *out = ms_bars_pack(&bars);
    return rc;
}

static int write_description(whitening_job *j, const char *beside, msim_error *err) {
    ms_description *d = &j->made;
    int has_bars = ms_description_has_spans(d) ? msim_corpus_has_bars(j->corpus, err) : 0;
    if (has_bars < 0) return has_bars;
    ms_description_rows rows = {.user = j,
                                .source = j->sources ? get_source : NULL,
                                .span = ms_description_has_spans(d) ? get_span : NULL,
                                .bars = has_bars ? get_bars : NULL,
                                .whitening = j->w,
                                .key = j->o->key};
    snprintf(d->tool, sizeof d->tool, "midisim");
    snprintf(d->version, sizeof d->version, "%s", msim_version());
    snprintf(d->dtype, sizeof d->dtype, "f32");
    d->rows = j->n_rows;
    int rc = ms_description_take_fingerprint(d, j->path, err);
    return rc < 0 ? rc : ms_description_write_to(beside, d, &rows, err);
}

/* ---- All of it ---- */

static int remove_beside(const char *path, const char *ending, msim_error *err) {
    char beside[4352];
    if ((size_t)snprintf(beside, sizeof beside, "%s%s", path, ending) >= sizeof beside)
        return ms_fail(err, MSIM_E_ARG, "path too long: %.80s...", path);
    if (unlink(beside) != 0 && errno != ENOENT)
        return ms_fail_errno(err, errno, "cannot remove: %s", beside);
    return MSIM_OK;
}

/* Rows first, while no description stands beside them: without one they pass for nothing but rows
 * that are not known. */
static int write_all(whitening_job *j, msim_error *err) {
    char beside[4352];
    msim_corpus_layout layout = {.size = sizeof layout,
                                 .rows = j->n_rows,
                                 .dim = j->dim,
                                 .dtype = MSIM_DTYPE_F32,
                                 .format = MSIM_FORMAT_STRUCTURED};
    msim_corpus_writer *writer = NULL;
    if (!ms_description_path(j->path, beside, sizeof beside))
        return ms_fail(err, MSIM_E_ARG, "path too long: %.80s...", j->path);
    int rc = longest_name(j, &layout.name_chars, err);
    if (rc >= 0) rc = msim_corpus_writer_open(j->path, &layout, &writer, err);
    if (rc >= 0) rc = write_rows(j, writer, err);
    if (rc >= 0) rc = remove_beside(j->path, ".json", err);
    if (rc >= 0) rc = remove_beside(j->path, ".msim", err); /* codes of what was there */
    if (rc >= 0) rc = msim_corpus_writer_finish(writer, err);
    msim_corpus_writer_close(writer);
    return rc < 0 ? rc : write_description(j, beside, err);
}

static int check(const whitening_job *j, msim_error *err) {
    msim_whitening_info info = {.size = sizeof info};
    const msim_whitening *there;
    int rc = msim_whitening_get_info(j->w, &info);
    if (rc >= 0 && info.dim != j->dim)
        rc = ms_fail(err, MSIM_E_ARG, "whitening: expected a fit of width %lld, got %lld",
                     (long long)j->dim, (long long)info.dim);
    if (rc >= 0) rc = msim_corpus_whitening(j->corpus, &there, err);
    if (rc >= 0 && there)
        rc = ms_fail(err, MSIM_E_ARG, "whitened already: %.400s",
                     msim_corpus_part_path(j->corpus, j->part));
    return rc;
}

int msim_corpus_write_whitened(const msim_corpus *corpus, int64_t part, const msim_whitening *w,
                               const char *path, const msim_whitened_options *options,
                               msim_error *err) {
    msim_whitened_options o = {.size = sizeof o};
    msim_corpus_info info = {.size = sizeof info};
    int rc = options ? ms_sized_in(&o, sizeof o, options, "whitened options", err) : MSIM_OK;
    if (rc >= 0) rc = msim_corpus_get_info(corpus, &info);
    if (rc < 0) return rc;
    if (part < 0 || part >= info.parts)
        return ms_fail(err, MSIM_E_ARG, "corpus part: expected 0..%lld, got %lld",
                       (long long)info.parts - 1, (long long)part);
    whitening_job j = {.corpus = corpus,
                       .w = w,
                       .o = &o,
                       .path = path,
                       .part = part,
                       .first = msim_corpus_part_first(corpus, part),
                       .n_rows = msim_corpus_part_rows(corpus, part),
                       .dim = info.dim};
    j.block = BLOCK_FLOATS / j.dim > LEAST_BLOCK ? BLOCK_FLOATS / j.dim : LEAST_BLOCK;
    rc = check(&j, err);
    if (rc >= 0) rc = read_description(&j, err);
    if (rc >= 0 &&
        !(j.rows = ms_alloc((size_t)(j.block * j.dim), sizeof *j.rows, "whitened rows", err)))
        rc = -MSIM_E_MEMORY;
    if (rc >= 0) rc = write_all(&j, err);
    ms_free(j.rows);
    ms_free(j.name);
    ms_free(j.sources);
    return rc;
}
