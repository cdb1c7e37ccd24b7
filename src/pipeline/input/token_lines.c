/* Lines of midisim-tokens read back: pipeline/input/token_lines.h. */
#include "pipeline/input/token_lines.h"
#include "base/text/json.h"
#include "base/text/lines.h"
#include "base/mem.h"
#include "pipeline/input/reader.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ms_token_lines {
    ms_token_lines_request r;
    ms_lines lines;
    int64_t n_lines, n_done, n_cut;
    char name[MS_FILES_MAX_NAME + 1]; /* of the line given last */
    bool is_ended;
};

int ms_token_lines_open(const ms_token_lines_request *request, ms_token_lines **out,
                        msim_error *err) {
    ms_token_lines *l = ms_alloc(1, sizeof *l, "token lines", err);
    *out = NULL;
    if (!l) return -MSIM_E_MEMORY;
    l->r = *request;
    int rc = ms_lines_open(&l->lines, request->path, '\n', err);
    if (rc < 0) {
        ms_token_lines_close(l);
        return rc;
    }
    *out = l;
    return 0;
}

enum { HAS_SEQUENCE = 1, IS_HANDED_ON = 2 }; /* what a line came to; 0: nothing */

static int skip_line(ms_token_lines *l, const char *name, int reason, const char *detail,
                     bool is_named, msim_error *err) {
    char where[400];
    snprintf(where, sizeof where, "%.80s line %lld: %.250s", l->r.path, (long long)l->n_lines,
             detail);
    int rc = l->r.skip(l->r.skip_user, name, reason, where, is_named, err);
    return rc > 0 ? IS_HANDED_ON : rc;
}

static int reason_of_name(const char *name) {
    for (int i = 1; i < MSIM_SKIP_COUNT; i++)
        if (strcmp(msim_skip_reason_name(i), name) == 0) return i;
    return MSIM_SKIP_UNREADABLE;
}

/* The ids of a JSON array: 1; 0 with a text in detail when one is wrong. */
static int get_ids(const ms_token_lines *l, const cJSON *tokens, ms_sequence *out, char *detail,
                   size_t cap, msim_error *err) {
    size_t n = 0, all = cJSON_IsArray(tokens) ? (size_t)cJSON_GetArraySize(tokens) : 0;
    const cJSON *item;
    if (all == 0) {
        snprintf(detail, cap, "\"tokens\" is %s",
                 cJSON_IsArray(tokens) ? "an empty list" : "no list of ids");
        return 0;
    }
    int32_t *ids = ms_alloc(all, sizeof *ids, "token ids", err);
    if (!ids) return -MSIM_E_MEMORY;
    cJSON_ArrayForEach(item, tokens) {
        if (!cJSON_IsNumber(item) || item->valuedouble != (double)item->valueint ||
            item->valueint < 0 || item->valueint >= l->r.vocab) {
            snprintf(detail, cap, "token %zu: expected an integer in 0..%lld", n,
                     (long long)l->r.vocab - 1);
            ms_free(ids);
            return 0;
        }
        ids[n++] = item->valueint;
    }
    out->ids = ids;
    out->n_ids = (int64_t)n;
    return 1;
}

/* False, with a text in detail, when a line says that its tokens are of another kind. */
static bool is_of_kind(const cJSON *json, const char *key, const char *expected, char *detail,
                       size_t cap) {
    const cJSON *got = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsString(got) || !expected || strcmp(got->valuestring, expected) == 0) return true;
    snprintf(detail, cap, "\"%s\": expected %s, as the model is opened, got %.60s", key, expected,
             got->valuestring);
    return false;
}

