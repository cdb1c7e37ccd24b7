/* Contract: pipeline/durable.h. */
#define _GNU_SOURCE
#include "pipeline/durable.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)1 << 16)

int ms_durable_open(ms_durable *file, const char *path, msim_error *err) {
    *file = (ms_durable){.path = path, .fd = -1};
    if ((size_t)snprintf(file->temporary, sizeof file->temporary, "%s.%ld.tmp", path,
                         (long)getpid()) >= sizeof file->temporary)
        return ms_fail(err, MSIM_E_ARG, "path too long: %.80s...", path);
    file->fd = open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file->fd < 0)
        return ms_fail(err, MSIM_E_IO, "cannot write: %s: %s", file->temporary, strerror(errno));
    file->buffer = ms_alloc(BUFFER_BYTES, 1, "file buffer", err);
    if (file->buffer) return 0;
    close(file->fd);
    unlink(file->temporary);
    return -MSIM_E_MEMORY;
}

static void flush(ms_durable *file) {
    for (size_t done = 0; done < file->n && !file->failed.code;) {
        ssize_t n = write(file->fd, file->buffer + done, file->n - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            ms_fail(&file->failed, MSIM_E_IO, "cannot write: %s: %s", file->path, strerror(errno));
        else
            done += (size_t)n;
    }
    file->n = 0;
}

void ms_durable_put(ms_durable *file, const void *bytes, size_t n) {
    const unsigned char *from = bytes;
    while (n && !file->failed.code) {
        size_t some = BUFFER_BYTES - file->n < n ? BUFFER_BYTES - file->n : n;
        memcpy(file->buffer + file->n, from, some);
        file->n += some;
        from += some;
        n -= some;
        if (file->n == BUFFER_BYTES) flush(file);
    }
}

int ms_durable_finish(ms_durable *file, msim_error *err) {
    msim_error *failed = &file->failed;
    flush(file);
    if (!failed->code && fsync(file->fd) != 0)
        ms_fail(failed, MSIM_E_IO, "cannot sync: %s: %s", file->path, strerror(errno));
    if (close(file->fd) != 0 && !failed->code)
        ms_fail(failed, MSIM_E_IO, "cannot write: %s: %s", file->path, strerror(errno));
    if (!failed->code && rename(file->temporary, file->path) != 0)
        ms_fail(failed, MSIM_E_IO, "cannot rename: %s to %s: %s", file->temporary, file->path,
                strerror(errno));
    ms_free(file->buffer);
    file->buffer = NULL;
    file->fd = -1;
    if (!failed->code) return ms_durable_sync_folder(file->path, err);
    unlink(file->temporary);
    if (err) *err = *failed;
    return -failed->code;
}

bool ms_durable_folder(const char *path, char *folder, size_t cap) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + (slash == path) : 1;
    if (n >= cap) return false;
    memcpy(folder, slash ? path : ".", n);
    folder[n] = 0;
    return true;
}

/* File systems that cannot sync a folder say EINVAL: nothing is lost there that could be kept. */
int ms_durable_sync_folder(const char *path, msim_error *err) {
    char folder[4352];
    if (!ms_durable_folder(path, folder, sizeof folder)) return 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return 0; /* a folder may be writable without being readable */
    int rc = fsync(fd) == 0 || errno == EINVAL
                 ? 0
                 : ms_fail(err, MSIM_E_IO, "cannot sync: folder of %s: %s", path, strerror(errno));
    close(fd);
    return rc;
}
