/* .npy headers and views: every form that is a corpus, and hostile headers, which must give an
 * error and nothing else (run under the sanitizers too). */
#define _GNU_SOURCE
#include "base/mem.h"
#include "npy/header.h"
#include "npy/view.h"
#include "support/hostile.h"
#include "support/test.h"

/* A file in memory: version, header text, data of n_data zero bytes. Exactly sized, so that the
 * sanitizer sees any read past its end. */
typedef struct {
    unsigned char *bytes;
    size_t n;
} file;

static file make(int version, const char *text, size_t n_data) {
    size_t n_text = strlen(text), start = version == 1 ? 10 : 12;
    file f = {.n = start + n_text + n_data};
    f.bytes = calloc(1, f.n);
    memcpy(f.bytes, "\x93NUMPY", 6);
    f.bytes[6] = (unsigned char)version;
    for (size_t i = 8; i < start; i++) f.bytes[i] = (unsigned char)(n_text >> 8 * (i - 8));
    memcpy(f.bytes + start, text, n_text);
    return f;
}

static int view_of(int version, const char *text, size_t n_data, ms_npy_view *view,
                   msim_error *err) {
    file f = make(version, text, n_data);
    int rc = ms_npy_view_init(f.bytes, f.n, "t.npy", view, err);
    if (rc >= 0) { /* every byte that the view promises must be there */
        const unsigned char *end = f.bytes + f.n;
        if (view->rows.n_rows > 0)
            assert_true(view->rows.base + (size_t)(view->rows.n_rows - 1) * view->rows.row_bytes +
                            (size_t)view->rows.dim * ms_dtype_bytes(view->rows.dtype) <=
                        end);
        view->rows.base = view->rows.base - (uintptr_t)f.bytes; /* as an offset: the file goes */
        if (view->name_kind) view->name_base = view->name_base - (uintptr_t)f.bytes;
    }
    free(f.bytes);
    return rc;
}

static void plain_forms(void **state) {
    (void)state;
    static const struct {
        int version;
        const char *text;
        int dtype;
    } cases[] = {
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }\n", MSIM_DTYPE_F32},
        {2, "{'shape': (3, 5), 'fortran_order': False, 'descr': '<f2'}   \n", MSIM_DTYPE_F16},
        {3, "{\"descr\":\"<f8\",\"fortran_order\":False,\"shape\":(3,5,),}\n", MSIM_DTYPE_F64},
        {1, "{'descr': '|V2', 'fortran_order': False, 'shape': (3L, 5L)}", MSIM_DTYPE_BF16},
        {1, " {\t'descr'\r:\n'<V2' ,'fortran_order' :False, 'shape':( 3 , 5 ) , } ",
         MSIM_DTYPE_BF16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ms_npy_view view;
        msim_error e = {0};
        size_t width = ms_dtype_bytes(cases[i].dtype);
        assert_int_equal(view_of(cases[i].version, cases[i].text, 15 * width, &view, &e), 0);
        assert_int_equal(view.rows.n_rows, 3);
        assert_int_equal(view.rows.dim, 5);
        assert_int_equal(view.rows.dtype, cases[i].dtype);
        assert_int_equal(view.rows.row_bytes, 5 * width);
        assert_int_equal(view.name_kind, 0);
        assert_int_equal((uintptr_t)view.rows.base,
                         (cases[i].version == 1 ? 10 : 12) + strlen(cases[i].text));
        assert_int_equal(view_of(cases[i].version, cases[i].text, 15 * width - 1, &view, &e),
                         -MSIM_E_FORMAT);
        assert_int_equal(view_of(cases[i].version, cases[i].text, 15 * width + 9, &view, &e), 0);
    }
}

