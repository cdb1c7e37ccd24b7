/* Level `avx2`: AVX2 + FMA + F16C by intrinsics (cpu_isa.h says what each kernel computes). Compiled with its own
 * flags; holds static functions and exports one table, so that no wide code leaks into another file. */
#include "core/bf16.h"
#include "cpu/cpu_isa.h"
#if defined(__x86_64__)
#include <immintrin.h>

/* 16 stored elements, from any alignment, as four vectors of doubles. */
static inline __attribute__((always_inline)) void load_row16(const unsigned char *p, int dtype, __m256d x[4]) {
    __m256 lo, hi;
    if (dtype == MSIM_DTYPE_F64) {
        for (int i = 0; i < 4; i++)
            x[i] = _mm256_loadu_pd((const double *)(const void *)(p + 32 * i));
        return;
    }
    if (dtype == MSIM_DTYPE_F32) {
        lo = _mm256_loadu_ps((const float *)(const void *)p);
        hi = _mm256_loadu_ps((const float *)(const void *)(p + 32));
    } else {
        __m128i h0 = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i h1 = _mm_loadu_si128((const __m128i *)(const void *)(p + 16));
        if (dtype == MSIM_DTYPE_F16) {
            lo = _mm256_cvtph_ps(h0);
            hi = _mm256_cvtph_ps(h1);
        } else {
            lo = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h0), 16));
            hi = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h1), 16));
        }
    }
    x[0] = _mm256_cvtps_pd(_mm256_castps256_ps128(lo));
    x[1] = _mm256_cvtps_pd(_mm256_extractf128_ps(lo, 1));
    x[2] = _mm256_cvtps_pd(_mm256_castps256_ps128(hi));
    x[3] = _mm256_cvtps_pd(_mm256_extractf128_ps(hi, 1));
}

/* Lanes 0..15 lie in s[0..3]: l += l + 8, + 4, + 2, + 1. */
static inline double sum_lanes(const __m256d s[4]) {
    __m256d eight0 = _mm256_add_pd(s[0], s[2]), eight1 = _mm256_add_pd(s[1], s[3]);
    __m256d four = _mm256_add_pd(eight0, eight1);
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/* One row against nq <= 2 queries; elements past the last whole 16 come zero-padded in `tail` (row) and `qtail`. An
 * added 0 * 0 leaves a lane's bits as they are, for a lane never holds -0: it starts at +0. */
static inline __attribute__((always_inline)) void dot_row(double *dst, const unsigned char *row, size_t elem, int dtype,
                                                          const float *const *q, int nq, size_t dim) {
    __m256d s[2][4], x[4];
    for (int i = 0; i < nq; i++)
        for (int l = 0; l < 4; l++) s[i][l] = _mm256_setzero_pd();
    size_t whole = dim & ~(size_t)15;
    for (size_t j = 0; j < whole; j += 16) {
        load_row16(row + j * elem, dtype, x);
        for (int i = 0; i < nq; i++)
            for (int l = 0; l < 4; l++)
                s[i][l] = _mm256_fmadd_pd(x[l], _mm256_cvtps_pd(_mm_loadu_ps(q[i] + j + 4 * (size_t)l)), s[i][l]);
    }
    if (whole < dim) {
        unsigned char tail[16 * 8] = {0};
        memcpy(tail, row + whole * elem, (dim - whole) * elem);
        load_row16(tail, dtype, x);
        for (int i = 0; i < nq; i++) {
            float qtail[16] = {0};
            memcpy(qtail, q[i] + whole, (dim - whole) * sizeof *qtail);
            for (int l = 0; l < 4; l++)
                s[i][l] = _mm256_fmadd_pd(x[l], _mm256_cvtps_pd(_mm_loadu_ps(qtail + 4 * l)), s[i][l]);
        }
    }
    for (int i = 0; i < nq; i++) dst[i] = sum_lanes(s[i]);
}

static inline __attribute__((always_inline)) void dots_of(double *dst, const unsigned char *rows, size_t row_bytes,
                                                          int dtype, size_t elem, const float *queries, size_t n_query,
                                                          size_t n_rows, size_t dim) {
    for (size_t r = 0; r < n_rows; r++) {
        const unsigned char *row = rows + r * row_bytes;
        size_t i = 0;
        for (; i + 2 <= n_query; i += 2) {
            const float *q[2] = {queries + i * dim, queries + (i + 1) * dim};
            dot_row(dst + r * n_query + i, row, elem, dtype, q, 2, dim);
        }
        if (i < n_query) {
            const float *q[1] = {queries + i * dim};
            dot_row(dst + r * n_query + i, row, elem, dtype, q, 1, dim);
        }
    }
}

static void dots_f64(double *dst, const unsigned char *rows, size_t row_bytes, int dtype, const float *queries,
                     size_t n_query, size_t n_rows, size_t dim) {
    switch (dtype) {
    case MSIM_DTYPE_F32: dots_of(dst, rows, row_bytes, MSIM_DTYPE_F32, 4, queries, n_query, n_rows, dim); break;
    case MSIM_DTYPE_F16: dots_of(dst, rows, row_bytes, MSIM_DTYPE_F16, 2, queries, n_query, n_rows, dim); break;
    case MSIM_DTYPE_BF16: dots_of(dst, rows, row_bytes, MSIM_DTYPE_BF16, 2, queries, n_query, n_rows, dim); break;
    default: dots_of(dst, rows, row_bytes, MSIM_DTYPE_F64, 8, queries, n_query, n_rows, dim); break;
    }
}

static inline __attribute__((always_inline)) void squares_of(double *dst, const unsigned char *rows, size_t row_bytes,
                                                             int dtype, size_t elem, size_t n_rows, size_t dim) {
    for (size_t r = 0; r < n_rows; r++) {
        const unsigned char *row = rows + r * row_bytes;
        __m256d s[4], x[4];
        for (int l = 0; l < 4; l++) s[l] = _mm256_setzero_pd();
        size_t whole = dim & ~(size_t)15;
        for (size_t j = 0; j < whole; j += 16) {
            load_row16(row + j * elem, dtype, x);
            for (int l = 0; l < 4; l++) s[l] = _mm256_fmadd_pd(x[l], x[l], s[l]);
        }
        if (whole < dim) {
            unsigned char tail[16 * 8] = {0};
            memcpy(tail, row + whole * elem, (dim - whole) * elem);
            load_row16(tail, dtype, x);
            for (int l = 0; l < 4; l++) s[l] = _mm256_fmadd_pd(x[l], x[l], s[l]);
        }
        dst[r] = sum_lanes(s);
    }
}

static void squares_f64(double *dst, const unsigned char *rows, size_t row_bytes, int dtype, size_t n_rows,
                        size_t dim) {
    switch (dtype) {
    case MSIM_DTYPE_F32: squares_of(dst, rows, row_bytes, MSIM_DTYPE_F32, 4, n_rows, dim); break;
    case MSIM_DTYPE_F16: squares_of(dst, rows, row_bytes, MSIM_DTYPE_F16, 2, n_rows, dim); break;
    case MSIM_DTYPE_BF16: squares_of(dst, rows, row_bytes, MSIM_DTYPE_BF16, 2, n_rows, dim); break;
    default: squares_of(dst, rows, row_bytes, MSIM_DTYPE_F64, 8, n_rows, dim); break;
    }
}

const ms_cpu_kernels ms_kernels_avx2 = {
    .name = "avx2",
    .isa = MSIM_ISA_AVX2,
    .dots_f64 = dots_f64,
    .squares_f64 = squares_f64,
};
#endif
