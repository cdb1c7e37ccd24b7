/* Places in a piece as tools show them. */
#include "common/texts/place.c"
#include "support/test.h"

static void beats(void **state) {
    (void)state;
    static const double cases[][2] = {
        {1, 1},        {1.0 + 1 / 3.0, 1.33}, {2.5, 2.5}, {1.0 / 6 + 2, 2.17},
        {4.998, 4.99}, {255.999, 255.99},     {3.004, 3}, {0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(fabs(ms_place_beat(cases[i][0]) - cases[i][1]) < 1e-9);
}

static void bars(void **state) {
    (void)state;
    char text[MS_PLACE_CHARS];
    ms_place_bar(text, 12, 3.5);
    assert_string_equal(text, "12:3.50");
    ms_place_bar(text, 7, 4.997);
    assert_string_equal(text, "7:4.99");
    ms_place_bar(text, 0, 0);
    assert_string_equal(text, "0:0.00");
}

static void passages(void **state) {
    (void)state;
    char text[MS_PLACE_CHARS];
    ms_place_passage(text, 65.9, 97.25, 12, 20);
    assert_string_equal(text, "1:05-1:38 bars 12-20");
    ms_place_passage(text, 65.0, 98.0, 12, 12);
    assert_string_equal(text, "1:05-1:38 bar 12");
    ms_place_passage(text, 0, 59.2, 0, 0);
    assert_string_equal(text, "0:00-1:00");
    ms_place_passage(text, 1e15, 2e15, INT64_MAX - 1, INT64_MAX);
    assert_true(strlen(text) < MS_PLACE_CHARS);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(beats), cmocka_unit_test(bars),
                                       cmocka_unit_test(passages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
