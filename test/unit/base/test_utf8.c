/* UTF-8 against Python's decoder, byte by byte where it is short; row names between bytes and
 * UTF-32, as Python's surrogateescape has it. */
#include "base/text/utf8.h"
#include "midisim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What is valid, by a definition of another kind: the well-formed byte sequences of the Unicode
 * Standard, table 3-7. */
static size_t wanted_length(const unsigned char *s, size_t n) {
    static const struct {
        unsigned char from, to, second_from, second_to;
        size_t length;
    } rows[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        if (s[0] < rows[r].from || s[0] > rows[r].to || rows[r].length > n) continue;
        bool ok = rows[r].length == 1 || (s[1] >= rows[r].second_from && s[1] <= rows[r].second_to);
        for (size_t i = 2; i < rows[r].length; i++) ok &= s[i] >= 0x80 && s[i] <= 0xbf;
        return ok ? rows[r].length : 0;
    }
    return 0;
}

/* Every beginning of three bytes, followed by each of some. */
static void all_sequences(void **state) {
    static const unsigned char last[] = {0x00, 0x41, 0x7f, 0x80, 0xa5, 0xbf, 0xc0, 0xff};
    (void)state;
    for (uint32_t three = 0; three < 1 << 24; three++) {
        unsigned char s[4] = {(unsigned char)(three >> 16), (unsigned char)(three >> 8),
                              (unsigned char)three, last[three % sizeof last]};
        uint32_t point = 0xabcdef;
        size_t wanted = wanted_length(s, 4), got = ms_utf8_next((const char *)s, 4, &point);
        if (got != wanted) fail_msg("%06x %02x: expected %zu, got %zu", three, s[3], wanted, got);
        if (!got && point != 0xabcdef) fail_msg("%06x: the point was touched", three);
        char back[4];
        if (got && (ms_utf8_put(back, point) != got || memcmp(back, s, got) != 0))
            fail_msg("%06x %02x: U+%04x", three, s[3], point);
        for (size_t n = 0; n < got; n++)
            if (ms_utf8_next((const char *)s, n, &point)) fail_msg("%06x: cut to %zu", three, n);
    }
    assert_true(ms_utf8_is_valid("a\xc3\xa9", 3));
    assert_false(ms_utf8_is_valid("a\xc3\xa9", 2));
    assert_true(ms_utf8_is_valid("", 0));
    assert_false(ms_utf8_is_valid("\xed\xb2\x80", 3));
    assert_true(ms_utf8_is_surrogatepass("\xed\xb2\x80\xc3\xa9", 5));
    assert_false(ms_utf8_is_surrogatepass("\xed\xc0\x80", 3));
    assert_false(ms_utf8_is_surrogatepass("\xf4\x90\x80\x80", 4));
}

