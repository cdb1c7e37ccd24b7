/* The first step of a run: what the output, its description and its journal say about what is left
 * to do. The rules are those of docs/FORMATS.md, Journals. Contract: tools/pipeline/embed.h. */
#define _GNU_SOURCE
#include "embed.h"
#include <stdio.h>
#include <string.h>

static void describe(ms_embed_run *r) {
    const ms_embed_settings *s = r->s;
    msim_model_info info = {.size = sizeof info};
    msim_model_get_info(r->model, &info);
    ms_description *d = &r->about;
    *d = (ms_description){.tool = "midisim-embed",
                          .is_weighted = s->pooling == 1,
                          .max_tokens = s->max_tokens,
                          .is_normalized = s->is_normalized,
                          .transpose = s->transpose,
                          .shard = s->shard_index,
                          .n_shards = s->n_shards,
                          .files = (int64_t)r->inputs.files.n};
    memcpy(d->pool_weights, s->pool_weights, sizeof d->pool_weights);
    snprintf(d->version, sizeof d->version, "%s", msim_version());
    snprintf(d->dtype, sizeof d->dtype, "%s", s->dtype ? "f16" : "f32");
    snprintf(d->names, sizeof d->names, "%s", s->names == MS_FILES_NAMES_STEM ? "stem" : "path");
    ms_description_set_model(d, &info);
    snprintf(r->level, sizeof r->level, "%s", d->level);
}

static int open_inputs(ms_embed_run *r, msim_error *err) {
    const ms_embed_settings *s = r->s;
    ms_files_request request = {.paths = &s->common.operands,
                                .files_from = s->files_from,
                                .is_nul_separated = s->is_nul_separated,
                                .names = s->names,
                                .shard = s->shard_index,
                                .n_shards = s->n_shards};
    int rc = s->from_tokens ? 0 : ms_files_list_open(&request, &r->inputs.files, err);
    if (rc >= 0) ms_manifest_open(&r->inputs);
    return rc;
}

/* Rows of several levels in one corpus need --force, and are noted. */
static int accept_level(const ms_embed_run *r, const ms_description *found, const char *where,
                        msim_error *err) {
    if (ms_description_has_level(found, r->level) || r->s->is_forced) return 0;
    return ms_cli_fail(
        err, MSIM_E_ARG,
        "another level or device: %.200s: expected %s on %s, got %s on %s; --force goes on "
        "with both",
        where, found->level, found->device, r->about.level, r->about.device);
}

static int refuse_existing(const ms_embed_run *r, const char *why, msim_error *err) {
    return ms_cli_fail(err, MSIM_E_ARG, "exists already: %.150s: %.220s; --force replaces it%s",
                       r->s->output, why, r->s->is_update ? "" : ", --update brings it up to date");
}

/* There is a corpus. 1: it is the result already; 0: go on, with a base if r->base is open then. */
static int judge_existing(ms_embed_run *r, msim_error *err) {
    const ms_embed_settings *s = r->s;
    msim_error why;
    char what[256];
    if (s->is_forced && !s->is_update) return 0;
    if (s->from_tokens && !s->is_update)
        return refuse_existing(r, "token lines cannot be compared with it", err);
    int rc = ms_previous_open(s->output, r->output.dtype, &r->base, &why);
    if (rc < 0) return refuse_existing(r, why.text, err);
    const ms_description *found = &r->base.about;
    if (ms_description_differs_beyond_level(found, &r->about, what, sizeof what))
        return ms_cli_fail(err, MSIM_E_ARG, "exists already: %.150s: %s; --force %sreplaces it",
                           s->output, what, s->is_update ? "without --update " : "");
    if (s->is_update) return accept_level(r, found, s->output, err);
    if (ms_description_differs(found, &r->about, what, sizeof what) &&
        !ms_description_has_level(found, r->level))
        return ms_cli_fail(err, MSIM_E_ARG, "exists already: %.150s: %s; --force replaces it",
                           s->output, what);
    if (!found->is_complete)
        return refuse_existing(r, "expected a complete corpus, got one of a run that failed", err);
    rc = ms_manifest_verify(&r->inputs, &r->base, &why);
    if (rc < 0) return refuse_existing(r, why.text, err);
    return found->unread ? 0 : 1; /* what could not be read then is tried again */
}

/* The journal: go on with it, or begin it anew. */
static int open_records(ms_embed_run *r, bool exists, msim_error *err) {
    ms_description found, levels;
    char what[256];
    const char *path = ms_journal_path(r->journal);
    bool is_replaced = exists && !r->base.corpus;
    int state = ms_journal_state(r->journal, &found), rc;
    if (state == MS_JOURNAL_NONE || (state == MS_JOURNAL_FINISHED && is_replaced))
        return ms_journal_begin(r->journal, &r->about, err);
    if (ms_description_differs_beyond_level(&found, &r->about, what, sizeof what)) {
        if (state == MS_JOURNAL_FINISHED && (exists || r->s->is_forced))
            return ms_journal_begin(r->journal, &r->about, err);
        return ms_cli_fail(
            err, MSIM_E_ARG,
            "unfinished run: %.200s: %s; finish it with its settings, or remove that file to "
            "begin anew",
            path, what);
    }
    levels = found;
    rc = ms_manifest_load(&r->inputs, r->journal, r->s->max_tokens, &levels, err);
    if (rc >= 0) rc = accept_level(r, &levels, path, err);
    if (rc < 0) return rc;
    ms_description_add_levels(&r->about, &levels);
    if (ms_description_has_level(&levels, r->level)) return 0;
    ms_journal_record note = {
        .kind = MS_JOURNAL_LEVEL, .detail = r->level, .detail_len = (uint16_t)strlen(r->level)};
    return ms_journal_add(r->journal, &note, err) < 0 ? -err->code : 0;
}

