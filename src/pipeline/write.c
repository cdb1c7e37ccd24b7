/* The third step of a run: what every input came to, and the corpus. Contract:
 * pipeline/job.h. */
#define _GNU_SOURCE
#include "pipeline/job.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What gave no row ---- */

static int skip(msim_job *r, const ms_files_entry *e, int reason, const char *detail,
                msim_error *err) {
    r->n_unread += ms_files_is_tried_again(reason);
    return ms_skips_add(&r->skips, e->path, reason, detail, e->is_named, err);
}

/* A file that cannot be read now had a row: it is not dropped by mistake. */
static bool is_at_risk(const msim_job *r, size_t i) {
    const ms_files_entry *e = r->inputs.files.entries + i;
    if (!r->inputs.had_row || r->o.is_forced) return false;
    return e->is_folder || (ms_files_is_tried_again(e->reason) && r->inputs.had_row[i]);
}

/* What one input came to, when that was no row. */
static int account_entry(msim_job *r, size_t i, msim_error *err) {
    char detail[MS_FILES_DETAIL] = "";
    const ms_files_entry *e = r->inputs.files.entries + i;
    if (e->reason != MSIM_SKIP_NONE) return skip(r, e, e->reason, e->detail, err);
    if (r->inputs.content[i] == MS_DEDUP_NONE) return 0; /* not done: the run was stopped */
    ms_dedup_entry content = ms_dedup_get(r->inputs.contents, r->inputs.content[i]);
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
    for (size_t i = 0; i < r->inputs.files.n; i++) {
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

typedef struct {
    const msim_job *run;
    const uint32_t *entries; /* borrowed: of each row */
} row_list;

static const char *get_name(void *user, int64_t row, size_t *len) {
    const row_list *l = user;
    const ms_files_entry *e = l->run->inputs.files.entries + l->entries[row];
    *len = e->name_len;
    return e->path + e->name_at;
}

static ms_dedup_entry content_of(const row_list *l, int64_t row) {
    return ms_dedup_get(l->run->inputs.contents, l->run->inputs.content[l->entries[row]]);
}

static int get_vector(void *user, int64_t row, float *out, msim_error *err) {
    const row_list *l = user;
    ms_dedup_entry content = content_of(l, row);
    if (content.state == MS_DEDUP_BASE)
        return msim_corpus_vector(l->run->previous.corpus, content.at, out, err);
    return ms_journal_get_vector(l->run->journal, content.at, out, err);
}

static void get_source(void *user, int64_t row, ms_source *out) {
    const row_list *l = user;
    const ms_files_entry *e = l->run->inputs.files.entries + l->entries[row];
    ms_dedup_entry content = content_of(l, row);
    bool is_file = e->bytes >= 0 && e->bytes < MS_SOURCE_UNKNOWN;
    *out = (ms_source){.mtime_ns = is_file ? e->mtime_ns : 0,
                       .bytes = is_file ? (uint32_t)e->bytes : MS_SOURCE_UNKNOWN,
                       .flags = content.is_cut ? MS_SOURCE_CUT : 0};
    memcpy(out->sha256, content.key, sizeof out->sha256);
}

/* Rows whose content an earlier row holds. */
static int64_t count_shared(const msim_job *r, const uint32_t *entries, size_t n, msim_error *err) {
    size_t n_contents = ms_dedup_count(r->inputs.contents);
    unsigned char *seen = ms_alloc(n_contents / 8 + 1, 1, "contents of rows", err);
    int64_t n_shared = 0;
    if (!seen) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = r->inputs.content[entries[i]];
        n_shared += seen[c / 8] >> c % 8 & 1;
        seen[c / 8] |= (unsigned char)(1u << c % 8);
    }
    ms_free(seen);
    return n_shared;
}

/* True when the base holds these rows already, from the same sources. */
static bool is_as_base(row_list *l, int64_t n) {
    const ms_previous *base = &l->run->previous;
    char name[MS_FILES_MAX_NAME + 8];
    if (!base->corpus || !base->sources || n != base->about.rows) return false;
    for (int64_t row = 0; row < n; row++) {
        ms_source source;
        size_t len;
        const char *wanted = get_name(l, row, &len);
        get_source(l, row, &source);
        if (memcmp(&source, base->sources + row, sizeof source) != 0) return false;
        if (msim_corpus_name(base->corpus, row, name, sizeof name) != (int64_t)len ||
            memcmp(name, wanted, len) != 0)
            return false;
    }
    return true;
}

/* True when the corpus's description would not change either. */
static int is_described(const msim_job *r, msim_error *err) {
    char *was = ms_description_print(&r->previous.about, err),
         *is = was ? ms_description_print(&r->about, err) : NULL;
    int rc = is ? strcmp(was, is) == 0 : -MSIM_E_MEMORY;
    ms_free(was);
    ms_free(is);
    return rc;
}

static int write_all(msim_job *r, row_list *l, msim_error *err) {
    ms_output_rows rows = {.user = l, .name = get_name, .vector = get_vector, .source = get_source};
    if (!is_as_base(l, r->about.rows)) return ms_output_write(&r->output, &rows, &r->about, err);
    int rc = is_described(r, err);
    if (rc < 0) return rc;
    r->is_unchanged = rc == 1;
    return r->is_unchanged ? 0 : ms_output_describe(&r->output, &rows, &r->about, err);
}

/* Rows in the order of `entries`. */
static int write_rows(msim_job *r, const uint32_t *entries, bool is_complete, msim_error *err) {
    row_list list = {.run = r, .entries = entries};
    int64_t n_shared = count_shared(r, entries, (size_t)r->n_rows, err);
    if (n_shared < 0) return (int)n_shared;
    r->n_shared = n_shared;
    if (r->n_rows == 0 && !r->o.n_shards) return 0;
    r->about.rows = r->n_rows;
    if (r->lines) r->about.files = r->n_lines;
    r->about.unread = r->n_unread;
    r->about.is_complete = is_complete;
    return write_all(r, &list, err);
}

int ms_job_write(msim_job *r, bool is_complete, msim_error *err) {
    uint32_t *entries;
    size_t n, n_same;
    char count[32];
    int rc = ms_manifest_rows(&r->inputs, &entries, &n, &n_same, err);
    if (rc < 0) return rc;
    r->n_rows = (int64_t)n;
    if (n_same)
        ms_watch_say(&r->watch, MSIM_MESSAGE_WARNING,
                     "%s rows have the same name as another row; all are kept",
                     ms_watch_count(count, (int64_t)n_same));
    rc = write_rows(r, entries, is_complete, err);
    ms_free(entries);
    return rc;
}
