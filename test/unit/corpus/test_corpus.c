/* The corpus reader and writer: what is written comes back, nothing half-written ever stands under
 * the name, and every failure (full disk, memory, misuse) is an error with the temporary file
 * gone. */
#define _GNU_SOURCE
#include "base/bf16.h"
#include "base/mem.h"
#include "midisim.h"
#include "corpus/corpus.h"
#include "support/files.h"
#include "support/test.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[128];

static int set_up(void **state) {
    if (folder_open(state) < 0) return -1;
    snprintf(path, sizeof path, "%s/c.npy", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder); /* fails when a temporary file was left behind */
}

static const char *const names[] = {"plain", "", "\xc3\xa9t\xc3\xa9", "not utf-8 \xff\xfe",
                                    "\xf0\x9f\x8e\xb5"};
enum { N = 5, D = 7 };

static float value(int row, int j) { return (float)(row * 10 + j) * 0.25f - 3.0f; }

/* Write the five rows; returns the first failure. */
static int write_corpus(int dtype, msim_error *err) {
    int64_t chars = 0;
    for (int i = 0; i < N; i++) {
        int64_t n = msim_name_chars(names[i], strlen(names[i]));
        if (n > chars) chars = n;
    }
    msim_corpus_layout layout = {.size = sizeof(msim_corpus_layout),
                                 .rows = N,
                                 .dim = D,
                                 .name_chars = chars,
                                 .dtype = dtype};
    msim_corpus_writer *w;
    int rc = msim_corpus_writer_open(path, &layout, &w, err);
    for (int i = 0; rc >= 0 && i < N; i++) {
        float row[D];
        for (int j = 0; j < D; j++) row[j] = value(i, j);
        rc = msim_corpus_writer_add(w, names[i], strlen(names[i]), row, err);
    }
    if (rc >= 0) rc = msim_corpus_writer_finish(w, err);
    msim_corpus_writer_close(w);
    return rc;
}

static void written_comes_back(void **state) {
    (void)state;
    for (int dtype = MSIM_DTYPE_F32; dtype <= MSIM_DTYPE_F16; dtype++) {
        msim_error e = {0};
        if (write_corpus(dtype, &e) < 0) fail_msg("%s", e.text);
        msim_corpus *corpus;
        assert_int_equal(msim_corpus_open(path, NULL, &corpus, &e), 0);
        msim_corpus_info info = {.size = sizeof info};
        assert_int_equal(msim_corpus_get_info(corpus, &info), 0);
        assert_int_equal(info.rows, N);
        assert_int_equal(info.dim, D);
        assert_int_equal(info.dtype, dtype);
        assert_int_equal(info.has_names, 1);
        assert_string_equal(info.format, "structured");
        assert_int_equal(msim_corpus_rows(corpus), N);
        int64_t allocations = ms_mem_count();
        for (int i = 0; i < N; i++) {
            char name[64];
            float row[D];
            assert_int_equal(msim_corpus_name(corpus, i, name, sizeof name), strlen(names[i]));
            assert_string_equal(name, names[i]);
            assert_int_equal(msim_corpus_vector(corpus, i, row, &e), 0);
            for (int j = 0; j < D; j++) assert_true(row[j] == value(i, j)); /* exact in f16 too */
        }
        assert_int_equal(ms_mem_count(), allocations);
        char cut[3];
        assert_int_equal(msim_corpus_name(corpus, 0, cut, sizeof cut), 5);
        assert_string_equal(cut, "pl");
        assert_int_equal(msim_corpus_name(corpus, N, cut, sizeof cut), -MSIM_E_ARG);
        assert_int_equal(msim_corpus_name(corpus, -1, cut, sizeof cut), -MSIM_E_ARG);
        assert_int_equal(msim_corpus_vector(corpus, N, NULL, &e), -MSIM_E_ARG);
        size_t n_views;
        const ms_rows *view = ms_corpus_views(corpus, &n_views);
        assert_int_equal(n_views, 1);
        /* the longest name has 12 characters */
        assert_int_equal(view->row_bytes, 12 * 4 + D * ms_dtype_bytes(dtype));
        msim_corpus_close(corpus);
        assert_int_equal(files_in_folder(), 1);
        struct stat st;
        mode_t mask = umask(0);
        umask(mask);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
    }
    msim_corpus_close(NULL);
    msim_corpus_writer_close(NULL);
}

