/* MIDI files: each is read once, and the notes of every new content go into WORK.notes. Every so
 * many contents are written down on the way, so that a run that is killed goes on from there. */
#include "base/hash/digest.h"
#include "groups/sources.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HASH = MSIM_CONTENT_BYTES, HEX = 2 * HASH, FILES_OF_A_PART = 20000 };

/* An index of contents: WORK.notes of an earlier run, or what one that was stopped has kept. */
typedef struct {
    msim_notes *notes;      /* owned, and so on */
    unsigned char *is_kept; /* [n_pieces] */
    int64_t n_pieces, n_kept;
    bool is_part;
} old_index;

typedef struct {
    msim_groups *g;
    const char *path; /* WORK.notes: the arena's */
    char *part_path;  /* owned, and so on: [part_cap] */
    size_t part_cap;
    msim_walk *walk;
    msim_note_reader *reader;
    msim_notes_builder *builder;
    old_index *old; /* [n_old] */
    size_t n_old, old_cap;
    int64_t n_parts; /* WORK.notes.kept-0 and so on */
    int64_t n_new;   /* contents that were read and are in none of them */
    int64_t n_read;
} files_reading;

/* ---- What is known ---- */

static const char *part_path(files_reading *r, int64_t part) {
    snprintf(r->part_path, r->part_cap, "%s.kept-%lld", r->path, (long long)part);
    return r->part_path;
}

/* Take an index over, also when this fails. */
static int add_old(files_reading *r, msim_notes *notes, bool is_part, bool is_new,
                   msim_error *err) {
    msim_notes_info info = {.size = sizeof info};
    (void)msim_notes_get_info(notes, &info);
    int rc = ms_grow((void **)&r->old, &r->old_cap, r->n_old + 1, sizeof *r->old, "indexes", err);
    unsigned char *is_kept = rc < 0 ? NULL : ms_alloc((size_t)info.pieces, 1, "pieces", err);
    if (!is_kept) {
        msim_notes_close(notes);
        return -MSIM_E_MEMORY;
    }
    memset(is_kept, is_new, (size_t)info.pieces);
    r->old[r->n_old++] = (old_index){.notes = notes,
                                     .is_kept = is_kept,
                                     .n_pieces = info.pieces,
                                     .n_kept = is_new ? info.pieces : 0,
                                     .is_part = is_part};
    return MSIM_OK;
}

/* What earlier runs left. A damaged index is none: its files are read again. */
static int open_old(files_reading *r, msim_error *err) {
    msim_notes *notes;
    int rc = MSIM_OK;
    if (msim_notes_open(r->path, &notes, NULL) >= 0) rc = add_old(r, notes, false, false, err);
    for (; rc >= 0 && access(part_path(r, r->n_parts), F_OK) == 0; r->n_parts++)
        if (msim_notes_open(part_path(r, r->n_parts), &notes, NULL) >= 0)
            rc = add_old(r, notes, true, false, err);
    return rc;
}

/* Keep what was read since the last part, in case that this run does not come to its end. */
static int write_part(files_reading *r, msim_error *err) {
    msim_notes *notes;
    if (r->n_new == 0) return MSIM_OK;
    const char *path = part_path(r, r->n_parts++);
    int rc = msim_notes_builder_save(r->builder, path, err);
    if (rc >= 0) rc = msim_notes_open(path, &notes, err);
    if (rc < 0) return rc;
    r->n_new = 0;
    return add_old(r, notes, true, true, err);
}

static void remove_parts(files_reading *r) {
    while (r->n_parts > 0) (void)unlink(part_path(r, --r->n_parts));
}

static bool is_known(files_reading *r, const char *hex) {
    for (size_t i = 0; i < r->n_old; i++) {
        old_index *old = &r->old[i];
        const int64_t piece = msim_notes_find_piece(old->notes, hex, HEX);
        if (piece < 0) continue;
        old->n_kept += !old->is_kept[piece];
        old->is_kept[piece] = 1;
        return true;
    }
    return false;
}

/* ---- Reading ---- */

/* What a walk says while it lists. */
static int tell_listed(void *user, const msim_job_progress *p) {
    const msim_groups *g = user;
    if (p->step != MSIM_STEP_LIST || !g->o.progress) return 0;
    return g->o.progress(g->o.user, "files listed", p->done, p->all);
}

static void pass_message(void *user, int level, const char *text) {
    const msim_groups *g = user;
    if (g->o.message) g->o.message(g->o.user, level, text);
}

