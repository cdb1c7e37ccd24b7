/* What the encoder's kernels of a level compute, and the table that holds them. docs/MODEL.md
 * defines the numbers and where they are rounded; cpu/levels.h says which levels there are.
 *
 * Layouts that a level chooses for itself, and everyone else only hands around:
 *   operand   input of a product, row-major, operand_bytes[precision] an element
 *   panels    weights of a product: panel_cols output columns side by side, all k of them one
 *             behind the other
 *   keys      k and v of one head of one sequence, in groups of MS_KEY_GROUP positions
 * Kernels start no thread, take no memory and keep no state. Every output row is computed by the
 * same operations in the same order wherever the row stands in a block, so blocks, batch mates and
 * threads never change bits. */
#ifndef MS_CPU_ENCODER_KERNELS_H
#define MS_CPU_ENCODER_KERNELS_H
#include "base/rows.h"
#include "base/status.h"

enum { MS_KEY_GROUP = 16 };

/* What a product does with its sums. */
enum ms_epilogue {
    MS_EPILOGUE_STORE, /* f32 dst = sum */
    MS_EPILOGUE_ADD,   /* f32 dst = dst + (sum + bias): the residual stream */
    MS_EPILOGUE_GELU   /* operand dst = gelu(sum + bias) */
};

/* dst[i][j] = epilogue(sum over l of a[i][l] * w[j][l]), l rising, i < m, j < n. */
typedef struct {
    const void *a;     /* operand [m, k] */
    const void *w;     /* panels of [n, k] */
    const float *bias; /* [n]; NULL: none */
    void *dst;         /* [m, n], f32 or operand by epilogue */
    size_t m, n, k;    /* n and k multiples of 16 */
    size_t a_stride;   /* elements from row to row */
    size_t w_stride;   /* elements from panel to panel; panel_cols * k when w is a whole matrix */
    size_t dst_stride; /* elements from row to row */
    int epilogue, precision;
    const float *a_scale, *a_low; /* [m], int8 only: cpu/encoder/int8.h */
    const float *w_scale, *w_sum; /* [n], int8 only */
} ms_product;

/* k and v of every sequence of a batch, in a layout that the level chooses. Head by head, `rows`
 * rows of each; a sequence takes rows first_row on, first_row a multiple of MS_KEY_GROUP. Each
 * buffer holds heads * rows * 64 operands. */
typedef struct {
    void *k, *v;
    size_t rows;
} ms_keys;

/* q, k or v rows of consecutive positions of one sequence, as the product left them. */
typedef struct {
    const float *src;       /* [n_rows, heads * 64] */
    size_t src_stride;      /* elements from row to row */
    const float *cos, *sin; /* [n_rows, 16], of positions first_position on */
    size_t n_rows, heads;
    size_t first_position; /* of row 0 in its sequence */
    size_t first_row;      /* of the sequence in the keys */
    int precision;
} ms_heads;

/* Attention of query rows of one head of one sequence over all its keys. */
typedef struct {
    const void *q; /* operand [n_query, 64], rotated */
    const ms_keys *keys;
    size_t head, first_row, n_keys; /* n_keys >= 1 */
    void *dst;                      /* operand [n_query, 64] */
    void *scratch;                  /* attend_scratch_bytes, one worker's own */
    size_t n_query;                 /* <= attend_rows */
    size_t q_stride, dst_stride;
    int precision;
} ms_attend;

typedef struct {
    const char *name;
    int isa;                 /* msim_isa */
    size_t panel_cols;       /* output columns of a panel */
    size_t tile_rows;        /* rows a product takes at a time: blocks are multiples of it,
                                  * except the last */
    size_t operand_bytes[2]; /* by msim_precision: one element of a product's input, of q, k and
                                  * v */
    size_t attend_rows;      /* most query rows of one call */
    size_t attend_scratch_bytes;

    /* Panels of w [n, k] (f32; already bf16 values when that is the precision). dst holds n rounded
     * up to whole panels, times k, operands. */
    void (*pack)(void *dst, const float *w, size_t n, size_t k, int precision);
    /* dst [n_rows, dim] = (x - mean) / sqrt(variance + eps) * scale, an operand of the precision. x
     * is dense. dst may be x at f32. */
    void (*norm)(void *dst, size_t dst_stride, const float *x, const float *scale, size_t n_rows,
                 size_t dim, int precision);
    void (*product)(const ms_product *p);
    /* Rotate q rows into an operand [n_rows, heads * 64]; rotate k rows, or take v rows, into the
     * keys. */
    void (*store_q)(const ms_heads *h, void *dst, size_t dst_stride);
    void (*store_k)(const ms_heads *h, const ms_keys *keys);
    void (*store_v)(const ms_heads *h, const ms_keys *keys);
    void (*attend)(const ms_attend *a);

    /* dst[r * n_query + q] = dot of row r and query q in double: 16 lanes, lane l takes j = l, l +
     * 16, ... by fused multiply-add from 0, then lanes l += l + 8, + 4, + 2, + 1. Elements are
     * widened exactly; lanes without an element keep their sum. Rows have any alignment; queries
     * [n_query, dim]. Every level gives the same bits. */
    void (*dots_f64)(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                     const float *queries, size_t n_query, size_t n_rows, size_t dim);
    /* dst[r] = dot of row r with itself, in the same order. */
    void (*squares_f64)(double *dst, const unsigned char *rows, size_t row_bytes, int dtype,
                        size_t n_rows, size_t dim);
} ms_cpu_kernels;

/* The definition, in plain C; other levels are compared with it. */
extern const ms_cpu_kernels ms_encoder_ref;

#endif
