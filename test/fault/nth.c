/* A library to preload under a tool, which makes the Nth call of one kind fail, or all from the Nth
 * on: memory, files and threads. Calls are counted from the beginning of main, in every thread.
 * fail.c beside it breaks the disk under one file; this one breaks anything.
 *
 *   FAULT_KIND=memory  malloc, calloc, realloc, aligned_alloc, posix_memalign, anonymous maps
 *             open     open, openat, opendir, fopen
 *             read     read, pread, readdir, getline
 *             write    write, pwrite, and what a stdio file has left when it is closed
 *             output   what is written to standard output from here on
 *             sync     fsync, fdatasync
 *             rename   rename, renameat, renameat2
 *             remove   unlink, unlinkat
 *             resize   ftruncate
 *             close    close, which closes all the same
 *             stat     stat, fstat, lstat, fstatat
 *             map      mmap of a file
 *             folder   mkdir, mkdirat
 *             thread   pthread_create
 *   FAULT_NTH=N        from 1; 0: none
 *   FAULT_ON=1         the calls after it fail too
 *   FAULT_COUNT=FILE   how many calls there were, written at exit */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* glibc's own names for what this library stands in front of. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t each);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

enum kind {
    NONE,
    MEMORY,
    OPEN,
    READ,
    WRITE,
    OUTPUT,
    SYNC,
    RENAME,
    REMOVE,
    RESIZE,
    CLOSE,
    STAT,
    MAP,
    FOLDER,
    THREAD
};
static const struct {
    const char *name;
    int error;
} kinds[] = {{"", 0},           {"memory", ENOMEM}, {"open", EACCES},  {"read", EIO},
             {"write", ENOSPC}, {"output", ENOSPC}, {"sync", EIO},     {"rename", EACCES},
             {"remove", EPERM}, {"resize", EIO},    {"close", EIO},    {"stat", EIO},
             {"map", ENOMEM},   {"folder", EACCES}, {"thread", EAGAIN}};

static enum kind wanted;
static long nth;
static int goes_on, is_counting;
static const char *count_file;
static _Atomic long n_calls;

/* True when this call is to fail; errno says why. */
static int fails(enum kind kind) {
    if (!is_counting || kind != wanted) return 0;
    long n = ++n_calls;
    if (nth == 0 || n < nth || (n > nth && !goes_on)) return 0;
    errno = kinds[kind].error;
    return 1;
}

static void write_count(void) {
    char text[32];
    is_counting = 0;
    if (!count_file) return;
    int n = snprintf(text, sizeof text, "%ld\n", (long)n_calls);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, count_file, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    syscall(SYS_write, fd, text, n);
    syscall(SYS_close, fd);
}

/* ---- main ---- */

typedef int main_function(int, char **, char **);
static main_function *real_main;

static int counted_main(int argc, char **argv, char **environment) {
    const char *kind = getenv("FAULT_KIND"), *n = getenv("FAULT_NTH");
    for (size_t i = 1; kind && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kind, kinds[i].name) == 0) wanted = (enum kind)i;
    nth = n ? atol(n) : 0;
    goes_on = getenv("FAULT_ON") != NULL;
    count_file = getenv("FAULT_COUNT");
    atexit(write_count);
    is_counting = 1;
    return real_main(argc, argv, environment);
}

int __libc_start_main(main_function *start, int argc, char **argv, void (*before)(void),
                      void (*after)(void), void (*unload)(void), void *stack) {
    __typeof__(&__libc_start_main) real =
        (__typeof__(&__libc_start_main))dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = start;
    return real(counted_main, argc, argv, before, after, unload, stack);
}

/* ---- Memory ---- */

void *malloc(size_t n) { return fails(MEMORY) ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t each) { return fails(MEMORY) ? NULL : __libc_calloc(n, each); }
void *realloc(void *p, size_t n) { return fails(MEMORY) ? NULL : __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) {
    return fails(MEMORY) ? NULL : __libc_memalign(align, n);
}
int posix_memalign(void **p, size_t align, size_t n) {
    if (fails(MEMORY)) return ENOMEM;
    void *got = __libc_memalign(align, n);
    if (!got) return ENOMEM;
    *p = got;
    return 0;
}
void *mmap(void *at, size_t n, int access, int flags, int fd, off_t from) {
    if (fails(fd < 0 ? MEMORY : MAP)) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, n, access, flags, fd, from);
}

