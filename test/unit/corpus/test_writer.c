/* The corpus writer in every form: sizes and bytes as the forms define them, nothing left behind by
 * a failure, no memory taken while rows are added, and what a form cannot hold refused before a
 * byte is written. test/cli/ test_convert_forms.py compares with NumPy. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "midisim.h"
#include "support/files.h"
#include "support/test.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[128], names_path[140];

static int set_up(void **state) {
    if (folder_open(state) < 0) return -1;
    snprintf(path, sizeof path, "%s/c", folder);
    snprintf(names_path, sizeof names_path, "%s/c.names", folder);
    return 0;
}

static void clean(void) {
    unlink(path);
    unlink(names_path);
}

static int tear_down(void **state) {
    (void)state;
    clean();
    return rmdir(folder); /* fails when a temporary file was left behind */
}

static bool has_names_file(int form) {
    return form != MSIM_FORMAT_STRUCTURED && form != MSIM_FORMAT_PICKLED;
}

/* n rows whose names have 12 bytes; the first failure. */
static int write_rows(int form, int dtype, int64_t n, int64_t dim, msim_error *err) {
    float *row = calloc((size_t)dim, sizeof *row);
    msim_corpus_layout layout = {.size = sizeof(msim_corpus_layout),
                                 .rows = n,
                                 .dim = dim,
                                 .name_chars = 12,
                                 .dtype = dtype,
                                 .format = form};
    msim_corpus_writer *w;
    int rc = msim_corpus_writer_open(path, &layout, &w, err);
    int64_t allocations = ms_mem_count();
    for (int64_t i = 0; rc >= 0 && i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "row %08d", (int)i);
        for (int64_t k = 0; k < dim; k++) row[k] = (float)(i % 100) + (float)k / 4;
        rc = msim_corpus_writer_add(w, name, 12, row, err);
    }
    if (rc >= 0) assert_int_equal(ms_mem_count(), allocations);
    if (rc >= 0) rc = msim_corpus_writer_finish(w, err);
    msim_corpus_writer_close(w);
    free(row);
    return rc;
}

static int64_t size_of(const char *what) {
    struct stat st;
    return stat(what, &st) == 0 ? (int64_t)st.st_size : -1;
}

/* Bytes of a protocol 3 pickle of distinct names of 12 bytes, dim 512, f32, at least 28 rows, with
 * its header. */
static int64_t pickled_size(int64_t n) {
    return 192 +
           (n < 256     ? 345
            : n < 65536 ? 346
                        : 348) +
           n * (2122 + 12) - 663 + 2 * ((n + 999) / 1000) + 8;
}

static void sizes(void **state) {
    (void)state;
    msim_error e = {0};
    for (int form = MSIM_FORMAT_STRUCTURED; form <= MSIM_FORMAT_FBIN; form++)
        for (int dtype = MSIM_DTYPE_F32; dtype <= MSIM_DTYPE_F64; dtype++) {
            if (!msim_format_has_dtype(form, dtype)) {
                assert_int_equal(write_rows(form, dtype, 28, 512, &e), -MSIM_E_UNSUPPORTED);
                assert_int_equal(files_in_folder(), 0);
                continue;
            }
            const int64_t counts[] = {28, 2500, 70000};
            for (int i = 0; i < (dtype == MSIM_DTYPE_F32 && form == MSIM_FORMAT_PICKLED ? 3 : 2);
                 i++) {
                int64_t n = counts[i], vector = dtype == MSIM_DTYPE_F32 ? 2048 : 1024;
                if (write_rows(form, dtype, n, 512, &e) < 0) fail_msg("%s", e.text);
                int64_t expected = form == MSIM_FORMAT_STRUCTURED ? 192 + n * (48 + vector)
                                   : form == MSIM_FORMAT_PLAIN    ? 128 + n * vector
                                   : form == MSIM_FORMAT_FVECS    ? n * (4 + vector)
                                   : form == MSIM_FORMAT_FBIN     ? 8 + n * vector
                                                                  : pickled_size(n);
                if (form != MSIM_FORMAT_PICKLED || dtype == MSIM_DTYPE_F32)
                    assert_int_equal(size_of(path), expected);
                assert_int_equal(size_of(names_path), has_names_file(form) ? 13 * n : -1);
                assert_int_equal(files_in_folder(), 1 + has_names_file(form));
                clean();
            }
        }
}

static void no_rows(void **state) {
    (void)state;
    msim_error e = {0};
    for (int form = MSIM_FORMAT_STRUCTURED; form <= MSIM_FORMAT_FBIN; form++) {
        if (write_rows(form, MSIM_DTYPE_F32, 0, 7, &e) < 0) fail_msg("%s", e.text);
        assert_int_equal(size_of(names_path), has_names_file(form) ? 0 : -1);
        clean();
    }
}

static void out_of_memory(void **state) {
    (void)state;
    for (int form = MSIM_FORMAT_STRUCTURED; form <= MSIM_FORMAT_FBIN; form++)
        for (int n = 1;; n++) {
            ms_mem_fail_at(n);
            int rc = write_rows(form, MSIM_DTYPE_F32, 3, 7, NULL);
            ms_mem_fail_at(0);
            if (rc == 0) {
                assert_true(n > (has_names_file(form) ? 7 : 4));
                clean();
                break;
            }
            assert_int_equal(rc, -MSIM_E_MEMORY);
            assert_int_equal(files_in_folder(), 0);
        }
}