static void record_forms(void **state) {
    (void)state;
    static const struct {
        const char *descr;
        size_t item, vector_at, name_at, name_width;
        char name_kind;
    } cases[] = {
        {"[('midi_names', '<U36'), ('midi_embeddings', '<f4', (5,))]", 164, 144, 0, 36, 'U'},
        {"[('midi_embeddings', '<f4', (5,)), ('midi_names', '|S3')]", 23, 0, 20, 3, 'S'},
        {"[('v', '<f4', (5,)), ('n', '<U1'), ]", 24, 0, 20, 1, 'U'},
        {"[('v', '<f4', (5,))]", 20, 0, 0, 0, 0},
        {"[('v', '<f4', 5), ('id', '>i8')]", 28, 0, 0, 0, 0},
        {"[('id', '<i8'), ('', '|V4'), (('a title', 'n'), '<U2'), ('', '|V4'), ('v', '<f4', (5,)),"
         " ('when', '<M8[ns]')]",
         52, 24, 12, 2, 'U'},
        {"[('sub', [('a', '<f4', (2, 3)), ('b', '|S1')], (2,)), ('other', '<U4'), ('midi_names', "
         "'<U1'),"
         " ('midi_embeddings', '<f4', (5,)), ('w', '<f4', (2,))]",
         98, 70, 66, 1, 'U'},
        {"[(\"it's\", '<U1'), ('\\x41\\u00e9\\'\\\\', '<f4', (5,))]", 24, 4, 0, 1, 'U'},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[600];
        ms_npy_view view;
        msim_error e = {0};
        snprintf(text, sizeof text, "{'descr': %s, 'fortran_order': False, 'shape': (2,), }\n",
                 cases[i].descr);
        size_t data = 10 + strlen(text);
        if (view_of(1, text, 2 * cases[i].item, &view, &e) < 0)
            fail_msg("%s: %s", cases[i].descr, e.text);
        assert_int_equal(view.rows.row_bytes, cases[i].item);
        assert_int_equal((uintptr_t)view.rows.base, data + cases[i].vector_at);
        assert_int_equal(view.rows.dim, 5);
        assert_int_equal(view.rows.n_rows, 2);
        assert_int_equal(view.name_kind, cases[i].name_kind);
        if (view.name_kind) {
            assert_int_equal((uintptr_t)view.name_base, data + cases[i].name_at);
            assert_int_equal(view.name_width, cases[i].name_width);
        }
        assert_int_equal(view_of(1, text, 2 * cases[i].item - 1, &view, &e), -MSIM_E_FORMAT);
    }
}

static void empty_arrays(void **state) {
    (void)state;
    ms_npy_view view;
    assert_int_equal(view_of(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 512), }\n",
                             0, &view, NULL),
                     0);
    assert_int_equal(view.rows.n_rows, 0);
    assert_int_equal(view.rows.dim, 512);
    assert_int_equal(
        view_of(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 0), }\n", 0, &view, NULL),
        0);
    static const char no_records[] =
        "{'descr': [('n','<U1'),('v','<f4',(3,))], 'fortran_order': False, 'shape': (0,)}";
    assert_int_equal(view_of(1, no_records, 0, &view, NULL), 0);
    assert_int_equal(view.rows.dim, 3);
    /* Column-major is the same thing with one row or one column. */
    assert_int_equal(
        view_of(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 4), }\n", 16, &view, NULL),
        0);
    assert_int_equal(
        view_of(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (4, 1), }\n", 16, &view, NULL),
        0);
}

