/* midisim-convert: checkpoints to safetensors, and what a checkpoint or corpus file holds. The library does the work; this
 * file parses, prints and counts. Data go to standard output, everything else to standard error. */
#include "cli.h"
#include "json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    ms_cli_common common;
    int dtype; /* index into "f32|bf16" */
    bool is_info, is_verify, is_json, is_forced;
} settings;

static settings s;

static const ms_cli_option options[] = {
    {.name = "dtype", .kind = MS_CLI_CHOICE, .value = "TYPE", .choices = "f32|bf16", .offset = offsetof(settings, dtype),
     .help = "how weights are stored: f32 (default; lossless) or bf16, which halves the file; results under --precision "
             "bf16 are the same bits"},
    {.name = "force", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_forced), .help = "replace an existing OUT"},
    {.name = "info", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_info),
     .help = "say what each FILE holds: a checkpoint (.pth, .safetensors) or a corpus (.npy)"},
    {.name = "verify", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_verify),
     .help = "read all of each FILE and check it: sizes, finite values, names"},
    {.name = "json", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_json),
     .help = "with --info or --verify: one JSON object a file"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-convert model.pth model.safetensors", "a checkpoint of the original, all bits kept"},
    {"midisim-convert --dtype bf16 model.pth small.safetensors", "half the size"},
    {"midisim-convert --info model.safetensors corpus.npy", "sizes, types, where it comes from"},
    {"midisim-convert --verify corpus.npy", "read every row"},
    {NULL, NULL}};

static const ms_cli_tool tool = {
    .name = "midisim-convert",
    .summary = "convert midisim checkpoints, describe and verify checkpoints and corpora",
    .usage = "[--dtype f32|bf16] [--force] MODEL.pth OUT.safetensors\n--info [--json] FILE...\n--verify [--json] FILE...",
    .description =
        "Writes a checkpoint as safetensors. The source may be either kind of .pth file or a safetensors file; nothing "
        "in it is executed. Tensor names stay; metadata hold the sizes and the SHA-256 of the first source.",
    .examples = examples,
    .options = options,
    .exits = "a file is unreadable, damaged or of another kind, or the output could not be written",
};

/* ---- What a file holds, as keys and values in order ------------------------------------------------------------------ */

static void add_text(cJSON *r, const char *key, const char *value) { cJSON_AddStringToObject(r, key, value); }
static void add_count(cJSON *r, const char *key, int64_t value) { cJSON_AddNumberToObject(r, key, (double)value); }

/* "  key   value" lines under the file's name, keys in a column. */
static int print_text(const cJSON *r) {
    const cJSON *first = r->child;
    int rc = ms_cli_print("%s\n", first->valuestring);
    for (const cJSON *v = first->next; v && rc >= 0; v = v->next) {
        char number[32];
        const char *value = cJSON_IsString(v)    ? v->valuestring
                            : cJSON_IsNumber(v)  ? ms_cli_count(number, (int64_t)v->valuedouble)
                            : cJSON_IsTrue(v)    ? "yes"
                                                 : "no";
        rc = ms_cli_print("  %-14s %s\n", v->string, value);
    }
    return rc;
}

static const char *dtype_name(int dtype) {
    static const char *const names[] = {"f32", "f16", "bf16", "f64"};
    return dtype >= 0 && dtype < 4 ? names[dtype] : "unknown";
}

static int report_checkpoint(const char *path, cJSON *r, msim_error *err) {
    msim_checkpoint_info i;
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
    cJSON_AddBoolToObject(r, "all_f32", i.all_f32);
    add_text(r, "sha256", i.sha256);
    return rc;
}

/* ---- Corpora ----------------------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t not_finite, zero, unnamed, not_utf8, with_nul;
    int64_t first_bad; /* row, or -1 */
} findings;

static bool is_utf8(const char *text, size_t n) {
    for (size_t at = 0; at < n;) {
        size_t step = ms_json_utf8_len((const unsigned char *)text + at, n - at);
        if (step == 0) return false;
        at += step;
    }
    return true;
}

/* The name of a row: it must have no NUL inside; oddities are counted. */
static int check_name(const msim_corpus *corpus, int64_t row, char **name, size_t *cap, findings *f) {
    int64_t n = msim_corpus_name(corpus, row, *name, *cap);
    if (n < 0) return (int)n;
    if ((size_t)n >= *cap) {
        *name = ms_cli_grow(*name, cap, (size_t)n + 1, 1);
        n = msim_corpus_name(corpus, row, *name, *cap);
    }
    f->unnamed += n == 0;
    f->not_utf8 += !is_utf8(*name, (size_t)n);
    if (memchr(*name, 0, (size_t)n)) {
        f->with_nul++;
        if (f->first_bad < 0) f->first_bad = row;
    }
    return MSIM_OK;
}

