/* What each input holds and which are still to be read, as pipeline/manifest.h describes it. */
#define _GNU_SOURCE
#include "pipeline/index/noted.h"
#include "base/hash/digest.h"
#include "base/hash/fnv.h"
#include "base/mem.h"
#include "base/text/order.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ms_manifest_open(ms_manifest *in, ms_watch *watch, msim_error *err) {
    in->watch = watch;
    if (in->files.n >= MS_DEDUP_NONE)
        return ms_fail(err, MSIM_E_LIMIT, "too many files: expected at most %u, got %zu",
                       MS_DEDUP_NONE, in->files.n);
    int rc = ms_dedup_open(&in->dedup, err);
    if (rc < 0) return rc;
    if (in->wants_notes) ms_dedup_want_notes(in->dedup);
    in->content = ms_alloc(in->files.n, sizeof *in->content, "contents of files", err);
    if (!in->content) return -MSIM_E_MEMORY;
    in->content_cap = in->files.n;
    if (in->files.n) memset(in->content, 0xff, in->files.n * sizeof *in->content);
    return 0;
}

void ms_manifest_close(ms_manifest *in) {
    ms_dedup_close(in->dedup);
    ms_facts_close(&in->facts);
    ms_files_list_close(&in->files);
    ms_free(in->content);
    ms_free(in->had_row);
    ms_free(in->slots);
    *in = (ms_manifest){0};
}

bool ms_manifest_take(void *manifest, size_t *index) {
    ms_manifest *in = manifest;
    while (in->next < in->files.n && in->content[in->next] != MS_DEDUP_NONE) in->next++;
    *index = in->next;
    return in->next < in->files.n && in->next++ != SIZE_MAX;
}

int ms_manifest_claim(void *manifest, const unsigned char *sha256, uint32_t *content,
                      msim_error *err) {
    return ms_dedup_claim(((ms_manifest *)manifest)->dedup, sha256, content, err);
}

int ms_manifest_add(ms_manifest *in, const char *name, uint32_t content, msim_error *err) {
    int rc = ms_grow((void **)&in->content, &in->content_cap, in->files.n + 1, sizeof *in->content,
                     "contents of files", err);
    if (rc >= 0) rc = ms_files_list_add(&in->files, name, NULL, err);
    if (rc >= 0) in->content[in->files.n - 1] = content;
    return rc;
}

/* ---- A journal ---- */

typedef struct {
    ms_manifest *in;
    ms_description *description;
    int64_t max_tokens;
    bool is_now;    /* of this run */
    ms_journal *to; /* where records are copied to, or NULL */
} loader;

static size_t hash_path(const char *path, size_t n) {
    uint64_t h = ms_fnv1a(path, n);
    return (size_t)(h ^ h >> 32);
}

static int index_paths(ms_manifest *in, msim_error *err) {
    const ms_files_list *files = &in->files;
    if (in->slots) return 0;
    in->n_slots = 64;
    while (in->n_slots < files->n * 2) in->n_slots *= 2;
    in->slots = ms_alloc(in->n_slots, sizeof *in->slots, "index of paths", err);
    if (!in->slots) return -MSIM_E_MEMORY;
    memset(in->slots, 0xff, in->n_slots * sizeof *in->slots);
    for (size_t i = 0; i < files->n; i++) {
        size_t at = hash_path(files->entries[i].path, strlen(files->entries[i].path));
        while (in->slots[at & (in->n_slots - 1)] != MS_DEDUP_NONE) at++;
        in->slots[at & (in->n_slots - 1)] = (uint32_t)i;
    }
    return 0;
}

static void forget_paths(ms_manifest *in) {
    ms_free(in->slots);
    in->slots = NULL;
}

static int refuse(ms_manifest *in, uint32_t entry, const ms_journal_record *r, msim_error *err) {
    char detail[MS_FILES_DETAIL];
    snprintf(detail, sizeof detail, "%.*s", (int)r->detail_len, r->detail);
    return ms_files_list_refuse(&in->files, in->files.entries + entry, r->reason, detail, err);
}

/* Is the entry the file of that record, as it was then, and not explained yet? */
static bool is_of_record(const ms_manifest *in, uint32_t i, const ms_journal_record *r) {
    const ms_files_entry *e = in->files.entries + i;
    return in->content[i] == MS_DEDUP_NONE && e->reason == MSIM_SKIP_NONE && e->bytes == r->bytes &&
           e->mtime_ns == r->mtime_ns && strlen(e->path) == r->path_len &&
           memcmp(e->path, r->path, r->path_len) == 0;
}