static void incomplete_leaves_nothing(void **state) {
    (void)state;
    msim_error e;
    float row[D] = {0};
    unlink(path);
    msim_corpus_layout layout = {
        .size = sizeof(msim_corpus_layout), .rows = 2, .dim = D, .name_chars = 3};
    msim_corpus_writer *w;
    assert_int_equal(msim_corpus_writer_open(path, &layout, &w, &e), 0);
    assert_int_equal(files_in_folder(), 1);
    assert_int_equal(msim_corpus_writer_add(w, "ab", 2, row, &e), 0);
    assert_int_equal(msim_corpus_writer_add(w, "abcd", 4, row, &e), -MSIM_E_LIMIT);
    assert_int_equal(msim_corpus_writer_finish(w, &e), -MSIM_E_ARG);
    assert_non_null(strstr(e.text, "expected 2 rows, got 1"));
    assert_int_equal(msim_corpus_writer_add(w, "abc", 3, row, &e), 0);
    assert_int_equal(msim_corpus_writer_add(w, "abc", 3, row, &e), -MSIM_E_LIMIT);
    msim_corpus_writer_close(w);
    assert_int_equal(files_in_folder(), 0);
    /* Without rows and names it is a corpus all the same. */
    layout = (msim_corpus_layout){
        .size = sizeof(msim_corpus_layout), .rows = 0, .dim = D, .name_chars = 0};
    assert_int_equal(msim_corpus_writer_open(path, &layout, &w, &e), 0);
    assert_int_equal(msim_corpus_writer_finish(w, &e), 0);
    assert_int_equal(msim_corpus_writer_finish(w, &e), -MSIM_E_ARG);
    msim_corpus_writer_close(w);
    msim_corpus *corpus;
    assert_int_equal(msim_corpus_open(path, NULL, &corpus, &e), 0);
    assert_int_equal(msim_corpus_rows(corpus), 0);
    msim_corpus_close(corpus);
}

static void bad_layouts(void **state) {
    (void)state;
    const msim_corpus_layout good = {
        .size = sizeof(msim_corpus_layout), .rows = 1, .dim = D, .name_chars = 3};
    msim_corpus_layout bad[10];
    for (size_t i = 0; i < 10; i++) bad[i] = good;
    bad[0].rows = -1;
    bad[1].dim = 0;
    bad[2].dim = 1 << 20;
    bad[3].name_chars = -1;
    bad[4].name_chars = 1 << 20;
    bad[5].dtype = MSIM_DTYPE_F64;
    bad[6].name_field = "";
    bad[7].name_field = "midi_embeddings";
    bad[8].vector_field = "a\nb";
    bad[9].vector_field = "\xff";
    unlink(path);
    for (size_t i = 0; i < 10; i++) {
        msim_corpus_writer *w;
        msim_error e = {0};
        assert_true(msim_corpus_writer_open(path, &bad[i], &w, &e) < 0);
        assert_null(w);
        assert_true(e.code > 0 && e.text[0]);
        assert_int_equal(files_in_folder(), 0);
    }
    msim_corpus_writer *w;
    msim_error e = {0};
    assert_int_equal(msim_corpus_writer_open(folder, &good, &w, &e), -MSIM_E_IO);
    assert_non_null(strstr(e.text, "a folder"));
    assert_int_equal(msim_corpus_writer_open("/nonexistent/c.npy", &good, &w, &e), -MSIM_E_IO);
    assert_int_equal(msim_corpus_writer_open("/dev/full", &good, &w, &e), -MSIM_E_IO);
}

static void f16_range(void **state) {
    (void)state;
    const msim_corpus_layout layout = {
        .size = sizeof(msim_corpus_layout), .rows = 1, .dim = 2, .dtype = MSIM_DTYPE_F16};
    msim_corpus_writer *w;
    msim_error e = {0};
    assert_int_equal(msim_corpus_writer_open(path, &layout, &w, &e), 0);
    assert_int_equal(msim_corpus_writer_add(w, "", 0, (float[]){1.0f, 70000.0f}, &e),
                     -MSIM_E_LIMIT);
    assert_int_equal(msim_corpus_writer_add(w, "", 0, (float[]){1.0f, 65504.0f}, &e), 0);
    msim_corpus_writer_close(w);
}

