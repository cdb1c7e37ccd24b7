/* Contract: tools/serve/ask.h. */
#include "ask.h"
#include "base/mem.h"
#include "base/text/json.h"
#include "common/cli.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const modes[] = {"both", "find", "likeness", NULL};
static const char *const keys[] = {"all", "likely", "own", NULL};

static int choose(const char *key, const char *value, const char *const *names, int *out,
                  msim_error *err) {
    for (int i = 0; names[i]; i++)
        if (strcmp(value, names[i]) == 0) {
            *out = i;
            return MSIM_OK;
        }
    return ms_fail(err, MSIM_E_ARG, "%s: expected %s, %s or %s, got '%.40s'", key, names[0],
                   names[1], names[2], value);
}

bool ms_ask_is_id(const char *text) {
    const size_t n =
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    return n > 0 && n <= MS_ASK_ID_BYTES && text[n] == 0;
}

bool ms_ask_read_piece(const char *text, ms_ask_piece *out) {
    int64_t number;
    if ((*text != 'r' && *text != 'n') || text[1] < '0' || text[1] > '9' ||
        !ms_cli_int(text + 1, 0, INT64_MAX, &number))
        return false;
    *out = (ms_ask_piece){*text, number};
    return true;
}

int ms_ask_option(ms_ask *a, const char *key, const char *value, msim_error *err) {
    if (strcmp(key, "mode") == 0) return choose(key, value, modes, &a->mode, err);
    if (strcmp(key, "keys") == 0) return choose(key, value, keys, &a->keys, err);
    if (strcmp(key, "k") == 0 && !ms_cli_int(value, 1, MS_ASK_MAX_K, &a->k))
        return ms_fail(err, MSIM_E_ARG, "k: expected 1..%d, got '%.40s'", MS_ASK_MAX_K, value);
    if (strcmp(key, "id") == 0) {
        if (!ms_ask_is_id(value))
            return ms_fail(err, MSIM_E_ARG,
                           "id: expected 1 to %d letters, digits, '-' and '_', got '%.40s'",
                           MS_ASK_ID_BYTES, value);
        snprintf(a->id, sizeof a->id, "%s", value);
    }
    if (strcmp(key, "name") == 0) {
        const size_t n = strlen(value);
        if (n >= sizeof a->name || msim_name_chars(value, n) > MS_ASK_NAME_CHARS)
            return ms_fail(err, MSIM_E_ARG, "name: expected at most %d characters",
                           MS_ASK_NAME_CHARS);
        snprintf(a->name, sizeof a->name, "%s", value);
    }
    return MSIM_OK;
}

/* ---- Bodies ---- */

static bool is_type(const char *type, const char *wanted) {
    const size_t n = strlen(wanted);
    return type && strncasecmp(type, wanted, n) == 0 &&
           (type[n] == 0 || type[n] == ';' || type[n] == ' ');
}

/* {"notes": "C4 E4"} or {"piece": "r12"}, and nothing else. */
static int read_query(ms_ask *a, const cJSON *body, msim_error *err) {
    static const char what[] = "expected {\"notes\": \"C4 E4 ...\"} or {\"piece\": \"r12\"}";
    const cJSON *member = cJSON_IsObject(body) ? body->child : NULL;
    if (!member || member->next || !cJSON_IsString(member))
        return ms_fail(err, MSIM_E_ARG, "the body: %s", what);
    if (strcmp(member->string, "piece") == 0) {
        a->kind = MS_ASK_PIECE;
        if (ms_ask_read_piece(member->valuestring, &a->piece)) return MSIM_OK;
        return ms_fail(err, MSIM_E_ARG, "piece: expected r or n and a number, got '%.40s'",
                       member->valuestring);
    }
    if (strcmp(member->string, "notes") != 0)
        return ms_fail(err, MSIM_E_ARG, "the body: %s, got '%.40s'", what, member->string);
    a->kind = MS_ASK_PHRASE;
    if (msim_notes_parse(member->valuestring, NULL, 0, err) < 0) return -MSIM_E_ARG;
    a->bytes = (unsigned char *)ms_mem_copy_text(member->valuestring, "notes", err);
    if (!a->bytes) return -MSIM_E_MEMORY;
    a->n_bytes = strlen(member->valuestring) + 1;
    return MSIM_OK;
}

int ms_ask_body(ms_ask *a, const char *type, unsigned char **bytes, size_t n, msim_error *err) {
    if (is_type(type, "application/json")) {
        cJSON *body = ms_json_parse(n ? (const char *)*bytes : "", n, err);
        if (!body) return err->code == MSIM_E_MEMORY ? -MSIM_E_MEMORY : -MSIM_E_ARG;
        const int rc = read_query(a, body, err);
        cJSON_Delete(body);
        return rc;
    }
    if (!is_type(type, "audio/midi") && !is_type(type, "audio/x-midi") &&
        !is_type(type, "application/octet-stream"))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "Content-Type: expected audio/midi or application/json, got '%.80s'",
                       type ? type : "");
    if (n == 0) return ms_fail(err, MSIM_E_ARG, "the body: expected a MIDI file, got no bytes");
    a->kind = MS_ASK_MIDI;
    a->bytes = *bytes;
    a->n_bytes = n;
    *bytes = NULL;
    return MSIM_OK;
}

void ms_ask_free(ms_ask *a) {
    ms_free(a->bytes);
    a->bytes = NULL;
}