/* Hash a file as it lies there: one that cannot be unpacked takes part by its bytes. */
static bool hash_raw(const char *path, unsigned char *digest) {
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return false; /* opening a pipe would wait */
    unsigned char *part = ms_alloc(1 << 16, 1, "a file", NULL);
    FILE *f = part ? fopen(path, "rbe") : NULL;
    ms_digest d;
    bool is_read = f != NULL;
    ms_digest_begin(&d, MS_DIGEST_SHA256);
    for (size_t n; is_read && (n = fread(part, 1, 1 << 16, f)) > 0;) ms_digest_add(&d, part, n);
    is_read = is_read && !ferror(f) && ms_digest_end(&d, digest, NULL) >= 0;
    if (f) (void)fclose(f);
    ms_free(part);
    return is_read;
}

/* The notes of a content that is new. A reason, or < 0. */
static int read_notes(files_reading *r, const msim_walk_item *item, const unsigned char *digest,
                      const char *hex, msim_error *err) {
    msim_piece_notes piece = {.size = sizeof piece};
    msim_error why = {0};
    int rc = msim_note_reader_read(r->reader, item->bytes, item->n_bytes, &piece, &why);
    if (rc == -MSIM_E_MEMORY) return MSIM_SKIP_NO_MEMORY;
    if (rc < 0) return msim_skip_reason_of_outcome(msim_note_reader_outcome(r->reader));
    rc = msim_notes_builder_add(r->builder, hex, HEX, digest, &piece, err);
    if (rc == -MSIM_E_LIMIT) return MSIM_SKIP_TOO_LARGE;
    r->n_new += rc >= 0;
    return rc;
}

/* The next run may well read it: nothing that is said of it now is true. */
static bool is_lost(int reason) {
    return reason == MSIM_SKIP_UNREADABLE || reason == MSIM_SKIP_CHANGED;
}

/* The content of a file, and its notes. */
static int read_content(files_reading *r, const msim_walk_item *item, ms_grouped_file *file,
                        msim_error *err) {
    unsigned char digest[MS_SHA256_BYTES];
    char hex[HEX + 1];
    msim_groups *g = r->g;
    file->reason = item->reason;
    if (is_lost(item->reason)) return MSIM_OK;
    if (item->bytes) {
        int rc = ms_digest_of(MS_DIGEST_SHA256, item->bytes, item->n_bytes, digest, err);
        if (rc < 0) return rc;
    } else if (item->is_stream || item->is_folder || !hash_raw(item->path, digest)) {
        return MSIM_OK;
    }
    const size_t before = g->n_contents;
    file->content = ms_groups_add_content(g, digest, err);
    if (file->content < 0) return (int)file->content;
    ms_grouped_content *c = &g->contents[file->content];
    if (g->n_contents == before) { /* known from another file of this run */
        if (file->reason == MSIM_SKIP_NONE) file->reason = c->reason;
        return MSIM_OK;
    }
    ms_digest_put_hex(digest, HASH, hex);
    if (item->bytes && !is_known(r, hex)) file->reason = read_notes(r, item, digest, hex, err);
    if (file->reason < 0) return file->reason;
    c->reason = file->reason;
    return MSIM_OK;
}

static int read_file(files_reading *r, const msim_walk_item *item, int collection,
                     msim_error *err) {
    struct stat st;
    ms_grouped_file file = {.name = item->name,
                            .name_bytes = item->name_bytes,
                            .path = item->is_stream ? NULL : item->path,
                            .content = -1,
                            .bytes = item->file_bytes,
                            .collection = collection};
    int rc = read_content(r, item, &file, err);
    if (rc < 0) return rc;
    if (file.path && r->g->o.keep == MSIM_KEEPER_NEWEST && stat(file.path, &st) == 0)
        file.changed = (int64_t)st.st_mtime;
    if (file.content < 0 || file.reason == MSIM_SKIP_NO_MEMORY) r->g->info.unread++;
    return ms_groups_add_file(r->g, &file, err);
}

