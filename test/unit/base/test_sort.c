/* Sorting that can be stopped: the order is qsort's, on arrays of one run and of many, and a stop
 * loses nothing. */
#include "base/stop/sort.h"
#include "base/random.h"
#include "support/test.h"
#include <stdlib.h>
#include <string.h>

enum { MANY = 300001 };

typedef struct {
    uint32_t key, place;
    char pad[4];
} item;

static int by_key(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

static int by_place(const void *a, const void *b) {
    const item *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

static int stop_at(void *user) {
    int *left = user;
    return --*left == 0;
}

static void fill(item *items, size_t n) {
    uint64_t seed = n;
    for (size_t i = 0; i < n; i++)
        items[i] = (item){.key = (uint32_t)(ms_random_next(&seed) % 1000), .place = (uint32_t)i};
}

static void the_order_is_that_of_qsort(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 32768, 32769, 65536, 98305, MANY};
    item *items = calloc(MANY, sizeof *items), *wanted = calloc(MANY, sizeof *wanted);
    ms_arena arena;
    assert_true(items && wanted);
    ms_arena_init(&arena, 0);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        fill(items, sizes[s]);
        fill(wanted, sizes[s]);
        assert_int_equal(
            ms_sort(items, sizes[s], sizeof *items, by_key, NULL, &arena, "items", NULL), 0);
        qsort(wanted, sizes[s], sizeof *wanted, by_key);
        assert_memory_equal(items, wanted, sizes[s] * sizeof *items);
        ms_arena_reset(&arena);
    }
    ms_arena_free(&arena);
    free(items);
    free(wanted);
}

static void a_stop_loses_nothing(void **state) {
    (void)state;
    item *items = calloc(MANY, sizeof *items), *wanted = calloc(MANY, sizeof *wanted);
    ms_arena arena;
    msim_error err;
    int left = 0, at = 0, rc;
    const ms_stop stop = {stop_at, &left};
    assert_true(items && wanted);
    ms_arena_init(&arena, 0);
    fill(wanted, MANY);
    do {
        fill(items, MANY);
        left = ++at;
        ms_arena_reset(&arena);
        rc = ms_sort(items, MANY, sizeof *items, by_key, &stop, &arena, "items", &err);
        if (rc < 0) assert_string_equal(err.text, "items: stopped by the caller");
        qsort(items, MANY, sizeof *items, by_place);
        assert_memory_equal(items, wanted, MANY * sizeof *items);
    } while (rc == -MSIM_E_STOPPED);
    assert_int_equal(rc, 0);
    assert_true(at > 10);
    ms_arena_free(&arena);
    free(items);
    free(wanted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_that_of_qsort),
        cmocka_unit_test(a_stop_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
