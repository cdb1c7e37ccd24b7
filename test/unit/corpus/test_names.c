/* Row names between bytes and UCS-4, as Python's surrogateescape has it; the names file of plain
 * arrays. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "npy/names.h"
#include "support/random.h"
#include "support/test.h"
#include <unistd.h>

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
        assert_int_equal(ms_name_chars(cases[i].bytes, n_bytes), n);
        assert_int_equal(msim_name_chars(cases[i].bytes, n_bytes), n);
        unsigned char field[4 * 8];
        memset(field, 0xaa, sizeof field);
        ms_name_to_ucs4(cases[i].bytes, n_bytes, field, 8);
        for (size_t j = 0; j < 8; j++) {
            const unsigned char *p = field + 4 * j;
            uint32_t got = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
            assert_int_equal(got, cases[i].points[j]);
        }
        char back[64];
        assert_int_equal(ms_name_of_ucs4(field, 8, back, sizeof back), n_bytes);
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
            xorshift(&seed);
            static const unsigned char likely[] = {0xc3, 0xe2, 0xed, 0xf0, 0x80, 0xa9, 0xbf, 'x'};
            name[i] = (char)(seed & 0x100          ? likely[seed >> 20 & 7]
                             : (seed >> 30 & 0xff) ? seed >> 30 & 0xff
                                                   : 1);
        }
        ms_name_to_ucs4(name, n, field, 16);
        assert_int_equal(ms_name_of_ucs4(field, 16, back, sizeof back), n);
        assert_memory_equal(name, back, n);
    }
}

static void odd_code_points(void **state) {
    (void)state;
    static const uint32_t points[] = {'a',      0xd800,     0xdc7f, 0xdfff, 0,
                                      0x110000, 0xffffffff, 0xdc41, 0,      0};
    char buf[64];
    size_t n = ms_name_of_ucs4((const unsigned char *)points, 10, buf, sizeof buf);
    static const char expected[] =
        "a\xed\xa0\x80\xed\xb1\xbf\xed\xbf\xbf\0\xef\xbf\xbd\xef\xbf\xbd\xed\xb1\x81";
    assert_int_equal(n, sizeof expected - 1);
    assert_memory_equal(buf, expected, sizeof expected);
    assert_int_equal(ms_name_of_ucs4((const unsigned char *)points, 0, buf, sizeof buf), 0);
    assert_string_equal(buf, "");
    /* Cut anywhere, always ended, the length told. */
    for (size_t cap = 1; cap < n + 2; cap++) {
        char *small = malloc(cap);
        assert_int_equal(ms_name_of_ucs4((const unsigned char *)points, 10, small, cap), n);
        assert_int_equal(small[cap - 1 < n ? cap - 1 : n], 0);
        assert_memory_equal(small, expected, cap - 1 < n ? cap - 1 : n);
        free(small);
    }
    assert_int_equal(ms_name_of_ucs4((const unsigned char *)points, 10, NULL, 0), n);
    assert_int_equal(ms_name_of_bytes((const unsigned char *)"ab\0c\0\0", 6, buf, sizeof buf), 4);
    assert_memory_equal(buf, "ab\0c", 5);
}

static void write_file(char *path, const char *text, size_t n) {
    strcpy(path, "/tmp/midisim-names-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
}

static void names_file(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        const char *names[4];
    } cases[] = {
        {"", 0, {NULL}},
        {"\n", 1, {""}},
        {"one", 1, {"one"}},
        {"one\n\n\xff three\n", 3, {"one", "", "\xff three"}},
        {"a\r\nb\r\nc", 3, {"a", "b", "c"}},
        {"a\nb\r\n", 2, {"a", "b\r"}},
    };
    char path[64], buf[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ms_names names;
        write_file(path, cases[i].text, strlen(cases[i].text));
        assert_int_equal(ms_names_open(path, &names, NULL), 0);
        assert_int_equal(names.n_names, cases[i].n);
        for (size_t j = 0; j < cases[i].n; j++) {
            assert_int_equal(ms_names_get(&names, j, buf, sizeof buf), strlen(cases[i].names[j]));
            assert_string_equal(buf, cases[i].names[j]);
        }
        ms_names_close(&names);
        ms_mem_fail_at(1);
        assert_int_equal(ms_names_open(path, &names, NULL), -MSIM_E_MEMORY);
        ms_mem_fail_at(0);
        unlink(path);
    }
    ms_names names;
    assert_int_equal(ms_names_open("/nonexistent/names", &names, NULL), -MSIM_E_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_points),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(odd_code_points),
        cmocka_unit_test(names_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
