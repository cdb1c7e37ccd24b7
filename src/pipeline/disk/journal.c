/* The journal's file: pipeline/disk/journal.h. This file writes at the end of the journal and reads
 * with pread. It never maps the journal, so a disk that fails gives an error and no signal. A block
 * goes out in one write and is synced. When either fails, the journal is cut back to the last whole
 * block, and the first failure stays. */
#define _GNU_SOURCE
#include "pipeline/disk/journal.h"
#include "base/clock.h"
#include "base/hash/digest.h"
#include "base/file.h"
#include "base/mem.h"
#include "pipeline/disk/record.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define MAGIC "MSIMJNL1"
#define BLOCK_MAGIC 0x4b4c424du        /* "MBLK" */
#define HEAD_MAX ((uint32_t)1 << 20)   /* bytes of settings */
#define BLOCK_BYTES ((size_t)16 << 20) /* a block is written when it is as large */
#define BLOCK_MAX ((uint64_t)64 << 20) /* none is larger */
/* Seconds between two blocks: so many that syncing takes a two-hundredth of the time, within these
 * bounds. */
#define SYNC_SHARE 200.0
#define SYNC_LEAST 0.2
#define SYNC_MOST 10.0

typedef struct {
    char magic[8];
    uint32_t text_bytes, text_crc; /* of the settings that follow, as JSON */
    uint32_t state;                /* ms_journal_state: OPEN or FINISHED */
    uint32_t zero[11];
} file_head;

typedef struct {
    uint32_t magic, crc; /* of all that follows in the block */
    uint64_t bytes;      /* of the records */
    uint64_t number;     /* from 0 */
    uint64_t zero;
} block_head;

_Static_assert(sizeof(file_head) == 64 && sizeof(block_head) == 32, "as documented");

struct ms_journal {
    char *path; /* owned */
    int fd;     /* owned */
    int state;
    ms_description settings;
    int64_t end; /* where the last whole block ends; 0 without a header */
    uint64_t n_blocks;
    size_t dim;
    unsigned char *block; /* owned: head and records of the next block */
    size_t n_block, block_cap;
    double last_sync, interval; /* seconds */
    bool has_work;              /* blocks were written or found */
    ms_watch *watch;            /* borrowed, or NULL */
    msim_error failed;          /* code 0 while all went well */
};

static size_t padded(size_t n) { return (n + 7) & ~(size_t)7; }

/* ---- Bytes ---- */

/* Read exactly n bytes, or < 0; *got says how many there were. */
static int read_at(const ms_journal *j, int64_t at, void *to, size_t n, size_t *got,
                   msim_error *err) {
    *got = 0;
    while (*got < n) {
        ssize_t some = pread(j->fd, (char *)to + *got, n - *got, (off_t)(at + (int64_t)*got));
        if (some < 0 && errno == EINTR) continue;
        if (some < 0)
            return ms_fail(err, MSIM_E_IO, "cannot read: %s: %s", j->path, strerror(errno));
        if (some == 0) break;
        *got += (size_t)some;
    }
    return 0;
}

static int write_at(ms_journal *j, int64_t at, const void *from, size_t n, msim_error *err) {
    return ms_file_write_at(j->fd, from, n, at, j->path, err);
}

static int sync_file(ms_journal *j, msim_error *err) {
    if (fdatasync(j->fd) == 0) return 0;
    return ms_fail(err, MSIM_E_IO, "cannot sync: %s: %s", j->path, strerror(errno));
}

static int set_state(ms_journal *j, uint32_t state, msim_error *err) {
    int rc = write_at(j, offsetof(file_head, state), &state, sizeof state, err);
    if (rc >= 0) rc = sync_file(j, err);
    if (rc >= 0) j->state = (int)state;
    return rc;
}

/* Remember a failure and cut off what it left. After it nothing more is written. */
static int spoil(ms_journal *j, msim_error *err) {
    if (ftruncate(j->fd, (off_t)j->end) != 0) { /* reading cuts it off just as well */
    }
    if (err) *err = j->failed;
    return -j->failed.code;
}

/* ---- Opening ---- */

