/* The public functions of a walk, which include/midisim.h describes: a list of input files with a
 * reader of their tokens or of their bytes, or token lines. One thread, beside the reader's own. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "base/sized.h"
#include "pipeline/walk.h"
#include "pipeline/input/reader.h"
#include "pipeline/input/sent.h"
#include "pipeline/input/token_lines.h"
#include <stdio.h>
#include <string.h>

/* A token line that gave nothing, until it is handed on. The texts are owned. */
typedef struct {
    char *path, *detail;
    size_t path_cap, detail_cap;
    int reason;
    bool is_named, is_waiting;
} skipped_line;

struct msim_walk {
    msim_walk_options o; /* what it points to is the caller's */
    ms_watch watch;
    ms_files_list files;   /* owned */
    ms_reader *reader;     /* owned; NULL without token ids */
    ms_reader_item item;   /* owned: what next gave last */
    ms_token_lines *lines; /* owned; instead of files */
    ms_sequence sequence;  /* owned: the line that next gave last */
    int64_t line_starts[2];
    skipped_line skipped;
    /* The bytes that next and read gave last, each with the text behind a reason. */
    struct {
        ms_files_buffer buffer; /* owned */
        char detail[MS_FILES_DETAIL];
    } next, read;
    int64_t n_given, n_cut;
    /* Of several ranks: the entry that is next, and how many readable ones came before it. */
    const msim_ranks *ranks; /* borrowed, or NULL */
    size_t next_entry, n_readable;
};

static const msim_walk_options defaults = {.size = sizeof defaults,
                                           .max_tokens = MSIM_TRAINED_TOKENS};

