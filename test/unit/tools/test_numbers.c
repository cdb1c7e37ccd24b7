/* Options that hold two numbers: what is read, and what is refused without a trace. */
#include "common/cli.c"
#include "common/console.c"
#include "common/texts/complete.c"
#include "common/texts/help.c"
#include "common/texts/numbers.c"
#include "common/texts/progress.c"
#include "common/texts/spelling.c"
#include "support/test.h"

static void the_first_of_two(void **state) {
    (void)state;
    int64_t n = 0;
    const char *rest = "";
    assert_true(ms_cli_first_int("12-20", '-', 1, 99, &n, &rest));
    assert_int_equal(n, 12);
    assert_string_equal(rest, "20");
    assert_true(ms_cli_first_int("7", '-', 1, 99, &n, &rest));
    assert_int_equal(n, 7);
    assert_null(rest);
    assert_true(ms_cli_first_int("8/", '/', 1, 99, &n, &rest));
    assert_string_equal(rest, "");
    static const char *const bad[] = {"",
                                      "/",
                                      "/3",
                                      "x/3",
                                      "1x/3",
                                      "0/3",
                                      "100",
                                      " 1/3",
                                      "00000000000000000000000000000000000"
                                      "00000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        n = -5;
        assert_false(ms_cli_first_int(bad[i], '/', 1, 99, &n, &rest));
        assert_int_equal(n, -5);
    }
}

static void shards(void **state) {
    (void)state;
    int64_t index = -1, n = -1;
    static const char *const bad[] = {"",    "3",     "/",    "0/3",       "4/3",
                                      "3/",  "/3",    "a/3",  "3/a",       "-1/3",
                                      "1/0", "1/2/3", "1 /2", "1/1000001", "3/16 "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ms_cli_shard(bad[i], &index, &n), -MSIM_E_ARG);
        assert_int_equal(index, -1);
        assert_int_equal(n, -1);
    }
    assert_int_equal(ms_cli_shard(NULL, &index, &n), 0);
    assert_int_equal(n, -1);
    assert_int_equal(ms_cli_shard("3/16", &index, &n), 0);
    assert_int_equal(index, 3);
    assert_int_equal(n, 16);
    assert_int_equal(ms_cli_shard("1000000/1000000", &index, &n), 0);
    assert_int_equal(index, 1000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_first_of_two),
                                       cmocka_unit_test(shards)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
