/* JSON: see base/text/json.h. cJSON copies bytes from 0x80 up unchanged, in both directions. So the
 * two repairs are passes over its text: after printing, and before parsing. */
#define _GNU_SOURCE
#include "base/text/json.h"
#include "base/mem.h"
#include "base/text/number.h"
#include "base/text/utf8.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Growing text ---- */

static bool reserve(ms_json_text *text, size_t n) {
    size_t need;
    if (text->is_failed) return false;
    text->is_failed = !ms_add_size(text->n, n, &need) || !ms_add_size(need, 1, &need) ||
                      ms_grow((void **)&text->data, &text->cap, need, 1, "JSON text", NULL) < 0;
    return !text->is_failed;
}

int ms_json_text_failed(const ms_json_text *text, msim_error *err) {
    if (!text->is_failed) return 0;
    return ms_fail(err, MSIM_E_MEMORY, "out of memory: JSON text behind %zu bytes", text->n);
}

void ms_json_text_free(ms_json_text *text) {
    ms_free(text->data);
    *text = (ms_json_text){0};
}

void ms_json_put(ms_json_text *text, const char *bytes, size_t n) {
    if (!reserve(text, n)) return;
    memcpy(text->data + text->n, bytes, n);
    text->n += n;
    text->data[text->n] = 0;
}

void ms_json_put_int(ms_json_text *text, int64_t value) {
    char digits[24];
    int at = sizeof digits;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do digits[--at] = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0) digits[--at] = '-';
    ms_json_put(text, digits + at, sizeof digits - (size_t)at);
}

void ms_json_put_ids(ms_json_text *text, const int32_t *ids, size_t n) {
    enum { LONGEST = 12 }; /* "-2147483648," */
    if (!reserve(text, n * LONGEST + 3)) return;
    char *to = text->data + text->n;
    *to++ = '[';
    for (size_t i = 0; i < n; i++) {
        char digits[LONGEST];
        int at = LONGEST;
        uint32_t left = ids[i] < 0 ? 0 - (uint32_t)ids[i] : (uint32_t)ids[i];
        do digits[--at] = (char)('0' + left % 10);
        while (left /= 10);
        if (ids[i] < 0) *to++ = '-';
        while (at < LONGEST) *to++ = digits[at++];
        *to++ = ',';
    }
    if (n) to--;
    *to++ = ']';
    *to = 0;
    text->n = (size_t)(to - text->data);
}

static void put_escape(ms_json_text *text, const char *format, unsigned value) {
    char escape[8];
    int n = snprintf(escape, sizeof escape, format, value);
    ms_json_put(text, escape, (size_t)n);
}

/* Copy bytes, escaping those that are not UTF-8 and what a terminal must not get: an escape is the
 * same text to every reader. */
static void put_valid(ms_json_text *text, const char *bytes, size_t n) {
    size_t from = 0, at = 0;
    while (at < n) {
        uint32_t point = 0;
        size_t len = ms_utf8_next(bytes + at, n - at, &point);
        if (len && (point < 0x20 || ms_utf8_is_safe(point))) {
            at += len; /* controls of JSON itself were escaped, or part its lines */
            continue;
        }
        ms_json_put(text, bytes + from, at - from);
        if (len)
            put_escape(text, "\\u%04x", point);
        else
            put_escape(text, "\\udc%02x", (unsigned char)bytes[at]);
        from = at += len ? len : 1;
    }
    ms_json_put(text, bytes + from, n - from);
}

void ms_json_put_string(ms_json_text *text, const char *bytes, size_t n) {
    ms_json_put(text, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        put_valid(text, bytes + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\')
            put_escape(text, "\\%c", c);
        else if (c == '\n' || c == '\t' || c == '\r')
            put_escape(text, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        else
            put_escape(text, "\\u%04x", c);
    }
    put_valid(text, bytes + from, n - from);
    ms_json_put(text, "\"", 1);
}

/* ---- Printing ---- */

char *ms_json_print(const cJSON *value) {
    ms_json_text text = {0};
    char *printed = cJSON_PrintUnformatted(value);
    if (!printed) return NULL;
    put_valid(&text, printed, strlen(printed));
    free(printed);
    if (text.is_failed) ms_json_text_free(&text);
    return text.data;
}

cJSON *ms_json_number(double value) {
    char digits[MS_NUMBER_BYTES];
    if (!isfinite(value)) return cJSON_CreateNull();
    return cJSON_CreateRaw(ms_number_print(value, 9, digits));
}

/* ---- Parsing ---- */

/* The byte that "\udcXX" at s stands for (0x80..0xff), or -1. */
static int escaped_byte(const char *s, size_t n) {
    if (n < 6 || s[0] != '\\' || s[1] != 'u' || (s[2] | 32) != 'd' || (s[3] | 32) != 'c') return -1;
    int value = 0;
    for (int i = 4; i < 6; i++) {
        char c = s[i];
        int digit = c >= '0' && c <= '9'                 ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value >= 0x80 ? value : -1;
}

/* True for "\ud800" .. "\udbff", the first half of a pair. */
static bool is_high_half(const char *s, size_t n) {
    return n >= 6 && s[0] == '\\' && s[1] == 'u' && (s[2] | 32) == 'd' && strchr("89abAB", s[3]) &&
           s[3];
}

/* Copy JSON text with lone \udcXX escapes as the bytes they stand for. An escaped backslash is
 * passed over whole. */
static size_t unescape_bytes(const char *text, size_t n, char *out) {
    size_t at = 0, to = 0;
    while (at < n) {
        size_t step = 1;
        int byte;
        if (text[at] == '\\') {
            if (is_high_half(text + at, n - at))
                step = n - at >= 12 ? 12 : n - at;
            else if ((byte = escaped_byte(text + at, n - at)) >= 0) {
                out[to++] = (char)byte;
                at += 6;
                continue;
            } else
                step = n - at >= 2 ? 2 : 1;
        }
        memcpy(out + to, text + at, step);
        to += step;
        at += step;
    }
    out[to] = 0;
    return to;
}

cJSON *ms_json_parse(const char *text, size_t n, msim_error *err) {
    const char *end = NULL;
    char *copy = ms_alloc(n < SIZE_MAX ? n + 1 : n, 1, "JSON text", err);
    if (!copy) return NULL;
    size_t len = unescape_bytes(text, n, copy);
    errno = 0; /* cJSON does not tell memory that ran out from a mistake; malloc does */
    cJSON *value = memchr(copy, 0, len) ? NULL : cJSON_ParseWithLengthOpts(copy, len + 1, &end, 1);
    if (!value && errno == ENOMEM)
        ms_fail(err, MSIM_E_MEMORY, "out of memory: JSON of %zu bytes", len);
    else if (!value)
        ms_fail(err, MSIM_E_FORMAT, "not JSON: syntax error near byte %zu, or more than one value",
                end && end >= copy && end <= copy + len ? (size_t)(end - copy) : (size_t)0);
    ms_free(copy);
    return value;
}

bool ms_json_get_int(const cJSON *object, const char *key, int64_t *out) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= 9007199254740992.0)) return false;
    if (item->valuedouble != floor(item->valuedouble)) return false;
    *out = (int64_t)item->valuedouble;
    return true;
}

bool ms_json_get_text(const cJSON *object, const char *key, char *out, size_t cap) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsString(item) || strlen(item->valuestring) >= cap) return false;
    snprintf(out, cap, "%s", item->valuestring);
    return true;
}
