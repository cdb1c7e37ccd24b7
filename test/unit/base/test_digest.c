/* SHA-256 and MD5 against published values: FIPS 180-4's examples, RFC 1321's test suite; and that
 * pieces give what the whole gives. */
#include "base/hash/digest.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect(enum ms_digest_kind kind, const char *text, const char *wanted) {
    char hex[65];
    msim_error err;
    assert_int_equal(ms_digest_hex_of(kind, text, strlen(text), hex, &err), MSIM_OK);
    assert_string_equal(hex, wanted);
}

static void test_sha256(void **state) {
    (void)state;
    expect(MS_DIGEST_SHA256, "",
           "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect(MS_DIGEST_SHA256, "abc",
           "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect(MS_DIGEST_SHA256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void test_md5(void **state) {
    (void)state;
    expect(MS_DIGEST_MD5, "", "d41d8cd98f00b204e9800998ecf8427e");
    expect(MS_DIGEST_MD5, "a", "0cc175b9c0f1b6a831c399e269772661");
    expect(MS_DIGEST_MD5, "abc", "900150983cd24fb0d6963f7d28e17f72");
    expect(MS_DIGEST_MD5, "message digest", "f96b697d7cb7938d525a2f31aaf161d0");
    expect(MS_DIGEST_MD5, "abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b");
}

/* FIPS 180-4's long message, a million times 'a', in pieces of all sizes up to 200. */
static void test_pieces(void **state) {
    static const unsigned char wanted[MS_SHA256_BYTES] = {
        0xcd, 0xc7, 0x6e, 0x5c, 0x99, 0x14, 0xfb, 0x92, 0x81, 0xa1, 0xc7,
        0xe2, 0x84, 0xd7, 0x3e, 0x67, 0xf1, 0x80, 0x9a, 0x48, 0xa4, 0x97,
        0x20, 0x0e, 0x04, 0x6d, 0x39, 0xcc, 0xc7, 0x11, 0x2c, 0xd0};
    unsigned char text[200], out[MS_SHA256_BYTES];
    msim_error err;
    ms_digest d;
    (void)state;
    memset(text, 'a', sizeof text);
    ms_digest_begin(&d, MS_DIGEST_SHA256);
    for (size_t left = 1000000, n = 0; left; left -= n) {
        n = (n + 1) % (sizeof text + 1);
        if (n > left) n = left;
        ms_digest_add(&d, text, n);
    }
    ms_digest_add(&d, NULL, 0);
    assert_int_equal(ms_digest_end(&d, out, &err), MSIM_OK);
    assert_memory_equal(out, wanted, sizeof out);
}

static void test_failure(void **state) {
    unsigned char out[MS_SHA256_BYTES] = {0};
    msim_error err;
    ms_digest d;
    (void)state;
    ms_digest_begin(&d, MS_DIGEST_SHA256);
    d.has_failed = true; /* as if a step had */
    ms_digest_add(&d, "abc", 3);
    assert_int_equal(ms_digest_end(&d, out, &err), -MSIM_E_UNSUPPORTED);
    assert_true(ms_digest_is_zero(out, sizeof out));
    out[31] = 1;
    assert_false(ms_digest_is_zero(out, sizeof out));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sha256), cmocka_unit_test(test_md5),
                                       cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_failure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
