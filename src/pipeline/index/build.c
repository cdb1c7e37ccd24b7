/* A folder to a note index: the files of a walk are read, their notes go to a builder. With update,
 * pieces whose bytes are unchanged come from the index that exists. The public functions
 * msim_notes_build and msim_notes_merge of include/midisim.h. */
#include "base/clock.h"
#include "base/file.h"
#include "base/hash/digest.h"
#include "base/mem.h"
#include "base/sized.h"
#include "pipeline/index/build.h"
#include "pipeline/index/noted.h"
#include "pipeline/walk.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    FILES_OF_A_PART = 20000,
    GAP = 256 /* numbers of parts that may be missing in a row: ranks write at the same time */
};

void msim_notes_job_options_init(msim_notes_job_options *options) {
    const msim_notes_job_options defaults = {.size = sizeof defaults,
                                             .walk = msim_walk_options_default(),
                                             .notes = msim_notes_options_default()};
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

/* ---- Pieces that are known already ---- */

int ms_notesjob_add_old(ms_notesjob *j, msim_notes *notes, int64_t part, bool is_new,
                        msim_error *err) {
    msim_notes_info info = {.size = sizeof info};
    (void)msim_notes_get_info(notes, &info);
    int rc = ms_grow((void **)&j->old, &j->old_cap, j->n_old + 1, sizeof *j->old, "indexes", err);
    uint8_t *is_kept = rc < 0 ? NULL : ms_alloc((size_t)info.pieces, 1, "pieces", err);
    if (!is_kept) {
        msim_notes_close(notes);
        return -MSIM_E_MEMORY;
    }
    memset(is_kept, is_new, (size_t)info.pieces);
    j->old[j->n_old++] = (ms_notesjob_old){
        .notes = notes, .is_kept = is_kept, .n_pieces = info.pieces, .part = part};
    return MSIM_OK;
}

static bool has_our_options(const ms_notesjob *j, const msim_notes *notes, msim_notes_info *info) {
    *info = (msim_notes_info){.size = sizeof *info};
    (void)msim_notes_get_info(notes, info);
    return info->density == j->o.notes.density && info->has_bottom == !j->o.notes.leaves_out_bottom;
}

/* The index that is brought up to date. */
static int open_updated(ms_notesjob *j, msim_error *err) {
    msim_notes *notes;
    msim_notes_info info;
    int rc = msim_notes_open(j->o.output, &notes, err);
    if (rc < 0) return rc;
    if (has_our_options(j, notes, &info)) return ms_notesjob_add_old(j, notes, -1, false, err);
    msim_notes_close(notes);
    return ms_fail(err, MSIM_E_ARG,
                   "%s was made with density %d %s bottom lines: give the same, or build it anew",
                   j->o.output, info.density, info.has_bottom ? "and" : "without");
}

const char *ms_notesjob_part_path(ms_notesjob *j, int64_t part) {
    snprintf(j->part_path, j->part_path_cap, "%s.kept-%lld", j->o.output, (long long)part);
    return j->part_path;
}

/* What an earlier run kept. A part that cannot be used is read anew, and removed at the end. */
static int open_parts(ms_notesjob *j, msim_error *err) {
    msim_notes_info info;
    j->part_path_cap = strlen(j->o.output) + 40;
    j->part_path = ms_alloc(j->part_path_cap, 1, "path", err);
    if (!j->part_path) return -MSIM_E_MEMORY;
    for (int64_t part = 0; part - j->n_parts < GAP; part++) {
        msim_notes *notes;
        if (access(ms_notesjob_part_path(j, part), F_OK) != 0) continue;
        j->n_parts = part + 1;
        if (msim_notes_open(ms_notesjob_part_path(j, part), &notes, NULL) < 0) continue;
        if (has_our_options(j, notes, &info)) {
            int rc = ms_notesjob_add_old(j, notes, part, false, err);
            if (rc < 0) return rc;
        } else {
            msim_notes_close(notes);
        }
    }
    return MSIM_OK;
}

int ms_notesjob_write_part(ms_notesjob *j, msim_error *err) {
    msim_notes *notes;
    if (j->n_unwritten == 0) return MSIM_OK;
    const int64_t part = ms_notesjob_take_part(j);
    int rc = msim_notes_builder_save(j->builder, ms_notesjob_part_path(j, part), err);
    if (rc >= 0) rc = msim_notes_open(ms_notesjob_part_path(j, part), &notes, err);
    if (rc < 0) return rc;
    j->n_unwritten = 0;
    return ms_notesjob_add_old(j, notes, part, true, err);
}

static void remove_parts(ms_notesjob *j) {
    while (j->n_parts > 0) (void)unlink(ms_notesjob_part_path(j, --j->n_parts));
}

/* True when an index has this piece, which is then kept. */
static bool keep_from(ms_notesjob *j, ms_notesjob_old *old, const msim_walk_item *item,
                      const unsigned char *content) {
    const int64_t p = ms_noted_piece(old->notes, item->name, item->name_bytes, content);
    if (p < 0) return false;
    j->stats.kept += !old->is_kept[p];
    old->is_kept[p] = 1;
    return true;
}

static bool keep_old(ms_notesjob *j, const msim_walk_item *item, const unsigned char *content) {
    for (size_t i = 0; i < j->n_old; i++)
        if (keep_from(j, &j->old[i], item, content)) return true;
    return false;
}

static int is_kept(void *user, int64_t piece) { return ((const uint8_t *)user)[piece]; }

static int add_kept(ms_notesjob *j, msim_error *err) {
    for (size_t i = 0; i < j->n_old; i++) {
        int rc = msim_notes_builder_add_index(j->builder, j->old[i].notes, is_kept,
                                              j->old[i].is_kept, err);
        if (rc < 0) return rc;
    }
    return MSIM_OK;
}

static void count_dropped(ms_notesjob *j) {
    msim_notes_info info = {.size = sizeof info};
    if (!j->o.update) return;
    (void)msim_notes_get_info(j->old[0].notes, &info);
    for (int64_t p = 0; p < info.pieces; p++) j->stats.dropped += !j->old[0].is_kept[p];
}

/* ---- Files ---- */

static int skip(ms_notesjob *j, const msim_walk_item *item) {
    j->stats.skipped++;
    if (j->o.ranks && j->o.ranks->index > 0) return ms_notesjob_note_skip(j, item);
    if (j->o.skip && j->o.skip(j->o.skip_user, item)) return -MSIM_E_STOPPED;
    return MSIM_OK;
}

/* The same item as one that gave nothing. */
static int skip_for(ms_notesjob *j, const msim_walk_item *item, int reason, const msim_error *why) {
    msim_walk_item skipped = *item;
    skipped.reason = reason;
    skipped.detail = why->text;
    skipped.is_failure = msim_skip_is_failure(reason, item->is_named);
    return skip(j, &skipped);
}

static int add_file(ms_notesjob *j, const msim_walk_item *item, msim_error *err) {
    unsigned char digest[MS_SHA256_BYTES];
    msim_piece_notes piece = {.size = sizeof piece};
    msim_error why = {0};
    int rc = ms_digest_of(MS_DIGEST_SHA256, item->bytes, item->n_bytes, digest, err);
    if (rc < 0) return rc;
    if (keep_old(j, item, digest)) return MSIM_OK;
    rc = msim_note_reader_read(j->reader, item->bytes, item->n_bytes, &piece, &why);
    if (rc == -MSIM_E_MEMORY) return skip_for(j, item, MSIM_SKIP_NO_MEMORY, &why);
    if (rc < 0)
        return skip_for(j, item, msim_skip_reason_of_outcome(msim_note_reader_outcome(j->reader)),
                        &why);
    rc = msim_notes_builder_add(j->builder, item->name, item->name_bytes, digest, &piece, err);
    if (rc == -MSIM_E_LIMIT && err) return skip_for(j, item, MSIM_SKIP_TOO_LARGE, err);
    if (rc < 0) return rc;
    j->stats.added++;
    j->n_unwritten++;
    j->stats.notes += (int64_t)piece.n_notes;
    return MSIM_OK;
}

static int add_files(ms_notesjob *j, msim_error *err) {
    msim_walk_item item = {.size = sizeof item};
    int rc;
    while ((rc = msim_walk_next(j->walk, &item, err)) > 0) {
        j->stats.files++;
        rc = item.reason == MSIM_SKIP_NONE ? add_file(j, &item, err) : skip(j, &item);
        if (rc == -MSIM_E_STOPPED) return ms_watch_stop(err, "reading");
        if (rc < 0) return rc;
        if (ms_watch_step(&j->watch, MSIM_STEP_EMBED, j->stats.files, -1))
            return ms_watch_stop(err, "reading");
        if (ms_notesjob_is_over(j)) return MSIM_OK;
        rc = j->n_unwritten >= FILES_OF_A_PART ? ms_notesjob_write_part(j, err) : MSIM_OK;
        if (rc < 0) return rc;
    }
    return rc;
}

/* ---- The job ---- */

#define INDEX_BEGINS "MSIMNOTE" /* docs/FORMATS.md, Note index */

static int check_output(const char *path, msim_error *err) {
    return ms_file_check_replace(path, INDEX_BEGINS, "a note index", err);
}

static int open_all(ms_notesjob *j, const msim_notes_job_options *options, msim_error *err) {
    j->o = msim_notes_job_options_default();
    int rc = ms_sized_in(&j->o, sizeof j->o, options, "msim_notes_job_options", err);
    if (rc < 0) return rc;
    if (!j->o.output) return ms_fail(err, MSIM_E_ARG, "note index: expected an output, got none");
    if (j->o.walk.is_tokenized || j->o.walk.from_tokens)
        return ms_fail(err, MSIM_E_ARG, "note index: expected a walk of MIDI files, got tokens");
    rc = check_output(j->o.output, err);
    if (rc < 0) return rc;
    j->watch = (ms_watch){
        .progress = j->o.walk.progress, .message = j->o.walk.message, .user = j->o.walk.user};
    ms_watch_begin(&j->watch);
    if (j->o.ranks && j->o.ranks->count < 2) j->o.ranks = NULL;
    if (j->o.ranks && j->o.ranks->index > 0) { /* rank 0 lists the inputs */
        j->o.walk.n_paths = 0;
        j->o.walk.files_from = NULL;
        j->o.walk.n_shards = j->o.walk.shard = 0;
    }
    if (j->o.update) rc = open_updated(j, err);
    if (rc >= 0) rc = open_parts(j, err);
    if (rc >= 0) rc = msim_walk_open(&j->o.walk, &j->walk, err);
    if (rc >= 0) rc = msim_note_reader_open(&j->reader, err);
    return rc < 0 ? rc : ms_notesjob_open_builder(j, err);
}

static void close_all(ms_notesjob *j) {
    msim_notes_builder_close(j->builder);
    msim_note_reader_close(j->reader);
    msim_walk_close(j->walk);
    for (size_t i = 0; i < j->n_old; i++) {
        msim_notes_close(j->old[i].notes);
        ms_free(j->old[i].is_kept);
    }
    ms_free(j->old);
    ms_free(j->part_path);
    ms_free(j->skips);
    ms_free(j->chunk);
}

/* The index from everything that was read and kept. */
static int write_index(ms_notesjob *j, double began, msim_error *err) {
    int rc = add_kept(j, err);
    if (rc >= 0) count_dropped(j);
    j->stats.read_seconds = ms_clock_now() - began;
    j->stats.pieces = j->stats.added + j->stats.kept;
    if (rc >= 0 && j->stats.pieces == 0)
        rc = ms_fail(err, MSIM_E_EMPTY, "note index: no input has notes, so nothing was written");
    if (rc >= 0) rc = msim_notes_builder_finish(j->builder, err);
    if (rc >= 0) remove_parts(j);
    j->stats.write_seconds = ms_clock_now() - began - j->stats.read_seconds;
    return rc;
}

int msim_notes_build(const msim_notes_job_options *options, msim_notes_job_stats *stats,
                     msim_error *err) {
    ms_notesjob j = {.stats = {.size = sizeof j.stats}};
    msim_error own, late;
    if (!err) err = &own;
    const double began = ms_clock_now();
    int rc = ms_notesjob_share(&j, open_all(&j, options, err), err);
    const bool is_open = rc >= 0;
    if (rc >= 0) rc = add_files(&j, err);
    if (rc == -MSIM_E_STOPPED && !j.o.ranks && is_open) (void)ms_notesjob_write_part(&j, &late);
    if (is_open) rc = ms_notesjob_gather(&j, rc, err);
    const bool is_first = !j.o.ranks || j.o.ranks->index == 0;
    if (rc >= 0 && is_first) rc = write_index(&j, began, err);
    if (is_open && j.o.ranks) rc = j.o.ranks->agree(j.o.ranks->user, rc, err);
    close_all(&j);
    if (stats) (void)ms_sized_out(stats, &j.stats, sizeof j.stats);
    return rc;
}

/* ---- Merging ---- */

static int add_indexes(msim_notes_builder *builder, msim_notes *const *indexes, size_t n,
                       msim_error *err) {
    for (size_t i = 0; i < n; i++) {
        int rc = msim_notes_builder_add_index(builder, indexes[i], NULL, NULL, err);
        if (rc < 0) return rc;
    }
    return msim_notes_builder_finish(builder, err);
}

int msim_notes_merge(const char *const *paths, size_t n_paths, const char *output,
                     int64_t memory_bytes, msim_error *err) {
    msim_notes_options o = msim_notes_options_default();
    msim_notes_info info = {.size = sizeof info};
    msim_notes_builder *builder = NULL;
    if (n_paths == 0) return ms_fail(err, MSIM_E_ARG, "merging: expected indexes, got none");
    int rc = check_output(output, err);
    if (rc < 0) return rc;
    msim_notes **indexes = ms_alloc(n_paths, sizeof *indexes, "note indexes", err);
    if (!indexes) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n_paths && rc >= 0; i++)
        rc = msim_notes_open(paths[i], &indexes[i], err);
    if (rc >= 0) {
        (void)msim_notes_get_info(indexes[0], &info);
        o.density = info.density;
        o.leaves_out_bottom = !info.has_bottom;
        if (memory_bytes > 0) o.memory_bytes = memory_bytes;
        rc = msim_notes_builder_open(output, &o, &builder, err);
    }
    if (rc >= 0) rc = add_indexes(builder, indexes, n_paths, err);
    msim_notes_builder_close(builder);
    for (size_t i = 0; i < n_paths; i++) msim_notes_close(indexes[i]);
    ms_free(indexes);
    return rc;
}
