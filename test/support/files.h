/* A folder for the files of one test program, and whole files. */
#ifndef TEST_SUPPORT_FILES_H
#define TEST_SUPPORT_FILES_H
#include "support/test.h"
#include <dirent.h>
#include <unistd.h>

static char folder[64]; /* after folder_open */

/* Set-up of a test: a new folder. */
static inline int folder_open(void **state) {
    (void)state;
    strcpy(folder, "/tmp/midisim-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* The path of a name in the folder; the last 64 stay valid. */
static inline char *in_folder(const char *name) {
    static char paths[64][400];
    static int turn;
    char *path = paths[turn++ % 64];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline int files_in_folder(void) {
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Tear-down of a test: an empty folder. */
static inline int folder_clean(void **state) {
    (void)state;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void)remove(in_folder(e->d_name));
    closedir(d);
    return 0;
}

/* Tear-down of the last test: no folder. */
static inline int folder_close(void **state) {
    folder_clean(state);
    return rmdir(folder);
}

static inline void write_file(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* The bytes of a file, with a 0 behind them. Freed by the caller. */
static inline void *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    const long size = ftell(f);
    assert_true(size >= 0);
    rewind(f);
    unsigned char *bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, f), size);
    bytes[size] = 0;
    fclose(f);
    *n = (size_t)size;
    return bytes;
}
#endif