/* Every entry of that path (a file may be given twice) that is as it was. */
static int visit_file(loader *l, const ms_journal_record *r, msim_error *err) {
    ms_manifest *in = l->in;
    int rc = 0;
    /* what could not be read is tried again */
    if (!l->is_now && (r->reason != MSIM_SKIP_NONE || r->bytes < 0)) return 0;
    for (size_t at = hash_path(r->path, r->path_len);; at++) {
        uint32_t i = in->slots[at & (in->n_slots - 1)];
        if (i == MS_DEDUP_NONE) return rc;
        if (!is_of_record(in, i, r)) continue;
        if (r->reason == MSIM_SKIP_NONE)
            rc = ms_dedup_find(in->dedup, r->hash, &in->content[i], err);
        else
            rc = refuse(in, i, r, err);
        if (rc < 0) return rc;
    }
}

static int visit_record(void *user, const ms_journal_record *r, msim_error *err) {
    loader *l = user;
    int64_t at = r->at;
    uint32_t content;
    if (l->to && (at = ms_journal_add(l->to, r, err)) < 0) return (int)at;
    if (r->kind == MS_JOURNAL_FILE) return visit_file(l, r, err);
    if (r->kind == MS_JOURNAL_NOTES) {
        int rc = ms_dedup_find(l->in->dedup, r->hash, &content, err);
        if (rc < 0) return rc;
        ms_dedup_settle_notes(l->in->dedup, content,
                              r->reason == MSIM_SKIP_NONE ? at : MS_NOTES_NONE);
        return 0;
    }
    if (r->kind == MS_JOURNAL_CONTENT) {
        bool is_cut = l->max_tokens && r->full_length > l->max_tokens;
        int rc = ms_dedup_find(l->in->dedup, r->hash, &content, err);
        if (rc < 0) return rc;
        ms_dedup_settle(l->in->dedup, content,
                        (ms_dedup_entry){.state = MS_DEDUP_JOURNAL,
                                         .at = at,
                                         .n_windows = r->n_windows,
                                         .outcome = (uint8_t)r->reason,
                                         .is_cut = is_cut});
        if (ms_facts_get(&l->in->facts, content).tokens >= 0)
            return 0; /* by this run: it has all */
        return ms_facts_note(&l->in->facts, content,
                             (ms_fact){.tokens = r->n_tokens, .notes = -1, .seconds = -1}, err);
    }
    char level[16];
    snprintf(level, sizeof level, "%.*s", (int)r->detail_len, r->detail);
    ms_description_add_level(l->description, level);
    return 0;
}

static int load(loader *l, ms_journal *journal, msim_error *err) {
    int64_t n_lost;
    int rc = index_paths(l->in, err);
    if (rc >= 0) rc = ms_journal_load(journal, visit_record, l, &n_lost, err);
    if (rc < 0) return rc;
    if (n_lost) {
        char count[32];
        ms_watch_say(l->in->watch, MSIM_MESSAGE_NOTE,
                     "%s: the last %s bytes are of a block that was never finished: cut off",
                     ms_journal_path(journal), ms_watch_count(count, n_lost));
    }
    return 0;
}

int ms_manifest_load(ms_manifest *in, ms_journal *journal, int64_t max_tokens,
                     ms_description *description, msim_error *err) {
    loader l = {.in = in, .description = description, .max_tokens = max_tokens};
    return load(&l, journal, err);
}

int ms_manifest_absorb(ms_manifest *in, ms_journal *journal, ms_journal *other, int64_t max_tokens,
                       ms_description *description, bool is_now, msim_error *err) {
    loader l = {.in = in,
                .description = description,
                .max_tokens = max_tokens,
                .is_now = is_now,
                .to = journal};
    return load(&l, other, err);
}

/* ---- The end of the journals ---- */

void ms_manifest_settle(ms_manifest *in) {
    forget_paths(in);
    in->n_before = -in->n_kept;
    for (size_t i = 0; i < in->files.n; i++) {
        if (in->content[i] == MS_DEDUP_NONE) continue;
        /* A file may have been noted before its contents were embedded. */
        if (ms_dedup_get(in->dedup, in->content[i]).state == MS_DEDUP_UNKNOWN ||
            ms_noted_lacks(in, i))
            in->content[i] = MS_DEDUP_NONE;
        else
            in->n_before++;
    }
}

