/* One file's bytes to an item of the reader: pipeline/input/encode.h. */
#include "pipeline/input/encode.h"
#include "base/mem.h"
#include "pipeline/dedup.h"
#include "pipeline/disk/journal.h"
#include <stdio.h>
#include <string.h>

/* A larger buffer is given back after its file. */
#define KEEP_IDS_BYTES ((size_t)4 << 20)
#define KEEP_FILE_BYTES ((size_t)256 << 10)
/* The most that the tokeniser takes for a byte of a file without long delta times: 27.1 where a
 * file is note-ons alone, all at one time, or with bars each at its own. Music takes 11, with bars
 * 16 (test/unit/midi/test_memory.c). */
#define BYTES_PER_BYTE 28
/* ... and the notes that lie beside it meanwhile: a note-on has three bytes and takes 16. */
#define NOTES_PER_BYTE 6

int ms_encoder_open(ms_encoder *w, const ms_reader_request *r, msim_error *err) {
    *w = (ms_encoder){0};
    int rc = r->model ? msim_tokenizer_open(r->model, &w->tokenizer, err)
                      : msim_tokenizer_open_family(r->tokens, &w->tokenizer, err);
    return rc >= 0 && r->may_claim_notes ? msim_note_reader_open(&w->notes, err) : rc;
}

void ms_encoder_close(ms_encoder *w) {
    msim_tokenizer_close(w->tokenizer);
    msim_note_reader_close(w->notes);
    ms_free(w->ids);
    *w = (ms_encoder){0};
}

static int64_t limit_of(const ms_reader_request *r) {
    return r->max_tokens ? r->max_tokens : INT64_MAX;
}

static int factor_of(const ms_reader_request *r) { return r->is_shifted ? 0 : r->transpose_factor; }

/* Ids lie in the encoder's buffer and in the item. */
int64_t ms_encode_bytes(const ms_reader_request *r, size_t n_bytes) {
    size_t ids = msim_tokenizer_bound(n_bytes, factor_of(r), limit_of(r));
    const size_t per_byte = BYTES_PER_BYTE + (r->may_claim_notes ? NOTES_PER_BYTE : 0);
    return (int64_t)(n_bytes * per_byte + ids * 2 * sizeof(int32_t));
}

int ms_encode_failure(ms_reader_item *item, int reason, const char *detail, msim_error *err) {
    size_t n = strlen(detail) + 1;
    item->reason = reason;
    item->detail = ms_alloc(n, 1, "reason of a file", err);
    if (!item->detail) return -MSIM_E_MEMORY;
    memcpy(item->detail, detail, n);
    return 0;
}

static int reserve_ids(ms_encoder *w, size_t need, msim_error *err) {
    if (need <= w->ids_cap) return 0;
    int32_t *ids = ms_alloc(need, sizeof *ids, "token ids", err);
    if (!ids) return -MSIM_E_MEMORY;
    ms_free(w->ids);
    w->ids = ids;
    w->ids_cap = need;
    return 0;
}

static int64_t encode(ms_encoder *w, const ms_reader_request *r, const ms_files_buffer *midi,
                      ms_reader_item *item, msim_error *err) {
    const int64_t limit = limit_of(r);
    const int factor = factor_of(r);
    int rc = reserve_ids(w, msim_tokenizer_bound(midi->n_bytes, factor, limit), err);
    if (rc < 0) return rc;
    if (!r->is_shifted)
        return msim_tokenizer_encode(w->tokenizer, midi->data, midi->n_bytes, factor, limit, w->ids,
                                     w->ids_cap, item->starts, err);
    int64_t n = msim_tokenizer_encode_at(w->tokenizer, midi->data, midi->n_bytes, r->semitones,
                                         limit, w->ids, w->ids_cap, err);
    item->starts[0] = 0;
    item->starts[1] = n;
    return n < 0 ? n : 1;
}

/* What the encoder gave for a file. */
static int keep_result(ms_encoder *w, int64_t n_seq, const msim_error *why, ms_reader_item *item,
                       msim_error *err) {
    if (n_seq == -MSIM_E_FORMAT || n_seq == -MSIM_E_EMPTY)
        return ms_encode_failure(
            item, ms_files_reason_of_outcome(msim_tokenizer_outcome(w->tokenizer)), why->text, err);
    if (n_seq == -MSIM_E_MEMORY) return ms_fail(err, MSIM_E_MEMORY, "%s", why->text);
    if (n_seq < 0) return ms_encode_failure(item, MSIM_SKIP_UNREADABLE, why->text, err);
    size_t n = (size_t)item->starts[n_seq];
    item->ids = ms_alloc(n, sizeof *item->ids, "token ids", err);
    if (!item->ids) return -MSIM_E_MEMORY;
    memcpy(item->ids, w->ids, n * sizeof *item->ids);
    item->n_seq = n_seq;
    item->full_length = msim_tokenizer_full_length(w->tokenizer);
    return 0;
}

/* The windows of the piece that was encoded last. */
static int keep_spans(ms_encoder *w, const ms_reader_request *r, ms_reader_item *item,
                      msim_error *err) {
    char detail[MS_FILES_DETAIL];
    const int64_t limit = limit_of(r);
    int64_t n =
        msim_tokenizer_windows(w->tokenizer, r->window_tokens, r->window_step, limit, NULL, 0, err);
    if (n < 0) return (int)n;
    if (n > r->windows_most) {
        snprintf(detail, sizeof detail, "%lld windows, of at most %lld for one piece", (long long)n,
                 (long long)r->windows_most);
        ms_free(item->ids);
        item->ids = NULL;
        return ms_encode_failure(item, MSIM_SKIP_TOO_LARGE, detail, err);
    }
    item->spans = ms_alloc((size_t)n, sizeof *item->spans, "windows of a piece", err);
    if (!item->spans) return -MSIM_E_MEMORY;
    item->n_spans = msim_tokenizer_windows(w->tokenizer, r->window_tokens, r->window_step, limit,
                                           item->spans, (size_t)n, err);
    return item->n_spans < 0 ? (int)item->n_spans : 0;
}