/* A file size limit stands for the full disk: write fails partway in the same manner. */
static void full_disk(void **state) {
    (void)state;
    unlink(path);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t limit = 0; limit <= 3000000; limit += 1000000) {
        small = old;
        small.rlim_cur = limit;
        setrlimit(RLIMIT_FSIZE, &small);
        msim_corpus_layout layout = {
            .size = sizeof(msim_corpus_layout), .rows = 4000, .dim = 512, .name_chars = 3};
        msim_corpus_writer *w;
        msim_error e = {0};
        float row[512] = {0};
        int rc = msim_corpus_writer_open(path, &layout, &w, &e), first = 0;
        for (int i = 0; rc >= 0 && i < 4000; i++) {
            int added = msim_corpus_writer_add(w, "abc", 3, row, &e);
            if (added < 0 && !first) first = added;
            if (first) assert_int_equal(added, first); /* the failure sticks */
        }
        if (rc >= 0 && msim_corpus_writer_finish(w, &e) < 0) first = -e.code;
        msim_corpus_writer_close(w);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(first, -MSIM_E_IO);
        assert_non_null(strstr(e.text, "cannot write"));
        assert_int_equal(files_in_folder(), 0);
    }
}

static void out_of_memory(void **state) {
    (void)state;
    unlink(path);
    int failures = 0;
    for (int n = 1;; n++) {
        ms_mem_fail_at(n);
        int rc = write_corpus(MSIM_DTYPE_F32, NULL);
        ms_mem_fail_at(0);
        if (rc == 0) break;
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_int_equal(files_in_folder(), 0);
        failures++;
    }
    assert_true(failures >= 4);
    for (int n = 1;; n++) {
        msim_corpus *corpus = (msim_corpus *)path;
        ms_mem_fail_at(n);
        int rc = msim_corpus_open(path, NULL, &corpus, NULL);
        ms_mem_fail_at(0);
        if (rc == 0) {
            msim_corpus_close(corpus);
            assert_true(n >= 3);
            break;
        }
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_null(corpus);
    }
}

static void put_file(const char *where, const void *bytes, size_t n) {
    int fd = open(where, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

static void plain_rows_and_names_file(void **state) {
    (void)state;
    static const char head[] = "\x93NUMPY\x01\x00\x3d\x00"
                               "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2)}   \n";
    unsigned char bytes[10 + 0x3d + 48];
    const double values[6] = {1, -2, 1e-3, 1.0000000001, 1e300, 0};
    assert_int_equal(sizeof head - 1, 10 + 0x3d);
    memcpy(bytes, head, sizeof head - 1);
    memcpy(bytes + sizeof head - 1, values, sizeof values);
    put_file(path, bytes, sizeof bytes);
    msim_corpus *corpus;
    msim_error e = {0};
    char name[32], names_path[140];
    float row[2];
    assert_int_equal(msim_corpus_open(path, NULL, &corpus, &e), 0);
    assert_int_equal(msim_corpus_name(corpus, 2, name, sizeof name), 1);
    assert_string_equal(name, "2");
    assert_int_equal(msim_corpus_vector(corpus, 1, row, &e), 0);
    assert_true(row[0] == 1e-3f && row[1] == 1.0f);
    msim_corpus_close(corpus);
    snprintf(names_path, sizeof names_path, "%s/names", folder);
    put_file(names_path, "one\ntwo\nthree\n", 14);
    assert_int_equal(msim_corpus_open(path, names_path, &corpus, &e), 0);
    assert_int_equal(msim_corpus_name(corpus, 2, name, sizeof name), 5);
    assert_string_equal(name, "three");
    msim_corpus_close(corpus);
    put_file(names_path, "one\ntwo\n", 8);
    assert_int_equal(msim_corpus_open(path, names_path, &corpus, &e), -MSIM_E_FORMAT);
    assert_null(corpus);
    assert_non_null(strstr(e.text, "expected 3 lines"));
    assert_int_equal(write_corpus(MSIM_DTYPE_F32, &e), 0);
    assert_int_equal(msim_corpus_open(path, names_path, &corpus, &e), -MSIM_E_ARG);
    unlink(names_path);
    assert_int_equal(msim_corpus_open(path, names_path, &corpus, &e), -MSIM_E_ARG);
    snprintf(names_path, sizeof names_path, "%s/none.npy", folder);
    assert_int_equal(msim_corpus_open(names_path, NULL, &corpus, &e), -MSIM_E_IO);
    assert_null(corpus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_comes_back),
        cmocka_unit_test(incomplete_leaves_nothing),
        cmocka_unit_test(bad_layouts),
        cmocka_unit_test(f16_range),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(plain_rows_and_names_file),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
