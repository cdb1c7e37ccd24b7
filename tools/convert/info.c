/* midisim-convert: --info and --verify. What a file holds is gathered as keys and values in order,
 * printed as text or as one JSON object; what was found is printed also when a check failed.
 * Contract: tools/convert/convert.h. */
#define _GNU_SOURCE
#include "convert.h"
#include "base/text/utf8.h"
#include "common/json.h"
#include "base/mem.h"
#include "common/name.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What is found of a file. Whether all of it could be put there is asked once, at the end. */
typedef struct {
    cJSON *values; /* an object; NULL when there was no memory for it */
    bool is_short; /* memory ran out */
} report;

static void add(report *r, const char *key, cJSON *value) {
    if (value && cJSON_AddItemToObject(r->values, key, value)) return;
    cJSON_Delete(value);
    r->is_short = true;
}
static void add_text(report *r, const char *key, const char *value) {
    add(r, key, cJSON_CreateString(value));
}
static void add_count(report *r, const char *key, int64_t value) {
    add(r, key, cJSON_CreateNumber((double)value));
}
static void add_bool(report *r, const char *key, bool value) {
    add(r, key, cJSON_CreateBool(value));
}

/* "  key   value" lines, keys in a column; members of an object under it as "key.member". */
static int print_values(const cJSON *object, const char *above) {
    int rc = 0;
    for (const cJSON *v = object->child; v && rc >= 0; v = v->next) {
        char key[128], number[48], *list = NULL;
        snprintf(key, sizeof key, "%s%s%s", above, *above ? "." : "", v->string ? v->string : "");
        if (cJSON_IsObject(v)) {
            rc = print_values(v, key);
            continue;
        }
        if (cJSON_IsArray(v) && !(list = ms_json_print(v))) return ms_cli_output_failed(ENOMEM);
        if (cJSON_IsNumber(v) && fabs(v->valuedouble) < 1e15 &&
            v->valuedouble == floor(v->valuedouble))
            ms_cli_count(number, (int64_t)v->valuedouble);
        else
            snprintf(number, sizeof number, "%.9g", v->valuedouble);
        rc = ms_cli_print("  %-21s %s\n", key,
                          list                ? list
                          : cJSON_IsString(v) ? v->valuestring
                          : cJSON_IsNumber(v) ? number
                          : cJSON_IsNull(v)   ? "none"
                          : cJSON_IsTrue(v)   ? "yes"
                                              : "no");
        ms_free(list);
    }
    return rc;
}

static int print_text(cJSON *r) {
    cJSON *path = cJSON_DetachItemFromObject(r, "path");
    int rc = ms_cli_print("%s\n", path->valuestring);
    cJSON_Delete(path);
    return rc < 0 ? rc : print_values(r, "");
}

static int report_checkpoint(const char *path, report *r, msim_error *err) {
    msim_checkpoint_info i = {.size = sizeof i};
    int rc = msim_checkpoint_get_info(path, &i, err);
    if (rc < 0) return rc;
    add_text(r, "kind", "checkpoint");
    add_text(r, "container", i.container);
    add_text(r, "family", i.family);
    add_count(r, "dim", i.dim);
    add_count(r, "depth", i.depth);
    add_count(r, "heads", i.heads);
    add_count(r, "vocab", i.vocab);
    add_count(r, "tensors", i.tensors);
    add_count(r, "parameters", i.parameters);
    add_bool(r, "all_f32", i.all_f32);
    add_text(r, "sha256", i.sha256);
    return rc;
}

/* ---- Corpora --------------------------------------------------------------------------------- */

typedef struct {
    int64_t not_finite, zero, unnamed, not_utf8, with_nul;
    int64_t first_bad; /* row, or -1 */
} findings;

