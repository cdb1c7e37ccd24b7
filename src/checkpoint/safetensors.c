/* Reads the safetensors container: see stored.h and safetensors.h. The JSON library parses the
 * header, which may have at most 1 MiB, because a parsed tree takes many times the memory of its
 * text. A model of this family needs under 100 KiB. */
#include "checkpoint/safetensors.h"
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX_BYTES = 8, MAX_HEADER = 1 << 20 };

static int bad(const ms_stored *s, const char *name, const char *text, msim_error *err) {
    return ms_fail(err, MSIM_E_FORMAT, "bad safetensors: %s%s%s: %s", s->path,
                   name ? ", tensor " : "", name ? name : "", text);
}

/* A whole number from 0 that a double holds exactly. */
static bool get_whole(const cJSON *v, int64_t *out) {
    if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0) || v->valuedouble > 9007199254740992.0)
        return false;
    *out = (int64_t)v->valuedouble;
    return (double)*out == v->valuedouble;
}

static int read_shape(const ms_stored *s, const cJSON *shape, ms_stored_tensor *t,
                      msim_error *err) {
    int n = cJSON_IsArray(shape) ? cJSON_GetArraySize(shape) : -1;
    if (n < 0 || n > MS_STORED_MAX_RANK)
        return bad(s, t->name, "the shape is not a list of at most 8 sizes", err);
    t->rank = n;
    t->n = 1;
    bool is_empty = false, overflow = false;
    const cJSON *v = shape->child;
    for (int i = 0; i < n; i++, v = v->next) {
        if (!get_whole(v, &t->shape[i]))
            return bad(s, t->name, "the shape has a size that is not a whole number", err);
        is_empty |= t->shape[i] == 0;
    }
    for (int i = n - 1; i >= 0 && !is_empty; i--) {
        t->stride[i] = t->n;
        overflow |= __builtin_mul_overflow(t->n, t->shape[i], &t->n);
    }
    if (overflow || t->n > INT64_MAX / 8)
        return bad(s, t->name, "the shape is larger than any file", err);
    if (is_empty) t->n = 0;
    return MSIM_OK;
}

/* One entry of the header. `data` is where offsets count from. */
static int read_tensor(ms_stored *s, const cJSON *entry, size_t data, ms_stored_tensor *t,
                       msim_error *err) {
    static const struct {
        const char *name;
        int dtype;
        int64_t bytes;
    } types[] = {{"F32", MSIM_DTYPE_F32, 4},
                 {"F16", MSIM_DTYPE_F16, 2},
                 {"BF16", MSIM_DTYPE_BF16, 2},
                 {"F64", MSIM_DTYPE_F64, 8}};
    size_t n_name = strlen(entry->string) + 1, k = 0;
    char *name = ms_arena_get(&s->arena, n_name, 1, "tensor names", err);
    if (!name) return -MSIM_E_MEMORY;
    memcpy(name, entry->string, n_name);
    *t = (ms_stored_tensor){.name = name};
    if (!cJSON_IsObject(entry) || cJSON_GetArraySize(entry) != 3)
        return bad(s, name, "the entry is not an object of dtype, shape and data_offsets", err);
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    if (!cJSON_IsString(dtype)) return bad(s, name, "the entry has no dtype", err);
    while (k < sizeof types / sizeof *types && strcmp(types[k].name, dtype->valuestring) != 0) k++;
    if (k == sizeof types / sizeof *types)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "unsupported type: %s, tensor %s: expected F32, F16, BF16 or F64, got %.20s",
                       s->path, name, dtype->valuestring);
    t->dtype = types[k].dtype;
    int rc = read_shape(s, shape, t, err);
    if (rc < 0) return rc;
    int64_t begin, end, left = (int64_t)(s->map.n_bytes - data);
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !get_whole(offsets->child, &begin) || !get_whole(offsets->child->next, &end) ||
        begin > end || end > left)
        return bad(s, name, "data_offsets do not lie inside the file", err);
    if (t->n != (end - begin) / types[k].bytes || (end - begin) % types[k].bytes != 0)
        return bad(s, name, "data_offsets do not span as many bytes as dtype and shape take", err);
    t->base = s->map.data + data + begin;
    return MSIM_OK;
}

static int read_metadata(ms_stored *s, const cJSON *metadata, msim_error *err) {
    if (!cJSON_IsObject(metadata)) return bad(s, NULL, "__metadata__ is not an object", err);
    for (const cJSON *v = metadata->child; v; v = v->next)
        if (!cJSON_IsString(v))
            return bad(s, NULL, "__metadata__ has a value that is not a text", err);
    const cJSON *hash = cJSON_GetObjectItemCaseSensitive(metadata, "source_sha256");
    if (hash && strlen(hash->valuestring) == 64 &&
        strspn(hash->valuestring, "0123456789abcdef") == 64)
        memcpy(s->source_sha256, hash->valuestring, 65);
    return MSIM_OK;
}

