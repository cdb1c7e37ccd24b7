/* Numbers as text: the same under a locale whose numbers have a comma, as a host program may set
 * one. */
#include "base/text/number.h"
#include "support/test.h"
#include <locale.h>
#include <midisim.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[] = "/tmp/midisim-number-XXXXXX";

/* True when numbers have a comma from here on. */
static bool set_comma(void) {
    char command[400], text[8];
    if (!mkdtemp(folder)) return false;
    snprintf(command, sizeof command,
             "cd %s && printf 'LC_NUMERIC\\ndecimal_point \",\"\\nthousands_sep \".\"\\n"
             "grouping -1\\nEND LC_NUMERIC\\n' >source && localedef -c -i ./source ./comma "
             ">messages 2>&1",
             folder);
    (void)system(command); /* it warns of what is left out, and returns 1 */
    (void)setenv("LOCPATH", folder, 1);
    if (!setlocale(LC_NUMERIC, "comma")) return false;
    snprintf(text, sizeof text, "%.1f", 1.5);
    return strcmp(text, "1,5") == 0;
}

static void reset(void) {
    char command[64];
    setlocale(LC_NUMERIC, "C");
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void check_numbers(void) {
    static const struct {
        double value;
        int digits;
        const char *text;
    } cases[] = {{0, 9, "0"},
                 {0.5, 9, "0.5"},
                 {-1.25, 7, "-1.25"},
                 {1e300, 17, "1.0000000000000001e+300"},
                 {2.5e-9, 9, "2.5e-09"},
                 {-1.0 / 3, 17, "-0.33333333333333331"},
                 {123456, 7, "123456"}};
    char digits[MS_NUMBER_BYTES], *end;
    msim_note notes[2];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(ms_number_print(cases[i].value, cases[i].digits, digits),
                            cases[i].text);
        const double back = ms_number_read(digits, &end);
        assert_int_equal(*end, 0);
        if (cases[i].digits == 17) assert_true(back == cases[i].value);
    }
    (void)ms_number_read("x", &end);
    assert_int_equal(*end, 'x');
    assert_int_equal(msim_notes_parse("C4:0.5 D4", notes, 2, NULL), 2);
    assert_int_equal(notes[1].start_ms, 250);
}

static void plain(void **state) {
    (void)state;
    check_numbers();
}

static void under_a_comma(void **state) {
    (void)state;
    const bool has_comma = set_comma();
    if (has_comma) check_numbers();
    reset();
    if (!has_comma) skip(); /* no localedef */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(plain), cmocka_unit_test(under_a_comma)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