static int check_rows(const msim_corpus *corpus, const msim_corpus_info *info, findings *f, msim_error *err) {
    float *row = ms_cli_alloc((size_t)info->dim, sizeof *row);
    char *name = ms_cli_alloc(1024, 1);
    size_t cap = 1024;
    int rc = MSIM_OK;
    for (int64_t i = 0; i < info->rows && rc >= 0 && !ms_cli_stopped(); i++) {
        rc = msim_corpus_row(corpus, i, row, err);
        if (rc >= 0 && info->has_names) rc = check_name(corpus, i, &name, &cap, f);
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
    free(row);
    free(name);
    return rc;
}

static int report_corpus(const char *path, cJSON *r, msim_error *err) {
    msim_corpus *corpus;
    msim_corpus_info i;
    int rc = msim_corpus_open(path, NULL, &corpus, err);
    if (rc < 0) return rc;
    rc = msim_corpus_get_info(corpus, &i);
    add_text(r, "kind", "corpus");
    add_text(r, "form", i.form);
    add_count(r, "rows", i.rows);
    add_count(r, "dim", i.dim);
    add_text(r, "dtype", dtype_name(i.dtype));
    cJSON_AddBoolToObject(r, "names", i.has_names);
    if (rc >= 0 && s.is_verify) {
        findings f = {.first_bad = -1};
        rc = check_rows(corpus, &i, &f, err);
        add_count(r, "zero_rows", f.zero);
        add_count(r, "unnamed_rows", f.unnamed);
        add_count(r, "names_not_utf8", f.not_utf8);
        if (rc >= 0 && f.first_bad >= 0)
            rc = ms_cli_fail(err, MSIM_E_FORMAT,
                             "bad rows: %.300s: expected finite rows and names without NUL, got %lld rows that are not "
                             "finite and %lld bad names, the first in row %lld", path, (long long)f.not_finite,
                             (long long)f.with_nul, (long long)f.first_bad);
    }
    msim_corpus_close(corpus);
    return rc;
}

/* ---- Modes ------------------------------------------------------------------------------------------------------------- */

/* What the first bytes say; files that cannot be read are left to the library's own error. */
static bool is_npy(const char *path) {
    struct stat st;
    char magic[6] = "";
    FILE *f = stat(path, &st) == 0 && S_ISREG(st.st_mode) ? fopen(path, "rb") : NULL;
    if (!f) return false;
    size_t n = fread(magic, 1, sizeof magic, f);
    fclose(f);
    return n == sizeof magic && memcmp(magic, "\x93NUMPY", 6) == 0;
}

/* One file: what was found is printed also when a check failed. */
static bool describe(const char *path) {
    cJSON *r = cJSON_CreateObject();
    msim_error err = {0};
    add_text(r, "path", path);
    int rc = is_npy(path) ? report_corpus(path, r, &err) : report_checkpoint(path, r, &err);
    if (s.is_verify && !ms_cli_stopped()) cJSON_AddBoolToObject(r, "ok", rc >= 0);
    if (rc < 0) ms_cli_error("%s", err.text);
    int written = 0;
    if (s.is_json && rc < 0) add_text(r, "error", err.text);
    if (s.is_json)
        written = ms_json_write(r);
    else if (rc >= 0)
        written = print_text(r);
    cJSON_Delete(r);
    return rc >= 0 && written >= 0;
}

static int describe_all(const ms_cli_texts *files) {
    int status = MS_EXIT_OK;
    for (size_t i = 0; i < files->n && !ms_cli_stopped(); i++)
        if (!describe(files->items[i])) status = MS_EXIT_FAILED;
    return ms_cli_finish(status);
}

static int convert(const char *from, const char *to) {
    struct stat st;
    msim_error err = {0};
    if (lstat(to, &st) == 0 && !s.is_forced) {
        ms_cli_error("exists already: %s: --force replaces it", to);
        return MS_EXIT_USAGE;
    }
    if (msim_checkpoint_convert(from, to, s.dtype == 1 ? MSIM_DTYPE_BF16 : MSIM_DTYPE_F32, &err) < 0) {
        ms_cli_error("%s", err.text);
        return MS_EXIT_FAILED;
    }
    msim_checkpoint_info i;
    if (!s.common.quiet && msim_checkpoint_get_info(to, &i, &err) >= 0) {
        char parameters[32];
        ms_cli_note("%s: %s, width %lld, %lld blocks, %lld heads, %s parameters, %s", to, i.family, (long long)i.dim,
                    (long long)i.depth, (long long)i.heads, ms_cli_count(parameters, i.parameters), s.dtype == 1 ? "bf16" : "f32");
    }
    return ms_cli_finish(MS_EXIT_OK);
}

int main(int argc, char **argv) {
    int status = ms_cli_parse(&tool, argc, argv, &s);
    if (status >= 0) return status;
    const ms_cli_texts *files = &s.common.operands;
    bool describes = s.is_info || s.is_verify;
    if (s.is_json && !describes) return ms_cli_usage("--json: expected it with --info or --verify");
    if (describes && (s.is_forced || ms_cli_given(&tool, &s, "dtype")))
        return ms_cli_usage("--dtype, --force: expected them without --info and --verify");
    if (describes && files->n == 0) return ms_cli_usage("expected a FILE, got none");
    if (!describes && files->n != 2) return ms_cli_usage("expected MODEL.pth and OUT.safetensors, got %zu arguments", files->n);
    ms_cli_catch_signals();
    return describes ? describe_all(files) : convert(files->items[0], files->items[1]);
}
