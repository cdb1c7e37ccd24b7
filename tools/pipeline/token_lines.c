/* Contract: tools/pipeline/token_lines.h. */
#define _GNU_SOURCE
#include "token_lines.h"
#include "base/json.h"
#include "reader.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ms_token_lines {
    FILE *file;       /* owned, unless it is standard input */
    const char *path; /* borrowed */
    int64_t vocab, max_tokens, n_lines, n_done, n_cut;
    ms_files_skips *skips; /* borrowed */
    char *line;            /* owned: getline's */
    size_t line_cap;
    char *name; /* owned: of the line given last */
    bool is_ended;
};

int ms_token_lines_open(const char *path, int64_t vocab, int64_t max_tokens, ms_files_skips *skips,
                        ms_token_lines **out, msim_error *err) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    *out = NULL;
    if (!file) return ms_cli_fail(err, MSIM_E_IO, "cannot read: %s: %s", path, strerror(errno));
    ms_token_lines *l = ms_cli_alloc(1, sizeof *l);
    *l = (ms_token_lines){
        .file = file, .path = path, .vocab = vocab, .max_tokens = max_tokens, .skips = skips};
    *out = l;
    return 0;
}

static void skip_line(ms_token_lines *l, const char *name, int reason, const char *detail,
                      bool is_named) {
    char where[400];
    snprintf(where, sizeof where, "%.80s line %lld: %.250s", l->path, (long long)l->n_lines,
             detail);
    ms_files_skips_add(l->skips, name, reason, where, is_named);
}

static int reason_of_name(const char *name) {
    for (int i = 1; i < MS_FILES_N_REASONS; i++)
        if (strcmp(ms_files_reason_name(i), name) == 0) return i;
    return MS_FILES_UNREADABLE;
}

/* The ids of a JSON array; NULL with a text in detail when one is wrong. */
static int32_t *get_ids(const ms_token_lines *l, const cJSON *tokens, int64_t *n_ids, char *detail,
                        size_t cap) {
    size_t n = 0, all = cJSON_IsArray(tokens) ? (size_t)cJSON_GetArraySize(tokens) : 0;
    const cJSON *item;
    if (all == 0) {
        snprintf(detail, cap, "expected \"tokens\": [ids], got %s",
                 cJSON_IsArray(tokens) ? "an empty list" : "none");
        return NULL;
    }
    int32_t *ids = ms_cli_alloc(all, sizeof *ids);
    cJSON_ArrayForEach(item, tokens) {
        if (!cJSON_IsNumber(item) || item->valuedouble != (double)item->valueint ||
            item->valueint < 0 || item->valueint >= l->vocab) {
            snprintf(detail, cap, "token %zu: expected an integer in 0..%lld", n,
                     (long long)l->vocab - 1);
            free(ids);
            return NULL;
        }
        ids[n++] = item->valueint;
    }
    *n_ids = (int64_t)n;
    return ids;
}

/* One parsed line. True when it gave a sequence. */
static bool take_line(ms_token_lines *l, const cJSON *json, ms_sequence *out) {
    const cJSON *path = cJSON_GetObjectItemCaseSensitive(json, "path"),
                *error = cJSON_GetObjectItemCaseSensitive(json, "error"),
                *why = cJSON_GetObjectItemCaseSensitive(json, "detail");
    char detail[200];
    if (!cJSON_IsString(path) || !*path->valuestring) {
        skip_line(l, l->path, MS_FILES_UNREADABLE, "expected an object with a \"path\"", true);
        return false;
    }
    const char *name = path->valuestring;
    if (cJSON_IsString(error)) {
        skip_line(l, name, reason_of_name(error->valuestring),
                  cJSON_IsString(why) ? why->valuestring : "", false);
        return false;
    }
    if (strlen(name) > MS_FILES_MAX_NAME) {
        skip_line(l, name, MS_FILES_NAME_TOO_LONG, "expected a name of at most 1024 bytes", true);
        return false;
    }
    out->ids = get_ids(l, cJSON_GetObjectItemCaseSensitive(json, "tokens"), &out->n_ids, detail,
                       sizeof detail);
    if (!out->ids) {
        skip_line(l, name, MS_FILES_UNREADABLE, detail, true);
        return false;
    }
    out->full_length = out->n_ids;
    if (l->max_tokens && out->n_ids > l->max_tokens) {
        out->n_ids = l->max_tokens;
        l->n_cut++;
    }
    free(l->name);
    out->name = l->name = ms_cli_copy(name);
    out->name_len = (uint32_t)strlen(name);
    return true;
}

int ms_token_lines_next(void *lines, bool may_wait, ms_sequence *out) {
    ms_token_lines *l = lines;
    /* A pipe may have nothing for a while; only when there is nothing else to do is it waited
     * for. */
    if (!may_wait && l->file == stdin) return MS_READER_LATER;
    while (!l->is_ended && !ms_cli_stopped()) {
        errno = 0;
        ssize_t n = getline(&l->line, &l->line_cap, l->file);
        if (n <= 0) {
            l->is_ended = true;
            if (ferror(l->file) && !ms_cli_stopped())
                ms_files_skips_add(l->skips, l->path, MS_FILES_UNREADABLE, strerror(errno), true);
            break;
        }
        l->n_lines++;
        if (l->line[n - 1] == '\n') n--;
        if (n == 0) continue;
        l->n_done++;
        msim_error err;
        cJSON *json = ms_json_parse(l->line, (size_t)n, &err);
        if (!json) skip_line(l, l->path, MS_FILES_UNREADABLE, err.text, true);
        bool has_ids = json && take_line(l, json, out);
        cJSON_Delete(json);
        if (has_ids) return MS_READER_ITEM;
    }
    return MS_READER_END;
}

int64_t ms_token_lines_done(const void *lines) { return ((const ms_token_lines *)lines)->n_done; }
int64_t ms_token_lines_cut(const ms_token_lines *lines) { return lines->n_cut; }

void ms_token_lines_close(ms_token_lines *l) {
    if (!l) return;
    if (l->file != stdin) fclose(l->file);
    free(l->name);
    free(l->line);
    free(l);
}