/* The bars of the windows. */
static int keep_bars(ms_encoder *w, ms_reader_item *item, msim_error *err) {
    int rc = 0;
    item->bars = ms_alloc((size_t)item->n_spans, sizeof *item->bars, "windows of a piece", err);
    if (!item->bars) return -MSIM_E_MEMORY;
    for (int64_t i = 0; i < item->n_spans && rc >= 0; i++)
        rc = msim_tokenizer_bars(w->tokenizer, item->spans + i, item->bars + i, err);
    return rc;
}

/* What a large file took is not kept until the next one, while others are being encoded. An empty
 * file makes the tokeniser forget the one before. */
static void trim(ms_encoder *w, size_t n_bytes) {
    int64_t starts[13];
    msim_piece_notes none = {.size = sizeof none};
    if (n_bytes > KEEP_FILE_BYTES) {
        msim_tokenizer_share(w->tokenizer, NULL);
        (void)msim_tokenizer_encode(w->tokenizer, "", 0, 0, 0, NULL, 0, starts, NULL);
        if (w->notes) (void)msim_note_reader_read(w->notes, "", 0, &none, NULL);
    }
    if (w->ids_cap * sizeof *w->ids <= KEEP_IDS_BYTES) return;
    ms_free(w->ids);
    w->ids = NULL;
    w->ids_cap = 0;
}

/* ---- Notes ---- */

/* Pack the notes of a piece into the item. */
static int pack_notes(ms_reader_item *item, const msim_piece_notes *piece, msim_error *err) {
    unsigned char *bytes = ms_alloc(msim_notes_pack_bound(piece), 1, "notes of a piece", err);
    if (!bytes) return -MSIM_E_MEMORY;
    const size_t n = msim_notes_pack(piece, bytes);
    item->notes = n <= MS_JOURNAL_NOTES_MOST ? ms_alloc(n, 1, "notes of a piece", err) : NULL;
    if (item->notes) {
        memcpy(item->notes, bytes, n);
        item->n_notes_bytes = n;
    }
    ms_free(bytes);
    if (n > MS_JOURNAL_NOTES_MOST) item->notes_reason = MSIM_SKIP_TOO_LARGE;
    return item->notes || item->notes_reason != MSIM_SKIP_NONE ? 0 : -MSIM_E_MEMORY;
}

/* What the note reader has of the file. What is wrong there is no failure: the tokeniser may see it
 * otherwise. */
static int keep_notes(const ms_encoder *w, ms_reader_item *item, msim_error *err) {
    msim_piece_notes piece = {.size = sizeof piece};
    msim_error why;
    int rc = msim_note_reader_get(w->notes, &piece, &why);
    item->notes_reason = MSIM_SKIP_NONE;
    if (rc >= 0) return pack_notes(item, &piece, err);
    if (rc == -MSIM_E_MEMORY) return ms_fail(err, MSIM_E_MEMORY, "%s", why.text);
    item->notes_reason = ms_files_reason_of_outcome(msim_note_reader_outcome(w->notes));
    if (item->notes_reason == MSIM_SKIP_NONE) item->notes_reason = MSIM_SKIP_TOO_LARGE;
    return 0;
}

/* ---- A file ---- */

static void forget_item(ms_reader_item *item) {
    ms_free(item->ids);
    ms_free(item->spans);
    ms_free(item->bars);
    ms_free(item->detail);
    ms_free(item->notes);
    item->ids = NULL;
    item->spans = NULL;
    item->bars = NULL;
    item->detail = NULL;
    item->notes = NULL;
    item->n_seq = item->n_spans = 0;
    item->n_notes_bytes = 0;
}

static int encode_ids(ms_encoder *w, const ms_reader_request *r, const ms_files_buffer *midi,
                      ms_reader_item *item, msim_error *err) {
    msim_error why;
    msim_tokenizer_share(w->tokenizer, item->claimed & MS_CLAIM_NOTES ? w->notes : NULL);
    msim_tokenizer_keep_bars(w->tokenizer, r->wants_bars);
    int64_t n_seq = encode(w, r, midi, item, &why);
    int rc = keep_result(w, n_seq, &why, item, err);
    if (rc >= 0 && item->ids && r->wants_notes)
        item->n_notes = msim_tokenizer_notes(w->tokenizer, &item->seconds);
    if (rc >= 0 && item->ids && r->window_tokens) rc = keep_spans(w, r, item, err);
    return rc >= 0 && item->spans && r->wants_bars ? keep_bars(w, item, err) : rc;
}

int ms_encode_file(ms_encoder *w, const ms_reader_request *r, const ms_files_buffer *midi,
                   ms_reader_item *item, msim_error *err) {
    msim_piece_notes piece = {.size = sizeof piece};
    int rc = 0;
    item->n_notes = -1;
    if (item->claimed & MS_CLAIM_VECTORS)
        rc = encode_ids(w, r, midi, item, err);
    else /* its result is looked at below */
        (void)msim_note_reader_read(w->notes, midi->data, midi->n_bytes, &piece, err);
    if (rc >= 0 && item->claimed & MS_CLAIM_NOTES) rc = keep_notes(w, item, err);
    trim(w, midi->n_bytes);
    if (rc < 0) forget_item(item); /* the file may be tried again into the same item */
    return rc;
}
