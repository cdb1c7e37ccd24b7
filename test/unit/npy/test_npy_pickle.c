/* Pickled corpora: the files that NumPy 1.26 and 2.x write for three rows of two components, and
 * what they become when something in them is another thing. Every change is read from a block of
 * exactly its size, so that the sanitizer sees a step too far; nothing may crash, and what is
 * accepted must lie within the file. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "npy/view.h"
#include "support/hostile.h"
#include "support/test.h"

/* ("a", 1, 2), ("\u00e9", -3.5, 0.25), ("xxx", 0, -0) with fields midi_names and midi_embeddings,
 * f4. */
static const char protocol3[] = "k05VTVBZAQC2AHsnZGVzY3InOiBbKCdtaWRpX25hbWVzJywgJ3xPJyksICgnbWlkaV"
                                "9lbWJlZGRpbmdzJywgJzxmNCcsICgyLCkpXSwgJ2ZvcnRy"
                                "YW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDMsKSwgfSAgICAgICAgICAgICAgIC"
                                "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg"
                                "ICAgICAgICAgICAgICAgICAgICAgICAKgANjbnVtcHkuY29yZS5tdWx0aWFycmF5Cl"
                                "9yZWNvbnN0cnVjdApxAGNudW1weQpuZGFycmF5CnEBSwCF"
                                "cQJDAWJxA4dxBFJxBShLAUsDhXEGY251bXB5CmR0eXBlCnEHWAMAAABWMTZxCImIh3"
                                "EJUnEKKEsDWAEAAAB8cQtOWAoAAABtaWRpX25hbWVzcQxY"
                                "DwAAAG1pZGlfZW1iZWRkaW5nc3ENhnEOfXEPKGgMaAdYAgAAAE84cRCJiIdxEVJxEi"
                                "hLA2gLTk5OSv////9K/////0s/dHETYksAhnEUaA1oB1gC"
                                "AAAAVjhxFYmIh3EWUnEXKEsDaAtoB1gCAAAAZjRxGImIh3EZUnEaKEsDWAEAAAA8cR"
                                "tOTk5K/////0r/////SwB0cRxiSwKFcR2GcR5OTksISwRL"
                                "AHRxH2JLCIZxIHVLEEsBSxt0cSFiiV1xIihYAQAAAGFxI2gAaAFLAIVxJGgDh3ElUn"
                                "EmKEsBSwKFcSdoGolDCAAAgD8AAABAcSh0cSlihnEqWAIA"
                                "AADDqXEraABoAUsAhXEsaAOHcS1ScS4oSwFLAoVxL2gaiUMIAABgwAAAgD5xMHRxMW"
                                "KGcTJYAwAAAHh4eHEzaABoAUsAhXE0aAOHcTVScTYoSwFL"
                                "AoVxN2gaiUMIAAAAAAAAAIBxOHRxOWKGcTpldHE7Yi4=";

static const char protocol4[] =
    "k05VTVBZAQC2AHsnZGVzY3InOiBbKCdtaWRpX25hbWVzJywgJ3xPJyksICgnbWlkaV9lbWJlZGRpbmdzJywgJzxmNCcsIC"
    "gyLCkpXSwgJ2ZvcnRy"
    "YW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDMsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC"
    "AgICAgICAgICAgICAg"
    "ICAgICAgICAgICAgICAgICAgICAgICAKgASVqAEAAAAAAACMFm51bXB5Ll9jb3JlLm11bHRpYXJyYXmUjAxfcmVjb25zdH"
    "J1Y3SUk5SMBW51bXB5"
    "lIwHbmRhcnJheZSTlEsAhZRDAWKUh5RSlChLAUsDhZRoA4wFZHR5cGWUk5SMA1YxNpSJiIeUUpQoSwOMAXyUTowKbWlkaV"
    "9uYW1lc5SMD21pZGlf"
    "ZW1iZWRkaW5nc5SGlH2UKGgRaAyMAk84lImIh5RSlChLA2gQTk5OSv////9K/////0s/"
    "dJRiSwCGlGgSaAyMAlY4lImIh5RSlChLA2gQaAyMAmY0"
    "lImIh5RSlChLA4wBPJROTk5K/////0r/////"
    "SwB0lGJLAoWUhpROTksISwRLAHSUYksIhpR1SxBLAUsbdJRiiV2UKIwBYZRoAmgFSwCFlGgHh5RS"
    "lChLAUsChZRoH4lDCAAAgD8AAABAlHSUYoaUjALDqZRoAmgFSwCFlGgHh5RSlChLAUsChZRoH4lDCAAAYMAAAIA+"
    "lHSUYoaUjAN4eHiUaAJoBUsA"
    "hZRoB4eUUpQoSwFLAoWUaB+JQwgAAAAAAAAAgJR0lGKGlGV0lGIu";

