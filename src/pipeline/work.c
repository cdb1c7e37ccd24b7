/* The second step of a run: what is left is read, tokenised and embedded, and every result goes
 * into the journal. Contract: pipeline/job.h. */
#define _GNU_SOURCE
#include "pipeline/job.h"
#include "base/digest.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

#define PATH_MOST ((size_t)1 << 16) /* a longer path is not noted: such a file is read again */

static uint16_t detail_len(const char *detail) {
    size_t n = detail ? strlen(detail) : 0;
    return (uint16_t)(n < MS_FILES_DETAIL ? n : MS_FILES_DETAIL);
}

/* ---- Into the journal ---- */

/* Append a record, and remember when that fails: the journal then says less than was done. */
static int64_t add_record(msim_job *r, const ms_journal_record *record, msim_error *err) {
    int64_t at = ms_journal_add(r->journal, record, err);
    if (at < 0) r->is_journal_bad = true;
    return at;
}

static int note_file(msim_job *r, const ms_reader_item *item, msim_error *err) {
    const ms_files_entry *e = item->entry;
    size_t n = strlen(e->path);
    if (n > PATH_MOST) return 0;
    ms_journal_record file = {.kind = MS_JOURNAL_FILE,
                              .reason = item->has_content ? MSIM_SKIP_NONE : item->reason,
                              .bytes = e->bytes,
                              .mtime_ns = e->mtime_ns,
                              .path = e->path,
                              .path_len = (uint32_t)n,
                              .name_at = e->name_at};
    if (item->has_content) {
        memcpy(file.hash, item->sha256, sizeof file.hash);
    } else {
        file.detail = item->detail;
        file.detail_len = detail_len(item->detail);
    }
    int64_t at = add_record(r, &file, err);
    return at < 0 ? (int)at : 0;
}

/* A content that gave no tokens. */
static int note_content(msim_job *r, const ms_reader_item *item, msim_error *err) {
    ms_journal_record content = {.kind = MS_JOURNAL_CONTENT,
                                 .reason = item->reason,
                                 .detail = item->detail,
                                 .detail_len = detail_len(item->detail)};
    if (ms_files_is_tried_again(item->reason)) { /* that says nothing about the content */
        ms_dedup_settle(r->inputs.contents, item->content, MS_DEDUP_LOST, 0, item->reason, false);
        return 0;
    }
    memcpy(content.hash, item->sha256, sizeof content.hash);
    int64_t at = add_record(r, &content, err);
    if (at < 0) return (int)at;
    ms_dedup_settle(r->inputs.contents, item->content, MS_DEDUP_JOURNAL, at, item->reason, false);
    return 0;
}

static int keep_batch(void *user, const ms_sequence *sequences, const float *vectors, size_t n,
                      msim_error *err) {
    msim_job *r = user;
    size_t dim = (size_t)r->about.dim;
    int64_t limit = r->o.max_tokens;
    for (size_t i = 0; i < n; i++) {
        const ms_sequence *q = sequences + i;
        ms_journal_record content = {.kind = MS_JOURNAL_CONTENT,
                                     .reason = MSIM_SKIP_NONE,
                                     .n_tokens = q->n_ids,
                                     .full_length = q->full_length,
                                     .vector = vectors + i * dim};
        memcpy(content.hash, q->sha256, sizeof content.hash);
        int64_t at = add_record(r, &content, err);
        if (at < 0) return (int)at;
        ms_dedup_settle(r->inputs.contents, q->content, MS_DEDUP_JOURNAL, at, MSIM_SKIP_NONE,
                        limit && q->full_length > limit);
    }
    return 0;
}

/* ---- Sequences from files ---- */

/* Note what a file gave. 1: a sequence to be embedded; 0: nothing. */
static int note_item(msim_job *r, ms_reader_item *item, msim_error *err) {
    r->n_read++;
    int rc = note_file(r, item, err);
    if (rc < 0) return rc;
    if (!item->has_content)
        return ms_files_list_refuse(&r->inputs.files, r->inputs.files.entries + item->index,
                                    item->reason, item->detail, err);
    r->inputs.content[item->index] = item->content;
    if (item->is_known) return 0;
    return item->reason == MSIM_SKIP_NONE ? 1 : note_content(r, item, err);
}

static int next_from_files(void *source, bool may_wait, ms_sequence *out, msim_error *err) {
    msim_job *r = source;
    ms_reader_item item;
    for (;;) {
        int state = ms_reader_next(r->reader, may_wait, &item, err);
        if (state != MS_READER_ITEM) return state;
        int rc = note_item(r, &item, err);
        if (rc == 1) break;
        ms_reader_item_free(&item);
        if (rc < 0) return rc;
    }
    *out = (ms_sequence){.name = item.entry->path + item.entry->name_at,
                         .name_len = item.entry->name_len,
                         .content = item.content,
                         .ids = item.ids,
                         .n_ids = item.starts[1],
                         .full_length = item.full_length};
    memcpy(out->sha256, item.sha256, sizeof out->sha256);
    item.ids = NULL;
    ms_reader_item_free(&item);
    return MS_READER_ITEM;
}

