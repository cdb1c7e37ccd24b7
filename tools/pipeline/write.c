/* The third step of a run: what every input came to, and the corpus. Contract:
 * tools/pipeline/embed.h. */
#define _GNU_SOURCE
#include "embed.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What gave no row ---- */

static void skip(ms_embed_run *r, const ms_files_entry *e, int reason, const char *detail) {
    ms_files_skips_add(r->skips, e->path, reason, detail, e->is_named);
    r->n_unread += reason == MS_FILES_UNREADABLE || reason == MS_FILES_CHANGED;
}

/* A file that cannot be read now had a row: it is not dropped by mistake. */
static bool is_at_risk(const ms_embed_run *r, size_t i) {
    const ms_files_entry *e = r->inputs.files.entries + i;
    if (!r->inputs.had_row || r->s->is_forced) return false;
    return e->is_folder || ((e->reason == MS_FILES_UNREADABLE || e->reason == MS_FILES_CHANGED) &&
                            r->inputs.had_row[i]);
}

int ms_embed_account(ms_embed_run *r, msim_error *err) {
    char detail[MS_FILES_DETAIL];
    int64_t n_at_risk = 0;
    for (size_t i = 0; i < r->inputs.files.n; i++) {
        const ms_files_entry *e = r->inputs.files.entries + i;
        n_at_risk += is_at_risk(r, i);
        if (e->reason != MS_FILES_OK) {
            skip(r, e, e->reason, e->detail);
            continue;
        }
        if (r->inputs.content[i] == MS_DEDUP_NONE) continue; /* not done: the run was stopped */
        ms_dedup_entry content = ms_dedup_get(r->inputs.contents, r->inputs.content[i]);
        if (content.state < MS_DEDUP_JOURNAL) continue;
        if (content.outcome == MS_FILES_OK) {
            r->n_cut += content.is_cut && !r->lines;
            continue;
        }
        *detail = 0;
        if (content.state == MS_DEDUP_JOURNAL) {
            int rc = ms_journal_get_detail(r->journal, content.at, detail, sizeof detail, err);
            if (rc < 0) return rc;
        }
        skip(r, e, content.outcome, content.state == MS_DEDUP_LOST ? "out of memory" : detail);
    }
    if (n_at_risk == 0) return 0;
    return ms_cli_fail(
        err, MSIM_E_IO,
        "not brought up to date: %.200s: %lld files or folders that have rows cannot be read "
        "now; mend that and run the same command again, or add --force to drop their rows",
        r->s->output, (long long)n_at_risk);
}

/* ---- Rows ---- */

typedef struct {
    const ms_embed_run *run;
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
        return msim_corpus_vector(l->run->base.corpus, content.at, out, err);
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
static int64_t count_shared(const ms_embed_run *r, const uint32_t *entries, size_t n) {
    size_t n_contents = ms_dedup_count(r->inputs.contents);
    unsigned char *seen = ms_cli_alloc(n_contents / 8 + 1, 1);
    int64_t n_shared = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = r->inputs.content[entries[i]];
        n_shared += seen[c / 8] >> c % 8 & 1;
        seen[c / 8] |= (unsigned char)(1u << c % 8);
    }
    free(seen);
    return n_shared;
}

/* True when the base holds these rows already, from the same sources. */
static bool is_as_base(row_list *l, int64_t n) {
    const ms_previous *base = &l->run->base;
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

static int write_all(ms_embed_run *r, row_list *l, msim_error *err) {
    ms_output_rows rows = {.user = l, .name = get_name, .vector = get_vector, .source = get_source};
    char *was = NULL, *is = NULL;
    if (!is_as_base(l, r->about.rows)) return ms_output_write(&r->output, &rows, &r->about, err);
    was = ms_description_print(&r->base.about);
    is = ms_description_print(&r->about);
    r->is_unchanged = was && is && strcmp(was, is) == 0;
    ms_free(was);
    ms_free(is);
    return r->is_unchanged ? 0 : ms_output_describe(&r->output, &rows, &r->about, err);
}

int ms_embed_write(ms_embed_run *r, bool is_complete, msim_error *err) {
    size_t n, n_same;
    uint32_t *entries = ms_manifest_rows(&r->inputs, &n, &n_same);
    row_list list = {.run = r, .entries = entries};
    int rc = 0;
    r->n_rows = (int64_t)n;
    r->n_shared = count_shared(r, entries, n);
    if (n > 0 || r->s->n_shards) {
        if (n_same) {
            char count[32];
            ms_cli_warning("%s rows have the same name as another row; all are kept",
                           ms_cli_count(count, (int64_t)n_same));
        }
        r->about.rows = r->n_rows;
        if (r->lines) r->about.files = r->n_lines;
        r->about.unread = r->n_unread;
        r->about.is_complete = is_complete;
        rc = write_all(r, &list, err);
    }
    free(entries);
    return rc;
}

void ms_embed_close(ms_embed_run *r) {
    ms_reader_close(r->reader);
    ms_token_lines_close(r->lines);
    ms_journal_close(r->journal);
    ms_previous_close(&r->base);
    msim_model_close(r->model);
    ms_manifest_close(&r->inputs);
    ms_embed_part_free(r->part);
}
