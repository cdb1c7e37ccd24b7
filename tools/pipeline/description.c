/* Contract: tools/pipeline/description.h. Reading is strict about types and tolerant of keys it
 * does not know, so that later versions may add some. */
#define _GNU_SOURCE
#include "description.h"
#include "files.h"
#include "base/json.h"
#include "sources.h"
#include <errno.h>
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
    for (int i = 0; i < 3; i++) to->pool_weights[i] = 1.0f;
    if (!to->is_weighted) return strcmp(pooling->valuestring, "mean") == 0;
    if (!cJSON_IsArray(weights) || cJSON_GetArraySize(weights) != 3) return false;
    for (int i = 0; i < 3; i++) {
        const cJSON *item = cJSON_GetArrayItem(weights, i);
        if (!cJSON_IsNumber(item) || !(item->valuedouble >= -1e30 && item->valuedouble <= 1e30))
            return false;
        to->pool_weights[i] = (float)item->valuedouble;
    }
    return true;
}

/* What is only there when it says something. Returns the key that cannot be used, or NULL. */
static const char *get_optional(const cJSON *json, ms_description *to) {
    const cJSON *shard = cJSON_GetObjectItemCaseSensitive(json, "shard"),
                *levels = cJSON_GetObjectItemCaseSensitive(json, "levels"), *item;
    if (shard && (!ms_json_get_int(shard, "index", &to->shard) ||
                  !ms_json_get_int(shard, "of", &to->n_shards)))
        return "shard";
    if (cJSON_HasObjectItem(json, "unread") && !ms_json_get_int(json, "unread", &to->unread))
        return "unread";
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
    if (!missing && !get_pooling(json, to)) missing = "pooling";
    if (!missing && !get_bool(json, "normalized", &to->is_normalized)) missing = "normalized";
    if (!missing && !get_bool(json, "complete", &to->is_complete)) missing = "complete";
    if (!missing) missing = get_optional(json, to);
    if (!missing) return 1;
    return ms_cli_fail(err, MSIM_E_FORMAT,
                       "damaged description of a corpus: %s: expected a valid \"%s\", got none",
                       path, missing);
}

int ms_description_parse(const char *text, size_t n, const char *path, ms_description *out,
                         msim_error *err) {
    ms_description found = {0};
    msim_error why;
    cJSON *json = ms_json_parse(text, n, &why);
    int rc = json ? from_json(json, path, &found, err)
                  : ms_cli_fail(err, MSIM_E_FORMAT, "damaged description of a corpus: %s: %.200s",
                                path, why.text);
    cJSON_Delete(json);
    if (rc == 1) *out = found;
    return rc;
}

