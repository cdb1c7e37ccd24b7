/* The hits of a stretch of a join, which are found in any order and leave in order of (a, b).
 * Workers gather them in memory. A buffer that is full is sorted and goes to a temporary file. When
 * the stretch is done, all sorted runs are merged. The file has no name: it is deleted when it is
 * made, and the system takes it back when it is closed, however the process ends. */
#ifndef MS_SEARCH_JOIN_HITS_H
#define MS_SEARCH_JOIN_HITS_H
#include "base/status.h"
#include <pthread.h>
#include <stdatomic.h>

typedef struct {
    int64_t a, b;
    double score;
} ms_join_hit;

/* Sorted hits: in memory, or in the file. */
typedef struct {
    const ms_join_hit *hits; /* borrowed: NULL: in the file */
    int64_t at;              /* byte in the file */
    int64_t n;
} ms_join_sorted;

typedef struct {
    ms_join_hit *hits; /* owned: [cap] */
    size_t n;
} ms_join_buffer;

typedef struct {
    const char *folder;      /* borrowed */
    int fd;                  /* owned: -1: there is no file yet */
    int64_t file_bytes;      /* of runs in it */
    ms_join_buffer *buffers; /* owned: [n_workers] */
    size_t n_workers, cap;
    ms_join_sorted *runs; /* owned: of the stretch */
    size_t n_runs, runs_cap;
    int64_t n_spilled; /* hits that went to the file so far */
    pthread_mutex_t lock;
    msim_error failed;  /* the first failure; code 0: none */
    _Atomic int is_bad; /* a failure is there */
} ms_join_hits;

/* A file without a name in a folder. And hits from byte `at` of it. */
int ms_join_file_open(const char *folder, int *fd, msim_error *err);
int ms_join_file_read(int fd, ms_join_hit *to, size_t n, int64_t at, const char *folder,
                      msim_error *err);

/* Room for `bytes` of hits in all workers together; folder: for the file. */
int ms_join_hits_open(ms_join_hits *h, size_t n_workers, size_t bytes, const char *folder,
                      msim_error *err);
void ms_join_hits_close(ms_join_hits *h); /* accepts one that is all zeros */
/* Add a hit. A failure is kept: ms_join_hits_drain returns it. Any worker, each for itself. */
void ms_join_hits_add(ms_join_hits *h, size_t worker, ms_join_hit hit);
/* Pass all hits on in order and forget them. Returns how many were passed. A sink that returns
 * non-zero ends this, and *has_ended is set. */
int64_t ms_join_hits_drain(ms_join_hits *h, msim_join_sink sink, void *user, int *has_ended,
                           msim_error *err);

#endif
