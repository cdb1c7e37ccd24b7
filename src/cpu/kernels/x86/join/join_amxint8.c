/* Kernels of a join on AMX tiles of 8-bit integers. search/join/kernels.h says what is computed.
 *
 * Shapes    32 left rows x 32 right ones, 2 x 2 tiles of sums, 64 components a step; 16 of either
 *           where no more are left.
 * How       tdpbsud multiplies left codes, s8 and packed as [tile][components / 64][16 rows][64],
 *           with right ones, u8 as they lie. A tile of sums begins as minus the least shares of its
 *           16 right rows, loaded with a stride of 0. Sums go to the vector unit through memory
 *           that stays in L1, where they are compared with the left row's least share, to which
 *           belongs what the 128 in the right codes add.
 * Numerics  exact integers: 255 * 127 * components stays below 2^27.
 * Needs     nothing aligned; ms_tiles_state() granted. The kernel configures the tiles and releases
 *           them, so that no thread keeps them in its state.
 * Tests     test/unit/cpu/test_join_kernels.c against ref. */
#include "cpu/kernels/join_project.h"
#include <immintrin.h>
#include <string.h>

enum { TILE = MS_JOIN_TILE, ROW = 64, BYTES = TILE * ROW, BLOCK = 2 * TILE };

/* ldtilecfg's operand (Intel SDM volume 1, section 18.2): all tiles have 16 rows of 64 bytes; tiles
 * 0..3 are sums, 4 and 5 left codes, 6 and 7 right ones. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} join_tile_config;

/* Tile instructions read memory behind the compiler's back: what was stored there must be there. */
INLINE void settle(const void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }

static void configure(void) {
    join_tile_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.row_bytes[t] = ROW;
        c.rows[t] = TILE;
    }
    settle(&c);
    _tile_loadconfig(&c);
    settle(&c);
}

/* Rows of a tile become rows of 64 components: a transpose of 16 x 16 words of 4 components. */
static void pack_left(char *dst, const ms_join_rows *left, size_t components) {
    const __m512i sign = _mm512_set1_epi8((char)0x80),
                  lanes = _mm512_mullo_epi32(
                      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                      _mm512_set1_epi32(TILE));
    const char *src = (const char *)left->codes;
    for (size_t s = 0; s < left->n_tiles * components / ROW; s++, src += BYTES, dst += BYTES)
        for (size_t r = 0; r < TILE; r++)
            _mm512_storeu_si512(
                dst + r * ROW,
                _mm512_xor_si512(_mm512_i32gather_epi32(lanes, src + r * MS_JOIN_GROUP, 4), sign));
}

/* Sums of 32 x 32 pairs, or of 16 where a side has no more. */
INLINE void sum_block(int32_t sums[BLOCK][BLOCK], const char *left, const unsigned char *right,
                      size_t tile_bytes, const int32_t start[BLOCK], const int is_tall,
                      const int is_wide) {
    _tile_loadd(0, start, 0);
    if (is_wide) _tile_loadd(1, start + TILE, 0);
    if (is_tall) _tile_loadd(2, start, 0);
    if (is_tall && is_wide) _tile_loadd(3, start + TILE, 0);
    for (size_t at = 0; at < tile_bytes; at += BYTES) {
        _tile_loadd(4, left + at, ROW);
        _tile_loadd(6, right + at, ROW);
        _tile_dpbsud(0, 4, 6);
        if (is_wide) {
            _tile_loadd(7, right + tile_bytes + at, ROW);
            _tile_dpbsud(1, 4, 7);
        }
        if (!is_tall) continue;
        _tile_loadd(5, left + tile_bytes + at, ROW);
        _tile_dpbsud(2, 5, 6);
        if (is_wide) _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, sums[0], sizeof *sums);
    if (is_wide) _tile_stored(1, sums[0] + TILE, sizeof *sums);
    if (is_tall) _tile_stored(2, sums[TILE], sizeof *sums);
    if (is_tall && is_wide) _tile_stored(3, sums[TILE] + TILE, sizeof *sums);
    settle(sums);
}

/* The pairs among rows x columns sums, of left rows from `row` and right ones from `column` on. */
static size_t keep(uint32_t *out, int32_t sums[BLOCK][BLOCK], const int32_t *least, size_t row,
                   size_t column, size_t rows, size_t columns) {
    size_t n = 0;
    for (size_t i = 0; i < rows; i++) {
        __m512i need = _mm512_set1_epi32(least[row + i]);
        unsigned m = _mm512_cmpge_epi32_mask(_mm512_load_si512(sums[i]), need);
        if (columns > TILE)
            m |= (unsigned)_mm512_cmpge_epi32_mask(_mm512_load_si512(sums[i] + TILE), need) << TILE;
        for (; m; m &= m - 1)
            out[n++] = (uint32_t)((row + i) << 16 | (column + (size_t)__builtin_ctz(m)));
    }
    return n;
}

static size_t pairs(uint32_t *out, const ms_join_rows *left, const ms_join_rows *right,
                    size_t components, void *scratch) {
    int32_t sums[BLOCK][BLOCK] __attribute__((aligned(64))), least[MS_JOIN_LEFT], start[BLOCK];
    size_t n_left = TILE * left->n_tiles, n_right = TILE * right->n_tiles, n = 0;
    size_t tile_bytes = ms_join_tile_bytes(components);
    pack_left(scratch, left, components);
    for (size_t i = 0; i < n_left; i++) least[i] = left->least[i] + 128 * left->sum[i];
    settle(scratch);
    configure();
    for (size_t k = 0; k < n_right; k += BLOCK) {
        int is_wide = k + TILE < n_right;
        const unsigned char *r = right->codes + k / TILE * tile_bytes;
        for (size_t c = 0; c < BLOCK && k + c < n_right; c++) start[c] = -right->least[k + c];
        settle(start);
        for (size_t i = 0; i < n_left; i += BLOCK) {
            int is_tall = i + TILE < n_left;
            const char *l = (const char *)scratch + i / TILE * tile_bytes;
            if (is_tall && is_wide)
                sum_block(sums, l, r, tile_bytes, start, 1, 1);
            else if (is_tall)
                sum_block(sums, l, r, tile_bytes, start, 1, 0);
            else if (is_wide)
                sum_block(sums, l, r, tile_bytes, start, 0, 1);
            else
                sum_block(sums, l, r, tile_bytes, start, 0, 0);
            n += keep(out + n, sums, least, i, k, is_tall ? BLOCK : TILE, is_wide ? BLOCK : TILE);
        }
    }
    _tile_release();
    return n;
}

static void project(float *out, const float *rows, const float *map, size_t dim, size_t n_out) {
    project_rows(out, rows, map, dim, n_out, 16);
}

const ms_join_kernels ms_join_amxint8 = {
    .name = "amxint8", .steps_per_score = 2500, .pairs = pairs, .project = project};