/* The name of a row: it must have no NUL inside; oddities are counted. */
static int check_name(const msim_corpus *corpus, int64_t row, char **name, size_t *cap, findings *f,
                      msim_error *err) {
    int64_t length = ms_name_get(corpus, row, name, cap, err);
    if (length < 0) return (int)length;
    size_t n = (size_t)length;
    f->unnamed += n == 0;
    f->not_utf8 += !ms_utf8_is_valid(*name, n);
    if (memchr(*name, 0, n)) {
        f->with_nul++;
        if (f->first_bad < 0) f->first_bad = row;
    }
    return MSIM_OK;
}

static int check_rows(const msim_corpus *corpus, const msim_corpus_info *info, findings *f,
                      msim_error *err) {
    float *row = ms_alloc((size_t)info->dim, sizeof *row, "a row", err);
    char *name = NULL;
    size_t cap = 0;
    int rc = row ? MSIM_OK : -MSIM_E_MEMORY;
    for (int64_t i = 0; i < info->rows && rc >= 0 && !ms_cli_stopped(); i++) {
        rc = msim_corpus_vector(corpus, i, row, err);
        if (rc >= 0 && info->has_names) rc = check_name(corpus, i, &name, &cap, f, err);
        if (rc < 0) break;
        bool is_finite = true, is_zero = true;
        for (int64_t k = 0; k < info->dim; k++) {
            is_finite &= isfinite(row[k]) != 0;
            is_zero &= row[k] == 0;
        }
        f->not_finite += !is_finite;
        f->zero += is_zero;
        if (!is_finite && f->first_bad < 0) f->first_bad = i;
        if (i % 4096 == 0) ms_cli_progress("rows", i, info->rows);
    }
    ms_cli_progress_end();
    ms_free(row);
    ms_free(name);
    return rc;
}

/* Settings beside one part, shown as they stand, with what later versions may add to them. */
static int add_description(const msim_corpus *corpus, int64_t part, report *to, msim_error *err) {
    ms_description description;
    const msim_whitening *whitening;
    size_t n;
    int rc = msim_corpus_whitening(corpus, &whitening, err);
    if (rc >= 0) rc = ms_convert_description(corpus, part, &description, err);
    if (rc < 0 || (rc == 0 && !whitening)) return rc;
    char *text = ms_description_read_text(msim_corpus_part_path(corpus, part), &n, err);
    cJSON *settings = text ? ms_json_parse(text, n, err) : NULL;
    if (settings) add(to, "settings", settings);
    ms_free(text);
    return settings ? MSIM_OK : -err->code;
}

/* Settings beside a corpus of one file; of several, whose they are. */
static int add_settings(const msim_corpus *corpus, const msim_corpus_info *info, report *r,
                        msim_error *err) {
    if (info->parts <= 1) return info->parts ? add_description(corpus, 0, r, err) : MSIM_OK;
    cJSON *files = cJSON_AddArrayToObject(r->values, "files");
    int rc = MSIM_OK;
    for (int64_t i = 0; i < info->parts && rc >= 0; i++) {
        report to = {.values = cJSON_CreateObject()};
        add_text(&to, "path", msim_corpus_part_path(corpus, i));
        add_count(&to, "rows", msim_corpus_part_rows(corpus, i));
        rc = add_description(corpus, i, &to, err);
        r->is_short |= to.is_short;
        if (cJSON_AddItemToArray(files, to.values)) continue;
        cJSON_Delete(to.values);
        r->is_short = true;
    }
    return rc;
}

static int verify_corpus(const msim_corpus *corpus, const msim_corpus_info *info, const char *path,
                         report *r, msim_error *err) {
    findings f = {.first_bad = -1};
    int rc = check_rows(corpus, info, &f, err);
    add_count(r, "nonfinite_rows", f.not_finite);
    add_count(r, "zero_rows", f.zero);
    add_count(r, "unnamed_rows", f.unnamed);
    add_count(r, "names_not_utf8", f.not_utf8);
    if (rc >= 0 && f.first_bad >= 0)
        rc = ms_fail(err, MSIM_E_FORMAT,
                     "bad rows: %.300s: %lld rows are not finite, %lld names hold a NUL; the first "
                     "is row %lld",
                     path, (long long)f.not_finite, (long long)f.with_nul, (long long)f.first_bad);
    return rc;
}

