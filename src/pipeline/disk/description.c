/* CORPUS.npy.json, read: pipeline/disk/description.h. Reading is strict about types, and ignores
 * keys that it does not know, so that later versions may add some. */
#define _GNU_SOURCE
#include "pipeline/disk/description.h"
#include "base/mem.h"
#include "base/text/json.h"
#include "pipeline/input/files.h"
#include "pipeline/disk/sources.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SIDECAR_BYTES ((size_t)1 << 20) /* without the sources */

bool ms_description_path(const char *corpus, char *path, size_t cap) {
    return (size_t)snprintf(path, cap, "%s.json", corpus) < cap;
}

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

/* A description without it is of midisim, or of an older version: time-first and clean. */
static bool get_tokens(const cJSON *json, ms_description *to) {
    const cJSON *tokens = cJSON_GetObjectItemCaseSensitive(json, "tokens");
    char order[16];
    bool is_clean;
    if (!tokens) return true;
    if (!ms_json_get_text(tokens, "order", order, sizeof order) ||
        !get_bool(tokens, "clean", &is_clean))
        return false;
    to->has_tokens = true;
    to->is_unclean = !is_clean;
    for (const char *name; (name = msim_token_order_name(to->token_order)); to->token_order++)
        if (strcmp(name, order) == 0) return true;
    return false;
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
    if (!missing && !get_tokens(json, to)) missing = "tokens";
    if (!missing) missing = get_optional(json, to);
    if (!missing) return 1;
    return ms_fail(err, MSIM_E_FORMAT,
                   "damaged description of a corpus: %s: \"%s\" is missing or has no valid value",
                   path, missing);
}

/* Of rows that are whitened, and otherwise not known. */
static bool is_of_whitening_alone(const cJSON *json) {
    return cJSON_HasObjectItem(json, "whitening") && !cJSON_HasObjectItem(json, "model");
}

/* 1; 0, if may_lack_model: it knows the whitening of the rows alone. */
static int parse(const char *text, size_t n, const char *path, bool may_lack_model,
                 ms_description *out, msim_error *err) {
    ms_description found = {0};
    msim_error why;
    cJSON *json = ms_json_parse(text, n, &why);
    int rc = 0;
    if (!json && why.code == MSIM_E_MEMORY) return ms_fail(err, why.code, "%s", why.text);
    if (!json)
        rc = ms_fail(err, why.code, "damaged description of a corpus: %s: %.200s", path, why.text);
    else if (!may_lack_model || !is_of_whitening_alone(json))
        rc = from_json(json, path, &found, err);
    cJSON_Delete(json);
    if (rc == 1) *out = found;
    return rc;
}

int ms_description_parse(const char *text, size_t n, const char *path, ms_description *out,
                         msim_error *err) {
    return parse(text, n, path, false, out, err);
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

int ms_description_read(const char *corpus, ms_description *out, msim_error *err) {
    char path[4352];
    struct stat st;
    msim_error why;
    size_t n;
    if (!err) err = &why;
    if (ms_description_path(corpus, path, sizeof path) && stat(path, &st) != 0 && errno == ENOENT)
        return 0;
    char *text = ms_description_read_text(corpus, &n, err);
    int rc = text ? parse(text, n, path, true, out, err) : -err->code;
    ms_free(text);
    return rc;
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
