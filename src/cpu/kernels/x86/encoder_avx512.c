/* Level `avx512`: the encoder's kernels on AVX-512 F, BW, DQ and VL. cpu/encoder/kernels.h says
 * what each computes; they stand in cpu/kernels/x86/avx512_common.h, for the levels above run them
 * too.
 *
 * Shapes    products m x n x k with n and k multiples of 16, in panels of 32 columns; attention of
 *           up to 96 query rows of a head of 64. Keys: k as [head][row / 16][64][16], v as rows.
 * How       12 rows x 32 columns of a product in 24 registers: avx512_vector.h. Attention takes 256
 *           keys between two updates of a row's maximum.
 * Numerics  operands are f32 in both precisions (bf16 values widened); sums in f32, k rising. exp2
 *           and GELU are approximated: docs/MODEL.md.
 * Needs     nothing aligned.
 * Tests     test/unit/cpu/test_kernels.c and test_encoder.c against `ref` and f64, test_dots.c. */
#include "cpu/encoder/kernels.h"
#include "cpu/kernels/x86/avx512_common.h"

static void pack(void *dst, const float *w, size_t n, size_t k, int precision) {
    (void)precision;
    pack_f32(dst, w, n, k);
}

static void norm(void *dst, size_t dst_stride, const float *x, const float *scale, size_t n_rows,
                 size_t dim, int precision) {
    norm_rows(dst, dst_stride, x, scale, n_rows, dim, precision, store16_f32);
}

static void store_q(const ms_heads *h, void *dst, size_t dst_stride) {
    store_q_f32(h, dst, dst_stride);
}
static void store_k(const ms_heads *h, const ms_keys *keys) { store_k_f32(h, keys->k, keys); }
static void store_v(const ms_heads *h, const ms_keys *keys) { store_v_f32(h, keys->v, keys); }

const ms_cpu_kernels ms_encoder_avx512 = {
    .name = "avx512",
    .isa = MSIM_ISA_AVX512,
    .panel_cols = WIDE_COLS,
    .tile_rows = TILE_ROWS,
    .operand_bytes = {sizeof(float), sizeof(float)},
    .attend_rows = ATTEND_ROWS,
    .attend_scratch_bytes = sizeof(scratch_512),
    .pack = pack,
    .norm = norm,
    .product = product_f32,
    .store_q = store_q,
    .store_k = store_k,
    .store_v = store_v,
    .attend = attend_f32,
    .dots_f64 = dots_f64,
    .squares_f64 = squares_f64,
};
