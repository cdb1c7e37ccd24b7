/* Core: checked sizes, the arena, the failure hook, maps, the pool, bf16/f16 conversions, error text. */
#define _GNU_SOURCE
#include "core/bf16.h"
#include "core/map.h"
#include "core/mem.h"
#include "core/pool.h"
#include "core/status.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void status_names(void **state) {
    (void)state;
    assert_string_equal(msim_status_name(0), "ok");
    assert_string_equal(msim_status_name(-MSIM_E_FORMAT), "format");
    assert_string_equal(msim_status_name(MSIM_E_EMPTY), "empty");
    assert_string_equal(msim_status_name(-99), "unknown");
    assert_string_equal(msim_status_name(INT32_MIN), "unknown");
}

static void error_is_one_line(void **state) {
    (void)state;
    msim_error e = {0};
    assert_int_equal(ms_fail(&e, MSIM_E_FORMAT, "name: %s", "a\nb\tc\x7f"), -MSIM_E_FORMAT);
    assert_string_equal(e.text, "name: a?b?c?");
    assert_int_equal(e.code, MSIM_E_FORMAT);
    assert_int_equal(ms_fail(NULL, MSIM_E_IO, "nobody listens"), -MSIM_E_IO);
    char longer[2000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    ms_fail(&e, MSIM_E_IO, "%s", longer);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_int_equal(ms_fail_errno(&e, 2, "cannot open: %s", "f"), -MSIM_E_IO);
    assert_non_null(strstr(e.text, "cannot open: f: "));
}

static void sizes_are_checked(void **state) {
    (void)state;
    size_t r = 7;
    assert_false(ms_mul_size(SIZE_MAX, 2, &r));
    assert_false(ms_add_size(SIZE_MAX, 1, &r));
    assert_int_equal(r, 7);
    assert_true(ms_mul_size(3, 5, &r));
    assert_int_equal(r, 15);
    msim_error e = {0};
    assert_null(ms_alloc(SIZE_MAX / 2, 16, "a test", &e));
    assert_int_equal(e.code, MSIM_E_MEMORY);
    assert_null(ms_alloc(SIZE_MAX - 3, 1, "a test", &e));
}

static void growing_keeps_contents(void **state) {
    (void)state;
    int *items = NULL;
    size_t cap = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(ms_grow((void **)&items, &cap, (size_t)i + 1, sizeof *items, "ints", NULL), 0);
        items[i] = i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(items[i], i);
    size_t before = cap;
    assert_int_equal(ms_grow((void **)&items, &cap, SIZE_MAX / 2, sizeof *items, "ints", NULL), -MSIM_E_MEMORY);
    assert_int_equal(cap, before);
    assert_int_equal(items[999], 999);
    ms_free(items);
}

static void arena_blocks(void **state) {
    (void)state;
    ms_arena a;
    ms_arena_init(&a, (size_t)1 << 20);
    for (int round = 0; round < 3; round++) {
        unsigned char *last = NULL;
        for (int i = 1; i < 200; i++) {
            unsigned char *p = ms_arena_get(&a, (size_t)i * 37, 1, "bytes", NULL);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % MS_ALIGN, 0);
            memset(p, i, (size_t)i * 37);
            if (last) assert_int_equal(last[0], i - 1);
            last = p;
        }
        assert_non_null(ms_arena_get(&a, 3 << 20, 1, "a large block", NULL));
        ms_arena_reset(&a);
    }
    assert_null(ms_arena_get(&a, SIZE_MAX / 4, 8, "too much", NULL));
    ms_arena_free(&a);
    /* Files of like size ask the system for nothing after the first. */
    ms_arena_init(&a, (size_t)1 << 20);
    assert_non_null(ms_arena_get(&a, 1000, 1, "x", NULL));
    ms_arena_reset(&a);
    int64_t count = ms_mem_count();
    assert_non_null(ms_arena_get(&a, 1000, 1, "x", NULL));
    assert_int_equal(ms_mem_count(), count);
    ms_arena_free(&a);
}

static void nth_allocation_fails(void **state) {
    (void)state;
    ms_mem_fail_at(2);
    void *first = ms_alloc(1, 8, "first", NULL), *second = ms_alloc(1, 8, "second", NULL),
         *third = ms_alloc(1, 8, "third", NULL);
    ms_mem_fail_at(0);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    ms_free(first);
    ms_free(third);
}

