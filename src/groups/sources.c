/* What is given as files, contents and indexes. The pieces of an index that is made here are named
 * after contents, so that they stay when files are renamed. */
#define _GNU_SOURCE
#include "base/hash/digest.h"
#include "base/text/order.h"
#include "groups/sources.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HASH = MSIM_CONTENT_BYTES };

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

int64_t ms_groups_add_content(msim_groups *g, const unsigned char *hash, msim_error *err) {
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

int ms_groups_add_file(msim_groups *g, const ms_grouped_file *file, msim_error *err) {
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

int ms_groups_add_source(msim_groups *g, const char *path, msim_error *err) {
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

void ms_groups_set_notes(msim_groups *g, int64_t content, size_t source, int64_t piece,
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
    int rc = ms_groups_add_source(g, path, err);
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
        const int64_t content = ms_groups_add_content(g, p.content, err);
        if (content < 0) return (int)content;
        ms_groups_set_notes(g, content, source, i, &p);
        const ms_grouped_file file = {.name = p.name,
                                      .name_bytes = p.name_bytes,
                                      .content = content,
                                      .bytes = -1,
                                      .collection = collection};
        rc = ms_groups_add_file(g, &file, err);
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
    if (rc >= 0 && (n_first || n_second || g->o.files_from))
        rc = ms_groups_read_files(g, rest, n_first, rest + n_first, n_second, err);
    ms_free(rest);
    if (rc >= 0) sort_files(g);
    if (rc >= 0 && g->n_files == 0) rc = ms_fail(err, MSIM_E_EMPTY, "no MIDI file was found");
    return rc;
}
