/* The second step of a run: what is left is read, tokenised and embedded, and every result goes
 * into the journal. Contract: tools/pipeline/embed.h. */
#define _GNU_SOURCE
#include "embed.h"
#include "base/digest.h"
#include <stdlib.h>
#include <string.h>

#define PATH_MOST ((size_t)1 << 16) /* a longer path is not noted: such a file is read again */

static uint16_t detail_len(const char *detail) {
    size_t n = detail ? strlen(detail) : 0;
    return (uint16_t)(n < MS_FILES_DETAIL ? n : MS_FILES_DETAIL);
}

/* ---- Into the journal ---- */

static int note_file(ms_embed_run *r, const ms_reader_item *item) {
    const ms_files_entry *e = item->entry;
    size_t n = strlen(e->path);
    if (n > PATH_MOST) return 0;
    ms_journal_record file = {.kind = MS_JOURNAL_FILE,
                              .reason = item->has_content ? MS_FILES_OK : item->reason,
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
    return ms_journal_add(r->journal, &file, &r->failure) < 0 ? -1 : 0;
}

/* A content that gave no tokens. */
static int note_content(ms_embed_run *r, const ms_reader_item *item) {
    ms_journal_record content = {.kind = MS_JOURNAL_CONTENT,
                                 .reason = item->reason,
                                 .detail = item->detail,
                                 .detail_len = detail_len(item->detail)};
    if (item->reason == MS_FILES_UNREADABLE) { /* want of memory says nothing about the content */
        ms_dedup_settle(r->inputs.contents, item->content, MS_DEDUP_LOST, 0, item->reason, false);
        return 0;
    }
    memcpy(content.hash, item->sha256, sizeof content.hash);
    int64_t at = ms_journal_add(r->journal, &content, &r->failure);
    if (at < 0) return -1;
    ms_dedup_settle(r->inputs.contents, item->content, MS_DEDUP_JOURNAL, at, item->reason, false);
    return 0;
}

static int keep_batch(void *user, const ms_sequence *sequences, const float *vectors, size_t n,
                      msim_error *err) {
    ms_embed_run *r = user;
    size_t dim = (size_t)r->about.dim;
    int64_t limit = r->s->max_tokens;
    for (size_t i = 0; i < n; i++) {
        const ms_sequence *q = sequences + i;
        ms_journal_record content = {.kind = MS_JOURNAL_CONTENT,
                                     .reason = MS_FILES_OK,
                                     .n_tokens = q->n_ids,
                                     .full_length = q->full_length,
                                     .vector = vectors + i * dim};
        memcpy(content.hash, q->sha256, sizeof content.hash);
        int64_t at = ms_journal_add(r->journal, &content, &r->failure);
        if (at < 0) {
            *err = r->failure;
            return (int)at;
        }
        ms_dedup_settle(r->inputs.contents, q->content, MS_DEDUP_JOURNAL, at, MS_FILES_OK,
                        limit && q->full_length > limit);
    }
    return 0;
}

/* ---- Sequences from files ---- */

/* Note what a file gave. 1: a sequence to be embedded; 0: nothing; < 0: the journal failed. */
static int take_item(ms_embed_run *r, ms_reader_item *item) {
    r->n_read++;
    if (note_file(r, item) < 0) return -1;
    if (!item->has_content) {
        ms_files_list_refuse(&r->inputs.files, r->inputs.files.entries + item->index, item->reason,
                             item->detail);
        return 0;
    }
    r->inputs.content[item->index] = item->content;
    if (item->is_known) return 0;
    return item->reason == MS_FILES_OK ? 1 : note_content(r, item);
}

static int next_from_files(void *source, bool may_wait, ms_sequence *out) {
    ms_embed_run *r = source;
    ms_reader_item item;
    for (;;) {
        int state = ms_reader_next(r->reader, may_wait, &item);
        if (state != MS_READER_ITEM) return state;
        int rc = take_item(r, &item);
        if (rc == 1) break;
        ms_reader_item_free(&item);
        if (rc < 0) return MS_READER_END;
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
    const ms_embed_run *r = source;
    return r->inputs.n_before + r->inputs.n_kept + r->n_read + ms_embed_taken_elsewhere(r);
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

static int next_from_lines(void *source, bool may_wait, ms_sequence *out) {
    ms_embed_run *r = source;
    /* A pipe may be silent for hours: what is finished does not wait for it. */
    if (may_wait && ms_journal_tick(r->journal, &r->failure) < 0) return MS_READER_END;
    for (;;) {
        int state = ms_token_lines_next(r->lines, may_wait, out);
        if (state != MS_READER_ITEM) return state;
        char name[MS_FILES_MAX_NAME + 1];
        memcpy(name, out->name, out->name_len);
        name[out->name_len] = 0;
        if (hash_ids(out->ids, out->n_ids, out->sha256, &r->failure) < 0) {
            free(out->ids);
            return MS_READER_END;
        }
        bool is_new = ms_dedup_claim(r->inputs.contents, out->sha256, &out->content);
        ms_manifest_add(&r->inputs, name, out->content);
        if (is_new) return MS_READER_ITEM;
        free(out->ids);
    }
}

static int64_t lines_done(const void *source) {
    return ms_token_lines_done(((const ms_embed_run *)source)->lines);
}

/* ---- The step ---- */

int ms_embed_work(ms_embed_run *r, msim_error *err) {
    const ms_embed_settings *s = r->s;
    msim_model_info info = {.size = sizeof info};
    msim_model_get_info(r->model, &info);
    ms_sequences sequences = {.next = next_from_files,
                              .source = r,
                              .n_done = files_done,
                              .n_all = (int64_t)r->inputs.files.n};
    int rc;
    if (s->from_tokens) {
        rc = ms_token_lines_open(s->from_tokens, info.vocab, s->max_tokens, r->skips, &r->lines,
                                 err);
        sequences =
            (ms_sequences){.next = next_from_lines, .source = r, .n_done = lines_done, .n_all = -1};
    } else {
        ms_reader_request wanted = {.files = &r->inputs.files,
                                    .threads = r->options.threads,
                                    .is_shifted = true,
                                    .semitones = (int)s->transpose,
                                    .max_tokens = s->max_tokens,
                                    .is_background = true,
                                    .model = r->model,
                                    .take = r->take,
                                    .take_user = r->take_user,
                                    .claim = ms_manifest_claim,
                                    .claim_user = &r->inputs,
                                    .ahead = r->ahead};
        rc = ms_reader_open(&wanted, &r->reader, err);
    }
    if (rc < 0) return rc;
    ms_batcher_request request = {.model = r->model,
                                  .options = r->options,
                                  .longest = s->max_tokens < 16384 ? s->max_tokens : 0,
                                  .type_weights = s->pooling ? s->pool_weights : NULL,
                                  .is_normalized = s->is_normalized,
                                  .keep = keep_batch,
                                  .user = r};
    rc = ms_batcher_run(&request, &sequences, &r->stats, err);
    if (rc >= 0 && r->failure.code) {
        *err = r->failure;
        rc = -err->code;
    }
    ms_reader_close(r->reader);
    r->reader = NULL;
    if (r->lines) {
        r->n_lines = ms_token_lines_done(r->lines);
        r->n_cut = ms_token_lines_cut(r->lines);
    }
    /* Also after a signal or a failure of the device: what is finished is kept. */
    int synced = ms_journal_sync(r->journal, rc < 0 ? NULL : err);
    return rc < 0 ? rc : synced;
}
