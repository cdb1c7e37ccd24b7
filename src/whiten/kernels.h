/* The product that fitting and applying a whitening consist of, and the table with which a level
 * brings it (cpu/levels.h). Factors are doubles that hold f32 values: their products are exact, so
 * a fused multiply-add and two operations give the same bits. Each sum runs over k in order. So
 * every level gives the same bits, whatever the shape of its tiles. */
#ifndef MS_WHITEN_KERNELS_H
#define MS_WHITEN_KERNELS_H
#include <stddef.h>

enum {
    MS_WHITEN_LANES = 16, /* columns of a panel: [k][16] */
    MS_WHITEN_HEIGHT = 8  /* columns of the left panel that one tile takes */
};

typedef struct {
    /* c[i][j] = sum of a[k][i] * b[k][j] over k = 0 .. n - 1: c [8][16], a [n] and b [n] panels of
     * 16 columns; a begins at column 0 or 8 of its panel. 64-byte aligned. */
    void (*tile)(double *c, const double *a, const double *b, size_t n);
} ms_whiten_kernels;

#endif
