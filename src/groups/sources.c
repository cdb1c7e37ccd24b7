/* What is given as files, contents and indexes. MIDI files are read once each; the notes of every
 * new content go into WORK.notes, whose pieces are named after contents, so that they stay when
 * files are renamed. */
#define _GNU_SOURCE
#include "base/hash/digest.h"
#include "base/text/order.h"
#include "groups/groups.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HASH = MSIM_CONTENT_BYTES, HEX = 2 * HASH };

int ms_groups_progress(const msim_groups *g, const char *unit, int64_t done, int64_t all,
                       msim_error *err) {
    if (g->o.progress && g->o.progress(g->o.user, unit, done, all))
        return ms_fail(err, MSIM_E_STOPPED, "stopped");
    return MSIM_OK;
}

static const char *keep_text(msim_groups *g, const char *text, size_t n, msim_error *err) {
    char *copy = ms_arena_get(&g->texts, n + 1, 1, "names", err);
    if (!copy) return NULL;
    memcpy(copy, text, n);
    copy[n] = 0;
    return copy;
}

const char *ms_groups_path(msim_groups *g, const char *ending, msim_error *err) {
    const size_t n = strlen(g->o.work) + strlen(ending) + 1;
    char *path = ms_arena_get(&g->texts, n, 1, "a path", err);
    if (path) snprintf(path, n, "%s%s", g->o.work, ending);
    return path;
}

/* ---- Contents ---- */

static size_t place_of(const msim_groups *g, const unsigned char *hash) {
    uint64_t h;
    memcpy(&h, hash, sizeof h);
    size_t i = (size_t)h & (g->table_size - 1);
    while (g->table[i] && memcmp(g->contents[g->table[i] - 1].hash, hash, HASH) != 0)
        i = (i + 1) & (g->table_size - 1);
    return i;
}

int64_t ms_groups_content(const msim_groups *g, const unsigned char *hash) {
    return g->table_size ? g->table[place_of(g, hash)] - 1 : -1;
}

static int reserve_table(msim_groups *g, msim_error *err) {
    if (2 * (g->n_contents + 1) <= g->table_size) return MSIM_OK;
    const size_t size = g->table_size ? 2 * g->table_size : 1024;
    int64_t *table = ms_alloc(size, sizeof *table, "contents", err);
    if (!table) return -MSIM_E_MEMORY;
    ms_free(g->table);
    g->table = table;
    g->table_size = size;
    for (size_t c = 0; c < g->n_contents; c++)
        table[place_of(g, g->contents[c].hash)] = (int64_t)c + 1;
    return MSIM_OK;
}

/* The content of this hash, which may be new. */
static int64_t add_content(msim_groups *g, const unsigned char *hash, msim_error *err) {
    int rc = reserve_table(g, err);
    if (rc >= 0)
        rc = ms_grow((void **)&g->contents, &g->contents_cap, g->n_contents + 1,
                     sizeof *g->contents, "contents", err);
    if (rc < 0) return rc;
    const size_t at = place_of(g, hash);
    if (g->table[at]) return g->table[at] - 1;
    ms_grouped_content *c = &g->contents[g->n_contents];
    *c = (ms_grouped_content){.source = -1, .piece = -1, .unit = -1};
    memcpy(c->hash, hash, HASH);
    g->table[at] = (int64_t)++g->n_contents;
    return g->table[at] - 1;
}

static int add_file(msim_groups *g, const ms_grouped_file *file, msim_error *err) {
    int rc =
        ms_grow((void **)&g->files, &g->files_cap, g->n_files + 1, sizeof *g->files, "files", err);
    if (rc < 0) return rc;
    ms_grouped_file *f = &g->files[g->n_files];
    *f = *file;
    f->name = keep_text(g, file->name, file->name_bytes, err);
    f->path = f->name && file->path ? keep_text(g, file->path, strlen(file->path), err) : NULL;
    if (!f->name || (file->path && !f->path)) return -MSIM_E_MEMORY;
    g->n_files++;
    return MSIM_OK;
}

