/* CORPUS.npy.json, read and written: pipeline/disk/description.h. Reading is strict about types,
 * and ignores keys that it does not know, so that later versions may add some. */
#define _GNU_SOURCE
#include "pipeline/disk/description.h"
#include "base/mem.h"
#include "base/text/json.h"
#include "pipeline/input/files.h"
#include "pipeline/disk/sources.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SIDECAR_BYTES ((size_t)1 << 20) /* without the sources */

bool ms_description_path(const char *corpus, char *path, size_t cap) {
    return (size_t)snprintf(path, cap, "%s.json", corpus) < cap;
}

void ms_description_set_model(ms_description *description, const msim_model_info *info) {
    snprintf(description->model_sha256, sizeof description->model_sha256, "%s", info->sha256);
    snprintf(description->family, sizeof description->family, "%s", info->family);
    description->dim = info->dim;
    description->depth = info->depth;
    description->heads = info->heads;
    description->vocab = info->vocab;
    bool cuda = info->device == MSIM_DEVICE_CUDA;
    const char *level = cuda ? "cuda" : msim_isa_name(info->isa),
               *precision = msim_precision_name(info->precision);
    snprintf(description->device, sizeof description->device, "%s", cuda ? "cuda" : "cpu");
    snprintf(description->level, sizeof description->level, "%s", level ? level : "unknown");
    snprintf(description->precision, sizeof description->precision, "%s",
             precision ? precision : "unknown");
}

/* ---- Reading ---- */

static bool get_bool(const cJSON *object, const char *key, bool *out) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsBool(item)) return false;
    *out = cJSON_IsTrue(item);
    return true;
}

static bool get_pooling(const cJSON *object, ms_description *to) {
    const cJSON *pooling = cJSON_GetObjectItemCaseSensitive(object, "pooling"),
                *weights = cJSON_GetObjectItemCaseSensitive(object, "pool_weights");
    if (!cJSON_IsString(pooling)) return false;
    to->is_weighted = strcmp(pooling->valuestring, "weighted") == 0;
    to->n_classes = 0;
    for (int i = 0; i < MS_DESCRIPTION_CLASSES; i++) to->pool_weights[i] = 1.0f;
    if (!to->is_weighted) return strcmp(pooling->valuestring, "mean") == 0;
    to->n_classes = cJSON_IsArray(weights) ? cJSON_GetArraySize(weights) : 0;
    if (to->n_classes < 1 || to->n_classes > MS_DESCRIPTION_CLASSES) return false;
    for (int i = 0; i < to->n_classes; i++) {
        const cJSON *item = cJSON_GetArrayItem(weights, i);
        if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= MSIM_MAX_CLASS_WEIGHT))
            return false;
        to->pool_weights[i] = (float)item->valuedouble;
    }
    return true;
}

/* Read the keys that may be missing. Returns a key whose value cannot be used, or NULL. */
static const char *get_optional(const cJSON *json, ms_description *to) {
    const cJSON *shard = cJSON_GetObjectItemCaseSensitive(json, "shard"),
                *windows = cJSON_GetObjectItemCaseSensitive(json, "windows"),
                *levels = cJSON_GetObjectItemCaseSensitive(json, "levels"), *item;
    if (shard && (!ms_json_get_int(shard, "index", &to->shard) ||
                  !ms_json_get_int(shard, "of", &to->n_shards)))
        return "shard";
    if (windows && (!ms_json_get_int(windows, "tokens", &to->window_tokens) ||
                    !ms_json_get_int(windows, "step", &to->window_step) || to->window_tokens < 1 ||
                    to->window_step < 1))
        return "windows";
    if (windows && cJSON_HasObjectItem(windows, "pooled") &&
        !get_bool(windows, "pooled", &to->is_pooled))
        return "windows";
    if (cJSON_HasObjectItem(json, "unread") && !ms_json_get_int(json, "unread", &to->unread))
        return "unread";
    if (cJSON_HasObjectItem(json, "failed") && !ms_json_get_int(json, "failed", &to->failed))
        return "failed";
    if (cJSON_HasObjectItem(json, "fingerprint") &&
        (!ms_json_get_text(json, "fingerprint", to->fingerprint, sizeof to->fingerprint) ||
         strlen(to->fingerprint) != MSIM_FINGERPRINT_CHARS))
        return "fingerprint";
    if (cJSON_HasObjectItem(json, "whitening") &&
        !ms_json_get_text(cJSON_GetObjectItemCaseSensitive(json, "whitening"), "hash",
                          to->whitening, sizeof to->whitening))
        return "whitening";
    cJSON_ArrayForEach(item, levels) {
        size_t n = strlen(to->levels);
        if (!cJSON_IsString(item) || n + strlen(item->valuestring) + 2 > sizeof to->levels)
            return "levels";
        snprintf(to->levels + n, sizeof to->levels - n, "%s%s", n ? " " : "", item->valuestring);
    }
    return NULL;
}

