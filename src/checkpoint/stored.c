/* Named tensors of a checkpoint file: see stored.h. Conversions are exact, except that f64 is
 * rounded to the nearest f32. The size of the file limits the memory of converted tensors, so a
 * broadcast view cannot ask for more. */
#include "checkpoint/stored.h"
#include "base/rows.h"
#include <string.h>

enum { COPY_FACTOR = 4, COPY_SLACK = 1 << 20 }; /* copies: at most 4 x the file + 1 MiB */

int ms_stored_open(const char *path, ms_stored *out, msim_error *err) {
    ms_stored s = {.container = "", .tensors = NULL};
    int rc = ms_map_open(path, MS_MAP_NORMAL, &s.map, err);
    if (rc < 0) return rc;
    ms_arena_init(&s.arena, 0);
    size_t n_path = strlen(path) + 1;
    char *copy = ms_arena_get(&s.arena, n_path, 1, "path", err);
    if (!copy) {
        rc = -MSIM_E_MEMORY;
        goto fail;
    }
    memcpy(copy, path, n_path);
    s.path = copy;
    rc = ms_torch_is(&s.map) ? ms_torch_read(&s, err) : ms_safetensors_read(&s, err);
    if (rc < 0) goto fail;
    *out = s;
    return MSIM_OK;
fail:
    ms_stored_close(&s);
    return rc;
}

void ms_stored_close(ms_stored *s) {
    ms_arena_free(&s->arena);
    ms_map_close(&s->map);
    s->tensors = NULL;
    s->n_tensors = 0;
}

ms_stored_tensor *ms_stored_find(const ms_stored *s, const char *name) {
    for (size_t i = 0; i < s->n_tensors; i++)
        if (strcmp(s->tensors[i].name, name) == 0) return &s->tensors[i];
    return NULL;
}

/* Row-major without gaps; the stride of a dimension of one element says nothing. */
static bool is_dense(const ms_stored_tensor *t) {
    int64_t expected = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != expected) return false;
        expected *= t->shape[i];
    }
    return true;
}

/* Row-major copy of t, walking all dimensions but the last as an odometer. */
static void gather(const ms_stored_tensor *t, size_t item, float *dst) {
    int last = t->rank - 1;
    int64_t run = t->rank ? t->shape[last] : 1, index[MS_STORED_MAX_RANK] = {0};
    ptrdiff_t step = t->rank ? (ptrdiff_t)(t->stride[last] * (int64_t)item) : 0;
    for (int64_t done = 0; done < t->n; done += run) {
        int64_t offset = 0;
        for (int i = 0; i < last; i++) offset += index[i] * t->stride[i];
        ms_row_to_f32(dst + done, t->base + offset * (int64_t)item, step, t->dtype, (size_t)run);
        for (int i = last - 1; i >= 0 && ++index[i] == t->shape[i]; i--) index[i] = 0;
    }
}

static int check_finite(const ms_stored *s, const ms_stored_tensor *t, msim_error *err) {
    int64_t at = ms_tensor_find_nonfinite(t->value);
    if (at < 0) return MSIM_OK;
    return ms_fail(err, MSIM_E_FORMAT,
                   "bad weights: %s, tensor %s: expected finite values, got %g at element %lld",
                   s->path, t->name, (double)ms_tensor_get(t->value, at), (long long)at);
}

int ms_stored_load(ms_stored *s, ms_stored_tensor *t, msim_error *err) {
    size_t item = t->dtype == MSIM_DTYPE_F64 ? 8 : t->dtype == MSIM_DTYPE_F32 ? 4 : 2;
    ms_tensor v = {.n = t->n};
    bool in_place = is_dense(t) && (uintptr_t)t->base % item == 0;
    if (in_place && t->dtype == MSIM_DTYPE_F32) {
        v.f32 = (const float *)(const void *)t->base;
    } else if (in_place && t->dtype == MSIM_DTYPE_BF16) {
        v.bf16 = (const ms_bf16 *)(const void *)t->base;
    } else {
        size_t n_bytes, limit = s->map.n_bytes * COPY_FACTOR + COPY_SLACK;
        if (!ms_mul_size((size_t)t->n, sizeof(float), &n_bytes) || n_bytes > limit - s->copy_bytes)
            return ms_fail(
                err, MSIM_E_FORMAT,
                "too large: %s, tensor %s: the views of this file take more than %zu bytes",
                s->path, t->name, limit);
        float *copy = ms_arena_get(&s->arena, (size_t)t->n, sizeof *copy, "weights", err);
        if (!copy) return -MSIM_E_MEMORY;
        s->copy_bytes += n_bytes;
        gather(t, item, copy);
        v.f32 = copy;
    }
    t->value = v;
    return check_finite(s, t, err);
}
