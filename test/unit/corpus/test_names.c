/* The names file of plain arrays: ends of lines, memory, what is not there. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "corpus/names.h"
#include "support/random.h"
#include "support/test.h"
#include <unistd.h>

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