static int from_json(const cJSON *json, const char *path, ms_description *to, msim_error *err) {
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(json, "model");
    const struct {
        const char *key;
        char *text;
        size_t cap;
    } texts[] = {{"tool", to->tool, sizeof to->tool},
                 {"version", to->version, sizeof to->version},
                 {"precision", to->precision, sizeof to->precision},
                 {"level", to->level, sizeof to->level},
                 {"device", to->device, sizeof to->device},
                 {"dtype", to->dtype, sizeof to->dtype},
                 {"names", to->names, sizeof to->names}};
    const struct {
        const cJSON *in;
        const char *key;
        int64_t *value;
    } ints[] = {{model, "dim", &to->dim},
                {model, "depth", &to->depth},
                {model, "heads", &to->heads},
                {model, "vocab", &to->vocab},
                {json, "max_tokens", &to->max_tokens},
                {json, "transpose", &to->transpose},
                {json, "rows", &to->rows},
                {json, "files", &to->files}};
    const char *missing = NULL;
    if (!ms_json_get_text(model, "sha256", to->model_sha256, sizeof to->model_sha256) ||
        strspn(to->model_sha256, "0") == sizeof to->model_sha256 - 1)
        missing = "model.sha256";
    if (!ms_json_get_text(model, "family", to->family, sizeof to->family)) missing = "model.family";
    for (size_t i = 0; !missing && i < sizeof texts / sizeof *texts; i++)
        if (!ms_json_get_text(json, texts[i].key, texts[i].text, texts[i].cap))
            missing = texts[i].key;
    for (size_t i = 0; !missing && i < sizeof ints / sizeof *ints; i++)
        if (!ms_json_get_int(ints[i].in, ints[i].key, ints[i].value)) missing = ints[i].key;
    if (!missing && (to->max_tokens < 0 || to->rows < 0 || to->files < 0 || to->dim < 1))
        missing = to->max_tokens < 0 ? "max_tokens" : to->dim < 1 ? "model.dim" : "rows";
    if (!missing && !get_pooling(json, to)) missing = "pooling";
    if (!missing && !get_bool(json, "normalized", &to->is_normalized)) missing = "normalized";
    if (!missing && !get_bool(json, "complete", &to->is_complete)) missing = "complete";
    if (!missing) missing = get_optional(json, to);
    if (!missing) return 1;
    return ms_fail(err, MSIM_E_FORMAT,
                   "damaged description of a corpus: %s: \"%s\" is missing or has no valid value",
                   path, missing);
}

int ms_description_parse(const char *text, size_t n, const char *path, ms_description *out,
                         msim_error *err) {
    ms_description found = {0};
    msim_error why;
    cJSON *json = ms_json_parse(text, n, &why);
    if (!json && why.code == MSIM_E_MEMORY) return ms_fail(err, why.code, "%s", why.text);
    int rc = json ? from_json(json, path, &found, err)
                  : ms_fail(err, why.code, "damaged description of a corpus: %s: %.200s", path,
                            why.text);
    cJSON_Delete(json);
    if (rc == 1) *out = found;
    return rc;
}

char *ms_description_read_text(const char *corpus, size_t *n, msim_error *err) {
    char path[4352], detail[MS_FILES_DETAIL];
    ms_files_buffer buffer = {0};
    if (!ms_description_path(corpus, path, sizeof path)) {
        ms_fail(err, MSIM_E_ARG, "path too long: %.80s...", corpus);
        return NULL;
    }
    char *text;
    int rc = ms_sources_read_head(path, &text, n, err); /* without reading what may be long */
    if (rc != 0) return text;
    int reason = ms_files_read_path(path, &buffer, detail, err);
    if (reason < 0) {
        text = NULL;
    } else if (reason != MSIM_SKIP_NONE) {
        ms_fail(err, MSIM_E_IO, "%s: %s: %s", msim_skip_reason_name(reason), path, detail);
    } else if (buffer.n_bytes > MAX_SIDECAR_BYTES) {
        ms_fail(err, MSIM_E_FORMAT,
                "damaged description of a corpus: %s: expected at most %zu bytes, got %zu", path,
                MAX_SIDECAR_BYTES, buffer.n_bytes);
    } else {
        *n = buffer.n_bytes;
        text = ms_alloc(*n + 1, 1, "description", err);
        if (text && *n) memcpy(text, buffer.data, *n);
    }
    ms_files_buffer_free(&buffer);
    return text;
}

