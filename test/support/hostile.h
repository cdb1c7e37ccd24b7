/* Bytes that are written by hand, cut and changed, in blocks of exactly their size: a sanitizer
 * then sees any read past their end. */
#ifndef TEST_SUPPORT_HOSTILE_H
#define TEST_SUPPORT_HOSTILE_H
#include "support/test.h"

/* A block of exactly n bytes, freed by the caller. */
static inline void *exact_block(size_t n) {
    void *p = malloc(n ? n : 1);
    assert_non_null(p);
    return p;
}

static inline void *exact_copy(const void *bytes, size_t n) {
    void *p = exact_block(n);
    if (n) memcpy(p, bytes, n);
    return p;
}

/* Pairs of hexadecimal digits to bytes, up to what is neither a digit nor a space. Returns how
 * many; the digits of a pair stand together. */
static inline size_t from_hex(const char *hex, unsigned char *out) {
    size_t n = 0;
    for (hex += strspn(hex, " "); strspn(hex, "0123456789abcdef") >= 2; n++) {
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        out[n] = (unsigned char)byte;
        hex += 2 + strspn(hex + 2, " ");
    }
    return n;
}
#endif