/* A file size limit stands for the full disk; the names are the larger file here. */
static void full_disk(void **state) {
    (void)state;
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (int form = MSIM_FORMAT_STRUCTURED; form <= MSIM_FORMAT_FBIN; form++)
        for (rlim_t limit = 0; limit <= 800000; limit += 400000) {
            msim_error e = {0};
            small = old;
            small.rlim_cur = limit;
            setrlimit(RLIMIT_FSIZE, &small);
            int rc = write_rows(form, MSIM_DTYPE_F32, 70000, 1, &e);
            setrlimit(RLIMIT_FSIZE, &old);
            assert_int_equal(rc, -MSIM_E_IO);
            assert_non_null(strstr(e.text, "cannot write"));
            assert_int_equal(files_in_folder(), 0);
        }
}

/* A folder where the names should go: found before anything is written. */
static void place_of_names_taken(void **state) {
    (void)state;
    msim_error e = {0};
    assert_int_equal(mkdir(names_path, 0700), 0);
    assert_int_equal(write_rows(MSIM_FORMAT_FBIN, MSIM_DTYPE_F32, 3, 7, &e), -MSIM_E_IO);
    assert_non_null(strstr(e.text, "a folder"));
    assert_int_equal(files_in_folder(), 1);
    assert_int_equal(write_rows(MSIM_FORMAT_PICKLED, MSIM_DTYPE_F32, 3, 7, &e), 0);
    rmdir(names_path);
    clean();
}

/* What is refused leaves the writer as it was: the rows that follow give the same bytes. */
static void refused_rows_leave_no_trace(void **state) {
    (void)state;
    const float good[2] = {1, 2}, bad[2] = {1, 70000};
    static char long_name[70000], first[4096];
    memset(long_name, 'x', sizeof long_name);
    for (int round = 0; round < 2; round++) {
        msim_corpus_layout layout = {.size = sizeof(msim_corpus_layout),
                                     .rows = 3,
                                     .dim = 2,
                                     .dtype = MSIM_DTYPE_F16,
                                     .format = MSIM_FORMAT_PICKLED};
        msim_corpus_writer *w;
        msim_error e = {0};
        assert_int_equal(msim_corpus_writer_open(path, &layout, &w, &e), 0);
        for (int i = 0; i < 3; i++) {
            if (round) assert_int_equal(msim_corpus_writer_add(w, "z", 1, bad, &e), -MSIM_E_LIMIT);
            if (round)
                assert_int_equal(msim_corpus_writer_add(w, long_name, sizeof long_name, good, &e),
                                 -MSIM_E_LIMIT);
            assert_int_equal(msim_corpus_writer_add(w, "z", 1, good, &e), 0);
        }
        assert_int_equal(msim_corpus_writer_finish(w, &e), 0);
        assert_int_equal(msim_corpus_writer_finish(w, &e), -MSIM_E_ARG);
        assert_int_equal(msim_corpus_writer_add(w, "z", 1, good, &e), -MSIM_E_LIMIT);
        msim_corpus_writer_close(w);
        char bytes[4096] = "";
        int fd = open(path, O_RDONLY);
        assert_true(read(fd, bytes, sizeof bytes) > 500);
        close(fd);
        if (round) assert_memory_equal(bytes, first, sizeof first);
        memcpy(first, bytes, sizeof first);
    }
    clean();
}

static void bad_layouts(void **state) {
    (void)state;
    const msim_corpus_layout bad[] = {
        {.rows = 1, .dim = 2, .format = 5},
        {.rows = 1, .dim = 2, .format = -1},
        {.rows = (int64_t)UINT32_MAX + 1, .dim = 2, .format = MSIM_FORMAT_FBIN},
        {.rows = UINT32_MAX / 8, .dim = 2, .format = MSIM_FORMAT_PICKLED},
        {.rows = 1, .dim = 2, .format = MSIM_FORMAT_PICKLED, .name_field = "a\tb"},
        {.rows = 1, .dim = 65537, .format = MSIM_FORMAT_FVECS}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        msim_corpus_writer *w;
        msim_error e = {0};
        assert_true(msim_corpus_writer_open(path, &bad[i], &w, &e) < 0);
        assert_true(!w && e.text[0]);
        assert_int_equal(files_in_folder(), 0);
    }
    /* A count of 19 digits still has its blanks. */
    msim_corpus_layout most = {.size = sizeof(msim_corpus_layout),
                               .rows = INT64_MAX,
                               .dim = 65536,
                               .format = MSIM_FORMAT_PLAIN};
    msim_corpus_writer *w;
    msim_error e = {0};
    assert_int_equal(msim_corpus_writer_open(path, &most, &w, &e), 0);
    assert_int_equal(msim_corpus_writer_finish(w, &e), -MSIM_E_ARG);
    msim_corpus_writer_close(w);
    assert_null(msim_format_name(5));
    assert_null(msim_format_name(-1));
    assert_string_equal(msim_format_name(MSIM_FORMAT_FBIN), "fbin");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(no_rows),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(place_of_names_taken),
        cmocka_unit_test(refused_rows_leave_no_trace),
        cmocka_unit_test(bad_layouts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
