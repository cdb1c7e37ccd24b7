/* A folder to a note index: the files of a walk are read, their notes go to a builder. With update,
 * pieces whose bytes are unchanged come from the index that exists. The public functions
 * msim_notes_build and msim_notes_merge of include/midisim.h. */
#include "base/clock.h"
#include "base/hash/digest.h"
#include "base/mem.h"
#include "base/sized.h"
#include "pipeline/watch.h"
#include <string.h>

typedef struct {
    msim_notes_job_options o; /* what it points to is the caller's */
    ms_watch watch;
    msim_walk *walk; /* owned, and so on */
    msim_note_reader *reader;
    msim_notes_builder *builder;
    msim_notes *old;  /* the index before an update, or NULL */
    uint8_t *is_kept; /* [pieces of old] */
    msim_notes_job_stats stats;
} notes_job;

void msim_notes_job_options_init(msim_notes_job_options *options) {
    const msim_notes_job_options defaults = {.size = sizeof defaults,
                                             .walk = msim_walk_options_default(),
                                             .notes = msim_notes_options_default()};
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

/* ---- What an update keeps ---- */

static int open_old(notes_job *j, msim_error *err) {
    msim_notes_info info = {.size = sizeof info};
    int rc = msim_notes_open(j->o.output, &j->old, err);
    if (rc < 0) return rc;
    (void)msim_notes_get_info(j->old, &info);
    if (info.density != j->o.notes.density || info.has_bottom == j->o.notes.leaves_out_bottom)
        return ms_fail(err, MSIM_E_ARG,
                       "%s was made with density %d %s bottom lines: give the same, or build it "
                       "anew",
                       j->o.output, info.density, info.has_bottom ? "and" : "without");
    j->is_kept = ms_alloc((size_t)info.pieces, 1, "pieces", err);
    return j->is_kept ? MSIM_OK : -MSIM_E_MEMORY;
}

/* True when the index before the update has this piece, which is then kept. */
static bool keep_old(notes_job *j, const msim_walk_item *item, const unsigned char *content) {
    msim_notes_piece piece = {.size = sizeof piece};
    if (!j->old) return false;
    int64_t p = msim_notes_find_piece(j->old, item->name, item->name_bytes);
    for (; p >= 0 && msim_notes_get_piece(j->old, p, &piece) >= 0; p++) {
        if (piece.name_bytes != item->name_bytes ||
            memcmp(piece.name, item->name, item->name_bytes) != 0)
            return false;
        if (memcmp(piece.content, content, MSIM_CONTENT_BYTES) != 0) continue;
        j->stats.kept += !j->is_kept[p];
        j->is_kept[p] = 1;
        return true;
    }
    return false;
}

static int is_kept(void *user, int64_t piece) { return ((const uint8_t *)user)[piece]; }

static int add_old(notes_job *j, msim_error *err) {
    msim_notes_info info = {.size = sizeof info};
    if (!j->old) return MSIM_OK;
    (void)msim_notes_get_info(j->old, &info);
    j->stats.dropped = info.pieces - j->stats.kept;
    return msim_notes_builder_add_index(j->builder, j->old, is_kept, j->is_kept, err);
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
    if (j->o.update) rc = open_old(j, err);
    if (rc >= 0) rc = msim_walk_open(&j->o.walk, &j->walk, err);
    if (rc >= 0) rc = msim_note_reader_open(&j->reader, err);
    if (rc >= 0) rc = msim_notes_builder_open(j->o.output, &j->o.notes, &j->builder, err);
    return rc;
}

static void close_all(notes_job *j) {
    msim_notes_builder_close(j->builder);
    msim_note_reader_close(j->reader);
    msim_walk_close(j->walk);
    msim_notes_close(j->old);
    ms_free(j->is_kept);
}

int msim_notes_build(const msim_notes_job_options *options, msim_notes_job_stats *stats,
                     msim_error *err) {
    notes_job j = {.stats = {.size = sizeof j.stats}};
    msim_error own;
    if (!err) err = &own;
    const double began = ms_clock_now();
    int rc = open_all(&j, options, err);
    if (rc >= 0) rc = add_files(&j, err);
    if (rc >= 0) rc = add_old(&j, err);
    j.stats.read_seconds = ms_clock_now() - began;
    j.stats.pieces = j.stats.added + j.stats.kept;
    if (rc >= 0 && j.stats.pieces == 0)
        rc = ms_fail(err, MSIM_E_EMPTY, "note index: no input has notes, so nothing was written");
    if (rc >= 0) rc = msim_notes_builder_finish(j.builder, err);
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