static int by_name(const void *a, const void *b) {
    const ms_stored_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int by_place(const void *a, const void *b) {
    const ms_stored_tensor *const *x = a, *const *y = b;
    if ((*x)->base != (*y)->base) return (*x)->base < (*y)->base ? -1 : 1;
    return (*x)->n < (*y)->n ? -1 : (*x)->n > (*y)->n;
}

static size_t stored_bytes(const ms_stored_tensor *t) {
    return (size_t)t->n * (t->dtype == MSIM_DTYPE_F64 ? 8 : t->dtype == MSIM_DTYPE_F32 ? 4 : 2);
}

/* Names once each; data from `data` to the end of the file without gap or overlap. */
static int check_layout(ms_stored *s, size_t data, msim_error *err) {
    ms_stored_tensor **order = ms_arena_get(&s->arena, s->n_tensors, sizeof *order, "tensors", err);
    if (!order) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < s->n_tensors; i++) order[i] = &s->tensors[i];
    qsort(order, s->n_tensors, sizeof *order, by_name);
    for (size_t i = 1; i < s->n_tensors; i++)
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            return bad(s, order[i]->name, "the header names it twice", err);
    qsort(order, s->n_tensors, sizeof *order, by_place);
    const unsigned char *at = s->map.data + data;
    for (size_t i = 0; i < s->n_tensors; i++) {
        if (order[i]->base != at)
            return bad(s, order[i]->name,
                       order[i]->base < at ? "its data overlap those of another tensor"
                                           : "there is a gap before its data",
                       err);
        at += stored_bytes(order[i]);
    }
    if (at != s->map.data + s->map.n_bytes)
        return bad(s, NULL, "there are bytes after the last tensor", err);
    return MSIM_OK;
}

static int read_header(ms_stored *s, const cJSON *root, size_t data, msim_error *err) {
    int n = cJSON_IsObject(root) ? cJSON_GetArraySize(root) : -1;
    if (n < 0 || n > MS_STORED_MAX_TENSORS + 1)
        return bad(s, NULL, "the header is not an object of at most 4096 tensors", err);
    s->tensors = ms_arena_get(&s->arena, (size_t)n, sizeof *s->tensors, "tensors", err);
    if (!s->tensors) return -MSIM_E_MEMORY;
    s->n_tensors = 0;
    for (const cJSON *v = root->child; v; v = v->next) {
        int rc = strcmp(v->string, "__metadata__") == 0
                     ? read_metadata(s, v, err)
                     : read_tensor(s, v, data, &s->tensors[s->n_tensors++], err);
        if (rc < 0) return rc;
    }
    return check_layout(s, data, err);
}

/* The JSON library ends texts at a NUL, raw or escaped; no name has one. */
static bool has_nul(const char *json, size_t n) {
    if (memchr(json, 0, n)) return true;
    for (size_t i = 0; i + 6 <= n; i++)
        if (json[i] == '\\' && memcmp(json + i, "\\u0000", 6) == 0) return true;
    return false;
}

int ms_safetensors_read(ms_stored *s, msim_error *err) {
    uint64_t n_header = 0;
    const char *json = NULL, *end = NULL;
    if (s->map.n_bytes > PREFIX_BYTES) { /* an empty file has no map */
        json = (const char *)s->map.data + PREFIX_BYTES;
        for (size_t i = 0; i < PREFIX_BYTES; i++) n_header |= (uint64_t)s->map.data[i] << (8 * i);
    }
    if (n_header < 2 || n_header > s->map.n_bytes - PREFIX_BYTES || json[0] != '{')
        return ms_fail(
            err, MSIM_E_FORMAT, "not a checkpoint: %s: expected .safetensors or .pth, got %s",
            s->path, s->map.n_bytes ? "another kind of file, or a truncated one" : "an empty file");
    if (n_header > MAX_HEADER)
        return ms_fail(err, MSIM_E_FORMAT,
                       "bad safetensors: %s: expected a header of at most %d bytes, got %llu",
                       s->path, MAX_HEADER, (unsigned long long)n_header);
    if (has_nul(json, (size_t)n_header)) return bad(s, NULL, "a name has a NUL byte", err);
    errno = 0; /* as ms_json_parse: a mistake leaves it alone */
    cJSON *root = cJSON_ParseWithLengthOpts(json, (size_t)n_header, &end, 0);
    int rc = MSIM_OK;
    if (!root && errno == ENOMEM) {
        rc = ms_fail(err, MSIM_E_MEMORY, "out of memory: header of %s", s->path);
    } else if (!root) {
        rc = ms_fail(err, MSIM_E_FORMAT, "bad safetensors: %s: the header is not valid JSON",
                     s->path);
    } else {
        while (end < json + n_header && *end == ' ') end++;
        rc = end == json + n_header
                 ? read_header(s, root, PREFIX_BYTES + (size_t)n_header, err)
                 : bad(s, NULL, "bytes other than blanks follow the JSON header", err);
    }
    cJSON_Delete(root);
    s->container = "safetensors";
    return rc;
}
