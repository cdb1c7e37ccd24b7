/* The second step of a job (pipeline/job.h): what is left is read, tokenised and embedded, and
 * every result goes into the journal. */
#define _GNU_SOURCE
#include "pipeline/job.h"
#include "base/hash/digest.h"
#include "base/mem.h"
#include "base/rows.h"
#include <math.h>
#include <stdio.h>
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
        ms_dedup_settle(r->manifest.dedup, item->content,
                        (ms_dedup_entry){.state = MS_DEDUP_LOST, .outcome = (uint8_t)item->reason});
        return 0;
    }
    memcpy(content.hash, item->sha256, sizeof content.hash);
    int64_t at = add_record(r, &content, err);
    if (at < 0) return (int)at;
    ms_dedup_settle(
        r->manifest.dedup, item->content,
        (ms_dedup_entry){.state = MS_DEDUP_JOURNAL, .at = at, .outcome = (uint8_t)item->reason});
    return 0;
}

/* The notes of a content, or why there are none. */
static int note_notes(msim_job *r, const ms_reader_item *item, msim_error *err) {
    const bool has_notes = item->notes_reason == MSIM_SKIP_NONE;
    ms_journal_record notes = {.kind = MS_JOURNAL_NOTES,
                               .reason = item->notes_reason,
                               .path = (const char *)item->notes,
                               .path_len = has_notes ? (uint32_t)item->n_notes_bytes : 0};
    if (ms_files_is_tried_again(item->reason)) { /* that says nothing about the content */
        ms_dedup_settle_notes(r->manifest.dedup, item->content, MS_NOTES_NONE);
        return 0;
    }
    memcpy(notes.hash, item->sha256, sizeof notes.hash);
    int64_t at = add_record(r, &notes, err);
    if (at < 0) return (int)at;
    ms_dedup_settle_notes(r->manifest.dedup, item->content, has_notes ? at : MS_NOTES_NONE);
    return 0;
}

/* A content that has all its vectors. */
static int keep_content(msim_job *r, const ms_journal_record *record, uint32_t content,
                        msim_error *err) {
    int64_t at = add_record(r, record, err), limit = r->o.max_tokens;
    if (at < 0) return (int)at;
    ms_dedup_settle(r->manifest.dedup, content,
                    (ms_dedup_entry){.state = MS_DEDUP_JOURNAL,
                                     .at = at,
                                     .n_windows = record->n_windows,
                                     .is_cut = limit && record->full_length > limit});
    return 0;
}

/* Returns 1 when the model's vectors are finite. Otherwise the content gives no row, and that is
 * noted: a corpus never holds NaN, and the same weights would give NaN again. */
static int check_vectors(msim_job *r, const float *vectors, size_t n, const unsigned char *sha256,
                         uint32_t content, msim_error *err) {
    char detail[MS_FILES_DETAIL];
    ms_reader_item item = {.content = content, .reason = MSIM_SKIP_NOT_FINITE, .detail = detail};
    size_t dim = (size_t)r->description.dim, i = 0;
    while (i < n * dim && isfinite(vectors[i])) i++;
    if (i == n * dim) return 1;
    memcpy(item.sha256, sha256, sizeof item.sha256);
    snprintf(detail, sizeof detail,
             "the model gave %s: its weights overflow, or are no weights of this model",
             isnan(vectors[i]) ? "NaN" : "infinity");
    return note_content(r, &item, err);
}

static int keep_whole(msim_job *r, const ms_sequence *q, const float *vector, msim_error *err) {
    ms_journal_record content = {.kind = MS_JOURNAL_CONTENT,
                                 .n_tokens = q->n_ids,
                                 .full_length = q->full_length,
                                 .vectors = vector};
    memcpy(content.hash, q->sha256, sizeof content.hash);
    int rc = check_vectors(r, vector, 1, q->sha256, q->content, err);
    return rc <= 0 ? rc : keep_content(r, &content, q->content, err);
}

/* One vector for the piece, in the place of its first window's. A mean of a mean needs no windows
 * of length 1: only the result is scaled. */
