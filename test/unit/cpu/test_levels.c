/* The table of kernel levels: what it lists is complete, and what it says of this CPU agrees with
 * itself. test/cli/test_common.py compares it with /proc/cpuinfo and with the kernel files. */
#define _GNU_SOURCE
#include "cpu/tiles.h"
#include "support/levels.h"
#if defined(__x86_64__) && defined(__linux__)
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

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
    assert_string_equal(err.text,
                        "isa: expected auto, ref, avx2, avx512, avx512bf16 or amxbf16, got 77");
}

#if defined(__x86_64__) && defined(__linux__)
/* As a sandbox would: no permission for more state, for good. 0: done. */
static int refuse_tiles(void) {
    enum { REQUEST_PERMISSION = 0x1023 };
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, REQUEST_PERMISSION, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {.len = sizeof steps / sizeof *steps, .filter = steps};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* What a process without permission sees; 0: as it should. */
static int without_permission(void) {
    msim_error err;
    int isa = 0;
    if (ms_tiles_state() != MS_TILES_REFUSED) return 1;
    if (ms_cpu_isa_best() == MSIM_ISA_AMXBF16 || ms_cpu_kernels_get(MSIM_ISA_AMXBF16)) return 2;
    if (ms_cpu_isa_choose(MSIM_ISA_AUTO, &isa, &err) < 0 || isa != ms_cpu_isa_best()) return 3;
    if (ms_cpu_isa_choose(MSIM_ISA_AMXBF16, &isa, &err) != -MSIM_E_UNSUPPORTED) return 4;
    return !strstr(err.text, "got amxbf16: Linux refused this process the tile registers of AMX");
}

static void refused_tiles_leave_the_level_below(void **state) {
    (void)state;
    int here = ms_tiles_state();
    assert_int_equal(here == MS_TILES_GRANTED, ms_tiles_state() == MS_TILES_GRANTED);
    if (here == MS_TILES_NONE) skip();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(refuse_tiles() ? 77 : without_permission());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) skip(); /* no filters here */
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(ms_tiles_state(), here);
}
#else
static void refused_tiles_leave_the_level_below(void **state) {
    (void)state;
    assert_int_equal(ms_tiles_state(), MS_TILES_NONE);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_comes_first_and_runs),
        cmocka_unit_test(a_level_has_all_kernels_or_none),
        cmocka_unit_test(int8_is_available_where_it_has_kernels),
        cmocka_unit_test(other_values_are_no_levels),
        cmocka_unit_test(a_refusal_names_all_levels),
        cmocka_unit_test(refused_tiles_leave_the_level_below),
    };
    print_levels("levels");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
