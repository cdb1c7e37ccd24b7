/* Kernels of the f32 scan at every level: dots and squares within gamma of an exact sum for the
 * sums' height, whatever the numbers of rows and queries, type and alignment; finish and keep
 * against their definitions, NaN included; and no float touched that is not theirs. */
#include "base/bf16.h"
#include "search/bound.h"
#include "cpu/search/scan.h"
#include "support/levels.h"
#include "support/rows.h"
#include <math.h>

enum { MAX_ROWS = 19, MAX_DIM = 96, MAX_QUERIES = 21, MARK = 7 };

static void check_sum(float got, long double exact, long double sum_abs, const ms_scan_kernels *k,
                      size_t dim) {
    size_t height = (dim + k->lanes - 1) / k->lanes + 1; /* as ms_bound_f32_make counts it */
    for (size_t l = k->lanes; l > 1; l /= 2) height++;
    assert_true(fabsl(got - exact) <= ms_bound_gamma(height) * sum_abs);
}

static void check_shape(const ms_scan_kernels *k, int dtype, size_t dim, size_t n_query,
                        size_t n_rows) {
    static float dst[MAX_QUERIES * MS_SCAN_ROWS] __attribute__((aligned(64))),
        squares[MS_SCAN_ROWS] __attribute__((aligned(64)));
    static float queries[MAX_QUERIES * MAX_DIM] __attribute__((aligned(64)));
    size_t bytes = ms_dtype_bytes(dtype), stride = (dim + 15) / 16 * 16,
           last = (n_rows + 15) / 16 * 16;
    uint64_t seed = dim * 1000 + n_query * 20 + n_rows + (uint64_t)dtype;
    unsigned char *memory = test_alloc(MAX_ROWS, MAX_DIM * 8 + 5);
    const unsigned char *rows[MAX_ROWS];
    memset(queries, 0, sizeof queries);
    for (size_t q = 0; q < n_query; q++)
        for (size_t j = 0; j < dim; j++) queries[q * stride + j] = uniform(&seed);
    for (size_t r = 0; r < n_rows; r++) { /* rows of any distance, the last one ending with the
                                           * memory */
        unsigned char *row = r + 1 == n_rows ? memory + MAX_ROWS * (MAX_DIM * 8 + 5) - dim * bytes
                                             : memory + r * (dim * bytes + 5);
        rows[r] = row;
        for (size_t j = 0; j < dim; j++, row += bytes) {
            float x = uniform(&seed) * 3;
            put_value(row, dtype, dtype == MSIM_DTYPE_F64 ? x * (1 + 1e-9) : x);
        }
    }
    for (size_t i = 0; i < MAX_QUERIES * MS_SCAN_ROWS; i++) dst[i] = MARK;
    for (size_t i = 0; i < MS_SCAN_ROWS; i++) squares[i] = MARK;
    k->dots(dst, squares, rows, dtype, queries, stride, n_query, n_rows, dim);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t q = 0; q <= n_query; q++) { /* the last one: the row itself */
            long double exact = 0, sum_abs = 0;
            for (size_t j = 0; j < dim; j++) {
                double x = get_value(rows[r] + j * bytes, dtype),
                       y = q < n_query ? queries[q * stride + j] : x;
                exact += (long double)x * y;
                sum_abs += fabsl((long double)x * y);
            }
            check_sum(q < n_query ? dst[q * MS_SCAN_ROWS + r] : squares[r], exact, sum_abs, k, dim);
        }
    for (size_t i = 0; i < MAX_QUERIES * MS_SCAN_ROWS; i++)
        if (i / MS_SCAN_ROWS >= n_query || i % MS_SCAN_ROWS >= last) assert_true(dst[i] == MARK);
    for (size_t i = last; i < MS_SCAN_ROWS; i++) assert_true(squares[i] == MARK);
    ms_free(memory);
}

#define FOR_EACH_SCAN(k) \
    FOR_EACH_ISA(isa_)   \
    for (const ms_scan_kernels *k = ms_scan_kernels_get(isa_); k; k = NULL)

static void dots_are_within_gamma(void **state) {
    (void)state;
    static const size_t dims[] = {1, 7, 8, 15, 16, 17, 33, 64, 95};
    FOR_EACH_SCAN(k)
    for (int dtype = MSIM_DTYPE_F32; dtype <= MSIM_DTYPE_F64; dtype++)
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            for (size_t n_query = 1; n_query <= MAX_QUERIES; n_query += n_query < 9 ? 1 : 4)
                for (size_t n_rows = 1; n_rows <= MAX_ROWS; n_rows += SANITIZED ? 6 : 3)
                    check_shape(k, dtype, dims[d], n_query, n_rows);
}

static void finish_and_keep_are_as_defined(void **state) {
    (void)state;
    static const float odd[] = {0,        0x1p-61f, 0x1p-60f, 0x1p60f, 0x1.000002p60f,
                                INFINITY, NAN,      1e-45f};
    FOR_EACH_SCAN(k)
    for (size_t n = 1; n <= 40; n++)
        for (int is_ip = 0; is_ip < 2; is_ip++) {
            static float dst[3 * MS_SCAN_ROWS] __attribute__((aligned(64))),
                before[3 * MS_SCAN_ROWS];
            float squares[MS_SCAN_ROWS] __attribute__((aligned(64))) = {0},
                                        margin = is_ip ? 1e-5f : 0;
            uint64_t seed = n;
            size_t n_odd = 0;
            for (size_t r = 0; r < n; r++) {
                squares[r] = r % 3 ? 1 + uniform(&seed) : odd[r / 3 % 8];
                n_odd += !(squares[r] >= MS_SCAN_LEAST && squares[r] <= MS_SCAN_MOST);
                for (size_t q = 0; q < 3; q++) dst[q * MS_SCAN_ROWS + r] = uniform(&seed);
            }
            memcpy(before, dst, sizeof dst);
            assert_int_equal(k->finish(dst, squares, 3, n, margin), n_odd);
            for (size_t r = 0; r < n; r++)
                for (size_t q = 0; q < 3; q++) {
                    float b = before[q * MS_SCAN_ROWS + r], got = dst[q * MS_SCAN_ROWS + r],
                          norm = sqrtf(squares[r]);
                    float expected = is_ip ? b + margin * norm : b * (1 / norm);
                    if (ms_scan_is_plain(squares[r]))
                        assert_memory_equal(&got, &expected, sizeof got);
                }
            for (size_t r = 0; r < n; r++)
                dst[r] = r % 5 == 0   ? NAN
                         : r % 5 == 1 ? -INFINITY
                         : r % 5 == 2 ? 0.25f
                                      : uniform(&seed);
            static const float cuts[] = {0.25f, -INFINITY, INFINITY, -0.5f, 2};
            for (size_t c = 0; c < 5; c++) {
                uint16_t kept[MS_SCAN_ROWS];
                size_t n_kept = k->keep(kept, dst, n, cuts[c]), i = 0;
                for (size_t r = 0; r < n; r++) {
                    if (dst[r] < cuts[c]) continue;
                    assert_true(i < n_kept && kept[i] == r);
                    i++;
                }
                assert_int_equal(i, n_kept);
            }
        }
}

int main(void) {
    static const struct CMUnitTest tests[] = {cmocka_unit_test(dots_are_within_gamma),
                                              cmocka_unit_test(finish_and_keep_are_as_defined)};
    print_levels("scan");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
