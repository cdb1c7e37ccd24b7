/* One MIDI file into memory: see query/read.h. */
#define _GNU_SOURCE
#include "query/read.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define MOST_BYTES ((size_t)256 << 20)
#define STEP_BYTES ((size_t)64 << 10)

/* zlib reads what is not compressed as it is. */
static int read_all(gzFile file, const char *path, ms_query_bytes *to, msim_error *err) {
    int code;
    for (to->n_bytes = 0;;) {
        int rc =
            ms_grow((void **)&to->data, &to->cap, to->n_bytes + STEP_BYTES, 1, "MIDI file", err);
        if (rc < 0) return rc;
        int n = gzread(file, to->data + to->n_bytes, (unsigned)STEP_BYTES);
        if (n < 0) {
            const char *why = gzerror(file, &code);
            return code == Z_ERRNO ? ms_fail_errno(err, errno, "cannot read: %s", path)
                                   : ms_fail(err, MSIM_E_FORMAT, "%s: bad gzip: %s", path, why);
        }
        if (n == 0) break;
        to->n_bytes += (size_t)n;
        if (to->n_bytes > MOST_BYTES)
            return ms_fail(err, MSIM_E_LIMIT, "%s: larger than %zu bytes", path, MOST_BYTES);
    }
    gzerror(file, &code);
    if (code == Z_BUF_ERROR) return ms_fail(err, MSIM_E_FORMAT, "%s: bad gzip: cut short", path);
    return MSIM_OK;
}

int ms_query_read(const char *path, ms_query_bytes *to, msim_error *err) {
    struct stat st;
    if (stat(path, &st) != 0) return ms_fail_errno(err, errno, "cannot read: %s", path);
    if (!S_ISREG(st.st_mode)) return ms_fail(err, MSIM_E_IO, "%s: not a regular file", path);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return ms_fail_errno(err, errno, "cannot read: %s", path);
    gzFile file = gzdopen(fd, "rb");
    if (!file) {
        close(fd);
        return ms_fail(err, MSIM_E_MEMORY, "out of memory: reading %s", path);
    }
    int rc = read_all(file, path, to, err);
    (void)gzclose_r(file); /* nothing was written: what it could say was read already */
    return rc;
}
