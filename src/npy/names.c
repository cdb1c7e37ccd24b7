/* Row names: see names.h. */
#include "npy/names.h"
#include "base/mem.h"
#include <stdbool.h>
#include <string.h>

uint32_t ms_name_get_point(const char *s, size_t n, size_t *step) {
    const unsigned char *p = (const unsigned char *)s;
    /* Shortest forms only, no surrogates, nothing beyond U+10FFFF: what Python's strict decoder
     * takes. */
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    unsigned extra = p[0] < 0x80   ? 0
                     : p[0] < 0xc2 ? 4
                     : p[0] < 0xe0 ? 1
                     : p[0] < 0xf0 ? 2
                     : p[0] < 0xf5 ? 3
                                   : 4;
    uint32_t point = extra == 0 ? p[0] : p[0] & (0x3fu >> extra);
    bool ok = extra < 4 && extra < n;
    for (unsigned i = 1; ok && i <= extra; i++) {
        ok = (p[i] & 0xc0) == 0x80;
        point = point << 6 | (p[i] & 0x3fu);
    }
    if (ok && point >= least[extra] && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff)) {
        *step = extra + 1;
        return point;
    }
    *step = 1;
    return 0xdc00u + p[0];
}

size_t ms_name_put_point(char *dst, uint32_t point) {
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

size_t ms_name_chars(const char *name, size_t n_bytes) {
    size_t n = 0, step;
    for (size_t i = 0; i < n_bytes; i += step, n++) ms_name_get_point(name + i, n_bytes - i, &step);
    return n;
}

void ms_name_to_ucs4(const char *name, size_t n_bytes, unsigned char *field, size_t n_chars) {
    size_t n = 0, step;
    for (size_t i = 0; i < n_bytes && n < n_chars; i += step, n++) {
        uint32_t point = ms_name_get_point(name + i, n_bytes - i, &step);
        for (int b = 0; b < 4; b++) field[4 * n + (size_t)b] = (unsigned char)(point >> 8 * b);
    }
    memset(field + 4 * n, 0, 4 * (n_chars - n));
}

/* Append to a buffer that may end anywhere; `length` counts on regardless. */
static void append(char *buf, size_t cap, size_t *length, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++, (*length)++)
        if (*length + 1 < cap) buf[*length] = bytes[i];
}

static size_t terminate(char *buf, size_t cap, size_t length) {
    if (cap) buf[length < cap ? length : cap - 1] = 0;
    return length;
}

size_t ms_name_of_ucs4(const unsigned char *field, size_t n_chars, char *buf, size_t cap) {
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
            n = ms_name_put_point(utf8, point);
        append(buf, cap, &length, utf8, n);
    }
    return terminate(buf, cap, length);
}

size_t ms_name_of_bytes(const unsigned char *field, size_t n_bytes, char *buf, size_t cap) {
    size_t length = 0;
    while (n_bytes > 0 && !field[n_bytes - 1]) n_bytes--;
    append(buf, cap, &length, (const char *)field, n_bytes);
    return terminate(buf, cap, length);
}

size_t ms_name_of_text(const unsigned char *text, size_t n_bytes, char *buf, size_t cap) {
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

/* ---- Names file ---- */

int ms_names_open(const char *path, ms_names *out, msim_error *err) {
    ms_names names = {.n_names = 0};
    int rc = ms_map_open(path, MS_MAP_SEQUENTIAL, &names.map, err);
    if (rc < 0) return rc;
    const unsigned char *text = names.map.data;
    size_t n_bytes = names.map.n_bytes, n = 0;
    for (size_t i = 0; i < n_bytes; i++) n += text[i] == '\n';
    if (n_bytes && text[n_bytes - 1] != '\n') n++;
    if (!(names.ends = ms_alloc(n, sizeof *names.ends, "index of names", err))) {
        ms_map_close(&names.map);
        return -MSIM_E_MEMORY;
    }
    for (size_t i = 0; i < n_bytes; i++)
        if (text[i] == '\n') names.ends[names.n_names++] = i;
    if (names.n_names < n) names.ends[names.n_names++] = n_bytes;
    names.has_cr = n && names.ends[0] > 0 && text[names.ends[0] - 1] == '\r';
    *out = names;
    return MSIM_OK;
}

size_t ms_names_get(const ms_names *names, size_t i, char *buf, size_t cap) {
    size_t start = i ? (size_t)names->ends[i - 1] + 1 : 0, end = (size_t)names->ends[i], length = 0;
    const char *text = (const char *)names->map.data;
    if (names->has_cr && end > start && text[end - 1] == '\r') end--;
    if (end > start) append(buf, cap, &length, text + start, end - start);
    return terminate(buf, cap, length);
}

void ms_names_close(ms_names *names) {
    ms_free(names->ends);
    ms_map_close(&names->map);
    names->ends = NULL;
    names->n_names = 0;
}
