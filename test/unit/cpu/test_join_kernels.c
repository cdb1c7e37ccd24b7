/* Kernels of a join: every level keeps the pairs that the definition keeps, and projects like
 * it. */
#include "search/join/kernels.h"
#include "support/levels.h"
#include <math.h>

enum { MOST = 320, LEFT_TILES = 4, RIGHT_TILES = 9 };

typedef struct {
    unsigned char *codes;
    int32_t least[16 * RIGHT_TILES], sum[16 * RIGHT_TILES];
} made_rows;

static int code_of(const made_rows *m, size_t components, size_t row, size_t c) {
    return m->codes[row / 16 * 16 * components + c / 4 * 64 + row % 16 * 4 + c % 4] - 128;
}

/* is_extreme: the largest codes there are. */
static made_rows make(size_t tiles, size_t components, int is_extreme, uint64_t seed) {
    made_rows m = {.codes = test_alloc(tiles * 16, components)};
    for (size_t i = 0; i < tiles * 16 * components; i++) {
        int code = (int)(splitmix(&seed) % 255) - 127;
        if (is_extreme) code = splitmix(&seed) % 8 ? 127 : -127;
        m.codes[i] = (unsigned char)(code + 128);
    }
    for (size_t r = 0; r < tiles * 16; r++)
        for (size_t c = 0; c < components; c++) m.sum[r] += code_of(&m, components, r, c);
    return m;
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Least shares at which about half of the pairs are kept, some of them exactly. */
static void set_least(made_rows *l, made_rows *r, size_t n_left, size_t n_right,
                      size_t components) {
    for (size_t i = 0; i < n_left; i++) {
        int32_t dot = 0;
        for (size_t c = 0; c < components; c++)
            dot += code_of(l, components, i, c) * code_of(r, components, i % n_right, c);
        l->least[i] = i % 7 == 3 ? MS_JOIN_ALWAYS : i % 7 == 5 ? MS_JOIN_NEVER : dot - 100;
    }
    for (size_t k = 0; k < n_right; k++)
        r->least[k] = k % 9 == 4 ? MS_JOIN_NEVER : k % 9 == 6 ? MS_JOIN_ALWAYS : 100;
}

static void check_level(const ms_join_kernels *kernels, size_t left_tiles, size_t right_tiles,
                        size_t components, int is_extreme) {
    made_rows l = make(left_tiles, components, is_extreme, 1),
              r = make(right_tiles, components, is_extreme, 2);
    size_t n_left = 16 * left_tiles, n_right = 16 * right_tiles, n = 0;
    set_least(&l, &r, n_left, n_right, components);
    uint32_t *expected = test_alloc(n_left * n_right, 4), *got = test_alloc(n_left * n_right, 4);
    void *scratch = test_alloc(MS_JOIN_LEFT, components);
    for (size_t i = 0; i < n_left; i++)
        for (size_t k = 0; k < n_right; k++) {
            int64_t dot = 0;
            for (size_t c = 0; c < components; c++)
                dot += code_of(&l, components, i, c) * code_of(&r, components, k, c);
            if (dot >= (int64_t)l.least[i] + r.least[k]) expected[n++] = (uint32_t)(i << 16 | k);
        }
    ms_join_rows left = {l.codes, l.least, l.sum, left_tiles},
                 right = {r.codes, r.least, r.sum, right_tiles};
    size_t n_got = kernels->pairs(got, &left, &right, components, scratch);
    qsort(got, n_got, sizeof *got, by_number);
    if (n_got != n || memcmp(got, expected, n * sizeof *got) != 0)
        fail_msg("%s: %zu x %zu tiles of %zu: %zu pairs, expected %zu", kernels->name, left_tiles,
                 right_tiles, components, n_got, n);
    assert_true(n > 0 && n < n_left * n_right);
    ms_free(scratch);
    ms_free(expected);
    ms_free(got);
    ms_free(l.codes);
    ms_free(r.codes);
}

static void every_level_keeps_the_same_pairs(void **state) {
    (void)state;
    static const size_t components[] = {64, 128, MOST};
    FOR_EACH_ISA(isa) {
        const ms_join_kernels *kernels = ms_cpu_join_kernels(isa);
        for (size_t c = 0; c < 3 && kernels; c++)
            for (size_t left = 1; left <= LEFT_TILES; left++)
                for (size_t right = 1; right <= RIGHT_TILES; right += left % 2 + 1)
                    for (int is_extreme = 0; is_extreme < 2; is_extreme++)
                        check_level(kernels, left, right, components[c], is_extreme);
    }
}

/* The widest codes: no sum overflows. */
static void the_largest_sums_are_exact(void **state) {
    (void)state;
    FOR_EACH_ISA(isa) {
        const ms_join_kernels *kernels = ms_cpu_join_kernels(isa);
        if (kernels) check_level(kernels, 2, 3, MS_JOIN_MOST_COMPONENTS, 1);
    }
}

static void every_level_projects_within_its_bound(void **state) {
    (void)state;
    enum { DIM = 70, OUT = 48 };
    uint64_t seed = 3;
    float *rows = test_alloc(16 * DIM, sizeof *rows), *map = test_alloc(DIM * OUT, sizeof *map),
          *out = test_alloc(16 * OUT, sizeof *out);
    for (size_t i = 0; i < 16 * DIM; i++) rows[i] = uniform(&seed);
    for (size_t i = 0; i < DIM * OUT; i++) map[i] = uniform(&seed);
    FOR_EACH_ISA(isa) {
        const ms_join_kernels *kernels = ms_cpu_join_kernels(isa);
        if (!kernels) continue;
        kernels->project(out, rows, map, DIM, OUT);
        for (size_t r = 0; r < 16; r++)
            for (size_t c = 0; c < OUT; c++) {
                double sum = 0, sizes = 0;
                for (size_t j = 0; j < DIM; j++) {
                    double product = (double)rows[r * DIM + j] * map[j * OUT + c];
                    sum += product;
                    sizes += fabs(product);
                }
                assert_true(fabs(out[r * OUT + c] - sum) <= (DIM + 1) * 0x1p-24 * sizes);
            }
    }
    ms_free(rows);
    ms_free(map);
    ms_free(out);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_keeps_the_same_pairs),
        cmocka_unit_test(the_largest_sums_are_exact),
        cmocka_unit_test(every_level_projects_within_its_bound),
    };
    print_levels("join");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
