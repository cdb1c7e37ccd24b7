/* A join on several ranks: see ranks.h. Hits travel as their structs: ranks are processes of one
 * program on machines alike. */
#include "search/join/ranks.h"
#include "base/file.h"
#include "base/mem.h"
#include <unistd.h>

enum { LEAST_HITS = 64, MOST_SENT = 65536 }; /* of the buffer; hits of a message */

int ms_join_log_open(ms_join_log *log, const msim_ranks *ranks, size_t bytes, const char *folder,
                     msim_error *err) {
    *log = (ms_join_log){.ranks = ranks, .folder = folder, .fd = -1};
    if (!ranks) return MSIM_OK;
    log->cap = bytes / sizeof *log->hits;
    if (log->cap < LEAST_HITS) log->cap = LEAST_HITS;
    if (log->cap > MOST_SENT) log->cap = MOST_SENT;
    log->hits = ms_alloc(log->cap, sizeof *log->hits, "hits of a join", err);
    return log->hits ? MSIM_OK : -MSIM_E_MEMORY;
}

void ms_join_log_close(ms_join_log *log) {
    ms_free(log->hits);
    if (log->ranks && log->fd >= 0) (void)close(log->fd); /* nothing in it is wanted */
    *log = (ms_join_log){0};
}

static int write_out(ms_join_log *log, msim_error *err) {
    int rc = log->fd >= 0 ? MSIM_OK : ms_join_file_open(log->folder, &log->fd, err);
    if (rc >= 0)
        rc = ms_file_write_at(log->fd, log->hits, log->n * sizeof *log->hits,
                              log->n_in_file * (int64_t)sizeof *log->hits, log->folder, err);
    if (rc < 0) return rc;
    log->n_in_file += (int64_t)log->n;
    log->n = 0;
    return MSIM_OK;
}

int ms_join_log_take(void *user, int64_t a, int64_t b, double score) {
    ms_join_log *log = user;
    if (log->n == log->cap && write_out(log, &log->failed) < 0) return 1;
    log->hits[log->n++] = (ms_join_hit){a, b, score};
    return 0;
}

/* A message with the number of hits, then the hits. What was promised is sent, also when the file
 * cannot be read. */
static int send_hits(ms_join_log *log, msim_error *err) {
    const msim_ranks *r = log->ranks;
    int64_t n = log->n_in_file + (int64_t)log->n, rc = MSIM_OK;
    r->send(r->user, 0, &n, sizeof n);
    if (log->n_in_file) rc = write_out(log, err);
    for (int64_t at = 0; at < n; at += (int64_t)log->cap) {
        size_t part = n - at < (int64_t)log->cap ? (size_t)(n - at) : log->cap;
        if (log->n_in_file && rc >= 0)
            rc = ms_join_file_read(log->fd, log->hits, part, at * (int64_t)sizeof *log->hits,
                                   log->folder, err);
        r->send(r->user, 0, log->hits, part * sizeof *log->hits);
    }
    return (int)rc;
}

static int64_t receive_hits(ms_join_log *log, int from, msim_join_sink sink, void *user,
                            int *has_ended) {
    const msim_ranks *r = log->ranks;
    int64_t n = 0, n_passed = 0;
    (void)r->expect(r->user, from);
    r->receive(r->user, from, &n, sizeof n);
    while (n > 0) {
        size_t bytes = r->expect(r->user, from), part = bytes / sizeof *log->hits;
        r->receive(r->user, from, log->hits, bytes);
        n -= (int64_t)part;
        for (size_t i = 0; i < part && !*has_ended; i++, n_passed++)
            *has_ended = sink(user, log->hits[i].a, log->hits[i].b, log->hits[i].score) != 0;
    }
    return n_passed;
}

int64_t ms_join_log_gather(ms_join_log *log, msim_join_sink sink, void *user, int *has_ended,
                           msim_error *err) {
    const msim_ranks *r = log->ranks;
    int64_t n = 0;
    int rc = MSIM_OK;
    if (r->index > 0)
        rc = send_hits(log, err);
    else
        for (int from = 1; from < r->count; from++)
            n += receive_hits(log, from, sink, user, has_ended);
    rc = r->agree(r->user, rc, err);
    return rc < 0 ? rc : n;
}
