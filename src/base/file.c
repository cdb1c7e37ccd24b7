/* Files that appear whole or not at all: see base/file.h. The buffer is taken when opened; putting
 * items through it takes no memory. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 20, HINT_BYTES = 16 << 20, TEMP_TRIES = 100 };

/* Create PATH.part-PID, or with a further number when that is taken. The mode is that of any new
 * file. */
static int create_temp(ms_out_file *f, const char *path, const char *suffix, msim_error *err) {
    struct stat st;
    size_t cap = strlen(path) + strlen(suffix) + 40;
    if (!(f->path = ms_alloc(cap, 1, "path", err)) ||
        !(f->temp_path = ms_alloc(cap, 1, "path", err)))
        return -MSIM_E_MEMORY;
    snprintf(f->path, cap, "%s%s", path, suffix);
    if (stat(f->path, &st) == 0 && !S_ISREG(st.st_mode))
        return ms_fail(err, MSIM_E_IO,
                       "cannot write: %s: expected a regular file or nothing, got %s", f->path,
                       S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    for (int i = 0; i < TEMP_TRIES && f->fd < 0; i++) {
        snprintf(f->temp_path, cap, i ? "%s.part-%ld-%d" : "%s.part-%ld", f->path, (long)getpid(),
                 i);
        f->fd = open(f->temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd < 0 && errno != EEXIST) break;
    }
    if (f->fd < 0) return ms_fail_errno(err, errno, "cannot create: %s", f->temp_path);
    f->has_temp = true;
    return MSIM_OK;
}

int ms_out_file_open(ms_out_file *f, const char *path, const char *suffix, size_t item_max,
                     msim_error *err) {
    f->fd = -1;
    f->item_max = item_max;
    if (!ms_add_size(item_max, BUFFER_BYTES, &f->cap))
        return ms_fail(err, MSIM_E_LIMIT,
                       "output buffer: expected rows that fit in memory, got larger ones");
    if (!(f->buffer = ms_alloc(f->cap, 1, "output buffer", err))) return -MSIM_E_MEMORY;
    return create_temp(f, path, suffix, err);
}

int ms_out_file_failed(const ms_out_file *f, msim_error *err) {
    if (f->failed.code && err) *err = f->failed;
    return -f->failed.code;
}

static int flush(ms_out_file *f) {
    for (size_t done = 0; done < f->n;) {
        ssize_t n = write(f->fd, f->buffer + done, f->n - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return ms_fail_errno(&f->failed, errno, "cannot write: %s", f->temp_path);
        done += (size_t)n;
    }
    f->n_written += f->n;
    f->n = 0;
    /* Let the disk begin now: the sync at the end then waits for the last bytes, not for all. A
     * hint; it may fail. */
    if (f->n_written - f->n_hinted >= HINT_BYTES) {
        (void)sync_file_range(f->fd, (off_t)f->n_hinted, (off_t)(f->n_written - f->n_hinted),
                              SYNC_FILE_RANGE_WRITE);
        f->n_hinted = f->n_written;
    }
    return MSIM_OK;
}

int ms_out_file_took(ms_out_file *f, size_t n_bytes, msim_error *err) {
    f->n += n_bytes;
    if (f->cap - f->n >= f->item_max) return MSIM_OK;
    flush(f);
    return ms_out_file_failed(f, err);
}

int ms_out_file_sync(ms_out_file *f, msim_error *err) {
    int rc = flush(f);
    if (rc >= 0 && fsync(f->fd) != 0)
        rc = ms_fail_errno(&f->failed, errno, "cannot sync: %s", f->temp_path);
    if (rc >= 0) {
        if (close(f->fd) != 0) ms_fail_errno(&f->failed, errno, "cannot close: %s", f->temp_path);
        f->fd = -1;
    }
    return ms_out_file_failed(f, err);
}

/* The new name is durable once its folder is synced. File systems that cannot sync a folder say
 * EINVAL: nothing is lost there that could be kept. */
static int sync_folder(const char *path, msim_error *err) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 0;
    char folder[4096] = ".";
    if (n >= sizeof folder) return MSIM_OK;
    if (n) memcpy(folder, path, n), folder[n] = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return MSIM_OK; /* a folder may be writable without being readable */
    int rc = fsync(fd) != 0 && errno != EINVAL
                 ? ms_fail_errno(err, errno, "cannot sync: %s", folder)
                 : MSIM_OK;
    close(fd);
    return rc;
}

int ms_out_file_rename(ms_out_file *f, msim_error *err) {
    if (rename(f->temp_path, f->path) != 0) {
        ms_fail_errno(&f->failed, errno, "cannot rename: %s to %s", f->temp_path, f->path);
        return ms_out_file_failed(f, err);
    }
    f->has_temp = false;
    return sync_folder(f->path, err);
}

void ms_out_file_close(ms_out_file *f) {
    if (f->buffer && f->fd >= 0) close(f->fd);
    f->fd = -1;
    if (f->has_temp) unlink(f->temp_path);
    f->has_temp = false;
    ms_free(f->buffer);
    ms_free(f->temp_path);
    ms_free(f->path);
    f->buffer = NULL;
    f->path = f->temp_path = NULL;
}
