/* The corpus writer: a structured .npy, written beside its place and renamed into it when complete and synced, so that
 * a reader sees the old file or the whole new one. One buffer, sized when opened; add allocates nothing. The first
 * failure sticks: later calls repeat it. include/midisim.h, Corpus; docs/FORMATS.md, Corpora. */
#include "core/bf16.h"
#include "core/mem.h"
#include "npy/names.h"
#include "npy/npy_head.h"
#include "npy/npy_view.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD_CAP = 16384, BUFFER_BYTES = 1 << 20, FIELD_NAME_MAX = 200, TEMP_TRIES = 100 };
#define NAME_CHARS_MAX 65536

struct msim_corpus_writer {
    char *path, *temp_path;  /* owned */
    int fd;                  /* owned: the temporary file; -1 when closed */
    bool has_temp;           /* temp_path is ours to remove */
    unsigned char *buffer;   /* owned: [buffer_cap] */
    size_t buffer_cap, n_buffered;
    size_t name_chars, row_bytes;
    int64_t dim, n_rows, n_added;
    int dtype;
    msim_error failed;       /* code 0 while all went well */
};

static int check_field_name(const char *name, const char *what, msim_error *err) {
    size_t n = strlen(name);
    if (n < 1 || n > FIELD_NAME_MAX)
        return ms_fail(err, MSIM_E_ARG, "%s: expected 1..%d bytes, got %zu", what, FIELD_NAME_MAX, n);
    for (size_t i = 0, step; i < n; i += step) {
        uint32_t point = ms_name_get_point(name + i, n - i, &step);
        if (point < 0x20 || (point >= 0x7f && point < 0xa0) || (point >= 0xdc80 && point <= 0xdcff))
            return ms_fail(err, MSIM_E_ARG, "%s: expected printable UTF-8, got byte 0x%02x", what,
                           (unsigned char)name[i]);
    }
    return MSIM_OK;
}

static int check_layout(const msim_corpus_layout *l, const char *name_field, const char *vector_field,
                        msim_error *err) {
    if (l->rows < 0) return ms_fail(err, MSIM_E_ARG, "corpus rows: expected 0 or more, got %" PRId64, l->rows);
    if (l->dim < 1 || l->dim > MS_NPY_DIM_MAX)
        return ms_fail(err, MSIM_E_ARG, "corpus width: expected 1..%d, got %" PRId64, MS_NPY_DIM_MAX, l->dim);
    if (l->name_chars < 0 || l->name_chars > NAME_CHARS_MAX)
        return ms_fail(err, MSIM_E_ARG, "corpus names: expected 0..%d characters, got %" PRId64, NAME_CHARS_MAX,
                       l->name_chars);
    if (l->dtype != MSIM_DTYPE_F32 && l->dtype != MSIM_DTYPE_F16)
        return ms_fail(err, MSIM_E_UNSUPPORTED, "corpus type: expected f32 or f16, got msim_dtype %d", l->dtype);
    int rc = check_field_name(name_field, "name field", err);
    if (rc >= 0) rc = check_field_name(vector_field, "vector field", err);
    if (rc >= 0 && strcmp(name_field, vector_field) == 0)
        rc = ms_fail(err, MSIM_E_ARG, "fields: expected two different names, got '%.100s' twice", name_field);
    return rc;
}

