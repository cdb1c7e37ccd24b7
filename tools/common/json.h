/* JSON, one object a line, around cJSON: bytes of a name that are not UTF-8 are written as \udcXX
 * (XX the byte, as Python's surrogateescape does) and read back the same way, which cJSON alone
 * does not do. Numbers that must survive are written with %.9g (any f32 does). Stateless; a text
 * buffer belongs to one thread. */
#ifndef MS_TOOLS_COMMON_JSON_H
#define MS_TOOLS_COMMON_JSON_H
#include "cli.h"
#include <cjson/cJSON.h>

/* One object (or array) on one line, without the newline, valid UTF-8. free() it; NULL when out of
 * memory. */
char *ms_json_print(const cJSON *value);
/* As above into standard output, with the newline. 0, or -1 when nothing more can be written. */
int ms_json_write(const cJSON *value);
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

typedef struct {
    char *data; /* owned: free() */
    size_t n, cap;
} ms_json_text;

void ms_json_put(ms_json_text *text, const char *bytes, size_t n);
/* As a JSON string, with its quotes. */
void ms_json_put_string(ms_json_text *text, const char *bytes, size_t n);
void ms_json_put_int(ms_json_text *text, int64_t value);
/* "[1,2,3]" */
void ms_json_put_ids(ms_json_text *text, const int32_t *ids, size_t n);

#endif
