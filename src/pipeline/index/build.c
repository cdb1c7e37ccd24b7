/* A folder to a note index: the files of a walk are read, their notes go to a builder. With update,
 * pieces whose bytes are unchanged come from the index that exists. The public functions
 * msim_notes_build and msim_notes_merge of include/midisim.h. */
#include "base/clock.h"
#include "base/hash/digest.h"
#include "base/mem.h"
#include "base/sized.h"
#include "pipeline/watch.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILES_OF_A_PART = 20000 };

/* An index that pieces may come from: the one before an update, or what an earlier run kept. */
typedef struct {
    msim_notes *notes; /* owned */
    uint8_t *is_kept;  /* owned: [pieces] */
} old_index;

typedef struct {
    msim_notes_job_options o; /* what it points to is the caller's */
    ms_watch watch;
    msim_walk *walk; /* owned, and so on */
    msim_note_reader *reader;
    msim_notes_builder *builder;
    old_index *old; /* owned: [n_old] */
    size_t n_old, old_cap;
    int64_t n_parts;     /* files of an earlier run and of this one: OUTPUT.kept-0 .. */
    int64_t n_unwritten; /* pieces that were read and are in none of them */
    char *part_path;     /* owned: [part_path_cap] */
    size_t part_path_cap;
    msim_notes_job_stats stats;
} notes_job;

