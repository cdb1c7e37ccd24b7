/* Double dots of stored rows: every level gives the bits of `ref`, and `ref` agrees with an exact
 * sum within the bound of 16 lanes: (n/16 + 4) * 2^-53 * sum |a b|. */
#include "support/levels.h"
#include "base/bf16.h"
#include <math.h>

enum { ROWS = 5, MAX_DIM = 96, QUERIES = 5 };

static void fill_row(unsigned char *row, int dtype, size_t dim, uint64_t *seed, double *values) {
    for (size_t j = 0; j < dim; j++) {
        float x = uniform(seed) * 3.0f;
        double wide = (double)x * (1.0 + 1e-9); /* f64 that f32 cannot hold */
        uint16_t half = dtype == MSIM_DTYPE_F16 ? ms_f16_of_f32(x) : ms_bf16_of_f32(x).bits;
        if (dtype == MSIM_DTYPE_F32) memcpy(row + 4 * j, &x, 4);
        if (dtype == MSIM_DTYPE_F64) memcpy(row + 8 * j, &wide, 8);
        if (dtype == MSIM_DTYPE_F16 || dtype == MSIM_DTYPE_BF16) memcpy(row + 2 * j, &half, 2);
        values[j] = dtype == MSIM_DTYPE_F16    ? ms_f32_of_f16(half)
                    : dtype == MSIM_DTYPE_BF16 ? ms_round_bf16(x)
                    : dtype == MSIM_DTYPE_F64  ? wide
                                               : x;
    }
}

static void check_shape(const ms_cpu_kernels *kernels, int dtype, size_t dim, size_t n_query) {
    uint64_t seed = dim * 8 + (uint64_t)dtype;
    size_t row_bytes = dim * ms_dtype_bytes(dtype) + 3; /* rows at odd addresses, as in a structured
                                                         * array */
    unsigned char *rows = test_alloc(ROWS * row_bytes + 1, 1);
    float *queries = test_alloc(QUERIES * MAX_DIM, sizeof *queries);
    double *values = test_alloc(ROWS * MAX_DIM, sizeof *values);
    double got[ROWS * QUERIES], ref[ROWS * QUERIES], got_squares[ROWS], ref_squares[ROWS];
    for (size_t i = 0; i < n_query * dim; i++) queries[i] = uniform(&seed);
    for (size_t r = 0; r < ROWS; r++)
        fill_row(rows + 1 + r * row_bytes, dtype, dim, &seed, values + r * MAX_DIM);
    ms_encoder_ref.dots_f64(ref, rows + 1, row_bytes, dtype, queries, n_query, ROWS, dim);
    kernels->dots_f64(got, rows + 1, row_bytes, dtype, queries, n_query, ROWS, dim);
    ms_encoder_ref.squares_f64(ref_squares, rows + 1, row_bytes, dtype, ROWS, dim);
    kernels->squares_f64(got_squares, rows + 1, row_bytes, dtype, ROWS, dim);
    assert_memory_equal(got_squares, ref_squares, sizeof got_squares);
    for (size_t r = 0; r < ROWS; r++) {
        long double exact = 0;
        for (size_t j = 0; j < dim; j++)
            exact += (long double)values[r * MAX_DIM + j] * values[r * MAX_DIM + j];
        assert_true(fabsl(got_squares[r] - exact) <= (dim / 16 + 5) * 0x1p-53L * exact);
    }
    for (size_t r = 0; r < ROWS; r++)
        for (size_t q = 0; q < n_query; q++) {
            long double exact = 0, sum_abs = 0;
            for (size_t j = 0; j < dim; j++) {
                long double term = (long double)values[r * MAX_DIM + j] * queries[q * dim + j];
                exact += term;
                sum_abs += fabsl(term);
            }
            size_t i = r * n_query + q;
            assert_memory_equal(&got[i], &ref[i], sizeof *got);
            assert_true(fabsl(got[i] - exact) <= (dim / 16 + 5) * 0x1p-53L * sum_abs);
        }
    ms_free(rows);
    ms_free(queries);
    ms_free(values);
}

static void dots_same_bits_at_every_level(void **state) {
    (void)state;
    static const size_t dims[] = {1, 3, 15, 16, 17, 33, 64, 95};
    FOR_EACH_LEVEL(kernels)
    for (int dtype = MSIM_DTYPE_F32; dtype <= MSIM_DTYPE_F64; dtype++)
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            for (size_t n_query = 1; n_query <= QUERIES; n_query++)
                check_shape(kernels, dtype, dims[d], n_query);
}

int main(void) {
    static const struct CMUnitTest tests[] = {cmocka_unit_test(dots_same_bits_at_every_level)};
    print_levels("dots");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
