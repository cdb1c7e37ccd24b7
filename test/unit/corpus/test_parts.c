/* Corpora of several files: shards in a folder, files of every mapped form, names beside them, rows
 * numbered through; bare forms (.fvecs, .fbin) to the byte; what does not fit together is
 * refused. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "midisim.h"
#include "corpus/corpus.h"
#include "support/files.h"
#include "support/test.h"
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

enum { D = 5 };
/* Component j of row i of the whole: distinct everywhere, exact in f16. */
static float value(int i, int j) { return (float)(i * 8 + j) * 0.25f; }

static void put(const char *name, const void *bytes, size_t n) {
    write_file(in_folder(name), bytes, n);
}

/* Rows first .. first + n - 1 in each form; d components. */
static void put_fvecs(const char *name, int first, int n, int32_t d) {
    unsigned char bytes[4096], *p = bytes;
    for (int i = first; i < first + n; i++) {
        memcpy(p, &d, 4), p += 4;
        for (int j = 0; j < d; j++, p += 4) memcpy(p, &(float){value(i, j)}, 4);
    }
    put(name, bytes, (size_t)(p - bytes));
}

static void put_fbin(const char *name, int first, int n, int32_t d) {
    unsigned char bytes[4096], *p = bytes + 8;
    memcpy(bytes, &n, 4), memcpy(bytes + 4, &d, 4);
    for (int i = first; i < first + n; i++)
        for (int j = 0; j < d; j++, p += 4) memcpy(p, &(float){value(i, j)}, 4);
    put(name, bytes, (size_t)(p - bytes));
}