static void maps_refuse_what_is_no_file(void **state) {
    (void)state;
    ms_map map;
    msim_error e;
    assert_int_equal(ms_map_open("/dev/null/nothing", MS_MAP_NORMAL, &map, &e), -MSIM_E_IO);
    assert_int_equal(ms_map_open(".", MS_MAP_NORMAL, &map, &e), -MSIM_E_IO);
    assert_int_equal(ms_map_open("/dev/zero", MS_MAP_NORMAL, &map, &e), -MSIM_E_IO);
    char dir[] = "/tmp/msim-core-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/f", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(ms_map_open(path, MS_MAP_NORMAL, &map, &e), -MSIM_E_IO); /* and does not wait for a writer */
    unlink(path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(ms_map_open(path, MS_MAP_RANDOM, &map, &e), 0);
    assert_int_equal(map.n_bytes, 0);
    ms_map_close(&map);
    fputs("hello", f);
    fclose(f);
    assert_int_equal(ms_map_open(path, MS_MAP_SEQUENTIAL, &map, &e), 0);
    assert_int_equal(map.n_bytes, 5);
    assert_memory_equal(map.data, "hello", 5);
    ms_map_close(&map);
    unlink(path);
    rmdir(dir);
}

enum { POOL_ITEMS = 5000, POOL_RUNS = 50 };

typedef struct {
    ms_pool *pool;
    _Atomic int seen[POOL_ITEMS];
    _Atomic int nested;
} pool_job;

static void count_nested(void *arg, int64_t item, int worker) {
    (void)item;
    (void)worker;
    ((pool_job *)arg)->nested++;
}

static void count_item(void *arg, int64_t item, int worker) {
    pool_job *job = arg;
    assert_in_range(worker, 0, 63);
    job->seen[item]++;
    if (item % 1000 == 0) ms_pool_run(job->pool, 3, count_nested, job);
}

static void pool_does_each_item_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        pool_job *job = calloc(1, sizeof *job);
        assert_non_null(job);
        assert_int_equal(ms_pool_open(threads, &job->pool, NULL), 0);
        assert_int_equal(ms_pool_size(job->pool), threads);
        /* Odd runs take all items, even ones as many as their number. */
        for (int run = 0; run < POOL_RUNS; run++) ms_pool_run(job->pool, run % 2 ? POOL_ITEMS : run, count_item, job);
        int expected_nested = 0;
        for (int i = 0; i < POOL_ITEMS; i++) {
            int runs = 0;
            for (int run = 0; run < POOL_RUNS; run++) runs += run % 2 || run > i;
            assert_int_equal(job->seen[i], runs);
            if (i % 1000 == 0) expected_nested += 3 * runs;
        }
        assert_int_equal(job->nested, expected_nested);
        ms_pool_close(job->pool);
        free(job);
    }
    ms_pool *pool;
    assert_int_equal(ms_pool_open(-1, &pool, NULL), -MSIM_E_ARG);
    assert_int_equal(ms_pool_open(100000, &pool, NULL), -MSIM_E_ARG);
    assert_int_equal(ms_pool_open(0, &pool, NULL), 0);
    assert_true(ms_pool_size(pool) >= 1);
    ms_pool_close(pool);
    ms_pool_close(NULL);
}

static void bf16_is_nearest_even(void **state) {
    (void)state;
    /* Every bf16 value is its own rounding, and halfway cases go to the even neighbour. */
    for (uint32_t b = 0; b < 0x10000; b++) {
        ms_bf16 h = {(uint16_t)b};
        float x = ms_f32_of_bf16(h);
        if (isnan(x)) {
            assert_true(isnan(ms_round_bf16(x)));
            continue;
        }
        assert_int_equal(ms_bf16_of_f32(x).bits, b);
        if ((b & 0x7fff) >= 0x7f7f) continue;
        uint32_t half = (b << 16) | 0x8000u;
        assert_int_equal(ms_bf16_of_f32(ms_f32_from_bits(half)).bits, b + (b & 1));
        assert_int_equal(ms_bf16_of_f32(ms_f32_from_bits(half - 1)).bits, b);
        assert_int_equal(ms_bf16_of_f32(ms_f32_from_bits(half + 1)).bits, b + 1);
    }
}

static void f16_is_nearest_even(void **state) {
    (void)state;
    for (uint32_t b = 0; b < 0x10000; b++) {
        float x = ms_f32_of_f16((uint16_t)b);
        if (isnan(x)) {
            assert_true((ms_f16_of_f32(x) & 0x7fff) > 0x7c00);
            continue;
        }
        assert_int_equal(ms_f16_of_f32(x), b);
        if ((b & 0x7fff) >= 0x7bff) continue;
        /* Halfway to the next magnitude is exact in f32 and goes to the even one. */
        float next = ms_f32_of_f16((uint16_t)(b + 1)), half = x + (next - x) / 2;
        assert_int_equal(ms_f16_of_f32(half), b + (b & 1));
        assert_int_equal(ms_f16_of_f32(nextafterf(half, x)), b);
        assert_int_equal(ms_f16_of_f32(nextafterf(half, next)), b + 1);
    }
    assert_int_equal(ms_f16_of_f32(65519.9f), 0x7bff);
    assert_int_equal(ms_f16_of_f32(65520.0f), 0x7c00);
    assert_int_equal(ms_f16_of_f32(-1e30f), 0xfc00);
}

static void finite_test_reads_bits(void **state) {
    (void)state;
    assert_true(ms_is_finite_f32(3.4e38f));
    assert_false(ms_is_finite_f32(INFINITY));
    assert_false(ms_is_finite_f32(-INFINITY));
    assert_false(ms_is_finite_f32(NAN));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_names),
        cmocka_unit_test(error_is_one_line),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(growing_keeps_contents),
        cmocka_unit_test(arena_blocks),
        cmocka_unit_test(nth_allocation_fails),
        cmocka_unit_test(maps_refuse_what_is_no_file),
        cmocka_unit_test(pool_does_each_item_once),
        cmocka_unit_test(bf16_is_nearest_even),
        cmocka_unit_test(f16_is_nearest_even),
        cmocka_unit_test(finite_test_reads_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
