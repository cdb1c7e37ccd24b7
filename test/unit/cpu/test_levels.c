/* The table of kernel levels: what it lists is complete, and what it says of this CPU agrees with
 * itself. test/cli/test_common.py compares it with /proc/cpuinfo and with the kernel files. */
#include "support/levels.h"

static void the_reference_comes_first_and_runs(void **state) {
    (void)state;
    assert_int_equal(ms_cpu_isa_list(0), MSIM_ISA_REF);
    for (int precision = 0; precision < 3; precision++) {
        assert_string_equal(ms_cpu_isa_needs(MSIM_ISA_REF, precision), "");
        assert_true(ms_cpu_isa_is_available(MSIM_ISA_REF, precision));
    }
}

static void a_level_has_all_kernels_or_none(void **state) {
    (void)state;
    int last = MSIM_ISA_REF;
    FOR_EACH_ISA(isa) {
        int runs = ms_cpu_isa_is_available(isa, MSIM_PRECISION_F32);
        const ms_cpu_kernels *kernels = ms_cpu_kernels_get(isa);
        assert_non_null(ms_cpu_isa_needs(isa, MSIM_PRECISION_F32));
        assert_int_equal(runs, kernels != NULL);
        assert_int_equal(runs, ms_scan_kernels_get(isa) != NULL);
        assert_int_equal(runs, ms_codes_kernels_get(isa, 0) != NULL);
        assert_int_equal(runs, ms_codes_kernels_get(isa, 1) != NULL);
        assert_true(runs || !ms_int8_kernels_get(isa));
        if (!runs) continue;
        assert_int_equal(kernels->isa, isa);
        assert_string_equal(kernels->name, ms_cpu_isa_name(isa));
        last = isa;
    }
    assert_int_equal(ms_cpu_isa_best(), last);
}

static void int8_is_available_where_it_has_kernels(void **state) {
    (void)state;
    FOR_EACH_ISA(isa) {
        int has = ms_cpu_isa_is_available(isa, MSIM_PRECISION_INT8);
        assert_int_equal(has, ms_int8_kernels_get(isa) != NULL);
        assert_true(!has || ms_cpu_isa_needs(isa, MSIM_PRECISION_INT8));
    }
}

static void other_values_are_no_levels(void **state) {
    (void)state;
    static const int others[] = {-1, MSIM_ISA_AUTO, 77, INT32_MAX};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        int isa = others[i];
        assert_null(ms_cpu_kernels_get(isa));
        assert_null(ms_scan_kernels_get(isa));
        assert_null(ms_codes_kernels_get(isa, 1));
        assert_null(ms_int8_kernels_get(isa));
        assert_null(ms_cpu_isa_needs(isa, MSIM_PRECISION_F32));
        assert_false(ms_cpu_isa_is_available(isa, MSIM_PRECISION_F32));
        assert_int_equal(ms_cpu_isa_name(isa) != NULL, isa == MSIM_ISA_AUTO);
    }
    assert_int_equal(ms_cpu_isa_list(-1), -1);
    assert_int_equal(ms_cpu_isa_list(1000), -1);
}

static void a_refusal_names_all_levels(void **state) {
    (void)state;
    msim_error err;
    int isa = 5;
    assert_int_equal(ms_cpu_isa_choose(77, &isa, &err), -MSIM_E_ARG);
    assert_int_equal(isa, 5);
    assert_string_equal(err.text, "isa: expected auto, ref, avx2, avx512 or avx512bf16, got 77");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_comes_first_and_runs),
        cmocka_unit_test(a_level_has_all_kernels_or_none),
        cmocka_unit_test(int8_is_available_where_it_has_kernels),
        cmocka_unit_test(other_values_are_no_levels),
        cmocka_unit_test(a_refusal_names_all_levels),
    };
    print_levels("levels");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
