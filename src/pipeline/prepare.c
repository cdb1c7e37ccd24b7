/* The first step of a job (pipeline/job.h): the output, its description and its journal say what is
 * left to do. docs/FORMATS.md, Journals, has the rules. */
#define _GNU_SOURCE
#include "pipeline/index/noted.h"
#include "pipeline/job.h"
#include <stdio.h>
#include <string.h>

static void describe(msim_job *r) {
    const msim_job_options *o = &r->o;
    ms_description *d = &r->description;
    *d = (ms_description){.tool = "midisim-embed",
                          .is_weighted = o->class_weights != NULL,
                          .max_tokens = o->max_tokens,
                          .window_tokens = o->window_tokens,
                          .window_step = o->window_step,
                          .is_pooled = o->is_pooled != 0,
                          .is_normalized = o->is_l2_normalized,
                          .transpose = o->transpose,
                          .shard = o->shard,
                          .n_shards = o->n_shards,
                          .files = (int64_t)r->manifest.files.n};
    d->n_classes = r->info.n_classes;
    for (int i = 0; i < MS_DESCRIPTION_CLASSES; i++)
        d->pool_weights[i] = o->class_weights && i < d->n_classes ? o->class_weights[i] : 1.0f;
    snprintf(d->version, sizeof d->version, "%s", msim_version());
    snprintf(d->dtype, sizeof d->dtype, "%s", o->dtype == MSIM_DTYPE_F16 ? "f16" : "f32");
    snprintf(d->names, sizeof d->names, "%s", o->names == MSIM_NAMES_STEM ? "stem" : "path");
    ms_description_set_model(d, &r->info);
    snprintf(r->level, sizeof r->level, "%s", d->level);
}

static int open_inputs(msim_job *r, msim_error *err) {
    const msim_job_options *o = &r->o;
    ms_files_request request = {.paths = o->paths,
                                .n_paths = o->n_paths,
                                .files_from = o->files_from,
                                .is_nul_separated = o->is_nul_separated,
                                .names = o->names,
                                .shard = o->shard,
                                .n_shards = o->n_shards,
                                .watch = &r->watch};
    int rc = o->from_tokens ? 0 : ms_files_list_open(&request, &r->manifest.files, err);
    return rc < 0 ? rc : ms_manifest_open(&r->manifest, &r->watch, err);
}

/* Rows of several levels in one corpus need --force, and are noted. */
static int accept_level(const msim_job *r, const ms_description *found, const char *where,
                        msim_error *err) {
    if (ms_description_has_level(found, r->level) || r->o.is_forced) return 0;
    return ms_fail(
        err, MSIM_E_ARG,
        "another level or device: %.200s: expected %s on %s, got %s on %s; --force goes on "
        "with both",
        where, found->level, found->device, r->description.level, r->description.device);
}

static int refuse_existing(const msim_job *r, const char *why, msim_error *err) {
    return ms_fail(err, MSIM_E_ARG, "exists already: %.150s: %.220s; --force replaces it%s",
                   r->o.output, why, r->o.is_update ? "" : ", --update brings it up to date");
}

/* There is a corpus. It may be the result already: is_complete. Else go on, and bring the corpus up
 * to date if r->previous is open then. */