/* ---- Indexes ---- */

static int add_source(msim_groups *g, const char *path, msim_error *err) {
    msim_notes *notes;
    path = keep_text(g, path, strlen(path), err);
    if (!path) return -MSIM_E_MEMORY;
    int rc = ms_grow((void **)&g->sources, &g->sources_cap, g->n_sources + 1, sizeof *g->sources,
                     "indexes", err);
    if (rc >= 0) rc = msim_notes_open(path, &notes, err);
    if (rc < 0) return rc;
    g->sources[g->n_sources++] = (ms_grouped_source){.notes = notes, .path = path};
    return MSIM_OK;
}

/* Where the notes of a content are, unless that is known. */
static void set_notes(msim_groups *g, int64_t content, size_t source, int64_t piece,
                      const msim_notes_piece *p) {
    ms_grouped_content *c = &g->contents[content];
    if (c->piece >= 0) return;
    c->source = (int64_t)source;
    c->piece = piece;
    c->n_notes = p->n_notes;
    c->seconds = p->seconds;
}

static int read_index(msim_groups *g, const char *path, int collection, msim_error *err) {
    msim_notes_info info = {.size = sizeof info};
    int rc = add_source(g, path, err);
    if (rc < 0) return rc;
    const size_t source = g->n_sources - 1;
    (void)msim_notes_get_info(g->sources[source].notes, &info);
    for (int64_t i = 0; i < info.pieces && rc >= 0; i++) {
        msim_notes_piece p = {.size = sizeof p};
        if (msim_notes_get_piece(g->sources[source].notes, i, &p) < 0)
            return ms_fail(err, MSIM_E_FORMAT, "%s is damaged: build it again", path);
        if (ms_digest_is_zero(p.content, HASH))
            return ms_fail(err, MSIM_E_FORMAT,
                           "%s does not know the contents of its files: build it again with "
                           "midisim-index",
                           path);
        const int64_t content = add_content(g, p.content, err);
        if (content < 0) return (int)content;
        set_notes(g, content, source, i, &p);
        const ms_grouped_file file = {.name = p.name,
                                      .name_bytes = p.name_bytes,
                                      .content = content,
                                      .bytes = -1,
                                      .collection = collection};
        rc = add_file(g, &file, err);
    }
    return rc;
}

static bool ends_in(const char *path, const char *ending) {
    const size_t n = strlen(path), m = strlen(ending);
    return n > m && strcmp(path + n - m, ending) == 0;
}

static int open_corpus(msim_groups *g, const char *path, int collection, msim_error *err) {
    msim_corpus *corpus;
    int rc = ms_grow((void **)&g->corpora, &g->corpora_cap, g->n_corpora + 1, sizeof *g->corpora,
                     "corpora", err);
    if (rc >= 0) rc = msim_corpus_open(path, NULL, &corpus, err);
    if (rc >= 0) g->corpora[g->n_corpora++] = (ms_grouped_corpus){corpus, collection};
    return rc;
}

/* The index beside a corpus. */
static int read_corpus(msim_groups *g, const char *corpus, int collection, msim_error *err) {
    const int stem = (int)(strlen(corpus) - strlen(".npy"));
    const size_t n = strlen(corpus) + 8;
    char *path = ms_alloc(n, 1, "a path", err);
    if (!path) return -MSIM_E_MEMORY;
    snprintf(path, n, "%.*s.notes", stem, corpus);
    int rc = g->o.alike > 0 ? open_corpus(g, corpus, collection, err) : MSIM_OK;
    if (rc < 0) {
        ms_free(path);
        return rc;
    }
    if (access(path, F_OK) != 0)
        rc = ms_fail(err, MSIM_E_IO,
                     "%s has no note index beside it (%s): midisim-embed --notes makes one", corpus,
                     path);
    else
        rc = read_index(g, path, collection, err);
    ms_free(path);
    return rc;
}

