/* JSON, one object per line, on top of cJSON. Bytes of a name that are not UTF-8 are written as
 * \udcXX (XX is the byte, as in Python's surrogateescape) and read back the same way; cJSON alone
 * does not do this. Numbers that must be exact are written with %.9g, which every f32 survives. No
 * global state; one thread at a time may use a text buffer. */
#ifndef MS_BASE_TEXT_JSON_H
#define MS_BASE_TEXT_JSON_H
#include "base/status.h"
#include <stdbool.h>
#include <cjson/cJSON.h>

/* Print one object or array on one line, in valid UTF-8, without the newline. Free the text with
 * ms_free. NULL when out of memory. */
char *ms_json_print(const cJSON *value);
/* Parse exactly one value from text [n]. Free it with cJSON_Delete. NULL, with err filled, when the
 * text is not JSON. */
cJSON *ms_json_parse(const char *text, size_t n, msim_error *err);
/* A number as %.9g. NaN and infinity, which JSON does not have, become null. */
cJSON *ms_json_number(double value);
/* Read a member of an object. False, with *out untouched, when the member is absent, of another
 * type or out of range. */
bool ms_json_get_int(const cJSON *object, const char *key, int64_t *out);
bool ms_json_get_text(const cJSON *object, const char *key, char *out, size_t cap);

/* ---- A growing text, for output too large to build as a tree ---- */

/* Start from {0}. When memory runs out, the text keeps what it has and remembers that it is not
 * whole. Ask ms_json_text_failed once, at the end. */
typedef struct {
    char *data; /* owned: ms_json_text_free */
    size_t n, cap;
    bool is_failed;
} ms_json_text;

/* 0, or -MSIM_E_MEMORY when something could not be added. */
int ms_json_text_failed(const ms_json_text *text, msim_error *err);
void ms_json_text_free(ms_json_text *text);

void ms_json_put(ms_json_text *text, const char *bytes, size_t n);
/* Add a JSON string with its quotes. */
void ms_json_put_string(ms_json_text *text, const char *bytes, size_t n);
void ms_json_put_int(ms_json_text *text, int64_t value);
/* "[1,2,3]" */
void ms_json_put_ids(ms_json_text *text, const int32_t *ids, size_t n);

#endif
