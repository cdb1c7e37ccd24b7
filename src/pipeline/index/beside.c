/* The note index beside a corpus (pipeline/job.h). The work puts the notes of each new content into
 * the journal, so they are kept as long as its vectors are, by every rank. At the end the index is
 * built from them, and from the index that was there: its pieces are those whose name and content
 * are still the input's. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/mem.h"
#include "pipeline/index/noted.h"
#include "pipeline/job.h"
#include <string.h>
#include <sys/stat.h>

/* What the builder may take beside a model and its encoder; what is more is sorted on disk. */
#define BUILDER_BYTES ((int64_t)256 << 20)

/* ---- What is there ---- */

static bool has_default_options(const msim_notes *index) {
    const msim_notes_options o = msim_notes_options_default();
    msim_notes_info info = {.size = sizeof info};
    (void)msim_notes_get_info(index, &info);
    return info.density == o.density && info.has_bottom == !o.leaves_out_bottom;
}

/* Before any work: an index can be written there. 1: there is a file. */
static int check_place(const msim_job *r, msim_error *err) {
    struct stat st;
    int rc = ms_file_check_name(r->o.notes, "", err);
    if (rc < 0) return rc;
    if (stat(r->o.notes, &st) != 0) return 0;
    if (S_ISREG(st.st_mode)) return 1;
    return ms_fail(err, MSIM_E_ARG,
                   "note index: %.300s: expected a regular file or nothing, got %s", r->o.notes,
                   S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
}

/* An index that cannot be used is made anew: nothing in it is lost but time. */
int ms_job_open_index(msim_job *r, msim_error *err) {
    msim_error why;
    int rc = r->o.notes ? check_place(r, err) : 0;
    if (rc <= 0 || (r->o.is_forced && !r->o.is_update)) return rc < 0 ? rc : 0;
    rc = msim_notes_open(r->o.notes, &r->index, &why);
    if (rc == -MSIM_E_MEMORY) return ms_fail(err, MSIM_E_MEMORY, "%s", why.text);
    if (rc >= 0 && !has_default_options(r->index)) {
        msim_notes_close(r->index);
        r->index = NULL;
        rc = ms_fail(&why, MSIM_E_ARG, "%s: made with another density, or without bottom lines",
                     r->o.notes);
    }
    if (rc < 0)
        ms_watch_say(&r->watch, MSIM_MESSAGE_WARNING, "%s; all files are read for a new note index",
                     why.text);
    r->manifest.index = r->index;
    return 0;
}

int ms_job_index_is_current(const msim_job *r, msim_error *err) {
    char name[MS_FILES_MAX_NAME + 8];
    msim_notes_info info = {.size = sizeof info};
    const int64_t n = r->previous.description.rows;
    if (!r->index || !r->previous.sources) return 0;
    (void)msim_notes_get_info(r->index, &info);
    unsigned char *seen = ms_alloc((size_t)info.pieces, 1, "pieces", err);
    if (!seen) return -MSIM_E_MEMORY;
    int64_t n_seen = 0;
    bool has_all = true;
    for (int64_t row = 0; row < n && has_all; row++) {
        const int64_t len = msim_corpus_name(r->previous.corpus, row, name, sizeof name);
        const int64_t p =
            len < 0 || len >= (int64_t)sizeof name
                ? -1
                : ms_noted_piece(r->index, name, (size_t)len, r->previous.sources[row].sha256);
        has_all = p >= 0;
        if (!has_all) break;
        n_seen += !seen[p];
        seen[p] = 1;
    }
    ms_free(seen);
    /* Inputs without a row may have notes all the same; nothing else may. */
    return has_all && info.pieces - n_seen <= (int64_t)r->manifest.files.n - r->previous.n_pieces;
}

/* ---- Writing ---- */

typedef struct {
    const msim_job *job;
    msim_notes_builder *builder; /* owned, as are: */
    unsigned char *bytes;        /* [cap] its packed notes */
    size_t cap;
    unsigned char *is_kept; /* [pieces of the index that is there] */
    int64_t n_added, n_kept;
} index_writer;

/* Notes of this run or of an earlier one, from the journal. */
static int add_noted(index_writer *w, const ms_files_entry *e, const ms_dedup_entry *content,
                     int64_t at, msim_error *err) {
    size_t n;
    int rc = ms_journal_get_notes(w->job->journal, at, &w->bytes, &w->cap, &n, err);
    if (rc >= 0)
        rc = msim_notes_builder_add_packed(w->builder, e->path + e->name_at, e->name_len,
                                           content->key, w->bytes, n, err);
    if (rc == -MSIM_E_LIMIT) return 0; /* too large for an index */
    w->n_added += rc >= 0;
    return rc;
}

static int add_entry(index_writer *w, size_t i, msim_error *err) {
    const ms_manifest *in = &w->job->manifest;
    const ms_files_entry *e = in->files.entries + i;
    if (e->reason != MSIM_SKIP_NONE || in->content[i] == MS_DEDUP_NONE) return 0;
    const ms_dedup_entry content = ms_dedup_get(in->dedup, in->content[i]);
    const int64_t at = ms_dedup_get_notes(in->dedup, in->content[i]),
                  piece = at > 0 ? -1 : ms_noted_entry(in, i);
    if (at > 0) return add_noted(w, e, &content, at, err);
    if (piece < 0) return 0;
    w->n_kept += !w->is_kept[piece];
    w->is_kept[piece] = 1;
    return 0;
}

static int is_kept(void *user, int64_t piece) { return ((const unsigned char *)user)[piece]; }

static int add_all(index_writer *w, msim_error *err) {
    const msim_job *r = w->job;
    msim_notes_info info = {.size = sizeof info};
    if (r->index) (void)msim_notes_get_info(r->index, &info);
    w->is_kept = ms_alloc((size_t)info.pieces, 1, "pieces", err);
    int rc = w->is_kept ? 0 : -MSIM_E_MEMORY;
    for (size_t i = 0; i < r->manifest.files.n && rc >= 0; i++) {
        rc = add_entry(w, i, err);
        if (rc >= 0 && i % 64 == 0 && ms_watch_is_stopped((ms_watch *)(uintptr_t)&r->watch))
            rc = ms_watch_stop(err, "while writing the note index");
    }
    if (rc < 0 || !r->index || w->n_kept == 0) return rc;
    return msim_notes_builder_add_index(w->builder, r->index, is_kept, w->is_kept, err);
}

int ms_job_write_index(msim_job *r, msim_error *err) {
    msim_notes_options o = msim_notes_options_default();
    msim_notes_info info = {.size = sizeof info};
    index_writer w = {.job = r};
    o.memory_bytes = BUILDER_BYTES;
    int rc = msim_notes_builder_open(r->o.notes, &o, &w.builder, err);
    if (rc >= 0) rc = add_all(&w, err);
    if (r->index) (void)msim_notes_get_info(r->index, &info);
    r->n_indexed = w.n_added + w.n_kept;
    r->is_index_unchanged = r->index && w.n_added == 0 && w.n_kept == info.pieces;
    /* A shard without pieces has an index all the same: whoever merges asks for all of them. */
    if (rc >= 0 && !r->is_index_unchanged && (r->n_indexed || r->o.n_shards || r->index))
        rc = msim_notes_builder_finish(w.builder, err);
    if (rc >= 0 && !r->is_index_unchanged) r->n_indexed = w.n_added + w.n_kept;
    msim_notes_builder_close(w.builder);
    ms_free(w.is_kept);
    ms_free(w.bytes);
    return rc;
}
