/* Writing the safetensors container: see safetensors.h. The bytes go to a temporary file beside the
 * target, which takes the name once they are on disk. Values are written from where they lie;
 * rounding to bf16 goes through one buffer. */
#include "checkpoint/safetensors.h"
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DATA_ALIGN = 64, BUFFER_ITEMS = 1 << 16, NAME_TRIES = 100 };

typedef struct {
    int fd;
    const char *path; /* borrowed: the target */
    char *temporary;  /* owned */
    void *buffer;     /* owned: [BUFFER_ITEMS] of 4 bytes */
    msim_error *err;
} writer;

static int put(writer *w, const void *bytes, size_t n) {
    for (const char *p = bytes; n > 0;) {
        ssize_t did = write(w->fd, p, n < (size_t)1 << 30 ? n : (size_t)1 << 30);
        if (did < 0 && errno == EINTR) continue;
        if (did <= 0)
            return ms_fail_errno(w->err, did < 0 ? errno : ENOSPC, "cannot write: %s", w->path);
        p += did;
        n -= (size_t)did;
    }
    return MSIM_OK;
}

/* A new file beside the target, so that the rename stays within one file system. */
static int open_temporary(writer *w) {
    size_t cap = strlen(w->path) + 40;
    w->temporary = ms_alloc(cap, 1, "file name", w->err);
    w->buffer = w->temporary ? ms_alloc(BUFFER_ITEMS, 4, "write buffer", w->err) : NULL;
    if (!w->buffer) return -MSIM_E_MEMORY;
    for (int i = 0; i < NAME_TRIES; i++) {
        snprintf(w->temporary, cap, "%s.%ld-%d.tmp", w->path, (long)getpid(), i);
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd >= 0 || errno != EEXIST) break;
    }
    return w->fd < 0 ? ms_fail_errno(w->err, errno, "cannot create: %s", w->temporary) : MSIM_OK;
}

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

static int put_header(writer *w, const char *text) {
    static const char blanks[DATA_ALIGN + 1] =
        "                                                                ";
    size_t n = strlen(text), pad = (DATA_ALIGN - (8 + n) % DATA_ALIGN) % DATA_ALIGN;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)(n + pad) >> (8 * i));
    int rc = put(w, length, sizeof length);
    if (rc >= 0) rc = put(w, text, n);
    return rc < 0 ? rc : put(w, blanks, pad);
}

static int put_tensor(writer *w, const ms_safetensor *x) {
    ms_tensor v = x->tensor->value;
    if (x->dtype == MSIM_DTYPE_F32 && v.f32) return put(w, v.f32, (size_t)v.n * sizeof *v.f32);
    if (x->dtype == MSIM_DTYPE_BF16 && v.bf16) return put(w, v.bf16, (size_t)v.n * sizeof *v.bf16);
    float *wide = w->buffer;
    ms_bf16 *narrow = w->buffer;
    for (int64_t i = 0; i < v.n; i += BUFFER_ITEMS) {
        int64_t n = v.n - i < BUFFER_ITEMS ? v.n - i : BUFFER_ITEMS;
        for (int64_t k = 0; k < n; k++)
            if (x->dtype == MSIM_DTYPE_F32)
                wide[k] = ms_tensor_get(v, i + k);
            else
                narrow[k] = ms_bf16_of_f32(v.f32[i + k]);
        int rc = put(w, w->buffer, (size_t)n * (x->dtype == MSIM_DTYPE_F32 ? 4 : 2));
        if (rc < 0) return rc;
    }
    return MSIM_OK;
}

int ms_safetensors_write(const char *path, const ms_safetensor *tensors, size_t n_tensors,
                         const ms_metadata *metadata, size_t n_metadata, msim_error *err) {
    writer w = {.fd = -1, .path = path, .err = err};
    bool created = false;
    char *header = make_header(tensors, n_tensors, metadata, n_metadata);
    int rc = header ? open_temporary(&w)
                    : ms_fail(err, MSIM_E_MEMORY, "out of memory: header of %s", path);
    created = rc >= 0;
    if (rc >= 0) rc = put_header(&w, header);
    for (size_t i = 0; rc >= 0 && i < n_tensors; i++) rc = put_tensor(&w, &tensors[i]);
    if (rc >= 0 && fsync(w.fd) != 0) rc = ms_fail_errno(err, errno, "cannot write: %s", path);
    if (w.fd >= 0 && close(w.fd) != 0 && rc >= 0)
        rc = ms_fail_errno(err, errno, "cannot write: %s", path);
    if (rc >= 0 && rename(w.temporary, path) != 0)
        rc = ms_fail_errno(err, errno, "cannot replace: %s", path);
    if (rc < 0 && created) unlink(w.temporary);
    cJSON_free(header);
    ms_free(w.temporary);
    ms_free(w.buffer);
    return rc;
}
