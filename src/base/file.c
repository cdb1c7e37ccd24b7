/* Files that appear whole or not at all: see base/file.h. The buffer is allocated when a file is
 * opened; putting bytes allocates nothing. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 20, HINT_BYTES = 16 << 20, WRITE_MOST = 1 << 30 };
enum { TEMP_TRIES = 100, NAME_MOST = 255, TEMP_ENDING_MOST = 32 };

/* ---- Temporary files under way ---- */

/* For a signal handler, which may take no lock: entries are claimed, filled in, then listed. A file
 * that finds no room is not removed by a handler. */
enum { ENTRY_FREE, ENTRY_CLAIMED, ENTRY_LISTED, N_ENTRIES = 64 };
static struct {
    _Atomic int state;
    int folder;
    const char *path; /* borrowed from the out file, which strikes it off before it goes */
} under_way[N_ENTRIES];

static void enlist(ms_out_file *f) {
    f->entry = -1;
    for (int i = 0; i < N_ENTRIES && f->entry < 0; i++) {
        int expected = ENTRY_FREE;
        if (!atomic_compare_exchange_strong(&under_way[i].state, &expected, ENTRY_CLAIMED))
            continue;
        under_way[i].folder = f->folder;
        under_way[i].path = f->temp_path;
        atomic_store(&under_way[i].state, ENTRY_LISTED);
        f->entry = i;
    }
}

/* The file has its name, or is gone. */
static void strike_off(ms_out_file *f) {
    if (f->has_temp && f->entry >= 0) atomic_store(&under_way[f->entry].state, ENTRY_FREE);
    f->has_temp = false;
}

void msim_remove_temporary_files(void) {
    for (int i = 0; i < N_ENTRIES; i++)
        if (atomic_load(&under_way[i].state) == ENTRY_LISTED)
            (void)unlinkat(under_way[i].folder, under_way[i].path, 0);
}

/* ---- Opening ---- */

/* Bytes of a path that its temporary name begins with: all of them, unless the file's own name is
 * so long that no ending fits behind it. Not cut within a character. */
static size_t temp_stem(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name), most = NAME_MOST - TEMP_ENDING_MOST;
    if (n > most)
        for (n = most; n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80;) n--;
    return (size_t)(name - path) + n;
}

