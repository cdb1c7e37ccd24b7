/* Contract: tools/common/put_file.h. */
#define _GNU_SOURCE
#include "put_file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Returns an errno. */
static int write_bytes(int fd, const unsigned char *data, size_t n) {
    while (n) {
        ssize_t done = write(fd, data, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return done < 0 ? errno : EIO;
        data += done;
        n -= (size_t)done;
    }
    return 0;
}

static int take_after(int fd, const struct stat *source) {
    const struct timespec times[2] = {source->st_atim, source->st_mtim};
    return fchmod(fd, source->st_mode & 0777) != 0 || futimens(fd, times) != 0 ? errno : 0;
}

/* Give the finished temporary file its name. Returns an errno. */
static int take_name(int folder, const char *temporary, const char *file, bool is_forced) {
    struct stat st;
    if (!is_forced) {
        if (renameat2(folder, temporary, folder, file, RENAME_NOREPLACE) == 0) return 0;
        if (errno != EINVAL && errno != ENOSYS) return errno;
        /* A file system without that: look first. */
        if (fstatat(folder, file, &st, AT_SYMLINK_NOFOLLOW) == 0) return EEXIST;
    }
    return renameat(folder, temporary, folder, file) == 0 ? 0 : errno;
}

int ms_put_file(int folder, const char *file, const ms_put_part *parts, size_t n_parts,
                const struct stat *source, bool is_forced) {
    char temporary[64];
    int failed = 0;
    snprintf(temporary, sizeof temporary, ".midisim-%ld.tmp", (long)getpid());
    unlinkat(folder, temporary, 0); /* left by a run that was killed */
    int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    source ? 0600 : 0666);
    if (fd < 0) return errno;
    for (size_t i = 0; i < n_parts && !failed; i++)
        failed = write_bytes(fd, parts[i].data, parts[i].n);
    if (!failed && source) failed = take_after(fd, source);
    if (close(fd) != 0 && !failed) failed = errno;
    if (!failed) failed = take_name(folder, temporary, file, is_forced);
    if (failed) unlinkat(folder, temporary, 0);
    return failed;
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
