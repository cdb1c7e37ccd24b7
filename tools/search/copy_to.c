/* Contract: tools/search/copy_to.h. The folder of a query is opened once, without following a link
 * in its place, and files are made relative to that descriptor under names that hold no slash: so
 * nothing can land elsewhere. */
#define _GNU_SOURCE
#include "copy_to.h"
#include "print/listing.h"
#include "base/file.h"
#include "base/hash/fnv.h"
#include "base/mem.h"
#include "common/tree.h"
#include "common/watch.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE_NAME = 255, MAX_SHOWN = 10 };

/* A file below a root. */
typedef struct {
    const char *path; /* borrowed from the walk */
    msim_walk *walk;  /* borrowed: of its root, in which it is number `input` */
    int64_t input;
} found_file;

typedef struct {
    size_t entry;  /* the first of the sorted files with this stem */
    size_t n_same; /* files that have it */
} same_stem;

struct ms_copy_to {
    ms_copy_to_request request;
    msim_walk **walks;   /* owned: one for each root */
    found_file *entries; /* owned: [n], all files, bytewise by path */
    size_t n, cap;
    msim_name_set *stems; /* owned */
    same_stem *sources;   /* owned: one for each stem */
    size_t sources_cap;
    msim_name_set *written; /* owned: "folder/file" of this run */
    char *path;             /* owned: scratch */
    size_t path_cap;
    int folder; /* of the query in hand, or -1 */
    char folder_name[MAX_FILE_NAME + 1];
    bool is_folder_bad;
    bool has_original; /* of the query in hand: it is there, or left out */
    int64_t n_copied, n_there, n_missing, n_failed;
};

static void say_failed(ms_copy_to *c, const char *what, const char *where, const char *detail) {
    if (c->n_failed++ < MAX_SHOWN) ms_cli_error("%s: %s: %s", what, where, detail);
}

/* ---- Sources ---- */

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const found_file *)a)->path, ((const found_file *)b)->path);
}

static int index_stems(ms_copy_to *c, msim_error *err) {
    msim_walk_item file = {.size = sizeof file};
    int64_t rc = 0;
    for (size_t i = 0; i < c->n && rc >= 0; i++) {
        int64_t n = msim_name_set_count(c->stems);
        rc = msim_walk_get_input(c->entries[i].walk, c->entries[i].input, &file);
        if (rc < 0) return ms_fail(err, (int)-rc, "not in its list: %s", c->entries[i].path);
        int64_t stem = msim_name_set_add(c->stems, file.stem, file.stem_bytes, err);
        rc = stem < 0 ? stem
                      : ms_grow((void **)&c->sources, &c->sources_cap, (size_t)stem + 1,
                                sizeof *c->sources, "files below the roots", err);
        if (rc < 0) break;
        if (stem == n) c->sources[stem] = (same_stem){.entry = i};
        c->sources[stem].n_same++;
    }
    return rc < 0 ? (int)rc : 0;
}

