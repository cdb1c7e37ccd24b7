/* Files below a folder (tools/common/tree.h): names that come out alike are told apart, and every
 * allocation that fails is an error of its own, after which the tree still works. */
#include "common/cli.c"
#include "common/texts/complete.c"
#include "common/console.c"
#include "common/texts/help.c"
#include "common/texts/progress.c"
#include "common/texts/spelling.c"
#include "common/tree.c"
#include "support/test.h"

static char folder[] = "/tmp/midisim-tree-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void names(void **state) {
    (void)state;
    ms_tree *tree;
    msim_error err;
    assert_int_equal(ms_tree_open(folder, &tree, &err), 0);
    assert_string_equal(ms_tree_claim(tree, "a/b", 3, ".npy", NULL, &err), "a/b.npy");
    assert_string_equal(ms_tree_claim(tree, "a//b", 4, ".npy", NULL, &err), "a/b~2.npy");
    assert_string_equal(ms_tree_claim(tree, "../b", 4, ".npy", NULL, &err), "__/b.npy");
    for (int i = 0; i < 1000; i++) {
        char name[16], expected[24];
        int n = snprintf(name, sizeof name, "n%d", i);
        snprintf(expected, sizeof expected, "%s.npy", name);
        assert_string_equal(ms_tree_claim(tree, name, (size_t)n, ".npy", NULL, &err), expected);
        assert_string_not_equal(ms_tree_claim(tree, name, (size_t)n, ".npy", NULL, &err), expected);
    }
    ms_tree_close(tree);
}

/* One file of a new name, in a folder of its own. < 0: out of memory. */
static int write_one(msim_error *err) {
    ms_tree *tree;
    int rc = ms_tree_open(folder, &tree, err);
    if (rc < 0) return rc;
    const char *path = ms_tree_claim(tree, "inside/x", 8, ".bin", NULL, err);
    const ms_put_part part = {.data = "abc", .n = 3};
    rc = path ? ms_tree_write(tree, path, &part, 1, true, err) : -MSIM_E_MEMORY;
    ms_tree_close(tree);
    return rc;
}

static void memory_fails(void **state) {
    (void)state;
    msim_error err;
    int n_failed = 0;
    for (int64_t i = 1;; i++) {
        ms_mem_fail_at(i);
        err.text[0] = 0;
        int rc = write_one(&err);
        ms_mem_fail_at(0);
        if (rc == 1) break;
        assert_true(rc == -MSIM_E_MEMORY || rc == -MSIM_E_IO);
        assert_non_null(strstr(err.text, rc == -MSIM_E_MEMORY ? "out of memory" : "emory"));
        n_failed++;
    }
    assert_true(n_failed >= 5);
}

static void operands(void **state) {
    (void)state;
    ms_cli_texts list = {0};
    ms_mem_fail_at(1);
    assert_int_equal(ms_cli_texts_add(&list, "a"), -MSIM_E_MEMORY);
    ms_mem_fail_at(0);
    assert_int_equal(list.n, 0);
    for (int i = 0; i < 100; i++) assert_int_equal(ms_cli_texts_add(&list, "a"), 0);
    assert_int_equal(list.n, 100);
    ms_free(list.items);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(memory_fails),
                                       cmocka_unit_test(operands)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