/* Compare the codes beside the files with all rows. */
static int verify_codes(msim_corpus *corpus, const msim_corpus_info *info, report *r,
                        msim_error *err) {
    char path[4352];
    struct stat st;
    int64_t n_attached = 0;
    int rc = MSIM_OK;
    for (int64_t i = 0; i < info->parts && rc >= 0 && !ms_cli_stopped(); i++) {
        int n = snprintf(path, sizeof path, "%s.msim", msim_corpus_part_path(corpus, i));
        if (n >= (int)sizeof path || stat(path, &st) != 0) continue;
        rc = msim_corpus_attach_codes(corpus, i, path, 1, err);
        n_attached += rc >= 0;
    }
    add_count(r, "copies", n_attached);
    return rc;
}

static int report_corpus(const ms_convert_settings *s, const char *path, report *r,
                         msim_error *err) {
    msim_corpus *corpus;
    msim_corpus_info i = {.size = sizeof i};
    int rc = msim_corpus_open_many(&path, 1, s->names_file, &corpus, err);
    if (rc < 0) return rc;
    rc = msim_corpus_get_info(corpus, &i);
    add_text(r, "kind", "corpus");
    add_text(r, "form", i.format);
    add_count(r, "rows", i.rows);
    add_count(r, "dim", i.dim);
    add_text(r, "dtype", msim_dtype_name(i.dtype));
    add_bool(r, "names", i.has_names);
    add_count(r, "parts", i.parts);
    if (rc >= 0) rc = add_settings(corpus, &i, r, err);
    if (rc >= 0 && s->is_verify) rc = verify_corpus(corpus, &i, path, r, err);
    if (rc >= 0 && s->is_verify) rc = verify_codes(corpus, &i, r, err);
    msim_corpus_close(corpus);
    return rc;
}

bool ms_convert_is_corpus(const char *path) {
    struct stat st;
    char magic[6] = "";
    const char *dot = strrchr(path, '.');
    if (stat(path, &st) != 0) return false;
    if (S_ISDIR(st.st_mode)) return true;
    if (!S_ISREG(st.st_mode)) return false;
    if (dot && (strcmp(dot, ".fvecs") == 0 || strcmp(dot, ".fbin") == 0)) return true;
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    size_t n = fread(magic, 1, sizeof magic, f);
    fclose(f);
    return n == sizeof magic && memcmp(magic, "\x93NUMPY", 6) == 0;
}

/* < 0: what is wrong was said, or standard output takes no more. */
static int describe(const ms_convert_settings *s, const char *path) {
    msim_error err = {0};
    report r = {.values = cJSON_CreateObject()};
    int written = 0;
    add_text(&r, "path", path);
    int rc = ms_convert_is_corpus(path) ? report_corpus(s, path, &r, &err)
                                        : report_checkpoint(path, &r, &err);
    if (s->is_verify && !ms_cli_stopped()) add_bool(&r, "ok", rc >= 0);
    if (s->is_json && rc < 0) add_text(&r, "error", err.text);
    if (r.is_short && rc >= 0)
        rc = ms_fail(&err, MSIM_E_MEMORY, "out of memory: what %.300s holds", path);
    if (rc < 0) ms_cli_error("%s", err.text);
    if (s->is_json && !r.is_short)
        written = ms_cli_write_json(r.values);
    else if (rc >= 0)
        written = print_text(r.values);
    cJSON_Delete(r.values);
    return rc < 0 ? rc : written < 0 ? -MSIM_E_IO : 0;
}

int ms_convert_describe(const ms_convert_settings *s, const ms_cli_texts *files) {
    int rc = 0;
    for (size_t i = 0; i < files->n && !ms_cli_stopped(); i++) {
        int one = describe(s, files->items[i]);
        if (one < 0) rc = one;
    }
    return ms_cli_as_failure(rc);
}