int ms_manifest_complete(ms_manifest *in, msim_error *err) {
    int rc = 0;
    forget_paths(in);
    for (size_t i = 0; i < in->files.n && rc >= 0; i++) {
        uint32_t c = in->content[i];
        if (c == MS_DEDUP_NONE && in->files.entries[i].reason == MSIM_SKIP_NONE)
            rc = ms_files_list_refuse(&in->files, in->files.entries + i, MSIM_SKIP_UNREADABLE,
                                      "path too long to be noted", err);
        else if (c != MS_DEDUP_NONE && ms_dedup_get(in->dedup, c).state == MS_DEDUP_UNKNOWN)
            ms_dedup_settle(
                in->dedup, c,
                (ms_dedup_entry){.state = MS_DEDUP_LOST, .outcome = MSIM_SKIP_UNREADABLE});
    }
    return rc;
}

/* ---- A corpus ---- */

/* Rows are windows if and only if the description says so. */
static int check_spans(ms_previous *previous, msim_error *err) {
    bool wants = ms_description_has_spans(&previous->description) && previous->description.rows;
    int has = msim_corpus_has_spans(previous->corpus, err);
    if (has < 0) return has;
    if (wants != has)
        return ms_fail(err, MSIM_E_FORMAT,
                       "damaged description of a corpus: it has windows without spans, or spans "
                       "without windows");
    has = msim_corpus_has_bars(previous->corpus, err); /* or have none: both will do */
    if (has < 0) return has;
    int64_t n = msim_corpus_pieces(previous->corpus, err);
    previous->n_pieces = n;
    return n < 0 ? (int)n : 0;
}

int ms_previous_open(const char *path, int dtype, ms_previous *previous, msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    msim_error why;
    const char *slash = strrchr(path, '/');
    *previous = (ms_previous){0};
    int rc = ms_description_read(path, &previous->description, &why);
    if (rc == 0)
        return ms_fail(err, MSIM_E_ARG, "the description %s.json is not beside it",
                       slash ? slash + 1 : path);
    if (rc >= 0) rc = msim_corpus_open(path, NULL, &previous->corpus, &why);
    if (rc >= 0) rc = msim_corpus_get_info(previous->corpus, &info);
    if (rc >= 0 &&
        (info.rows != previous->description.rows || info.dim != previous->description.dim ||
         !info.has_names || info.dtype != dtype))
        rc = ms_fail(&why, MSIM_E_FORMAT, "expected %lld rows of %lld with names, got %lld of %lld",
                     (long long)previous->description.rows, (long long)previous->description.dim,
                     (long long)info.rows, (long long)info.dim);
    if (rc >= 0) rc = ms_description_check(&previous->description, previous->corpus, 0, &why);
    if (rc >= 0) rc = check_spans(previous, &why);
    if (rc >= 0)
        rc =
            ms_description_read_sources(path, previous->description.rows, &previous->sources, &why);
    if (rc >= 0) return 0;
    ms_previous_close(previous);
    return ms_fail(err, why.code == MSIM_E_MEMORY ? MSIM_E_MEMORY : MSIM_E_ARG, "%.400s", why.text);
}

void ms_previous_close(ms_previous *previous) {
    msim_corpus_close(previous->corpus);
    ms_free(previous->sources);
    *previous = (ms_previous){0};
}

/* ---- Order ---- */

static int compare_entries(const void *a, const void *b, void *list) {
    const ms_files_list *files = list;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = ms_files_compare_names(files->entries + x, files->entries + y);
    return order ? order : (x > y) - (x < y);
}

/* Numbers of those entries, to be freed with ms_free; NULL when out of memory. */
static uint32_t *sort_entries(const ms_manifest *in,
                              bool (*is_wanted)(const ms_manifest *in, size_t i), size_t *n,
                              msim_error *err) {
    uint32_t *sorted = ms_alloc(in->files.n, sizeof *sorted, "order of rows", err);
    *n = 0;
    if (!sorted) return NULL;
    for (size_t i = 0; i < in->files.n; i++)
        if (!is_wanted || is_wanted(in, i)) sorted[(*n)++] = (uint32_t)i;
    if (*n) qsort_r(sorted, *n, sizeof *sorted, compare_entries, (void *)(uintptr_t)&in->files);
    return sorted;
}