typedef struct {
    unsigned char *bytes; /* owned */
    size_t n;
} file;

static file decoded(const char *text) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    file f = {.bytes = malloc(strlen(text))};
    unsigned bits = 0, have = 0;
    for (; *text && *text != '='; text++) {
        bits = bits << 6 | (unsigned)(strchr(digits, *text) - digits);
        have += 6;
        if (have < 8) continue;
        have -= 8;
        f.bytes[f.n++] = (unsigned char)(bits >> have);
    }
    return f;
}

/* Read from a block of exactly n bytes; checks that what is promised lies within, and frees all. */
static int reads(const unsigned char *bytes, size_t n, msim_error *err) {
    unsigned char *block = exact_copy(bytes, n);
    ms_npy_view view;
    int rc = ms_npy_view_init(block, n, "t.npy", &view, err);
    if (rc >= 0) {
        double sum = 0;
        for (int64_t i = 0; i < view.rows.n_rows; i++) {
            char name[8];
            const unsigned char *row = ms_rows_at(&view.rows, i);
            assert_true(row >= block &&
                        row + view.rows.dim * (int64_t)ms_dtype_bytes(view.rows.dtype) <=
                            block + n);
            for (int64_t j = 0; j < view.rows.dim * (int64_t)ms_dtype_bytes(view.rows.dtype); j++)
                sum += row[j];
            (void)ms_npy_view_name(&view, i, name, sizeof name);
        }
        assert_true(sum >= 0);
        ms_npy_view_free(&view);
    }
    free(block);
    return rc;
}

static void check_fixture(const char *text) {
    static const float values[3][2] = {{1, 2}, {-3.5f, 0.25f}, {0, -0.0f}};
    static const char *const names[] = {"a", "\xc3\xa9", "xxx"};
    file f = decoded(text);
    ms_npy_view view;
    msim_error e = {0};
    if (ms_npy_view_init(f.bytes, f.n, "t.npy", &view, &e) < 0) fail_msg("%s", e.text);
    assert_int_equal(view.format, MSIM_FORMAT_PICKLED);
    assert_int_equal(view.rows.n_rows, 3);
    assert_int_equal(view.rows.dim, 2);
    assert_int_equal(view.rows.dtype, MSIM_DTYPE_F32);
    assert_ptr_equal(view.rows.base, f.bytes); /* in place */
    for (int i = 0; i < 3; i++) {
        char name[8];
        assert_memory_equal(ms_rows_at(&view.rows, i), values[i], sizeof values[i]);
        assert_int_equal(ms_npy_view_name(&view, i, name, sizeof name), strlen(names[i]));
        assert_string_equal(name, names[i]);
    }
    ms_npy_view_free(&view);
    free(f.bytes);
}

static void both_protocols(void **state) {
    (void)state;
    check_fixture(protocol3);
    check_fixture(protocol4);
}

