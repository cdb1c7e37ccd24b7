/* The bounded heap against a plain sort, on scores with many ties, infinities and NaN, in any order
 * of arrival and split over any number of heaps. */
#include "base/mem.h"
#include "search/topk.h"
#include "support/random.h"
#include "support/rows.h"
#include "support/test.h"
#include <math.h>

enum { N = 300 };

static uint64_t seed = 1;

static void same_as_sorting(void **state) {
    (void)state;
    seed = 88172645463325252u;
    for (int round = 0; round < 300; round++) {
        ms_hit all[N], sorted[N];
        for (int i = 0; i < N; i++) {
            uint64_t r = xorshift(&seed);
            static const double odd[] = {NAN, -INFINITY, INFINITY, 0.0, -0.0};
            all[i].score = r % 7 == 0 ? odd[r / 7 % 5] : (double)(r >> 20 & 15) - 8.0;
            all[i].row = i;
        }
        for (int i = N - 1; i > 0; i--) { /* arrive in any order */
            int j = (int)(xorshift(&seed) % (uint64_t)(i + 1));
            ms_hit t = all[i];
            all[i] = all[j];
            all[j] = t;
        }
        memcpy(sorted, all, sizeof sorted);
        for (int i = 0; i < N; i++)
            if (isnan(sorted[i].score)) sorted[i].score = -INFINITY;
        qsort(sorted, N, sizeof *sorted, by_rank);
        static const size_t ks[] = {0, 1, 2, 16, N - 1, N, N + 1};
        for (size_t c = 0; c < sizeof ks / sizeof *ks; c++) {
            ms_hit a[N + 1], b[N + 1], merged[N + 1];
            ms_topk first, second, top;
            int64_t allocations = ms_mem_count();
            ms_topk_init(&first, a, ks[c]);
            ms_topk_init(&second, b, ks[c]);
            ms_topk_init(&top, merged, ks[c]);
            for (int i = 0; i < N; i++)
                ms_topk_push(xorshift(&seed) & 1 ? &first : &second, all[i]);
            ms_topk_merge(&top, &second);
            ms_topk_merge(&top, &first);
            ms_topk_sort(&top);
            assert_int_equal(ms_mem_count(), allocations);
            assert_int_equal(top.n, ks[c] < N ? ks[c] : N);
            for (size_t i = 0; i < top.n; i++) {
                assert_int_equal(merged[i].row, sorted[i].row);
                assert_true(merged[i].score == sorted[i].score);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_as_sorting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
