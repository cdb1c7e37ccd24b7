/* The text of a progress line: shares, rates and the time left, after a resume too. */
#include "common/cli.c"
#include "common/console.c"
#include "common/texts/complete.c"
#include "common/texts/help.c"
#include "common/texts/progress.c"
#include "common/texts/spelling.c"
#include "support/test.h"

static void shows(const ms_progress *p, int columns, const char *expected) {
    char text[300];
    ms_progress_text(p, columns, text, sizeof text);
    assert_string_equal(text, expected);
}

static void a_fresh_run(void **state) {
    (void)state;
    ms_progress p = {.unit = "files", .done = 10, .all = 40, .tokens_all = -1, .seconds = 20};
    shows(&p, 0, "25 %  10/40 files  0.5 files/s  20s  1m00s left");
    p.tokens = 1000, p.tokens_all = 2000; /* the long ones are done */
    shows(&p, 0, "50 %  10/40 files  50 tokens/s  20s  20s left");
    shows(&p, 80, "[########--------] 50 %  10/40 files  50 tokens/s  20s  20s left");
    p.all = -1, p.tokens_all = -1, p.unit = "lines";
    shows(&p, 80, "10 lines  50 tokens/s  20s");
}

/* What an earlier run has done took none of this run's time. */
static void after_a_resume(void **state) {
    (void)state;
    ms_progress p = {
        .unit = "files", .done = 910, .all = 1000, .before = 900, .tokens_all = -1, .seconds = 60};
    shows(&p, 0, "91 %  910/1,000 files  0.2 files/s  1m00s  9m00s left");
    p.tokens = 6000, p.tokens_all = 12000;
    shows(&p, 0, "95 %  910/1,000 files  100 tokens/s  1m00s  1m00s left");
    p.done = p.before, p.tokens = 0;
    shows(&p, 0, "90 %  900/1,000 files  0.0 files/s  1m00s  ? left");
}

static void ends(void **state) {
    (void)state;
    ms_progress p = {.unit = "files", .done = 5, .all = 5, .before = 5, .tokens_all = -1};
    shows(&p, 0, "100 %  5/5 files  0.0 files/s  0s  0s left");
    p = (ms_progress){.unit = "files", .tokens_all = -1};
    shows(&p, 0, "100 %  0/0 files  0.0 files/s  0s  0s left");
    p = (ms_progress){.unit = "files", .done = 9, .all = 5, .tokens = 9, .tokens_all = 5};
    assert_true(ms_progress_share(&p) == 1.0);
    p = (ms_progress){.unit = "files", .done = 2, .all = 4, .tokens_all = -1, .seconds = 7300};
    shows(&p, 0, "50 %  2/4 files  0.0 files/s  2h01m  2h01m left");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_fresh_run),
                                       cmocka_unit_test(after_a_resume), cmocka_unit_test(ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
