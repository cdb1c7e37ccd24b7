/* The third step of a job (pipeline/job.h): what every input came to, and the corpus. */
#define _GNU_SOURCE
#include "pipeline/job.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What gave no row ---- */

static int skip(msim_job *r, const ms_files_entry *e, int reason, const char *detail,
                msim_error *err) {
    bool is_tried_again = ms_files_is_tried_again(reason);
    r->n_unread += is_tried_again;
    r->n_failed += !is_tried_again && ms_files_is_failure(reason, e->is_named);
    return ms_skips_add(&r->skips, e->path, reason, detail, e->is_named, err);
}

/* A file that cannot be read now had a row before: the row is not dropped by mistake. */
static bool is_at_risk(const msim_job *r, size_t i) {
    const ms_files_entry *e = r->manifest.files.entries + i;
    if (!r->manifest.had_row || r->o.is_forced) return false;
    return e->is_folder || (ms_files_is_tried_again(e->reason) && r->manifest.had_row[i]);
}

/* What one input came to, when that was no row. */
static int account_entry(msim_job *r, size_t i, msim_error *err) {
    char detail[MS_FILES_DETAIL] = "";
    const ms_files_entry *e = r->manifest.files.entries + i;
    if (e->reason != MSIM_SKIP_NONE) return skip(r, e, e->reason, e->detail, err);
    if (r->manifest.content[i] == MS_DEDUP_NONE) return 0; /* not done: the run was stopped */
    ms_dedup_entry content = ms_dedup_get(r->manifest.dedup, r->manifest.content[i]);
    if (content.state < MS_DEDUP_JOURNAL) return 0;
    if (content.outcome == MSIM_SKIP_NONE) {
        r->n_cut += content.is_cut && !r->lines;
        return 0;
    }
    int rc = content.state == MS_DEDUP_JOURNAL
                 ? ms_journal_get_detail(r->journal, content.at, detail, sizeof detail, err)
                 : 0;
    if (rc < 0) return rc;
    return skip(r, e, content.outcome, content.state == MS_DEDUP_LOST ? "not noted" : detail, err);
}

int ms_job_account(msim_job *r, msim_error *err) {
    int64_t n_at_risk = 0;
    for (size_t i = 0; i < r->manifest.files.n; i++) {
        n_at_risk += is_at_risk(r, i);
        int rc = account_entry(r, i, err);
        if (rc < 0) return rc;
    }
    if (n_at_risk == 0) return 0;
    return ms_fail(
        err, MSIM_E_IO,
        "not brought up to date: %.200s: %lld files or folders that have rows cannot be read "
        "now; mend that and run the same command again, or add --force to drop their rows",
        r->o.output, (long long)n_at_risk);
}

/* ---- Rows ---- */

/* The rows of the pieces, piece by piece. */
typedef struct {
    const msim_job *run;
    const uint32_t *entries; /* borrowed: [n_pieces] */
    int64_t *firsts;         /* owned: [n_pieces + 1] rows; NULL: each piece has one */
    int64_t n_pieces;
    int64_t piece; /* that was looked up last: rows come in their order */
} row_list;

/* The piece of a row; *window: its number in it. */
static int64_t piece_of(row_list *l, int64_t row, uint32_t *window) {
    *window = 0;
    if (!l->firsts) return row;
    if (row < l->firsts[l->piece]) l->piece = 0;
    while (l->firsts[l->piece + 1] <= row) l->piece++;
    *window = (uint32_t)(row - l->firsts[l->piece]);
    return l->piece;
}

static const ms_files_entry *entry_of(row_list *l, int64_t row) {
    uint32_t window;
    return l->run->manifest.files.entries + l->entries[piece_of(l, row, &window)];
}

static const char *get_name(void *user, int64_t row, size_t *len) {
    const ms_files_entry *e = entry_of(user, row);
    *len = e->name_len;
    return e->path + e->name_at;
}

static ms_dedup_entry content_of(row_list *l, int64_t row, uint32_t *window) {
    const ms_manifest *in = &l->run->manifest;
    return ms_dedup_get(in->dedup, in->content[l->entries[piece_of(l, row, window)]]);
}

static int get_vector(void *user, int64_t row, float *out, msim_error *err) {
    row_list *l = user;
    uint32_t window;
    ms_dedup_entry content = content_of(l, row, &window);
    if (content.state == MS_DEDUP_PREVIOUS)
        return msim_corpus_vector(l->run->previous.corpus, content.at + window, out, err);
    return ms_journal_get_vector(l->run->journal, content.at, content.n_windows, window, out, err);
}

static int get_span(void *user, int64_t row, ms_stored_span *out, msim_error *err) {
    row_list *l = user;
    uint32_t window;
    msim_span span;
    ms_dedup_entry content = content_of(l, row, &window);
    if (content.state == MS_DEDUP_JOURNAL)
        return ms_journal_get_span(l->run->journal, content.at, window, out, err);
    int rc = msim_corpus_span(l->run->previous.corpus, content.at + window, &span, err);
    if (rc >= 0) *out = ms_span_pack(&span, window);
    return rc;
}

static int get_bars(void *user, int64_t row, ms_stored_bars *out, msim_error *err) {
    row_list *l = user;
    uint32_t window;
    msim_bar_span bars;
    ms_dedup_entry content = content_of(l, row, &window);
    if (content.state == MS_DEDUP_JOURNAL)
        return ms_journal_get_bars(l->run->journal, content.at, window, out, err);
    int rc = msim_corpus_bars(l->run->previous.corpus, content.at + window, &bars, err);
    if (rc >= 0) *out = ms_bars_pack(&bars);
    return rc;
}