/* One parsed line: HAS_SEQUENCE, IS_HANDED_ON or 0. */
static int parse_line(ms_token_lines *l, const cJSON *json, ms_sequence *out, msim_error *err) {
    const cJSON *path = cJSON_GetObjectItemCaseSensitive(json, "path"),
                *error = cJSON_GetObjectItemCaseSensitive(json, "error"),
                *why = cJSON_GetObjectItemCaseSensitive(json, "detail");
    char detail[200];
    if (!cJSON_IsString(path) || !*path->valuestring)
        return skip_line(l, l->r.path, MSIM_SKIP_UNREADABLE, "no object with a \"path\"", true,
                         err);
    const char *name = path->valuestring;
    if (cJSON_IsString(error))
        return skip_line(l, name, reason_of_name(error->valuestring),
                         cJSON_IsString(why) ? why->valuestring : "", false, err);
    if (strlen(name) > MS_FILES_MAX_NAME)
        return skip_line(l, name, MSIM_SKIP_NAME_TOO_LONG, "the name is longer than 1024 bytes",
                         true, err);
    if (!is_of_kind(json, "family", msim_family_name(l->r.family), detail, sizeof detail) ||
        !is_of_kind(json, "order", msim_token_order_name(l->r.order), detail, sizeof detail))
        return skip_line(l, name, MSIM_SKIP_UNREADABLE, detail, true, err);
    int rc = get_ids(l, cJSON_GetObjectItemCaseSensitive(json, "tokens"), out, detail,
                     sizeof detail, err);
    if (rc < 0) return rc;
    if (rc == 0) return skip_line(l, name, MSIM_SKIP_UNREADABLE, detail, true, err);
    out->full_length = out->n_ids;
    if (l->r.max_tokens && out->n_ids > l->r.max_tokens) {
        out->n_ids = l->r.max_tokens;
        l->n_cut++;
    }
    out->name_len = (uint32_t)strlen(name);
    memcpy(l->name, name, (size_t)out->name_len + 1);
    out->name = l->name;
    return HAS_SEQUENCE;
}

/* The next line, as ms_lines_next has it. A file that cannot be read on is skipped from there. */
static int read_line(ms_token_lines *l, const char **line, size_t *n, msim_error *err) {
    msim_error why;
    int rc = ms_lines_next(&l->lines, line, n, &why);
    if ((rc <= 0 || l->n_lines % 64 == 0) && ms_watch_is_stopped(l->r.watch))
        return ms_watch_stop(err, "while reading token lines");
    if (rc <= 0) l->is_ended = true;
    if (rc < 0 && why.code == MSIM_E_MEMORY) return ms_fail(err, why.code, "%s", why.text);
    if (rc < 0) {
        rc = l->r.skip(l->r.skip_user, l->r.path, MSIM_SKIP_UNREADABLE, why.text, true, err);
        return rc < 0 ? rc : 0;
    }
    l->n_lines += rc;
    return rc;
}

int ms_token_lines_next(void *lines, bool may_wait, ms_sequence *out, msim_error *err) {
    ms_token_lines *l = lines;
    msim_error why;
    const char *line;
    size_t n = 0;
    /* A pipe may have nothing for a while; only when there is nothing else to do is it waited
     * for. */
    if (!may_wait && l->lines.file == stdin) return MS_READER_LATER;
    while (!l->is_ended) {
        int rc = read_line(l, &line, &n, err);
        if (rc < 0) return rc;
        if (rc == 0) break;
        if (n == 0) continue;
        l->n_done++;
        cJSON *json = ms_json_parse(line, n, &why);
        if (!json && why.code == MSIM_E_MEMORY) return ms_fail(err, why.code, "%s", why.text);
        rc = json ? parse_line(l, json, out, err)
                  : skip_line(l, l->r.path, MSIM_SKIP_UNREADABLE, why.text, true, err);
        cJSON_Delete(json);
        if (rc < 0) return rc;
        if (rc == HAS_SEQUENCE) return MS_READER_ITEM;
        if (rc == IS_HANDED_ON) return MS_READER_LATER;
    }
    return MS_READER_END;
}

int64_t ms_token_lines_done(const void *lines) { return ((const ms_token_lines *)lines)->n_done; }
int64_t ms_token_lines_cut(const ms_token_lines *lines) { return lines->n_cut; }

void ms_token_lines_close(ms_token_lines *l) {
    if (!l) return;
    ms_lines_close(&l->lines);
    ms_free(l);
}