/* Of rows that are whitened, and otherwise not known. */
static bool is_of_whitening_alone(const char *text, size_t n) {
    cJSON *json = ms_json_parse(text, n, NULL);
    bool is_alone = cJSON_HasObjectItem(json, "whitening") && !cJSON_HasObjectItem(json, "model");
    cJSON_Delete(json);
    return is_alone;
}

int ms_description_read(const char *corpus, ms_description *out, msim_error *err) {
    char path[4352];
    struct stat st;
    msim_error why;
    size_t n;
    if (!err) err = &why;
    if (ms_description_path(corpus, path, sizeof path) && stat(path, &st) != 0 && errno == ENOENT)
        return 0;
    char *text = ms_description_read_text(corpus, &n, err);
    int rc = !text                            ? -err->code
             : is_of_whitening_alone(text, n) ? 0
                                              : ms_description_parse(text, n, path, out, err);
    ms_free(text);
    return rc;
}

/* ---- Writing ---- */

/* Members of an object, each with the comma before it. */
static void put(ms_json_text *to, const char *text) { ms_json_put(to, text, strlen(text)); }

static void put_key(ms_json_text *to, const char *key) {
    put(to, to->data && to->data[to->n - 1] != '{' ? ",\"" : "\"");
    put(to, key);
    put(to, "\":");
}

static void put_text(ms_json_text *to, const char *key, const char *value) {
    put_key(to, key);
    ms_json_put_string(to, value, strlen(value));
}

static void put_int(ms_json_text *to, const char *key, int64_t value) {
    put_key(to, key);
    ms_json_put_int(to, value);
}

static void put_bool(ms_json_text *to, const char *key, bool value) {
    put_key(to, key);
    put(to, value ? "true" : "false");
}

static void put_weights(ms_json_text *to, const ms_description *from) {
    char digits[32];
    put_key(to, "pool_weights");
    for (int i = 0; from->is_weighted && i < from->n_classes; i++) {
        snprintf(digits, sizeof digits, "%s%.9g", i ? "," : "[", (double)from->pool_weights[i]);
        put(to, digits);
    }
    put(to, from->is_weighted ? "]" : "null");
}

static void put_model(ms_json_text *to, const ms_description *from) {
    put_key(to, "model");
    put(to, "{");
    put_text(to, "sha256", from->model_sha256);
    put_text(to, "family", from->family);
    put_int(to, "dim", from->dim);
    put_int(to, "depth", from->depth);
    put_int(to, "heads", from->heads);
    put_int(to, "vocab", from->vocab);
    put(to, "}");
}

static void put_levels(ms_json_text *to, const char *levels) {
    char text[64], *rest = text, *word;
    snprintf(text, sizeof text, "%s", levels);
    put_key(to, "levels");
    for (const char *before = "["; (word = strsep(&rest, " ")); before = ",") {
        put(to, before);
        ms_json_put_string(to, word, strlen(word));
    }
    put(to, "]");
}

/* What is only there when it says something. */
static void put_optional(ms_json_text *to, const ms_description *from) {
    if (from->window_tokens) {
        put_key(to, "windows");
        put(to, "{");
        put_int(to, "tokens", from->window_tokens);
        put_int(to, "step", from->window_step);
        if (from->is_pooled) put_bool(to, "pooled", true);
        put(to, "}");
    }
    if (from->unread) put_int(to, "unread", from->unread);
    if (from->failed) put_int(to, "failed", from->failed);
    if (*from->fingerprint) put_text(to, "fingerprint", from->fingerprint);
    if (*from->whitening) {
        put_key(to, "whitening");
        put(to, "{");
        put_text(to, "hash", from->whitening);
        put(to, "}");
    }
    if (from->n_shards) {
        put_key(to, "shard");
        put(to, "{");
        put_int(to, "index", from->shard);
        put_int(to, "of", from->n_shards);
        put(to, "}");
    }
    if (*from->levels) put_levels(to, from->levels);
}

