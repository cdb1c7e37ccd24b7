/* Level `amxbf16`: the encoder's kernels on AVX-512 with AVX512_BF16, products of bf16 on AMX.
 * cpu/encoder/kernels.h says what each computes. Precision f32 runs level avx512's kernels;
 * packing, norms and heads are level avx512bf16's.
 *
 * Shapes    as level avx512bf16: its panels and keys are what tiles of 16 pairs x 16 columns load.
 * How       a product takes 32 rows x 32 columns, 2 x 2 tiles of sums, 32 elements of k a step;
 *           attention 16 query rows x 64 keys, and 16 query rows x 64 columns of p v. Sums go to
 *           the vector unit through memory that stays in L1.
 * Numerics  tdpbf16ps adds to two f32 sums, of even and of odd k of a step, by fused multiply-add;
 *           then their sum to the tile. A last half step is filled with zeros. Subnormal numbers
 *           count as 0, sums too, and rounding is to nearest whatever MXCSR says. exp2 is of
 *           degree 3, as accurate as level avx512bf16's: docs/MODEL.md.
 * Needs     k even; nothing aligned; ms_tiles_state() granted. A kernel configures the tiles and
 *           releases them, so that no thread keeps them in its state.
 * Tests     test/unit/cpu/test_kernels.c and test_encoder.c against `ref` and f64, test_dots.c. */
#include "cpu/encoder/kernels.h"
#include "cpu/kernels/x86/avx512bf16_common.h"

enum {
    TILE = 16,        /* rows of a tile, and columns of f32 */
    STEP = 32,        /* elements of k that one instruction takes */
    KEYS = 64,        /* of a block of attention: they and their values, 16 KiB, stay in L1 */
    BLOCK = 2 * TILE, /* rows of a product's block */
    PANEL_ROW = WIDE_COLS * PAIRS * 2,  /* bytes from pair to pair of k in a panel */
    KEY_ROW = MS_KEY_GROUP * PAIRS * 2, /* bytes from pair to pair of dims in a group of keys */
    GROUP_HALF = TILE * KEY_ROW,        /* bytes of 32 dims of a group of keys */
    GROUP = 2 * GROUP_HALF,
    VALUE_ROW = MS_HEAD_DIM * PAIRS * 2 /* bytes from pair to pair of values */
};

/* ldtilecfg's operand (Intel SDM volume 1, section 18.2). Here all tiles have rows of 64 bytes;
 * tiles 0..3 are sums, 4 and 5 inputs, 6 and 7 weights. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

/* Tile instructions read memory behind the compiler's back: what was stored there must be there. */
INLINE void settle(const void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }

/* Upper and lower: the rows of tiles 0, 1, 4 and of 2, 3, 5. */
static void configure(size_t upper, size_t lower) {
    tile_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.row_bytes[t] = 64;
        c.rows[t] = (uint8_t)(t > 5 ? TILE : t == 2 || t == 3 || t == 5 ? lower : upper);
    }
    settle(&c);
    _tile_loadconfig(&c);
    settle(&c);
}