static bool gives_row(const ms_manifest *in, size_t i) {
    if (in->files.entries[i].reason != MSIM_SKIP_NONE || in->content[i] == MS_DEDUP_NONE)
        return false;
    ms_dedup_entry content = ms_dedup_get(in->dedup, in->content[i]);
    return (content.state == MS_DEDUP_JOURNAL || content.state == MS_DEDUP_PREVIOUS) &&
           content.outcome == MSIM_SKIP_NONE;
}

int64_t ms_manifest_count_done(const ms_manifest *in) {
    int64_t n = 0;
    for (size_t i = 0; i < in->files.n; i++)
        if (in->files.entries[i].reason != MSIM_SKIP_NONE)
            n++;
        else if (in->content[i] != MS_DEDUP_NONE)
            n += ms_dedup_get(in->dedup, in->content[i]).state >= MS_DEDUP_JOURNAL;
    return n;
}

int ms_manifest_rows(const ms_manifest *in, uint32_t **out, size_t *n, size_t *n_same,
                     msim_error *err) {
    uint32_t *rows = sort_entries(in, gives_row, n, err);
    *out = rows;
    *n_same = 0;
    if (!rows) return -MSIM_E_MEMORY;
    for (size_t i = 1; i < *n; i++)
        *n_same += ms_files_compare_names(in->files.entries + rows[i - 1],
                                          in->files.entries + rows[i]) == 0;
    return 0;
}

/* ---- Pairs of a row and an entry ---- */

typedef struct {
    char text[MS_FILES_MAX_NAME + 8];
    int64_t len; /* -1: there is no such row */
} row_name;

static void get_name(const ms_previous *previous, int64_t row, row_name *out) {
    out->len = row < previous->description.rows
                   ? msim_corpus_name(previous->corpus, row, out->text, sizeof out->text)
                   : -1;
    if (out->len >= (int64_t)sizeof out->text) out->len = 0; /* no name of ours */
}

static int compare_to_row(const ms_files_entry *e, const row_name *name) {
    return ms_text_compare(e->path + e->name_at, e->name_len, name->text, (size_t)name->len);
}

/* Walk pieces and entries in order of name. Each piece is visited once, by its first row, with its
 * entry or SIZE_MAX. Of several with one name the first piece goes with the first entry. A result <
 * 0 of `visit` ends the walk. */
static int walk_pairs(const ms_manifest *in, const ms_previous *previous,
                      int (*visit)(void *user, int64_t row, size_t entry, const char *name),
                      void *user, msim_error *err) {
    row_name name;
    size_t n, at = 0;
    uint32_t *sorted = sort_entries(in, NULL, &n, err);
    int rc = sorted ? 0 : -MSIM_E_MEMORY;
    for (int64_t piece = 0; piece < previous->n_pieces && rc >= 0; piece++) {
        int64_t row = msim_corpus_piece_first(previous->corpus, piece, err);
        if (row < 0) rc = (int)row;
        if (rc < 0) break;
        get_name(previous, row, &name);
        while (at < n && compare_to_row(in->files.entries + sorted[at], &name) < 0) at++;
        bool is_there = at < n && compare_to_row(in->files.entries + sorted[at], &name) == 0;
        rc = visit(user, row, is_there ? sorted[at++] : SIZE_MAX, name.text);
    }
    ms_free(sorted);
    return rc;
}

static bool is_as_it_was(const ms_files_entry *e, const ms_source *source) {
    return e->reason == MSIM_SKIP_NONE && e->bytes >= 0 && source->bytes != MS_SOURCE_UNKNOWN &&
           (uint64_t)e->bytes == source->bytes && e->mtime_ns == source->mtime_ns;
}

typedef struct {
    ms_manifest *in;
    const ms_previous *previous;
    size_t last; /* entry of the row before */
    bool by_path;
    msim_error *err;
} matcher;

static bool same_name(const ms_manifest *in, size_t x, size_t y) {
    return x != SIZE_MAX && y != SIZE_MAX &&
           ms_files_compare_names(in->files.entries + x, in->files.entries + y) == 0;
}

/* Rows of the piece that begins with this one. */
static int64_t rows_of_piece(const ms_previous *previous, int64_t row, msim_error *err) {
    if (!ms_description_has_spans(&previous->description)) return 1;
    int64_t piece = msim_corpus_piece_of(previous->corpus, row, err),
            end = piece < 0 ? piece : msim_corpus_piece_first(previous->corpus, piece + 1, err);
    return end < 0 ? end : end - row;
}