/* ---- Files ---- */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int openat(int folder, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(OPEN) ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return openat(AT_FDCWD, path, flags, mode);
}
DIR *opendir(const char *path) { return fails(OPEN) ? NULL : REAL(opendir)(path); }
FILE *fopen(const char *path, const char *mode) {
    return fails(OPEN) ? NULL : REAL(fopen)(path, mode);
}
ssize_t read(int fd, void *to, size_t n) { return fails(READ) ? -1 : syscall(SYS_read, fd, to, n); }
ssize_t pread(int fd, void *to, size_t n, off_t at) {
    return fails(READ) ? -1 : syscall(SYS_pread64, fd, to, n, at);
}
struct dirent *readdir(DIR *folder) {
    return fails(READ) ? NULL : REAL(readdir)(folder);
}
ssize_t write(int fd, const void *from, size_t n) {
    return fd > STDERR_FILENO && fails(WRITE) ? -1 : syscall(SYS_write, fd, from, n);
}
ssize_t pwrite(int fd, const void *from, size_t n, off_t at) {
    return fails(WRITE) ? -1 : syscall(SYS_pwrite64, fd, from, n, at);
}
int fsync(int fd) { return fails(SYNC) ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return fails(SYNC) ? -1 : (int)syscall(SYS_fdatasync, fd); }
int ftruncate(int fd, off_t n) { return fails(RESIZE) ? -1 : (int)syscall(SYS_ftruncate, fd, n); }
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    return fails(RENAME) ? -1
                         : (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return renameat2(from_folder, from, to_folder, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int unlinkat(int folder, const char *path, int flags) {
    return fails(REMOVE) ? -1 : (int)syscall(SYS_unlinkat, folder, path, flags);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int mkdirat(int folder, const char *path, mode_t mode) {
    return fails(FOLDER) ? -1 : (int)syscall(SYS_mkdirat, folder, path, mode);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
int close(int fd) {
    int result = (int)syscall(SYS_close, fd);
    return fails(CLOSE) ? -1 : result;
}
int stat(const char *path, struct stat *out) { return fails(STAT) ? -1 : REAL(stat)(path, out); }
int lstat(const char *path, struct stat *out) { return fails(STAT) ? -1 : REAL(lstat)(path, out); }
int fstat(int fd, struct stat *out) { return fails(STAT) ? -1 : REAL(fstat)(fd, out); }
int fstatat(int folder, const char *path, struct stat *out, int flags) {
    return fails(STAT) ? -1 : REAL(fstatat)(folder, path, out, flags);
}

/* ---- stdio ---- */

/* Streams call the system from inside glibc. What their file is becomes one that fails: a folder
 * cannot be read, /dev/full not written. */
static void replace_file(FILE *stream, const char *path, int flags) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
    syscall(SYS_dup2, fd, fileno(stream));
    syscall(SYS_close, fd);
}
ssize_t __getdelim(char **line, size_t *cap, int end, FILE *stream) {
    if (fails(READ)) replace_file(stream, "/", O_RDONLY);
    return REAL(__getdelim)(line, cap, end, stream);
}
size_t fwrite(const void *from, size_t each, size_t n, FILE *stream) {
    if (stream == stdout && fails(OUTPUT)) replace_file(stream, "/dev/full", O_WRONLY);
    return REAL(fwrite)(from, each, n, stream);
}
int fclose(FILE *stream) {
    int is_output = (fcntl(fileno(stream), F_GETFL) & O_ACCMODE) != O_RDONLY;
    if (is_output && fails(WRITE)) replace_file(stream, "/dev/full", O_WRONLY);
    return REAL(fclose)(stream);
}

/* ---- Threads ---- */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
    return fails(THREAD) ? EAGAIN : REAL(pthread_create)(thread, attributes, run, argument);
}
