/* Contract: tools/common/corpus/made.h. */
#include "common/corpus/made.h"
#include "common/cli.h"
#include <stdio.h>
#include <string.h>

void ms_made_pooling(char *text, size_t cap, bool is_weighted, const float *weights,
                     int n_weights) {
    size_t n = (size_t)snprintf(text, cap, is_weighted ? "weighted" : "mean");
    for (int i = 0; is_weighted && i < n_weights && n < cap; i++)
        n += (size_t)snprintf(text + n, cap - n, "%c%g", i ? ',' : ' ', (double)weights[i]);
}

void ms_made_tokens(char *text, size_t cap, int order, bool is_unclean) {
    snprintf(text, cap, "tokens %s, %s", msim_token_order_name(order),
             is_unclean ? "of all instruments" : "cleaned");
}

/* What decides whether vectors may be compared: model, pooling, limit. Level, precision and names
 * may differ. */
static bool parts_differ(const ms_description *a, const ms_description *b, char *expected,
                         char *got, size_t cap) {
    if (strcmp(a->model_sha256, b->model_sha256) != 0) {
        snprintf(expected, cap, "model %s %.12s", a->family, a->model_sha256);
        snprintf(got, cap, "%s %.12s", b->family, b->model_sha256);
    } else if (a->max_tokens != b->max_tokens) {
        snprintf(expected, cap, "token limit %lld", (long long)a->max_tokens);
        snprintf(got, cap, "%lld", (long long)b->max_tokens);
    } else if (a->window_tokens != b->window_tokens || a->window_step != b->window_step) {
        snprintf(expected, cap, "windows %lld/%lld", (long long)a->window_tokens,
                 (long long)a->window_step);
        snprintf(got, cap, "%lld/%lld", (long long)b->window_tokens, (long long)b->window_step);
    } else if (a->is_pooled != b->is_pooled) {
        snprintf(expected, cap, "%s", a->is_pooled ? "means of windows" : "windows");
        snprintf(got, cap, "%s", b->is_pooled ? "means of windows" : "windows");
    } else if (a->is_normalized != b->is_normalized) {
        snprintf(expected, cap, "%snormalised rows", a->is_normalized ? "" : "un");
        snprintf(got, cap, "%snormalised ones", b->is_normalized ? "" : "un");
    } else if (a->transpose != b->transpose) {
        snprintf(expected, cap, "transposition %lld", (long long)a->transpose);
        snprintf(got, cap, "%lld", (long long)b->transpose);
    } else if (a->token_order != b->token_order || a->is_unclean != b->is_unclean) {
        ms_made_tokens(expected, cap, a->token_order, a->is_unclean);
        ms_made_tokens(got, cap, b->token_order, b->is_unclean);
    } else {
        char pooling[80];
        ms_made_pooling(pooling, sizeof pooling, a->is_weighted, a->pool_weights, a->n_classes);
        ms_made_pooling(got, cap, b->is_weighted, b->pool_weights, b->n_classes);
        if (strcmp(pooling, got) == 0) return false;
        snprintf(expected, cap, "pooling %s", pooling);
    }
    return true;
}

/* A description that cannot be used: an error, or with --force a warning. */
static int refuse(enum ms_made_force force, const msim_error *why, int rc, msim_error *err) {
    if (rc == -MSIM_E_MEMORY) return ms_fail(err, MSIM_E_MEMORY, "%s", why->text);
    if (force != MS_MADE_FORCED)
        return ms_fail(err, rc == -MSIM_E_ARG ? MSIM_E_ARG : MSIM_E_FORMAT, "%.440s%s", why->text,
                       force == MS_MADE_MAY_FORCE ? " (--force searches without it)" : "");
    ms_cli_warning("%s", why->text);
    return 0;
}

/* One part's description against those before it. */
static int read_part(const msim_corpus *corpus, int64_t part, enum ms_made_force force,
                     ms_made *out, msim_error *err) {
    const char *path = msim_corpus_part_path(corpus, part);
    char expected[160], got[160];
    ms_description made;
    msim_error why;
    int found = ms_description_read(path, &made, &why);
    if (found < 0) return refuse(force, &why, found, err);
    if (found == 0) {
        if (out->n_undescribed++ == 0) out->undescribed = path;
        return 0;
    }
    int rc = ms_description_check(&made, corpus, part, &why);
    if (rc < 0) return refuse(force, &why, rc, err);
    if (!out->is_described) {
        out->made = made;
        out->is_described = true;
        return 0;
    }
    if (!parts_differ(&out->made, &made, expected, got, sizeof got)) return 0;
    if (force != MS_MADE_FORCED)
        return ms_fail(err, MSIM_E_ARG,
                       "parts of the corpus differ: %.200s: expected %s as in the first, got %s%s",
                       path, expected, got,
                       force == MS_MADE_MAY_FORCE ? " (--force searches all the same)" : "");
    ms_cli_warning("parts of the corpus differ: %s: the first has %s, this one %s", path, expected,
                   got);
    return 0;
}

int ms_made_read(const msim_corpus *corpus, enum ms_made_force force, ms_made *out,
                 msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    *out = (ms_made){0};
    int rc = msim_corpus_get_info(corpus, &info);
    for (int64_t part = 0; part < info.parts && rc >= 0; part++)
        rc = read_part(corpus, part, force, out, err);
    return rc;
}

void ms_made_say_undescribed(const ms_made *m) {
    if (m->n_undescribed == 1)
        ms_cli_note("model of the corpus unknown: there is no %s.json", m->undescribed);
    else if (m->n_undescribed > 1)
        ms_cli_note(
            "model of the corpus unknown: there is no %s.json, nor one for %lld other parts",
            m->undescribed, (long long)(m->n_undescribed - 1));
}

bool ms_made_published(const msim_model_info *model, float *weights) {
    static const float published[] = {1, 2, 1, 2};
    if (model->token_family != MSIM_FAMILY_MIDISIMX) return false;
    memcpy(weights, published, sizeof published);
    return true;
}