/* The journal of another process of this corpus, CORPUS.npy.rank-N.journal: it becomes part of
 * ours, and is removed. */
int ms_embed_absorb(ms_embed_run *r, const char *corpus, bool is_now, msim_error *err) {
    ms_journal *other;
    ms_description found;
    char what[256];
    int rc = ms_journal_open(corpus, &other, err);
    if (rc < 0) return rc;
    const char *path = ms_journal_path(other);
    if (ms_journal_state(other, &found) == MS_JOURNAL_NONE) {
        ms_journal_close(other);
        return 0;
    }
    if (ms_description_differs_beyond_level(&found, &r->about, what, sizeof what))
        rc = ms_cli_fail(
            err, MSIM_E_ARG,
            "unfinished run: %.200s: %s; finish it with its settings, or remove that file to "
            "begin anew",
            path, what);
    if (rc >= 0) rc = accept_level(r, &found, path, err);
    if (rc >= 0 && !ms_description_has_level(&r->about, found.level)) {
        ms_journal_record note = {.kind = MS_JOURNAL_LEVEL,
                                  .detail = found.level,
                                  .detail_len = (uint16_t)strlen(found.level)};
        ms_description_add_level(&r->about, found.level);
        if (ms_journal_add(r->journal, &note, err) < 0) rc = -err->code;
    }
    if (rc >= 0)
        rc = ms_manifest_absorb(&r->inputs, r->journal, other, r->s->max_tokens, &r->about, is_now,
                                err);
    if (rc >= 0) rc = ms_journal_sync(r->journal, err);
    if (rc >= 0) rc = ms_journal_finish(other, false, err);
    ms_journal_close(other);
    return rc;
}

static int open_model(ms_embed_run *r, msim_error *err) {
    char path[4096];
    /* said already */
    if (!ms_cli_find_model(&r->s->common, path, sizeof path))
        return ms_cli_fail(err, MSIM_E_IO, "%s", "");
    return msim_model_open(path, &r->options, &r->model, err);
}

/* What this process itself is: model, settings, level. */
static int describe_self(ms_embed_run *r, msim_error *err) {
    int rc = open_model(r, err);
    if (rc >= 0) describe(r);
    return rc;
}

int ms_embed_join(ms_embed_run *r, const ms_description *about, msim_error *err) {
    char what[256];
    int rc = describe_self(r, err);
    if (rc < 0) return rc;
    if (ms_description_differs_beyond_level(about, &r->about, what, sizeof what))
        return ms_cli_fail(err, MSIM_E_ARG, "ranks differ: %s", what);
    if (ms_description_has_level(about, r->level) || r->s->is_forced) return 0;
    return ms_cli_fail(
        err, MSIM_E_ARG,
        "ranks differ: expected %s on %s, got %s on %s; --isa %s makes them equal, --force "
        "goes on with both",
        about->level, about->device, r->level, r->about.device, about->level);
}

int ms_embed_prepare(ms_embed_run *r, msim_error *err) {
    const ms_embed_settings *s = r->s;
    bool exists;
    int rc = ms_output_check(&r->output, &exists, err);
    if (rc >= 0) rc = open_model(r, err);
    if (rc >= 0) rc = open_inputs(r, err);
    if (rc < 0) return rc;
    describe(r);
    rc = ms_journal_open(s->output, &r->journal, err);
    if (rc >= 0) rc = ms_output_recover(&r->output, err);
    if (rc >= 0) rc = ms_output_check(&r->output, &exists, err); /* which that may have changed */
    if (rc >= 0 && exists) rc = judge_existing(r, err);
    if (rc != 0) {
        ms_description found;
        /* A journal that is left of a run whose corpus is there. */
        if (rc == 1 && ms_journal_state(r->journal, &found) == MS_JOURNAL_OPEN) {
            int removed = ms_journal_finish(r->journal, s->is_journal_kept, err);
            if (removed < 0) return removed;
        }
        return rc;
    }
    if (r->base.corpus) {
        ms_description_add_levels(&r->about, &r->base.about);
        ms_manifest_match(&r->inputs, &r->base);
        if (!r->base.sources && r->base.about.rows)
            ms_cli_warning(
                "%s.json does not say which files its rows came from: all are embedded again",
                s->output);
    }
    rc = open_records(r, exists, err);
    if (rc >= 0) rc = ms_embed_absorb_left(r, err);
    ms_manifest_settle(&r->inputs);
    r->take = ms_manifest_take;
    r->take_user = &r->inputs;
    return rc < 0 ? rc : ms_files_skips_open(s->skipped, &r->skips, err);
}
