/* Contract: tools/common/put_file.h. */
#define _GNU_SOURCE
#include "put_file.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int take_after(const ms_out_file *f, const struct stat *source, msim_error *err) {
    const struct timespec times[2] = {source->st_atim, source->st_mtim};
    if (fchmod(f->fd, source->st_mode & 0777) == 0 && futimens(f->fd, times) == 0) return 0;
    return ms_cli_fail(err, MSIM_E_IO, "cannot set mode and times: %s: %s", f->temp_path,
                       strerror(errno));
}

int ms_put_file(int folder, const char *file, const ms_put_part *parts, size_t n_parts,
                const struct stat *source, bool is_forced, msim_error *err) {
    ms_out_file f = {.fd = -1};
    int rc = ms_out_file_open_at(&f, folder, file, source ? 0600 : 0666, err);
    for (size_t i = 0; i < n_parts && rc >= 0; i++) {
        ms_out_file_put(&f, parts[i].data, parts[i].n);
        rc = ms_out_file_failed(&f, err);
    }
    if (rc >= 0 && source) rc = take_after(&f, source, err);
    if (rc >= 0) rc = ms_out_file_sync(&f, err);
    if (rc >= 0 && !is_forced)
        rc = ms_out_file_rename_new(&f, err);
    else if (rc >= 0)
        rc = ms_out_file_rename(&f, err) < 0 ? -f.failed.code : 1;
    ms_out_file_close(&f);
    return rc;
}

bool ms_put_holds(int folder, const char *file, const void *begin, size_t n_begin,
                  int64_t n_bytes) {
    struct stat st;
    unsigned char part[16384];
    int fd = openat(folder, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    bool holds = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == n_bytes;
    for (size_t done = 0; holds && done < n_begin;) {
        size_t most = n_begin - done < sizeof part ? n_begin - done : sizeof part;
        ssize_t n = read(fd, part, most);
        holds = n > 0 && memcmp(part, (const unsigned char *)begin + done, (size_t)n) == 0;
        done += holds ? (size_t)n : 0;
    }
    if (fd >= 0) close(fd);
    return holds;
}
