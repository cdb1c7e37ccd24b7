/* The public functions of a job, which include/midisim.h describes under Jobs. pipeline/job.h has
 * the steps that they take. */
#define _GNU_SOURCE
#include "pipeline/job.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sized.h"
#include <string.h>

static const msim_job_options defaults = {.size = sizeof defaults, .max_tokens = -1};

void msim_job_options_init(msim_job_options *options) {
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

/* ---- Opening ---- */

static int refuse(msim_error *err, const char *what, const char *expected, int64_t got) {
    return ms_files_refuse("job", what, expected, got, err);
}

static int check_numbers(const msim_job_options *o, msim_error *err) {
    int rc = ms_files_check("job", o->names, o->shard, o->n_shards, o->transpose, err);
    if (rc < 0) return rc;
    if (o->max_tokens < -1 || o->max_tokens > (int64_t)1 << 30)
        return refuse(err, "max_tokens", "-1..2^30", o->max_tokens);
    rc = ms_files_check_windows("job", o->window_tokens, o->window_step, err);
    if (rc < 0) return rc;
    if (o->is_pooled && !o->window_tokens)
        return ms_fail(err, MSIM_E_ARG, "job: is_pooled is for windows: set window_tokens too");
    if (o->dtype != MSIM_DTYPE_F32 && o->dtype != MSIM_DTYPE_F16)
        return refuse(err, "dtype", "MSIM_DTYPE_F32 or MSIM_DTYPE_F16", o->dtype);
    return 0;
}

static int check_options(const msim_job_options *o, msim_error *err) {
    if (!o->output || !*o->output) return ms_fail(err, MSIM_E_ARG, "job: no output: set output");
    if (!o->n_paths && !o->files_from && !o->from_tokens)
        return ms_fail(err, MSIM_E_ARG, "job: no input: set paths, files_from or from_tokens");
    if (o->from_tokens && (o->n_paths || o->files_from))
        return ms_fail(err, MSIM_E_ARG,
                       "job: from_tokens replaces files: leave out paths and files_from");
    if (o->from_tokens && (o->transpose || o->n_shards || o->names != MSIM_NAMES_PATH))
        return ms_fail(
            err, MSIM_E_ARG,
            "job: from_tokens: transpose, shard and names are for MIDI files: leave them out");
    if (o->from_tokens && o->notes)
        return ms_fail(
            err, MSIM_E_ARG,
            "job: from_tokens: a note index is made of MIDI files alone: leave out notes");
    if (o->notes && strcmp(o->notes, o->output) == 0)
        return ms_fail(err, MSIM_E_ARG, "job: notes: %s is the output: name another file",
                       o->notes);
    if (o->from_tokens && o->window_tokens)
        return ms_fail(err, MSIM_E_ARG,
                       "job: from_tokens: windows are made of MIDI files alone, whose notes have "
                       "times");
    if (o->from_tokens && o->ranks && o->ranks->count > 1)
        return ms_fail(err, MSIM_E_ARG,
                       "job: from_tokens works in a single process, not on several ranks");
    return check_numbers(o, err);
}

/* The caller's options; what a program built before this library does not know has its default. */
static int copy_options(msim_job *job, const msim_job_options *options, msim_error *err) {
    job->o = defaults;
    int rc = ms_sized_in(&job->o, sizeof job->o, options, "job options", err);
    if (rc < 0) return rc;
    if (job->o.ranks && job->o.ranks->count < 2) job->o.ranks = NULL;
    job->options = job->o.options ? *job->o.options : msim_options_default();
    job->output = (ms_output){.path = job->o.output,
                              .name_field = job->o.name_field,
                              .vector_field = job->o.vector_field,
                              .dtype = job->o.dtype,
                              .watch = &job->watch};
    job->watch.progress = job->o.progress;
    job->watch.message = job->o.message;
    job->watch.user = job->o.user;
    ms_watch_begin(&job->watch);
    job->manifest.facts.is_kept = job->o.is_detailed != 0;
    job->manifest.wants_notes = job->o.notes != NULL;
    job->began = ms_clock_now();
    rc = check_options(&job->o, err);
    job->o.window_step = ms_files_window_step(job->o.window_tokens, job->o.window_step);
    return rc;
}

int msim_job_open(const msim_job_options *options, msim_job **out, msim_error *err) {
    msim_error own;
    msim_job *job = ms_alloc(1, sizeof *job, "job", err);
    *out = NULL;
    if (!job) return -MSIM_E_MEMORY;
    if (!err) err = &own;
    int rc = copy_options(job, options, err);
    if (rc >= 0) {
        bool is_first = ms_job_rank(job) == 0;
        rc = ms_job_share(job, is_first ? ms_job_prepare(job, err) : 0, err);
    }
    if (rc < 0) {
        msim_job_close(job);
        return rc;
    }
    *out = job;
    return 0;
}

void msim_job_close(msim_job *job) {
    if (!job) return;
    ms_reader_close(job->reader);
    ms_token_lines_close(job->lines);
    ms_pieces_close(&job->pieces);
    ms_journal_close(job->journal);
    ms_previous_close(&job->previous);
    msim_notes_close(job->index);
    msim_model_close(job->own_model);
    ms_manifest_close(&job->manifest);
    ms_skips_close(&job->skips);
    ms_free(job->order);
    ms_job_part_free(job->part);
    ms_free(job);
}

/* ---- Running ---- */

/* Everything is done: the corpus. */
static int finish(msim_job *job, msim_error *err) {
    int rc = ms_job_account(job, err);
    /* The index first: where the corpus is whole, so is its index. */
    if (rc >= 0 && job->o.notes) rc = ms_job_write_index(job, err);
    if (rc >= 0) rc = ms_job_write(job, true, err);
    if (rc >= 0) rc = ms_journal_finish(job->journal, job->o.is_journal_kept, err);
    if (rc < 0) return rc;
    if (job->n_rows == 0 && !job->o.n_shards)
        return ms_fail(err, MSIM_E_EMPTY, "no rows: %s: no input has notes; nothing was written",
                       job->o.output);
    const bool is_unchanged = job->is_unchanged && (!job->o.notes || job->is_index_unchanged);
    return is_unchanged ? MSIM_JOB_UP_TO_DATE : MSIM_JOB_WRITTEN;
}

int msim_job_run(msim_job *job, msim_error *err) {
    msim_error own;
    if (!err) err = &own;
    if (job->is_complete) return MSIM_JOB_NOTHING_TO_DO;
    if (job->is_run) return ms_fail(err, MSIM_E_ARG, "job: a job runs once: open another one");
    job->is_run = true;
    ms_watch_begin(&job->watch);
    int rc = ms_job_work(job, err);
    rc = ms_job_gather(job, rc, err);
    if (rc < 0) return rc;
    if (ms_job_rank(job) > 0) return MSIM_JOB_OF_RANK_0;
    if (ms_watch_is_stopped(&job->watch)) return ms_watch_stop(err, "before writing the corpus");
    return finish(job, err);
}

int64_t msim_job_write_finished(msim_job *job, msim_error *err) {
    msim_error own;
    bool exists;
    if (!err) err = &own;
    if (!job->has_failed || job->is_journal_bad || job->previous.corpus || job->part) return 0;
    job->has_failed = false; /* once */
    ms_watch_begin(&job->watch);
    int rc = ms_output_check(&job->output, &exists, NULL);
    if (rc < 0 || exists) return 0;
    rc = ms_job_account(job, err);
    if (rc >= 0) rc = ms_job_write(job, false, err);
    return rc < 0 ? rc : job->n_rows;
}

/* ---- What it came to ---- */

static void count_inputs(const msim_job *job, msim_job_stats *s) {
    const ms_manifest *in = &job->manifest;
    s->files = job->lines ? job->n_lines : (int64_t)in->files.n;
    s->has_input = in->dedup && ms_dedup_count(in->dedup) > 0;
    s->done = in->dedup ? ms_manifest_count_done(in) : 0;
    s->done_before = in->n_before;
    s->kept = in->n_kept;
    s->dropped = in->n_dropped;
    s->empty_folders = (int64_t)in->files.n_empty_folders;
}

int msim_job_get_stats(const msim_job *job, msim_job_stats *out) {
    msim_job_stats s = {.size = sizeof s,
                        .has_work = !job->is_complete,
                        .is_of_lines = job->o.from_tokens != NULL,
                        .is_updating = job->previous.corpus != NULL,
                        .rows = job->n_rows,
                        .read = job->n_read,
                        .tokens = job->stats.n_tokens,
                        .cut = job->n_cut,
                        .shared = job->n_shared,
                        .unread = job->n_unread,
                        .failed = job->is_complete ? job->previous.description.failed
                                                   : job->n_failed,
                        .skips = (int64_t)job->skips.n,
                        .failures = job->skips.n_failures,
                        .seconds = ms_clock_now() - job->began,
                        .device = job->info.device,
                        .isa = job->info.isa,
                        .precision = job->info.precision,
                        .pieces = job->n_pieces,
                        .indexed = job->n_indexed,
                        .is_corpus_unchanged = job->is_unchanged,
                        .is_index_unchanged = job->is_index_unchanged};
    _Static_assert(MSIM_SKIP_COUNT <= sizeof s.skipped / sizeof *s.skipped, "a place for each");
    count_inputs(job, &s);
    memcpy(s.skipped, job->skips.counts, sizeof job->skips.counts);
    return ms_sized_out(out, &s, sizeof s);
}

int msim_job_get_piece(const msim_job *job, int64_t index, msim_job_piece *out) {
    const ms_manifest *in = &job->manifest;
    if (!job->order || index < 0 || index >= job->n_pieces) return -MSIM_E_ARG;
    uint32_t entry = job->order[index], content = in->content[entry];
    ms_fact fact = ms_facts_get(&in->facts, content);
    msim_job_piece piece = {.size = sizeof piece,
                            .path = in->files.entries[entry].path,
                            .is_cut = ms_dedup_get(in->dedup, content).is_cut,
                            .tokens = fact.tokens,
                            .notes = fact.notes,
                            .seconds = fact.seconds};
    return ms_sized_out(out, &piece, sizeof piece);
}

int msim_job_get_skip(const msim_job *job, int64_t index, msim_skip *out) {
    if (index < 0 || (size_t)index >= job->skips.n) return -MSIM_E_ARG;
    const ms_skip *from = job->skips.items + index;
    msim_skip skip = {.size = sizeof skip,
                      .path = from->path,
                      .detail = from->detail,
                      .reason = from->reason,
                      .is_failure = from->is_failure};
    return ms_sized_out(out, &skip, sizeof skip);
}