#define PLAIN(shape) "{'descr': '<f4', 'fortran_order': False, 'shape': " shape ", }\n"
#define DESCR(descr) "{'descr': " descr ", 'fortran_order': False, 'shape': (1,), }\n"

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *says;
    } cases[] = {
        {PLAIN("(4611686018427387904, 4)"), MSIM_E_FORMAT, "2^64"},
        {PLAIN("(9223372036854775807, 1)"), MSIM_E_FORMAT, "2^64"},
        {PLAIN("(99999999999999999999999, 1)"), MSIM_E_FORMAT, "2^63"},
        {PLAIN("(1000000, 512)"), MSIM_E_FORMAT, "cut short"},
        {PLAIN("(-1, 4)"), MSIM_E_FORMAT, "non-negative"},
        {PLAIN("(4)"), MSIM_E_FORMAT, "comma"},
        {PLAIN("()"), MSIM_E_UNSUPPORTED, "2 axes"},
        {PLAIN("(2, 2, 4)"), MSIM_E_UNSUPPORTED, "2 axes"},
        {PLAIN("(1000000000000, 0)"), MSIM_E_UNSUPPORTED, "components"},
        {PLAIN("(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)"),
         MSIM_E_FORMAT, "32 axes"},
        {PLAIN("(1.5, 4)"), MSIM_E_FORMAT, "','"},
        {PLAIN("(True, 4)"), MSIM_E_FORMAT, "integer"},
        {PLAIN("[1, 4]"), MSIM_E_FORMAT, "tuple"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1, 4), }", MSIM_E_UNSUPPORTED,
         "big-endian"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", MSIM_E_UNSUPPORTED,
         "column-major"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 2), }", MSIM_E_FORMAT, "True or False"},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (1, 4), }", MSIM_E_UNSUPPORTED,
         "f4, f2, f8"},
        {"{'descr': '<f16', 'fortran_order': False, 'shape': (1, 4), }", MSIM_E_UNSUPPORTED,
         "f4, f2, f8"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1, 4), }", MSIM_E_UNSUPPORTED,
         "the Python objects in this array are not records"},
        {"{'descr': '<q4', 'fortran_order': False, 'shape': (1, 4), }", MSIM_E_FORMAT,
         "NumPy type"},
        {"{'descr': '<f', 'fortran_order': False, 'shape': (1, 4), }", MSIM_E_FORMAT, "NumPy type"},
        {"{'descr': '', 'fortran_order': False, 'shape': (1, 4), }", MSIM_E_FORMAT, "NumPy type"},
        {"{'descr': '<U99999999999999999999', 'fortran_order': False, 'shape': (1, 4), }",
         MSIM_E_FORMAT, "NumPy type"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), 'more': 1}", MSIM_E_FORMAT,
         "each once"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1, 4)}", MSIM_E_FORMAT,
         "each once"},
        {"{'descr': '<f4', 'fortran_order': False}", MSIM_E_FORMAT, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4)} x", MSIM_E_FORMAT, "blanks"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4)", MSIM_E_FORMAT,
         "end of the header"},
        {"{'descr': '<f4", MSIM_E_FORMAT, "closing quote"},
        {"{'descr': '<f4\\", MSIM_E_FORMAT, "end of the header"},
        {"{'descr': '\\q'", MSIM_E_FORMAT, "escape"},
        {"{'descr': '\\x4'", MSIM_E_FORMAT, "hexadecimal"},
        {"{'descr': '\\0'", MSIM_E_FORMAT, "escape"},
        {"{'descr': '\\U00110000'", MSIM_E_FORMAT, "escape"},
        {"{'descr': '\\N{BELL}'", MSIM_E_FORMAT, "escape"},
        {"__import__('os').system('true')", MSIM_E_FORMAT, "'{'"},
        {"", MSIM_E_FORMAT, "end of the header"},
        {DESCR("[('midi_names', '|O'), ('midi_embeddings', '<f4', (4,))]"), MSIM_E_FORMAT,
         "protocol header"},
        {DESCR("[('midi_names', '|O'), ('midi_embeddings', '<f4', (400,))]"), MSIM_E_FORMAT,
         "cut short"},
        {DESCR("[('midi_names', '|O'), ('midi_embeddings', '>f4', (4,))]"), MSIM_E_UNSUPPORTED,
         "big-endian"},
        {DESCR("[('midi_names', '|O'), ('midi_embeddings', '<f4', (4,)), ('id', '<i8')]"),
         MSIM_E_UNSUPPORTED, "the Python objects in this array are not records"},
        {DESCR("[('midi_embeddings', '<f4', (4,)), ('midi_names', '|O')]"), MSIM_E_UNSUPPORTED,
         "the Python objects in this array are not records"},
        {DESCR("[('n', '<U1'), ('s', [('o', '|O')]), ('v', '<f4', (4,))]"), MSIM_E_UNSUPPORTED,
         "the Python objects in this array are not records"},
        {DESCR("[('n', '<U1')]"), MSIM_E_UNSUPPORTED, "vectors"},
        {DESCR("[]"), MSIM_E_UNSUPPORTED, "vectors"},
        {DESCR("[('n', '<U1'), ('v', '<f4')]"), MSIM_E_UNSUPPORTED, "vectors"},
        {DESCR("[('n', '<U1'), ('v', '<f4', (2, 2))]"), MSIM_E_UNSUPPORTED, "vectors"},
        {DESCR("[('n', '<U1'), ('v', '<f4', (0,))]"), MSIM_E_UNSUPPORTED, "components"},
        {DESCR("[('n', '<U1'), ('v', '<f4', (100000,))]"), MSIM_E_FORMAT, "cut short"},
        {DESCR("[('a', '<U1'), ('b', '<U1'), ('v', '<f4', (1,))]"), MSIM_E_UNSUPPORTED,
         "'a' and 'b'"},
        {DESCR("[('n', '<U1'), ('v', '<f4', (1,)), ('w', '<f2', (1,))]"), MSIM_E_UNSUPPORTED,
         "'v' and 'w'"},
        {DESCR("[('n', '>U1'), ('v', '<f4', (1,))]"), MSIM_E_UNSUPPORTED, "big-endian"},
        {DESCR("[('v', '<f4', (1,)), ('v', '<f4', (1,))]"), MSIM_E_FORMAT, "twice"},
        {DESCR("[('v', '<f4', (4611686018427387904, 4))]"), MSIM_E_FORMAT,
         "the sub-array of a field does not fit in memory"},
        {DESCR("[('v', '<f4', (4611686018427387904,))]"), MSIM_E_FORMAT,
         "a record does not fit in memory"},
        {DESCR("[('a', '|V9000000000000000000'), ('v', '<f4', (4,))]"), MSIM_E_FORMAT,
         "NumPy type"},
        {DESCR("[('a', '|V2000000000000000000', (3,)), ('b', '|V2000000000000000000', (3,))]"),
         MSIM_E_FORMAT, "a record does not fit in memory"},
        {DESCR("[('v', '<f4' '<f4')]"), MSIM_E_FORMAT, "')'"},
        {DESCR("[(('a', 'b', 'c'), '<f4')]"), MSIM_E_FORMAT, "')'"},
        {DESCR("[('a', ('<f4', (2,)))]"), MSIM_E_FORMAT, "quoted"},
        {DESCR("{'names': ['a'], 'formats': ['<f4']}"), MSIM_E_FORMAT, "quoted"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int version = 1; version <= 3; version++) {
            ms_npy_view view;
            msim_error e = {0};
            int rc = view_of(version, cases[i].text, 64, &view, &e);
            if (rc != -cases[i].code || !strstr(e.text, cases[i].says))
                fail_msg("%s: got %d: %s", cases[i].text, rc, e.text);
        }
}