/* ---- MIDI files ---- */

typedef struct {
    msim_groups *g;
    msim_walk *walk; /* owned, and so on */
    msim_note_reader *reader;
    msim_notes_builder *builder;
    msim_notes *old;        /* WORK.notes of an earlier run, or NULL */
    unsigned char *is_kept; /* of its pieces */
    int64_t n_kept, n_new, n_old, n_read;
} files_reading;

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

static bool is_known(files_reading *r, const char *hex) {
    const int64_t piece = r->old ? msim_notes_find_piece(r->old, hex, HEX) : -1;
    if (piece < 0) return false;
    r->n_kept += !r->is_kept[piece];
    r->is_kept[piece] = 1;
    return true;
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

/* The content of a file, and its notes. */
static int read_content(files_reading *r, const msim_walk_item *item, ms_grouped_file *file,
                        msim_error *err) {
    unsigned char digest[MS_SHA256_BYTES];
    char hex[HEX + 1];
    msim_groups *g = r->g;
    file->reason = item->reason;
    if (item->bytes) {
        int rc = ms_digest_of(MS_DIGEST_SHA256, item->bytes, item->n_bytes, digest, err);
        if (rc < 0) return rc;
    } else if (item->is_stream || item->is_folder || !hash_raw(item->path, digest)) {
        return MSIM_OK;
    }
    const size_t before = g->n_contents;
    file->content = add_content(g, digest, err);
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
    if (file.content < 0) r->g->info.unread++;
    return add_file(r->g, &file, err);
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
        if (rc >= 0) rc = ms_groups_progress(r->g, "files", ++r->n_read, stats.files, err);
        if (rc < 0) break;
    }
    msim_walk_close(r->walk);
    r->walk = NULL;
    return rc;
}

static int open_files(files_reading *r, const char *path, msim_error *err) {
    msim_notes_options o = msim_notes_options_default();
    msim_notes_info info = {.size = sizeof info};
    if (msim_notes_open(path, &r->old, NULL) < 0) r->old = NULL; /* none, or a damaged one */
    if (r->old) {
        (void)msim_notes_get_info(r->old, &info);
        r->n_old = info.pieces;
        r->is_kept = ms_alloc((size_t)info.pieces, 1, "pieces", err);
        if (!r->is_kept) return -MSIM_E_MEMORY;
    }
    int rc = msim_note_reader_open(&r->reader, err);
    return rc < 0 ? rc : msim_notes_builder_open(path, &o, &r->builder, err);
}

static int is_kept(void *user, int64_t piece) { return ((const unsigned char *)user)[piece]; }

/* Write WORK.notes, unless it has just these contents, and learn where each content is. */
static int write_files(files_reading *r, const char *path, msim_error *err) {
    msim_groups *g = r->g;
    int rc = MSIM_OK;
    if (r->n_new == 0 && r->n_kept == 0) return MSIM_OK;
    if (r->n_new || r->n_kept < r->n_old) {
        if (r->n_kept)
            rc = msim_notes_builder_add_index(r->builder, r->old, is_kept, r->is_kept, err);
        if (rc >= 0) rc = msim_notes_builder_finish(r->builder, err);
    }
    if (rc >= 0) rc = add_source(g, path, err);
    if (rc < 0) return rc;
    msim_notes_info info = {.size = sizeof info};
    (void)msim_notes_get_info(g->sources[g->n_sources - 1].notes, &info);
    for (int64_t i = 0; i < info.pieces; i++) {
        msim_notes_piece p = {.size = sizeof p};
        if (msim_notes_get_piece(g->sources[g->n_sources - 1].notes, i, &p) < 0)
            return ms_fail(err, MSIM_E_FORMAT, "%s is damaged: remove it", path);
        const int64_t content = ms_groups_content(g, p.content);
        if (content >= 0) set_notes(g, content, g->n_sources - 1, i, &p);
    }
    return MSIM_OK;
}

