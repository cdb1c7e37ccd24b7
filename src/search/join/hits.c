/* Hits of a join in order: see hits.h. */
#define _GNU_SOURCE
#include "search/join/hits.h"
#include "base/file.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_HITS = 2048, LEAST_HITS = 64 }; /* of a run, read at a time; of a worker's buffer */

int ms_join_hits_open(ms_join_hits *h, size_t n_workers, size_t bytes, const char *folder,
                      msim_error *err) {
    *h = (ms_join_hits){.folder = folder, .fd = -1, .n_workers = n_workers};
    pthread_mutex_init(&h->lock, NULL);
    h->cap = bytes / n_workers / sizeof(ms_join_hit);
    if (h->cap < LEAST_HITS) h->cap = LEAST_HITS;
    h->buffers = ms_alloc(n_workers, sizeof *h->buffers, "hits of a join", err);
    int rc = h->buffers ? MSIM_OK : -MSIM_E_MEMORY;
    for (size_t i = 0; i < n_workers && rc >= 0; i++)
        if (!(h->buffers[i].hits = ms_alloc(h->cap, sizeof(ms_join_hit), "hits of a join", err)))
            rc = -MSIM_E_MEMORY;
    if (rc < 0) ms_join_hits_close(h);
    return rc;
}

void ms_join_hits_close(ms_join_hits *h) {
    if (!h->n_workers) return;
    for (size_t i = 0; i < h->n_workers && h->buffers; i++) ms_free(h->buffers[i].hits);
    ms_free(h->buffers);
    ms_free(h->runs);
    if (h->fd >= 0) (void)close(h->fd); /* nothing in it is wanted */
    pthread_mutex_destroy(&h->lock);
    *h = (ms_join_hits){0};
}

static int in_order(const void *x, const void *y) {
    const ms_join_hit *p = x, *q = y;
    if (p->a != q->a) return p->a < q->a ? -1 : 1;
    return p->b < q->b ? -1 : p->b > q->b;
}

/* ---- The file ---- */

