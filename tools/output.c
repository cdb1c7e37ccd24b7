/* Contract: tools/output.h. The old description goes when the new rows are all on disk, and the new one comes last, so
 * a corpus never stands beside a description of another one. */
#define _GNU_SOURCE
#include "output.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int ms_output_check(const ms_output *output, bool *exists, msim_error *err) {
    char folder[4096];
    struct stat st;
    const char *slash = strrchr(output->path, '/');
    size_t n = slash ? (size_t)(slash - output->path) + (slash == output->path) : 1;
    *exists = false;
    if (strlen(output->path) + 64 > sizeof folder)
        return ms_cli_fail(err, MSIM_E_ARG, "output: expected a path of under %zu bytes, got %zu", sizeof folder - 64,
                           strlen(output->path));
    memcpy(folder, slash ? output->path : ".", n);
    folder[n] = 0;
    if (stat(folder, &st) != 0)
        return ms_cli_fail(err, MSIM_E_ARG, "output folder: %s: %s", folder, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return ms_cli_fail(err, MSIM_E_ARG, "output folder: %s: expected a folder, got a file", folder);
    if (access(folder, W_OK | X_OK) != 0)
        return ms_cli_fail(err, MSIM_E_ARG, "output folder: %s: %s", folder, strerror(errno));
    if (lstat(output->path, &st) != 0) {
        if (errno == ENOENT && slash && !slash[1])
            return ms_cli_fail(err, MSIM_E_ARG, "output: %s: expected a file name, got a folder", output->path);
        return errno == ENOENT ? 0 : ms_cli_fail(err, MSIM_E_ARG, "output: %s: %s", output->path, strerror(errno));
    }
    if (S_ISLNK(st.st_mode) && stat(output->path, &st) != 0)
        return ms_cli_fail(err, MSIM_E_ARG, "output: %s: expected a file, got a link to nothing", output->path);
    if (!S_ISREG(st.st_mode))
        return ms_cli_fail(err, MSIM_E_ARG, "output: %s: expected a regular file or nothing there, got %s",
                           output->path, S_ISDIR(st.st_mode) ? "a folder" : "something else");
    *exists = true;
    return 0;
}

/* ---- An existing corpus ---- */

static int compare_pointers(const void *a, const void *b) {
    return ms_files_compare_names(*(const ms_files_entry *const *)a, *(const ms_files_entry *const *)b);
}

/* Every row's name must be among the names of the input files, each used once; both are in bytewise order. */
static int verify_names(const msim_corpus *corpus, int64_t rows, const ms_files_list *files, msim_error *err) {
    const ms_files_entry **sorted = ms_cli_alloc(files->n, sizeof *sorted);
    size_t at = 0;
    int rc = 0;
    for (size_t i = 0; i < files->n; i++) sorted[i] = files->entries + i;
    if (files->n) qsort(sorted, files->n, sizeof *sorted, compare_pointers);
    for (int64_t row = 0; row < rows && rc == 0; row++) {
        char name[MS_FILES_MAX_NAME + 8];
        int64_t len = msim_corpus_name(corpus, row, name, sizeof name);
        bool found = false;
        while (!found && at < files->n) {
            const ms_files_entry *e = sorted[at++];
            found = len == (int64_t)e->name_len && memcmp(e->path + e->name_at, name, (size_t)len) == 0;
        }
        if (!found) rc = ms_cli_fail(err, MSIM_E_ARG, "row %lld: expected one of the input files, got '%.200s'",
                                     (long long)row, len < 0 ? "" : name);
    }
    free(sorted);
    return rc;
}

static int verify_rows(const ms_output *output, const ms_sidecar *found, const ms_files_list *files, msim_error *err) {
    msim_corpus *corpus;
    msim_corpus_info info;
    int rc = msim_corpus_open(output->path, NULL, &corpus, err);
    if (rc < 0) return rc;
    rc = msim_corpus_get_info(corpus, &info);
    if (rc >= 0 && (info.rows != found->rows || info.dim != found->dim || !info.has_names || info.dtype != output->dtype))
        rc = ms_cli_fail(err, MSIM_E_FORMAT, "expected %lld rows of %lld with names, got %lld of %lld",
                         (long long)found->rows, (long long)found->dim, (long long)info.rows, (long long)info.dim);
    if (rc >= 0 && files) rc = verify_names(corpus, info.rows, files, err);
    msim_corpus_close(corpus);
    return rc;
}

