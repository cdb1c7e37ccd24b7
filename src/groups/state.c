/* Contract: groups/state.h. */
#define _GNU_SOURCE
#include "groups/state.h"
#include "base/file.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum {
    VERSION = 1,
    HEAD_BYTES = 32, /* magic, version, density, evalue, 0, checksum */
    HEAD_CRC_AT = 28,
    BLOCK_HEAD = 8, /* bytes, checksum */
    HASH = MSIM_CONTENT_BYTES,
    ASKED_BYTES = HASH + 4,  /* content, matches */
    FOUND_BYTES = HASH + 112 /* content, and the numbers of a match */
};
/* In place of the number of matches. */
#define MARK_THERE UINT32_MAX
#define MARK_GONE (UINT32_MAX - 1)
static const char magic[8] = "MSIMPAIR";
#define MOST_BYTES ((size_t)1 << 28) /* of a block; a piece has at most some ten thousand matches */

struct ms_groups_state {
    char *path; /* owned, and so on */
    int fd;
    unsigned char *block; /* [cap] what was added since the last sync, behind room for its head */
    size_t n, cap;
    ms_groups_found *found; /* [found_cap] what is visited */
    size_t found_cap;
    int64_t end;  /* byte where the next block goes */
    bool is_next; /* not yet in the place of the file that it is to replace */
    int density;
    double evalue;
};

