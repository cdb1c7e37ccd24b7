/* The pickle machine: what it reads, and a refusal for everything else. docs/FORMATS.md,
 * Checkpoints. */
#include "base/mem.h"
#include "pickle/pickle.h"
#include "support/test.h"

/* A policy that writes every event to a text. */
typedef struct {
    char log[600];
    size_t n;
} journal;

static void note(journal *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(journal *j, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(j->log + j->n, sizeof j->log - j->n, format, ap);
    va_end(ap);
    j->n += (size_t)n;
    if (j->n >= sizeof j->log) j->n = sizeof j->log - 1;
}

static void note_value(journal *j, const ms_pickle *p, ms_pickle_value v) {
    switch (v.tag) {
    case MS_PICKLE_NONE: note(j, "None"); break;
    case MS_PICKLE_BOOL: note(j, v.u.number ? "True" : "False"); break;
    case MS_PICKLE_INT: note(j, "%lld", (long long)v.u.number); break;
    case MS_PICKLE_TEXT: note(j, "'%.*s'", (int)v.n, v.u.text); break;
    case MS_PICKLE_GLOBAL: note(j, "global%u", v.n); break;
    case MS_PICKLE_LIST: note(j, "list%u", v.n); break;
    case MS_PICKLE_DICT: note(j, "dict%u", v.n); break;
    case MS_PICKLE_RECORD: note(j, "record%lld", (long long)v.u.number); break;
    default:
        note(j, "(");
        for (uint32_t i = 0; i < v.n; i++) {
            if (i) note(j, ",");
            note_value(j, p, ms_pickle_items(p, v)[i]);
        }
        note(j, ")");
    }
}

static int on_reduce(void *user, ms_pickle *p, uint32_t global, ms_pickle_value args,
                     ms_pickle_value *out) {
    note(user, "call%u", global);
    note_value(user, p, args);
    note(user, ";");
    if (global == 1) return ms_pickle_new_dict(p, 7, out);
    *out = (ms_pickle_value){.tag = MS_PICKLE_RECORD, .n = 1, .u.number = 42};
    return MSIM_OK;
}

static int on_build(void *user, ms_pickle *p, ms_pickle_value object, ms_pickle_value state) {
    note(user, "build ");
    note_value(user, p, object);
    note(user, " ");
    note_value(user, p, state);
    note(user, ";");
    return MSIM_OK;
}

static int on_persist(void *user, ms_pickle *p, ms_pickle_value id, ms_pickle_value *out) {
    note(user, "id");
    note_value(user, p, id);
    note(user, ";");
    *out = (ms_pickle_value){.tag = MS_PICKLE_RECORD, .n = 2, .u.number = 43};
    return MSIM_OK;
}

static int on_append(void *user, ms_pickle *p, ms_pickle_value list, ms_pickle_value item) {
    note(user, "list%u+", list.n);
    note_value(user, p, item);
    note(user, ";");
    return MSIM_OK;
}

static int on_set_item(void *user, ms_pickle *p, ms_pickle_value dict, ms_pickle_value key,
                       ms_pickle_value value) {
    note(user, "dict%u[", dict.n);
    note_value(user, p, key);
    note(user, "]=");
    note_value(user, p, value);
    note(user, ";");
    return MSIM_OK;
}

static const struct ms_pickle_global allowed[] = {{"m", "f"}, {"collections", "OrderedDict"}};
static const ms_pickle_policy policy = {.globals = allowed,
                                        .n_globals = 2,
                                        .max_bytes = (size_t)64 << 20,
                                        .reduce = on_reduce,
                                        .build = on_build,
                                        .persist = on_persist,
                                        .append = on_append,
                                        .set_item = on_set_item};

typedef struct {
    const char *bytes;
    size_t n;
    const char *expected;
} example;
#define EXAMPLE(bytes, expected) \
    { bytes, sizeof(bytes) - 1, expected }

static void reads_values(void **state) {
    (void)state;
    static const example good[] = {
        EXAMPLE("\x80\2N.", "None"),
        EXAMPLE("\x80\3\x88.", "True"),
        EXAMPLE("\x80\4\x89.", "False"),
        EXAMPLE("\x80\2K\xff.", "255"),
        EXAMPLE("\x80\2M\xe9\3.", "1001"),
        EXAMPLE("\x80\2J\xff\xff\xff\xff.", "-1"),
        EXAMPLE("\x80\2\x8a\0.", "0"),
        EXAMPLE("\x80\2\x8a\1\xff.", "-1"),
        EXAMPLE("\x80\2\x8a\5\0\0\0\x80\0.", "2147483648"),
        EXAMPLE("\x80\2\x8a\x08\0\0\0\0\0\0\0\x80.", "-9223372036854775808"),
        EXAMPLE("\x80\2X\2\0\0\0\xc3\xa9.", "'\xc3\xa9'"),
        /* a lone surrogate, as Python writes it */
        EXAMPLE("\x80\2X\3\0\0\0\xed\xa0\x80.", "'\xed\xa0\x80'"),
        EXAMPLE("\x80\4\x8c\1a.", "'a'"),
        EXAMPLE("\x80\2cm\nf\n.", "global0"),
        EXAMPLE("\x80\4\x8c\1m\x8c\1f\x93.", "global0"),
        EXAMPLE("\x80\4\x95\2\0\0\0\0\0\0\0N.", "None"),
        /* marks must pair: see refusals */
        EXAMPLE("\x80\2)K\1\x85K\1K\2\x86K\1K\2K\3\x87(K\1t(tt\x85.", NULL),
        EXAMPLE("\x80\2(K\1\x85)K\2K\3\x86t.", "tuple"),
        EXAMPLE("\x80\2]q\0(K\1K\2eK\3a.", "list0+1;list0+2;list0+3;list0"),
        EXAMPLE("\x80\2}q\0K\1K\2s(K\3K\4K\5K\6uh\0.", NULL),
        EXAMPLE("\x80\2}q\0K\1K\2s(K\3K\4K\5h\0u.", "dict0[1]=2;dict0[3]=4;dict0[5]=dict0;dict0"),
        EXAMPLE("\x80\2ccollections\nOrderedDict\n)R}b.", "call1();build dict0 dict1;dict0"),
        EXAMPLE("\x80\2cm\nf\n(K\1(K\2NttR.", "call0(1,(2,None));record42"),
        EXAMPLE("\x80\2(K\1K\2tQ.", "id(1,2);record43"),
        EXAMPLE("\x80\4K\7\x94h\0\x86.", "tuple"),
        EXAMPLE("\x80\2K\7r\0\0\0\0j\0\0\0\0\x86.", "tuple"),
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        journal j = {.n = 0};
        msim_error err = {0};
        ms_pickle_value top;
        int64_t n = ms_pickle_read((const unsigned char *)good[i].bytes, good[i].n, "x", &policy,
                                   &j, &top, &err);
        if (!good[i].expected) {
            assert_true(n < 0);
            continue;
        }
        if (n < 0) fail_msg("%zu: %s", i, err.text);
        assert_int_equal(n, good[i].n);
        if (top.tag == MS_PICKLE_TUPLE)
            note(&j, "tuple"); /* its items ended with the machine */
        else
            note_value(&j, NULL, top);
        assert_string_equal(j.log, good[i].expected);
    }
}

/* What follows STOP is the caller's. */
static void leaves_the_rest(void **state) {
    (void)state;
    journal j = {.n = 0};
    ms_pickle_value top;
    assert_int_equal(
        ms_pickle_read((const unsigned char *)"\x80\2N.more", 8, "x", &policy, &j, &top, NULL), 4);
}

static void expect_refusal(const char *bytes, size_t n, const ms_pickle_policy *with,
                           const char *expected) {
    journal j = {.n = 0};
    msim_error err = {0};
    ms_pickle_value top;
    int64_t rc = ms_pickle_read((const unsigned char *)bytes, n, "x", with, &j, &top, &err);
    if (rc != -MSIM_E_FORMAT)
        fail_msg("expected a refusal with '%s', got %lld", expected, (long long)rc);
    assert_int_equal(err.code, MSIM_E_FORMAT);
    if (!strstr(err.text, expected)) fail_msg("expected '%s' in '%s'", expected, err.text);
    assert_null(strchr(err.text, '\n'));
}

static void refuses(void **state) {
    (void)state;
    static const example bad[] = {
        EXAMPLE("", "protocol header"),
        EXAMPLE("N.", "protocol header"),
        EXAMPLE("\x80\1N.", "expected 2, 3 or 4, got 1"),
        EXAMPLE("\x80\5N.", "expected 2, 3 or 4, got 5"),
        EXAMPLE("\x80\2\x80\2N.", "protocol 2: the opcode 0x80 is not allowed"),
        EXAMPLE("\x80\2cposix\nsystem\n.", "the global posix.system is not allowed"),
        EXAMPLE("\x80\2c__builtin__\neval\n.", "the global __builtin__.eval is not allowed"),
        EXAMPLE("\x80\2cm\nfg\n.", "the global m.fg is not allowed"),
        EXAMPLE("\x80\4\x8c\5posix\x8c\6system\x93.", "the global posix.system is not allowed"),
        EXAMPLE("\x80\4K\1\x8c\1f\x93.", "expected two texts"),
        EXAMPLE("\x80\2cm\nf", "global: no line of at most 256 bytes ends here"),
        EXAMPLE("\x80\2\x8c\1a.", "protocol 2: the opcode 0x8c is not allowed"),
        EXAMPLE("\x80\2(cm\nf\nNoR.", "protocol 2: the opcode 0x6f is not allowed"),  /* OBJ */
        EXAMPLE("\x80\2(im\nf\n.", "protocol 2: the opcode 0x69 is not allowed"),     /* INST */
        EXAMPLE("\x80\2cm\nf\n)\x81.", "protocol 2: the opcode 0x81 is not allowed"), /* NEWOBJ */
        EXAMPLE("\x80\2\x82\1.", "protocol 2: the opcode 0x82 is not allowed"),       /* EXT1 */
        EXAMPLE("\x80\2Pabc\n.", "protocol 2: the opcode 0x50 is not allowed"),       /* PERSID */
        EXAMPLE("\x80\2S'a'\n.", "protocol 2: the opcode 0x53 is not allowed"),       /* STRING */
        EXAMPLE("\x80\2I1\n.", "protocol 2: the opcode 0x49 is not allowed"),         /* INT */
        EXAMPLE("\x80\2F1\n.", "protocol 2: the opcode 0x46 is not allowed"),         /* FLOAT */
        EXAMPLE("\x80\2G\0\0\0.", "truncated"),                                       /* BINFLOAT */
        EXAMPLE("\x80\3C\1a.", "protocol 3: the opcode 0x43 is not allowed"), /* SHORT_BINBYTES */
        EXAMPLE("\x80\2N0.", "protocol 2: the opcode 0x30 is not allowed"),   /* POP */
        EXAMPLE("\x80\2\x8b\1\0\0\0\1.", "protocol 2: the opcode 0x8b is not allowed"), /* LONG4 */
        EXAMPLE("\x80\2\x8a\x09\0\0\0\0\0\0\0\0\1.", "at most 8 bytes, got 9"),
        EXAMPLE("\x80\2K", "truncated"),
        EXAMPLE("\x80\2J\1\2", "truncated"),
        EXAMPLE("\x80\2N", "truncated: the bytes end before STOP"),
        EXAMPLE("\x80\2X\5\0\0\0abc.", "truncated"),
        EXAMPLE("\x80\2X\xff\xff\xff\xff.", "at most 65536"),
        EXAMPLE("\x80\2X\1\0\0\0\xff.", "text: it is not UTF-8"),
        EXAMPLE("\x80\2X\2\0\0\0\xc0\x80.", "text: it is not UTF-8"),
        EXAMPLE("\x80\2X\1\0\0\0\xc3.", "text: it is not UTF-8"),
        EXAMPLE("\x80\4\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "expected a frame"),
        EXAMPLE("\x80\2.", "one value on the stack, got 0"),
        EXAMPLE("\x80\2NN.", "one value on the stack, got 2"),
        EXAMPLE("\x80\2N(.", "1 marks"),
        EXAMPLE("\x80\2\x85.", "stack underflow"),
        EXAMPLE("\x80\2N(\x85.", "stack underflow"), /* not below a mark */
        EXAMPLE("\x80\2t.", "stack: there is no mark"),
        EXAMPLE("\x80\2}u.", "stack: there is no mark"),
        EXAMPLE("\x80\2(K\1K\2u.", "stack underflow"),
        EXAMPLE("\x80\2}(K\1u.", "dict items: there is a key without a value"),
        EXAMPLE("\x80\2](K\1K\2u.", "expected a dict to add to, got a list"),
        EXAMPLE("\x80\2K\1K\1a.", "expected a list to add to, got an integer"),
        EXAMPLE("\x80\2s.", "stack underflow"),
        EXAMPLE("\x80\2h\0.", "memo: slot 0 was never set"),
        EXAMPLE("\x80\2Nq\2h\1.", "memo: slot 1 was never set"),
        EXAMPLE("\x80\2j\xff\xff\xff\xff.", "memo: slot 4294967295 was never set"),
        EXAMPLE("\x80\2q\0.", "stack underflow"),
        EXAMPLE("\x80\2Nr\x3f\x42\x0f\0.", "expected slots in order"),
        EXAMPLE("\x80\2Nr\xff\xff\xff\xff.", "expected slots in order"),
        EXAMPLE("\x80\2N)R.", "expected an allowed global and a tuple"),
        EXAMPLE("\x80\2cm\nf\nNR.", "expected an allowed global and a tuple"),
        EXAMPLE("\x80\2R.", "stack underflow"),
        EXAMPLE("\x80\2Q.", "stack underflow"),
        EXAMPLE("\x80\2Nb.", "stack underflow"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_refusal(bad[i].bytes, bad[i].n, &policy, bad[i].expected);
    /* A policy without a callback refuses what would need it. */
    static const ms_pickle_policy nothing = {.max_bytes = 100};
    expect_refusal("\x80\2cm\nf\n.", 7, &nothing, "the global m.f is not allowed");
    expect_refusal("\x80\2]K\1a.", 7, &nothing, "a list may have no items here");
    expect_refusal("\x80\2}K\1K\1s.", 9, &nothing, "a dict may have no items here");
    expect_refusal("\x80\2NQ.", 5, &nothing, "persistent id: None may not be one here");
    expect_refusal("\x80\2}}b.", 6, &nothing, "no state");
}

/* Bombs: each limit, from a short program repeated. */
static void refuses_bombs(void **state) {
    (void)state;
    static char bytes[5000000];
    static const struct {
        const char *start, *unit;
        size_t n_unit, times;
        const char *expected;
    } bombs[] = {
        {")", "\x85", 1, 100, "nesting: it is deeper than 64"},
        {"", "(", 1, 100, "nesting: there are more than 64 marks"},
        {"", "N", 1, 1000001, "stack: there are more than 1000000 values"},
        {"", "]", 1, 1000001, "containers: there are more than 1000000"},
    };
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        size_t n = 2;
        memcpy(bytes, "\x80\2", 2);
        memcpy(bytes + n, bombs[i].start, strlen(bombs[i].start));
        n += strlen(bombs[i].start);
        for (size_t k = 0; k < bombs[i].times; k++, n += bombs[i].n_unit)
            memcpy(bytes + n, bombs[i].unit, bombs[i].n_unit);
        bytes[n++] = '.';
        expect_refusal(bytes, n, &policy, bombs[i].expected);
    }
    /* Lists in lists, by way of the memo: nothing on the stack grows. */
    size_t n = 4;
    memcpy(bytes, "\x80\2]\x71", 4);
    bytes[n++] = 0;
    for (int k = 0; k < 70; k++) {
        memcpy(bytes + n, "]q\1h\0aq\0", 8);
        n += 8;
    }
    expect_refusal(bytes, n, &policy, "nesting: it is deeper than 64");
    /* Many tuples: the table of their items has an end. */
    n = 2;
    for (int k = 0; k < 4001; k++) {
        bytes[n++] = '(';
        memset(bytes + n, 'N', 1000);
        n += 1000;
        bytes[n++] = 't';
    }
    expect_refusal(bytes, n, &policy, "tuples: there are more than 4000000 items");
    /* A pickle over the policy's size. */
    static const ms_pickle_policy small = {.max_bytes = 10};
    memcpy(bytes, "\x80\2NNNNNNNNNN.", 13);
    expect_refusal(bytes, 13, &small, "the pickle is longer than 10 bytes");
}

/* Self-containment ends at the nesting limit, not in a loop. */
static void survives_cycles(void **state) {
    (void)state;
    static const char cycle[] = "\x80\2]q\0h\0a.";
    journal j = {.n = 0};
    ms_pickle_value top;
    assert_true(ms_pickle_read((const unsigned char *)cycle, sizeof cycle - 1, "x", &policy, &j,
                               &top, NULL) > 0);
}

static void survives_no_memory(void **state) {
    (void)state;
    static const char program[] = "\x80\2}q\0(K\1K\1K\2\x86]cm\nf\n)Ru.";
    int fails = 0;
    for (int64_t at = 1; at < 50; at++) {
        journal j = {.n = 0};
        ms_pickle_value top;
        ms_mem_fail_at(at);
        int64_t rc = ms_pickle_read((const unsigned char *)program, sizeof program - 1, "x",
                                    &policy, &j, &top, NULL);
        ms_mem_fail_at(0);
        if (rc >= 0) break;
        assert_int_equal(rc, -MSIM_E_MEMORY);
        fails++;
    }
    assert_true(fails >= 4); /* stack, memo, tuples, containers */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_values),    cmocka_unit_test(leaves_the_rest),
        cmocka_unit_test(refuses),         cmocka_unit_test(refuses_bombs),
        cmocka_unit_test(survives_cycles), cmocka_unit_test(survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
