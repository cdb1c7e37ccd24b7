/* Tiles of bf16 products added to f32 (tdpbf16ps, 16 x 16 x 32): bench/limits.h. Four sums cover
 * its latency of 52 cycles at one every 16. Runs only where the library got permission to use
 * tiles. */
#include "bench/limits.h"
#include <immintrin.h>
#include <stdint.h>

/* As src/cpu/kernels/x86/encoder_amxbf16.c has it: 8 tiles of 16 rows of 64 bytes. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tiles = {.palette = 1,
           .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
           .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

static void tile_loop(size_t steps) {
    _tile_loadconfig(&tiles); /* which also fills them with zeros */
    for (size_t i = 0; i < steps; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
}

const ms_limits_table ms_limits_amxbf16 = {
    .dot = {.per_step = 4.0 * 2 * 16 * 16 * 32, .run = tile_loop}};
