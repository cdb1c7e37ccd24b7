/* A tensor's values, and its shape in words: see tensor.h. */
#include "checkpoint/tensor.h"
#include <stdbool.h>
#include <stdio.h>

/* The first loops have no exit, so that they are fast over what is nearly always finite. */
int64_t ms_tensor_find_nonfinite(ms_tensor t) {
    uint32_t bad = 0;
    if (t.f32)
        for (int64_t i = 0; i < t.n; i++) bad |= !ms_is_finite_f32(t.f32[i]);
    else
        for (int64_t i = 0; i < t.n; i++) bad |= (t.bf16[i].bits & 0x7f80u) == 0x7f80u;
    if (!bad) return -1;
    int64_t at = 0;
    while (ms_is_finite_f32(ms_tensor_get(t, at))) at++;
    return at;
}

const char *ms_shape_text(const int64_t *shape, int rank, char *buf, size_t cap) {
    size_t at = 0;
    snprintf(buf, cap, "a scalar");
    for (int i = 0; i < rank && at < cap; i++)
        at += (size_t)snprintf(buf + at, cap - at, "%s%lld", i ? " x " : "", (long long)shape[i]);
    return buf;
}
