/* Every value of the public enums has its word, and what is no value has none. */
#include "midisim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_names(void **state) {
    static const struct {
        const char *(*name)(int);
        int last;
        const char *first_word, *last_word;
    } rows[] = {{msim_isa_name, MSIM_ISA_AMXBF16, "auto", "amxbf16"},
                {msim_precision_name, MSIM_PRECISION_INT8, "bf16", "int8"},
                {msim_stage_name, MSIM_STAGE_COUNT - 1, "norms", "pooling"},
                {msim_dtype_name, MSIM_DTYPE_F64, "f32", "f64"},
                {msim_format_name, MSIM_FORMAT_FBIN, "structured", "fbin"},
                {msim_scan_name, MSIM_SCAN_INT8, "auto", "int8"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_string_equal(rows[i].name(0), rows[i].first_word);
        assert_string_equal(rows[i].name(rows[i].last), rows[i].last_word);
        for (int value = 0; value <= rows[i].last; value++) assert_non_null(rows[i].name(value));
        assert_null(rows[i].name(-1));
        assert_null(rows[i].name(rows[i].last + 1));
    }
    assert_string_equal(msim_dtype_name(MSIM_DTYPE_BF16), "bf16");
    assert_string_equal(msim_dtype_name(MSIM_DTYPE_F16), "f16");
}

static void test_status(void **state) {
    (void)state;
    assert_string_equal(msim_status_name(0), "ok");
    assert_string_equal(msim_status_name(-MSIM_E_STOPPED), "stopped");
    assert_string_equal(msim_status_name(MSIM_E_STOPPED), "stopped");
    assert_string_equal(msim_status_name(10), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_status)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