/* Of rows whose model is not known. */
static char *print_short(const ms_description *from, msim_error *err) {
    ms_json_text to = {0};
    put(&to, "{");
    put_text(&to, "tool", from->tool);
    put_text(&to, "version", from->version);
    put_int(&to, "rows", from->rows);
    put_optional(&to, from);
    put(&to, "}");
    if (ms_json_text_failed(&to, err) < 0) ms_json_text_free(&to);
    return to.data;
}

char *ms_description_print(const ms_description *from, msim_error *err) {
    ms_json_text to = {0};
    if (from->dim == 0) return print_short(from, err);
    put(&to, "{");
    put_text(&to, "tool", from->tool);
    put_text(&to, "version", from->version);
    put_model(&to, from);
    put_text(&to, "pooling", from->is_weighted ? "weighted" : "mean");
    put_weights(&to, from);
    put_text(&to, "precision", from->precision);
    put_text(&to, "level", from->level);
    put_text(&to, "device", from->device);
    put_int(&to, "max_tokens", from->max_tokens);
    put_bool(&to, "normalized", from->is_normalized);
    put_text(&to, "dtype", from->dtype);
    put_text(&to, "names", from->names);
    put_int(&to, "transpose", from->transpose);
    put_int(&to, "rows", from->rows);
    put_int(&to, "files", from->files);
    put_bool(&to, "complete", from->is_complete);
    put_optional(&to, from);
    put(&to, "}");
    if (ms_json_text_failed(&to, err) < 0) ms_json_text_free(&to);
    return to.data;
}

int ms_description_write(const char *corpus, const ms_description *description, msim_error *err) {
    char path[4352];
    if (!ms_description_path(corpus, path, sizeof path))
        return ms_fail(err, MSIM_E_ARG, "path too long: %.80s...", corpus);
    return ms_description_write_to(path, description, NULL, err);
}

/* ---- Levels ---- */

bool ms_description_has_level(const ms_description *description, const char *level) {
    if (strcmp(description->level, level) == 0) return true;
    size_t n = strlen(level);
    for (const char *at = description->levels; (at = strstr(at, level)); at += n)
        if ((at == description->levels || at[-1] == ' ') && (at[n] == 0 || at[n] == ' '))
            return true;
    return false;
}

void ms_description_add_level(ms_description *description, const char *level) {
    char words[8][16], *rest, text[sizeof description->levels];
    int n = 0;
    if (ms_description_has_level(description, level)) return;
    snprintf(text, sizeof text, "%s",
             *description->levels ? description->levels : description->level);
    rest = text;
    for (char *word; n < 7 && (word = strsep(&rest, " "));)
        snprintf(words[n++], sizeof words[0], "%.15s", word);
    snprintf(words[n++], sizeof words[0], "%.15s", level);
    qsort(words, (size_t)n, sizeof words[0], (int (*)(const void *, const void *))strcmp);
    *description->levels = 0;
    for (int i = 0, at = 0; i < n && at < (int)sizeof description->levels; i++)
        at += snprintf(description->levels + at, sizeof description->levels - (size_t)at, "%s%s",
                       i ? " " : "", words[i]);
    bool was_gpu = strcmp(description->device, "cuda") == 0, is_gpu = strcmp(level, "cuda") == 0;
    if (was_gpu != is_gpu) snprintf(description->device, sizeof description->device, "mixed");
    snprintf(description->level, sizeof description->level, "mixed");
}

void ms_description_add_levels(ms_description *description, const ms_description *from) {
    char level[16];
    const char *at = *from->levels ? from->levels : from->level;
    for (int n; sscanf(at, "%15s%n", level, &n) == 1; at += n)
        ms_description_add_level(description, level);
}

/* ---- Comparing ---- */

static bool texts_differ(const char *key, const char *expected, const char *got, char *what,
                         size_t cap) {
    if (strcmp(expected, got) == 0) return false;
    snprintf(what, cap, "%s: expected %.70s, got %.70s", key, expected, got);
    return true;
}

static bool ints_differ(const char *key, int64_t expected, int64_t got, char *what, size_t cap) {
    if (expected == got) return false;
    snprintf(what, cap, "%s: expected %lld, got %lld", key, (long long)expected, (long long)got);
    return true;
}