static void bombs(void **state) {
    (void)state;
    size_t n = 60000;
    char *text = calloc(1, n + 100);
    ms_npy_view view;
    msim_error e = {0};
    static const char *const repeated[] = {"[",         "(",  "[('a',[", "((",
                                           "{'descr':", "\\", "'",       "[('a','<f4',("};
    for (size_t i = 0; i < sizeof repeated / sizeof *repeated; i++) {
        strcpy(text, "{'descr': ");
        while (strlen(text) < n) strcat(text + strlen(text), repeated[i]);
        assert_int_equal(view_of(2, text, 0, &view, &e), -MSIM_E_FORMAT);
    }
    /* Thousands of fields: refused at a bound, not after taking memory for all. */
    strcpy(text, "{'descr': [");
    for (int i = 0; i < 3000; i++) sprintf(text + strlen(text), "('%d','<f4'),", i);
    strcat(text, "]}");
    assert_int_equal(view_of(2, text, 0, &view, &e), -MSIM_E_FORMAT);
    assert_non_null(strstr(e.text, "1024 fields"));
    free(text);
    /* A text longer than is looked at. */
    unsigned char huge[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', 2, 0, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(ms_npy_view_init(huge, 12, "t", &view, &e), -MSIM_E_LIMIT);
}

static void every_prefix_is_refused(void **state) {
    (void)state;
    static const char text[] =
        "{'descr': [(('t', 'n'), '<U3'), ('v\\x41', '<f4', (5,))], 'fortran_order': False, "
        "'shape': (2,), }\n";
    file f = make(1, text, 64);
    ms_npy_view view;
    assert_int_equal(ms_npy_view_init(f.bytes, f.n, "t", &view, NULL), 0);
    for (size_t n = 0; n < f.n; n++) {
        unsigned char *cut = exact_copy(f.bytes, n);
        assert_true(ms_npy_view_init(cut, n, "t", &view, NULL) < 0);
        free(cut);
    }
    /* Every byte changed to every value: any answer is right, but no crash. */
    for (size_t i = 6; i < f.n - 64; i++)
        for (int v = 0; v < 256; v++) {
            unsigned char old = f.bytes[i];
            f.bytes[i] = (unsigned char)v;
            (void)ms_npy_view_init(f.bytes, f.n, "t", &view, NULL);
            f.bytes[i] = old;
        }
    free(f.bytes);
}

static void written_as_numpy_writes(void **state) {
    (void)state;
    /* The bytes of NumPy 1.26 for this type and shape (2.x writes the same). */
    static const char expected[] =
        "\x93NUMPY\x01\x00\xb6\x00{'descr': [('midi_names', '<U36'), ('midi_embeddings', '<f4', "
        "(512,))], "
        "'fortran_order': False, 'shape': (3,), }"
        "                                                                     \n";
    unsigned char buf[4096];
    assert_int_equal(ms_npy_head_write(buf, sizeof buf, "midi_names", 36, "midi_embeddings", "<f4",
                                       512, 3, NULL),
                     192);
    assert_memory_equal(buf, expected, 192);
    for (size_t cap = 0; cap < 192; cap++)
        assert_int_equal(
            ms_npy_head_write(buf, cap, "midi_names", 36, "midi_embeddings", "<f4", 512, 3, NULL),
            -MSIM_E_LIMIT);
    /* Odd names come back as they went. */
    static const char *const names[] = {"it's",
                                        "\"q\"",
                                        "both ' and \"",
                                        "back\\slash",
                                        "\xc3\xa9\xe2\x82\xac",
                                        "\xf0\x9f\x8e\xb5"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ms_npy_head head;
        int64_t n = ms_npy_head_write(buf, sizeof buf, names[i], 1, "v", "<f2", 7, 12345, NULL);
        assert_true(n > 0 && n % 64 == 0);
        assert_int_equal(ms_npy_head_parse(buf, (size_t)n, "t", &head, NULL), 0);
        assert_int_equal(head.data_offset, n);
        assert_string_equal(head.fields[0].name, names[i]);
        assert_int_equal(head.shape[0], 12345);
        assert_int_equal(head.item_bytes, 4 + 14);
        ms_npy_head_free(&head);
    }
}

static void out_of_memory(void **state) {
    (void)state;
    file f = make(
        1,
        "{'descr': [('n', '<U3'), ('v', '<f4', (5,))], 'fortran_order': False, 'shape': (2,), }\n",
        64);
    ms_npy_view view;
    int failures = 0;
    for (int n = 1;; n++) {
        ms_mem_fail_at(n);
        int rc = ms_npy_view_init(f.bytes, f.n, "t", &view, NULL);
        ms_mem_fail_at(0);
        if (rc == 0) break;
        assert_int_equal(rc, -MSIM_E_MEMORY);
        failures++;
    }
    assert_true(failures > 0);
    free(f.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_forms),
        cmocka_unit_test(record_forms),
        cmocka_unit_test(empty_arrays),
        cmocka_unit_test(refused),
        cmocka_unit_test(bombs),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(written_as_numpy_writes),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
