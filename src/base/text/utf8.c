/* UTF-8: see utf8.h. */
#include "base/text/utf8.h"
#include <string.h>

/* ms_utf8_next, but surrogates are code points like any other. */
static size_t decode(const char *s, size_t n, uint32_t *point) {
    /* By the upper five bits of the first byte; 0: it begins nothing. */
    static const unsigned char lengths[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                              0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 3, 3, 4, 0};
    /* The least code point that needs so many bytes, and the bits of the first byte that count. */
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    static const unsigned char mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const unsigned char *p = (const unsigned char *)s;
    if (n == 0) return 0;
    size_t length = lengths[p[0] >> 3];
    if (length > n) return 0;
    uint32_t value = p[0] & mask[length];
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        value = value << 6 | (p[i] & 0x3fu);
    }
    if (value < least[length] || value > 0x10ffff) return 0;
    *point = value;
    return length;
}

size_t ms_utf8_next(const char *s, size_t n, uint32_t *point) {
    uint32_t value = 0;
    size_t length = decode(s, n, &value);
    if (length == 0 || (value >= 0xd800 && value <= 0xdfff)) return 0;
    *point = value;
    return length;
}

bool ms_utf8_is_valid(const char *s, size_t n) {
    uint32_t point;
    for (size_t i = 0, step; i < n; i += step)
        if ((step = ms_utf8_next(s + i, n - i, &point)) == 0) return false;
    return true;
}

bool ms_utf8_is_surrogatepass(const char *s, size_t n) {
    uint32_t point;
    for (size_t i = 0, step; i < n; i += step)
        if ((step = decode(s + i, n - i, &point)) == 0) return false;
    return true;
}

size_t ms_utf8_put(char *dst, uint32_t point) {
    if (point > 0x10ffff) point = 0xfffd;
    if (point < 0x80) {
        dst[0] = (char)point;
        return 1;
    }
    size_t extra = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    dst[0] = (char)((0xff00u >> (extra + 1) & 0xffu) | point >> 6 * extra);
    for (size_t i = 1; i <= extra; i++) dst[i] = (char)(0x80u | (point >> 6 * (extra - i) & 0x3fu));
    return extra + 1;
}

/* ---- Names as code points ---- */

uint32_t ms_utf8_get_escaped(const char *s, size_t n, size_t *step) {
    uint32_t point = 0xdc00u + (unsigned char)*s;
    size_t length = ms_utf8_next(s, n, &point);
    *step = length ? length : 1;
    return point;
}

size_t ms_utf8_chars(const char *name, size_t n_bytes) {
    size_t n = 0, step;
    for (size_t i = 0; i < n_bytes; i += step, n++)
        ms_utf8_get_escaped(name + i, n_bytes - i, &step);
    return n;
}

void ms_utf8_to_utf32(const char *name, size_t n_bytes, unsigned char *field, size_t n_chars) {
    size_t n = 0, step;
    for (size_t i = 0; i < n_bytes && n < n_chars; i += step, n++) {
        uint32_t point = ms_utf8_get_escaped(name + i, n_bytes - i, &step);
        for (int b = 0; b < 4; b++) field[4 * n + (size_t)b] = (unsigned char)(point >> 8 * b);
    }
    memset(field + 4 * n, 0, 4 * (n_chars - n));
}

/* ---- Names from files ---- */

/* Append to a buffer that may end anywhere; `length` counts on regardless. */
static void append(char *buf, size_t cap, size_t *length, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++, (*length)++)
        if (*length + 1 < cap) buf[*length] = bytes[i];
}

static size_t terminate(char *buf, size_t cap, size_t length) {
    if (cap) buf[length < cap ? length : cap - 1] = 0;
    return length;
}

size_t ms_utf8_of_utf32(const unsigned char *field, size_t n_chars, char *buf, size_t cap) {
    size_t length = 0;
    uint32_t point;
    for (; n_chars > 0; n_chars--) {
        memcpy(&point, field + 4 * (n_chars - 1), 4);
        if (point) break;
    }
    for (size_t i = 0; i < n_chars; i++) {
        char utf8[4];
        size_t n = 1;
        memcpy(&point, field + 4 * i, 4);
        if (point >= 0xdc80 && point <= 0xdcff)
            utf8[0] = (char)(point - 0xdc00);
        else
            n = ms_utf8_put(utf8, point);
        append(buf, cap, &length, utf8, n);
    }
    return terminate(buf, cap, length);
}

size_t ms_utf8_copy(const char *text, size_t n_bytes, char *buf, size_t cap) {
    size_t length = 0;
    append(buf, cap, &length, text, n_bytes);
    return terminate(buf, cap, length);
}

size_t ms_utf8_of_bytes(const unsigned char *field, size_t n_bytes, char *buf, size_t cap) {
    while (n_bytes > 0 && !field[n_bytes - 1]) n_bytes--;
    return ms_utf8_copy((const char *)field, n_bytes, buf, cap);
}

size_t ms_utf8_of_text(const unsigned char *text, size_t n_bytes, char *buf, size_t cap) {
    size_t length = 0;
    for (size_t i = 0; i < n_bytes;) {
        bool is_escape = n_bytes - i >= 3 && text[i] == 0xed &&
                         (text[i + 1] == 0xb2 || text[i + 1] == 0xb3);
        char byte = is_escape ? (char)((text[i + 1] & 1u) << 6 | 0x80u | (text[i + 2] & 0x3fu))
                              : (char)text[i];
        append(buf, cap, &length, &byte, 1);
        i += is_escape ? 3 : 1;
    }
    return terminate(buf, cap, length);
}

bool ms_utf8_is_safe(uint32_t point) {
    bool is_control = point < 0x20 || (point >= 0x7f && point < 0xa0);
    bool is_separator = point == 0x2028 || point == 0x2029;
    bool turns = point == 0x61c || point == 0x200e || point == 0x200f ||
                 (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
    return !is_control && !is_separator && !turns;
}

size_t ms_utf8_make_safe(char *text, size_t n, bool keeps_lines) {
    size_t at = 0;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t point = 0;
        len = ms_utf8_next(text + i, n - i, &point);
        bool is_kept =
            len && (ms_utf8_is_safe(point) || (keeps_lines && (point == '\n' || point == '\t')));
        if (!len) len = 1;
        if (is_kept)
            memmove(text + at, text + i, len);
        else
            text[at] = '?';
        at += is_kept ? len : 1;
    }
    return at;
}
