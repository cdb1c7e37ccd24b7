/* The files of a corpus: see parts.h. A folder is listed once and sorted, so shards come in the
 * same order on every machine. */
#include "corpus/parts.h"
#include "base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Name [n] ends with `ending`, in any letter case. */
static bool ends_with(const char *name, size_t n, const char *ending) {
    size_t k = strlen(ending);
    return n > k && strncasecmp(name + n - k, ending, k) == 0;
}

/* The length of a name without ".crop_nb_N", which the tools of big-ann-benchmarks append to files
 * that hold the first N rows. */
static size_t uncropped(const char *name) {
    static const char mark[] = ".crop_nb_";
    size_t n = strlen(name), at = n;
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9') at--;
    bool is_cropped = at < n && at > sizeof mark && ends_with(name, at, mark);
    return is_cropped ? at - (sizeof mark - 1) : n;
}

int ms_parts_format(const char *path) {
    size_t n = uncropped(path);
    return ends_with(path, n, ".fvecs")  ? MSIM_FORMAT_FVECS
           : ends_with(path, n, ".fbin") ? MSIM_FORMAT_FBIN
                                         : -1;
}

/* Append FOLDER/NAME, or NAME as it is. */
static int append(ms_parts *parts, const char *folder, const char *name, msim_error *err) {
    size_t cap = (folder ? strlen(folder) : 0) + strlen(name) + 2;
    int rc = ms_grow((void **)&parts->paths, &parts->cap, parts->n + 1, sizeof *parts->paths,
                     "corpus files", err);
    if (rc < 0) return rc;
    char *path = ms_alloc(cap, 1, "path", err);
    if (!path) return -MSIM_E_MEMORY;
    const char *slash = folder && folder[0] && folder[strlen(folder) - 1] != '/' ? "/" : "";
    snprintf(path, cap, "%s%s%s", folder ? folder : "", slash, name);
    parts->paths[parts->n++] = path;
    return MSIM_OK;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_folder(ms_parts *parts, const char *folder, msim_error *err) {
    size_t first = parts->n;
    int rc = MSIM_OK;
    DIR *d = opendir(folder);
    if (!d) return ms_fail_errno(err, errno, "cannot open: %s", folder);
    while (rc >= 0) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) {
            if (errno) rc = ms_fail_errno(err, errno, "cannot read: %s", folder);
            break;
        }
        struct stat st;
        size_t n = strlen(e->d_name);
        if (e->d_name[0] == '.' ||
            (!ends_with(e->d_name, n, ".npy") && ms_parts_format(e->d_name) < 0))
            continue;
        rc = append(parts, folder, e->d_name, err);
        /* A folder of such a name is none of the corpus; what cannot be examined fails when it is
         * opened. */
        if (rc >= 0 && stat(parts->paths[parts->n - 1], &st) == 0 && S_ISDIR(st.st_mode))
            ms_free(parts->paths[--parts->n]);
    }
    closedir(d);
    if (rc >= 0 && parts->n == first)
        rc = ms_fail(err, MSIM_E_FORMAT,
                     "corpus: %.300s: this folder holds no .npy, .fvecs or .fbin file; "
                     "'midisim-embed -o CORPUS.npy FOLDER' makes a corpus of MIDI files",
                     folder);
    if (rc >= 0) qsort(parts->paths + first, parts->n - first, sizeof *parts->paths, by_bytes);
    return rc;
}

int ms_parts_add(ms_parts *parts, const char *path, msim_error *err) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? add_folder(parts, path, err)
                                                       : append(parts, NULL, path, err);
}

int ms_parts_add_name(ms_parts *parts, const char *name, msim_error *err) {
    return append(parts, NULL, name, err);
}

void ms_parts_free(ms_parts *parts) {
    for (size_t i = 0; i < parts->n; i++) ms_free(parts->paths[i]);
    ms_free(parts->paths);
    *parts = (ms_parts){.n = 0};
}