void msim_notes_job_options_init(msim_notes_job_options *options) {
    const msim_notes_job_options defaults = {.size = sizeof defaults,
                                             .walk = msim_walk_options_default(),
                                             .notes = msim_notes_options_default()};
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

/* ---- Pieces that are known already ---- */

/* is_new: all pieces are kept, for this run has just written them. */
static int add_old(notes_job *j, msim_notes *notes, bool is_new, msim_error *err) {
    msim_notes_info info = {.size = sizeof info};
    (void)msim_notes_get_info(notes, &info);
    int rc = ms_grow((void **)&j->old, &j->old_cap, j->n_old + 1, sizeof *j->old, "indexes", err);
    uint8_t *is_kept = rc < 0 ? NULL : ms_alloc((size_t)info.pieces, 1, "pieces", err);
    if (!is_kept) {
        msim_notes_close(notes);
        return -MSIM_E_MEMORY;
    }
    memset(is_kept, is_new, (size_t)info.pieces);
    j->old[j->n_old++] = (old_index){.notes = notes, .is_kept = is_kept};
    return MSIM_OK;
}

static bool has_our_options(const notes_job *j, const msim_notes *notes, msim_notes_info *info) {
    *info = (msim_notes_info){.size = sizeof *info};
    (void)msim_notes_get_info(notes, info);
    return info->density == j->o.notes.density && info->has_bottom == !j->o.notes.leaves_out_bottom;
}

/* The index that is brought up to date. */
static int open_updated(notes_job *j, msim_error *err) {
    msim_notes *notes;
    msim_notes_info info;
    int rc = msim_notes_open(j->o.output, &notes, err);
    if (rc < 0) return rc;
    if (has_our_options(j, notes, &info)) return add_old(j, notes, false, err);
    msim_notes_close(notes);
    return ms_fail(err, MSIM_E_ARG,
                   "%s was made with density %d %s bottom lines: give the same, or build it anew",
                   j->o.output, info.density, info.has_bottom ? "and" : "without");
}

static const char *part_path(notes_job *j, int64_t part) {
    snprintf(j->part_path, j->part_path_cap, "%s.kept-%lld", j->o.output, (long long)part);
    return j->part_path;
}

/* What an earlier run kept. A part that cannot be used is written over. */
static int open_parts(notes_job *j, msim_error *err) {
    msim_notes_info info;
    j->part_path_cap = strlen(j->o.output) + 40;
    j->part_path = ms_alloc(j->part_path_cap, 1, "path", err);
    if (!j->part_path) return -MSIM_E_MEMORY;
    for (;; j->n_parts++) {
        msim_notes *notes;
        if (msim_notes_open(part_path(j, j->n_parts), &notes, NULL) < 0) return MSIM_OK;
        if (!has_our_options(j, notes, &info)) {
            msim_notes_close(notes);
            return MSIM_OK;
        }
        int rc = add_old(j, notes, false, err);
        if (rc < 0) return rc;
    }
}

/* Keep what was read since the last part. */
static int write_part(notes_job *j, msim_error *err) {
    msim_notes *notes;
    if (j->n_unwritten == 0) return MSIM_OK;
    int rc = msim_notes_builder_save(j->builder, part_path(j, j->n_parts), err);
    if (rc >= 0) rc = msim_notes_open(part_path(j, j->n_parts), &notes, err);
    if (rc < 0) return rc;
    j->n_parts++;
    j->n_unwritten = 0;
    return add_old(j, notes, true, err);
}

static void remove_parts(notes_job *j) {
    while (j->n_parts > 0) (void)unlink(part_path(j, --j->n_parts));
}

/* True when an index has this piece, which is then kept. */
static bool keep_from(notes_job *j, old_index *old, const msim_walk_item *item,
                      const unsigned char *content) {
    msim_notes_piece piece = {.size = sizeof piece};
    int64_t p = msim_notes_find_piece(old->notes, item->name, item->name_bytes);
    for (; p >= 0 && msim_notes_get_piece(old->notes, p, &piece) >= 0; p++) {
        if (piece.name_bytes != item->name_bytes ||
            memcmp(piece.name, item->name, item->name_bytes) != 0)
            return false;
        if (memcmp(piece.content, content, MSIM_CONTENT_BYTES) != 0) continue;
        j->stats.kept += !old->is_kept[p];
        old->is_kept[p] = 1;
        return true;
    }
    return false;
}

static bool keep_old(notes_job *j, const msim_walk_item *item, const unsigned char *content) {
    for (size_t i = 0; i < j->n_old; i++)
        if (keep_from(j, &j->old[i], item, content)) return true;
    return false;
}

static int is_kept(void *user, int64_t piece) { return ((const uint8_t *)user)[piece]; }

static int add_kept(notes_job *j, msim_error *err) {
    for (size_t i = 0; i < j->n_old; i++) {
        int rc = msim_notes_builder_add_index(j->builder, j->old[i].notes, is_kept,
                                              j->old[i].is_kept, err);
        if (rc < 0) return rc;
    }
    return MSIM_OK;
}

static void count_dropped(notes_job *j) {
    msim_notes_info info = {.size = sizeof info};
    if (!j->o.update) return;
    (void)msim_notes_get_info(j->old[0].notes, &info);
    for (int64_t p = 0; p < info.pieces; p++) j->stats.dropped += !j->old[0].is_kept[p];
}

/* ---- Files ---- */

static int skip(notes_job *j, const msim_walk_item *item) {
    j->stats.skipped++;
    if (j->o.skip && j->o.skip(j->o.skip_user, item)) return -MSIM_E_STOPPED;
    return MSIM_OK;
}

/* The same item as one that gave nothing. */
static int skip_for(notes_job *j, const msim_walk_item *item, int reason, const msim_error *why) {
    msim_walk_item skipped = *item;
    skipped.reason = reason;
    skipped.detail = why->text;
    skipped.is_failure = msim_skip_is_failure(reason, item->is_named);
    return skip(j, &skipped);
}

static int add_file(notes_job *j, const msim_walk_item *item, msim_error *err) {
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

static int add_files(notes_job *j, msim_error *err) {
    msim_walk_item item = {.size = sizeof item};
    int rc;
    while ((rc = msim_walk_next(j->walk, &item, err)) > 0) {
        j->stats.files++;
        rc = item.reason == MSIM_SKIP_NONE ? add_file(j, &item, err) : skip(j, &item);
        if (rc == -MSIM_E_STOPPED) return ms_watch_stop(err, "reading");
        if (rc < 0) return rc;
        if (ms_watch_step(&j->watch, MSIM_STEP_EMBED, j->stats.files, -1))
            return ms_watch_stop(err, "reading");
        rc = j->n_unwritten >= FILES_OF_A_PART ? write_part(j, err) : MSIM_OK;
        if (rc < 0) return rc;
    }
    return rc;
}

/* ---- The job ---- */

static int open_all(notes_job *j, const msim_notes_job_options *options, msim_error *err) {
    j->o = msim_notes_job_options_default();
    int rc = ms_sized_in(&j->o, sizeof j->o, options, "msim_notes_job_options", err);
    if (rc < 0) return rc;
    if (!j->o.output) return ms_fail(err, MSIM_E_ARG, "note index: expected an output, got none");
    if (j->o.walk.is_tokenized || j->o.walk.from_tokens)
        return ms_fail(err, MSIM_E_ARG, "note index: expected a walk of MIDI files, got tokens");
    j->watch = (ms_watch){
        .progress = j->o.walk.progress, .message = j->o.walk.message, .user = j->o.walk.user};
    ms_watch_begin(&j->watch);
    if (j->o.update) rc = open_updated(j, err);
    if (rc >= 0) rc = open_parts(j, err);
    if (rc >= 0) rc = msim_walk_open(&j->o.walk, &j->walk, err);
    if (rc >= 0) rc = msim_note_reader_open(&j->reader, err);
    if (rc >= 0) rc = msim_notes_builder_open(j->o.output, &j->o.notes, &j->builder, err);
    return rc;
}

static void close_all(notes_job *j) {
    msim_notes_builder_close(j->builder);
    msim_note_reader_close(j->reader);
    msim_walk_close(j->walk);
    for (size_t i = 0; i < j->n_old; i++) {
        msim_notes_close(j->old[i].notes);
        ms_free(j->old[i].is_kept);
    }
    ms_free(j->old);
    ms_free(j->part_path);
}

int msim_notes_build(const msim_notes_job_options *options, msim_notes_job_stats *stats,
                     msim_error *err) {
    notes_job j = {.stats = {.size = sizeof j.stats}};
    msim_error own, late;
    if (!err) err = &own;
    const double began = ms_clock_now();
    int rc = open_all(&j, options, err);
    if (rc >= 0) rc = add_files(&j, err);
    if (rc == -MSIM_E_STOPPED && j.builder) (void)write_part(&j, &late);
    if (rc >= 0) rc = add_kept(&j, err);
    if (rc >= 0) count_dropped(&j);
    j.stats.read_seconds = ms_clock_now() - began;
    j.stats.pieces = j.stats.added + j.stats.kept;
    if (rc >= 0 && j.stats.pieces == 0)
        rc = ms_fail(err, MSIM_E_EMPTY, "note index: no input has notes, so nothing was written");
    if (rc >= 0) rc = msim_notes_builder_finish(j.builder, err);
    if (rc >= 0) remove_parts(&j);
    j.stats.write_seconds = ms_clock_now() - began - j.stats.read_seconds;
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
    int rc = MSIM_OK;
    if (n_paths == 0) return ms_fail(err, MSIM_E_ARG, "merging: expected indexes, got none");
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
