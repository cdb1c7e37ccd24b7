/* Precision int8 at level avx2. cpu/encoder/int8.h says what is computed.
 *
 * Shapes    products m x n x k with n and k multiples of 16, in panels of 32 columns; rows of f32
 *           or bf16 to codes.
 * How       vpmaddubsw adds two products u8 x s8 to each lane of 16 bits, two of these are added in
 *           16 bits, and vpmaddwd widens and adds pairs. A tile is 4 rows x 16 columns: 8 sums, 4
 *           vectors of weights, the ones, a broadcast input and two passing sums are all 16
 *           registers. 24 multiplications for 8 of k meet 12 loads; in f32 the same takes 64
 *           multiply-adds.
 * Numerics  integer sums are exact: codes of inputs end at 127 and the packing bounds the weights,
 *           so that nothing saturates. Then the three operations in f32 of every level.
 * Needs     weights packed for `most` 127; nothing aligned.
 * Tests     test/unit/cpu/test_int8.c: against `ref`, also with sums that would saturate. */
#include "cpu/encoder/int8.h"
#include "cpu/kernels/x86/avx2_vector.h"

enum { TILE_ROWS = 4, TILE_COLS = 16, STEP_BYTES = MS_INT8_COLS * MS_INT8_GROUP };
_Static_assert(127 * MS_INT8_FOUR <= INT16_MAX, "a sum of four products fits 16 bits");

INLINE __m256i same_four(const uint8_t *p) {
    int four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}

