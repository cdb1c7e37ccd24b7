/* A corpus and its description take their places together: pipeline/disk/output.h. */
#define _GNU_SOURCE
#include "pipeline/disk/output.h"
#include "base/file.h"
#include "base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LONGEST_ENDING ".json.next"

typedef struct {
    char corpus[4352], description[4352]; /* .npy.next, .npy.json.next */
    char beside[4352], codes[4352];       /* .npy.json, .npy.msim */
} output_paths;

static int find_places(const ms_output *output, output_paths *p, msim_error *err) {
    size_t cap = sizeof p->corpus;
    bool fits = (size_t)snprintf(p->corpus, cap, "%s.next", output->path) < cap &&
                (size_t)snprintf(p->description, cap, "%s.json.next", output->path) < cap &&
                (size_t)snprintf(p->codes, cap, "%s.msim", output->path) < cap &&
                ms_description_path(output->path, p->beside, sizeof p->beside);
    return fits ? 0 : ms_fail(err, MSIM_E_ARG, "path too long: %.80s...", output->path);
}

int ms_output_check(const ms_output *output, bool *exists, msim_error *err) {
    char folder[4096];
    struct stat st;
    const char *slash = strrchr(output->path, '/');
    *exists = false;
    if (strlen(output->path) + 64 > sizeof folder ||
        !ms_file_folder(output->path, folder, sizeof folder))
        return ms_fail(err, MSIM_E_ARG, "output: expected a path of under %zu bytes, got %zu",
                       sizeof folder - 64, strlen(output->path));
    if (stat(folder, &st) != 0)
        return ms_fail(err, MSIM_E_ARG, "output folder: %s: %s", folder, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return ms_fail(err, MSIM_E_ARG, "output folder: %s is a file: give a path in a folder",
                       folder);
    if (access(folder, W_OK | X_OK) != 0)
        return ms_fail(err, MSIM_E_ARG, "output folder: %s: %s", folder, strerror(errno));
    int rc = ms_file_check_name(output->path, LONGEST_ENDING, err);
    if (rc < 0) return rc;
    if (lstat(output->path, &st) != 0) {
        if (errno == ENOENT && slash && !slash[1])
            return ms_fail(err, MSIM_E_ARG, "output: %s is a folder: give a file name",
                           output->path);
        return errno == ENOENT
                   ? 0
                   : ms_fail(err, MSIM_E_ARG, "output: %s: %s", output->path, strerror(errno));
    }
    if (S_ISLNK(st.st_mode) && stat(output->path, &st) != 0)
        return ms_fail(err, MSIM_E_ARG, "output: %s is a link to nothing: give a file name",
                       output->path);
    if (!S_ISREG(st.st_mode))
        return ms_fail(err, MSIM_E_ARG, "output: %s is %s: give the name of a file", output->path,
                       S_ISDIR(st.st_mode) ? "a folder" : "no regular file");
    *exists = true;
    return 0;
}

/* ---- Taking the places ---- */

/* Returns 1 or 0, or < 0 when the system does not tell: then nothing may be decided. */
static int is_there(const char *path, msim_error *err) {
    struct stat st;
    if (lstat(path, &st) == 0) return 1;
    return errno == ENOENT ? 0 : ms_fail_errno(err, errno, "cannot examine: %s", path);
}

static int move(const char *from, const char *to, msim_error *err) {
    if (rename(from, to) == 0) return ms_file_sync_folder(to, err);
    return ms_fail(err, MSIM_E_IO, "cannot rename: %s to %s: %s", from, to, strerror(errno));
}

/* The steps after the decision; an earlier run may have done some of them. The old description goes
 * first, the new one comes last. */
static int take_places(const ms_output *output, const output_paths *p, msim_error *err) {
    int rc = is_there(p->corpus, err);
    if (rc < 0) return rc;
    if (rc) {
        if (unlink(p->beside) != 0 && errno != ENOENT)
            return ms_fail(err, MSIM_E_IO, "cannot remove: %s: %s", p->beside, strerror(errno));
        rc = move(p->corpus, output->path, err);
        if (rc < 0) return rc;
        /* codes of the rows that were there: they would only be refused */
        (void)unlink(p->codes);
    }
    return move(p->description, p->beside, err);
}

/* Remove CORPUS.npy.next.part-* and CORPUS.npy.json.next.part-*, whose writers are gone. */
static void remove_parts(const ms_output *output) {
    char folder[4352], path[4352 + 256];
    const char *slash = strrchr(output->path, '/'), *base = slash ? slash + 1 : output->path;
    size_t n = strlen(base);
    DIR *dir = ms_file_folder(output->path, folder, sizeof folder) ? opendir(folder) : NULL;
    const struct dirent *found;
    while (dir && (found = readdir(dir))) {
        const char *name = found->d_name;
        if (strncmp(name, base, n) != 0) continue;
        if (strncmp(name + n, ".next.part-", 11) != 0 &&
            strncmp(name + n, ".json.next.part-", 16) != 0)
            continue;
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path) unlink(path);
    }
    if (dir) closedir(dir);
}

