/* Notes, flags and numbers as the page reads them: docs/FORMATS.md, Reports. */
#include "report/report.h"
#include "base/text/number.h"
#include <math.h>
#include <stdio.h>

enum { NEW_VOICE = 0x80, MOST_BYTES = 5 + 5 + 1 + 3 + 1, TENTHS = 10 };

void ms_report_put_base64(ms_json_text *text, const void *bytes, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *from = bytes;
    char out[4];
    ms_json_put(text, "\"", 1);
    for (size_t i = 0; i < n; i += 3) {
        const size_t left = n - i;
        const unsigned value = (unsigned)from[i] << 16 | (left > 1 ? from[i + 1] : 0u) << 8 |
                               (left > 2 ? from[i + 2] : 0u);
        out[0] = digits[value >> 18];
        out[1] = digits[value >> 12 & 63];
        out[2] = left > 1 ? digits[value >> 6 & 63] : '=';
        out[3] = left > 2 ? digits[value & 63] : '=';
        ms_json_put(text, out, 4);
    }
    ms_json_put(text, "\"", 1);
}

static unsigned char *put_varint(unsigned char *to, uint32_t value) {
    for (; value >= 128; value >>= 7) *to++ = (unsigned char)(value | 128);
    *to++ = (unsigned char)value;
    return to;
}

int ms_report_put_notes(ms_json_text *text, const msim_note *notes, size_t n, msim_error *err) {
    unsigned char *bytes = ms_alloc(n, MOST_BYTES, "notes", err), *to = bytes;
    uint32_t last = 0;
    int voice = -1, velocity = -1;
    if (!bytes) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const msim_note *note = &notes[i];
        const bool is_new = note->voice != voice || note->velocity != velocity;
        to = put_varint(to, note->start_ms - last);
        to = put_varint(to, note->duration_ms / TENTHS);
        *to++ = (unsigned char)(note->pitch & 127) | (is_new ? NEW_VOICE : 0);
        if (is_new) {
            to = put_varint(to, (uint32_t)(voice = note->voice));
            *to++ = (unsigned char)(velocity = note->velocity);
        }
        last = note->start_ms;
    }
    ms_report_put_base64(text, bytes, (size_t)(to - bytes));
    ms_free(bytes);
    return MSIM_OK;
}

void ms_report_put_key(ms_json_text *text, const char *key) {
    ms_report_put(text, ",\"");
    ms_report_put(text, key);
    ms_report_put(text, "\":");
}

void ms_report_put_real(ms_json_text *text, double value) {
    char digits[MS_NUMBER_BYTES];
    if (!isfinite(value))
        ms_report_put(text, "null");
    else
        ms_report_put(text, ms_number_print(value, 7, digits));
}
