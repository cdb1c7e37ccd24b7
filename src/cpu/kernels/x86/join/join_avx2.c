/* Kernels of a join at level avx2, and at every 512-bit level on a CPU without AVX512_VNNI.
 * search/join/kernels.h says what is computed.
 *
 * Shapes    4 left rows x half a tile, 8 right rows.
 * How       vpmaddubsw multiplies bytes, of which one side has no sign: the right codes' sizes,
 *           while their signs go to the left ones (vpsignb). vpmaddwd with ones adds up four.
 * Numerics  exact integers: 127 * 127 * 2 = 32,258 fits 16 bits, so nothing saturates.
 * Needs     nothing aligned.
 * Tests     test/unit/cpu/test_join_kernels.c against ref. */
#include "cpu/kernels/join_project.h"
#include <immintrin.h>
#include <string.h>

enum { ROWS = 4, HALF = 8, GROUP_BYTES = MS_JOIN_TILE * MS_JOIN_GROUP };

INLINE __m256i same_four(const unsigned char *p) {
    int four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four ^ (int)0x80808080);
}

/* Left rows i .. i + 3 against right rows k .. k + 7. */
INLINE size_t join_half(uint32_t *out, const ms_join_rows *left, size_t i,
                        const ms_join_rows *right, size_t k, size_t components) {
    const __m256i sign = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
    size_t tile_bytes = ms_join_tile_bytes(components);
    const unsigned char *l = left->codes + i / MS_JOIN_TILE * tile_bytes +
                             i % MS_JOIN_TILE * MS_JOIN_GROUP,
                        *r = right->codes + k / MS_JOIN_TILE * tile_bytes +
                             k % MS_JOIN_TILE * MS_JOIN_GROUP;
    __m256i sum[ROWS] = {0};
    for (size_t g = 0; g < components / MS_JOIN_GROUP; g++, l += GROUP_BYTES, r += GROUP_BYTES) {
        __m256i z = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)r), sign),
                size = _mm256_abs_epi8(z);
        UNROLL
        for (int a = 0; a < ROWS; a++) {
            __m256i w = _mm256_sign_epi8(same_four(l + a * MS_JOIN_GROUP), z);
            sum[a] =
                _mm256_add_epi32(sum[a], _mm256_madd_epi16(_mm256_maddubs_epi16(size, w), ones));
        }
    }
    __m256i share = _mm256_loadu_si256((const __m256i *)(const void *)(right->least + k));
    size_t n = 0;
    UNROLL
    for (int a = 0; a < ROWS; a++) {
        __m256i need = _mm256_add_epi32(share, _mm256_set1_epi32(left->least[i + (size_t)a]));
        unsigned out_of =
            (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(need, sum[a])));
        for (unsigned m = ~out_of & 0xff; m; m &= m - 1)
            out[n++] = (uint32_t)((i + (size_t)a) << 16 | (k + (size_t)__builtin_ctz(m)));
    }
    return n;
}

static size_t pairs(uint32_t *out, const ms_join_rows *left, const ms_join_rows *right,
                    size_t components, void *scratch) {
    size_t n = 0;
    (void)scratch;
    for (size_t k = 0; k < MS_JOIN_TILE * right->n_tiles; k += HALF)
        for (size_t i = 0; i < MS_JOIN_TILE * left->n_tiles; i += ROWS)
            n += join_half(out + n, left, i, right, k, components);
    return n;
}

static void project(float *out, const float *rows, const float *map, size_t dim, size_t n_out) {
    project_rows(out, rows, map, dim, n_out, 4);
}

const ms_join_kernels ms_join_avx2 = {
    .name = "avx2", .steps_per_score = 200, .pairs = pairs, .project = project};