static int64_t files_done(const void *source) {
    const msim_job *r = source;
    return r->inputs.n_before + r->inputs.n_kept + r->n_read + ms_job_taken_elsewhere(r);
}

/* ---- Sequences from token lines ---- */

/* Their content is what they say, in a space of its own. */
static int hash_ids(const int32_t *ids, int64_t n, unsigned char *sha256, msim_error *err) {
    static const char space[] = "midisim token ids\n";
    ms_digest digest;
    ms_digest_begin(&digest, MS_DIGEST_SHA256);
    ms_digest_add(&digest, space, sizeof space - 1);
    ms_digest_add(&digest, ids, (size_t)n * sizeof *ids);
    return ms_digest_end(&digest, sha256, err);
}

/* Note a line's sequence as an input. 1: it is to be embedded; 0: its content is known. */
static int note_line(msim_job *r, ms_sequence *out, msim_error *err) {
    int rc = hash_ids(out->ids, out->n_ids, out->sha256, err);
    if (rc < 0) return rc;
    int is_new = ms_dedup_claim(r->inputs.contents, out->sha256, &out->content, err);
    if (is_new < 0) return is_new;
    rc = ms_manifest_add(&r->inputs, out->name, out->content, err);
    return rc < 0 ? rc : is_new;
}

static int next_from_lines(void *source, bool may_wait, ms_sequence *out, msim_error *err) {
    msim_job *r = source;
    /* A pipe may be silent for hours: what is finished does not wait for it. */
    int rc = may_wait ? ms_journal_tick(r->journal, err) : 0;
    if (rc < 0) r->is_journal_bad = true;
    while (rc >= 0) {
        int state = ms_token_lines_next(r->lines, may_wait, out, err);
        if (state != MS_READER_ITEM) return state;
        rc = note_line(r, out, err);
        if (rc == 1) return MS_READER_ITEM;
        ms_free(out->ids);
        out->ids = NULL;
    }
    return rc;
}

static int skip_line(void *user, const char *path, int reason, const char *detail, bool is_named,
                     msim_error *err) {
    return ms_skips_add(&((msim_job *)user)->skips, path, reason, detail, is_named, err);
}

static int64_t lines_done(const void *source) {
    return ms_token_lines_done(((const msim_job *)source)->lines);
}

/* ---- The step ---- */

static int open_lines(msim_job *r, msim_error *err) {
    ms_token_lines_request request = {.path = r->o.from_tokens,
                                      .vocab = r->info.vocab,
                                      .max_tokens = r->o.max_tokens,
                                      .skip = skip_line,
                                      .skip_user = r,
                                      .watch = &r->watch};
    return ms_token_lines_open(&request, &r->lines, err);
}

static int open_reader(msim_job *r, msim_error *err) {
    ms_reader_request request = {.files = &r->inputs.files,
                                 .threads = r->options.threads,
                                 .is_shifted = true,
                                 .semitones = r->o.transpose,
                                 .max_tokens = r->o.max_tokens,
                                 .is_background = true,
                                 .model = r->model,
                                 .take = r->take,
                                 .take_user = r->take_user,
                                 .claim = ms_manifest_claim,
                                 .claim_user = &r->inputs,
                                 .watch = &r->watch,
                                 .ahead = r->ahead};
    return ms_reader_open(&request, &r->reader, err);
}

static int embed_all(msim_job *r, msim_error *err) {
    ms_sequences sequences = {.next = r->lines ? next_from_lines : next_from_files,
                              .source = r,
                              .n_done = r->lines ? lines_done : files_done,
                              .n_all = r->lines ? -1 : (int64_t)r->inputs.files.n};
    ms_batcher_request request = {.model = r->model,
                                  .options = r->options,
                                  .longest = r->o.max_tokens < 16384 ? r->o.max_tokens : 0,
                                  .class_weights = r->o.class_weights,
                                  .is_normalized = r->o.is_l2_normalized,
                                  .keep = keep_batch,
                                  .user = r,
                                  .watch = &r->watch};
    return ms_batcher_run(&request, &sequences, &r->stats, err);
}

int ms_job_work(msim_job *r, msim_error *err) {
    int rc = r->o.from_tokens ? open_lines(r, err) : open_reader(r, err);
    if (rc < 0) return rc;
    rc = embed_all(r, err);
    ms_reader_close(r->reader);
    r->reader = NULL;
    if (r->lines) {
        r->n_lines = ms_token_lines_done(r->lines);
        r->n_cut = ms_token_lines_cut(r->lines);
    }
    r->has_failed = rc < 0 && rc != -MSIM_E_STOPPED;
    /* Also after a failure of the device, or to stop: what is finished is kept. */
    int synced = ms_journal_sync(r->journal, rc < 0 ? NULL : err);
    if (synced < 0) r->is_journal_bad = true;
    return rc < 0 ? rc : synced;
}
