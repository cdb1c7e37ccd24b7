/* Contract: tools/pipeline/manifest.h. */
#define _GNU_SOURCE
#include "manifest.h"
#include "base/digest.h"
#include "base/fnv.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ms_manifest_open(ms_manifest *in) {
    in->contents = ms_dedup_open();
    if (in->files.n >= MS_DEDUP_NONE) {
        ms_cli_error("too many files: expected at most %u, got %zu", MS_DEDUP_NONE, in->files.n);
        exit(MS_EXIT_FAILED);
    }
    in->content = ms_cli_alloc(in->files.n, sizeof *in->content);
    in->content_cap = in->files.n;
    if (in->files.n) memset(in->content, 0xff, in->files.n * sizeof *in->content);
}

void ms_manifest_close(ms_manifest *in) {
    ms_dedup_close(in->contents);
    ms_files_list_close(&in->files);
    free(in->content);
    free(in->had_row);
    free(in->slots);
    *in = (ms_manifest){0};
}

bool ms_manifest_take(void *inputs, size_t *index) {
    ms_manifest *in = inputs;
    while (in->next < in->files.n && in->content[in->next] != MS_DEDUP_NONE) in->next++;
    *index = in->next;
    return in->next < in->files.n && in->next++ != SIZE_MAX;
}

bool ms_manifest_claim(void *inputs, const unsigned char *sha256, uint32_t *content) {
    return ms_dedup_claim(((ms_manifest *)inputs)->contents, sha256, content);
}

size_t ms_manifest_add(ms_manifest *in, const char *name, uint32_t content) {
    ms_files_list_add(&in->files, name);
    in->content = ms_cli_grow(in->content, &in->content_cap, in->files.n, sizeof *in->content);
    in->content[in->files.n - 1] = content;
    return in->files.n - 1;
}

/* ---- A journal ---- */

typedef struct {
    ms_manifest *in;
    ms_description *about;
    int64_t max_tokens;
    bool is_now;    /* of this run */
    ms_journal *to; /* where records are copied to, or NULL */
    msim_error failed;
} loader;

static size_t hash_path(const char *path, size_t n) {
    uint64_t h = ms_fnv1a(path, n);
    return (size_t)(h ^ h >> 32);
}

static void index_paths(ms_manifest *in) {
    const ms_files_list *files = &in->files;
    if (in->slots) return;
    in->n_slots = 64;
    while (in->n_slots < files->n * 2) in->n_slots *= 2;
    in->slots = ms_cli_alloc(in->n_slots, sizeof *in->slots);
    memset(in->slots, 0xff, in->n_slots * sizeof *in->slots);
    for (size_t i = 0; i < files->n; i++) {
        size_t at = hash_path(files->entries[i].path, strlen(files->entries[i].path));
        while (in->slots[at & (in->n_slots - 1)] != MS_DEDUP_NONE) at++;
        in->slots[at & (in->n_slots - 1)] = (uint32_t)i;
    }
}

static void forget_paths(ms_manifest *in) {
    free(in->slots);
    in->slots = NULL;
}

static void refuse(ms_manifest *in, uint32_t entry, const ms_journal_record *r) {
    char detail[MS_FILES_DETAIL];
    snprintf(detail, sizeof detail, "%.*s", (int)r->detail_len, r->detail);
    ms_files_list_refuse(&in->files, in->files.entries + entry, r->reason, detail);
}

/* Every entry of that path (a file may be given twice) that is as it was. */
static void visit_file(loader *l, const ms_journal_record *r) {
    ms_manifest *in = l->in;
    /* what could not be read is tried again */
    if (!l->is_now && (r->reason != MS_FILES_OK || r->bytes < 0)) return;
    for (size_t at = hash_path(r->path, r->path_len);; at++) {
        uint32_t i = in->slots[at & (in->n_slots - 1)];
        if (i == MS_DEDUP_NONE) return;
        const ms_files_entry *e = in->files.entries + i;
        if (in->content[i] != MS_DEDUP_NONE || e->reason != MS_FILES_OK || e->bytes != r->bytes ||
            e->mtime_ns != r->mtime_ns || strlen(e->path) != r->path_len ||
            memcmp(e->path, r->path, r->path_len) != 0)
            continue;
        if (r->reason == MS_FILES_OK)
            in->content[i] = ms_dedup_find(in->contents, r->hash);
        else
            refuse(in, i, r);
    }
}