static void put_plain(const char *name, int first, int n, int32_t d) {
    unsigned char bytes[4096] = "\x93NUMPY\x01\x00\x76\x00", *p = bytes + 128;
    memset(bytes + 10, ' ', 118);
    int k = snprintf((char *)bytes + 10, 118,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", n, d);
    bytes[10 + k] = ' ';
    bytes[127] = '\n';
    for (int i = first; i < first + n; i++)
        for (int j = 0; j < d; j++, p += 4) memcpy(p, &(float){value(i, j)}, 4);
    put(name, bytes, (size_t)(p - bytes));
}

static void put_structured(const char *name, int first, int n, int dtype) {
    msim_corpus_layout layout = {
        .size = sizeof(msim_corpus_layout), .rows = n, .dim = D, .name_chars = 8, .dtype = dtype};
    msim_corpus_writer *w;
    msim_error e;
    assert_int_equal(msim_corpus_writer_open(in_folder(name), &layout, &w, &e), 0);
    for (int i = first; i < first + n; i++) {
        float row[D];
        char text[16];
        for (int j = 0; j < D; j++) row[j] = value(i, j);
        assert_int_equal(msim_corpus_writer_add(
                             w, text, (size_t)snprintf(text, sizeof text, "row %d", i), row, &e),
                         0);
    }
    assert_int_equal(msim_corpus_writer_finish(w, &e), 0);
    msim_corpus_writer_close(w);
}

static msim_corpus *opened(const char *path, const char *names) {
    msim_corpus *corpus;
    msim_error e = {0};
    if (msim_corpus_open(path, names, &corpus, &e) < 0) fail_msg("%s", e.text);
    return corpus;
}

static void check_rows(const msim_corpus *corpus, int first, int n) {
    assert_int_equal(msim_corpus_rows(corpus), n);
    for (int i = 0; i < n; i++) {
        float row[D];
        msim_error e = {0};
        if (msim_corpus_vector(corpus, i, row, &e) < 0) fail_msg("%s", e.text);
        for (int j = 0; j < D; j++)
            if (row[j] != value(first + i, j))
                fail_msg("row %d, component %d: got %g", i, j, (double)row[j]);
    }
    assert_int_equal(msim_corpus_vector(corpus, n, NULL, NULL), -MSIM_E_ARG);
}

static void check_name(const msim_corpus *corpus, int64_t row, const char *expected) {
    char name[64];
    assert_int_equal(msim_corpus_name(corpus, row, name, sizeof name), strlen(expected));
    assert_string_equal(name, expected);
}

static void check_info(const msim_corpus *corpus, const char *form, int64_t parts, int has_names) {
    msim_corpus_info info = {.size = sizeof info};
    assert_int_equal(msim_corpus_get_info(corpus, &info), 0);
    assert_string_equal(info.format, form);
    assert_int_equal(info.parts, parts);
    assert_int_equal(info.has_names, has_names);
    assert_int_equal(info.dim, D);
    assert_int_equal(info.rows, msim_corpus_rows(corpus));
    assert_int_equal(msim_corpus_parts(corpus), parts);
}

static void bare_forms(void **state) {
    (void)state;
    put_fvecs("a.fvecs", 3, 7, D);
    put_fbin("b.fbin", 3, 7, D);
    const char *const files[] = {"a.fvecs", "b.fbin"}, *const forms[] = {"fvecs", "fbin"};
    for (int i = 0; i < 2; i++) {
        msim_corpus *corpus = opened(in_folder(files[i]), NULL);
        check_info(corpus, forms[i], 1, 0);
        check_rows(corpus, 3, 7);
        check_name(corpus, 6, "6");
        size_t n_views;
        const ms_rows *view = ms_corpus_views(corpus, &n_views);
        assert_int_equal(n_views, 1);
        assert_int_equal(view->row_bytes, 4 * D + (i == 0 ? 4 : 0));
        assert_null(view->offsets);
        msim_corpus_close(corpus);
        char names[32];
        snprintf(names, sizeof names, "%s.names", files[i]);
        put(names, "p\nq\nr\ns\nt\nu\nv", 13);
        corpus = opened(in_folder(files[i]), NULL);
        check_info(corpus, forms[i], 1, 1);
        check_name(corpus, 6, "v");
        msim_corpus_close(corpus);
        put("other", "1\n2\n3\n4\n5\n6\nseven\n", 18);
        corpus = opened(in_folder(files[i]), in_folder("other")); /* the one that is given counts */
        check_name(corpus, 6, "seven");
        msim_corpus_close(corpus);
        put(names, "p\n", 2);
        msim_error e;
        assert_int_equal(msim_corpus_open(in_folder(files[i]), NULL, &corpus, &e), -MSIM_E_FORMAT);
        assert_non_null(strstr(e.text, "expected 7 lines"));
    }
}

static void bare_forms_damaged(void **state) {
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        {"x.fvecs", "\1\0\0", 3, "a count of 4 bytes"},
        {"x.fvecs", "\0\0\0\0", 4, "1..65536 components, got 0"},
        {"x.fvecs", "\xff\xff\xff\xff\0\0\0\0", 8, "got 4294967295"},
        {"x.fvecs", "\1\0\0\0\0\0\0\0\1\0\0\0", 12,
         "byte 8: expected rows of 8 bytes each, got a last one of 4"},
        {"x.fvecs", "\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 16,
         "byte 8: expected 1 components in row 1"},
        {"x.fbin", "\1\0\0\0\1\0\0", 7, "a head of 8 bytes"},
        {"x.fbin", "\1\0\0\0\1\0\0\0\0\0\0", 11, "expected 12 bytes for 1 x 1 components, got 11"},
        {"x.fbin", "\1\0\0\0\1\0\0\0\0\0\0\0\0", 13, "got 13"},
        {"x.fbin", "\1\0\0\0\0\0\0\0", 8, "1..65536 components, got 0"},
        {"x.fbin", "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "got 4294967295"},
        {"x.fbin", "\xff\xff\xff\xff\0\0\1\0", 8, "got 8"},
        {"x.npy", "\x80\5\x95", 3, "a raw pickle of protocol 5"},
        {"x.npy", "\x80\2]", 3, "numpy.save"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        msim_corpus *corpus;
        msim_error e = {0};
        put(cases[i].name, cases[i].bytes, cases[i].n);
        int rc = msim_corpus_open(in_folder(cases[i].name), NULL, &corpus, &e);
        if (rc >= 0 || !strstr(e.text, cases[i].says))
            fail_msg("case %zu: got %d: %s", i, rc, e.text);
    }
    put("empty.fvecs", "", 0);
    put("empty.fbin", "\0\0\0\0\5\0\0\0", 8);
    for (int i = 0; i < 2; i++) {
        msim_corpus *corpus = opened(in_folder(i ? "empty.fbin" : "empty.fvecs"), NULL);
        assert_int_equal(msim_corpus_rows(corpus), 0);
        msim_corpus_close(corpus);
    }
    /* A count that is wrong where opening did not look is found when the row is read. */
    unsigned char rows[4100 * 8];
    for (int i = 0; i < 4100; i++) memcpy(rows + 8 * i, "\1\0\0\0\0\0\x80\x3f", 8);
    rows[8 * 1] = 2;
    put("late.fvecs", rows, sizeof rows);
    msim_corpus *corpus = opened(in_folder("late.fvecs"), NULL);
    float x;
    msim_error e = {0};
    assert_int_equal(msim_corpus_vector(corpus, 0, &x, &e), 0);
    assert_int_equal(msim_corpus_vector(corpus, 1, &x, &e), -MSIM_E_FORMAT);
    assert_non_null(strstr(e.text, "row 1"));
    msim_corpus_close(corpus);
}

/* Shards of every mapped form: 4 + 0 + 3 + 6 + 2 rows. */
static void put_shards(void) {
    put_structured("s1.npy", 0, 4, MSIM_DTYPE_F32);
    put("s2.fvecs", "", 0);
    put_fbin("s3.fbin", 4, 3, D);
    put_fvecs("s4.fvecs", 7, 6, D);
    put_plain("s5.npy", 13, 2, D);
    put("s5.npy.names", "thirteen\nfourteen\n", 18);
}

static void folder_of_shards(void **state) {
    (void)state;
    put_shards();
    put("s1.npy.json", "{}", 2); /* beside it, not of it */
    put("s0.npy.part-17", "half", 4);
    put(".s0.npy", "hidden", 6);
    put("readme.txt", "", 0);
    assert_int_equal(mkdir(in_folder("s3.npy"), 0777), 0);
    char with_slash[80];
    snprintf(with_slash, sizeof with_slash, "%s/", folder);
    for (int i = 0; i < 2; i++) {
        msim_corpus *corpus = opened(i ? with_slash : folder, NULL);
        static const int64_t first[] = {0, 4, 4, 7, 13, 15};
        static const char *const names[] = {"s1.npy", "s2.fvecs", "s3.fbin", "s4.fvecs", "s5.npy"};
        check_info(corpus, "mixed", 5, 1);
        check_rows(corpus, 0, 15);
        for (int part = 0; part < 5; part++)
            assert_string_equal(msim_corpus_part_path(corpus, part), in_folder(names[part]));
        for (int part = 0; part < 6; part++)
            assert_int_equal(msim_corpus_part_first(corpus, part), first[part]);
        assert_null(msim_corpus_part_path(corpus, 5));
        assert_null(msim_corpus_part_path(corpus, -1));
        assert_int_equal(msim_corpus_part_first(corpus, 6), -MSIM_E_ARG);
        check_name(corpus, 3, "row 3");
        check_name(corpus, 4, "4"); /* the number in the whole */
        check_name(corpus, 12, "12");
        check_name(corpus, 13, "thirteen");
        msim_corpus_close(corpus);
    }
    assert_int_equal(mkdir(in_folder("none"), 0777), 0);
    msim_corpus *corpus;
    msim_error e;
    assert_int_equal(msim_corpus_open(in_folder("none"), NULL, &corpus, &e), -MSIM_E_FORMAT);
    assert_non_null(strstr(e.text, "no .npy, .fvecs or .fbin file"));
}

static void several_files(void **state) {
    (void)state;
    put_shards();
    const char *const paths[] = {in_folder("s5.npy"), in_folder("s3.fbin"), in_folder("s3.fbin")};
    msim_corpus *corpus;
    msim_error e = {0};
    if (msim_corpus_open_many(paths, 3, NULL, &corpus, &e) < 0) fail_msg("%s", e.text);
    check_info(corpus, "mixed", 3, 1);
    assert_int_equal(msim_corpus_rows(corpus), 8);
    for (int i = 0; i < 8; i++) {
        static const int rows[] = {13, 14, 4, 5, 6, 4, 5, 6};
        float row[D];
        assert_int_equal(msim_corpus_vector(corpus, i, row, &e), 0);
        assert_true(row[0] == value(rows[i], 0) && row[D - 1] == value(rows[i], D - 1));
    }
    msim_corpus_close(corpus);
    /* One names file for all rows, where no file has its own. */
    put("all", "a\nb\nc\nd\ne\nf\n", 12);
    if (msim_corpus_open_many(paths + 1, 2, in_folder("all"), &corpus, &e) < 0)
        fail_msg("%s", e.text);
    check_info(corpus, "fbin", 2, 1);
    check_name(corpus, 5, "f");
    msim_corpus_close(corpus);
    const char *const named[] = {in_folder("s3.fbin"), in_folder("s1.npy")};
    assert_int_equal(msim_corpus_open_many(named, 2, in_folder("all"), &corpus, &e), -MSIM_E_ARG);
    assert_int_equal(msim_corpus_open_many(paths + 1, 1, in_folder("all"), &corpus, &e),
                     -MSIM_E_FORMAT);
    put_fbin("wide.fbin", 0, 2, D + 1);
    const char *const widths[] = {in_folder("s3.fbin"), in_folder("wide.fbin")};
    assert_int_equal(msim_corpus_open_many(widths, 2, NULL, &corpus, &e), -MSIM_E_FORMAT);
    assert_non_null(strstr(e.text, "wide.fbin: expected rows of 5 components"));
    assert_int_equal(msim_corpus_open_many(NULL, 0, NULL, &corpus, &e), -MSIM_E_ARG);
    assert_null(corpus);
}

static void searches_as_one(void **state) {
    (void)state;
    put_shards();
    put_fbin("whole.fbin", 0, 15, D);
    msim_options options = msim_options_default();
    options.device = MSIM_DEVICE_CPU;
    int64_t rows[2][15];
    double scores[2][15];
    const float query[D] = {1, -0.5f, 0.25f, 2, -3};
    const char *const shards[] = {in_folder("s1.npy"), in_folder("s2.fvecs"), in_folder("s3.fbin"),
                                  in_folder("s4.fvecs")};
    char last[200];
    snprintf(last, sizeof last, "%s/s5.npy", folder);
    const char *const paths[] = {shards[0], shards[1], shards[2], shards[3], last};
    for (int i = 0; i < 2; i++) {
        msim_context *ctx;
        msim_corpus *corpus;
        msim_error e = {0};
        char whole[200];
        snprintf(whole, sizeof whole, "%s/whole.fbin", folder);
        if (i ? msim_corpus_open_many(paths, 5, NULL, &corpus, &e) < 0
              : msim_corpus_open(whole, NULL, &corpus, &e) < 0)
            fail_msg("%s", e.text);
        assert_int_equal(msim_context_open(NULL, &options, &ctx, &e), 0);
        assert_int_equal(msim_context_load_corpus(ctx, corpus, &e), 0);
        assert_int_equal(msim_context_search(ctx, query, 1, 15, rows[i], scores[i], &e), 15);
        msim_context_close(ctx);
        msim_corpus_close(corpus);
    }
    assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
    assert_memory_equal(scores[0], scores[1], sizeof scores[0]);
}

static void out_of_memory(void **state) {
    (void)state;
    put_shards();
    for (int n = 1;; n++) {
        msim_corpus *corpus;
        msim_error e = {0};
        ms_mem_fail_at(n);
        int rc = msim_corpus_open(folder, NULL, &corpus, &e);
        ms_mem_fail_at(0);
        if (rc >= 0) {
            msim_corpus_close(corpus);
            assert_true(n > 10);
            break;
        }
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_null(corpus);
        assert_int_equal(e.code, MSIM_E_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(bare_forms, folder_clean),
        cmocka_unit_test_teardown(bare_forms_damaged, folder_clean),
        cmocka_unit_test_teardown(folder_of_shards, folder_clean),
        cmocka_unit_test_teardown(several_files, folder_clean),
        cmocka_unit_test_teardown(searches_as_one, folder_clean),
        cmocka_unit_test_teardown(out_of_memory, folder_clean),
    };
    return cmocka_run_group_tests(tests, folder_open, folder_close);
}