static void close_files(files_reading *r) {
    msim_walk_close(r->walk);
    msim_note_reader_close(r->reader);
    msim_notes_builder_close(r->builder);
    msim_notes_close(r->old);
    ms_free(r->is_kept);
}

/* ---- All ---- */

/* Read the indexes and corpora of a collection; the rest of the paths goes into `rest`. */
static int read_indexes(msim_groups *g, const char *const *paths, size_t n, int collection,
                        const char **rest, size_t *n_rest, msim_error *err) {
    struct stat st;
    int rc = MSIM_OK;
    for (size_t i = 0; i < n && rc >= 0; i++) {
        const bool is_folder = stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode);
        if (!is_folder && ends_in(paths[i], ".notes"))
            rc = read_index(g, paths[i], collection, err);
        else if (!is_folder && ends_in(paths[i], ".npy"))
            rc = read_corpus(g, paths[i], collection, err);
        else
            rest[(*n_rest)++] = paths[i];
    }
    return rc;
}

/* The last to count is the content: two indexes may have pieces of one name. */
static int by_name(const void *a, const void *b, void *groups) {
    const ms_grouped_file *x = a, *y = b;
    const ms_grouped_content *contents = ((const msim_groups *)groups)->contents;
    int order = ms_text_compare(x->name, x->name_bytes, y->name, y->name_bytes);
    if (order == 0) order = x->collection - y->collection;
    if (order == 0 && x->path && y->path) order = strcmp(x->path, y->path);
    if (order == 0) order = (x->path != NULL) - (y->path != NULL);
    if (order == 0) order = (x->content >= 0) - (y->content >= 0);
    if (order || x->content < 0) return order;
    return memcmp(contents[x->content].hash, contents[y->content].hash, HASH);
}

/* Files in order of name. A path that was given twice is one file. */
static void sort_files(msim_groups *g) {
    size_t n = 0;
    if (g->n_files) qsort_r(g->files, g->n_files, sizeof *g->files, by_name, g);
    for (size_t i = 0; i < g->n_files; i++)
        if (n == 0 || by_name(&g->files[n - 1], &g->files[i], g) != 0) g->files[n++] = g->files[i];
    g->n_files = n;
}

int ms_groups_read(msim_groups *g, msim_error *err) {
    files_reading r = {.g = g};
    const size_t n_paths = g->o.n_paths + g->o.n_against;
    const char **rest = ms_alloc(n_paths, sizeof *rest, "paths", err);
    size_t n_first = 0, n_second = 0;
    if (!rest) return -MSIM_E_MEMORY;
    int rc = read_indexes(g, g->o.paths, g->o.n_paths, 0, rest, &n_first, err);
    if (rc >= 0 && g->n_sources && g->o.keep == MSIM_KEEPER_NEWEST)
        rc = ms_fail(err, MSIM_E_ARG,
                     "keep newest: an index does not know the times of files: give their folder");
    if (rc >= 0)
        rc = read_indexes(g, g->o.against, g->o.n_against, 1, rest + n_first, &n_second, err);
    if (rc >= 0 && (n_first || n_second || g->o.files_from)) {
        const char *path = ms_groups_path(g, ".notes", err);
        rc = path ? open_files(&r, path, err) : -MSIM_E_MEMORY;
        if (rc >= 0 && (n_first || g->o.files_from)) rc = read_files(&r, rest, n_first, 0, err);
        if (rc >= 0 && n_second) rc = read_files(&r, rest + n_first, n_second, 1, err);
        if (rc >= 0) rc = write_files(&r, path, err);
    }
    close_files(&r);
    ms_free(rest);
    if (rc >= 0) sort_files(g);
    if (rc >= 0 && g->n_files == 0) rc = ms_fail(err, MSIM_E_EMPTY, "no MIDI file was found");
    return rc;
}