static void pool_windows(const msim_job *r, ms_piece *piece) {
    size_t dim = (size_t)r->description.dim;
    ms_rows_mean(piece->vectors, piece->n_windows, dim, piece->vectors);
    if (r->o.is_l2_normalized) msim_l2_normalize(piece->vectors, 1, dim);
}

static int keep_window(msim_job *r, const ms_sequence *q, const float *vector, msim_error *err) {
    ms_piece *piece = ms_pieces_keep(&r->pieces, q, vector);
    if (!piece) return 0;
    const bool is_pooled = r->description.is_pooled;
    ms_journal_record content = {.kind = MS_JOURNAL_CONTENT,
                                 .n_tokens = piece->n_ids,
                                 .full_length = piece->full_length,
                                 .vectors = piece->vectors,
                                 .spans = is_pooled ? NULL : piece->spans,
                                 .bars = is_pooled ? NULL : piece->bars,
                                 .n_windows = is_pooled ? 0 : piece->n_windows};
    memcpy(content.hash, piece->sha256, sizeof content.hash);
    int rc = check_vectors(r, piece->vectors, piece->n_windows, piece->sha256, piece->content, err);
    if (rc > 0 && is_pooled) pool_windows(r, piece);
    if (rc > 0) rc = keep_content(r, &content, piece->content, err);
    ms_pieces_release(&r->pieces, piece);
    return rc;
}

static int keep_batch(void *user, const ms_sequence *sequences, const float *vectors, size_t n,
                      msim_error *err) {
    msim_job *r = user;
    size_t dim = (size_t)r->description.dim;
    int rc = 0;
    for (size_t i = 0; i < n && rc >= 0; i++)
        rc = sequences[i].piece ? keep_window(r, sequences + i, vectors + i * dim, err)
                                : keep_whole(r, sequences + i, vectors + i * dim, err);
    return rc;
}

/* ---- Sequences from files ---- */

/* Note what a file gave. 1: a sequence to be embedded; 0: nothing. */
static int note_item(msim_job *r, ms_reader_item *item, msim_error *err) {
    r->n_read++;
    int rc = note_file(r, item, err);
    if (rc < 0) return rc;
    if (!item->has_content)
        return ms_files_list_refuse(&r->manifest.files, r->manifest.files.entries + item->index,
                                    item->reason, item->detail, err);
    r->manifest.content[item->index] = item->content;
    if (item->claimed & MS_CLAIM_NOTES) rc = note_notes(r, item, err);
    if (rc < 0) return rc;
    ms_free(item->notes); /* the piece may wait long for its vectors */
    item->notes = NULL;
    if (item->is_known) return 0;
    if (item->reason != MSIM_SKIP_NONE) return note_content(r, item, err);
    rc = ms_facts_note(
        &r->manifest.facts, item->content,
        (ms_fact){.tokens = item->starts[1], .notes = item->n_notes, .seconds = item->seconds},
        err);
    return rc < 0 ? rc : 1;
}

