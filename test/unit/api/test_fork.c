/* After fork(): a context opened by the parent works in the child, with the same bits, and closing
 * it never waits for threads that the child does not have. include/midisim.h, R7. */
#define _GNU_SOURCE
#include "base/pool.h"
#include <sys/wait.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { THREADS = 3, ITEMS = 64 };

static void square(void *arg, int64_t item, int worker) {
    (void)worker;
    ((int64_t *)arg)[item] = item * item;
}

static int squares_are_right(ms_pool *pool) {
    int64_t out[ITEMS] = {0};
    ms_pool_run(pool, ITEMS, square, out);
    for (int64_t i = 0; i < ITEMS; i++)
        if (out[i] != i * i) return 0;
    return 1;
}

/* Exit status of a child that does this; -1 when it does not end within some seconds. */
static int in_child(int (*run)(void *), void *arg) {
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(20); /* a hang ends as a signal */
        _exit(run(arg));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int use_and_close(void *pool) {
    int is_right = squares_are_right(pool);
    ms_pool_close(pool);
    return is_right ? 0 : 1;
}

static void a_pool_works_and_closes_in_the_child(void **state) {
    (void)state;
    ms_pool *pool;
    assert_int_equal(ms_pool_open(THREADS, &pool, NULL), 0);
    assert_true(squares_are_right(pool));
    assert_int_equal(in_child(use_and_close, pool), 0);
    assert_true(squares_are_right(pool));
    ms_pool_close(pool);
}

static int close_alone(void *pool) {
    ms_pool_close(pool);
    return 0;
}

static void an_unused_pool_closes_in_the_child(void **state) {
    (void)state;
    ms_pool *pool;
    assert_int_equal(ms_pool_open(THREADS, &pool, NULL), 0);
    for (int i = 0; i < 20; i++) assert_int_equal(in_child(close_alone, pool), 0);
    ms_pool_close(pool);
}

static int grandchild(void *pool) { return in_child(use_and_close, pool) || use_and_close(pool); }

static void a_childs_child_works_too(void **state) {
    (void)state;
    ms_pool *pool;
    assert_int_equal(ms_pool_open(THREADS, &pool, NULL), 0);
    assert_int_equal(in_child(grandchild, pool), 0);
    ms_pool_close(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_works_and_closes_in_the_child),
        cmocka_unit_test(an_unused_pool_closes_in_the_child),
        cmocka_unit_test(a_childs_child_works_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
