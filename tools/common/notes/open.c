/* Contract: tools/common/notes/open.h. */
#define _GNU_SOURCE
#include "common/notes/open.h"
#include "base/hash/fnv.h"
#include "base/mem.h"
#include "common/watch.h"
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int ms_noteindex_cache(char *path, size_t cap, msim_error *err) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache == '/')
        snprintf(path, cap, "%s", cache);
    else if (home && *home == '/')
        snprintf(path, cap, "%s/.cache", home);
    else
        return ms_fail(err, MSIM_E_IO,
                       "no cache folder: set XDG_CACHE_HOME, or give an index instead of a folder");
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return ms_fail_errno(err, errno, "cannot make the cache folder: %s", path);
    const size_t n = strlen(path);
    snprintf(path + n, cap - n, "/midisim");
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return ms_fail_errno(err, errno, "cannot make the cache folder: %s", path);
    return 0;
}

/* Index a folder, taking what is unchanged from the last time. */
static int index_folder(const char *folder, int threads, const char *path, msim_error *err) {
    msim_notes_job_options o = msim_notes_job_options_default();
    msim_notes_job_stats stats = {.size = sizeof stats};
    char pieces[32];
    const double began = ms_cli_now();
    o.walk = ms_cli_walk_options();
    o.walk.paths = &folder;
    o.walk.n_paths = 1;
    o.walk.threads = threads;
    o.output = path;
    o.update = access(path, F_OK) == 0;
    int rc = msim_notes_build(&o, &stats, err);
    if (o.update && (rc == -MSIM_E_FORMAT || rc == -MSIM_E_UNSUPPORTED)) {
        o.update = 0; /* an old version's or a damaged index is no loss */
        rc = msim_notes_build(&o, &stats, err);
    }
    ms_cli_progress_end();
    if (rc >= 0)
        ms_cli_note("indexed %s: %s piece%s, %lld new, %.2f s", folder,
                    ms_cli_count(pieces, stats.pieces), ms_cli_plural(stats.pieces),
                    (long long)stats.added, ms_cli_now() - began);
    return rc;
}

int ms_noteindex_open(const char *path, int threads, msim_notes **out, const char **root,
                      msim_error *err) {
    struct stat st;
    char folder[PATH_MAX], kept[PATH_MAX + 32], real[PATH_MAX];
    const bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (root) *root = is_folder ? path : NULL;
    if (!is_folder) return msim_notes_open(path, out, err);
    int rc = ms_noteindex_cache(folder, sizeof folder - 16, err);
    if (rc < 0) return rc;
    if (!realpath(path, real)) return ms_fail_errno(err, errno, "cannot open the folder: %s", path);
    snprintf(kept, sizeof kept, "%s/%016llx.notes", folder,
             (unsigned long long)ms_fnv1a(real, strlen(real)));
    rc = index_folder(path, threads, kept, err);
    return rc < 0 ? rc : msim_notes_open(kept, out, err);
}

bool ms_noteindex_beside(const char *corpus, char *path, size_t cap) {
    size_t n = strlen(corpus);
    if (n > 4 && strcmp(corpus + n - 4, ".npy") == 0) n -= 4;
    while (n > 1 && corpus[n - 1] == '/') n--;
    const int rc = snprintf(path, cap, "%.*s.notes", (int)n, corpus);
    if (rc > 0 && (size_t)rc < cap) return true;
    *path = 0;
    return false;
}

static bool fits(const ms_cli_texts *patterns, const char *name) {
    for (size_t i = 0; i < patterns->n; i++)
        if (fnmatch(patterns->items[i], name, 0) == 0) return true;
    return false;
}

int ms_noteindex_choose(const ms_cli_texts *patterns, const msim_notes *notes, unsigned char **out,
                        msim_error *err) {
    msim_notes_info info = {.size = sizeof info};
    msim_notes_piece piece = {.size = sizeof piece};
    char *name = NULL;
    size_t cap = 0;
    int64_t n_fit = 0;
    *out = NULL;
    if (patterns->n == 0) return 0;
    (void)msim_notes_get_info(notes, &info);
    unsigned char *within = ms_alloc((size_t)info.pieces, 1, "pieces", err);
    int rc = within ? 0 : -MSIM_E_MEMORY;
    for (int64_t p = 0; p < info.pieces && rc >= 0; p++) {
        if (msim_notes_get_piece(notes, p, &piece) < 0)
            rc = ms_fail(err, MSIM_E_FORMAT, "the index is damaged: build it again");
        else
            rc = ms_grow((void **)&name, &cap, piece.name_bytes + 1, 1, "a name", err);
        if (rc < 0) break;
        memcpy(name, piece.name, piece.name_bytes);
        name[piece.name_bytes] = 0;
        within[p] = fits(patterns, name);
        n_fit += within[p];
    }
    ms_free(name);
    if (rc >= 0 && n_fit == 0)
        rc = ms_fail(err, MSIM_E_EMPTY, "--within: no piece's name fits '%.200s'",
                     patterns->items[0]);
    if (rc < 0) {
        ms_free(within);
        return rc;
    }
    *out = within;
    return 0;
}