INLINE __m256i load32(const int8_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

INLINE __m256i dot_four(__m256i x0, __m256i w0, __m256i x1, __m256i w1) {
    __m256i sum = _mm256_add_epi16(_mm256_maddubs_epi16(x0, w0), _mm256_maddubs_epi16(x1, w1));
    return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

/* What becomes of 8 sums of row i, columns j on. */
INLINE void finish(const ms_product *p, size_t i, size_t j, __m256i sum) {
    float *dst = (float *)p->dst + i * p->dst_stride + j;
    __m256 scale = _mm256_mul_ps(_mm256_set1_ps(p->a_scale[i]), _mm256_loadu_ps(p->w_scale + j));
    __m256 low = _mm256_mul_ps(_mm256_set1_ps(p->a_low[i]), _mm256_loadu_ps(p->w_sum + j));
    __m256 y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, low);
    if (p->bias) y = _mm256_add_ps(y, _mm256_loadu_ps(p->bias + j));
    if (p->epilogue == MS_EPILOGUE_ADD) y = _mm256_add_ps(_mm256_loadu_ps(dst), y);
    if (p->epilogue == MS_EPILOGUE_GELU) y = gelu(y);
    _mm256_storeu_ps(dst, y);
}

INLINE void product_tile(const ms_product *p, size_t i, size_t j, const int rows) {
    size_t stride = p->a_stride, stride3 = 3 * stride;
    const uint8_t *a = (const uint8_t *)p->a + i * stride;
    const int8_t *w = (const int8_t *)p->w + j / MS_INT8_COLS * p->w_stride +
                      j % MS_INT8_COLS * MS_INT8_GROUP;
    __m256i acc[TILE_ROWS][2];
    UNROLL
    for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
    for (size_t n = p->k / (2 * MS_INT8_GROUP); n;
         n--, w += 2 * STEP_BYTES, a += 2 * MS_INT8_GROUP) {
        __m256i w00 = load32(w), w01 = load32(w + 32), w10 = load32(w + STEP_BYTES),
                w11 = load32(w + STEP_BYTES + 32);
        UNROLL
        for (int r = 0; r < rows; r++) {
            const uint8_t *row = a + (r == 3 ? stride3 : (size_t)r * stride);
            __m256i x0 = same_four(row), x1 = same_four(row + MS_INT8_GROUP);
            acc[r][0] = _mm256_add_epi32(acc[r][0], dot_four(x0, w00, x1, w10));
            acc[r][1] = _mm256_add_epi32(acc[r][1], dot_four(x0, w01, x1, w11));
            /* rows one after another, or passing sums spill */
            __asm__ volatile("" : "+x"(acc[r][0]), "+x"(acc[r][1]));
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        finish(p, i + (size_t)r, j, acc[r][0]);
        finish(p, i + (size_t)r, j + 8, acc[r][1]);
    }
}

/* Each tile size is a function of its own: inlined together they would share registers, and
 * spill. */
__attribute__((noinline)) static void product_4(const ms_product *p, size_t i, size_t j) {
    product_tile(p, i, j, 4);
}
__attribute__((noinline)) static void product_2(const ms_product *p, size_t i, size_t j) {
    product_tile(p, i, j, 2);
}
__attribute__((noinline)) static void product_1(const ms_product *p, size_t i, size_t j) {
    product_tile(p, i, j, 1);
}

/* Half a panel stays in L1 while all rows of the block pass. */
static void product(const ms_product *p) {
    for (size_t j = 0; j < p->n; j += TILE_COLS) {
        size_t i = 0;
        for (; i + 4 <= p->m; i += 4) product_4(p, i, j);
        for (; i + 2 <= p->m; i += 2) product_2(p, i, j);
        if (i < p->m) product_1(p, i, j);
    }
}

/* ---- Rows to codes ---- */

INLINE __m256 load8(const void *row, const size_t src_bytes, size_t j) {
    if (src_bytes == sizeof(float)) return _mm256_loadu_ps((const float *)row + j);
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)((const ms_bf16 *)row + j));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

INLINE void quantise_rows(const ms_int8_rows *dst, const void *src, const size_t src_bytes,
                          size_t src_stride, size_t n_rows, size_t k) {
    const __m256 zero = _mm256_setzero_ps();
    const __m256i largest = _mm256_set1_epi32(dst->most);
    for (size_t i = 0; i < n_rows; i++) {
        const char *row = (const char *)src + i * src_stride * src_bytes;
        uint8_t *out = (uint8_t *)dst->codes + i * dst->stride;
        __m256 least[2], most[2], poison[2] = {zero, zero};
        for (size_t h = 0; h < 2; h++) least[h] = most[h] = load8(row, src_bytes, 8 * h);
        for (size_t j = 0; j < k; j += 16) UNROLL
        for (size_t h = 0; h < 2; h++) {
            __m256 x = load8(row, src_bytes, j + 8 * h);
            least[h] = _mm256_min_ps(least[h], x);
            most[h] = _mm256_max_ps(most[h], x);
            /* NaN and infinity times 0 are NaN */
            poison[h] = _mm256_fmadd_ps(x, zero, poison[h]);
        }
        float low = -max8(_mm256_sub_ps(zero, _mm256_min_ps(least[0], least[1])));
        float range = max8(_mm256_max_ps(most[0], most[1])) - low;
        dst->scale[i] = range / (float)dst->most;
        dst->low[i] = low + sum8(_mm256_add_ps(poison[0], poison[1]));
        __m256 from = _mm256_set1_ps(low),
               inverse = _mm256_set1_ps(range > MS_INT8_LEAST ? (float)dst->most / range : 0.0f);
        for (size_t j = 0; j < k; j += 16) {
            __m256i code[2];
            UNROLL
            for (size_t h = 0; h < 2; h++) {
                __m256 x =
                    _mm256_mul_ps(_mm256_sub_ps(load8(row, src_bytes, j + 8 * h), from), inverse);
                code[h] = _mm256_min_epi32(
                    _mm256_max_epi32(_mm256_cvtps_epi32(x), _mm256_setzero_si256()), largest);
            }
            __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(code[0], code[1]), 0xd8);
            __m128i bytes =
                _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
            _mm_storeu_si128((__m128i *)(void *)(out + j), bytes);
        }
    }
}

static void quantise(const ms_int8_rows *dst, const void *src, size_t src_bytes, size_t src_stride,
                     size_t n_rows, size_t k) {
    if (src_bytes == sizeof(float))
        quantise_rows(dst, src, sizeof(float), src_stride, n_rows, k);
    else
        quantise_rows(dst, src, sizeof(ms_bf16), src_stride, n_rows, k);
}

const ms_int8_kernels ms_int8_avx2 = {
    .name = "avx2", .most = 127, .quantise = quantise, .product = product};