int ms_output_recover(const ms_output *output, msim_error *err) {
    output_paths p;
    int rc = find_places(output, &p, err);
    if (rc >= 0) rc = is_there(p.description, err);
    if (rc < 0) return rc;
    if (rc) return take_places(output, &p, err);
    unlink(p.corpus);
    remove_parts(output);
    return 0;
}

/* ---- Writing ---- */

static int write_rows(const ms_output *output, const char *path, const ms_output_rows *rows,
                      const ms_description *description, msim_error *err) {
    msim_corpus_layout layout = {.size = sizeof(msim_corpus_layout),
                                 .rows = description->rows,
                                 .dim = description->dim,
                                 .name_chars = 1,
                                 .dtype = output->dtype,
                                 .name_field = output->name_field,
                                 .vector_field = output->vector_field};
    msim_corpus_writer *writer;
    size_t len;
    for (int64_t row = 0; row < description->rows; row++) {
        const char *name = rows->name(rows->user, row, &len);
        int64_t chars = msim_name_chars(name, len);
        if (chars > layout.name_chars) layout.name_chars = chars;
    }
    float *vector = ms_alloc((size_t)description->dim, sizeof *vector, "vector", err);
    if (!vector) return -MSIM_E_MEMORY;
    int rc = msim_corpus_writer_open(path, &layout, &writer, err);
    for (int64_t row = 0; row < description->rows && rc >= 0; row++) {
        if (row % 64 == 0 && ms_watch_step(output->watch, MSIM_STEP_WRITE, row, description->rows))
            rc = ms_watch_stop(err, "while writing the corpus");
        if (rc >= 0) rc = rows->vector(rows->user, row, vector, err);
        const char *name = rows->name(rows->user, row, &len);
        if (rc >= 0) rc = msim_corpus_writer_add(writer, name, len, vector, err);
    }
    ms_watch_end_step(output->watch);
    if (rc >= 0) rc = msim_corpus_writer_finish(writer, err);
    msim_corpus_writer_close(writer);
    ms_free(vector);
    return rc;
}

/* Write the description of the rows in a file, with their fingerprint. */
static int describe(const char *path, const char *corpus, const ms_output_rows *rows,
                    const ms_description *description, msim_error *err) {
    ms_description full = *description;
    int rc = ms_description_take_fingerprint(&full, corpus, err);
    return rc < 0 ? rc : ms_description_write_to(path, &full, &rows->described, err);
}

int ms_output_write(const ms_output *output, const ms_output_rows *rows,
                    const ms_description *description, msim_error *err) {
    output_paths p;
    int rc = find_places(output, &p, err);
    if (rc >= 0) rc = write_rows(output, p.corpus, rows, description, err);
    if (rc < 0) return rc;
    rc = describe(p.description, p.corpus, rows, description, err);
    if (rc >= 0) return take_places(output, &p, err);
    /* Once the description is there, or may be, the change is decided: the next run puts both in
     * their places. */
    if (is_there(p.description, NULL) == 0) unlink(p.corpus);
    return rc;
}

int ms_output_describe(const ms_output *output, const ms_output_rows *rows,
                       const ms_description *description, msim_error *err) {
    output_paths p;
    int rc = find_places(output, &p, err);
    if (rc >= 0) rc = describe(p.description, output->path, rows, description, err);
    return rc < 0 ? rc : take_places(output, &p, err);
}
