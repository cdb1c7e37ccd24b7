/* The settings of a corpus: taken from a model, with all levels that made its rows, and compared.
 * See pipeline/disk/description.h. */
#define _GNU_SOURCE
#include "pipeline/disk/description.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ms_description_set_model(ms_description *description, const msim_model_info *info) {
    snprintf(description->model_sha256, sizeof description->model_sha256, "%s", info->sha256);
    snprintf(description->family, sizeof description->family, "%s", info->family);
    description->dim = info->dim;
    description->depth = info->depth;
    description->heads = info->heads;
    description->vocab = info->vocab;
    description->has_tokens = info->token_family == MSIM_FAMILY_MIDISIMX;
    description->token_order = info->token_order;
    description->is_unclean = info->is_unclean != 0;
    bool cuda = info->device == MSIM_DEVICE_CUDA;
    const char *level = cuda ? "cuda" : msim_isa_name(info->isa),
               *precision = msim_precision_name(info->precision);
    snprintf(description->device, sizeof description->device, "%s", cuda ? "cuda" : "cpu");
    snprintf(description->level, sizeof description->level, "%s", level ? level : "unknown");
    snprintf(description->precision, sizeof description->precision, "%s",
             precision ? precision : "unknown");
}

/* ---- Levels ---- */

bool ms_description_has_level(const ms_description *description, const char *level) {
    if (strcmp(description->level, level) == 0) return true;
    size_t n = strlen(level);
    for (const char *at = description->levels; (at = strstr(at, level)); at += n)
        if ((at == description->levels || at[-1] == ' ') && (at[n] == 0 || at[n] == ' '))
            return true;
    return false;
}

void ms_description_add_level(ms_description *description, const char *level) {
    char words[8][16], *rest, text[sizeof description->levels];
    int n = 0;
    if (ms_description_has_level(description, level)) return;
    snprintf(text, sizeof text, "%s",
             *description->levels ? description->levels : description->level);
    rest = text;
    for (char *word; n < 7 && (word = strsep(&rest, " "));)
        snprintf(words[n++], sizeof words[0], "%.15s", word);
    snprintf(words[n++], sizeof words[0], "%.15s", level);
    qsort(words, (size_t)n, sizeof words[0], (int (*)(const void *, const void *))strcmp);
    *description->levels = 0;
    for (int i = 0, at = 0; i < n && at < (int)sizeof description->levels; i++)
        at += snprintf(description->levels + at, sizeof description->levels - (size_t)at, "%s%s",
                       i ? " " : "", words[i]);
    bool was_gpu = strcmp(description->device, "cuda") == 0, is_gpu = strcmp(level, "cuda") == 0;
    if (was_gpu != is_gpu) snprintf(description->device, sizeof description->device, "mixed");
    snprintf(description->level, sizeof description->level, "mixed");
}

void ms_description_add_levels(ms_description *description, const ms_description *from) {
    char level[16];
    const char *at = *from->levels ? from->levels : from->level;
    for (int n; sscanf(at, "%15s%n", level, &n) == 1; at += n)
        ms_description_add_level(description, level);
}

/* ---- Comparing ---- */

static bool texts_differ(const char *key, const char *expected, const char *got, char *what,
                         size_t cap) {
    if (strcmp(expected, got) == 0) return false;
    snprintf(what, cap, "%s: expected %.70s, got %.70s", key, expected, got);
    return true;
}

static bool ints_differ(const char *key, int64_t expected, int64_t got, char *what, size_t cap) {
    if (expected == got) return false;
    snprintf(what, cap, "%s: expected %lld, got %lld", key, (long long)expected, (long long)got);
    return true;
}

static void list_weights(const ms_description *d, char *text, size_t cap) {
    size_t n = 0;
    *text = 0;
    for (int i = 0; i < d->n_classes && n < cap; i++)
        n += (size_t)snprintf(text + n, cap - n, "%s%.9g", i ? "," : "", d->pool_weights[i]);
}

static bool weights_differ(const ms_description *a, const ms_description *b, char *what,
                           size_t cap) {
    char expected[100], got[100];
    if (!a->is_weighted || !b->is_weighted) return false;
    bool are_same = a->n_classes == b->n_classes;
    for (int i = 0; i < a->n_classes && are_same; i++)
        are_same = a->pool_weights[i] == b->pool_weights[i];
    if (are_same) return false;
    list_weights(a, expected, sizeof expected);
    list_weights(b, got, sizeof got);
    snprintf(what, cap, "pool weights: expected %s, got %s", expected, got);
    return true;
}

bool ms_description_differs(const ms_description *a, const ms_description *b, char *what,
                            size_t cap) {
    return weights_differ(a, b, what, cap) ||
           texts_differ("model", a->model_sha256, b->model_sha256, what, cap) ||
           ints_differ("width", a->dim, b->dim, what, cap) ||
           texts_differ("pooling", a->is_weighted ? "weighted" : "mean",
                        b->is_weighted ? "weighted" : "mean", what, cap) ||
           texts_differ("token order", msim_token_order_name(a->token_order),
                        msim_token_order_name(b->token_order), what, cap) ||
           texts_differ("cleaning", a->is_unclean ? "no" : "yes", b->is_unclean ? "no" : "yes",
                        what, cap) ||
           texts_differ("precision", a->precision, b->precision, what, cap) ||
           texts_differ("level", a->level, b->level, what, cap) ||
           texts_differ("device", a->device, b->device, what, cap) ||
           ints_differ("max tokens", a->max_tokens, b->max_tokens, what, cap) ||
           ints_differ("window", a->window_tokens, b->window_tokens, what, cap) ||
           ints_differ("window step", a->window_step, b->window_step, what, cap) ||
           texts_differ("windows pooled", a->is_pooled ? "yes" : "no", b->is_pooled ? "yes" : "no",
                        what, cap) ||
           texts_differ("normalised", a->is_normalized ? "yes" : "no",
                        b->is_normalized ? "yes" : "no", what, cap) ||
           texts_differ("whitening", *a->whitening ? a->whitening : "none",
                        *b->whitening ? b->whitening : "none", what, cap) ||
           texts_differ("dtype", a->dtype, b->dtype, what, cap) ||
           texts_differ("names", a->names, b->names, what, cap) ||
           ints_differ("transpose", a->transpose, b->transpose, what, cap) ||
           ints_differ("shard", a->shard, b->shard, what, cap) ||
           ints_differ("shards", a->n_shards, b->n_shards, what, cap);
}

bool ms_description_differs_beyond_level(const ms_description *a, const ms_description *b,
                                         char *what, size_t cap) {
    ms_description same = *b;
    memcpy(same.level, a->level, sizeof same.level);
    memcpy(same.device, a->device, sizeof same.device);
    return ms_description_differs(a, &same, what, cap);
}