static int judge_existing(msim_job *r, msim_error *err) {
    const msim_job_options *s = &r->o;
    msim_error why;
    char what[256];
    if (s->is_forced && !s->is_update) return 0;
    if (s->from_tokens && !s->is_update)
        return refuse_existing(r, "token lines cannot be compared with it", err);
    int rc = ms_previous_open(s->output, r->output.dtype, &r->previous, &why);
    if (rc == -MSIM_E_MEMORY) return ms_fail(err, MSIM_E_MEMORY, "%s", why.text);
    if (rc < 0) /* an update would need what could not be opened */
        return ms_fail(err, MSIM_E_ARG, "exists already: %.150s: %.260s; --force replaces it",
                       s->output, why.text);
    const ms_description *found = &r->previous.description;
    if (ms_description_differs_beyond_level(found, &r->description, what, sizeof what))
        return ms_fail(err, MSIM_E_ARG, "exists already: %.150s: %s; --force %sreplaces it",
                       s->output, what, s->is_update ? "without --update " : "");
    if (s->is_update) return accept_level(r, found, s->output, err);
    if (ms_description_differs(found, &r->description, what, sizeof what) &&
        !ms_description_has_level(found, r->level))
        return ms_fail(err, MSIM_E_ARG, "exists already: %.150s: %s; --force replaces it",
                       s->output, what);
    if (!found->is_complete)
        return refuse_existing(r, "it is of a run that failed, and not complete", err);
    rc = ms_manifest_verify(&r->manifest, &r->previous, &why);
    if (rc == -MSIM_E_MEMORY) return ms_fail(err, MSIM_E_MEMORY, "%s", why.text);
    if (rc < 0) return refuse_existing(r, why.text, err);
    const int has_index = s->notes ? ms_job_index_is_current(r, err) : 1;
    if (has_index < 0) return has_index;
    if (!has_index && !r->previous.sources && found->rows)
        return refuse_existing(r,
                               "it does not say which files its rows came from, so midisim-index "
                               "has to make its note index",
                               err);
    r->is_complete = !found->unread && has_index; /* what could not be read then is tried again */
    return 0;
}

/* The journal: go on with it, or begin it anew. */
static int open_records(msim_job *r, bool exists, msim_error *err) {
    ms_description found, levels;
    char what[256];
    const char *path = ms_journal_path(r->journal);
    bool is_replaced = exists && !r->previous.corpus;
    int state = ms_journal_state(r->journal, &found), rc;
    if (state == MS_JOURNAL_NONE || (state == MS_JOURNAL_FINISHED && is_replaced))
        return ms_journal_begin(r->journal, &r->description, err);
    if (ms_description_differs_beyond_level(&found, &r->description, what, sizeof what)) {
        if (state == MS_JOURNAL_FINISHED && (exists || r->o.is_forced))
            return ms_journal_begin(r->journal, &r->description, err);
        return ms_fail(
            err, MSIM_E_ARG,
            "unfinished run: %.200s: %s; finish it with its settings, or remove that file to "
            "begin anew",
            path, what);
    }
    levels = found;
    rc = ms_manifest_load(&r->manifest, r->journal, r->o.max_tokens, &levels, err);
    if (rc >= 0) rc = accept_level(r, &levels, path, err);
    if (rc < 0) return rc;
    ms_description_add_levels(&r->description, &levels);
    if (ms_description_has_level(&levels, r->level)) return 0;
    ms_journal_record note = {
        .kind = MS_JOURNAL_LEVEL, .detail = r->level, .detail_len = (uint16_t)strlen(r->level)};
    int64_t at = ms_journal_add(r->journal, &note, err);
    return at < 0 ? (int)at : 0;
}

/* The journal of another process of this corpus, CORPUS.npy.rank-N.journal: it becomes part of
 * ours, and is removed. */
int ms_job_absorb(msim_job *r, const char *corpus, bool is_now, msim_error *err) {
    ms_journal *other;
    ms_description found;
    char what[256];
    int rc = ms_journal_open(corpus, &r->watch, &other, err);
    if (rc < 0) return rc;
    const char *path = ms_journal_path(other);
    if (ms_journal_state(other, &found) == MS_JOURNAL_NONE) {
        ms_journal_close(other);
        return 0;
    }
    if (ms_description_differs_beyond_level(&found, &r->description, what, sizeof what))
        rc = ms_fail(
            err, MSIM_E_ARG,
            "unfinished run: %.200s: %s; finish it with its settings, or remove that file to "
            "begin anew",
            path, what);
    if (rc >= 0) rc = accept_level(r, &found, path, err);
    if (rc >= 0 && !ms_description_has_level(&r->description, found.level)) {
        ms_journal_record note = {.kind = MS_JOURNAL_LEVEL,
                                  .detail = found.level,
                                  .detail_len = (uint16_t)strlen(found.level)};
        ms_description_add_level(&r->description, found.level);
        int64_t at = ms_journal_add(r->journal, &note, err);
        if (at < 0) rc = (int)at;
    }
    if (rc >= 0)
        rc = ms_manifest_absorb(&r->manifest, r->journal, other, r->o.max_tokens, &r->description,
                                is_now, err);
    if (rc >= 0) rc = ms_journal_sync(r->journal, err);
    if (rc >= 0) rc = ms_journal_finish(other, false, err);
    ms_journal_close(other);
    return rc;
}