static void every_prefix_is_refused(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        file f = decoded(i ? protocol4 : protocol3);
        for (size_t n = 0; n < f.n; n++) {
            msim_error e = {0};
            assert_true(reads(f.bytes, n, &e) < 0);
            assert_true(e.text[0] && !strchr(e.text, '\n'));
        }
        assert_true(reads(f.bytes, f.n, NULL) >= 0);
        free(f.bytes);
    }
}

static void every_byte_changed(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        file f = decoded(i ? protocol4 : protocol3);
        for (size_t at = 0; at < f.n; at++)
            for (int v = 0; v < 256; v += at < 192 ? 51 : 1) {
                unsigned char old = f.bytes[at];
                f.bytes[at] = (unsigned char)v;
                (void)reads(f.bytes, f.n, NULL);
                f.bytes[at] = old;
            }
        free(f.bytes);
    }
}

#define B(s) s, sizeof(s) - 1

/* The fixture of a protocol with one place replaced (the first that fits, from the pickle on unless
 * it lies in the header). */
typedef struct {
    int protocol;
    const char *old;
    size_t n_old;
    const char *new;
    size_t n_new;
    const char *says; /* of the error; NULL: it is read */
} change;

static file changed(const change *c) {
    file f = decoded(c->protocol == 4 ? protocol4 : protocol3), out;
    unsigned char *at = memmem(f.bytes, f.n, c->old, c->n_old),
                  *frame = memmem(f.bytes, f.n, "\x80\4\x95", 3);
    if (!at) fail_msg("nothing to replace for: %s", c->says);
    if (frame && frame != at)
        memset(frame + 3, 0, 8); /* its length would be another; nothing
                                                        * depends on it */
    size_t before = (size_t)(at - f.bytes);
    out.n = f.n - c->n_old + c->n_new;
    out.bytes = malloc(out.n);
    memcpy(out.bytes, f.bytes, before);
    memcpy(out.bytes + before, c->new, c->n_new);
    memcpy(out.bytes + before + c->n_new, at + c->n_old, f.n - before - c->n_old);
    free(f.bytes);
    return out;
}

#define FRAME "\x80\x04\x95\xa8\x01\0\0\0\0\0\0"
#define NAME_A \
    "\x8c\1a\x94" /* of row 0, in protocol 4: its slot is 40,
                                                         * as the next of row 1 is 48 */
#define NAME_E "\x8c\2\xc3\xa9\x94"
#define DATA_A "C\x8\0\0\x80\x3f\0\0\0\x40"
#define FIVE(s) s s s s s