int ms_join_file_open(const char *folder, int *fd, msim_error *err) {
    char path[4096];
    *fd = open(folder, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
    if (*fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        /* a file system that makes no files without a name */
        if ((size_t)snprintf(path, sizeof path, "%s/msim-join-XXXXXX", folder) >= sizeof path)
            return ms_fail(err, MSIM_E_ARG, "join: folder for hits: the path is too long");
        *fd = mkostemp(path, O_CLOEXEC);
        if (*fd >= 0) (void)unlink(path);
    }
    if (*fd >= 0) return MSIM_OK;
    return ms_fail(err, MSIM_E_IO, "%s: a temporary file for the hits of a join: %s", folder,
                   strerror(errno));
}

static int add_run(ms_join_hits *h, ms_join_sorted run, msim_error *err) {
    int rc = ms_grow((void **)&h->runs, &h->runs_cap, h->n_runs + 1, sizeof *h->runs,
                     "runs of hits", err);
    if (rc >= 0) h->runs[h->n_runs++] = run;
    return rc;
}

/* A worker's buffer goes to the file. The lock is held. */
static int spill(ms_join_hits *h, ms_join_buffer *b, msim_error *err) {
    size_t bytes = b->n * sizeof *b->hits;
    int rc = h->fd >= 0 ? MSIM_OK : ms_join_file_open(h->folder, &h->fd, err);
    if (rc >= 0) rc = ms_file_write_at(h->fd, b->hits, bytes, h->file_bytes, h->folder, err);
    if (rc >= 0) rc = add_run(h, (ms_join_sorted){NULL, h->file_bytes, (int64_t)b->n}, err);
    if (rc < 0) return rc;
    h->file_bytes += (int64_t)bytes;
    h->n_spilled += (int64_t)b->n;
    return MSIM_OK;
}

void ms_join_hits_add(ms_join_hits *h, size_t worker, ms_join_hit hit) {
    ms_join_buffer *b = &h->buffers[worker];
    if (b->n == h->cap) {
        msim_error e;
        qsort(b->hits, b->n, sizeof *b->hits, in_order);
        pthread_mutex_lock(&h->lock);
        if (!h->is_bad && spill(h, b, &e) < 0) {
            h->failed = e;
            h->is_bad = 1;
        }
        pthread_mutex_unlock(&h->lock);
        b->n = 0;
    }
    b->hits[b->n++] = hit;
}

int ms_join_file_read(int fd, ms_join_hit *to, size_t n, int64_t at, const char *folder,
                      msim_error *err) {
    char *bytes = (char *)to;
    size_t left = n * sizeof *to;
    while (left) {
        ssize_t got = pread(fd, bytes, left, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return ms_fail(err, MSIM_E_IO, "%s: the temporary file of a join: %s", folder,
                           got < 0 ? strerror(errno) : "the file is too short");
        bytes += got;
        at += got;
        left -= (size_t)got;
    }
    return MSIM_OK;
}

/* ---- Merging ---- */

/* Where the merge stands in a run. */
typedef struct {
    ms_join_sorted run;    /* what is not yet in memory */
    const ms_join_hit *at; /* the next hit */
    size_t n;              /* hits from there on in memory */
    ms_join_hit *room;     /* borrowed: [READ_HITS] of a run in the file */
} join_cursor;

/* 1: there is a next hit, 0: the run is at its end. */
static int refill(const ms_join_hits *h, join_cursor *c, msim_error *err) {
    if (c->n) return 1;
    if (c->run.n == 0) return 0;
    size_t n = c->run.n < READ_HITS || c->run.hits ? (size_t)c->run.n : READ_HITS;
    if (c->run.hits) {
        c->at = c->run.hits;
    } else {
        int rc = ms_join_file_read(h->fd, c->room, n, c->run.at, h->folder, err);
        if (rc < 0) return rc;
        c->at = c->room;
        c->run.at += (int64_t)(n * sizeof(ms_join_hit));
    }
    c->n = n;
    c->run.n -= (int64_t)n;
    return 1;
}

static void sift_down(join_cursor *heap, size_t n, size_t i) {
    join_cursor moving = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && in_order(heap[child + 1].at, heap[child].at) < 0) child++;
        if (in_order(heap[child].at, moving.at) >= 0) break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

static int64_t merge(const ms_join_hits *h, join_cursor *heap, size_t n, msim_join_sink sink,
                     void *user, int *has_ended, msim_error *err) {
    int64_t n_passed = 0;
    for (size_t i = n / 2; i-- > 0;) sift_down(heap, n, i);
    while (n) {
        n_passed++;
        if (sink(user, heap[0].at->a, heap[0].at->b, heap[0].at->score)) {
            *has_ended = 1;
            break;
        }
        heap[0].at++;
        heap[0].n--;
        int rc = refill(h, &heap[0], err);
        if (rc < 0) return rc;
        if (rc == 0) heap[0] = heap[--n];
        if (n) sift_down(heap, n, 0);
    }
    return n_passed;
}

/* What is in memory becomes runs, too. */
static int close_runs(ms_join_hits *h, msim_error *err) {
    for (size_t i = 0; i < h->n_workers; i++) {
        ms_join_buffer *b = &h->buffers[i];
        if (b->n == 0) continue;
        qsort(b->hits, b->n, sizeof *b->hits, in_order);
        int rc = add_run(h, (ms_join_sorted){b->hits, 0, (int64_t)b->n}, err);
        if (rc < 0) return rc;
    }
    return MSIM_OK;
}

static int64_t drain_runs(ms_join_hits *h, msim_join_sink sink, void *user, int *has_ended,
                          msim_error *err) {
    size_t n_files = 0, n = 0;
    for (size_t i = 0; i < h->n_runs; i++) n_files += !h->runs[i].hits;
    join_cursor *heap = ms_alloc(h->n_runs, sizeof *heap, "runs of hits", err);
    ms_join_hit *room = heap ? ms_alloc(n_files * READ_HITS, sizeof *room, "runs of hits", err)
                             : NULL;
    int64_t rc = room ? MSIM_OK : -MSIM_E_MEMORY;
    for (size_t i = 0, at = 0; i < h->n_runs && rc >= 0; i++) {
        heap[n] = (join_cursor){.run = h->runs[i]};
        if (!h->runs[i].hits) heap[n].room = room + READ_HITS * at++;
        rc = refill(h, &heap[n++], err);
    }
    if (rc >= 0) rc = merge(h, heap, n, sink, user, has_ended, err);
    ms_free(room);
    ms_free(heap);
    return rc;
}

int64_t ms_join_hits_drain(ms_join_hits *h, msim_join_sink sink, void *user, int *has_ended,
                           msim_error *err) {
    if (h->is_bad) return ms_fail(err, h->failed.code, "%s", h->failed.text);
    int64_t rc = close_runs(h, err);
    if (rc >= 0) rc = drain_runs(h, sink, user, has_ended, err);
    if (rc >= 0 && h->file_bytes && ftruncate(h->fd, 0) != 0)
        rc = ms_fail(err, MSIM_E_IO, "%s: the temporary file of a join: %s", h->folder,
                     strerror(errno));
    h->file_bytes = 0;
    h->n_runs = 0;
    for (size_t i = 0; i < h->n_workers; i++) h->buffers[i].n = 0;
    return rc;
}
