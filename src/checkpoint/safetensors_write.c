/* Writes the safetensors container: see safetensors.h. The bytes go through the one atomic writer
 * (base/file.h). Values are written from where they lie; values of another type are converted in
 * the writer's buffer. */
#include "checkpoint/safetensors.h"
#include "base/file.h"
#include "base/rows.h"
#include <cjson/cJSON.h>
#include <string.h>

enum { DATA_ALIGN = 64, CHUNK_ITEMS = 1 << 16 };

static bool add_offsets(cJSON *entry, size_t begin, size_t end) {
    cJSON *pair = cJSON_AddArrayToObject(entry, "data_offsets");
    return pair && cJSON_AddItemToArray(pair, cJSON_CreateNumber((double)begin)) &&
           cJSON_AddItemToArray(pair, cJSON_CreateNumber((double)end));
}

static bool add_tensor(cJSON *root, const ms_safetensor *x, size_t *at) {
    const ms_stored_tensor *t = x->tensor;
    cJSON *entry = cJSON_AddObjectToObject(root, t->name);
    if (!entry ||
        !cJSON_AddStringToObject(entry, "dtype", x->dtype == MSIM_DTYPE_F32 ? "F32" : "BF16"))
        return false;
    cJSON *shape = cJSON_AddArrayToObject(entry, "shape");
    for (int i = 0; shape && i < t->rank; i++)
        if (!cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->shape[i]))) return false;
    size_t begin = *at;
    *at += (size_t)t->n * (x->dtype == MSIM_DTYPE_F32 ? 4 : 2);
    return shape && add_offsets(entry, begin, *at);
}

/* The header as text, to be freed with cJSON_free; NULL when memory ran out. */
static char *make_header(const ms_safetensor *tensors, size_t n_tensors,
                         const ms_metadata *metadata, size_t n_metadata) {
    cJSON *root = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(root, "__metadata__");
    bool ok = meta;
    for (size_t i = 0; ok && i < n_metadata; i++)
        ok = cJSON_AddStringToObject(meta, metadata[i].key, metadata[i].value);
    size_t at = 0;
    for (size_t i = 0; ok && i < n_tensors; i++) ok = add_tensor(root, &tensors[i], &at);
    char *text = ok ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return text;
}

static void put_header(ms_out_file *f, const char *text) {
    static const char blanks[DATA_ALIGN + 1] =
        "                                                                ";
    size_t n = strlen(text), pad = (DATA_ALIGN - (8 + n) % DATA_ALIGN) % DATA_ALIGN;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)(n + pad) >> (8 * i));
    ms_out_file_put(f, length, sizeof length);
    ms_out_file_put(f, text, n);
    ms_out_file_put(f, blanks, pad);
}

/* Elements i..i+n-1 of a tensor, converted on their way into the file's buffer. */
static int put_converted(ms_out_file *f, ms_tensor v, int dtype, int64_t i, int64_t n,
                         msim_error *err) {
    unsigned char *to = ms_out_file_room(f);
    for (int64_t k = 0; k < n; k++)
        if (dtype == MSIM_DTYPE_F32) {
            float wide = ms_tensor_get(v, i + k);
            memcpy(to + 4 * k, &wide, sizeof wide);
        } else {
            ms_bf16 narrow = ms_bf16_of_f32(v.f32[i + k]);
            memcpy(to + 2 * k, &narrow, sizeof narrow);
        }
    return ms_out_file_took(f, (size_t)n * ms_dtype_bytes(dtype), err);
}

static int put_tensor(ms_out_file *f, const ms_safetensor *x, msim_error *err) {
    ms_tensor v = x->tensor->value;
    const void *as_it_is = x->dtype == MSIM_DTYPE_F32 ? (const void *)v.f32 : (const void *)v.bf16;
    if (as_it_is) {
        ms_out_file_put(f, as_it_is, (size_t)v.n * ms_dtype_bytes(x->dtype));
        return ms_out_file_failed(f, err);
    }
    for (int64_t i = 0; i < v.n; i += CHUNK_ITEMS) {
        int64_t n = v.n - i < CHUNK_ITEMS ? v.n - i : CHUNK_ITEMS;
        int rc = put_converted(f, v, x->dtype, i, n, err);
        if (rc < 0) return rc;
    }
    return MSIM_OK;
}

int ms_safetensors_write(const char *path, const ms_safetensor *tensors, size_t n_tensors,
                         const ms_metadata *metadata, size_t n_metadata, msim_error *err) {
    ms_out_file f = {.fd = -1};
    char *header = make_header(tensors, n_tensors, metadata, n_metadata);
    int rc = header ? ms_out_file_open(&f, path, "", CHUNK_ITEMS * sizeof(float), err)
                    : ms_fail(err, MSIM_E_MEMORY, "out of memory: header of %s", path);
    if (rc >= 0) put_header(&f, header);
    for (size_t i = 0; rc >= 0 && i < n_tensors; i++) rc = put_tensor(&f, &tensors[i], err);
    if (rc >= 0) rc = ms_out_file_finish(&f, err);
    ms_out_file_close(&f);
    cJSON_free(header);
    return rc;
}