static int list_root(ms_copy_to *c, size_t i, msim_error *err) {
    const char *root = c->request.roots->items[i];
    msim_walk_options o = ms_cli_walk_options();
    msim_walk_stats stats = {.size = sizeof stats};
    msim_walk_item item = {.size = sizeof item};
    struct stat st;
    if (stat(root, &st) != 0)
        return ms_fail(err, MSIM_E_IO, "--midi-root: %s: %s", root, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return ms_fail(err, MSIM_E_IO, "--midi-root: %s is a file: give a folder", root);
    o.paths = &root;
    o.n_paths = 1;
    int rc = msim_walk_open(&o, c->walks + i, err);
    if (rc >= 0) rc = msim_walk_get_stats(c->walks[i], &stats);
    if (rc < 0) return rc;
    c->n_failed += stats.empty_folders;
    rc = ms_grow((void **)&c->entries, &c->cap, c->n + (size_t)stats.files, sizeof *c->entries,
                 "files below the roots", err);
    for (int64_t f = 0; f < stats.files && rc >= 0; f++) {
        rc = msim_walk_get_input(c->walks[i], f, &item);
        if (rc < 0) return ms_fail(err, -rc, "--midi-root: %s: a file without a number", root);
        if (item.is_folder || item.is_named) /* a folder that cannot be read, or the root */
            say_failed(c, "not searched for files", item.path, item.detail);
        else
            c->entries[c->n++] = (found_file){.path = item.path, .walk = c->walks[i], .input = f};
    }
    return rc;
}

/* All files of the roots, each once: roots may lie in one another. */
static int list_roots(ms_copy_to *c, msim_error *err) {
    size_t n_kept = 0;
    int rc = 0;
    for (size_t i = 0; i < c->request.roots->n && rc >= 0; i++) rc = list_root(c, i, err);
    if (rc < 0) return rc;
    if (c->n) qsort(c->entries, c->n, sizeof *c->entries, compare_entries);
    for (size_t i = 0; i < c->n; i++)
        if (i == 0 || strcmp(c->entries[i].path, c->entries[n_kept - 1].path) != 0)
            c->entries[n_kept++] = c->entries[i];
    c->n = n_kept;
    return index_stems(c, err);
}

int ms_copy_to_open(const ms_copy_to_request *request, ms_copy_to **out, msim_error *err) {
    *out = NULL;
    ms_copy_to *c = ms_alloc(1, sizeof *c, "copies", err);
    if (!c) return -MSIM_E_MEMORY;
    c->request = *request;
    c->folder = -1;
    c->walks = ms_alloc(request->roots->n, sizeof *c->walks, "roots", err);
    int rc = c->walks ? msim_name_set_open(&c->stems, err) : -MSIM_E_MEMORY;
    if (rc >= 0) rc = msim_name_set_open(&c->written, err);
    if (rc >= 0) rc = ms_file_check_name(request->folder, "", err);
    if (rc >= 0) rc = list_roots(c, err);
    if (rc < 0)
        ms_copy_to_close(c);
    else
        *out = c;
    return rc;
}

static const found_file *find_path(const ms_copy_to *c, const char *path) {
    const found_file key = {.path = path};
    return c->n ? bsearch(&key, c->entries, c->n, sizeof *c->entries, compare_entries) : NULL;
}

static const found_file *find_stem(ms_copy_to *c, const char *stem, size_t n) {
    int64_t at = msim_name_set_find(c->stems, stem, n);
    if (at < 0) return NULL;
    same_stem *s = c->sources + at;
    if (s->n_same > 1) {
        ms_cli_warning("%zu files have the stem '%.*s': the first is taken: %s", s->n_same,
                       (int)(n < 200 ? n : 200), stem, c->entries[s->entry].path);
        s->n_same = 1; /* said once */
    }
    return c->entries + s->entry;
}

static bool ends_with(const char *text, size_t n, const char *tail) {
    size_t m = strlen(tail);
    return n >= m && strncasecmp(text + n - m, tail, m) == 0;
}

/* Bytes of a name without its MIDI ending and the .gz behind it. */
static size_t without_extension(const char *name, size_t n) {
    static const char *const extensions[] = {".midi", ".mid", ".kar", ".rmid", ".rmi"};
    size_t bare = ends_with(name, n, ".gz") ? n - 3 : n;
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
        if (ends_with(name, bare, extensions[i])) return bare - strlen(extensions[i]);
    return n;
}

/* The file of a row: its name is a path below a root, or as listed, or a stem. `name` is
 * NUL-terminated. */
static const found_file *find_source(ms_copy_to *c, const char *name, size_t n) {
    const found_file *found;
    if (n == 0 || strlen(name) != n) return NULL;
    for (size_t i = 0; i < c->request.roots->n; i++) {
        const char *root = c->request.roots->items[i];
        size_t m = strlen(root), slash = root[m - 1] != '/';
        if (ms_grow((void **)&c->path, &c->path_cap, m + n + 2, 1, "path", NULL) < 0) {
            say_failed(c, "not copied", name, "out of memory");
            return NULL;
        }
        memcpy(c->path, root, m);
        c->path[m] = '/';
        memcpy(c->path + m + slash, name, n + 1);
        if ((found = find_path(c, c->path))) return found;
    }
    if ((found = find_path(c, name))) return found;
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    size_t len = strlen(base), bare = without_extension(base, len);
    if ((found = find_stem(c, base, len)) || bare == len) return found;
    return find_stem(c, base, bare);
}

/* ---- Names of copies ---- */

/* A name as part of a file's: no slash, no leading dot. safe has n + 1 bytes. */
static void make_safe(const char *name, size_t n, char *safe) {
    size_t dots = 0;
    while (dots < n && name[dots] == '.') dots++;
    for (size_t i = 0; i < n; i++)
        safe[i] = i < dots || name[i] == '/' || name[i] == 0 ? '_' : name[i];
    safe[n] = 0;
}

/* before + name + after into out [MAX_FILE_NAME + 1]. What is too long for a file's name loses
 * bytes of `name`, for which a hash of all of it stands. */
static void join_name(const char *before, const char *name, size_t n, const char *after,
                      char *out) {
    char safe[MAX_FILE_NAME + 1], hash[24];
    size_t room = MAX_FILE_NAME - strlen(before) - strlen(after);
    make_safe(name, n < MAX_FILE_NAME ? n : MAX_FILE_NAME, safe);
    if (n > room) {
        snprintf(hash, sizeof hash, "~%016llx", (unsigned long long)ms_fnv1a(name, n));
        size_t len = room - strlen(hash);
        /* not within a character */
        while (len > 0 && ((unsigned char)safe[len] & 0xc0) == 0x80) len--;
        safe[len] = 0;
    } else {
        hash[0] = 0;
    }
    snprintf(out, MAX_FILE_NAME + 1, "%s%s%s%s", before, safe, hash, after);
}

/* ---- Writing ---- */

/* The query's folder inside DIR, never through a link. */
static bool open_folder(ms_copy_to *c) {
    if (c->folder >= 0 || c->is_folder_bad) return c->folder >= 0;
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, failed = 0, top;
    if (mkdir(c->request.folder, 0777) != 0 && errno != EEXIST) failed = errno;
    top = failed ? -1 : open(c->request.folder, flags);
    if (!failed && top < 0) failed = errno;
    if (!failed && mkdirat(top, c->folder_name, 0777) != 0 && errno != EEXIST) failed = errno;
    if (!failed && (c->folder = openat(top, c->folder_name, flags | O_NOFOLLOW)) < 0)
        failed = errno;
    if (top >= 0) close(top);
    if (!failed) return true;
    char where[4400];
    snprintf(where, sizeof where, "%s/%s", c->request.folder, c->folder_name);
    say_failed(c, "cannot copy to", where,
               failed == ENOTDIR || failed == ELOOP ? "a file or a link is in the folder's place"
                                                    : strerror(failed));
    c->is_folder_bad = true;
    return false;
}

/* A file of the query's folder. */
static void put_file(ms_copy_to *c, const char *file, const unsigned char *data, size_t n_bytes,
                     const struct stat *st) {
    char where[4700];
    int64_t n_written = msim_name_set_count(c->written);
    snprintf(where, sizeof where, "%s/%s", c->folder_name, file);
    int64_t number = msim_name_set_add(c->written, where, strlen(where), NULL);
    bool is_new = number == n_written;
    snprintf(where, sizeof where, "%s/%s/%s", c->request.folder, c->folder_name, file);
    if (number < 0) {
        say_failed(c, "not copied", where, "out of memory");
        return;
    }
    if (ms_put_holds(c->folder, file, data, n_bytes, (int64_t)n_bytes)) {
        c->n_there++;
        return;
    }
    /* Not even --force lets a match take the place of a better one. parity: mode and times are the
     * source's (test/cli/test_search_copy.py, test_names_and_sources). */
    const ms_put_part all = {.data = data, .n = n_bytes};
    msim_error err;
    int rc = is_new ? ms_put_file(c->folder, file, &all, 1, st, c->request.is_forced, &err) : 0;
    if (rc > 0)
        c->n_copied++;
    else if (rc == 0 && is_new)
        say_failed(c, "not copied", where, "another file is there; --force replaces it");
    else
        say_failed(c, "not copied", where,
                   is_new ? err.text : "another match or query of this name was copied there");
}

/* Read a source. False, having said why, when it cannot be used. */
static bool read_source(ms_copy_to *c, msim_walk *walk, int64_t input, msim_walk_item *file,
                        struct stat *st) {
    msim_error err;
    if (msim_walk_get_input(walk, input, file) < 0) return false; /* its number came from there */
    const int rc = msim_walk_read(walk, input, file, &err);
    if (rc >= 0 && file->reason == MSIM_SKIP_NONE && stat(file->path, st) == 0) return true;
    say_failed(c, "not copied", file->path,
               rc < 0                           ? err.text
               : file->reason == MSIM_SKIP_NONE ? strerror(errno)
                                                : file->detail);
    return false;
}

/* ---- Queries ---- */

static void put_original(ms_copy_to *c, const ms_copy_to_query *query) {
    char file[MAX_FILE_NAME + 1];
    struct stat st;
    msim_walk_item source = {.size = sizeof source};
    const found_file *row = query->is_row ? find_source(c, query->label, query->n_label) : NULL;
    msim_walk *walk = row ? row->walk : query->walk;
    join_name("", c->folder_name, strlen(c->folder_name), ".mid", file);
    if (query->stream)
        put_file(c, file, query->stream, query->stream_bytes, NULL);
    else if (walk && /* a vector has no file */
             read_source(c, walk, row ? row->input : query->input, &source, &st))
        put_file(c, file, source.bytes, source.n_bytes, &st);
}

/* The query's stem: of a file as --names stem has it; a row's name may be a stem already, with a
 * dot in it. */
static void name_folder(ms_copy_to *c, const ms_copy_to_query *query) {
    msim_walk_item file = {.size = sizeof file};
    const char *slash = memrchr(query->label, '/', query->n_label);
    const size_t at = slash ? (size_t)(slash + 1 - query->label) : 0;
    const char *stem = query->label + at;
    size_t len = without_extension(stem, query->n_label - at);
    if (query->walk && msim_walk_get_input(query->walk, query->input, &file) >= 0) {
        stem = file.stem;
        len = file.stem_bytes;
    }
    join_name("", stem, len, "", c->folder_name);
    if (query->stream) snprintf(c->folder_name, sizeof c->folder_name, "stdin");
    if (!*c->folder_name) snprintf(c->folder_name, sizeof c->folder_name, "_");
}

/* The file of a piece, under `before` and its name; then the query, unless it is there. */
static void copy_piece(ms_copy_to *c, const ms_copy_to_query *query, const char *before,
                       const char *name, size_t n_name) {
    char file[MAX_FILE_NAME + 1];
    struct stat st;
    msim_walk_item source = {.size = sizeof source};
    const found_file *found = find_source(c, name, n_name);
    if (!found) {
        if (c->n_missing++ < MAX_SHOWN)
            ms_cli_warning("no file of this row below the roots: %s", name);
        return;
    }
    if (!read_source(c, found->walk, found->input, &source, &st) || !open_folder(c)) return;
    join_name(before, name, without_extension(name, n_name), ".mid", file);
    put_file(c, file, source.bytes, source.n_bytes, &st);
    if (!c->has_original) put_original(c, query);
    c->has_original = true;
}

static void copy_match(ms_copy_to *c, const ms_copy_to_query *query, ms_results_out *out,
                       const msim_match *match) {
    char before[64], score[32];
    int64_t n_name = ms_results_name(out, match->row);
    if (n_name < 0) {
        say_failed(c, "not copied", "a match", "out of memory");
        return;
    }
    ms_listing_score(score, ms_listing_percent((float)match->score));
    snprintf(before, sizeof before, "%s_%d_", score, match->transpose);
    copy_piece(c, query, before, out->name, (size_t)n_name);
}

/* A piece that shares the query's notes. */
static void copy_found(ms_copy_to *c, const ms_copy_to_query *query, ms_results_out *out,
                       int64_t i) {
    const msim_note_match *match = query->asked->matches + i;
    msim_notes_piece piece = {.size = sizeof piece};
    char before[64];
    if (msim_notes_get_piece(out->notes, match->piece, &piece) < 0) return;
    if (ms_grow((void **)&out->name, &out->name_cap, piece.name_bytes + 1, 1, "a name", NULL) < 0) {
        say_failed(c, "not copied", "a match", "out of memory");
        return;
    }
    memcpy(out->name, piece.name, piece.name_bytes);
    out->name[piece.name_bytes] = 0;
    snprintf(before, sizeof before, "same_%02lld_%d_", (long long)(i + 1), match->transpose);
    copy_piece(c, query, before, out->name, piece.name_bytes);
}

void ms_copy_to_add(ms_copy_to *c, const ms_copy_to_query *query, ms_results_out *out,
                    const msim_match *matches, int64_t n) {
    const int64_t n_found = query->asked ? query->asked->n_matches : 0;
    c->has_original = c->request.omits_original;
    name_folder(c, query);
    c->is_folder_bad = false;
    for (int64_t i = 0; i < n_found && !c->is_folder_bad && !ms_cli_stopped(); i++)
        copy_found(c, query, out, i);
    for (int64_t i = 0; i < n && !c->is_folder_bad && !ms_cli_stopped(); i++)
        if (isfinite(matches[i].score)) /* else there is no likeness to speak of */
            copy_match(c, query, out, matches + i);
    if (c->folder >= 0) close(c->folder);
    c->folder = -1;
}

int64_t ms_copy_to_finish(ms_copy_to *c) {
    char copied[32], more[32];
    if (c->n_missing > MAX_SHOWN)
        ms_cli_warning("no file below the roots: %s more rows",
                       ms_cli_count(more, c->n_missing - MAX_SHOWN));
    if (c->n_failed > MAX_SHOWN)
        ms_cli_error("not copied: %s more files", ms_cli_count(more, c->n_failed - MAX_SHOWN));
    ms_cli_note("%s file%s copied to %s%s", ms_cli_count(copied, c->n_copied),
                ms_cli_plural(c->n_copied), c->request.folder,
                c->n_there ? ", others were there already" : "");
    return c->n_failed;
}

void ms_copy_to_close(ms_copy_to *c) {
    if (!c) return;
    for (size_t i = 0; c->walks && i < c->request.roots->n; i++) msim_walk_close(c->walks[i]);
    ms_free(c->walks);
    ms_free(c->entries);
    msim_name_set_close(c->stems);
    msim_name_set_close(c->written);
    ms_free(c->sources);
    ms_free(c->path);
    ms_free(c);
}
