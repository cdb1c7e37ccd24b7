/* Precision int8: linear layers multiply 8-bit codes in integers; everything else is as at bf16.
 * docs/MODEL.md, int8.
 *
 *   weight   = scale * code, code -127..127: one scale for each output column
 *   element  = low + scale * code, code 0..most: one low and one scale for each row (of a
 *              feed-forward chunk: for each row of the chunk), so that a row's codes depend on
 *              nothing but the row
 *   sum over l of a[l] w[l] = (row scale * column scale) * (integer sum of codes) + low * (column
 *   scale * sum of w's codes)
 *
 * The integer sum is exact: 255 * 127 * k fits 32 bits up to k = 66,300. The rest is one product,
 * one product and one fused multiply-add in f32 at every level, so that levels with the same `most`
 * agree to the bit on STORE and ADD.
 *
 * `most` is 255 where an instruction adds products in 32 bits (AVX512_VNNI). AVX2 has only
 * vpmaddubsw, which adds two products in 16 bits and saturates; its kernels add two such sums
 * before they widen them. With inputs 0..127 none of that can saturate if, of the four weights that
 * meet in one sum, neither the positive codes nor the negative ones add up to more than 258 (127 *
 * 258 = 32,766): so the packing chooses the column's scale. The four are elements {0, 1, 4, 5} and
 * {2, 3, 6, 7} of each eight. */
#ifndef MS_CPU_ENCODER_INT8_H
#define MS_CPU_ENCODER_INT8_H
#include "cpu/encoder/kernels.h"

enum { MS_INT8_COLS = 32, MS_INT8_GROUP = 4, MS_INT8_MAX_K = 65536, MS_INT8_FOUR = 258 };
#define MS_INT8_LEAST 1e-30f /* a range below it counts as none: its inverse might be infinite */

/* Rows as input of a product. */
typedef struct {
    void *codes; /* u8 [n_rows, k] */
    size_t stride;
    float *scale, *low; /* [n_rows] */
    int most;           /* the kernels' own */
} ms_int8_rows;

typedef struct {
    const char *name;
    int most; /* largest code of an input: 255, or 127, and then fours of weights are bounded */
    /* f32 rows, or bf16 ones (src_bytes 2), to codes. k a multiple of 16. A row with NaN or
     * infinity gets a low of NaN. */
    void (*quantise)(const ms_int8_rows *dst, const void *src, size_t src_bytes, size_t src_stride,
                     size_t n_rows, size_t k);
    /* a: codes; w: ms_int8_pack's panels; GELU stores f32. */
    void (*product)(const ms_product *p);
} ms_int8_kernels;

/* Panels [n / 32][k / 4][32][4] of w [n, k]; scale [n]; for each `chunk` of columns of w, scale *
 * sum of codes: sums [k / chunk, rounded up][n]. n is rounded up to whole panels. A column with NaN
 * or infinity gets that as its scale. `most`: of the kernels that will read it; 127 bounds the
 * fours. */
void ms_int8_pack(int8_t *panels, float *scale, float *sums, const float *w, size_t n, size_t k,
                  size_t chunk, int most);

/* The definition, in plain C; other levels are compared with it. */
extern const ms_int8_kernels ms_int8_ref;

#endif