char *ms_description_read_text(const char *corpus, size_t *n, msim_error *err) {
    char path[4352], detail[MS_FILES_DETAIL];
    ms_files_buffer buffer = {0};
    if (!ms_description_path(corpus, path, sizeof path)) {
        ms_cli_fail(err, MSIM_E_ARG, "path too long: %.80s...", corpus);
        return NULL;
    }
    char *text = ms_sources_read_head(path, n); /* without reading what may be long */
    if (text) return text;
    int reason = ms_files_read_path(path, &buffer, detail);
    if (reason != MS_FILES_OK) {
        ms_cli_fail(err, MSIM_E_IO, "%s: %s: %s", ms_files_reason_name(reason), path, detail);
    } else if (buffer.n_bytes > MAX_SIDECAR_BYTES) {
        ms_cli_fail(err, MSIM_E_FORMAT,
                    "damaged description of a corpus: %s: expected at most %zu bytes, got %zu",
                    path, MAX_SIDECAR_BYTES, buffer.n_bytes);
    } else {
        *n = buffer.n_bytes;
        text = ms_cli_alloc(*n + 1, 1);
        if (*n) memcpy(text, buffer.data, *n);
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
    int rc = text ? ms_description_parse(text, n, path, out, err) : -err->code;
    free(text);
    return rc;
}

/* ---- Writing ---- */

static void add_levels(cJSON *json, const char *levels) {
    char text[64], *rest = text;
    cJSON *array = cJSON_AddArrayToObject(json, "levels");
    snprintf(text, sizeof text, "%s", levels);
    for (char *word; (word = strsep(&rest, " "));)
        cJSON_AddItemToArray(array, cJSON_CreateString(word));
}

static cJSON *to_json(const ms_description *from) {
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "tool", from->tool);
    cJSON_AddStringToObject(json, "version", from->version);
    cJSON *model = cJSON_AddObjectToObject(json, "model");
    cJSON_AddStringToObject(model, "sha256", from->model_sha256);
    cJSON_AddStringToObject(model, "family", from->family);
    cJSON_AddNumberToObject(model, "dim", (double)from->dim);
    cJSON_AddNumberToObject(model, "depth", (double)from->depth);
    cJSON_AddNumberToObject(model, "heads", (double)from->heads);
    cJSON_AddNumberToObject(model, "vocab", (double)from->vocab);
    cJSON_AddStringToObject(json, "pooling", from->is_weighted ? "weighted" : "mean");
    cJSON *weights = from->is_weighted ? cJSON_AddArrayToObject(json, "pool_weights") : NULL;
    if (!from->is_weighted) cJSON_AddNullToObject(json, "pool_weights");
    for (int i = 0; weights && i < 3; i++)
        cJSON_AddItemToArray(weights, ms_json_number(from->pool_weights[i]));
    cJSON_AddStringToObject(json, "precision", from->precision);
    cJSON_AddStringToObject(json, "level", from->level);
    cJSON_AddStringToObject(json, "device", from->device);
    cJSON_AddNumberToObject(json, "max_tokens", (double)from->max_tokens);
    cJSON_AddBoolToObject(json, "normalized", from->is_normalized);
    cJSON_AddStringToObject(json, "dtype", from->dtype);
    cJSON_AddStringToObject(json, "names", from->names);
    cJSON_AddNumberToObject(json, "transpose", (double)from->transpose);
    cJSON_AddNumberToObject(json, "rows", (double)from->rows);
    cJSON_AddNumberToObject(json, "files", (double)from->files);
    cJSON_AddBoolToObject(json, "complete", from->is_complete);
    if (from->unread) cJSON_AddNumberToObject(json, "unread", (double)from->unread);
    if (from->n_shards) {
        cJSON *shard = cJSON_AddObjectToObject(json, "shard");
        cJSON_AddNumberToObject(shard, "index", (double)from->shard);
        cJSON_AddNumberToObject(shard, "of", (double)from->n_shards);
    }
    if (*from->levels) add_levels(json, from->levels);
    return json;
}

char *ms_description_print(const ms_description *description) {
    cJSON *json = to_json(description);
    char *text = ms_json_print(json);
    cJSON_Delete(json);
    return text;
}

int ms_description_write(const char *corpus, const ms_description *description, msim_error *err) {
    char path[4352];
    if (!ms_description_path(corpus, path, sizeof path))
        return ms_cli_fail(err, MSIM_E_ARG, "path too long: %.80s...", corpus);
    return ms_description_write_to(path, description, NULL, NULL, err);
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

bool ms_description_differs(const ms_description *a, const ms_description *b, char *what,
                            size_t cap) {
    for (int i = 0; i < 3 && a->is_weighted && b->is_weighted; i++)
        if (a->pool_weights[i] != b->pool_weights[i]) {
            snprintf(what, cap, "pool weights: expected %.9g,%.9g,%.9g, got %.9g,%.9g,%.9g",
                     a->pool_weights[0], a->pool_weights[1], a->pool_weights[2], b->pool_weights[0],
                     b->pool_weights[1], b->pool_weights[2]);
            return true;
        }
    return texts_differ("model", a->model_sha256, b->model_sha256, what, cap) ||
           ints_differ("width", a->dim, b->dim, what, cap) ||
           texts_differ("pooling", a->is_weighted ? "weighted" : "mean",
                        b->is_weighted ? "weighted" : "mean", what, cap) ||
           texts_differ("precision", a->precision, b->precision, what, cap) ||
           texts_differ("level", a->level, b->level, what, cap) ||
           texts_differ("device", a->device, b->device, what, cap) ||
           ints_differ("max tokens", a->max_tokens, b->max_tokens, what, cap) ||
           texts_differ("normalised", a->is_normalized ? "yes" : "no",
                        b->is_normalized ? "yes" : "no", what, cap) ||
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