static int match_pair(void *user, int64_t row, size_t entry, const char *name) {
    matcher *m = user;
    ms_manifest *in = m->in;
    int64_t n_rows = rows_of_piece(m->previous, row, m->err);
    (void)name;
    if (n_rows < 0) return (int)n_rows;
    if (m->previous->sources) {
        const ms_source *source = m->previous->sources + row;
        uint32_t content;
        int rc = ms_dedup_find(in->dedup, source->sha256, &content, m->err);
        if (rc < 0) return rc;
        if (ms_dedup_get(in->dedup, content).state == MS_DEDUP_UNKNOWN)
            ms_dedup_settle(
                in->dedup, content,
                (ms_dedup_entry){.state = MS_DEDUP_PREVIOUS,
                                 .at = row,
                                 .n_windows = ms_description_has_spans(&m->previous->description)
                                                  ? (uint32_t)n_rows
                                                  : 0,
                                 .is_cut = source->flags & MS_SOURCE_CUT});
        /* A name that is no path, or that several share, does not say which file it was: its
         * contents will. */
        if (same_name(in, m->last, entry)) {
            if (in->content[m->last] != MS_DEDUP_NONE) in->n_kept--;
            in->content[m->last] = MS_DEDUP_NONE;
        } else if (entry != SIZE_MAX && m->by_path && in->content[entry] == MS_DEDUP_NONE &&
                   is_as_it_was(in->files.entries + entry, source)) {
            in->content[entry] = content;
            in->n_kept++;
        }
    }
    if (entry == SIZE_MAX)
        in->n_dropped += n_rows;
    else
        in->had_row[entry] = true;
    m->last = entry;
    return 0;
}

int ms_manifest_match(ms_manifest *in, const ms_previous *previous, msim_error *err) {
    matcher m = {.in = in,
                 .previous = previous,
                 .last = SIZE_MAX,
                 .by_path = strcmp(previous->description.names, "path") == 0,
                 .err = err};
    ms_free(in->had_row);
    in->had_row = ms_alloc(in->files.n, sizeof *in->had_row, "rows of files", err);
    return in->had_row ? walk_pairs(in, previous, match_pair, &m, err) : -MSIM_E_MEMORY;
}

/* ---- Is it the same? ---- */

/* Returns 1 when the file's content now has another hash, else 0. A file that cannot be read now
 * counts as unchanged. */
static int has_changed(const ms_files_entry *e, const ms_source *source, ms_files_buffer *buffer,
                       msim_error *err) {
    unsigned char digest[MS_SHA256_BYTES];
    char detail[MS_FILES_DETAIL];
    int reason = ms_files_read(e, buffer, detail, err);
    if (reason < 0) return reason;
    if (ms_files_is_tried_again(reason)) return 0;
    if (reason != MSIM_SKIP_NONE) return 1;
    int rc = ms_digest_of(MS_DIGEST_SHA256, buffer->data, buffer->n_bytes, digest, err);
    return rc < 0 ? rc : memcmp(digest, source->sha256, sizeof source->sha256) != 0;
}

typedef struct {
    const ms_manifest *in;
    const ms_previous *previous;
    ms_files_buffer buffer; /* owned */
    msim_error *err;
} verifier;

static int verify_pair(void *user, int64_t row, size_t entry, const char *name) {
    verifier *v = user;
    if (entry == SIZE_MAX)
        return ms_fail(v->err, MSIM_E_ARG, "row %lld: '%.200s' is none of the input files",
                       (long long)row, name);
    const ms_files_entry *e = v->in->files.entries + entry;
    const ms_source *source = v->previous->sources ? v->previous->sources + row : NULL;
    if (!source || source->bytes == MS_SOURCE_UNKNOWN || is_as_it_was(e, source)) return 0;
    int changed = has_changed(e, source, &v->buffer, v->err);
    if (changed <= 0) return changed;
    return ms_fail(v->err, MSIM_E_ARG, "row %lld: '%.200s' has changed", (long long)row, name);
}

int ms_manifest_verify(const ms_manifest *in, const ms_previous *previous, msim_error *err) {
    verifier v = {.in = in, .previous = previous, .err = err};
    /* a folder may have been unreadable */
    if (previous->description.files != (int64_t)in->files.n && !previous->description.unread)
        return ms_fail(err, MSIM_E_ARG, "input files: expected %lld, got %lld",
                       (long long)previous->description.files, (long long)in->files.n);
    int rc = walk_pairs(in, previous, verify_pair, &v, err);
    ms_files_buffer_free(&v.buffer);
    return rc;
}