static int next_from_files(void *source, bool may_wait, ms_sequence *out, msim_error *err) {
    msim_job *r = source;
    ms_reader_item item;
    int rc = ms_pieces_next(&r->pieces, out, err);
    if (rc != 0) return rc < 0 ? rc : MS_READER_ITEM;
    for (;;) {
        int state = ms_reader_next(r->reader, may_wait, &item, err);
        if (state != MS_READER_ITEM) return state;
        rc = note_item(r, &item, err);
        if (rc == 1) break;
        ms_reader_item_free(&item);
        if (rc < 0) return rc;
    }
    if (item.spans) {
        rc = ms_pieces_begin(&r->pieces, &item, err);
        if (rc >= 0) rc = ms_pieces_next(&r->pieces, out, err);
        ms_reader_item_free(&item);
        return rc < 0 ? rc : MS_READER_ITEM;
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

static int64_t files_done(const void *source, int64_t n_waiting) {
    const msim_job *r = source;
    if (r->o.window_tokens) n_waiting = r->pieces.n_pieces;
    return r->manifest.n_before + r->manifest.n_kept + r->n_read + ms_job_taken_elsewhere(r) -
           n_waiting;
}

/* What other ranks have read is not known here. */
static double files_share_read(const void *source) {
    const msim_job *r = source;
    int64_t n = (int64_t)r->manifest.files.n - r->manifest.n_before - r->manifest.n_kept;
    return r->part || n <= 0 ? -1 : (double)r->n_read / (double)n;
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
    int is_new = ms_dedup_claim(r->manifest.dedup, out->sha256, &out->content, err);
    if (is_new < 0) return is_new;
    rc = ms_manifest_add(&r->manifest, out->name, out->content, err);
    if (rc >= 0 && is_new)
        rc = ms_facts_note(&r->manifest.facts, out->content,
                           (ms_fact){.tokens = out->n_ids, .notes = -1, .seconds = -1}, err);
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

static int64_t lines_done(const void *source, int64_t n_waiting) {
    return ms_token_lines_done(((const msim_job *)source)->lines) - n_waiting;
}

/* ---- The step ---- */

static int open_lines(msim_job *r, msim_error *err) {
    ms_token_lines_request request = {.path = r->o.from_tokens,
                                      .vocab = r->info.vocab,
                                      .family = r->info.token_family,
                                      .order = r->info.token_order,
                                      .max_tokens = r->o.max_tokens,
                                      .skip = skip_line,
                                      .skip_user = r,
                                      .watch = &r->watch};
    return ms_token_lines_open(&request, &r->lines, err);
}

static int open_reader(msim_job *r, msim_error *err) {
    ms_reader_request request = {.files = &r->manifest.files,
                                 .threads = r->options.threads,
                                 .is_shifted = true,
                                 .semitones = r->o.transpose,
                                 .max_tokens = r->o.max_tokens,
                                 .window_tokens = r->o.window_tokens,
                                 .window_step = r->o.window_step,
                                 .windows_most = ms_journal_windows_most(r->description.dim),
                                 .wants_bars = ms_description_has_spans(&r->description),
                                 .wants_notes = r->o.is_detailed != 0,
                                 .may_claim_notes = r->o.notes != NULL,
                                 .is_background = true,
                                 .model = r->model,
                                 .take = r->take,
                                 .take_user = r->take_user,
                                 .claim = ms_manifest_claim,
                                 .claim_user = &r->manifest,
                                 .watch = &r->watch,
                                 .ahead = r->ahead};
    return ms_reader_open(&request, &r->reader, err);
}

/* The most tokens of a sequence. 0: not known, or so many that memory is taken when they come. */
static int64_t longest(const msim_job *r) {
    int64_t most = r->o.window_tokens ? r->o.window_tokens : r->o.max_tokens;
    return most < 16384 ? most : 0;
}

static int embed_all(msim_job *r, msim_error *err) {
    ms_sequences sequences = {.next = r->lines ? next_from_lines : next_from_files,
                              .source = r,
                              .n_done = r->lines ? lines_done : files_done,
                              .n_all = r->lines ? -1 : (int64_t)r->manifest.files.n,
                              .share_read = r->lines ? NULL : files_share_read};
    ms_batcher_request request = {.model = r->model,
                                  .options = r->options,
                                  .longest = longest(r),
                                  .class_weights = r->o.class_weights,
                                  .is_normalized = r->o.is_l2_normalized && !r->o.is_pooled,
                                  .keep = keep_batch,
                                  .user = r,
                                  .watch = &r->watch};
    return ms_batcher_run(&request, &sequences, &r->stats, err);
}

int ms_job_work(msim_job *r, msim_error *err) {
    int rc = r->o.from_tokens ? open_lines(r, err) : open_reader(r, err);
    if (rc < 0) return rc;
    r->pieces.dim = (size_t)r->description.dim;
    rc = embed_all(r, err);
    ms_reader_close(r->reader);
    r->reader = NULL;
    ms_pieces_close(&r->pieces);
    if (r->lines) {
        r->n_lines = ms_token_lines_done(r->lines);
        r->n_cut = ms_token_lines_cut(r->lines);
    }
    r->has_failed = rc < 0 && rc != -MSIM_E_STOPPED;
    /* This is done after a failure of the device and after a stop too: what is finished is kept. */
    int synced = ms_journal_sync(r->journal, rc < 0 ? NULL : err);
    if (synced < 0) r->is_journal_bad = true;
    return rc < 0 ? rc : synced;
}