static void code_points(void **state) {
    (void)state;
    /* What Python 3 gives for bytes.decode('utf-8', 'surrogateescape'). */
    static const struct {
        const char *bytes;
        uint32_t points[8];
    } cases[] = {
        {"abc", {'a', 'b', 'c'}},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x8e\xb5", {0xe9, 0x20ac, 0x1f3b5}},
        {"\xff"
         "a\x80",
         {0xdcff, 'a', 0xdc80}},
        {"\xc3", {0xdcc3}},
        {"\xe2\x82"
         "A",
         {0xdce2, 0xdc82, 'A'}},
        {"\xc0\xaf", {0xdcc0, 0xdcaf}},                         /* overlong */
        {"\xe0\x80\xaf", {0xdce0, 0xdc80, 0xdcaf}},             /* overlong */
        {"\xed\xa0\x80", {0xdced, 0xdca0, 0xdc80}},             /* a surrogate is not UTF-8 */
        {"\xf4\x90\x80\x80", {0xdcf4, 0xdc90, 0xdc80, 0xdc80}}, /* beyond U+10FFFF */
        {"\xf4\x8f\xbf\xbf", {0x10ffff}},
        {"\xef\xbf\xbf", {0xffff}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n_bytes = strlen(cases[i].bytes), n = 0;
        while (n < 8 && cases[i].points[n]) n++;
        assert_int_equal(ms_utf8_chars(cases[i].bytes, n_bytes), n);
        assert_int_equal(msim_name_chars(cases[i].bytes, n_bytes), n);
        unsigned char field[4 * 8];
        memset(field, 0xaa, sizeof field);
        ms_utf8_to_utf32(cases[i].bytes, n_bytes, field, 8);
        for (size_t j = 0; j < 8; j++) {
            const unsigned char *p = field + 4 * j;
            uint32_t got = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
            assert_int_equal(got, cases[i].points[j]);
        }
        char back[64];
        assert_int_equal(ms_utf8_of_utf32(field, 8, back, sizeof back), n_bytes);
        assert_memory_equal(back, cases[i].bytes, n_bytes + 1);
    }
}

/* Any bytes without NUL at the end come back as they went: 200,000 random names, many of them not
 * UTF-8. */
static void any_bytes_come_back(void **state) {
    (void)state;
    uint64_t seed = 88172645463325252u;
    for (int round = 0; round < 200000; round++) {
        char name[16], back[17];
        unsigned char field[4 * 16];
        size_t n = 1 + (size_t)round % 15;
        for (size_t i = 0; i < n; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            static const unsigned char likely[] = {0xc3, 0xe2, 0xed, 0xf0, 0x80, 0xa9, 0xbf, 'x'};
            name[i] = (char)(seed & 0x100          ? likely[seed >> 20 & 7]
                             : (seed >> 30 & 0xff) ? seed >> 30 & 0xff
                                                   : 1);
        }
        ms_utf8_to_utf32(name, n, field, 16);
        assert_int_equal(ms_utf8_of_utf32(field, 16, back, sizeof back), n);
        assert_memory_equal(name, back, n);
    }
}

static void odd_code_points(void **state) {
    (void)state;
    static const uint32_t points[] = {'a',      0xd800,     0xdc7f, 0xdfff, 0,
                                      0x110000, 0xffffffff, 0xdc41, 0,      0};
    char buf[64];
    size_t n = ms_utf8_of_utf32((const unsigned char *)points, 10, buf, sizeof buf);
    static const char expected[] =
        "a\xed\xa0\x80\xed\xb1\xbf\xed\xbf\xbf\0\xef\xbf\xbd\xef\xbf\xbd\xed\xb1\x81";
    assert_int_equal(n, sizeof expected - 1);
    assert_memory_equal(buf, expected, sizeof expected);
    assert_int_equal(ms_utf8_of_utf32((const unsigned char *)points, 0, buf, sizeof buf), 0);
    assert_string_equal(buf, "");
    /* Cut anywhere, always ended, the length told. */
    for (size_t cap = 1; cap < n + 2; cap++) {
        char *small = malloc(cap);
        assert_int_equal(ms_utf8_of_utf32((const unsigned char *)points, 10, small, cap), n);
        assert_int_equal(small[cap - 1 < n ? cap - 1 : n], 0);
        assert_memory_equal(small, expected, cap - 1 < n ? cap - 1 : n);
        free(small);
    }
    assert_int_equal(ms_utf8_of_utf32((const unsigned char *)points, 10, NULL, 0), n);
    assert_int_equal(ms_utf8_of_bytes((const unsigned char *)"ab\0c\0\0", 6, buf, sizeof buf), 4);
    assert_memory_equal(buf, "ab\0c", 5);
}

static void safe_for_terminals(void **state) {
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"plain \xc3\xa4 \xe9\x9f\xb3 \xf0\x9f\x8e\xb5",
         "plain \xc3\xa4 \xe9\x9f\xb3 \xf0\x9f\x8e\xb5"},
        {"a\033[31mb\x7f", "a?[31mb?"},
        {"c1\xc2\x9b"
         "31m\xc2\x85",
         "c1?31m?"},
        {"\x9b"
         "31m raw \xff\xc3",
         "?31m raw ??"},
        {"\xe2\x80\xae"
         "fdp\xe2\x80\xac \xe2\x81\xa6x\xe2\x81\xa9 \xe2\x80\x8f\xd8\x9c",
         "?fdp? ?x? ??"},
        {"\xe2\x80\xa8\xe2\x80\xa9\r\n\t", "?????"},
        {"\xc2\xa0\xe2\x80\x8b", "\xc2\xa0\xe2\x80\x8b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", cases[i].text);
        text[ms_utf8_make_safe(text, strlen(text), false)] = 0;
        assert_string_equal(text, cases[i].expected);
    }
    char lines[] = "a\tb\r\n";
    assert_int_equal(ms_utf8_make_safe(lines, 5, true), 5);
    assert_string_equal(lines, "a\tb?\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sequences),       cmocka_unit_test(code_points),
        cmocka_unit_test(any_bytes_come_back), cmocka_unit_test(odd_code_points),
        cmocka_unit_test(safe_for_terminals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
