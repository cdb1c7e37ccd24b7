/* What the encoder kernels of several levels share: the weight panels of every level whose operands
 * are f32. Only static functions, so that each level compiles its own copy with its own flags.
 * docs/MODEL.md. */
#ifndef MS_CPU_KERNELS_COMMON_H
#define MS_CPU_KERNELS_COMMON_H
#include "base/bf16.h"
#include "cpu/encoder/kernels.h"
#include "model/constants.h"

enum { PANEL_COLS = 16 };

/* w [n, k] to panels [n / 16][k][16]: the 16 weights that meet one input element lie side by
 * side. */
static inline void pack_panels_f32(void *dst, const float *w, size_t n, size_t k, int precision) {
    float *out = dst;
    (void)precision;
    for (size_t j0 = 0; j0 < n; j0 += PANEL_COLS)
        for (size_t l = 0; l < k; l++)
            for (size_t j = j0; j < j0 + PANEL_COLS; j++) *out++ = j < n ? w[j * k + l] : 0.0f;
}

#endif
