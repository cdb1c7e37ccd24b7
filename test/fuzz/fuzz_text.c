/* Names on their way out, and JSON on its way in: a name in JSON is valid JSON and comes back as it
 * was, a name on a terminal has no control characters and fits its columns. */
#include "target.h"
#include "base/mem.h"
#include "base/text/json.h"
#include "base/text/utf8.h"
#include "search/print/results.h"

static void check_json(const char *name, size_t n) {
    ms_json_text text = {.data = NULL};
    msim_error err = {.code = 0};
    ms_json_put_string(&text, name, n);
    MUST(ms_json_text_failed(&text, &err) == 0);
    for (size_t i = 0; i < text.n; i++) MUST((unsigned char)text.data[i] >= 0x20);
    if (!memchr(name, 0, n)) {
        cJSON *value = ms_json_parse(text.data, text.n, &err);
        MUST(value && cJSON_IsString(value));
        MUST(strlen(value->valuestring) == n && memcmp(value->valuestring, name, n) == 0);
        cJSON_Delete(value);
    }
    ms_json_text_free(&text);
}

static void check_parse(const char *text, size_t n) {
    msim_error err = {.code = 0};
    cJSON *value = ms_json_parse(text, n, &err);
    MUST(value || err.text[0]);
    if (!value) return;
    char *printed = ms_json_print(value);
    MUST(printed != NULL);
    MUST(strchr(printed, '\n') == NULL);
    int64_t number;
    char word[16];
    (void)ms_json_get_int(value, "a", &number);
    (void)ms_json_get_text(value, "a", word, sizeof word);
    ms_free(printed);
    cJSON_Delete(value);
}

static void check_columns(const char *name, size_t n, size_t columns) {
    char *out = block(4 * n + 8, 1);
    size_t m = ms_results_fit(name, n, columns, out), k;
    MUST(m <= 4 * n + 8 && ms_results_width(out, m) <= columns);
    for (size_t i = 0; i < m; i += k) {
        uint32_t point;
        k = ms_utf8_next(out + i, m - i, &point);
        MUST(k > 0 && ms_utf8_is_safe(point));
        MUST(point >= 0x20 && !(point >= 0x7f && point < 0xa0)); /* terminals obey C1 too */
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    const char *text = (const char *)data;
    check_json(text, n_bytes);
    check_parse(text, n_bytes);
    for (size_t columns = 1; columns < 100; columns += 33) check_columns(text, n_bytes, columns);
    return 0;
}