static int open_model(msim_job *r, msim_error *err) {
    int rc = 0;
    r->model = r->o.model;
    if (!r->model) {
        if (!r->o.model_path) return ms_fail(err, MSIM_E_ARG, "no model: set model or model_path");
        rc = msim_model_open(r->o.model_path, &r->options, &r->own_model, err);
        r->model = r->own_model;
    }
    r->info.size = sizeof r->info;
    if (rc >= 0) rc = msim_model_get_info(r->model, &r->info);
    if (rc >= 0 && r->info.n_classes > MS_DESCRIPTION_CLASSES)
        rc = ms_fail(err, MSIM_E_LIMIT, "model: expected at most %d classes of tokens, got %d",
                     MS_DESCRIPTION_CLASSES, r->info.n_classes);
    if (rc >= 0)
        rc = ms_files_check_weights("job", r->o.class_weights, r->o.n_class_weights, &r->info, err);
    /* By default a piece is cut to the length of the model's training; with windows all of it is
     * used. */
    if (rc >= 0 && r->o.max_tokens < 0)
        r->o.max_tokens = r->o.window_tokens ? 0 : r->info.max_tokens;
    return rc;
}

/* What this process itself is: model, settings, level. */
static int describe_self(msim_job *r, msim_error *err) {
    int rc = open_model(r, err);
    if (rc >= 0) describe(r);
    return rc;
}

int ms_job_join(msim_job *r, const ms_description *description, msim_error *err) {
    char what[256];
    int rc = describe_self(r, err);
    if (rc < 0) return rc;
    if (ms_description_differs_beyond_level(description, &r->description, what, sizeof what))
        return ms_fail(err, MSIM_E_ARG, "ranks differ: %s", what);
    if (ms_description_has_level(description, r->level) || r->o.is_forced) return 0;
    return ms_fail(
        err, MSIM_E_ARG,
        "ranks differ: expected %s on %s, got %s on %s; --isa %s makes them equal, --force "
        "goes on with both",
        description->level, description->device, r->level, r->description.device,
        description->level);
}

/* A journal that is left of a run whose corpus is there. */
static int drop_journal(msim_job *r, msim_error *err) {
    ms_description found;
    if (ms_journal_state(r->journal, &found) != MS_JOURNAL_OPEN) return 0;
    return ms_journal_finish(r->journal, r->o.is_journal_kept, err);
}

/* Take over the rows of the previous corpus whose inputs have not changed. */
static int match_previous(msim_job *r, msim_error *err) {
    if (!r->previous.corpus) return 0;
    ms_description_add_levels(&r->description, &r->previous.description);
    int rc = ms_manifest_match(&r->manifest, &r->previous, err);
    if (rc >= 0) ms_noted_forget(&r->manifest);
    if (rc >= 0 && !r->previous.sources && r->previous.description.rows)
        ms_watch_say(&r->watch, MSIM_MESSAGE_WARNING,
                     "%s.json does not say which files its rows came from: all are embedded again",
                     r->o.output);
    return rc;
}

int ms_job_prepare(msim_job *r, msim_error *err) {
    bool exists;
    int rc = ms_output_check(&r->output, &exists, err);
    if (rc >= 0) rc = ms_job_check_journals(r, err);
    if (rc >= 0) rc = open_model(r, err);
    if (rc >= 0) rc = open_inputs(r, err);
    if (rc < 0) return rc;
    describe(r);
    rc = ms_journal_open(r->o.output, &r->watch, &r->journal, err);
    if (rc >= 0) rc = ms_output_recover(&r->output, err);
    if (rc >= 0) rc = ms_output_check(&r->output, &exists, err); /* which that may have changed */
    if (rc >= 0) rc = ms_job_open_index(r, err);
    if (rc >= 0 && exists) rc = judge_existing(r, err);
    if (rc < 0) return rc;
    if (r->is_complete) return drop_journal(r, err);
    rc = match_previous(r, err);
    if (rc >= 0) rc = open_records(r, exists, err);
    if (rc >= 0) rc = ms_job_absorb_left(r, err);
    ms_manifest_settle(&r->manifest);
    r->take = ms_manifest_take;
    r->take_user = &r->manifest;
    return rc;
}