void msim_walk_options_init(msim_walk_options *options) {
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

int msim_skip_reason_of_outcome(int outcome) { return ms_files_reason_of_outcome(outcome); }

int msim_skip_is_failure(int reason, int is_named) {
    return ms_files_is_failure(reason, is_named != 0);
}

/* ---- Opening ---- */

static int refuse(msim_error *err, const char *what, const char *expected, int64_t got) {
    return ms_files_refuse("walk", what, expected, got, err);
}

static int check_numbers(const msim_walk_options *o, msim_error *err) {
    int rc = ms_files_check("walk", o->names, o->shard, o->n_shards, o->transpose, err);
    if (rc < 0) return rc;
    if (o->transpose_factor < 0 || o->transpose_factor > 6)
        return refuse(err, "transpose_factor", "0..6", o->transpose_factor);
    if (o->transpose_factor && o->transpose)
        return refuse(err, "transpose", "0 beside transpose_factor", o->transpose);
    if (o->max_tokens < 0) return refuse(err, "max_tokens", "0 or more", o->max_tokens);
    if (o->threads < 0 || o->threads > 1024) return refuse(err, "threads", "0..1024", o->threads);
    return 0;
}

static int check_options(const msim_walk_options *o, msim_error *err) {
    if (o->from_tokens && (o->n_paths || o->files_from))
        return ms_fail(err, MSIM_E_ARG, "walk: expected no files beside from_tokens, got some");
    if (o->from_tokens && (o->transpose || o->transpose_factor || o->n_shards || o->names))
        return ms_fail(err, MSIM_E_ARG,
                       "walk: from_tokens: expected no transpose, shard or names beside it");
    if (o->from_tokens && !o->model)
        return ms_fail(err, MSIM_E_ARG, "walk: from_tokens: expected a model, got none");
    if (o->model && o->tokens)
        return ms_fail(err, MSIM_E_ARG,
                       "walk: tokens: a model says how files become tokens: give one of both");
    return check_numbers(o, err);
}

static int keep_text(char **text, size_t *cap, const char *from, msim_error *err) {
    size_t n = strlen(from) + 1;
    int rc = ms_grow((void **)text, cap, n, 1, "a token line", err);
    if (rc < 0) return rc;
    memcpy(*text, from, n);
    return 0;
}

/* A line gives nothing: control comes back here, to hand it on. */
static int keep_skipped(void *user, const char *path, int reason, const char *detail, bool is_named,
                        msim_error *err) {
    skipped_line *s = &((msim_walk *)user)->skipped;
    int rc = keep_text(&s->path, &s->path_cap, path, err);
    if (rc >= 0) rc = keep_text(&s->detail, &s->detail_cap, detail ? detail : "", err);
    if (rc < 0) return rc;
    s->reason = reason;
    s->is_named = is_named;
    s->is_waiting = true;
    return 1;
}

static int open_lines(msim_walk *w, msim_error *err) {
    msim_model_info info = {.size = sizeof info};
    int rc = msim_model_get_info(w->o.model, &info);
    if (rc < 0) return ms_fail(err, -rc, "walk: cannot describe the model");
    ms_token_lines_request request = {.path = w->o.from_tokens,
                                      .vocab = info.vocab,
                                      .family = info.token_family,
                                      .order = info.token_order,
                                      .max_tokens = w->o.max_tokens,
                                      .skip = keep_skipped,
                                      .skip_user = w,
                                      .watch = &w->watch};
    return ms_token_lines_open(&request, &w->lines, err);
}

static int open_files(msim_walk *w, msim_error *err) {
    const msim_walk_options *o = &w->o;
    ms_files_request request = {.paths = o->paths,
                                .n_paths = o->n_paths,
                                .files_from = o->files_from,
                                .is_nul_separated = o->is_nul_separated != 0,
                                .has_stream = o->has_stream != 0,
                                .names = o->names,
                                .shard = o->shard,
                                .n_shards = o->n_shards,
                                .watch = &w->watch};
    int rc = ms_files_list_open(&request, &w->files, err);
    if (rc < 0 || !o->is_tokenized) return rc;
    ms_reader_request wanted = {.files = &w->files,
                                .threads = o->threads,
                                .is_shifted = o->transpose_factor == 0,
                                .semitones = o->transpose,
                                .transpose_factor = o->transpose_factor,
                                .max_tokens = o->max_tokens,
                                .is_background = o->is_background != 0,
                                .model = o->model,
                                .tokens = o->tokens,
                                .watch = &w->watch};
    return ms_reader_open(&wanted, &w->reader, err);
}

int msim_walk_open(const msim_walk_options *options, msim_walk **out, msim_error *err) {
    msim_error own;
    msim_walk *w = ms_alloc(1, sizeof *w, "walk", err);
    *out = NULL;
    if (!w) return -MSIM_E_MEMORY;
    if (!err) err = &own;
    w->o = defaults;
    int rc = ms_sized_in(&w->o, sizeof w->o, options, "walk options", err);
    if (rc >= 0) rc = check_options(&w->o, err);
    w->watch.progress = w->o.progress;
    w->watch.message = w->o.message;
    w->watch.user = w->o.user;
    ms_watch_begin(&w->watch);
    w->next.buffer.watch = w->read.buffer.watch = &w->watch;
    if (rc >= 0) rc = w->o.from_tokens ? open_lines(w, err) : open_files(w, err);
    if (rc < 0) {
        msim_walk_close(w);
        return rc;
    }
    *out = w;
    return 0;
}

void msim_walk_close(msim_walk *w) {
    if (!w) return;
    ms_reader_close(w->reader);
    ms_reader_item_free(&w->item);
    ms_token_lines_close(w->lines);
    ms_files_list_close(&w->files);
    ms_files_buffer_free(&w->next.buffer);
    ms_files_buffer_free(&w->read.buffer);
    ms_free(w->sequence.ids);
    ms_free(w->skipped.path);
    ms_free(w->skipped.detail);
    ms_free(w);
}

/* ---- Items ---- */

/* What the list says about an entry. */
static msim_walk_item describe(const msim_walk *w, size_t index) {
    const ms_files_entry *e = w->files.entries + index;
    size_t stem_at;
    msim_walk_item item = {.size = sizeof item,
                           .index = (int64_t)index,
                           .path = e->path,
                           .name = e->path + e->name_at,
                           .name_bytes = e->name_len,
                           .is_named = e->is_named,
                           .is_stream = e->is_stream,
                           .is_folder = e->is_folder,
                           .file_bytes = e->is_stream ? -1 : e->bytes};
    ms_files_stem(e->path, &stem_at, &item.stem_bytes);
    item.stem = e->path + stem_at;
    return item;
}

/* Put the reason, and what follows from it, into an item. */
static void set_reason(msim_walk_item *item, int reason, const char *detail) {
    item->reason = reason;
    item->detail = detail ? detail : "";
    item->is_failure = ms_files_is_failure(reason, item->is_named != 0);
}

static int give(msim_walk *w, const msim_walk_item *item, msim_walk_item *out, msim_error *err) {
    int rc = ms_sized_out(out, item, sizeof *item);
    if (rc < 0) return ms_fail(err, -rc, "walk: expected an item with its size, got 0");
    w->n_given++;
    w->n_cut += w->o.max_tokens && item->full_length > w->o.max_tokens;
    return 1;
}

static int next_tokens(msim_walk *w, msim_walk_item *out, msim_error *err) {
    ms_reader_item_free(&w->item);
    int state = ms_reader_next(w->reader, true, &w->item, err);
    if (state != MS_READER_ITEM) return state < 0 ? state : 0;
    msim_walk_item item = describe(w, w->item.index);
    set_reason(&item, w->item.reason, w->item.detail);
    item.ids = w->item.ids;
    item.starts = w->item.ids ? w->item.starts : NULL;
    item.n_sequences = w->item.n_seq;
    item.full_length = w->item.full_length;
    return give(w, &item, out, err);
}

/* Hand on a line that gave nothing. */
static int give_skipped(msim_walk *w, msim_walk_item *out, msim_error *err) {
    skipped_line *s = &w->skipped;
    msim_walk_item item = {.size = sizeof item,
                           .index = w->n_given,
                           .path = s->path,
                           .name = s->path,
                           .name_bytes = strlen(s->path),
                           .stem = s->path,
                           .stem_bytes = strlen(s->path),
                           .is_named = s->is_named};
    set_reason(&item, s->reason, s->detail);
    s->is_waiting = false;
    return give(w, &item, out, err);
}

static int next_line(msim_walk *w, msim_walk_item *out, msim_error *err) {
    ms_free(w->sequence.ids);
    w->sequence = (ms_sequence){0};
    int state = ms_token_lines_next(w->lines, true, &w->sequence, err);
    if (state < 0) return state;
    if (w->skipped.is_waiting) return give_skipped(w, out, err);
    if (state != MS_READER_ITEM) return 0;
    const ms_sequence *q = &w->sequence;
    w->line_starts[1] = q->n_ids;
    msim_walk_item item = {.size = sizeof item,
                           .index = w->n_given,
                           .path = q->name,
                           .name = q->name,
                           .name_bytes = q->name_len,
                           .stem = q->name,
                           .stem_bytes = q->name_len,
                           .ids = q->ids,
                           .starts = w->line_starts,
                           .n_sequences = 1,
                           .full_length = q->full_length};
    set_reason(&item, MSIM_SKIP_NONE, NULL);
    return give(w, &item, out, err);
}

/* Read an entry into a buffer, and describe what came of it. */
static int read_entry(msim_walk *w, size_t index, ms_files_buffer *buffer, char *detail,
                      msim_walk_item *item, msim_error *err) {
    *detail = 0;
    int reason = ms_files_read(w->files.entries + index, buffer, detail, err);
    if (reason < 0) return reason;
    *item = describe(w, index);
    set_reason(item, reason, detail);
    if (reason != MSIM_SKIP_NONE) return 0;
    item->bytes = buffer->data;
    item->n_bytes = buffer->n_bytes;
    return 0;
}

/* True when an input is for some rank and no matter which: it is a file, as far as is known. */
static bool is_readable(const ms_files_entry *e) {
    return e->reason == MSIM_SKIP_NONE && !e->is_stream;
}

/* The next entry of this rank; files.n at the end. */
static size_t take_entry(msim_walk *w) {
    while (w->ranks && w->next_entry < w->files.n) {
        const bool readable = is_readable(w->files.entries + w->next_entry);
        const size_t rank = readable ? w->n_readable % (size_t)w->ranks->count : 0;
        w->n_readable += readable;
        if (rank == (size_t)w->ranks->index) break;
        w->next_entry++;
    }
    return w->next_entry < w->files.n ? w->next_entry++ : w->files.n;
}

static int next_bytes(msim_walk *w, msim_walk_item *out, msim_error *err) {
    const size_t index = take_entry(w);
    msim_walk_item item;
    if (index == w->files.n) return 0;
    if (ms_watch_is_stopped(&w->watch)) return ms_watch_stop(err, "while reading files");
    int rc = read_entry(w, index, &w->next.buffer, w->next.detail, &item, err);
    if (rc < 0 && rc != -MSIM_E_MEMORY) return rc;
    if (rc == -MSIM_E_MEMORY) { /* no other file is in memory: it is this one */
        snprintf(w->next.detail, sizeof w->next.detail, "%s", err->text);
        item = describe(w, index);
        set_reason(&item, MSIM_SKIP_NO_MEMORY, w->next.detail);
    }
    return give(w, &item, out, err);
}

int msim_walk_next(msim_walk *w, msim_walk_item *out, msim_error *err) {
    msim_error own;
    if (!err) err = &own;
    if (w->lines) return next_line(w, out, err);
    return w->reader ? next_tokens(w, out, err) : next_bytes(w, out, err);
}

static bool is_listed(const msim_walk *w, int64_t index) {
    return index >= 0 && (size_t)index < w->files.n;
}

int msim_walk_get_input(const msim_walk *w, int64_t index, msim_walk_item *out) {
    if (!is_listed(w, index)) return -MSIM_E_ARG;
    const ms_files_entry *e = w->files.entries + index;
    msim_walk_item item = describe(w, (size_t)index);
    set_reason(&item, e->reason, e->detail);
    return ms_sized_out(out, &item, sizeof item);
}

int msim_walk_read(msim_walk *w, int64_t index, msim_walk_item *out, msim_error *err) {
    msim_walk_item item;
    msim_error own;
    if (!err) err = &own;
    if (!is_listed(w, index)) return refuse(err, "input", "one of the list", index);
    int rc = read_entry(w, (size_t)index, &w->read.buffer, w->read.detail, &item, err);
    if (rc < 0) return rc;
    rc = ms_sized_out(out, &item, sizeof item);
    return rc < 0 ? ms_fail(err, -rc, "walk: expected an item with its size, got 0") : 0;
}

int msim_walk_get_stats(const msim_walk *w, msim_walk_stats *out) {
    msim_walk_stats s = {.size = sizeof s,
                         .files = (int64_t)w->files.n,
                         .given = w->n_given,
                         .cut = w->n_cut,
                         .empty_folders = (int64_t)w->files.n_empty_folders};
    return ms_sized_out(out, &s, sizeof s);
}

/* ---- Several ranks ---- */

int ms_walk_share(msim_walk *w, const msim_ranks *ranks, msim_error *err) {
    ms_sent sent = {.ranks = ranks};
    const bool is_first = ranks->index == 0;
    bool goes_on = true;
    w->ranks = ranks;
    for (size_t i = 0; is_first && i < w->files.n && goes_on; i++) {
        if (!is_readable(w->files.entries + i)) continue;
        ms_sent_put_entry(&sent, w->files.entries + i);
        goes_on = ms_sent_step(&sent);
    }
    if (is_first && goes_on) ms_sent_end(&sent);
    while (!is_first && ms_sent_next(&sent)) ms_sent_get_entries(&sent, &w->files);
    return ms_sent_close(&sent, err);
}