static void visit_record(void *user, const ms_journal_record *r) {
    loader *l = user;
    int64_t at = r->at;
    if (l->failed.code) return;
    if (l->to && (at = ms_journal_add(l->to, r, &l->failed)) < 0) return;
    if (r->kind == MS_JOURNAL_CONTENT) {
        bool is_cut = l->max_tokens && r->full_length > l->max_tokens;
        ms_dedup_settle(l->in->contents, ms_dedup_find(l->in->contents, r->hash), MS_DEDUP_JOURNAL,
                        at, r->reason, is_cut);
    } else if (r->kind == MS_JOURNAL_FILE) {
        visit_file(l, r);
    } else {
        char level[16];
        snprintf(level, sizeof level, "%.*s", (int)r->detail_len, r->detail);
        ms_description_add_level(l->about, level);
    }
}

static int load(loader *l, ms_journal *journal, msim_error *err) {
    int64_t n_lost;
    index_paths(l->in);
    int rc = ms_journal_load(journal, visit_record, l, &n_lost, err);
    if (rc < 0) return rc;
    if (l->failed.code) {
        *err = l->failed;
        return -err->code;
    }
    if (n_lost) {
        char count[32];
        ms_cli_note("%s: the last %s bytes are of a block that was never finished: cut off",
                    ms_journal_path(journal), ms_cli_count(count, n_lost));
    }
    return 0;
}

int ms_manifest_load(ms_manifest *in, ms_journal *journal, int64_t max_tokens,
                     ms_description *about, msim_error *err) {
    loader l = {.in = in, .about = about, .max_tokens = max_tokens};
    return load(&l, journal, err);
}

int ms_manifest_absorb(ms_manifest *in, ms_journal *journal, ms_journal *other, int64_t max_tokens,
                       ms_description *about, bool is_now, msim_error *err) {
    loader l = {
        .in = in, .about = about, .max_tokens = max_tokens, .is_now = is_now, .to = journal};
    return load(&l, other, err);
}

void ms_manifest_settle(ms_manifest *in) {
    forget_paths(in);
    in->n_before = -in->n_kept;
    for (size_t i = 0; i < in->files.n; i++) {
        if (in->content[i] == MS_DEDUP_NONE) continue;
        /* A file may have been noted before its contents were embedded. */
        if (ms_dedup_get(in->contents, in->content[i]).state == MS_DEDUP_UNKNOWN)
            in->content[i] = MS_DEDUP_NONE;
        else
            in->n_before++;
    }
}

void ms_manifest_complete(ms_manifest *in) {
    forget_paths(in);
    for (size_t i = 0; i < in->files.n; i++) {
        uint32_t c = in->content[i];
        if (c == MS_DEDUP_NONE && in->files.entries[i].reason == MS_FILES_OK)
            ms_files_list_refuse(&in->files, in->files.entries + i, MS_FILES_UNREADABLE,
                                 "path too long to be noted");
        else if (c != MS_DEDUP_NONE && ms_dedup_get(in->contents, c).state == MS_DEDUP_UNKNOWN)
            ms_dedup_settle(in->contents, c, MS_DEDUP_LOST, 0, MS_FILES_UNREADABLE, false);
    }
}

/* ---- A corpus ---- */

int ms_previous_open(const char *path, int dtype, ms_previous *base, msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    msim_error why;
    const char *slash = strrchr(path, '/');
    *base = (ms_previous){0};
    int rc = ms_description_read(path, &base->about, &why);
    if (rc == 0)
        return ms_cli_fail(err, MSIM_E_ARG, "expected %s.json beside it, got none",
                           slash ? slash + 1 : path);
    if (rc >= 0) rc = msim_corpus_open(path, NULL, &base->corpus, &why);
    if (rc >= 0) rc = msim_corpus_get_info(base->corpus, &info);
    if (rc >= 0 && (info.rows != base->about.rows || info.dim != base->about.dim ||
                    !info.has_names || info.dtype != dtype))
        rc = ms_cli_fail(&why, MSIM_E_FORMAT,
                         "expected %lld rows of %lld with names, got %lld of %lld",
                         (long long)base->about.rows, (long long)base->about.dim,
                         (long long)info.rows, (long long)info.dim);
    if (rc >= 0) rc = ms_description_read_sources(path, base->about.rows, &base->sources, &why);
    if (rc >= 0) return 1;
    ms_previous_close(base);
    return ms_cli_fail(err, MSIM_E_ARG, "%.400s", why.text);
}

