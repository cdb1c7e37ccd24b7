/* CORPUS.npy.json as text, without the texts of its rows (pipeline/disk/sources.c):
 * pipeline/disk/description.h. */
#define _GNU_SOURCE
#include "pipeline/disk/description.h"
#include "base/text/json.h"
#include "base/text/number.h"
#include <stdio.h>
#include <string.h>

/* Members of an object, each with the comma before it. */
static void put(ms_json_text *to, const char *text) { ms_json_put(to, text, strlen(text)); }

static void put_key(ms_json_text *to, const char *key) {
    put(to, to->data && to->data[to->n - 1] != '{' ? ",\"" : "\"");
    put(to, key);
    put(to, "\":");
}

static void put_text(ms_json_text *to, const char *key, const char *value) {
    put_key(to, key);
    ms_json_put_string(to, value, strlen(value));
}

static void put_int(ms_json_text *to, const char *key, int64_t value) {
    put_key(to, key);
    ms_json_put_int(to, value);
}

static void put_bool(ms_json_text *to, const char *key, bool value) {
    put_key(to, key);
    put(to, value ? "true" : "false");
}

static void put_weights(ms_json_text *to, const ms_description *from) {
    char digits[MS_NUMBER_BYTES];
    put_key(to, "pool_weights");
    for (int i = 0; from->is_weighted && i < from->n_classes; i++) {
        put(to, i ? "," : "[");
        put(to, ms_number_print((double)from->pool_weights[i], 9, digits));
    }
    put(to, from->is_weighted ? "]" : "null");
}

static void put_model(ms_json_text *to, const ms_description *from) {
    put_key(to, "model");
    put(to, "{");
    put_text(to, "sha256", from->model_sha256);
    put_text(to, "family", from->family);
    put_int(to, "dim", from->dim);
    put_int(to, "depth", from->depth);
    put_int(to, "heads", from->heads);
    put_int(to, "vocab", from->vocab);
    put(to, "}");
}

/* Descriptions of midisim are as they were before there was another family. */
static void put_tokens(ms_json_text *to, const ms_description *from) {
    if (!from->has_tokens) return;
    put_key(to, "tokens");
    put(to, "{");
    put_text(to, "order", msim_token_order_name(from->token_order));
    put_bool(to, "clean", !from->is_unclean);
    put(to, "}");
}

static void put_levels(ms_json_text *to, const char *levels) {
    char text[64], *rest = text, *word;
    snprintf(text, sizeof text, "%s", levels);
    put_key(to, "levels");
    for (const char *before = "["; (word = strsep(&rest, " ")); before = ",") {
        put(to, before);
        ms_json_put_string(to, word, strlen(word));
    }
    put(to, "]");
}

/* What is only there when it says something. */
static void put_optional(ms_json_text *to, const ms_description *from) {
    if (from->window_tokens) {
        put_key(to, "windows");
        put(to, "{");
        put_int(to, "tokens", from->window_tokens);
        put_int(to, "step", from->window_step);
        if (from->is_pooled) put_bool(to, "pooled", true);
        put(to, "}");
    }
    if (from->unread) put_int(to, "unread", from->unread);
    if (from->failed) put_int(to, "failed", from->failed);
    if (*from->fingerprint) put_text(to, "fingerprint", from->fingerprint);
    if (*from->whitening) {
        put_key(to, "whitening");
        put(to, "{");
        put_text(to, "hash", from->whitening);
        put(to, "}");
    }
    if (from->n_shards) {
        put_key(to, "shard");
        put(to, "{");
        put_int(to, "index", from->shard);
        put_int(to, "of", from->n_shards);
        put(to, "}");
    }
    if (*from->levels) put_levels(to, from->levels);
}

/* Of rows whose model is not known. */
static char *print_short(const ms_description *from, msim_error *err) {
    ms_json_text to = {0};
    put(&to, "{");
    put_text(&to, "tool", from->tool);
    put_text(&to, "version", from->version);
    put_int(&to, "rows", from->rows);
    put_optional(&to, from);
    put(&to, "}");
    if (ms_json_text_failed(&to, err) < 0) ms_json_text_free(&to);
    return to.data;
}

char *ms_description_print(const ms_description *from, msim_error *err) {
    ms_json_text to = {0};
    if (from->dim == 0) return print_short(from, err);
    put(&to, "{");
    put_text(&to, "tool", from->tool);
    put_text(&to, "version", from->version);
    put_model(&to, from);
    put_tokens(&to, from);
    put_text(&to, "pooling", from->is_weighted ? "weighted" : "mean");
    put_weights(&to, from);
    put_text(&to, "precision", from->precision);
    put_text(&to, "level", from->level);
    put_text(&to, "device", from->device);
    put_int(&to, "max_tokens", from->max_tokens);
    put_bool(&to, "normalized", from->is_normalized);
    put_text(&to, "dtype", from->dtype);
    put_text(&to, "names", from->names);
    put_int(&to, "transpose", from->transpose);
    put_int(&to, "rows", from->rows);
    put_int(&to, "files", from->files);
    put_bool(&to, "complete", from->is_complete);
    put_optional(&to, from);
    put(&to, "}");
    if (ms_json_text_failed(&to, err) < 0) ms_json_text_free(&to);
    return to.data;
}

int ms_description_write(const char *corpus, const ms_description *description, msim_error *err) {
    char path[4352];
    if (!ms_description_path(corpus, path, sizeof path))
        return ms_fail(err, MSIM_E_ARG, "path too long: %.80s...", corpus);
    return ms_description_write_to(path, description, NULL, err);
}