static void list_weights(const ms_description *d, char *text, size_t cap) {
    size_t n = 0;
    *text = 0;
    for (int i = 0; i < d->n_classes && n < cap; i++)
        n += (size_t)snprintf(text + n, cap - n, "%s%.9g", i ? "," : "", d->pool_weights[i]);
}

static bool weights_differ(const ms_description *a, const ms_description *b, char *what,
                           size_t cap) {
    char expected[100], got[100];
    if (!a->is_weighted || !b->is_weighted) return false;
    bool are_same = a->n_classes == b->n_classes;
    for (int i = 0; i < a->n_classes && are_same; i++)
        are_same = a->pool_weights[i] == b->pool_weights[i];
    if (are_same) return false;
    list_weights(a, expected, sizeof expected);
    list_weights(b, got, sizeof got);
    snprintf(what, cap, "pool weights: expected %s, got %s", expected, got);
    return true;
}

bool ms_description_differs(const ms_description *a, const ms_description *b, char *what,
                            size_t cap) {
    return weights_differ(a, b, what, cap) ||
           texts_differ("model", a->model_sha256, b->model_sha256, what, cap) ||
           ints_differ("width", a->dim, b->dim, what, cap) ||
           texts_differ("pooling", a->is_weighted ? "weighted" : "mean",
                        b->is_weighted ? "weighted" : "mean", what, cap) ||
           texts_differ("precision", a->precision, b->precision, what, cap) ||
           texts_differ("level", a->level, b->level, what, cap) ||
           texts_differ("device", a->device, b->device, what, cap) ||
           ints_differ("max tokens", a->max_tokens, b->max_tokens, what, cap) ||
           ints_differ("window", a->window_tokens, b->window_tokens, what, cap) ||
           ints_differ("window step", a->window_step, b->window_step, what, cap) ||
           texts_differ("windows pooled", a->is_pooled ? "yes" : "no", b->is_pooled ? "yes" : "no",
                        what, cap) ||
           texts_differ("normalised", a->is_normalized ? "yes" : "no",
                        b->is_normalized ? "yes" : "no", what, cap) ||
           texts_differ("whitening", *a->whitening ? a->whitening : "none",
                        *b->whitening ? b->whitening : "none", what, cap) ||
           texts_differ("dtype", a->dtype, b->dtype, what, cap) ||
           texts_differ("names", a->names, b->names, what, cap) ||
           ints_differ("transpose", a->transpose, b->transpose, what, cap) ||
           ints_differ("shard", a->shard, b->shard, what, cap) ||
           ints_differ("shards", a->n_shards, b->n_shards, what, cap);
}

bool ms_description_differs_beyond_level(const ms_description *a, const ms_description *b,
                                         char *what, size_t cap) {
    ms_description same = *b;
    memcpy(same.level, a->level, sizeof same.level);
    memcpy(same.device, a->device, sizeof same.device);
    return ms_description_differs(a, &same, what, cap);
}

/* ---- Rows ---- */

int ms_description_take_fingerprint(ms_description *description, const char *corpus,
                                    msim_error *err) {
    msim_corpus *rows;
    int rc = msim_corpus_open(corpus, NULL, &rows, err);
    if (rc < 0) return rc;
    rc = msim_corpus_fingerprint(rows, 0, description->fingerprint, err);
    msim_corpus_close(rows);
    return rc;
}

int ms_description_check(const ms_description *description, const msim_corpus *corpus, int64_t part,
                         msim_error *err) {
    char found[MSIM_FINGERPRINT_CHARS + 1];
    const char *path = msim_corpus_part_path(corpus, part);
    int64_t rows = msim_corpus_part_rows(corpus, part);
    if (rows != description->rows)
        return ms_fail(err, MSIM_E_ARG,
                       "description of another corpus: %.250s.json describes %lld rows, the file "
                       "has %lld",
                       path, (long long)description->rows, (long long)rows);
    if (!*description->fingerprint) return 0;
    int rc = msim_corpus_fingerprint(corpus, part, found, err);
    if (rc < 0 || strcmp(found, description->fingerprint) == 0) return rc;
    return ms_fail(err, MSIM_E_ARG,
                   "description of another corpus: %.200s was sorted, changed or replaced after "
                   "%.200s.json was written",
                   path, path);
}