static void get_source(void *user, int64_t row, ms_source *out) {
    row_list *l = user;
    uint32_t window;
    const ms_files_entry *e = entry_of(l, row);
    ms_dedup_entry content = content_of(l, row, &window);
    bool is_file = e->bytes >= 0 && e->bytes < MS_SOURCE_UNKNOWN;
    *out = (ms_source){.mtime_ns = is_file ? e->mtime_ns : 0,
                       .bytes = is_file ? (uint32_t)e->bytes : MS_SOURCE_UNKNOWN,
                       .flags = content.is_cut ? MS_SOURCE_CUT : 0};
    memcpy(out->sha256, content.key, sizeof out->sha256);
}

static int64_t rows_of(const msim_job *r, uint32_t entry) {
    ms_dedup_entry content = ms_dedup_get(r->manifest.dedup, r->manifest.content[entry]);
    return content.n_windows ? content.n_windows : 1;
}

/* Rows whose content an earlier row holds. */
static int64_t count_shared(const msim_job *r, const uint32_t *entries, size_t n, msim_error *err) {
    size_t n_contents = ms_dedup_count(r->manifest.dedup);
    unsigned char *seen = ms_alloc(n_contents / 8 + 1, 1, "contents of rows", err);
    int64_t n_shared = 0;
    if (!seen) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = r->manifest.content[entries[i]];
        if (seen[c / 8] >> c % 8 & 1) n_shared += rows_of(r, entries[i]);
        seen[c / 8] |= (unsigned char)(1u << c % 8);
    }
    ms_free(seen);
    return n_shared;
}

/* True when the previous corpus holds these rows already, from the same sources. */
static bool is_as_previous(row_list *l, int64_t n) {
    const ms_previous *previous = &l->run->previous;
    char name[MS_FILES_MAX_NAME + 8];
    if (!previous->corpus || !previous->sources || n != previous->description.rows) return false;
    for (int64_t row = 0; row < n; row++) {
        ms_source source;
        size_t len;
        const char *wanted = get_name(l, row, &len);
        get_source(l, row, &source);
        if (memcmp(&source, previous->sources + row, sizeof source) != 0) return false;
        if (msim_corpus_name(previous->corpus, row, name, sizeof name) != (int64_t)len ||
            memcmp(name, wanted, len) != 0)
            return false;
    }
    return true;
}

/* True when the corpus's description would not change either. */
static int is_described(const msim_job *r, msim_error *err) {
    char *was = ms_description_print(&r->previous.description, err),
         *is = was ? ms_description_print(&r->description, err) : NULL;
    int rc = is ? strcmp(was, is) == 0 : -MSIM_E_MEMORY;
    ms_free(was);
    ms_free(is);
    return rc;
}

static int write_all(msim_job *r, row_list *l, msim_error *err) {
    const bool has_spans = ms_description_has_spans(&r->description);
    ms_output_rows rows = {.user = l,
                           .name = get_name,
                           .vector = get_vector,
                           .described = {.user = l,
                                         .source = get_source,
                                         .span = has_spans ? get_span : NULL,
                                         .bars = has_spans ? get_bars : NULL}};
    if (!is_as_previous(l, r->description.rows))
        return ms_output_write(&r->output, &rows, &r->description, err);
    memcpy(r->description.fingerprint, r->previous.description.fingerprint,
           sizeof r->description.fingerprint);
    int rc = *r->description.fingerprint ? is_described(r, err) : 0; /* older ones have none */
    if (rc < 0) return rc;
    r->is_unchanged = rc == 1;
    return r->is_unchanged ? 0 : ms_output_describe(&r->output, &rows, &r->description, err);
}

/* Where the rows of each piece begin, and how many there are in all. */
static int number_rows(msim_job *r, row_list *l, msim_error *err) {
    r->n_pieces = r->n_rows = l->n_pieces;
    if (!ms_description_has_spans(&r->description)) return 0;
    l->firsts = ms_alloc((size_t)l->n_pieces + 1, sizeof *l->firsts, "rows of pieces", err);
    if (!l->firsts) return -MSIM_E_MEMORY;
    for (int64_t i = 0; i < l->n_pieces; i++)
        l->firsts[i + 1] = l->firsts[i] + rows_of(r, l->entries[i]);
    r->n_rows = l->firsts[l->n_pieces];
    return 0;
}

/* Rows in the order of their pieces. */
static int write_rows(msim_job *r, row_list *list, bool is_complete, msim_error *err) {
    int64_t n_shared = count_shared(r, list->entries, (size_t)list->n_pieces, err);
    if (n_shared < 0) return (int)n_shared;
    r->n_shared = n_shared;
    if (r->n_rows == 0 && !r->o.n_shards) return 0;
    r->description.rows = r->n_rows;
    if (r->lines) r->description.files = r->n_lines;
    r->description.unread = r->n_unread;
    r->description.failed = r->n_failed;
    r->description.is_complete = is_complete;
    return write_all(r, list, err);
}

int ms_job_write(msim_job *r, bool is_complete, msim_error *err) {
    uint32_t *entries;
    size_t n, n_same;
    char count[32];
    int rc = ms_manifest_rows(&r->manifest, &entries, &n, &n_same, err);
    if (rc < 0) return rc;
    if (n_same)
        ms_watch_say(&r->watch, MSIM_MESSAGE_WARNING,
                     "%s row%s the same name as another row; all are kept",
                     ms_watch_count(count, (int64_t)n_same), n_same == 1 ? " has" : "s have");
    row_list list = {.run = r, .entries = entries, .n_pieces = (int64_t)n};
    rc = number_rows(r, &list, err);
    if (rc >= 0) rc = write_rows(r, &list, is_complete, err);
    ms_free(list.firsts);
    if (rc >= 0 && r->o.is_detailed) {
        ms_free(r->order);
        r->order = entries;
        return rc;
    }
    ms_free(entries);
    return rc;
}