static const change changes[] = {
    /* The header says something else. */
    {3, B("(3,)"), B("(2,)"), "rows: there are more than 2, as the header says"},
    {3, B("(3,)"), B("(4,)"), "array: its shape is not (4,), as the header says"},
    {3, B("K\3\x85q\6"), B("K\4\x85q\6"), "array: its shape is not (3,), as the header says"},
    {3, B("(2,))]"), B("(3,))]"), "type: the vectors do not have 3 components, as the header says"},
    {3, B("'<f4'"), B("'<f2'"), "type '<f2'"},
    {3, B("'<f4'"), B("'<f8'"), "type '<f8'"},
    {3, B("'<f4'"), B("'<i4'"), "the Python objects in this array are not records"},
    {3, B("'midi_names'"), B("'mini_names'"),
     "type: there is no field 'mini_names' where the header has it"},
    {3, B("'shape': (3,)"), B("'shape': (99999999999999,)"), "cut short"},
    {3, B("(3,), }             "), B("(3, 1), }           "),
     "the Python objects in this array are not records"},
    /* Protocols. */
    {3, B("\x80\3cnumpy"), B("\x80\2cnumpy"), "got protocol 2"},
    {4, B("\x80\4\x95"), B("\x80\5\x95"), "numpy.save"},
    {3, B("\x80\3cnumpy"), B("\x80\6cnumpy"), "protocol: expected"},
    {3, B("\x80\3cnumpy"), B("cnumpy"), "a protocol header"},
    {4, B(FRAME), B("\x80\4\x95\xa8\xff\0\0\0\0\0\0"), "a frame of 65448 bytes"},
    {4, B(FRAME), B("\x80\4\x95\xff\xff\xff\xff\xff\xff\xff\xff"), "truncated"},
    /* Globals and calls. */
    {3, B("cnumpy\nndarray\n"), B("cos\nsystem\n"), "the global os.system is not allowed"},
    {3, B("cnumpy\nndarray\n"), B("cnumpy\ndtype\n"),
     "array: its arguments are not numpy.ndarray, (0,) and bytes"},
    {3, B("cnumpy\nndarray\n"), B("cnumpy\nndarray"), "the global numpy.ndarrayq"},
    {4, B("\x8c\7ndarray\x94"), B("\x8c\7memmap_\x94"), "the global numpy.memmap_ is not allowed"},
    {3, B("K\0\x85q\2"), B("K\1\x85q\2"),
     "array: its arguments are not numpy.ndarray, (0,) and bytes"},
    {3, B("X\3\0\0\0V16q"), B("X\3\0\0\0U16q"), "got 'U16'"},
    /* informative: the parts count */
    {3, B("X\2\0\0\0V8q"), B("X\x9\0\0\0V99999999q"), NULL},
    {3, B("X\2\0\0\0V8q"), B("X\xe\0\0\0V9999999999999q"), "the code of a NumPy type"},
    {3, B("X\2\0\0\0f4q"), B("X\2\0\0\0f8q"), "type '<f4'"},
    {3, B("X\1\0\0\0<q"), B("X\1\0\0\0>q"), "type '<f4'"},
    {3, B("K\2\x85q\x1d"), B("K\3\x85q\x1d"),
     "type: the vectors do not have 2 components, as the header says"},
    {4, B("\x8c\2O8\x94"), B("\x8c\2f8\x94"),
     "type: the fields are not one of objects and one of vectors"},
    {4, B("K\x8\x86\x94u"), B("K\7\x86\x94u"),
     "type: there is no field 'midi_embeddings' where the header has it"},
    {3, B("\x89]q"), B("\x88]q"), "row-major"},
    {3, B("\x89" DATA_A), B("\x88" DATA_A), "row-major"},
    {3, B("(K\1K\2\x85"), B("(K\2K\2\x85"),
     "array: its state is not version 1, shape, type, order and data"},
    {3, B("(K\1K\2\x85"), B("(K\1K\3\x85"), "array: its shape is not (2,), as the header says"},
    /* Rows. */
    {3, B(DATA_A), B("C\x4\0\0\x80\x3f"), "expected 8 bytes of data, got bytes of 4"},
    {3, B(DATA_A), B("X\x8\0\0\0abcdefgh"), "expected 8 bytes of data, got a text"},
    {3, B(DATA_A), B("B\x8\0\0\0\0\0\x80\x3f\0\0\0\x40"), NULL},
    {3, B(DATA_A), B("B\xff\xff\xff\xff\0\0\x80\x3f\0\0\0\x40"),
     "truncated: expected 4294967295 bytes"},
    {3, B(DATA_A), B("\x8e\x8\0\0\0\0\0\0\0abcdefgh"),
     "protocol 3: the opcode 0x8e is not allowed"},
    {4, B(DATA_A), B("\x8e\x8\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\x40"), NULL},
    {4, B(DATA_A), B("\x8e\xff\xff\xff\xff\xff\xff\xff\xff\0\0\x80\x3f\0\0\0\x40"), "truncated"},
    {4, B(DATA_A), B("\x96\x8\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\x40"),
     "protocol 4: the opcode 0x96 is not allowed"},
    {4, B(NAME_A), B("X\1\0\0\0a\x94"), NULL},
    {4, B(NAME_A), B("\x8d\1\0\0\0\0\0\0\0a\x94"), NULL},
    {4, B(NAME_A), B("\x8d\1\0\0\0\0\0\0\1a\x94"), "text: expected at most 65536 bytes"},
    {4, B(NAME_A), B("X\1\0\1\0a\x94"), "text: expected at most 65536 bytes, got 65537 (row 0)"},
    {4, B(NAME_E), B("\x8c\2\xc3\x28\x94"), "text: it is not UTF-8 (row 1)"},
    {4, B(NAME_E), B("\x8c\3\xed\xb3\xbf\x94"), NULL},
    {4, B(NAME_A), B("\x95\0\0\0\0\0\0\0\0" NAME_A), NULL},
    {4, B(NAME_A), B("\x8c\1\x95\x95\0\0\0\0\0\0\0\0\x94"), "UTF-8"},
    /* a frame between any two opcodes */
    {4, B("\x8c\1a\x94h"), B("\x8c\1a\x95\0\0\0\0\0\0\0\0\x94h"), NULL},
    {4, B(NAME_A), B("N"), "expected a str for a name, got None (row 0)"},
    {4, B(NAME_A), B("K\1"), "expected a str for a name, got an integer"},
    {4, B(NAME_A), B("\x8c\x16numpy._core.multiarray\x8c\6scalar\x93N\x85R"),
     "name: it is a NumPy scalar, not a str"},
    {4, B(NAME_A), B("\x8c\x7pathlib\x8c\4Path\x93N\x85R"),
     "the global pathlib.Path is not allowed (row 0)"},
    /* the name of row 0 again */
    {4, B(NAME_E), B("h\x28"), NULL},
    {4, B(NAME_E), B("j\x28\0\0\0"), NULL},
    /* the field's name is a str too */
    {4, B(NAME_A), B("h\x11"), NULL},
    {4, B(NAME_A), B("h\x28"), "memo: slot 40 was never set (row 0)"},
    /* of the row itself */
    {4, B(NAME_A), B(NAME_A "h\x28"), "hold the name of an earlier row"},
    {4, B(NAME_E), B("h\x27"), "hold the name of an earlier row"}, /* the list */
    {4, B(NAME_E), B("h\x29"), "hold the name of an earlier row"},
    {4, B(NAME_E), B("h\x2f"), "hold the name of an earlier row"},
    {4, B(NAME_E), B("h\x30"), "memo: slot 48 was never set"},
    {4, B(NAME_E), B("j\xff\xff\xff\xff"), "memo: slot 4294967295 was never set"},
    {3, B("aq#"), B("aq$"), "memo: expected slot 35 next, got 36"},
    {3, B("aq#"), B("ar\xff\xff\xff\xff"), "memo: expected slot 35 next"},
    {3, B("aq#"), B("ar#\0\0\0"), NULL},
    {4, B("b\x86\x94" NAME_E), B("b\x85\x94" NAME_E), "(row 0)"},
    {4, B("b\x86\x94" NAME_E), B("bN\x87\x94" NAME_E), "(row 0)"},
    {4, B("b\x86\x94" NAME_E), B("b\x86\x85\x94" NAME_E), "row: it has a second array (row 1)"},
    {4, B(NAME_A "h\2"), B(NAME_A NAME_A "\x86h\2"), "expected an array for a vector, got a text"},
    {4, B(NAME_A "h\2"), B(NAME_A "h\2h\5K\0\x85h\7\x87Rh\2"), "row: it has a second array"},
    /* without its state */
    {4,
     B("t\x94"
       "b\x86\x94" NAME_E),
     B("t\x94\x86\x94" NAME_E), "(row 0)"},
    {4, B(NAME_A), B("]" NAME_A), "there is a second list"},
    {4, B(NAME_A), B("}" NAME_A), "(row 0)"},
    {4, B(NAME_A), B("." NAME_A), "STOP: expected one value"},
    {4, B(NAME_A), B("0" NAME_A), "protocol 4: the opcode 0x30 is not allowed"},
    {4, B(NAME_A), B("e" NAME_A), "expected a list to add to, got a record"},
    {4, B(NAME_A), B("(" NAME_A), "stack underflow"},
    {4, B(NAME_A), B(FIVE(FIVE(FIVE("("))) NAME_A), "nesting: there are more than 64 marks"},
    {4, B(NAME_A), B("N" FIVE(FIVE(FIVE("\x85"))) NAME_A), "nesting: it is deeper than 64"},
    {4,
     B("\x94"
       "et\x94"
       "b."),
     B("\x94"
       "Net\x94"
       "b."),
     "pairs of a name and a vector, got None"},
    {4,
     B("\x94"
       "et\x94"
       "b."),
     B("\x94"
       "t\x94"
       "b."),
     "state: only an array or a type may have one, not a list"},
    {4,
     B("t\x94"
       "b."),
     B("t\x94."), "STOP: expected one value"},
    {4,
     B("et\x94"
       "b."),
     B("et\x94"
       "b.."),
     "1 bytes follow the end of the pickle"},
    {4,
     B("et\x94"
       "b."),
     B("et\x94"
       "bN\x86."),
     "expected an array at the end, got a tuple"},
};