/* Create PATH.part-PID, or with a further number when that is taken. The mode is that of any new file. */
static int create_temp(msim_corpus_writer *w, const char *path, msim_error *err) {
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return ms_fail(err, MSIM_E_IO, "cannot write: %s: expected a regular file or nothing, got %s", path,
                       S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    size_t cap = strlen(path) + 40;
    if (!(w->path = ms_alloc(cap, 1, "path", err)) || !(w->temp_path = ms_alloc(cap, 1, "path", err)))
        return -MSIM_E_MEMORY;
    memcpy(w->path, path, strlen(path) + 1);
    for (int i = 0; i < TEMP_TRIES && w->fd < 0; i++) {
        snprintf(w->temp_path, cap, i ? "%s.part-%ld-%d" : "%s.part-%ld", path, (long)getpid(), i);
        w->fd = open(w->temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd < 0 && errno != EEXIST) break;
    }
    if (w->fd < 0) return ms_fail_errno(err, errno, "cannot create: %s", w->temp_path);
    w->has_temp = true;
    return MSIM_OK;
}

int msim_corpus_writer_open(const char *path, const msim_corpus_layout *layout, msim_corpus_writer **out,
                            msim_error *err) {
    const char *name_field = layout->name_field ? layout->name_field : "midi_names";
    const char *vector_field = layout->vector_field ? layout->vector_field : "midi_embeddings";
    *out = NULL;
    int rc = check_layout(layout, name_field, vector_field, err);
    if (rc < 0) return rc;
    msim_corpus_writer *w = ms_alloc(1, sizeof *w, "corpus writer", err);
    if (!w) return -MSIM_E_MEMORY;
    w->fd = -1;
    w->dim = layout->dim;
    w->dtype = layout->dtype;
    w->n_rows = layout->rows;
    w->name_chars = layout->name_chars > 0 ? (size_t)layout->name_chars : 1;
    w->row_bytes = 4 * w->name_chars + (size_t)w->dim * ms_dtype_bytes(w->dtype);
    w->buffer_cap = BUFFER_BYTES + w->row_bytes;
    if (!(w->buffer = ms_alloc(w->buffer_cap, 1, "corpus buffer", err))) rc = -MSIM_E_MEMORY;
    if (rc >= 0) rc = create_temp(w, path, err);
    if (rc >= 0) {
        int64_t n = ms_npy_head_write(w->buffer, HEAD_CAP, name_field, w->name_chars, vector_field,
                                      w->dtype == MSIM_DTYPE_F16 ? "<f2" : "<f4", (size_t)w->dim, (size_t)w->n_rows,
                                      err);
        w->n_buffered = n < 0 ? 0 : (size_t)n;
        rc = n < 0 ? (int)n : MSIM_OK;
    }
    if (rc < 0) {
        msim_corpus_writer_close(w);
        return rc;
    }
    *out = w;
    return MSIM_OK;
}

/* Remember a failure that leaves the file unusable. */
static int spoil(msim_corpus_writer *w, msim_error *err) {
    if (err) *err = w->failed;
    return -w->failed.code;
}

static int flush(msim_corpus_writer *w) {
    for (size_t done = 0; done < w->n_buffered;) {
        ssize_t n = write(w->fd, w->buffer + done, w->n_buffered - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return ms_fail_errno(&w->failed, errno, "cannot write: %s", w->temp_path);
        done += (size_t)n;
    }
    w->n_buffered = 0;
    return MSIM_OK;
}

/* The row in f16, refusing what would become infinite without having been. */
static int put_f16(msim_corpus_writer *w, const float *row, unsigned char *dst, msim_error *err) {
    for (int64_t i = 0; i < w->dim; i++) {
        uint16_t half = ms_f16_of_f32(row[i]);
        if ((half & 0x7fff) == 0x7c00 && ms_is_finite_f32(row[i]))
            return ms_fail(err, MSIM_E_LIMIT,
                           "corpus row %" PRId64 ": component %" PRId64 ": expected a value within f16's 65504, got %g",
                           w->n_added, i, (double)row[i]);
        memcpy(dst + 2 * i, &half, 2);
    }
    return MSIM_OK;
}

int msim_corpus_writer_add(msim_corpus_writer *w, const char *name, size_t name_bytes, const float *row,
                           msim_error *err) {
    if (w->failed.code) return spoil(w, err);
    if (w->n_added == w->n_rows)
        return ms_fail(err, MSIM_E_LIMIT, "corpus: %s: expected %" PRId64 " rows, got one more", w->path, w->n_rows);
    size_t chars = ms_name_chars(name, name_bytes);
    if (chars > w->name_chars)
        return ms_fail(err, MSIM_E_LIMIT, "corpus name of row %" PRId64 ": expected at most %zu characters, got %zu",
                       w->n_added, w->name_chars, chars);
    unsigned char *dst = w->buffer + w->n_buffered;
    ms_name_to_ucs4(name, name_bytes, dst, w->name_chars);
    if (w->dtype == MSIM_DTYPE_F16) {
        int rc = put_f16(w, row, dst + 4 * w->name_chars, err);
        if (rc < 0) return rc;
    } else {
        memcpy(dst + 4 * w->name_chars, row, (size_t)w->dim * sizeof *row);
    }
    w->n_buffered += w->row_bytes;
    w->n_added++;
    if (w->n_buffered + w->row_bytes > w->buffer_cap && flush(w) < 0) return spoil(w, err);
    return MSIM_OK;
}

/* The new name is durable once its folder is synced. File systems that cannot sync a folder say EINVAL: nothing is lost
 * there that could be kept. */
static int sync_folder(const char *path, msim_error *err) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 0;
    char folder[4096] = ".";
    if (n >= sizeof folder) return MSIM_OK;
    if (n) memcpy(folder, path, n), folder[n] = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return MSIM_OK; /* a folder may be writable without being readable */
    int rc = fsync(fd) != 0 && errno != EINVAL ? ms_fail_errno(err, errno, "cannot sync: %s", folder) : MSIM_OK;
    close(fd);
    return rc;
}

int msim_corpus_writer_finish(msim_corpus_writer *w, msim_error *err) {
    if (w->failed.code) return spoil(w, err);
    if (w->fd < 0) return ms_fail(err, MSIM_E_ARG, "corpus: %s: expected an open writer, got a finished one", w->path);
    if (w->n_added != w->n_rows)
        return ms_fail(err, MSIM_E_ARG, "corpus: %s: expected %" PRId64 " rows, got %" PRId64, w->path, w->n_rows,
                       w->n_added);
    if (flush(w) < 0) return spoil(w, err);
    int rc = MSIM_OK;
    if (fsync(w->fd) != 0) rc = ms_fail_errno(&w->failed, errno, "cannot sync: %s", w->temp_path);
    if (close(w->fd) != 0 && rc >= 0) rc = ms_fail_errno(&w->failed, errno, "cannot close: %s", w->temp_path);
    w->fd = -1;
    if (rc >= 0 && rename(w->temp_path, w->path) != 0)
        rc = ms_fail_errno(&w->failed, errno, "cannot rename: %s to %s", w->temp_path, w->path);
    if (rc < 0) return spoil(w, err);
    w->has_temp = false;
    return sync_folder(w->path, err);
}

void msim_corpus_writer_close(msim_corpus_writer *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->has_temp) unlink(w->temp_path);
    ms_free(w->buffer);
    ms_free(w->temp_path);
    ms_free(w->path);
    ms_free(w);
}

int64_t msim_name_chars(const char *name, size_t name_bytes) { return (int64_t)ms_name_chars(name, name_bytes); }