void ms_previous_close(ms_previous *base) {
    msim_corpus_close(base->corpus);
    free(base->sources);
    *base = (ms_previous){0};
}

/* ---- Order ---- */

static int compare_entries(const void *a, const void *b, void *list) {
    const ms_files_list *files = list;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = ms_files_compare_names(files->entries + x, files->entries + y);
    return order ? order : (x > y) - (x < y);
}

static uint32_t *sort_entries(const ms_manifest *in,
                              bool (*is_wanted)(const ms_manifest *in, size_t i), size_t *n) {
    uint32_t *sorted = ms_cli_alloc(in->files.n, sizeof *sorted);
    *n = 0;
    for (size_t i = 0; i < in->files.n; i++)
        if (!is_wanted || is_wanted(in, i)) sorted[(*n)++] = (uint32_t)i;
    if (*n) qsort_r(sorted, *n, sizeof *sorted, compare_entries, (void *)(uintptr_t)&in->files);
    return sorted;
}

static bool gives_row(const ms_manifest *in, size_t i) {
    if (in->files.entries[i].reason != MS_FILES_OK || in->content[i] == MS_DEDUP_NONE) return false;
    ms_dedup_entry content = ms_dedup_get(in->contents, in->content[i]);
    return (content.state == MS_DEDUP_JOURNAL || content.state == MS_DEDUP_BASE) &&
           content.outcome == MS_FILES_OK;
}

int64_t ms_manifest_count_done(const ms_manifest *in) {
    int64_t n = 0;
    for (size_t i = 0; i < in->files.n; i++)
        if (in->files.entries[i].reason != MS_FILES_OK)
            n++;
        else if (in->content[i] != MS_DEDUP_NONE)
            n += ms_dedup_get(in->contents, in->content[i]).state >= MS_DEDUP_JOURNAL;
    return n;
}

uint32_t *ms_manifest_rows(const ms_manifest *in, size_t *n, size_t *n_same) {
    uint32_t *rows = sort_entries(in, gives_row, n);
    *n_same = 0;
    for (size_t i = 1; i < *n; i++)
        *n_same += ms_files_compare_names(in->files.entries + rows[i - 1],
                                          in->files.entries + rows[i]) == 0;
    return rows;
}

/* ---- Pairs of a row and an entry ---- */

typedef struct {
    char text[MS_FILES_MAX_NAME + 8];
    int64_t len; /* -1: there is no such row */
} row_name;

static void get_name(const ms_previous *base, int64_t row, row_name *out) {
    out->len = row < base->about.rows
                   ? msim_corpus_name(base->corpus, row, out->text, sizeof out->text)
                   : -1;
    if (out->len >= (int64_t)sizeof out->text) out->len = 0; /* no name of ours */
}

static int compare_to_row(const ms_files_entry *e, const row_name *name) {
    size_t len = (size_t)name->len, n = e->name_len < len ? e->name_len : len;
    int order = memcmp(e->path + e->name_at, name->text, n);
    return order ? order : (e->name_len > len) - (e->name_len < len);
}

/* Walk rows and entries in order of name: each row is given once, with its entry or SIZE_MAX. Of
 * several with one name the first goes with the first. `visit` returns < 0 to end the walk. */
static int walk_pairs(const ms_manifest *in, const ms_previous *base,
                      int (*visit)(void *user, int64_t row, size_t entry, const char *name),
                      void *user) {
    row_name name;
    size_t n, at = 0;
    uint32_t *sorted = sort_entries(in, NULL, &n);
    int rc = 0;
    for (int64_t row = 0; row < base->about.rows && rc >= 0; row++) {
        get_name(base, row, &name);
        while (at < n && compare_to_row(in->files.entries + sorted[at], &name) < 0) at++;
        bool is_there = at < n && compare_to_row(in->files.entries + sorted[at], &name) == 0;
        rc = visit(user, row, is_there ? sorted[at++] : SIZE_MAX, name.text);
    }
    free(sorted);
    return rc;
}