/* Create the temporary file under a name that nothing has. */
static int create_temp(ms_out_file *f, unsigned mode, msim_error *err) {
    size_t stem = temp_stem(f->path), cap = stem + TEMP_ENDING_MOST + 1;
    if (!(f->temp_path = ms_alloc(cap, 1, "path", err))) return -MSIM_E_MEMORY;
    memcpy(f->temp_path, f->path, stem);
    for (int i = 0; i < TEMP_TRIES && f->fd < 0; i++) {
        snprintf(f->temp_path + stem, cap - stem, i ? ".part-%ld-%d" : ".part-%ld", (long)getpid(),
                 i);
        f->fd = openat(f->folder, f->temp_path,
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (f->fd < 0 && errno != EEXIST) break;
    }
    if (f->fd < 0) return ms_fail_errno(err, errno, "cannot create: %s", f->temp_path);
    f->has_temp = true;
    enlist(f);
    return MSIM_OK;
}

int ms_out_file_open(ms_out_file *f, const char *path, const char *suffix, size_t item_max,
                     msim_error *err) {
    struct stat st;
    f->fd = -1;
    f->folder = AT_FDCWD;
    f->item_max = item_max;
    if (!ms_add_size(item_max, BUFFER_BYTES, &f->cap))
        return ms_fail(err, MSIM_E_LIMIT, "output buffer: the rows do not fit in memory");
    if (!(f->buffer = ms_alloc(f->cap, 1, "output buffer", err)) ||
        !(f->path = ms_file_beside(path, suffix, err)))
        return -MSIM_E_MEMORY;
    if (stat(f->path, &st) != 0) {
        /* The temporary name is cut, and would hide this until the end. */
        if (errno == ENAMETOOLONG)
            return ms_fail(err, MSIM_E_IO, "cannot create: %s: %s", f->path, strerror(errno));
    } else if (!S_ISREG(st.st_mode))
        return ms_fail(err, MSIM_E_IO,
                       "cannot write: %s: expected a regular file or nothing, got %s", f->path,
                       S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    return create_temp(f, 0666, err);
}

int ms_out_file_open_at(ms_out_file *f, int folder, const char *name, unsigned mode,
                        msim_error *err) {
    f->fd = -1;
    f->folder = folder;
    f->is_unsynced = true;
    if (!(f->path = ms_alloc(strlen(name) + 1, 1, "path", err))) return -MSIM_E_MEMORY;
    memcpy(f->path, name, strlen(name));
    return create_temp(f, mode, err);
}

char *ms_file_beside(const char *path, const char *ending, msim_error *err) {
    size_t cap = strlen(path) + strlen(ending) + 1;
    char *whole = ms_alloc(cap, 1, "path", err);
    if (whole) snprintf(whole, cap, "%s%s", path, ending);
    return whole;
}

int ms_file_check_name(const char *path, const char *ending, msim_error *err) {
    struct stat st;
    char *whole = ms_file_beside(path, ending, err);
    if (!whole) return -MSIM_E_MEMORY;
    const bool is_too_long = lstat(whole, &st) != 0 && errno == ENAMETOOLONG;
    ms_free(whole);
    if (!is_too_long) return MSIM_OK;
    return ms_fail(err, MSIM_E_ARG, "output: %s: the name is too long: %s%s", path,
                   *ending ? "there is no room behind it for " : "choose a shorter one", ending);
}

int ms_out_file_failed(const ms_out_file *f, msim_error *err) {
    if (f->failed.code && err) *err = f->failed;
    return -f->failed.code;
}

/* ---- Bytes ---- */

/* At byte `at`, or with -1 at the file's own position. */
static int write_all(int fd, const unsigned char *bytes, size_t n, int64_t at, const char *path,
                     msim_error *err) {
    while (n) {
        size_t most = n < WRITE_MOST ? n : WRITE_MOST;
        ssize_t done = at < 0 ? write(fd, bytes, most) : pwrite(fd, bytes, most, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return ms_fail_errno(err, done < 0 ? errno : EIO, "cannot write: %s", path);
        bytes += done;
        n -= (size_t)done;
        if (at >= 0) at += done;
    }
    return MSIM_OK;
}

int ms_file_check_replace(const char *path, const char *begins, const char *what, msim_error *err) {
    struct stat st;
    char found[64];
    const size_t n = strlen(begins);
    if (stat(path, &st) != 0) return MSIM_OK;
    if (S_ISDIR(st.st_mode))
        return ms_fail(err, MSIM_E_ARG, "cannot write: %s: it is a folder: give the name of a file",
                       path);
    if (!S_ISREG(st.st_mode) || st.st_size == 0) return MSIM_OK;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    const ssize_t got = fd < 0 ? -1 : pread(fd, found, n, 0);
    if (fd >= 0) (void)close(fd);
    if (got == (ssize_t)n && memcmp(found, begins, n) == 0) return MSIM_OK;
    return ms_fail(err, MSIM_E_ARG,
                   "cannot replace: %s: it is not %s: name another file, or remove it", path, what);
}

int ms_file_write_at(int fd, const void *bytes, size_t n_bytes, int64_t at, const char *path,
                     msim_error *err) {
    return write_all(fd, bytes, n_bytes, at, path, err);
}

static void write_out(ms_out_file *f, const unsigned char *bytes, size_t n) {
    if (f->failed.code || write_all(f->fd, bytes, n, -1, f->temp_path, &f->failed) < 0) return;
    f->n_written += n;
    /* Let the disk begin now: the sync at the end then waits for the last bytes, not for all. A
     * hint; it may fail. */
    if (f->is_unsynced || f->n_written - f->n_hinted < HINT_BYTES) return;
    (void)sync_file_range(f->fd, (off_t)f->n_hinted, (off_t)(f->n_written - f->n_hinted),
                          SYNC_FILE_RANGE_WRITE);
    f->n_hinted = f->n_written;
}

static void flush(ms_out_file *f) {
    if (f->n) write_out(f, f->buffer, f->n);
    f->n = 0;
}

int ms_out_file_took(ms_out_file *f, size_t n_bytes, msim_error *err) {
    f->n += n_bytes;
    if (f->cap - f->n >= f->item_max) return MSIM_OK;
    flush(f);
    return ms_out_file_failed(f, err);
}

/* What fits is copied, with room left for an item; what never would is written from where it is. */
void ms_out_file_put(ms_out_file *f, const void *bytes, size_t n_bytes) {
    size_t most = f->cap - f->item_max;
    if (n_bytes == 0 || f->failed.code) return;
    if (n_bytes > most - f->n) flush(f);
    if (n_bytes > most) {
        write_out(f, bytes, n_bytes);
        return;
    }
    memcpy(f->buffer + f->n, bytes, n_bytes);
    f->n += n_bytes;
}

/* ---- The end ---- */

int ms_out_file_sync(ms_out_file *f, msim_error *err) {
    flush(f);
    if (!f->failed.code && !f->is_unsynced && fsync(f->fd) != 0)
        ms_fail_errno(&f->failed, errno, "cannot sync: %s", f->temp_path);
    if (f->fd >= 0 && !f->failed.code) {
        if (close(f->fd) != 0) ms_fail_errno(&f->failed, errno, "cannot close: %s", f->temp_path);
        f->fd = -1;
    }
    return ms_out_file_failed(f, err);
}

bool ms_file_folder(const char *path, char *folder, size_t cap) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + (slash == path) : 1;
    if (n >= cap) return false;
    memcpy(folder, slash ? path : ".", n);
    folder[n] = 0;
    return true;
}

/* File systems that cannot sync a folder say EINVAL: nothing is lost there that could be kept. */
int ms_file_sync_folder(const char *path, msim_error *err) {
    char folder[4352];
    if (!ms_file_folder(path, folder, sizeof folder)) return MSIM_OK;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return MSIM_OK; /* a folder may be writable without being readable */
    int rc = fsync(fd) != 0 && errno != EINVAL
                 ? ms_fail_errno(err, errno, "cannot sync: folder of %s", path)
                 : MSIM_OK;
    close(fd); /* nothing was written through it */
    return rc;
}

static int rename_failed(ms_out_file *f, msim_error *err) {
    ms_fail_errno(&f->failed, errno, "cannot rename: %s to %s", f->temp_path, f->path);
    return ms_out_file_failed(f, err);
}

int ms_out_file_rename(ms_out_file *f, msim_error *err) {
    if (renameat(f->folder, f->temp_path, f->folder, f->path) != 0) return rename_failed(f, err);
    strike_off(f);
    return f->is_unsynced ? MSIM_OK : ms_file_sync_folder(f->path, err);
}

int ms_out_file_rename_new(ms_out_file *f, msim_error *err) {
    struct stat st;
    int rc = renameat2(f->folder, f->temp_path, f->folder, f->path, RENAME_NOREPLACE);
    if (rc == 0) {
        strike_off(f);
        rc = f->is_unsynced ? MSIM_OK : ms_file_sync_folder(f->path, err);
        return rc < 0 ? rc : 1;
    }
    if (errno == EEXIST) return 0;
    if (errno != EINVAL && errno != ENOSYS) return rename_failed(f, err);
    /* A file system without that: look first. */
    if (fstatat(f->folder, f->path, &st, AT_SYMLINK_NOFOLLOW) == 0) return 0;
    rc = ms_out_file_rename(f, err);
    return rc < 0 ? rc : 1;
}

int ms_out_file_finish(ms_out_file *f, msim_error *err) {
    int rc = ms_out_file_sync(f, err);
    return rc < 0 ? rc : ms_out_file_rename(f, err);
}

void ms_out_file_close(ms_out_file *f) {
    if (f->path && f->fd >= 0) close(f->fd);
    f->fd = -1;
    if (f->has_temp) unlinkat(f->folder, f->temp_path, 0);
    strike_off(f);
    ms_free(f->buffer);
    ms_free(f->temp_path);
    ms_free(f->path);
    f->buffer = NULL;
    f->path = f->temp_path = NULL;
}
