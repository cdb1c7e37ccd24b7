/* JSON, one object a line, around cJSON: bytes of a name that are not UTF-8 are written as \udcXX
 * (XX the byte, as Python's surrogateescape does) and read back the same way, which cJSON alone
 * does not do. Numbers that must survive are written with %.9g (any f32 does). Stateless; a text
 * buffer belongs to one thread. */
#ifndef MS_BASE_TEXT_JSON_H
#define MS_BASE_TEXT_JSON_H
#include "base/status.h"
#include <stdbool.h>
#include <cjson/cJSON.h>

/* One object (or array) on one line, without the newline, valid UTF-8. Free with ms_free; NULL when
 * out of memory. */
char *ms_json_print(const cJSON *value);
/* Parse exactly one value from text [n]. NULL with err filled (what: where) when it is not JSON.
 * cJSON_Delete it. */
cJSON *ms_json_parse(const char *text, size_t n, msim_error *err);
/* %.9g; null for NaN and infinity, which JSON does not have. */
cJSON *ms_json_number(double value);
/* Typed members of an object; false (with *out untouched) when absent or of another type or
 * range. */
bool ms_json_get_int(const cJSON *object, const char *key, int64_t *out);
bool ms_json_get_text(const cJSON *object, const char *key, char *out, size_t cap);

/* ---- A growing text, for output too large to build as a tree ---- */

/* Start from {0}. When memory runs out the text stays as it is and remembers that it is not whole:
 * whoever uses it asks ms_json_text_failed once, at the end. */
typedef struct {
    char *data; /* owned: ms_json_text_free */
    size_t n, cap;
    bool is_failed;
} ms_json_text;

/* 0, or -MSIM_E_MEMORY when something could not be put. */
int ms_json_text_failed(const ms_json_text *text, msim_error *err);
void ms_json_text_free(ms_json_text *text);

void ms_json_put(ms_json_text *text, const char *bytes, size_t n);
/* As a JSON string, with its quotes. */
void ms_json_put_string(ms_json_text *text, const char *bytes, size_t n);
void ms_json_put_int(ms_json_text *text, int64_t value);
/* "[1,2,3]" */
void ms_json_put_ids(ms_json_text *text, const int32_t *ids, size_t n);

#endif