static bool is_as_it_was(const ms_files_entry *e, const ms_source *source) {
    return e->reason == MS_FILES_OK && e->bytes >= 0 && source->bytes != MS_SOURCE_UNKNOWN &&
           (uint64_t)e->bytes == source->bytes && e->mtime_ns == source->mtime_ns;
}

typedef struct {
    ms_manifest *in;
    const ms_previous *base;
    size_t last; /* entry of the row before */
    bool by_path;
    msim_error *err;
} matcher;

static bool same_name(const ms_manifest *in, size_t x, size_t y) {
    return x != SIZE_MAX && y != SIZE_MAX &&
           ms_files_compare_names(in->files.entries + x, in->files.entries + y) == 0;
}

static int match_pair(void *user, int64_t row, size_t entry, const char *name) {
    matcher *m = user;
    ms_manifest *in = m->in;
    (void)name;
    if (m->base->sources) {
        const ms_source *source = m->base->sources + row;
        uint32_t content = ms_dedup_find(in->contents, source->sha256);
        if (ms_dedup_get(in->contents, content).state == MS_DEDUP_UNKNOWN)
            ms_dedup_settle(in->contents, content, MS_DEDUP_BASE, row, MS_FILES_OK,
                            source->flags & MS_SOURCE_CUT);
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
        in->n_dropped++;
    else
        in->had_row[entry] = true;
    m->last = entry;
    return 0;
}

void ms_manifest_match(ms_manifest *in, const ms_previous *base) {
    matcher m = {.in = in,
                 .base = base,
                 .last = SIZE_MAX,
                 .by_path = strcmp(base->about.names, "path") == 0};
    free(in->had_row);
    in->had_row = ms_cli_alloc(in->files.n, sizeof *in->had_row);
    walk_pairs(in, base, match_pair, &m);
}

/* ---- Is it the same? ---- */

/* 1 when what the file holds now has another hash, 0 when not, or < 0. A file that cannot be read
 * now is not known to differ. */
static int has_changed(const ms_files_entry *e, const ms_source *source, ms_files_buffer *buffer,
                       msim_error *err) {
    unsigned char digest[MS_SHA256_BYTES];
    char detail[MS_FILES_DETAIL];
    int reason = ms_files_read(e, buffer, detail);
    if (reason == MS_FILES_UNREADABLE || reason == MS_FILES_CHANGED) return 0;
    if (reason != MS_FILES_OK) return 1;
    int rc = ms_digest_of(MS_DIGEST_SHA256, buffer->data, buffer->n_bytes, digest, err);
    return rc < 0 ? rc : memcmp(digest, source->sha256, sizeof source->sha256) != 0;
}

typedef struct {
    const ms_manifest *in;
    const ms_previous *base;
    ms_files_buffer buffer; /* owned */
    msim_error *err;
} verifier;

static int verify_pair(void *user, int64_t row, size_t entry, const char *name) {
    verifier *v = user;
    if (entry == SIZE_MAX)
        return ms_cli_fail(v->err, MSIM_E_ARG,
                           "row %lld: expected one of the input files, got '%.200s'",
                           (long long)row, name);
    const ms_files_entry *e = v->in->files.entries + entry;
    const ms_source *source = v->base->sources ? v->base->sources + row : NULL;
    if (!source || source->bytes == MS_SOURCE_UNKNOWN || is_as_it_was(e, source)) return 0;
    int changed = has_changed(e, source, &v->buffer, v->err);
    if (changed <= 0) return changed;
    return ms_cli_fail(v->err, MSIM_E_ARG,
                       "row %lld: expected '%.200s' as it was, got a file that changed",
                       (long long)row, name);
}

int ms_manifest_verify(const ms_manifest *in, const ms_previous *base, msim_error *err) {
    verifier v = {.in = in, .base = base, .err = err};
    /* a folder may have been unreadable */
    if (base->about.files != (int64_t)in->files.n && !base->about.unread)
        return ms_cli_fail(err, MSIM_E_ARG, "input files: expected %lld, got %lld",
                           (long long)base->about.files, (long long)in->files.n);
    int rc = walk_pairs(in, base, verify_pair, &v);
    ms_files_buffer_free(&v.buffer);
    return rc < 0 ? rc : 1;
}