int ms_output_verify(const ms_output *output, const ms_sidecar *wanted, const ms_files_list *files, msim_error *err) {
    ms_sidecar found;
    char what[256];
    msim_error why;
    int rc = ms_sidecar_read(output->path, &found, &why);
    if (rc < 0) return ms_cli_fail(err, MSIM_E_ARG, "%.400s", why.text);
    if (rc == 0)
        snprintf(what, sizeof what, "expected %s.json beside it, got none", strrchr(output->path, '/')
                     ? strrchr(output->path, '/') + 1 : output->path);
    else if (!found.is_complete)
        snprintf(what, sizeof what, "expected a complete corpus, got one of a run that was stopped");
    else if (!ms_sidecar_differs(&found, wanted, what, sizeof what)) {
        if (found.files != wanted->files)
            snprintf(what, sizeof what, "input files: expected %lld, got %lld", (long long)found.files,
                     (long long)wanted->files);
        else if (verify_rows(output, &found, files, &why) < 0)
            snprintf(what, sizeof what, "%.250s", why.text);
        else
            return 1;
    }
    return ms_cli_fail(err, MSIM_E_ARG, "exists already: %.150s: %s; --force replaces it", output->path, what);
}

/* ---- Writing ---- */

/* Give the new corpus its name while no description stands beside it; put the old one back when that fails. */
static int replace_corpus(msim_corpus_writer *writer, const char *beside, msim_error *err) {
    char aside[4400];
    snprintf(aside, sizeof aside, "%s.%ld.tmp", beside, (long)getpid());
    bool had_one = rename(beside, aside) == 0;
    if (!had_one && errno != ENOENT)
        return ms_cli_fail(err, MSIM_E_IO, "cannot replace: %s: %s", beside, strerror(errno));
    int rc = msim_corpus_writer_finish(writer, err);
    if (had_one && (rc < 0 ? rename(aside, beside) : unlink(aside)) != 0 && rc >= 0)
        rc = ms_cli_fail(err, MSIM_E_IO, "cannot remove: %s: %s", aside, strerror(errno));
    return rc;
}

static int write_rows(const ms_output *output, const char *beside, const ms_rows_made *rows, msim_error *err) {
    msim_corpus_layout layout = {.rows = (int64_t)rows->n, .dim = rows->dim, .name_chars = 1, .dtype = output->dtype,
                                 .name_field = output->name_field, .vector_field = output->vector_field};
    msim_corpus_writer *writer;
    for (size_t i = 0; i < rows->n; i++) {
        int64_t chars = msim_name_chars(rows->rows[i].name, rows->rows[i].name_len);
        if (chars > layout.name_chars) layout.name_chars = chars;
    }
    int rc = msim_corpus_writer_open(output->path, &layout, &writer, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < rows->n && rc >= 0; i++)
        rc = msim_corpus_writer_add(writer, rows->rows[i].name, rows->rows[i].name_len,
                                    rows->vectors + rows->rows[i].at * (size_t)rows->dim, err);
    if (rc >= 0) rc = replace_corpus(writer, beside, err);
    msim_corpus_writer_close(writer);
    return rc;
}

int ms_output_write(const ms_output *output, const ms_rows_made *rows, const ms_sidecar *sidecar, msim_error *err) {
    char beside[4352];
    if (!ms_sidecar_path(output->path, beside, sizeof beside))
        return ms_cli_fail(err, MSIM_E_ARG, "path too long: %.80s...", output->path);
    int rc = write_rows(output, beside, rows, err);
    return rc < 0 ? rc : ms_sidecar_write(output->path, sidecar, err);
}