INLINE void zero_sums(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

/* ---- Products ---- */

/* One step of k for 32 rows, or for the upper 16 of them at most, x 32 columns. */
INLINE void add_step(const char *a, size_t stride, const char *w, const int has_lower) {
    _tile_stream_loadd(6, w, PANEL_ROW);
    _tile_loadd(4, a, stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_stream_loadd(7, w + PANEL_ROW / 2, PANEL_ROW);
    _tile_dpbf16ps(1, 4, 7);
    if (!has_lower) return;
    _tile_loadd(5, a + TILE * stride, stride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

/* The last 16 elements of k, with 16 zeros behind them on both sides. */
static void add_half_step(const char *a, size_t stride, const char *w, size_t rows) {
    enum { HALF = STEP / 2 * sizeof(ms_bf16) };
    char inputs[BLOCK][2 * HALF] = {{0}}, weights[TILE][PANEL_ROW] = {{0}};
    for (size_t r = 0; r < rows; r++) memcpy(inputs[r], a + r * stride, HALF);
    memcpy(weights, w, sizeof weights / 2);
    settle(inputs);
    settle(weights);
    if (rows > TILE)
        add_step(inputs[0], sizeof *inputs, weights[0], 1);
    else
        add_step(inputs[0], sizeof *inputs, weights[0], 0);
    settle(inputs);
    settle(weights);
}

/* A block whose sums wait for their epilogue, from row `done` on. */
typedef struct {
    const float (*sums)[WIDE_COLS];
    size_t i, j, rows, done;
} waiting_block;

INLINE void finish_rows(const ms_product *p, waiting_block *b, size_t n) {
    size_t end = b->rows - b->done < n ? b->rows : b->done + n;
    for (size_t r = b->done; r < end; r++) {
        __m512 sum[2] = {_mm512_load_ps(b->sums[r]), _mm512_load_ps(b->sums[r] + TILE)};
        finish_row(p, b->i + r, b->j, sum, store16_bf16);
    }
    b->done = end;
}

/* Sums of one block. The block before it is finished meanwhile, some rows a step: tiles multiply
 * while the vector unit works. */
INLINE void sum_block(const ms_product *p, size_t i, size_t j, size_t rows, const int has_lower,
                      float sums[BLOCK][WIDE_COLS], waiting_block *before) {
    size_t stride = p->a_stride * sizeof(ms_bf16), steps = p->k / STEP,
           each = (BLOCK + steps) / (steps + 1);
    const char *a = (const char *)p->a + i * stride,
               *w = (const char *)((const ms_bf16 *)p->w + j / WIDE_COLS * p->w_stride);
    zero_sums();
    for (size_t l = 0; l < steps; l++, a += STEP * sizeof(ms_bf16), w += TILE * PANEL_ROW) {
        add_step(a, stride, w, has_lower);
        finish_rows(p, before, each);
    }
    if (p->k % STEP) add_half_step(a, stride, w, rows);
    finish_rows(p, before, BLOCK);
    _tile_stored(0, sums[0], sizeof *sums);
    _tile_stored(1, sums[0] + TILE, sizeof *sums);
    if (!has_lower) return;
    _tile_stored(2, sums[TILE], sizeof *sums);
    _tile_stored(3, sums[TILE] + TILE, sizeof *sums);
}

/* A block of rows (32 KiB at k = 512) stays in L1 while all weights stream past it. */
static void product_tiles(const ms_product *p) {
    float sums[BLOCK][WIDE_COLS] __attribute__((aligned(64)));
    waiting_block before = {.sums = (const float(*)[WIDE_COLS])sums};
    for (size_t i = 0; i < p->m; i += BLOCK) {
        size_t rows = p->m - i < BLOCK ? p->m - i : BLOCK;
        if (i == 0 || rows < BLOCK)
            configure(rows < TILE ? rows : TILE, rows > TILE ? rows - TILE : TILE);
        for (size_t j = 0; j < p->n; j += WIDE_COLS) {
            if (rows > TILE)
                sum_block(p, i, j, rows, 1, sums, &before);
            else
                sum_block(p, i, j, rows, 0, sums, &before);
            before = (waiting_block){before.sums, i, j, rows, 0};
        }
    }
    finish_rows(p, &before, BLOCK);
    _tile_release();
}

static void product(const ms_product *p) {
    if (p->precision == MSIM_PRECISION_BF16)
        product_tiles(p);
    else
        product_f32(p);
}

/* ---- Attention: tiles 4 and 5 hold the query rows' dims 0..31 and 32..63 ---- */

/* The lower and the upper half of the dims, with one group of keys. */
#define ADD_LOWER(sums, keys)            \
    do {                                 \
        _tile_loadd(6, (keys), KEY_ROW); \
        _tile_dpbf16ps(sums, 4, 6);      \
    } while (0)
#define ADD_UPPER(sums, keys)                         \
    do {                                              \
        _tile_loadd(7, (keys) + GROUP_HALF, KEY_ROW); \
        _tile_dpbf16ps(sums, 5, 7);                   \
    } while (0)

static void score_tiles(float *score, const char *k, size_t n_keys) {
    enum { ROW = SCORE_STRIDE * sizeof(float) };
    size_t j = 0;
    for (; j + 4 * TILE <= n_keys; j += 4 * TILE, k += 4 * GROUP) {
        zero_sums();
        ADD_LOWER(0, k);
        ADD_LOWER(1, k + GROUP);
        ADD_LOWER(2, k + 2 * GROUP);
        ADD_LOWER(3, k + 3 * GROUP);
        ADD_UPPER(0, k);
        ADD_UPPER(1, k + GROUP);
        ADD_UPPER(2, k + 2 * GROUP);
        ADD_UPPER(3, k + 3 * GROUP);
        _tile_stored(0, score + j, ROW);
        _tile_stored(1, score + j + TILE, ROW);
        _tile_stored(2, score + j + 2 * TILE, ROW);
        _tile_stored(3, score + j + 3 * TILE, ROW);
    }
    for (; j < n_keys; j += TILE, k += GROUP) {
        _tile_zero(0);
        ADD_LOWER(0, k);
        ADD_UPPER(0, k);
        _tile_stored(0, score + j, ROW);
    }
}

/* Past the last query row lie rows of zeros, whose scores nobody reads. */
static void score_rows_tiles(float *score, const void *q, size_t q_stride, const void *k,
                             size_t n_keys, size_t rows) {
    ms_bf16 few[TILE][MS_HEAD_DIM];
    if (rows < TILE) {
        memset(few, 0, sizeof few);
        for (size_t r = 0; r < rows; r++)
            memcpy(few[r], (const ms_bf16 *)q + r * q_stride, sizeof few[r]);
        q = few;
        q_stride = MS_HEAD_DIM;
    }
    settle(q);
    _tile_loadd(4, q, q_stride * sizeof(ms_bf16));
    _tile_loadd(5, (const ms_bf16 *)q + STEP, q_stride * sizeof(ms_bf16));
    score_tiles(score, k, n_keys);
    settle(few);
}

/* acc += p v for 32 keys, all 64 dims. */
INLINE void add_values(const ms_bf16 *p, const char *v) {
    _tile_loadd(4, p, SCORE_STRIDE * sizeof(ms_bf16));
    _tile_loadd(6, v, VALUE_ROW);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, v + 64, VALUE_ROW);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(6, v + 128, VALUE_ROW);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(7, v + 192, VALUE_ROW);
    _tile_dpbf16ps(3, 4, 7);
}

/* All 16 rows of the scratch, whatever their number: the others' sums are never read. A last group
 * of 16 keys gets zeros behind it, for behind its own values lie another sequence's. */
static void value_rows_tiles(float (*acc)[MS_HEAD_DIM], const void *p, const void *v, size_t n_keys,
                             size_t rows) {
    char last[TILE][VALUE_ROW];
    const ms_bf16 *w = p;
    const char *values = v;
    size_t l = 0;
    (void)rows;
    settle(acc);
    settle(p);
    _tile_loadd(0, acc[0], sizeof *acc);
    _tile_loadd(1, acc[0] + TILE, sizeof *acc);
    _tile_loadd(2, acc[0] + 2 * TILE, sizeof *acc);
    _tile_loadd(3, acc[0] + 3 * TILE, sizeof *acc);
    for (; l + STEP <= n_keys; l += STEP) add_values(w + l, values + l / PAIRS * VALUE_ROW);
    if (l < n_keys) {
        memcpy(last, values + l / PAIRS * VALUE_ROW, sizeof last / 2);
        memset(last[TILE / 2], 0, sizeof last / 2);
        settle(last);
        add_values(w + l, last[0]);
        settle(last);
    }
    _tile_stored(0, acc[0], sizeof *acc);
    _tile_stored(1, acc[0] + TILE, sizeof *acc);
    _tile_stored(2, acc[0] + 2 * TILE, sizeof *acc);
    _tile_stored(3, acc[0] + 3 * TILE, sizeof *acc);
}

/* 2^x for x <= 0: exp2_nonpositive_bf16's polynomial, moved from [-1/2, 1/2] to [0, 1], where
 * remainder and scale cost two instructions less. Relative error below 7.6e-5. */
INLINE __m512 exp2_tiles(__m512 x) {
    __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = _mm512_set1_ps(0x1.3f96a4p-4f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.cefc50p-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.64444ap-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.fff632p-1f));
    return _mm512_scalef_ps(p, x);
}

INLINE void exponents_tiles(void *p, size_t j, const float *score, __m512 scale, __m512 shift,
                            __m512 e[2], int precision) {
    (void)precision;
    for (size_t h = 0; h < 2; h++)
        e[h] = exp2_tiles(_mm512_fmsub_ps(_mm512_loadu_ps(score + j + 16 * h), scale, shift));
    _mm512_storeu_si512((ms_bf16 *)p + j, (__m512i)_mm512_cvtne2ps_pbh(e[1], e[0]));
}

static void attend(const ms_attend *a) {
    static const attend_steps steps = {
        sizeof(ms_bf16),  TILE,        KEYS, score_rows_tiles, exponents_tiles,
        value_rows_tiles, store16_bf16};
    if (a->precision != MSIM_PRECISION_BF16) {
        attend_f32(a);
        return;
    }
    configure(TILE, TILE);
    attend_by(a, &steps);
    _tile_release();
}

const ms_cpu_kernels ms_encoder_amxbf16 = {
    .name = "amxbf16",
    .isa = MSIM_ISA_AMXBF16,
    .panel_cols = WIDE_COLS,
    .tile_rows = BLOCK,
    .operand_bytes =
        {[MSIM_PRECISION_BF16] = sizeof(ms_bf16), [MSIM_PRECISION_F32] = sizeof(float)},
    .attend_rows = ATTEND_ROWS,
    .attend_scratch_bytes = sizeof(scratch_512),
    .pack = pack,
    .norm = norm,
    .product = product,
    .store_q = store_q,
    .store_k = store_k,
    .store_v = store_v,
    .attend = attend,
    .dots_f64 = dots_f64,
    .squares_f64 = squares_f64,
};