static void changes_are_told(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        file f = changed(&changes[i]);
        msim_error e = {0};
        int rc = reads(f.bytes, f.n, &e);
        if (!changes[i].says ? rc < 0 : rc >= 0 || !strstr(e.text, changes[i].says))
            fail_msg("change %zu: expected '%s', got %d: %s", i,
                     changes[i].says ? changes[i].says : "it is read", rc, e.text);
        if (rc < 0) assert_true(strstr(e.text, "t.npy") && !strchr(e.text, '\n'));
        free(f.bytes);
    }
}

static void names_of_changes(void **state) {
    (void)state;
    static const struct {
        change change;
        int64_t row;
        const char *name;
    } cases[] = {
        {{4, B(NAME_E), B("h\x28"), NULL}, 1, "a"},
        {{4, B("\x8c\3xxx\x94"), B("h\x30"), NULL}, 2, "\xc3\xa9"},
        {{4, B(NAME_A), B("h\x11"), NULL}, 0, "midi_names"},
        /* surrogateescape: the byte */
        {{4, B(NAME_E), B("\x8c\3\xed\xb3\xbf\x94"), NULL}, 1, "\xff"},
        {{4, B(NAME_E), B("\x8c\3\xed\xb2\x80\x94"), NULL}, 1, "\x80"},
        /* another surrogate stays */
        {{4, B(NAME_E), B("\x8c\3\xed\xb1\xbf\x94"), NULL}, 1, "\xed\xb1\xbf"},
        {{4, B(NAME_E), B("\x8c\0\x94"), NULL}, 1, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = changed(&cases[i].change);
        ms_npy_view view;
        msim_error e = {0};
        char name[32];
        if (ms_npy_view_init(f.bytes, f.n, "t.npy", &view, &e) < 0)
            fail_msg("case %zu: %s", i, e.text);
        assert_int_equal(ms_npy_view_name(&view, cases[i].row, name, sizeof name),
                         strlen(cases[i].name));
        assert_string_equal(name, cases[i].name);
        ms_npy_view_free(&view);
        free(f.bytes);
    }
}

/* A name of every length around the limit. */
static void long_names(void **state) {
    (void)state;
    for (uint32_t n = 65534; n <= 65537; n++) {
        char *name = malloc(n + 6);
        memcpy(name, "X", 1), memcpy(name + 1, &n, 4), memset(name + 5, 'n', n),
            name[n + 5] = '\x94';
        change c = {4, B(NAME_A), name, n + 6, NULL};
        file f = changed(&c);
        msim_error e = {0};
        assert_true((reads(f.bytes, f.n, &e) >= 0) == (n <= 65536));
        free(f.bytes);
        free(name);
    }
}

/* Thousands of rows that share names in turn: each slot is found again, whatever the runs are. */
static void shared_names(void **state) {
    (void)state;
    enum { N = 3000 };
    static const unsigned char middle[] =
        "h\2h\5K\0\x85\x94h\7\x87\x94R\x94(K\1K\2\x85\x94h\x1f\x89"
        "C\x8";
    static const unsigned char tail[] = "\x94t\x94"
                                        "b\x86\x94";
    file f = decoded(protocol4);
    unsigned char *at = memmem(f.bytes, f.n, NAME_A, 4),
                  *shape = memmem(f.bytes, f.n, "K\3\x85\x94", 4);
    size_t before = (size_t)(at - f.bytes);
    unsigned char *text = memmem(f.bytes, 128 + 64, "(3,), }", 7);
    memcpy(text, "(3000,), }", 10); /* over its blanks */
    file out = {.bytes = malloc(f.n + N * 128)};
    size_t head = (size_t)(shape - f.bytes);
    memcpy(out.bytes, f.bytes, head);
    memcpy(out.bytes + head, "M\xb8\x0b", 3); /* 3000 */
    memcpy(out.bytes + head + 3, shape + 2, before - head - 2);
    out.n = before + 1;
    unsigned char *frame = memmem(out.bytes, out.n, "\x80\4\x95", 3);
    memset(frame + 3, 0, 8); /* its length would be another */
    uint32_t slot = 40, slots[N], owner[N];
    for (uint32_t i = 0; i < N; i++) {
        unsigned char *p = out.bytes + out.n;
        bool is_new = i % 7 != 3 && i % 11 != 5 && (i < 2000 || i % 2);
        owner[i] = is_new ? i : owner[(i * 2654435761u) % i];
        slots[i] = slot;
        if (is_new)
            p += sprintf((char *)p, "\x8c\x08%08u\x94", i);
        else
            *p++ = 'j', memcpy(p, &slots[owner[i]], 4), p += 4;
        slot += is_new ? 8 : 7;
        memcpy(p, middle, sizeof middle - 1), p += sizeof middle - 1;
        memcpy(p, &(float[2]){(float)i, -(float)i}, 8), p += 8;
        memcpy(p, tail, sizeof tail - 1), p += sizeof tail - 1;
        out.n = (size_t)(p - out.bytes);
    }
    memcpy(out.bytes + out.n,
           "et\x94"
           "b.",
           5),
        out.n += 5;
    ms_npy_view view;
    msim_error e = {0};
    if (ms_npy_view_init(out.bytes, out.n, "t.npy", &view, &e) < 0) fail_msg("%s", e.text);
    for (uint32_t i = 0; i < N; i++) {
        char name[16], expected[16];
        snprintf(expected, sizeof expected, "%08u", owner[i]);
        assert_int_equal(ms_npy_view_name(&view, i, name, sizeof name), 8);
        assert_string_equal(name, expected);
        assert_memory_equal(ms_rows_at(&view.rows, i), (&(float[2]){(float)i, -(float)i}), 8);
    }
    ms_npy_view_free(&view);
    free(f.bytes);
    free(out.bytes);
}

static void out_of_memory(void **state) {
    (void)state;
    file f = decoded(protocol4);
    for (int n = 1;; n++) {
        msim_error e = {0};
        ms_mem_fail_at(n);
        int rc = reads(f.bytes, f.n, &e);
        ms_mem_fail_at(0);
        if (rc >= 0) {
            assert_true(n > 6);
            break;
        }
        assert_int_equal(rc, -MSIM_E_MEMORY);
        assert_int_equal(e.code, MSIM_E_MEMORY);
    }
    free(f.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_protocols),     cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(every_byte_changed), cmocka_unit_test(changes_are_told),
        cmocka_unit_test(names_of_changes),   cmocka_unit_test(long_names),
        cmocka_unit_test(shared_names),       cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
