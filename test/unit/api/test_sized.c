/* Public structs that grow: a program compiled against an older or a newer header meets this
 * library. include/midisim.h, R6. */
#include "base/sized.h"
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* A program that knows one field less, and one that knows one more. */
typedef struct {
    size_t size;
    int64_t first;
} older;
typedef struct {
    msim_options known;
    int64_t later;
} newer;

static void an_older_program_gets_the_fields_that_it_knows(void **state) {
    (void)state;
    unsigned char place[sizeof(msim_stats) + 8];
    msim_stats full = {.tokens = 42, .sequences = 7};
    older *mine = (older *)place;
    memset(place, 0xee, sizeof place);
    mine->size = sizeof *mine;
    assert_int_equal(ms_sized_out(mine, &full, sizeof full), 0);
    assert_int_equal(mine->size, sizeof *mine);
    assert_int_equal(mine->first, 42);
    for (size_t i = sizeof *mine; i < sizeof place; i++) assert_int_equal(place[i], 0xee);
}

static void an_older_programs_options_keep_the_later_defaults(void **state) {
    (void)state;
    msim_options full = msim_options_default();
    struct {
        size_t size;
        int device;
    } mine = {sizeof mine, MSIM_DEVICE_CPU};
    assert_int_equal(ms_sized_in(&full, sizeof full, &mine, "options", NULL), 0);
    assert_int_equal(full.size, sizeof full);
    assert_int_equal(full.device, MSIM_DEVICE_CPU);
    assert_int_equal(full.max_queries, 64);
}

static void a_newer_programs_unknown_fields_must_be_zero(void **state) {
    (void)state;
    msim_error e;
    msim_options full;
    newer mine = {.known = msim_options_default()};
    mine.known.size = sizeof mine;
    assert_int_equal(ms_sized_in(&full, sizeof full, &mine, "options", &e), 0);
    assert_int_equal(full.max_k, 1024);
    mine.later = 1;
    assert_int_equal(ms_sized_in(&full, sizeof full, &mine, "options", &e), -MSIM_E_UNSUPPORTED);
    assert_non_null(strstr(e.text, "options"));
}

static void a_struct_without_a_size_is_refused(void **state) {
    (void)state;
    msim_error e;
    msim_options none = {0};
    msim_context *ctx = (msim_context *)&none;
    assert_int_equal(msim_context_open(NULL, &none, &ctx, &e), -MSIM_E_ARG);
    assert_null(ctx);
    assert_non_null(strstr(e.text, "size"));
    msim_gpu_info gpu = {0};
    assert_true(msim_gpu_get_info(0, &gpu, &e) < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_older_program_gets_the_fields_that_it_knows),
        cmocka_unit_test(an_older_programs_options_keep_the_later_defaults),
        cmocka_unit_test(a_newer_programs_unknown_fields_must_be_zero),
        cmocka_unit_test(a_struct_without_a_size_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
