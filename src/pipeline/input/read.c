/* Reading one input file, as pipeline/input/files.h describes it: only regular files, at most
 * MS_FILES_MAX_BYTES, gzip undone. A file is refused when it changed since it was listed or while
 * it was read. */
#define _GNU_SOURCE
#include "pipeline/input/files.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define KEEP_BYTES ((size_t)1 << 20) /* a larger buffer is given back before the next file */

static int refuse(char *detail, int reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(char *detail, int reason, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(detail, MS_FILES_DETAIL, format, args);
    va_end(args);
    return reason;
}

static void trim(unsigned char **data, size_t *cap) {
    if (*cap <= KEEP_BYTES) return;
    ms_free(*data);
    *data = NULL;
    *cap = 0;
}

static size_t next_cap(size_t cap, size_t need) {
    size_t more = cap < 65536 ? 65536 : cap * 2;
    if (more < need) more = need;
    return more < MS_FILES_MAX_BYTES + 1 ? more : MS_FILES_MAX_BYTES + 1;
}

/* Room for `need` bytes (at most the limit and one), doubling; the first `used` are kept. */
static int reserve(unsigned char **data, size_t *cap, size_t used, size_t need, msim_error *err) {
    if (need <= *cap) return 0;
    const size_t more = next_cap(*cap, need);
    unsigned char *p = ms_alloc(more, 1, "bytes of a file", err);
    if (!p) return -MSIM_E_MEMORY;
    if (used) memcpy(p, *data, used);
    ms_free(*data);
    *data = p;
    *cap = more;
    return 0;
}

/* Wait until a stream has something, looking now and then whether the user wants to stop. */
static int wait_for_stream(int fd, ms_watch *watch, msim_error *err) {
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    while (!ms_watch_is_stopped(watch)) {
        int n = poll(&wanted, 1, 200);
        /* After a signal the watch is asked again: a read would wait for ever. */
        if (n > 0 || (n < 0 && errno != EINTR)) return 0;
    }
    return ms_watch_stop(err, "while reading a stream");
}

/* Read to the end, or to one byte more than the limit. `expect` bytes are a hint; 0 for a
 * stream. */
static int read_all(int fd, size_t expect, ms_files_buffer *buffer, char *detail, msim_error *err) {
    size_t n = 0;
    for (;;) {
        size_t want = n + 65536 > expect + 1 ? n + 65536 : expect + 1;
        if (n == expect && n > 0) want = n + 1; /* usually the end: no need to grow */
        if (want > MS_FILES_MAX_BYTES + 1) want = MS_FILES_MAX_BYTES + 1;
        int rc = reserve(&buffer->data, &buffer->cap, n, want, err);
        if (rc == 0 && expect == 0) rc = wait_for_stream(fd, buffer->watch, err);
        if (rc < 0) return rc;
        ssize_t got = read(fd, buffer->data + n, buffer->cap - n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return refuse(detail, MSIM_SKIP_UNREADABLE, "%s", strerror(errno));
        if (got == 0) break;
        n += (size_t)got;
        if (n > MS_FILES_MAX_BYTES)
            return refuse(detail, MSIM_SKIP_TOO_LARGE,
                          "longer than %zu bytes, the most that is read", MS_FILES_MAX_BYTES);
    }
    buffer->n_bytes = n;
    return MSIM_SKIP_NONE;
}

/* ---- gzip ---- */

static bool is_gzip(const char *path, const unsigned char *data, size_t n) {
    size_t len = path ? strlen(path) : 0;
    int kind = msim_file_kind(data, n);
    /* Downloads are often decompressed under their old name. */
    if (kind == MSIM_KIND_MIDI || kind == MSIM_KIND_RMID) return false;
    if (len > 3 && strcasecmp(path + len - 3, ".gz") == 0) return true;
    if (n < 8 || data[0] != 0x1f || data[1] != 0x8b || data[2] != 8) return false;
    /* parity: the original reads a file whose first four bytes are anything, when a header length
     * of 6 follows (test/cli/test_tokens.py, test_gzip). */
    return memcmp(data + 4, "\0\0\0\6", 4) != 0;
}

static bool is_all_zero(const unsigned char *data, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (data[i]) return false;
    return true;
}

/* Inflate every member of packed [n] into the buffer's data. */
static int inflate_members(z_stream *z, size_t n, ms_files_buffer *buffer, char *detail,
                           msim_error *err) {
    size_t done = 0;
    z->next_in = buffer->packed;
    z->avail_in = (uInt)n;
    for (;;) {
        if (done > MS_FILES_MAX_BYTES)
            return refuse(detail, MSIM_SKIP_TOO_LARGE,
                          "longer than %zu bytes decompressed, the most that is read",
                          MS_FILES_MAX_BYTES);
        if (done + 1 > buffer->cap && buffer->may_grow &&
            !buffer->may_grow(buffer->grow_user, n + next_cap(buffer->cap, done + 1)))
            return ms_fail(err, MSIM_E_MEMORY,
                           "out of memory: no room for %zu bytes beside the other files", done + 1);
        int reserved = reserve(&buffer->data, &buffer->cap, done, done + 1, err);
        if (reserved < 0) return reserved;
        z->next_out = buffer->data + done;
        z->avail_out = (uInt)(buffer->cap - done);
        int rc = inflate(z, Z_NO_FLUSH);
        done = (size_t)(z->next_out - buffer->data);
        size_t at = n - z->avail_in;
        if (rc == Z_STREAM_END) {
            /* Further members may follow, and zeros, with which tapes and downloads are padded. */
            if (is_all_zero(z->next_in, z->avail_in)) break;
            if (inflateReset(z) != Z_OK)
                return refuse(detail, MSIM_SKIP_BAD_GZIP, "at byte %zu: cannot go on", at);
        } else if (rc == Z_MEM_ERROR) {
            return ms_fail(err, MSIM_E_MEMORY, "out of memory: gzip");
        } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
            return refuse(detail, MSIM_SKIP_BAD_GZIP, "at byte %zu: %s", at,
                          z->msg ? z->msg : "not gzip");
        } else if (z->avail_in == 0 && z->avail_out > 0) {
            return refuse(detail, MSIM_SKIP_BAD_GZIP,
                          "at byte %zu: the file ends within the compressed data", at);
        }
    }
    if (done > MS_FILES_MAX_BYTES)
        return refuse(detail, MSIM_SKIP_TOO_LARGE,
                      "longer than %zu bytes decompressed, the most that is read",
                      MS_FILES_MAX_BYTES);
    buffer->n_bytes = done;
    return MSIM_SKIP_NONE;
}

/* Undo gzip in place: the file's bytes become the scratch, the contents the data. */
static int gunzip(ms_files_buffer *buffer, char *detail, msim_error *err) {
    z_stream z = {0};
    unsigned char *data = buffer->data;
    size_t cap = buffer->cap, n = buffer->n_bytes;
    trim(&buffer->packed, &buffer->packed_cap);
    buffer->data = buffer->packed;
    buffer->cap = buffer->packed_cap;
    buffer->packed = data;
    buffer->packed_cap = cap;
    buffer->n_bytes = 0;
    if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        return ms_fail(err, MSIM_E_MEMORY, "out of memory: gzip");
    int reason = inflate_members(&z, n, buffer, detail, err);
    inflateEnd(&z);
    return reason;
}

/* Undo RMID: the MIDI file inside becomes the data. */
static void unwrap(ms_files_buffer *buffer) {
    size_t at = msim_midi_find(buffer->data, buffer->n_bytes, &buffer->n_bytes);
    if (at) memmove(buffer->data, buffer->data + at, buffer->n_bytes);
}

/* ---- Files ---- */

static int64_t mtime_of(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static int read_regular(const char *path, const ms_files_entry *listed, ms_files_buffer *buffer,
                        char *detail, msim_error *err) {
    struct stat before, after;
    /* Looked at before it is opened: opening a device may do something. And again afterwards, on
     * the open file. */
    if (stat(path, &before) != 0)
        return refuse(detail, MSIM_SKIP_UNREADABLE, "%s", strerror(errno));
    if (!S_ISREG(before.st_mode))
        return refuse(detail, MSIM_SKIP_NOT_REGULAR, "not a regular file");
    int reason, fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return refuse(detail, MSIM_SKIP_UNREADABLE, "%s", strerror(errno));
    if (fstat(fd, &before) != 0)
        reason = refuse(detail, MSIM_SKIP_UNREADABLE, "%s", strerror(errno));
    else if (!S_ISREG(before.st_mode))
        reason = refuse(detail, MSIM_SKIP_NOT_REGULAR, "not a regular file");
    else if (listed && listed->bytes >= 0 &&
             (listed->bytes != before.st_size || listed->mtime_ns != mtime_of(&before)))
        reason = refuse(detail, MSIM_SKIP_CHANGED, "size or time changed since it was listed");
    else if ((uint64_t)before.st_size > MS_FILES_MAX_BYTES)
        reason = refuse(detail, MSIM_SKIP_TOO_LARGE, "expected at most %zu bytes, got %lld",
                        MS_FILES_MAX_BYTES, (long long)before.st_size);
    else
        reason = read_all(fd, (size_t)before.st_size, buffer, detail, err);
    if (reason == MSIM_SKIP_NONE &&
        (fstat(fd, &after) != 0 || after.st_size != before.st_size ||
         mtime_of(&after) != mtime_of(&before) || (uint64_t)before.st_size != buffer->n_bytes))
        reason = refuse(detail, MSIM_SKIP_CHANGED, "size or time changed while it was read");
    close(fd);
    return reason;
}

static int read_entry(const char *path, const ms_files_entry *listed, ms_files_buffer *buffer,
                      char *detail, msim_error *err) {
    trim(&buffer->data, &buffer->cap);
    trim(&buffer->packed, &buffer->packed_cap);
    buffer->n_bytes = 0;
    int reason = read_regular(path, listed, buffer, detail, err);
    if (reason == MSIM_SKIP_NONE && is_gzip(path, buffer->data, buffer->n_bytes))
        reason = gunzip(buffer, detail, err);
    if (reason == MSIM_SKIP_NONE) unwrap(buffer);
    return reason;
}

int ms_files_read(const ms_files_entry *entry, ms_files_buffer *buffer, char *detail,
                  msim_error *err) {
    if (entry->reason != MSIM_SKIP_NONE)
        return refuse(detail, entry->reason, "%s", entry->detail ? entry->detail : "");
    if (entry->is_stream) return ms_files_read_stream(STDIN_FILENO, buffer, detail, err);
    return read_entry(entry->path, entry, buffer, detail, err);
}

int ms_files_read_path(const char *path, ms_files_buffer *buffer, char *detail, msim_error *err) {
    return read_entry(path, NULL, buffer, detail, err);
}

int ms_files_read_stream(int fd, ms_files_buffer *buffer, char *detail, msim_error *err) {
    trim(&buffer->data, &buffer->cap);
    buffer->n_bytes = 0;
    int reason = read_all(fd, 0, buffer, detail, err);
    if (reason == MSIM_SKIP_NONE && is_gzip(NULL, buffer->data, buffer->n_bytes))
        reason = gunzip(buffer, detail, err);
    if (reason == MSIM_SKIP_NONE) unwrap(buffer);
    return reason;
}

void ms_files_buffer_free(ms_files_buffer *buffer) {
    ms_free(buffer->data);
    ms_free(buffer->packed);
    *buffer = (ms_files_buffer){
        .watch = buffer->watch, .may_grow = buffer->may_grow, .grow_user = buffer->grow_user};
}

/* ---- For the caller's own use ---- */

static int status_of_reason(int reason) {
    switch (reason) {
    case MSIM_SKIP_TOO_LARGE: return MSIM_E_LIMIT;
    case MSIM_SKIP_BAD_GZIP: return MSIM_E_FORMAT;
    default: return MSIM_E_IO;
    }
}

int64_t msim_midi_read(const char *path, unsigned char *out, size_t cap, msim_error *err) {
    char detail[MS_FILES_DETAIL];
    ms_files_buffer buffer = {0};
    int reason = ms_files_read_path(path, &buffer, detail, err);
    int64_t n = reason;
    if (reason > MSIM_SKIP_NONE)
        n = ms_fail(err, status_of_reason(reason), "%s: %s: %s", msim_skip_reason_name(reason),
                    path, detail);
    if (reason == MSIM_SKIP_NONE) {
        n = (int64_t)buffer.n_bytes;
        if (cap && n) memcpy(out, buffer.data, buffer.n_bytes < cap ? buffer.n_bytes : cap);
    }
    ms_files_buffer_free(&buffer);
    return n;
}