static void put_u32(unsigned char *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static uint32_t get_u32(const unsigned char *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t checksum(const unsigned char *bytes, size_t n) {
    return (uint32_t)crc32_z(0, bytes, n);
}

/* ---- A match as bytes ---- */

/* The numbers of a match in their order. */
typedef struct {
    int32_t relation, transpose, is_same_key, is_same_tempo;
    int64_t n_matched, of_query, of_piece;
    double evalue, score, identity, tempo, residual;
    double query_from, query_to, from, to;
} stored_match;
_Static_assert(sizeof(stored_match) == FOUND_BYTES - HASH, "a stored match has no gaps");

static void put_found(unsigned char *p, const ms_groups_found *found) {
    const msim_note_match *m = &found->match;
    const stored_match s = {.relation = m->relation,
                            .transpose = m->transpose,
                            .is_same_key = m->is_same_key,
                            .is_same_tempo = m->is_same_tempo,
                            .n_matched = m->n_matched,
                            .of_query = m->of_query,
                            .of_piece = m->of_piece,
                            .evalue = m->evalue,
                            .score = m->score,
                            .identity = m->identity,
                            .tempo = m->tempo,
                            .residual = m->residual,
                            .query_from = m->place.query_from,
                            .query_to = m->place.query_to,
                            .from = m->place.from,
                            .to = m->place.to};
    memcpy(p, found->content, HASH);
    memcpy(p + HASH, &s, sizeof s);
}

static bool is_sound(const stored_match *s) {
    return s->relation > MSIM_RELATION_NONE && s->relation < MSIM_RELATION_COUNT &&
           s->transpose >= -127 && s->transpose <= 127 && s->n_matched >= 0 && s->of_query > 0 &&
           s->of_piece > 0 && s->n_matched <= s->of_query && isfinite(s->evalue) &&
           isfinite(s->score) && isfinite(s->identity) && isfinite(s->tempo) && s->tempo > 0 &&
           isfinite(s->residual) && isfinite(s->query_from) && isfinite(s->query_to) &&
           isfinite(s->from) && isfinite(s->to);
}

static bool get_found(const unsigned char *p, ms_groups_found *found) {
    stored_match s;
    memcpy(&s, p + HASH, sizeof s);
    if (!is_sound(&s)) return false;
    memcpy(found->content, p, HASH);
    found->match = (msim_note_match){.piece = -1,
                                     .relation = s.relation,
                                     .is_significant = 1,
                                     .evalue = s.evalue,
                                     .score = s.score,
                                     .n_matched = s.n_matched,
                                     .of_query = s.of_query,
                                     .of_piece = s.of_piece,
                                     .identity = s.identity,
                                     .transpose = s.transpose,
                                     .is_same_key = s.is_same_key != 0,
                                     .is_same_tempo = s.is_same_tempo != 0,
                                     .tempo = s.tempo,
                                     .residual = s.residual,
                                     .place = {.query_from = s.query_from,
                                               .query_to = s.query_to,
                                               .from = s.from,
                                               .to = s.to,
                                               .n_matched = s.n_matched}};
    return true;
}

/* ---- Opening ---- */

static void make_head(unsigned char *head, int density, double evalue) {
    memset(head, 0, HEAD_BYTES);
    memcpy(head, magic, sizeof magic);
    put_u32(head + 8, VERSION);
    put_u32(head + 12, (uint32_t)density);
    memcpy(head + 16, &evalue, sizeof evalue);
    put_u32(head + HEAD_CRC_AT, checksum(head, HEAD_CRC_AT));
}

static int begin(ms_groups_state *s, const unsigned char *head, msim_error *err) {
    s->end = HEAD_BYTES;
    if (ftruncate(s->fd, 0) != 0) return ms_fail_errno(err, errno, "cannot write: %s", s->path);
    return ms_file_write_at(s->fd, head, HEAD_BYTES, 0, s->path, err);
}

static int open_file(ms_groups_state *s, int density, double evalue, msim_error *err) {
    unsigned char wanted[HEAD_BYTES], head[HEAD_BYTES] = {0};
    struct stat st, named;
    s->fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    if (s->fd < 0 || fstat(s->fd, &st) != 0)
        return ms_fail_errno(err, errno, "cannot open for writing: %s", s->path);
    if (!S_ISREG(st.st_mode)) return ms_fail(err, MSIM_E_IO, "%s is no regular file", s->path);
    /* the other run may have put a new file in its place meanwhile */
    if ((flock(s->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) ||
        stat(s->path, &named) != 0 || named.st_ino != st.st_ino || named.st_dev != st.st_dev)
        return ms_fail(err, MSIM_E_IO, "%s is in use by another run", s->path);
    make_head(wanted, density, evalue);
    const ssize_t n = pread(s->fd, head, HEAD_BYTES, 0);
    if (n < 0) return ms_fail_errno(err, errno, "cannot read: %s", s->path);
    if (n >= (ssize_t)sizeof magic && memcmp(head, magic, sizeof magic) != 0)
        return ms_fail(err, MSIM_E_FORMAT, "%s is no file of pairs: give another --state", s->path);
    if (n < (ssize_t)sizeof magic && n > 0 && memcmp(head, magic, (size_t)n) != 0)
        return ms_fail(err, MSIM_E_FORMAT, "%s is no file of pairs: give another --state", s->path);
    return memcmp(head, wanted, HEAD_BYTES) == 0 ? MSIM_OK : begin(s, wanted, err);
}

int ms_groups_state_open(const char *path, int density, double evalue, ms_groups_state **out,
                         msim_error *err) {
    *out = NULL;
    ms_groups_state *s = ms_alloc(1, sizeof *s, "pairs", err);
    if (!s) return -MSIM_E_MEMORY;
    s->fd = -1;
    s->end = HEAD_BYTES;
    s->n = BLOCK_HEAD;
    s->density = density;
    s->evalue = evalue;
    s->path = ms_mem_copy_text(path, "a path", err);
    int rc = s->path ? open_file(s, density, evalue, err) : -MSIM_E_MEMORY;
    if (rc < 0) {
        ms_groups_state_close(s);
        return rc;
    }
    *out = s;
    return MSIM_OK;
}

void ms_groups_state_close(ms_groups_state *s) {
    if (!s) return;
    if (s->is_next) (void)unlink(s->path);
    if (s->fd >= 0) close(s->fd);
    ms_free(s->path);
    ms_free(s->block);
    ms_free(s->found);
    ms_free(s);
}

/* ---- Replacing ---- */

int64_t ms_groups_state_bytes(const ms_groups_state *s) { return s->end; }

int64_t ms_groups_state_cost(size_t n_contents, size_t n_matches) {
    return HEAD_BYTES + (int64_t)(2 * ASKED_BYTES * n_contents + FOUND_BYTES * n_matches);
}

int ms_groups_state_open_next(const ms_groups_state *s, ms_groups_state **out, msim_error *err) {
    *out = NULL;
    char *path = ms_file_beside(s->path, ".next", err);
    if (!path) return -MSIM_E_MEMORY;
    (void)unlink(path); /* of a run that was killed: this one holds the lock */
    const int rc = ms_groups_state_open(path, s->density, s->evalue, out, err);
    if (rc < 0)
        (void)unlink(path);
    else
        (*out)->is_next = true;
    ms_free(path);
    return rc;
}

int ms_groups_state_replace(const ms_groups_state *s, ms_groups_state *next, msim_error *err) {
    int rc = ms_groups_state_sync(next, err);
    char *path = rc < 0 ? NULL : ms_mem_copy_text(s->path, "a path", err);
    if (rc >= 0 && !path) rc = -MSIM_E_MEMORY;
    if (rc >= 0 && fsync(next->fd) != 0)
        rc = ms_fail_errno(err, errno, "cannot sync: %s", next->path);
    if (rc >= 0 && rename(next->path, path) != 0)
        rc = ms_fail_errno(err, errno, "cannot rename: %s to %s", next->path, path);
    if (rc < 0) {
        ms_free(path);
        return rc;
    }
    next->is_next = false;
    ms_free(next->path);
    next->path = path;
    return ms_file_sync_folder(path, err);
}

/* ---- Loading ---- */

/* One content of a block: its bytes, 0 when it is damaged, or < 0. */
static int64_t visit_content(ms_groups_state *s, const unsigned char *p, size_t left,
                             ms_groups_visit visit, void *user, msim_error *err) {
    if (left < ASKED_BYTES) return 0;
    const uint32_t n = get_u32(p + HASH);
    if (n >= MARK_GONE) {
        const int mark = n == MARK_GONE ? MS_GROUPS_GONE : MS_GROUPS_THERE;
        const int failed = visit(user, p, mark, NULL, 0, err);
        return failed < 0 ? failed : ASKED_BYTES;
    }
    if (n > (left - ASKED_BYTES) / FOUND_BYTES) return 0;
    int rc = ms_grow((void **)&s->found, &s->found_cap, n, sizeof *s->found, "pairs", err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++)
        if (!get_found(p + ASKED_BYTES + i * FOUND_BYTES, &s->found[i])) return 0;
    rc = visit(user, p, MS_GROUPS_COMPARED, s->found, n, err);
    return rc < 0 ? rc : (int64_t)(ASKED_BYTES + n * FOUND_BYTES);
}

/* The block at s->end into s->block: 1; 0 when there is none that is whole. */
static int read_block(ms_groups_state *s, size_t file_bytes, size_t *n, msim_error *err) {
    unsigned char head[BLOCK_HEAD];
    if (pread(s->fd, head, BLOCK_HEAD, s->end) != BLOCK_HEAD) return 0;
    *n = get_u32(head);
    if (*n == 0 || *n > MOST_BYTES || *n > file_bytes - (size_t)s->end - BLOCK_HEAD) return 0;
    int rc = ms_grow((void **)&s->block, &s->cap, *n + BLOCK_HEAD, 1, "pairs", err);
    if (rc < 0) return rc;
    for (size_t done = 0; done < *n;) {
        const ssize_t got = pread(s->fd, s->block + BLOCK_HEAD + done, *n - done,
                                  s->end + BLOCK_HEAD + (off_t)done);
        if (got <= 0) return 0;
        done += (size_t)got;
    }
    return checksum(s->block + BLOCK_HEAD, *n) == get_u32(head + 4);
}

int ms_groups_state_load(ms_groups_state *s, ms_groups_visit visit, void *user, msim_error *err) {
    struct stat st;
    size_t n = 0;
    s->end = HEAD_BYTES;
    int64_t rc = fstat(s->fd, &st) == 0 ? 1 : ms_fail_errno(err, errno, "cannot read: %s", s->path);
    while (rc > 0) {
        if ((size_t)st.st_size < (size_t)s->end + BLOCK_HEAD) break;
        rc = read_block(s, (size_t)st.st_size, &n, err);
        for (size_t at = 0; rc > 0 && at < n; at += (size_t)rc)
            rc = visit_content(s, s->block + BLOCK_HEAD + at, n - at, visit, user, err);
        if (rc > 0) s->end += BLOCK_HEAD + (int64_t)n;
    }
    s->n = BLOCK_HEAD;
    if (rc < 0) return (int)rc;
    if (ftruncate(s->fd, s->end) != 0)
        return ms_fail_errno(err, errno, "cannot write: %s", s->path);
    return MSIM_OK;
}

/* ---- Adding ---- */

int ms_groups_state_add(ms_groups_state *s, const unsigned char *content,
                        const ms_groups_found *found, size_t n, msim_error *err) {
    const size_t bytes = ASKED_BYTES + n * FOUND_BYTES;
    int rc = s->n + bytes > MOST_BYTES ? ms_groups_state_sync(s, err) : MSIM_OK;
    if (rc >= 0) rc = ms_grow((void **)&s->block, &s->cap, s->n + bytes, 1, "pairs", err);
    if (rc < 0) return rc;
    unsigned char *p = s->block + s->n;
    memcpy(p, content, HASH);
    put_u32(p + HASH, (uint32_t)n);
    for (size_t i = 0; i < n; i++) put_found(p + ASKED_BYTES + i * FOUND_BYTES, &found[i]);
    s->n += bytes;
    return MSIM_OK;
}

int ms_groups_state_mark(ms_groups_state *s, const unsigned char *content, int mark,
                         msim_error *err) {
    int rc = ms_groups_state_add(s, content, NULL, 0, err);
    if (rc >= 0)
        put_u32(s->block + s->n - ASKED_BYTES + HASH,
                mark == MS_GROUPS_GONE ? MARK_GONE : MARK_THERE);
    return rc;
}

int ms_groups_state_sync(ms_groups_state *s, msim_error *err) {
    if (s->n == BLOCK_HEAD) return MSIM_OK;
    const size_t n = s->n - BLOCK_HEAD;
    put_u32(s->block, (uint32_t)n);
    put_u32(s->block + 4, checksum(s->block + BLOCK_HEAD, n));
    int rc = ms_file_write_at(s->fd, s->block, s->n, s->end, s->path, err);
    if (rc >= 0 && fdatasync(s->fd) != 0)
        rc = ms_fail_errno(err, errno, "cannot sync: %s", s->path);
    if (rc < 0) return rc;
    s->end += (int64_t)s->n;
    s->n = BLOCK_HEAD;
    return MSIM_OK;
}