static int read_files(files_reading *r, const char *const *paths, size_t n, int collection,
                      msim_error *err) {
    msim_walk_options o = msim_walk_options_default();
    msim_walk_stats stats = {.size = sizeof stats};
    msim_walk_item item = {.size = sizeof item};
    o.paths = paths;
    o.n_paths = n;
    if (collection == 0) {
        o.files_from = r->g->o.files_from;
        o.is_nul_separated = r->g->o.is_nul_separated;
    }
    o.progress = tell_listed;
    o.message = pass_message;
    o.user = r->g;
    int rc = msim_walk_open(&o, &r->walk, err);
    if (rc < 0) return rc;
    (void)msim_walk_get_stats(r->walk, &stats);
    while ((rc = msim_walk_next(r->walk, &item, err)) > 0) {
        rc = read_file(r, &item, collection, err);
        if (rc >= 0 && r->n_new >= FILES_OF_A_PART) rc = write_part(r, err);
        if (rc >= 0) rc = ms_groups_progress(r->g, "files", ++r->n_read, stats.files, err);
        if (rc < 0) break;
    }
    msim_walk_close(r->walk);
    r->walk = NULL;
    return rc;
}

static int open_files(files_reading *r, msim_error *err) {
    msim_notes_options o = msim_notes_options_default();
    r->path = ms_groups_path(r->g, ".notes", err);
    if (!r->path) return -MSIM_E_MEMORY;
    r->part_cap = strlen(r->path) + 40;
    r->part_path = ms_alloc(r->part_cap, 1, "a path", err);
    int rc = r->part_path ? open_old(r, err) : -MSIM_E_MEMORY;
    if (rc >= 0) rc = msim_note_reader_open(&r->reader, err);
    return rc < 0 ? rc : msim_notes_builder_open(r->path, &o, &r->builder, err);
}

/* ---- Writing ---- */

static int is_kept(void *user, int64_t piece) { return ((const unsigned char *)user)[piece]; }

/* Whether WORK.notes has just the contents of this run. */
static bool is_current(const files_reading *r) {
    return r->n_new == 0 && r->n_parts == 0 && r->n_old == 1 &&
           r->old[0].n_kept == r->old[0].n_pieces;
}

static int write_index(files_reading *r, msim_error *err) {
    int rc = MSIM_OK;
    for (size_t i = 0; i < r->n_old && rc >= 0; i++)
        if (r->old[i].n_kept)
            rc = msim_notes_builder_add_index(r->builder, r->old[i].notes, is_kept,
                                              r->old[i].is_kept, err);
    if (rc >= 0) rc = msim_notes_builder_finish(r->builder, err);
    if (rc >= 0) remove_parts(r);
    return rc;
}

/* Bring WORK.notes up to date, and learn where the notes of each content are. */
static int write_files(files_reading *r, msim_error *err) {
    msim_groups *g = r->g;
    int64_t n = r->n_new;
    for (size_t i = 0; i < r->n_old; i++) n += r->old[i].n_kept;
    if (n == 0) return MSIM_OK;
    int rc = is_current(r) ? MSIM_OK : write_index(r, err);
    if (rc >= 0) rc = ms_groups_add_source(g, r->path, err);
    if (rc < 0) return rc;
    msim_notes_info info = {.size = sizeof info};
    (void)msim_notes_get_info(g->sources[g->n_sources - 1].notes, &info);
    for (int64_t i = 0; i < info.pieces; i++) {
        msim_notes_piece p = {.size = sizeof p};
        if (msim_notes_get_piece(g->sources[g->n_sources - 1].notes, i, &p) < 0)
            return ms_fail(err, MSIM_E_FORMAT, "%s is damaged: remove it", r->path);
        const int64_t content = ms_groups_content(g, p.content);
        if (content >= 0) ms_groups_set_notes(g, content, g->n_sources - 1, i, &p);
    }
    return MSIM_OK;
}

static void close_files(files_reading *r) {
    msim_walk_close(r->walk);
    msim_note_reader_close(r->reader);
    msim_notes_builder_close(r->builder);
    for (size_t i = 0; i < r->n_old; i++) {
        msim_notes_close(r->old[i].notes);
        ms_free(r->old[i].is_kept);
    }
    ms_free(r->old);
    ms_free(r->part_path);
}

int ms_groups_read_files(msim_groups *g, const char *const *first, size_t n_first,
                         const char *const *second, size_t n_second, msim_error *err) {
    files_reading r = {.g = g};
    msim_error late;
    int rc = open_files(&r, err);
    const bool is_open = rc >= 0;
    if (rc >= 0 && (n_first || g->o.files_from)) rc = read_files(&r, first, n_first, 0, err);
    if (rc >= 0 && n_second) rc = read_files(&r, second, n_second, 1, err);
    if (is_open && rc == -MSIM_E_STOPPED) (void)write_part(&r, &late); /* else it is read again */
    if (rc >= 0) rc = write_files(&r, err);
    close_files(&r);
    return rc;
}
