/* The atomic file writer: bytes of any size arrive, names that are taken and links that were
 * planted are left alone, failures stick and leave nothing behind. */
#define _GNU_SOURCE
#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[128], victim[128];
static msim_error error;

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/midisim-file-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/out", folder);
    snprintf(victim, sizeof victim, "%s/victim", folder);
    return 0;
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static int count_files(void) {
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void write_text(const char *at, const char *text) {
    FILE *f = fopen(at, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void expect_text(const char *at, const char *wanted) {
    char text[256];
    FILE *f = fopen(at, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    assert_string_equal(text, wanted);
}

static int write_file(const char *text) {
    ms_out_file f = {.fd = -1};
    int rc = ms_out_file_open(&f, path, "", 0, &error);
    if (rc >= 0) ms_out_file_put(&f, text, strlen(text));
    if (rc >= 0) rc = ms_out_file_finish(&f, &error);
    ms_out_file_close(&f);
    return rc;
}

static int write_in_folder(const char *name, const char *text, bool is_forced) {
    ms_out_file f = {.fd = -1};
    int at = open(folder, O_RDONLY | O_DIRECTORY);
    int rc = ms_out_file_open_at(&f, at, name, 0666, &error);
    if (rc >= 0) ms_out_file_put(&f, text, strlen(text));
    if (rc >= 0) rc = ms_out_file_sync(&f, &error);
    if (rc >= 0)
        rc = is_forced ? ms_out_file_rename(&f, &error) : ms_out_file_rename_new(&f, &error);
    ms_out_file_close(&f);
    close(at);
    return rc;
}

/* Links to the victim under the first temporary names of `name`. */
static void plant(const char *name, int n) {
    char at[400];
    for (int i = 0; i < n; i++) {
        snprintf(at, sizeof at, i ? "%s/%s.part-%ld-%d" : "%s/%s.part-%ld", folder, name,
                 (long)getpid(), i);
        assert_int_equal(symlink(victim, at), 0);
    }
}

static void test_links(void **state) {
    struct stat st;
    (void)state;
    write_text(victim, "precious");
    plant("out", 3);
    assert_int_equal(write_file("rows"), MSIM_OK);
    expect_text(path, "rows");
    expect_text(victim, "precious");
    assert_int_equal(count_files(), 5);
    plant("inner", 2);
    assert_int_equal(write_in_folder("inner", "more", false), 1);
    expect_text(victim, "precious");
    assert_int_equal(count_files(), 8);
    /* A link in the place itself is replaced, its target left. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(victim, path), 0);
    assert_int_equal(write_file("rows"), MSIM_OK);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    expect_text(victim, "precious");
}

static void test_all_names_taken(void **state) {
    (void)state;
    write_text(victim, "precious");
    plant("out", 100);
    assert_int_equal(write_file("rows"), -MSIM_E_IO);
    assert_non_null(strstr(error.text, "cannot create"));
    assert_int_equal(count_files(), 101);
}

static void test_existing(void **state) {
    (void)state;
    write_text(path, "old");
    assert_int_equal(write_in_folder("out", "new", false), 0);
    expect_text(path, "old");
    assert_int_equal(write_in_folder("out", "new", true), MSIM_OK);
    expect_text(path, "new");
    assert_int_equal(write_file("newer"), MSIM_OK);
    expect_text(path, "newer");
    assert_int_equal(count_files(), 1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(write_file("newest"), -MSIM_E_IO);
    assert_non_null(strstr(error.text, "got a folder"));
    assert_int_equal(write_in_folder("out", "new", true), -MSIM_E_IO);
    assert_int_equal(count_files(), 1);
}

/* A name of 255 bytes, of two-byte characters, has a temporary name that fits. */
static void test_long_name(void **state) {
    char name[256] = "x", whole[400];
    (void)state;
    for (int i = 1; i < 255; i += 2) memcpy(name + i, "\xc3\xa9", 2);
    name[255] = 0;
    assert_int_equal(write_in_folder(name, "text", false), 1);
    snprintf(whole, sizeof whole, "%s/%s", folder, name);
    expect_text(whole, "text");
    ms_out_file f = {.fd = -1};
    assert_int_equal(ms_out_file_open(&f, whole, "", 0, &error), MSIM_OK);
    assert_non_null(strstr(f.temp_path, "\xc3\xa9.part-"));
    ms_out_file_close(&f);
    assert_int_equal(count_files(), 1);

    /* What is longer is refused before any byte is written, not when it gets its name. */
    assert_int_equal(ms_file_check_name(whole, "", &error), MSIM_OK);
    assert_int_equal(ms_file_check_name(whole, "x", &error), -MSIM_E_ARG);
    assert_non_null(strstr(error.text, "no room behind it for x"));
    f = (ms_out_file){.fd = -1};
    assert_int_equal(ms_out_file_open(&f, whole, "x", 0, &error), -MSIM_E_IO);
    assert_non_null(strstr(error.text, "too long"));
    ms_out_file_close(&f);
    assert_int_equal(count_files(), 1);
}

/* Puts of all sizes, items through the buffer between them. */
static void test_bytes(void **state) {
    enum { ITEM = 300000, ALL = 40 << 20 };
    unsigned char *wanted = malloc(ALL), *got = malloc(ALL);
    size_t n = 0;
    ms_out_file f = {.fd = -1};
    (void)state;
    for (size_t i = 0; i < ALL; i++) wanted[i] = (unsigned char)(i * 2654435761u >> 13);
    assert_int_equal(ms_out_file_open(&f, path, "", ITEM, &error), MSIM_OK);
    for (size_t size = 0, step = 1; n < ALL; step++) {
        size = step % 7 == 6 ? 5 << 20 : step * 7919 % (ITEM + 1);
        if (size > ALL - n) size = ALL - n;
        if (step % 2 && size <= ITEM) {
            memcpy(ms_out_file_room(&f), wanted + n, size);
            assert_int_equal(ms_out_file_took(&f, size, &error), MSIM_OK);
        } else {
            ms_out_file_put(&f, wanted + n, size);
        }
        n += size;
    }
    assert_int_equal(ms_out_file_finish(&f, &error), MSIM_OK);
    ms_out_file_close(&f);
    FILE *file = fopen(path, "r");
    assert_int_equal(fread(got, 1, ALL, file), ALL);
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
    assert_memory_equal(got, wanted, ALL);
    free(got);
    free(wanted);
}

static void test_failure_sticks(void **state) {
    struct rlimit old, small;
    char block[4096] = "";
    ms_out_file f = {.fd = -1};
    (void)state;
    write_text(path, "old");
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){.rlim_cur = 100000, .rlim_max = old.rlim_max};
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(ms_out_file_open(&f, path, "", 0, &error), MSIM_OK);
    for (int i = 0; i < 1000; i++) ms_out_file_put(&f, block, sizeof block);
    assert_int_equal(ms_out_file_failed(&f, &error), -MSIM_E_IO);
    assert_int_equal(ms_out_file_finish(&f, NULL), -MSIM_E_IO);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, before);
    assert_non_null(strstr(error.text, "cannot write"));
    ms_out_file_close(&f);
    expect_text(path, "old");
    assert_int_equal(count_files(), 1);
}

static void test_folder(void **state) {
    char out[16];
    (void)state;
    assert_true(ms_file_folder("a/b/c", out, sizeof out));
    assert_string_equal(out, "a/b");
    assert_true(ms_file_folder("/c", out, sizeof out));
    assert_string_equal(out, "/");
    assert_true(ms_file_folder("c", out, sizeof out));
    assert_string_equal(out, ".");
    assert_false(ms_file_folder("0123456789abcdef/c", out, sizeof out));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_links), TEST(test_all_names_taken), TEST(test_existing), TEST(test_long_name),
        TEST(test_bytes), TEST(test_failure_sticks),  TEST(test_folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
