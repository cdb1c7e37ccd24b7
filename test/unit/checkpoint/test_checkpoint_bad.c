/* Checkpoints that must be refused: each fault is planted alone and gives one line that names it.
 * Cut and damaged files are tried at every byte. Runs under the sanitizers too. docs/FORMATS.md,
 * Checkpoints. */
#define _GNU_SOURCE
#include "base/map.h"
#include "base/mem.h"
#include "checkpoint/stored.h"
#include "model/weights.h"
#include "support/test.h"
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#define DATA "test/data/checkpoints/"

/* ---- Bytes and files ------------------------------------------------------------------------- */

typedef struct {
    unsigned char data[300000];
    size_t n;
} bytes;

static char path[64]; /* the file that is tried: in memory, since there are thousands */
static int path_fd;

static int make_path(void **state) {
    (void)state;
    path_fd = memfd_create("checkpoint", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", path_fd);
    return path_fd < 0;
}

static int remove_path(void **state) {
    (void)state;
    return close(path_fd);
}

static void put(bytes *b, const void *data, size_t n) {
    assert_true(b->n + n <= sizeof b->data);
    if (n) memcpy(b->data + b->n, data, n);
    b->n += n;
}

static void put_le(bytes *b, uint64_t v, int n) {
    for (int i = 0; i < n; i++, v >>= 8) put(b, &(unsigned char){(unsigned char)v}, 1);
}

static void set_le(bytes *b, size_t at, uint64_t v, int n) {
    for (int i = 0; i < n; i++, v >>= 8) b->data[at + (size_t)i] = (unsigned char)v;
}

static void load_file(bytes *b, const char *name) {
    FILE *f = fopen(name, "rb");
    assert_non_null(f);
    b->n = fread(b->data, 1, sizeof b->data, f);
    fclose(f);
}

static void save_file(const void *data, size_t n) {
    assert_int_equal(ftruncate(path_fd, (off_t)n), 0);
    assert_int_equal(pwrite(path_fd, data, n, 0), n);
}

/* Open and load every tensor. */
static int try_stored(msim_error *err) {
    ms_stored s;
    int rc = ms_stored_open(path, &s, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < s.n_tensors && rc >= 0; i++) rc = ms_stored_load(&s, &s.tensors[i], err);
    ms_stored_close(&s);
    return rc;
}

static void check_refused(int rc, const msim_error *err, const char *expected) {
    if (rc >= 0) fail_msg("expected a refusal with '%s'", expected);
    assert_int_equal(err->code, -rc);
    assert_true(rc == -MSIM_E_FORMAT || rc == -MSIM_E_UNSUPPORTED);
    if (!strstr(err->text, expected)) fail_msg("expected '%s' in '%s'", expected, err->text);
    assert_null(strchr(err->text, '\n'));
}

static void refused(const bytes *b, const char *expected) {
    msim_error err = {0};
    save_file(b->data, b->n);
    check_refused(try_stored(&err), &err, expected);
}

static void accepted(const bytes *b) {
    msim_error err = {0};
    save_file(b->data, b->n);
    if (try_stored(&err) < 0) fail_msg("%s", err.text);
}

/* ---- Zip archives ---------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    const void *data;
    size_t n;
    int method, flags;
    uint32_t crc_error;
} member;

static void make_zip(bytes *b, const member *m, size_t n) {
    static bytes directory;
    b->n = directory.n = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t crc = (uint32_t)crc32(0, m[i].data, (uInt)m[i].n) ^ m[i].crc_error;
        size_t at = b->n, name = strlen(m[i].name);
        put(b, "PK\3\4\0\0\10\10\0\0\0\0\0\0", 14);
        put_le(b, 0, 12);
        put_le(b, name, 2);
        put_le(b, 0, 2);
        put(b, m[i].name, name);
        put(b, m[i].data, m[i].n);
        put(&directory, "PK\1\2\0\0\0\0", 8);
        put_le(&directory, 0x808 | (unsigned)m[i].flags, 2);
        put_le(&directory, (unsigned)m[i].method, 2);
        put_le(&directory, 0, 4);
        put_le(&directory, crc, 4);
        put_le(&directory, m[i].n, 4);
        put_le(&directory, m[i].n, 4);
        put_le(&directory, name, 2);
        put_le(&directory, 0, 12);
        put_le(&directory, at, 4);
        put(&directory, m[i].name, name);
    }
    size_t at = b->n;
    put(b, directory.data, directory.n);
    put(b, "PK\5\6\0\0\0\0", 8);
    put_le(b, n, 2);
    put_le(b, n, 2);
    put_le(b, directory.n, 4);
    put_le(b, at, 4);
    put_le(b, 0, 2);
}

/* A state dict of one tensor "w" of two f32, cut into parts for faults to be put between. */
#define HEAD "\x80\2ccollections\nOrderedDict\nq\0)Rq\1"
#define NAME "X\1\0\0\0w"
#define BUILD_TENSOR "ctorch._utils\n_rebuild_tensor_v2\nq\2("
#define STORAGE "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0\x30X\3\0\0\0cpuK\2tQ"
#define VIEW "K\0K\2\x85K\1\x85"
#define TAIL "\x89h\0)RtR"
#define TENSOR BUILD_TENSOR STORAGE VIEW TAIL
#define GOOD HEAD NAME TENSOR "s."

static const float two[2] = {1, 2};

static void make_pth(bytes *b, const char *pickle, size_t n) {
    const member m[] = {{.name = "a/data.pkl", .data = pickle, .n = n},
                        {.name = "a/data/0", .data = two, .n = 8},
                        {.name = "a/version", .data = "3\n", .n = 2}};
    make_zip(b, m, 3);
}

static bytes file;

static void refuses_archives(void **state) {
    (void)state;
    const member pickle = {.name = "a/data.pkl", .data = GOOD, .n = sizeof GOOD - 1};
    const member data = {.name = "a/data/0", .data = two, .n = 8};
    make_zip(&file, (member[]){pickle, data}, 2);
    accepted(&file);
    const struct {
        member m;
        const char *expected;
    } thirds[] = {
        {{.name = "a/x", .data = "", .n = 0, .method = 8}, "the member is compressed"},
        {{.name = "a/x", .data = "", .n = 0, .flags = 1}, "encrypted"},
        {{.name = "a/data/0", .data = "", .n = 0}, "two members have the same name"},
        {{.name = "b/x", .data = "", .n = 0}, "the archive has several top folders"},
        {{.name = "x", .data = "", .n = 0}, "the archive has several top folders"},
        {{.name = "a/../x", .data = "", .n = 0},
         "the name is not a relative path inside the archive"},
        {{.name = "/a/x", .data = "", .n = 0},
         "the name is not a relative path inside the archive"},
        {{.name = "a\\x", .data = "", .n = 0},
         "the name is not a relative path inside the archive"},
        {{.name = "", .data = "", .n = 0}, "the name is not a relative path inside the archive"},
        {{.name = "a/b/data.pkl", .data = "", .n = 0}, "the archive has several members data.pkl"},
        {{.name = "a/constants.pkl", .data = "", .n = 0}, "TorchScript"},
        {{.name = "a/code/x.py", .data = "", .n = 0}, "TorchScript"},
        {{.name = "a/byteorder", .data = "big", .n = 3}, "expected little, got big"},
        {{.name = "a/byteorder", .data = "little", .n = 6, .crc_error = 1}, "CRC-32"},
    };
    for (size_t i = 0; i < sizeof thirds / sizeof *thirds; i++) {
        make_zip(&file, (member[]){pickle, data, thirds[i].m}, 3);
        refused(&file, thirds[i].expected);
    }
    make_zip(&file,
             (member[]){pickle,
                        data,
                        {.name = "a/byteorder", .data = "little", .n = 6},
                        {.name = "a/x..y", .data = "?", .n = 1, .crc_error = 1}},
             4);
    accepted(&file); /* unknown members are not looked at */
    make_zip(&file, (member[]){data}, 1);
    refused(&file, "the archive has no member data.pkl");
    make_zip(&file, (member[]){{.name = "a/b/data.pkl", .data = GOOD, .n = sizeof GOOD - 1}}, 1);
    refused(&file, "in a top folder");
    make_zip(&file, (member[]){pickle}, 1);
    refused(&file, "the archive has no member data/0");
    make_zip(&file, (member[]){pickle, {.name = "a/data/0", .data = two, .n = 7}}, 2);
    refused(&file, "expected 8 bytes, got 7");
    make_zip(&file, (member[]){pickle, {.name = "a/data/0", .data = two, .n = 8, .crc_error = 1}},
             2);
    refused(&file, "CRC-32");
    member wrong = pickle;
    wrong.crc_error = 1;
    make_zip(&file, (member[]){wrong, data}, 2);
    refused(&file, "CRC-32");
    uint32_t crc = (uint32_t)crc32(0, (const void *)two, 8);
    make_zip(&file, (member[]){pickle, {.name = "a/data/0", .data = two, .n = 8, .crc_error = crc}},
             2);
    accepted(&file); /* a CRC of 0 stands for none */
}

/* Directory fields set to nonsense, at their places in the archive of one pickle and one
 * storage. */
static void refuses_directories(void **state) {
    (void)state;
    const member m[] = {{.name = "a/data.pkl", .data = GOOD, .n = sizeof GOOD - 1},
                        {.name = "a/data/0", .data = two, .n = 8}};
    make_zip(&file, m, 2);
    size_t end = file.n - 22, directory = end - 46 * 2 - 10 - 8, second = directory + 46 + 10;
    const struct {
        size_t at;
        uint64_t value;
        int n;
        const char *expected;
    } faults[] = {
        {end + 4, 1, 2, "the archive spans several disks"},
        {end + 10, 3, 2, "the archive spans several disks"}, /* unlike the entries on this disk */
        {end + 8, 0xffffffff, 4, "the directory has no room for its number of entries"},
        {end + 12, 0xffffffff, 4, "inside the file"},
        {end + 16, 0xfffffff0, 4, "inside the file"},
        {end + 16, directory - 1, 4, "directory entry"},
        {end + 20, 1, 2, "end record"},
        {directory, 0, 4, "directory entry"},
        {directory + 20, 7, 4, "a stored member has two different sizes"},
        {directory + 20, 0xffffffff, 4, "zip64 field"},
        {directory + 28, 0xffff, 2, "truncated"},
        {directory + 34, 1, 2, "the archive spans several disks"},
        {directory + 42, 0xfffffff0, 4, "local header"},
        {directory + 42, 1, 4, "local header"},
        {second + 42, 0, 4, "directory and local header give different names"},
        {26, 9, 2, "directory and local header give different names"},
        {28, 0xffff, 2, "before the directory"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        make_zip(&file, m, 2);
        set_le(&file, faults[i].at, faults[i].value, faults[i].n);
        refused(&file, faults[i].expected);
    }
    /* Sizes that agree with each other but not with the file. */
    make_zip(&file, m, 2);
    set_le(&file, second + 20, 0x7fffffff, 4);
    set_le(&file, second + 24, 0x7fffffff, 4);
    refused(&file, "before the directory");
    make_zip(&file, m, 2);
    set_le(&file, directory + 20, sizeof GOOD + 10, 4);
    set_le(&file, directory + 24, sizeof GOOD + 10, 4);
    refused(&file, "overlap");
    /* The zip64 records of the fixture. */
    static const struct {
        size_t from_end;
        uint64_t value;
        int n;
        const char *expected;
    } faults64[] = {{22 + 20 - 8, 0xffffffffffffffff, 8, "zip64 end record"},
                    {22 + 20 - 4, 1, 4, "the archive spans several disks"},
                    {22 + 20 + 56 - 48, 0xffffffffffff, 8, "agree"},
                    {22 + 20 + 56 - 32, 1, 8, "the archive spans several disks"},
                    {22 + 20 + 56 - 24, 1, 8, "the archive spans several disks"}};
    for (size_t i = 0; i < sizeof faults64 / sizeof *faults64; i++) {
        load_file(&file, DATA "fixture-zip.pth");
        set_le(&file, file.n - faults64[i].from_end, faults64[i].value, faults64[i].n);
        save_file(file.data, file.n);
        msim_error err = {0};
        int rc = try_stored(&err);
        assert_true(rc < 0);
    }
}

/* ---- The state dict -------------------------------------------------------------------------- */

#define P(text, expected) \
    { text, sizeof(text) - 1, expected }

static void refuses_pickles(void **state) {
    (void)state;
    static const struct {
        const char *pickle;
        size_t n;
        const char *expected;
    } cases[] = {
        P(GOOD, NULL),
        /* a plain dict */
        P("\x80\2}" NAME BUILD_TENSOR STORAGE VIEW "\x89"
          "ccollections\nOrderedDict\n)RtRs.",
          NULL),
        P("\x80\2N.", "expected a dict of tensors, got None"),
        P("\x80\2].", "expected a dict of tensors, got a list"),
        P(GOOD "x", "1 bytes follow STOP"),
        P("\x80\2cos\nsystem\n.", "the global os.system is not allowed"),
        P("\x80\2ctorch\nUntypedStorage\n.", "the global torch.UntypedStorage is not allowed"),
        P(HEAD NAME "K\1s.", "no tensors, neither in the dict nor in its members w"),
        P(HEAD NAME "h\0)Rs.", "no tensors, neither"),
        P(HEAD NAME STORAGE "s.", "no tensors, neither"),
        P(HEAD "K\1" TENSOR "s.", "a key is not a text"),
        P(HEAD "X\2\0\0\0w\0" TENSOR "s.", "a key is not a text"),
        P(HEAD "(" NAME TENSOR NAME TENSOR "u.", "the key w appears twice"),
        P("\x80\2ccollections\nOrderedDict\n(K\1tR.", "expected no arguments"),
        P("\x80\2ctorch\nFloatStorage\n)R.", "call: torch.FloatStorage is a class, not a function"),
        P(HEAD "K\1b.", "state: only an ordered dict may have one, not a dict"),
        P("\x80\2}}b.", "state: only an ordered dict may have one, not a dict"),
        /* persistent ids */
        P("\x80\2K\1Q.", "expected a tuple of 5, got an integer"),
        P("\x80\2)Q.", "expected a tuple of 5"),
        P("\x80\2(X\6\0\0\0moduleK\0K\0K\0K\0tQ.", "persistent id: this is not a storage"),
        P("\x80\2(X\7\0\0\0storageK\0K\0K\0K\0tQ.", "class, key, location"),
        P("\x80\2(X\7\0\0\0storageccollections\nOrderedDict\nX\1\0\0\0aX\1\0\0\0aK\0tQ.",
          "class, key, location"),
        P("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\1\0\0\0aJ\xff\xff\xff\xfftQ.",
          "class, key, location"),
        P("\x80\2("
          "X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\1\0\0\0a\x8a\x08\0\0\0\0\0\0\0\x40tQ.",
          "storage: 4611686018427387904 elements do not fit in memory"),
        P("\x80\2(X\7\0\0\0storagectorch\nFloatStorage\nX\0\0\0\0X\1\0\0\0aK\0tQ.",
          "class, key, location"),
        P(HEAD "(" NAME TENSOR
               "X\1\0\0\0v(X\7\0\0\0storagectorch\nHalfStorage\nX\1\0\0\0\x30X\3\0\0\0cpuK\2tQu.",
          "as before"),
        P(HEAD "(" NAME TENSOR
               "X\1\0\0\0v(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0\x30X\3\0\0\0cpuK\3tQu.",
          "as before"),
        /* views */
        P(HEAD NAME BUILD_TENSOR STORAGE VIEW "\x89tRs.", "6 or 7 arguments, got 5"),
        P(HEAD NAME BUILD_TENSOR "K\0" VIEW TAIL "s.",
          "tensor: its arguments are not storage, offset, size, stride, flag and no hooks"),
        P(HEAD NAME BUILD_TENSOR STORAGE VIEW "K\0h\0)RtRs.",
          "tensor: its arguments are not storage, offset, size, stride, flag and no hooks"),
        P(HEAD NAME BUILD_TENSOR STORAGE VIEW "\x89}tRs.",
          "tensor: its arguments are not storage, offset, size, stride, flag and no hooks"),
        P(HEAD NAME BUILD_TENSOR STORAGE VIEW "\x89h\0)RK\1K\1stRs.",
          "tensor: its arguments are not storage, offset, size, stride, flag and no hooks"),
        P(HEAD NAME BUILD_TENSOR STORAGE VIEW "\x89h\0)R}tRs.", NULL),
        P(HEAD NAME BUILD_TENSOR STORAGE VIEW "\x89h\0)RNtRs.", NULL),
        P(HEAD NAME BUILD_TENSOR STORAGE VIEW "\x89h\0)RK\1tRs.",
          "tensor: metadata (an integer) are not supported"),
        P(HEAD NAME BUILD_TENSOR STORAGE VIEW "\x89h\0)R}K\1K\1stRs.",
          "tensor: metadata (a dict) are not supported"),
        P(HEAD NAME BUILD_TENSOR STORAGE "K\1K\2\x85K\1\x85" TAIL "s.",
          "tensor: it reaches beyond its storage of 2 elements"),
        P(HEAD NAME BUILD_TENSOR STORAGE "K\0K\3\x85K\1\x85" TAIL "s.",
          "tensor: it reaches beyond its storage of 2 elements"),
        P(HEAD NAME BUILD_TENSOR STORAGE "K\0K\2\x85K\2\x85" TAIL "s.",
          "tensor: it reaches beyond its storage of 2 elements"),
        P(HEAD NAME BUILD_TENSOR STORAGE "K\2))" TAIL "s.",
          "tensor: it reaches beyond its storage of 2 elements"),
        P(HEAD NAME BUILD_TENSOR STORAGE "K\3K\0\x85K\1\x85" TAIL "s.",
          "tensor: it reaches beyond its storage of 2 elements"),
        P(HEAD NAME BUILD_TENSOR STORAGE "K\2K\0\x85K\1\x85" TAIL "s.", NULL),   /* no elements */
        P(HEAD NAME BUILD_TENSOR STORAGE "K\1))" TAIL "s.", NULL),               /* a scalar */
        P(HEAD NAME BUILD_TENSOR STORAGE "K\0M\0\1\x85K\0\x85" TAIL "s.", NULL), /* broadcast */
        P(HEAD NAME BUILD_TENSOR STORAGE "K\0\x8a\5\0\0\0\0\1\x85K\0\x85" TAIL "s.",
          "the views of this file take more than 1050424 bytes"),
        P(HEAD NAME BUILD_TENSOR STORAGE
          "K\0\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85K\0\x85" TAIL "s.",
          "tensor: it reaches beyond its storage of 2 elements"),
        P(HEAD NAME BUILD_TENSOR STORAGE
          "K\0K\2\x85\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85" TAIL "s.",
          "tensor: it reaches beyond its storage of 2 elements"),
        P(HEAD NAME BUILD_TENSOR STORAGE
          "K\0K\3\x85\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85" TAIL "s.",
          "tensor: it reaches beyond its storage of 2 elements"),
        P(HEAD NAME BUILD_TENSOR STORAGE "J\xff\xff\xff\xffK\2\x85K\1\x85" TAIL "s.",
          "tensor: its arguments are not storage, offset, size, stride, flag and no hooks"),
        P(HEAD NAME BUILD_TENSOR STORAGE "K\0J\xff\xff\xff\xff\x85K\1\x85" TAIL "s.",
          "a negative one"),
        P(HEAD NAME BUILD_TENSOR STORAGE "K\0K\2\x85J\xff\xff\xff\xff\x85" TAIL "s.",
          "a negative one"),
        P(HEAD NAME BUILD_TENSOR STORAGE "K\0N\x85K\1\x85" TAIL "s.", "got None"),
        P(HEAD NAME BUILD_TENSOR STORAGE "K\0K\2\x85)" TAIL "s.", "as many sizes as strides"),
        P(HEAD NAME BUILD_TENSOR STORAGE
          "K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t(K\1K\1K\1K\1K\1K\1K\1K\1K\1t" TAIL "s.",
          "at most 8"),
        P(HEAD NAME "ctorch._utils\n_rebuild_parameter\n(" TENSOR "\x88h\0)RtRs.", NULL),
        P(HEAD NAME "ctorch._utils\n_rebuild_parameter\n(K\1\x88h\0)RtRs.",
          "parameter: its arguments are not tensor, flag and no hooks"),
        P(HEAD NAME BUILD_TENSOR
          "(X\7\0\0\0storagectorch\nIntStorage\nX\1\0\0\0\x30X\3\0\0\0cpuK\2tQ" VIEW TAIL "s.",
          "got IntStorage"),
        P(HEAD "}X\11\0\0\0_metadatah\0)Rsb" NAME TENSOR "s.", NULL),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_pth(&file, cases[i].pickle, cases[i].n);
        if (cases[i].expected)
            refused(&file, cases[i].expected);
        else
            accepted(&file);
    }
    /* A member name that a key tries to leave the folder with is just not there. */
    static const char key[] = HEAD NAME BUILD_TENSOR
        "(X\7\0\0\0storagectorch\nFloatStorage\nX\x0c\0\0\0../../passwdX\3\0\0\0cpuK\2tQ" VIEW TAIL
        "s.";
    make_pth(&file, key, sizeof key - 1);
    refused(&file, "the archive has no member data/../../passwd");
}

/* Tensors and storages by the thousand. */
static void refuses_crowds(void **state) {
    (void)state;
    static bytes pickle;
    pickle.n = 0;
    put(&pickle, HEAD "(" NAME, sizeof HEAD "(" NAME - 1);
    put(&pickle, TENSOR, sizeof TENSOR - 1);
    put(&pickle, "q\5", 2);
    for (unsigned i = 0; i < 4096; i++) {
        put(&pickle, "X\2\0\0\0", 5);
        put_le(&pickle, 0x3030 + (i % 64) + 256 * (i / 64), 2); /* two ASCII characters */
        put(&pickle, "h\5", 2);
    }
    put(&pickle, "u.", 2);
    make_pth(&file, (const char *)pickle.data, pickle.n);
    refused(&file, "at most 4096 tensors, got 4097");
    pickle.n = 0;
    put(&pickle, "\x80\2ctorch\nFloatStorage\nq\0", sizeof "\x80\2ctorch\nFloatStorage\nq" - 1 + 1);
    for (unsigned i = 0; i < 4097; i++) {
        put(&pickle, "(X\7\0\0\0storageh\0X\4\0\0\0", sizeof "(X\7\0\0\0storageh\0X\4\0\0\0" - 1);
        char key[8];
        snprintf(key, sizeof key, "%04u", i);
        put(&pickle, key, 4);
        put(&pickle, "X\0\0\0\0K\0tQ", 9);
    }
    make_pth(&file, (const char *)pickle.data, pickle.n);
    refused(&file, "storages: there are more than 4096");
}

/* ---- Legacy containers ----------------------------------------------------------------------- */

#define LEGACY "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
#define VERSION "\x80\2M\xe9\3."
#define SYSTEM "\x80\2}X\x0d\0\0\0little_endian\x88s."
#define OLD_STORAGE "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0\x30X\3\0\0\0cpuK\2NtQ"
#define OLD HEAD NAME BUILD_TENSOR OLD_STORAGE VIEW TAIL "s."
#define KEYS               \
    "\x80\2]X\1\0\0\0\x30" \
    "a."
#define ELEMENTS "\2\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\x40"

static void refuses_legacy(void **state) {
    (void)state;
    static const struct {
        const char *file;
        size_t n;
        const char *expected;
    } cases[] = {
        P(LEGACY VERSION SYSTEM OLD KEYS ELEMENTS, NULL),
        P(LEGACY "\x80\2M\xe8\3." SYSTEM OLD KEYS ELEMENTS, "its protocol version is not 1001"),
        P(LEGACY VERSION "\x80\2}X\x0d\0\0\0little_endian\x89s." OLD KEYS ELEMENTS,
          "expected little, got big"),
        P(LEGACY VERSION "\x80\2}." OLD KEYS ELEMENTS, "expected little, got none said"),
        P(LEGACY VERSION "\x80\2}X\x0d\0\0\0little_endianK\1s." OLD KEYS ELEMENTS,
          "expected a boolean"),
        P(LEGACY VERSION SYSTEM GOOD KEYS ELEMENTS, "expected a tuple of 6"),
        P(LEGACY VERSION SYSTEM HEAD NAME BUILD_TENSOR
          "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0\x30X\3\0\0\0cpuK\2)tQ" VIEW TAIL
          "s." KEYS ELEMENTS,
          "persistent id: view metadata (a tuple) are not supported"),
        P(LEGACY VERSION SYSTEM OLD "\x80\2N." ELEMENTS, "expected a list of storage keys"),
        P(LEGACY VERSION SYSTEM OLD "\x80\2]K\1a." ELEMENTS, "expected texts, got an integer"),
        P(LEGACY VERSION SYSTEM OLD "\x80\2]X\1\0\0\0\x31"
                                    "a." ELEMENTS,
          "storage key 1 belongs to no tensor"),
        P(LEGACY VERSION SYSTEM OLD "\x80\2](X\1\0\0\0\x30X\1\0\0\0\x30"
                                    "e." ELEMENTS ELEMENTS,
          "storage key 0 appears twice"),
        P(LEGACY VERSION SYSTEM OLD "\x80\2].", "a storage has no data"),
        P(LEGACY VERSION SYSTEM OLD KEYS "\3\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\x40\0\0\0\0",
          "expected a storage of 2 elements, but its count differs"),
        P(LEGACY VERSION SYSTEM OLD KEYS "\2\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0",
          "expected a storage of 2 elements, but the file ends"),
        P(LEGACY VERSION SYSTEM OLD KEYS "\2\0\0",
          "expected a storage of 2 elements, but the file ends"),
        P(LEGACY VERSION SYSTEM OLD KEYS ELEMENTS "x",
          "after the last storage, which ends at byte 216, there are 1 bytes"),
        P(LEGACY VERSION SYSTEM OLD, "protocol header"),
        P(LEGACY, "protocol version"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file.n = 0;
        put(&file, cases[i].file, cases[i].n);
        if (cases[i].expected)
            refused(&file, cases[i].expected);
        else
            accepted(&file);
    }
}

/* ---- Safetensors ----------------------------------------------------------------------------- */

static void make_safetensors(bytes *b, const char *header, size_t n_header, size_t n_data) {
    static const unsigned char zeros[256];
    b->n = 0;
    put_le(b, n_header, 8);
    put(b, header, n_header);
    put(b, zeros, n_data);
}

#define W "\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"

static void refuses_safetensors(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t n, n_data;
        const char *expected;
    } cases[] = {
#define S(header, n_data, expected) {header, sizeof(header) - 1, n_data, expected}
        S("{" W "}  ", 8, NULL),
        S("{}", 0, NULL),
        S("{\"s\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8, NULL),
        S("{\"__metadata__\":{\"a\":\"b\"}," W "}", 8, NULL),
        S("{\"__metadata__\":[]," W "}", 8, "__metadata__ is not an object"),
        S("{\"__metadata__\":{\"a\":1}," W "}", 8, "__metadata__ has a value that is not a text"),
        S("{" W "}x", 8, "bytes other than blanks follow the JSON header"),
        S("{" W, 8, "JSON"),
        S("[1]", 0, "expected .safetensors or .pth"),
        S(" {}", 0, "expected .safetensors or .pth"),
        S("{" W "," W "}", 8, "the header names it twice"),
        S("{" W "}", 7, "inside the file"),
        S("{" W "}", 9, "after the last tensor"),
        S("{\"w\":1}", 0, "the entry is not an object of dtype, shape and data_offsets"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", 0,
          "the entry is not an object of dtype, shape and data_offsets"),
        S("{\"w\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
          "the entry has no dtype"),
        S("{\"w\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "got I64"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8,
          "the shape is not a list of at most 8 sizes"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
          "the shape is not a list of at most 8 sizes"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8,
          "the shape has a size that is not a whole number"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]}}", 8,
          "the shape has a size that is not a whole number"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[1e300],\"data_offsets\":[0,8]}}", 8,
          "the shape has a size that is not a whole number"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8,
          "the shape has a size that is not a whole number"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8,
          "the shape is larger than any file"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "as many bytes"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,7]}}", 7, "as many bytes"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "inside the file"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "inside the file"),
        S("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-1,7]}}", 8,
          "inside the file"),
        S("{" W ",\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "overlap"),
        S("{" W ",\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "overlap"),
        S("{" W ",\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}", 20, "gap"),
        S("{\"w\\u0000x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
          "a name has a NUL byte"),
        S("{\"w\0\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
          "a name has a NUL byte"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_safetensors(&file, cases[i].header, cases[i].n, cases[i].n_data);
        if (cases[i].expected)
            refused(&file, cases[i].expected);
        else
            accepted(&file);
    }
    file.n = 0;
    refused(&file, "an empty file");
    put(&file, "MThd", 4);
    refused(&file, "expected .safetensors or .pth");
    make_safetensors(&file, "{}", 2, 0);
    set_le(&file, 0, 0xffffffffffffffff, 8);
    refused(&file, "truncated");
    static char nested[5000];
    memset(nested, '[', sizeof nested);
    nested[0] = '{';
    make_safetensors(&file, nested, sizeof nested, 0);
    refused(&file, "JSON");
    static char long_header[(1 << 20) + 10];
    memset(long_header, ' ', sizeof long_header);
    memcpy(long_header, "\1\0\20\0\0\0\0\0{}", 10);
    save_file(long_header, sizeof long_header);
    msim_error err;
    check_refused(try_stored(&err), &err, "a header of at most 1048576 bytes, got 1048577");
}

/* ---- This model's tensors -------------------------------------------------------------------- */

/* Replace one text in the header of tiny.safetensors by another of the same length. */
static void edit_tiny(const char *from, const char *to) {
    load_file(&file, DATA "tiny.safetensors");
    assert_int_equal(strlen(from), strlen(to));
    unsigned char *at = memmem(file.data, 4096, from, strlen(from));
    assert_non_null(at);
    memcpy(at, to, strlen(to));
}

static void refused_weights(const char *expected) {
    ms_weights w;
    msim_error err = {0};
    save_file(file.data, file.n);
    check_refused(ms_weights_open(path, &w, &err), &err, expected);
}

static void refuses_other_models(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *expected;
    } edits[] = {
        {"token_emb.emb.weight", "token_emb.emb.weighx", "has no tensor token_emb.emb.weight"},
        {"layers.0.1.to_q", "layers.0.1.to_x", "has no tensor attn_layers.layers.0.1.to_q.weight"},
        {"layers.2.1.to_v", "layers.2.1.to_x", "has no tensor attn_layers.layers.2.1.to_v.weight"},
        {"layers.2.1.to_q", "layers.2.1.to_x",
         "expected 13 tensors, got also attn_layers.layers.2.0.0.gamma"},
        {"final_norm.gamma", "final_norm.gammb", "has no tensor attn_layers.final_norm.gamma"},
        {"inv_freq", "inv_freX", "has no tensor attn_layers.rotary_pos_emb.inv_freq"},
        {"[386,32]", "[32,386]", "expected shape vocabulary x width"},
        {"[128,32]", "[32,128]",
         "to_q.weight: expected shape heads of 64 (1 to 128) x 32, got 32 x 128"},
        {"[32,128]", "[128,32]", "to_out.weight: expected shape 32 x 128, got 128 x 32"},
        {"[32]", "[ 2]", "as many bytes"},
        {"[16]", "[ 8]", "as many bytes"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        edit_tiny(edits[i].from, edits[i].to);
        refused_weights(edits[i].expected);
    }
    /* A tensor too many; the names of fixture tensors. */
    load_file(&file, DATA "fixture-zip.pth");
    refused_weights("has no tensor token_emb.emb.weight");
    ms_weights w;
    msim_error err;
    assert_int_equal(ms_weights_open("/nowhere", &w, &err), -MSIM_E_IO);
    assert_int_equal(ms_weights_open("/tmp", &w, &err), -MSIM_E_IO);
}

static void refuses_not_finite(void **state) {
    (void)state;
    static const uint32_t bad[] = {0x7fc00000, 0x7f800000, 0xff800000, 0x7f800001};
    for (size_t i = 0; i < 4; i++) {
        load_file(&file, DATA "tiny.safetensors");
        set_le(&file, file.n - 8, bad[i], 4); /* the last gamma but one */
        refused_weights("tensor attn_layers.final_norm.gamma: expected finite values");
    }
    /* In bf16 and f16, at the last element of a storage. */
    load_file(&file, DATA "tiny-bf16.pth");
    set_le(&file, file.n - 2, 0x7f80, 2);
    refused_weights("expected finite values, got inf");
}

/* ---- Damage ---------------------------------------------------------------------------------- */

/* Cut at every length and change every byte: whatever comes back, it is an error with a line, or
 * tensors. */
static void survives_damage(void **state) {
    (void)state;
    static const char *const files[] = {DATA "fixture-zip.pth", DATA "fixture-legacy.pth"};
    static const unsigned char flips[] = {0x01, 0x80, 0xff};
    for (size_t i = 0; i < 2; i++) {
        load_file(&file, files[i]);
        size_t n = file.n;
        for (size_t k = 0; k < n; k++) {
            msim_error err = {0};
            save_file(file.data, k);
            int rc = try_stored(&err);
            assert_true(rc < 0 && err.text[0] && !strchr(err.text, '\n'));
        }
        for (size_t k = 0; k < n; k++)
            for (size_t f = 0; f < sizeof flips; f++) {
                msim_error err = {0};
                file.data[k] ^= flips[f];
                save_file(file.data, n);
                int rc = try_stored(&err);
                assert_true(rc >= 0 || (err.text[0] && err.code == -rc));
                file.data[k] ^= flips[f];
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_archives),     cmocka_unit_test(refuses_directories),
        cmocka_unit_test(refuses_pickles),      cmocka_unit_test(refuses_crowds),
        cmocka_unit_test(refuses_legacy),       cmocka_unit_test(refuses_safetensors),
        cmocka_unit_test(refuses_other_models), cmocka_unit_test(refuses_not_finite),
        cmocka_unit_test(survives_damage),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
