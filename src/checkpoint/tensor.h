/* A tensor's values, and its shape in words. Knows neither files nor models. */
#ifndef MS_CHECKPOINT_TENSOR_H
#define MS_CHECKPOINT_TENSOR_H
#include "base/bf16.h"
#include <stddef.h>
#include <stdint.h>

/* One tensor, row-major and dense: either f32 or bf16, the other pointer NULL. */
typedef struct {
    const float *f32;    /* borrowed from the open file */
    const ms_bf16 *bf16; /* likewise */
    int64_t n;           /* elements */
} ms_tensor;

/* Element i of a tensor as f32 (exact). */
static inline float ms_tensor_get(ms_tensor t, int64_t i) {
    return t.f32 ? t.f32[i] : ms_f32_of_bf16(t.bf16[i]);
}

/* The first element that is NaN or infinite, or -1. */
int64_t ms_tensor_find_nonfinite(ms_tensor t);
/* "512 x 512" for messages; "a scalar" for rank 0. Returns buf. */
const char *ms_shape_text(const int64_t *shape, int rank, char *buf, size_t cap);

#endif