static int lock_file(ms_journal *j, msim_error *err) {
    int rc;
    do rc = flock(j->fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc == 0) return 0;
    if (errno == EWOULDBLOCK)
        return ms_fail(err, MSIM_E_IO,
                       "in use: %s: another run writes this output: wait for it, or stop it",
                       j->path);
    if (j->watch && !j->watch->has_said_lock) {
        j->watch->has_said_lock = true;
        ms_watch_say(j->watch, MSIM_MESSAGE_WARNING,
                     "cannot lock: %s: %s: make sure that no other run writes there", j->path,
                     strerror(errno));
    }
    return 0;
}

/* Open and lock the file; do both again when another run removed it in between. */
static int open_locked(ms_journal *j, msim_error *err) {
    for (;;) {
        struct stat ours, there;
        j->fd = open(j->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (j->fd < 0)
            return ms_fail(err, MSIM_E_IO, "cannot open: %s: %s", j->path, strerror(errno));
        if (fstat(j->fd, &ours) != 0)
            return ms_fail(err, MSIM_E_IO, "cannot read: %s: %s", j->path, strerror(errno));
        if (!S_ISREG(ours.st_mode))
            return ms_fail(err, MSIM_E_IO,
                           "journal: %s: what is there is no regular file: move it away", j->path);
        int rc = lock_file(j, err);
        if (rc < 0) return rc;
        if (stat(j->path, &there) == 0 && there.st_dev == ours.st_dev &&
            there.st_ino == ours.st_ino)
            return 0;
        close(j->fd);
        j->fd = -1;
    }
}

/* A header that is not whole, or has nothing behind it, comes from a run that had done nothing.
 * Another kind of file is left alone, and so is work behind a header that cannot be read. */
static int read_head(ms_journal *j, msim_error *err) {
    file_head head;
    struct stat st;
    size_t got;
    int rc = read_at(j, 0, &head, sizeof head, &got, err);
    if (rc < 0 || got == 0) return rc;
    if (fstat(j->fd, &st) != 0)
        return ms_fail(err, MSIM_E_IO, "cannot read: %s: %s", j->path, strerror(errno));
    if (memcmp(head.magic, MAGIC, got < sizeof head.magic ? got : sizeof head.magic) != 0)
        return ms_fail(
            err, MSIM_E_FORMAT,
            "journal: %s: another file is there, no journal of midisim-embed: move it away",
            j->path);
    if (got < sizeof head) return 0;
    uint32_t n_text = head.text_bytes <= HEAD_MAX ? head.text_bytes : 0;
    int64_t end = (int64_t)(sizeof head + padded(n_text));
    if (st.st_size <= end) return 0;
    char *text = ms_alloc((size_t)n_text + 1, 1, "head of a journal", err);
    if (!text) return -MSIM_E_MEMORY;
    rc = read_at(j, sizeof head, text, n_text, &got, err);
    if (rc >= 0 &&
        (n_text == 0 || got != n_text || crc32_z(0, (const Bytef *)text, got) != head.text_crc ||
         (head.state != MS_JOURNAL_OPEN && head.state != MS_JOURNAL_FINISHED)))
        rc = ms_fail(err, MSIM_E_FORMAT,
                     "damaged journal: %s: its header is unreadable; without it, all is embedded "
                     "again",
                     j->path);
    if (rc >= 0) rc = ms_description_parse(text, got, j->path, &j->settings, err);
    ms_free(text);
    if (rc < 0) return rc;
    if (j->settings.dim < 1 || j->settings.dim > 65536)
        return ms_fail(err, MSIM_E_FORMAT, "journal: %s: expected vectors of 1..65536, got %lld",
                       j->path, (long long)j->settings.dim);
    j->state = (int)head.state;
    j->dim = (size_t)j->settings.dim;
    j->end = end;
    j->has_work = true;
    return 0;
}

int ms_journal_open(const char *corpus, ms_watch *watch, ms_journal **out, msim_error *err) {
    ms_journal *j = ms_alloc(1, sizeof *j, "journal", err);
    size_t cap = strlen(corpus) + 16;
    *out = NULL;
    if (!j) return -MSIM_E_MEMORY;
    j->fd = -1;
    j->watch = watch;
    j->interval = SYNC_LEAST;
    j->path = ms_alloc(cap, 1, "journal", err);
    if (j->path) snprintf(j->path, cap, "%s.journal", corpus);
    int rc = j->path ? open_locked(j, err) : -MSIM_E_MEMORY;
    if (rc >= 0) rc = read_head(j, err);
    if (rc >= 0) {
        *out = j;
        return 0;
    }
    if (j->fd >= 0) close(j->fd);
    ms_free(j->path);
    ms_free(j);
    return rc;
}

const char *ms_journal_path(const ms_journal *j) { return j->path; }

int ms_journal_state(const ms_journal *j, ms_description *settings) {
    if (j->state != MS_JOURNAL_NONE) *settings = j->settings;
    return j->state;
}

int ms_journal_begin(ms_journal *j, const ms_description *settings, msim_error *err) {
    file_head head = {.magic = MAGIC, .state = MS_JOURNAL_OPEN};
    char *text = ms_description_print(settings, err);
    if (!text) return -MSIM_E_MEMORY;
    size_t n_text = strlen(text), n = sizeof head + padded(n_text);
    head.text_bytes = (uint32_t)n_text;
    head.text_crc = (uint32_t)crc32_z(0, (const Bytef *)text, n_text);
    unsigned char *bytes = ms_alloc(n, 1, "head of a journal", err);
    if (bytes) memcpy(bytes, &head, sizeof head);
    if (bytes) memcpy(bytes + sizeof head, text, n_text);
    ms_free(text);
    if (!bytes) return -MSIM_E_MEMORY;
    j->end = 0;
    j->has_work = false;
    int rc = ftruncate(j->fd, 0) == 0
                 ? 0
                 : ms_fail(err, MSIM_E_IO, "cannot empty: %s: %s", j->path, strerror(errno));
    if (rc >= 0) rc = write_at(j, 0, bytes, n, err);
    if (rc >= 0) rc = sync_file(j, err);
    if (rc >= 0) rc = ms_file_sync_folder(j->path, err);
    ms_free(bytes);
    if (rc < 0) {
        if (ftruncate(j->fd, 0) != 0) { /* a header without blocks does no harm */
        }
        return rc;
    }
    j->settings = *settings;
    j->state = MS_JOURNAL_OPEN;
    j->dim = (size_t)settings->dim;
    j->end = (int64_t)n;
    j->n_blocks = 0;
    j->last_sync = ms_clock_now();
    return 0;
}

/* ---- Reading ---- */

static ms_record_shape shape_of(const ms_journal *j) {
    return (ms_record_shape){.dim = j->dim, .has_windows = ms_description_has_spans(&j->settings)};
}

/* True when a record that names a content has no hash of it: every content would be the same. */
static bool lacks_hash(const ms_journal_record *r) {
    bool names_content = r->kind == MS_JOURNAL_CONTENT || r->kind == MS_JOURNAL_NOTES ||
                         (r->kind == MS_JOURNAL_FILE && r->reason == MSIM_SKIP_NONE);
    return names_content && ms_digest_is_zero(r->hash, sizeof r->hash);
}

static int visit_block(const ms_journal *j, const unsigned char *records, size_t n, int64_t at,
                       int (*visit)(void *, const ms_journal_record *, msim_error *), void *user,
                       msim_error *err) {
    for (size_t i = 0; i < n;) {
        ms_journal_record r;
        size_t bytes = ms_record_read(shape_of(j), records + i, n - i, &r);
        if (bytes == 0)
            return ms_fail(err, MSIM_E_FORMAT,
                           "damaged journal: %s: byte %lld: no record begins here; without the "
                           "journal, all is embedded again",
                           j->path, (long long)at + (long long)i);
        if (lacks_hash(&r))
            return ms_fail(err, MSIM_E_FORMAT,
                           "damaged journal: %s: byte %lld: the hash of a content is missing; "
                           "without the journal, all is embedded again",
                           j->path, (long long)at + (long long)i);
        r.at = at + (int64_t)i;
        int rc = visit(user, &r, err);
        if (rc < 0) return rc;
        i += bytes;
    }
    return 0;
}

/* Read the block at `at` into j->block. Returns 1, or 0 when there is no whole block. */
static int read_block(ms_journal *j, int64_t at, uint64_t number, block_head *h, msim_error *err) {
    size_t got;
    int rc = read_at(j, at, h, sizeof *h, &got, err);
    if (rc < 0) return rc;
    if (got < sizeof *h || h->magic != BLOCK_MAGIC || h->bytes > BLOCK_MAX || h->number != number)
        return 0;
    size_t n = (size_t)h->bytes;
    rc = ms_grow((void **)&j->block, &j->block_cap, sizeof *h + n, 1, "block of a journal", err);
    if (rc < 0) return rc;
    rc = read_at(j, at + (int64_t)sizeof *h, j->block + sizeof *h, n, &got, err);
    if (rc < 0) return rc;
    memcpy(j->block, h, sizeof *h);
    return got == n && crc32_z(0, j->block + 8, sizeof *h - 8 + n) == h->crc;
}

int ms_journal_load(ms_journal *j,
                    int (*visit)(void *user, const ms_journal_record *record, msim_error *err),
                    void *user, int64_t *n_lost, msim_error *err) {
    struct stat st;
    block_head h;
    int rc;
    *n_lost = 0;
    if (fstat(j->fd, &st) != 0)
        return ms_fail(err, MSIM_E_IO, "cannot read: %s: %s", j->path, strerror(errno));
    while ((rc = read_block(j, j->end, j->n_blocks, &h, err)) == 1) {
        rc = visit_block(j, j->block + sizeof h, (size_t)h.bytes, j->end + (int64_t)sizeof h, visit,
                         user, err);
        if (rc < 0) return rc;
        j->end += (int64_t)(sizeof h + h.bytes);
        j->n_blocks++;
        j->has_work = true;
        if (ms_watch_step(j->watch, MSIM_STEP_JOURNAL, j->end, (int64_t)st.st_size))
            return ms_watch_stop(err, "while reading the journal");
    }
    ms_watch_end_step(j->watch);
    if (rc < 0) return rc;
    if (st.st_size > j->end) {
        *n_lost = (int64_t)st.st_size - j->end;
        if (ftruncate(j->fd, (off_t)j->end) != 0)
            return ms_fail(err, MSIM_E_IO, "cannot cut: %s: %s", j->path, strerror(errno));
    }
    j->last_sync = ms_clock_now();
    return j->state == MS_JOURNAL_FINISHED ? set_state(j, MS_JOURNAL_OPEN, err) : 0;
}

/* n bytes of a record. */
static int get_part(const ms_journal *j, int64_t at, void *to, size_t n, const char *what,
                    msim_error *err) {
    size_t got;
    int rc = read_at(j, at, to, n, &got, err);
    if (rc < 0 || got == n) return rc;
    return ms_fail(err, MSIM_E_IO, "damaged journal: %s: byte %lld: the file ends within a %s",
                   j->path, (long long)at, what);
}

int ms_journal_get_vector(const ms_journal *j, int64_t at, uint32_t n_windows, uint32_t row,
                          float *vector, msim_error *err) {
    at += (int64_t)ms_record_vector_at(shape_of(j), n_windows, row);
    return get_part(j, at, vector, j->dim * sizeof *vector, "vector", err);
}

int ms_journal_get_span(const ms_journal *j, int64_t at, uint32_t row, ms_stored_span *span,
                        msim_error *err) {
    return get_part(j, at + (int64_t)ms_record_span_at(row), span, sizeof *span, "span", err);
}

int ms_journal_get_bars(const ms_journal *j, int64_t at, uint32_t row, ms_stored_bars *bars,
                        msim_error *err) {
    unsigned char head[MS_RECORD_HEAD];
    *bars = (ms_stored_bars){0};
    int rc = get_part(j, at, head, sizeof head, "record", err);
    size_t place = rc < 0 ? 0 : ms_record_bars_at(shape_of(j), head, row);
    return place ? get_part(j, at + (int64_t)place, bars, sizeof *bars, "bar", err) : rc;
}

int ms_journal_get_detail(const ms_journal *j, int64_t at, char *detail, size_t cap,
                          msim_error *err) {
    unsigned char head[MS_RECORD_HEAD] = {0};
    size_t n, got;
    *detail = 0;
    int rc = read_at(j, at, head, sizeof head, &got, err);
    if (rc < 0) return rc;
    at += (int64_t)ms_record_detail_at(shape_of(j), head, &n);
    rc = read_at(j, at, detail, n < cap ? n : cap - 1, &got, err);
    detail[rc < 0 ? 0 : got] = 0;
    return rc;
}

int ms_journal_get_notes(const ms_journal *j, int64_t at, unsigned char **bytes, size_t *cap,
                         size_t *n, msim_error *err) {
    unsigned char head[MS_RECORD_HEAD] = {0};
    int rc = get_part(j, at, head, sizeof head, "record of notes", err);
    if (rc < 0) return rc;
    *n = ms_record_notes_bytes(head);
    rc = ms_grow((void **)bytes, cap, *n, 1, "notes of a piece", err);
    if (rc < 0) return rc;
    return get_part(j, at + (int64_t)sizeof head, *bytes, *n, "record of notes", err);
}

/* ---- Writing ---- */

int ms_journal_sync(ms_journal *j, msim_error *err) {
    if (j->failed.code) return spoil(j, err);
    if (j->n_block <= sizeof(block_head)) return 0;
    double began = ms_clock_now();
    block_head h = {.magic = BLOCK_MAGIC, .bytes = j->n_block - sizeof h, .number = j->n_blocks};
    memcpy(j->block, &h, sizeof h);
    h.crc = (uint32_t)crc32_z(0, j->block + 8, j->n_block - 8);
    memcpy(j->block, &h, sizeof h);
    int rc = write_at(j, j->end, j->block, j->n_block, &j->failed);
    if (rc >= 0) rc = sync_file(j, &j->failed);
    if (rc < 0) return spoil(j, err);
    j->end += (int64_t)j->n_block;
    j->n_blocks++;
    j->n_block = 0;
    j->has_work = true;
    j->last_sync = ms_clock_now();
    j->interval = SYNC_SHARE * (j->last_sync - began);
    if (j->interval < SYNC_LEAST) j->interval = SYNC_LEAST;
    if (j->interval > SYNC_MOST) j->interval = SYNC_MOST;
    return 0;
}

int ms_journal_tick(ms_journal *j, msim_error *err) {
    bool is_due = j->n_block >= BLOCK_BYTES ||
                  (j->n_block && ms_clock_now() - j->last_sync >= j->interval);
    return is_due ? ms_journal_sync(j, err) : 0;
}

int64_t ms_journal_add(ms_journal *j, const ms_journal_record *r, msim_error *err) {
    size_t need = ms_record_bytes(shape_of(j), r);
    if (j->failed.code) return spoil(j, err);
    if (need == 0)
        return ms_fail(err, MSIM_E_LIMIT, "journal: %s: a record does not fit its settings",
                       j->path);
    if (j->n_block == 0) j->n_block = sizeof(block_head);
    int rc =
        ms_grow((void **)&j->block, &j->block_cap, j->n_block + need, 1, "block of a journal", err);
    if (rc < 0) return rc;
    int64_t at = j->end + (int64_t)j->n_block;
    ms_record_write(shape_of(j), r, j->block + j->n_block);
    j->n_block += need;
    rc = ms_journal_tick(j, err);
    return rc < 0 ? rc : at;
}

/* ---- The end ---- */

int ms_journal_finish(ms_journal *j, bool is_kept, msim_error *err) {
    int rc = is_kept ? ms_journal_sync(j, err) : 0;
    if (rc < 0) return rc;
    if (is_kept) return set_state(j, MS_JOURNAL_FINISHED, err);
    j->n_block = 0;
    j->has_work = true; /* nothing left for close to do */
    if (unlink(j->path) != 0 && errno != ENOENT)
        return ms_fail(err, MSIM_E_IO, "cannot remove: %s: %s", j->path, strerror(errno));
    return ms_file_sync_folder(j->path, err);
}

void ms_journal_close(ms_journal *j) {
    if (!j) return;
    if (!j->has_work) unlink(j->path);
    close(j->fd);
    ms_free(j->block);
    ms_free(j->path);
    ms_free(j);
}
