/* A library to preload under a tool, which makes one call fail or one file change: the tests' way
 * to a disk that breaks. Nothing of it is in the product. Calls are counted that touch a path with
 * FAULT_PATH in it, or sync the folder of one.
 *
 *   FAULT_PATH=c.npy   which calls: open for writing, write, pwrite, fsync, fdatasync, ftruncate,
 *                      rename, unlink
 *   FAULT_AT=N         the Nth of them (from 1): fails with FAULT_ERRNO (default EIO);
 *   FAULT_MODE=fail|short|kill|killed a write gives half of its bytes and fails the next time; the
 *                      process is killed before the call, or after it
 *   FAULT_LOG=FILE     every counted call as one line: its name
 *   FAULT_DENY=TEXT    opendir of a path that ends in TEXT fails with EACCES
 *   FAULT_CHANGE=TEXT  a file whose path ends in TEXT grows by a byte just before it is opened for
 *                      reading
 *   FAULT_CUT=TEXT     a file whose path ends in TEXT is cut to FAULT_CUT_TO bytes just after it
 *                      was mapped */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int n_calls;
static int is_broken; /* a short write went before */

static int ends_with(const char *path, const char *variable) {
    const char *text = getenv(variable);
    size_t n = strlen(path), m = text ? strlen(text) : 0;
    return text && n >= m && strcmp(path + n - m, text) == 0;
}

static int is_meant(const char *path) {
    const char *text = getenv("FAULT_PATH");
    return text && strstr(path, text);
}

/* The path that a descriptor was opened by, into path [4096]. */
static int path_of_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 4095);
    path[n < 0 ? 0 : n] = 0;
    return n >= 0;
}

static int is_meant_fd(int fd) {
    char path[4096];
    struct stat st;
    if (!path_of_fd(fd, path)) return 0;
    return is_meant(path) || (getenv("FAULT_PATH") && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode));
}

enum { GO_ON, FAIL, SHORT, KILL_AFTER };

static int count(const char *name) {
    const char *at = getenv("FAULT_AT"), *mode = getenv("FAULT_MODE"), *log = getenv("FAULT_LOG"),
               *number = getenv("FAULT_ERRNO");
    int is_write = strstr(name, "write") != NULL;
    if (log) {
        int fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        dprintf(fd, "%s\n", name);
        close(fd);
    }
    errno = number ? atoi(number) : EIO;
    if (is_broken && is_write) {
        is_broken = 0;
        return FAIL;
    }
    if (!at || ++n_calls != atoi(at)) return GO_ON;
    if (mode && strcmp(mode, "kill") == 0) raise(SIGKILL);
    if (mode && strcmp(mode, "killed") == 0) return KILL_AFTER;
    if (mode && strcmp(mode, "short") == 0 && is_write) return SHORT;
    return FAIL;
}

#define DO(name, call)                      \
    int what = count(name);                 \
    if (what == FAIL) return -1;            \
    __typeof__(call) result = call;         \
    if (what == KILL_AFTER) raise(SIGKILL); \
    return result

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (ends_with(path, "FAULT_CHANGE") && (flags & O_ACCMODE) == O_RDONLY) {
        int fd = REAL(open)(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        if (fd >= 0) {
            dprintf(fd, "+");
            close(fd);
        }
    }
    if (!is_meant(path) || (flags & O_ACCMODE) == O_RDONLY) return REAL(open)(path, flags, mode);
    DO("open", REAL(open)(path, flags, mode));
}

int openat(int folder, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (!is_meant(path) || (flags & O_ACCMODE) == O_RDONLY)
        return REAL(openat)(folder, path, flags, mode);
    DO("open", REAL(openat)(folder, path, flags, mode));
}

ssize_t write(int fd, const void *bytes, size_t n) {
    if (!is_meant_fd(fd)) return REAL(write)(fd, bytes, n);
    int what = count("write");
    if (what == FAIL) return -1;
    is_broken = what == SHORT;
    ssize_t result = REAL(write)(fd, bytes, what == SHORT ? n / 2 : n);
    if (what == KILL_AFTER) raise(SIGKILL);
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at) {
    if (!is_meant_fd(fd)) return REAL(pwrite)(fd, bytes, n, at);
    int what = count("pwrite");
    if (what == FAIL) return -1;
    is_broken = what == SHORT;
    ssize_t result = REAL(pwrite)(fd, bytes, what == SHORT ? n / 2 : n, at);
    if (what == KILL_AFTER) raise(SIGKILL);
    return result;
}

int fsync(int fd) {
    if (!is_meant_fd(fd)) return REAL(fsync)(fd);
    DO("fsync", REAL(fsync)(fd));
}

int fdatasync(int fd) {
    if (!is_meant_fd(fd)) return REAL(fdatasync)(fd);
    DO("fdatasync", REAL(fdatasync)(fd));
}

int ftruncate(int fd, off_t n) {
    if (!is_meant_fd(fd)) return REAL(ftruncate)(fd, n);
    DO("ftruncate", REAL(ftruncate)(fd, n));
}

int rename(const char *from, const char *to) {
    if (!is_meant(to)) return REAL(rename)(from, to);
    DO("rename", REAL(rename)(from, to));
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    if (!is_meant(to)) return REAL(renameat)(from_folder, from, to_folder, to);
    DO("rename", REAL(renameat)(from_folder, from, to_folder, to));
}

int unlinkat(int folder, const char *path, int flags) {
    if (!is_meant(path) || faccessat(folder, path, F_OK, 0) != 0)
        return REAL(unlinkat)(folder, path, flags);
    DO("unlink", REAL(unlinkat)(folder, path, flags));
}

int unlink(const char *path) {
    if (!is_meant(path) || access(path, F_OK) != 0) return REAL(unlink)(path);
    DO("unlink", REAL(unlink)(path));
}

DIR *opendir(const char *path) {
    if (!ends_with(path, "FAULT_DENY")) return REAL(opendir)(path);
    errno = EACCES;
    return NULL;
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t from) {
    char path[4096];
    const char *to = getenv("FAULT_CUT_TO");
    void *p = REAL(mmap)(at, n, protection, flags, fd, from);
    if (fd >= 0 && to && path_of_fd(fd, path) && ends_with(path, "FAULT_CUT"))
        if (truncate(path, atol(to)) != 0) abort();
    return p;
}
