/* Kernels of a join on AVX512_VNNI, for level avx512 and all above it. search/join/kernels.h says
 * what is computed.
 *
 * Shapes    8 left rows x 3 tiles of right ones, then x 1.
 * How       vpdpbusd adds four products u8 x s8 to each lane of 32 bits, and a lane is a right row.
 *           The left rows are packed first, [components / 4][8 rows][4] s8 for each 8 rows. A sum
 *           begins at minus the right row's least share and is compared with the left row's, to
 *           which belongs what the 128 in the right codes add: one comparison per 16 pairs.
 * Numerics  exact integers: 255 * 127 * components stays below 2^27.
 * Needs     nothing aligned.
 * Tests     test/unit/cpu/test_join_kernels.c against ref. */
#include "cpu/kernels/join_project.h"
#include "cpu/kernels/x86/dot4_avx512vnni.h"
#include <string.h>

enum { ROWS = 8, GROUP_BYTES = MS_JOIN_TILE * MS_JOIN_GROUP };

/* Half tiles side by side: a half after the other, [group][8 rows][4]. */
static void pack_left(char *dst, const ms_join_rows *left, size_t components) {
    const __m256i sign = _mm256_set1_epi8((char)0x80);
    const unsigned char *src = left->codes;
    size_t groups = components / MS_JOIN_GROUP, half = groups * GROUP_BYTES / 2;
    for (size_t t = 0; t < left->n_tiles; t++, dst += 2 * half)
        for (size_t g = 0; g < groups; g++, src += GROUP_BYTES)
            for (size_t h = 0; h < 2; h++)
                _mm256_storeu_si256(
                    (__m256i *)(void *)(dst + h * half + g * GROUP_BYTES / 2),
                    _mm256_xor_si256(
                        _mm256_loadu_si256((const __m256i *)(const void *)(src + h * 32)), sign));
}

/* 8 left rows against `tiles` tiles of right ones. */
INLINE size_t join_tiles(uint32_t *out, const char *left, const int32_t *least,
                         const ms_join_rows *right, size_t tile, size_t components, size_t row,
                         const int tiles) {
    __m512i sum[ROWS * 3];
    size_t tile_bytes = ms_join_tile_bytes(components);
    const unsigned char *at = right->codes + tile * tile_bytes;
    UNROLL
    for (int t = 0; t < tiles; t++) {
        __m512i start =
            _mm512_sub_epi32(_mm512_setzero_si512(),
                             _mm512_loadu_si512(right->least + (tile + (size_t)t) * MS_JOIN_TILE));
        UNROLL
        for (int i = 0; i < ROWS; i++) sum[i * tiles + t] = start;
    }
    for (size_t g = 0; g < components / MS_JOIN_GROUP;
         g++, at += GROUP_BYTES, left += ROWS * MS_JOIN_GROUP) {
        __m512i x[3];
        UNROLL
        for (int t = 0; t < tiles; t++) x[t] = _mm512_loadu_si512(at + (size_t)t * tile_bytes);
        UNROLL
        for (int i = 0; i < ROWS; i++) {
            __m512i w = same_four(left + i * MS_JOIN_GROUP);
            UNROLL
            for (int t = 0; t < tiles; t++) sum[i * tiles + t] = dot4(sum[i * tiles + t], x[t], w);
        }
    }
    __mmask16 any = 0, kept[ROWS * 3];
    UNROLL
    for (int i = 0; i < ROWS; i++) {
        __m512i need = _mm512_set1_epi32(least[i]);
        UNROLL
        for (int t = 0; t < tiles; t++) {
            kept[i * tiles + t] = _mm512_cmpge_epi32_mask(sum[i * tiles + t], need);
            any = _kor_mask16(any, kept[i * tiles + t]);
        }
    }
    size_t n = 0;
    if (!any) return 0;
    for (int t = 0; t < tiles; t++)
        for (int i = 0; i < ROWS; i++)
            for (unsigned m = kept[i * tiles + t]; m; m &= m - 1)
                out[n++] = (uint32_t)((row + (size_t)i) << 16 | ((tile + (size_t)t) * MS_JOIN_TILE +
                                                                 (size_t)__builtin_ctz(m)));
    return n;
}

__attribute__((noinline)) static size_t join_3(uint32_t *out, const char *left,
                                               const int32_t *least, const ms_join_rows *right,
                                               size_t tile, size_t components, size_t row) {
    return join_tiles(out, left, least, right, tile, components, row, 3);
}

__attribute__((noinline)) static size_t join_1(uint32_t *out, const char *left,
                                               const int32_t *least, const ms_join_rows *right,
                                               size_t tile, size_t components, size_t row) {
    return join_tiles(out, left, least, right, tile, components, row, 1);
}

static size_t pairs(uint32_t *out, const ms_join_rows *left, const ms_join_rows *right,
                    size_t components, void *scratch) {
    int32_t least[MS_JOIN_LEFT];
    size_t n_left = MS_JOIN_TILE * left->n_tiles, n = 0;
    pack_left(scratch, left, components);
    for (size_t i = 0; i < n_left; i++) least[i] = left->least[i] + 128 * left->sum[i];
    for (size_t tile = 0; tile < right->n_tiles;) {
        size_t tiles = right->n_tiles - tile < 3 ? 1 : 3;
        for (size_t i = 0; i < n_left; i += ROWS) {
            const char *rows = (const char *)scratch + i * components;
            n += tiles == 3 ? join_3(out + n, rows, least + i, right, tile, components, i)
                            : join_1(out + n, rows, least + i, right, tile, components, i);
        }
        tile += tiles;
    }
    return n;
}

static void project(float *out, const float *rows, const float *map, size_t dim, size_t n_out) {
    project_rows(out, rows, map, dim, n_out, 16);
}

const ms_join_kernels ms_join_avx512vnni = {
    .name = "avx512vnni", .steps_per_score = 700, .pairs = pairs, .project = project};
