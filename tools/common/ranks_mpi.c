/* Ranks by MPI. Contract: tools/common/ranks.h.
 *
 * Waiting: most implementations spin while they wait, which would take processors from the ranks
 * that compute. So small messages are waited for with tests and short sleeps, and a large one is
 * moved by a call that blocks once both sides are known to be there.
 *
 * The counter is a window of one-sided memory on rank 0. Over networks that cannot do that in
 * hardware it needs rank 0 inside the library now and then: while the counter is open, a thread
 * there looks in every millisecond. One lock keeps calls apart, so MPI_THREAD_SERIALIZED is
 * enough. */
#define _GNU_SOURCE
#include "ranks.h"
#include "console.h"
#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TAG_SIZE = 1, TAG_READY, TAG_BYTES, TAG_NONE };

#define SMALL_BYTES ((size_t)32 << 10)
#define CHUNK_BYTES ((size_t)1 << 30) /* counts are int */
#define SLEEP_LEAST_NS 10000
#define SLEEP_MOST_NS 500000
#define LOOK_NS 1000000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int rank_index, rank_count = 1;
static bool has_ended;

static struct {
    MPI_Win window;
    int64_t *number; /* the window's memory */
    pthread_t looker;
    bool has_looker, is_closing; /* under lock */
} counter;

static void sleep_ns(long ns) {
    struct timespec pause = {.tv_nsec = ns};
    nanosleep(&pause, NULL); /* a signal may cut it short */
}

static void wait_for(MPI_Request *request) {
    long ns = 0;
    for (int is_done = 0;;) {
        pthread_mutex_lock(&lock);
        MPI_Test(request, &is_done, MPI_STATUS_IGNORE);
        pthread_mutex_unlock(&lock);
        if (is_done) return;
        if (ns) sleep_ns(ns);
        ns = ns == 0 ? SLEEP_LEAST_NS : ns * 2 > SLEEP_MOST_NS ? SLEEP_MOST_NS : ns * 2;
    }
}

/* ---- Beginning and end ---- */

/* What a silent rank would have said is lost when it ends on its own: then it says it after all. */
static void say_at_exit(void) {
    if (!has_ended && *ms_console_kept())
        fprintf(stderr, "%s (rank %d)\n", ms_console_kept(), rank_index);
}

void ms_ranks_begin(int *argc, char ***argv) {
    int level;
    MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_index);
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    if (level < MPI_THREAD_SERIALIZED) {
        if (rank_index == 0)
            ms_cli_error("MPI: this MPI library refuses calls from threads: use one with "
                         "MPI_THREAD_SERIALIZED");
        MPI_Abort(MPI_COMM_WORLD, 1); /* no rank can tell another that it failed */
    }
    if (rank_count > 1) ms_console_forwarded();
    if (rank_index == 0) return;
    ms_console_mute();
    atexit(say_at_exit);
    if (!freopen("/dev/null", "w", stdout)) ms_cli_error("cannot open: /dev/null");
}

int ms_ranks_end(int status) {
    /* A launcher kills the others when one leaves with a failure: nobody leaves before rank 0 is
     * done. */
    ms_ranks_broadcast(0, &status, sizeof status);
    has_ended = true;
    MPI_Finalize();
    return status;
}

int ms_ranks_index(void) { return rank_index; }
int ms_ranks_count(void) { return rank_count; }

/* ---- All ranks ---- */

void ms_ranks_broadcast(int from, void *bytes, size_t n) {
    MPI_Request request;
    if (n <= SMALL_BYTES) {
        pthread_mutex_lock(&lock);
        MPI_Ibcast(bytes, (int)n, MPI_BYTE, from, MPI_COMM_WORLD, &request);
        pthread_mutex_unlock(&lock);
        wait_for(&request);
        return;
    }
    pthread_mutex_lock(&lock);
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    pthread_mutex_unlock(&lock);
    wait_for(&request);
    pthread_mutex_lock(&lock);
    for (size_t at = 0; at < n; at += CHUNK_BYTES)
        MPI_Bcast((char *)bytes + at, (int)(n - at < CHUNK_BYTES ? n - at : CHUNK_BYTES), MPI_BYTE,
                  from, MPI_COMM_WORLD);
    pthread_mutex_unlock(&lock);
}

static void reduce(int64_t *values, int n, MPI_Op op) {
    int64_t out[16];
    MPI_Request request;
    pthread_mutex_lock(&lock);
    MPI_Iallreduce(values, out, n, MPI_INT64_T, op, MPI_COMM_WORLD, &request);
    pthread_mutex_unlock(&lock);
    wait_for(&request);
    for (int i = 0; i < n; i++) values[i] = out[i];
}

void ms_ranks_least(int64_t *values, int n) { reduce(values, n, MPI_MIN); }
void ms_ranks_sum(int64_t *values, int n) { reduce(values, n, MPI_SUM); }

/* ---- Two ranks: size, then 'ready' back, then the bytes ---- */

static void send_small(int to, int tag, const int64_t *value) {
    MPI_Request request;
    pthread_mutex_lock(&lock);
    MPI_Isend(value, 1, MPI_INT64_T, to, tag, MPI_COMM_WORLD, &request);
    pthread_mutex_unlock(&lock);
    wait_for(&request);
}

static int64_t receive_small(int from, int tag) {
    int64_t value;
    MPI_Request request;
    pthread_mutex_lock(&lock);
    MPI_Irecv(&value, 1, MPI_INT64_T, from, tag, MPI_COMM_WORLD, &request);
    pthread_mutex_unlock(&lock);
    wait_for(&request);
    return value;
}

void ms_ranks_send(int to, const void *bytes, size_t n) {
    int64_t size = (int64_t)n;
    send_small(to, TAG_SIZE, &size);
    receive_small(to, TAG_READY);
    pthread_mutex_lock(&lock);
    for (size_t at = 0; at < n; at += CHUNK_BYTES)
        MPI_Send((const char *)bytes + at, (int)(n - at < CHUNK_BYTES ? n - at : CHUNK_BYTES),
                 MPI_BYTE, to, TAG_BYTES, MPI_COMM_WORLD);
    pthread_mutex_unlock(&lock);
}

size_t ms_ranks_expect(int from) { return (size_t)receive_small(from, TAG_SIZE); }

void ms_ranks_receive(int from, void *bytes, size_t n) {
    int64_t ready = (int64_t)n;
    send_small(from, TAG_READY, &ready);
    pthread_mutex_lock(&lock);
    for (size_t at = 0; at < n; at += CHUNK_BYTES)
        MPI_Recv((char *)bytes + at, (int)(n - at < CHUNK_BYTES ? n - at : CHUNK_BYTES), MPI_BYTE,
                 from, TAG_BYTES, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    pthread_mutex_unlock(&lock);
}

/* ---- The counter ---- */

static void *look_in(void *unused) {
    (void)unused;
    for (bool is_closing = false; !is_closing;) {
        int found;
        pthread_mutex_lock(&lock);
        MPI_Iprobe(MPI_ANY_SOURCE, TAG_NONE, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
        is_closing = counter.is_closing;
        pthread_mutex_unlock(&lock);
        if (!is_closing) sleep_ns(LOOK_NS);
    }
    return NULL;
}

void ms_ranks_counter_open(void) {
    MPI_Aint bytes = rank_index == 0 ? (MPI_Aint)sizeof *counter.number : 0;
    pthread_mutex_lock(&lock);
    MPI_Win_allocate(bytes, sizeof *counter.number, MPI_INFO_NULL, MPI_COMM_WORLD, &counter.number,
                     &counter.window);
    MPI_Win_lock_all(MPI_MODE_NOCHECK, counter.window);
    if (rank_index == 0) {
        int64_t zero = 0, before;
        MPI_Fetch_and_op(&zero, &before, MPI_INT64_T, 0, 0, MPI_REPLACE, counter.window);
        MPI_Win_flush(0, counter.window);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    counter.is_closing = false;
    pthread_mutex_unlock(&lock);
    /* Signals are the main thread's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    counter.has_looker = rank_index == 0 &&
                         pthread_create(&counter.looker, NULL, look_in, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int64_t ms_ranks_counter_add(int64_t n) {
    int64_t before;
    pthread_mutex_lock(&lock);
    MPI_Fetch_and_op(&n, &before, MPI_INT64_T, 0, 0, MPI_SUM, counter.window);
    MPI_Win_flush(0, counter.window);
    pthread_mutex_unlock(&lock);
    return before;
}

void ms_ranks_counter_close(void) {
    MPI_Request request;
    pthread_mutex_lock(&lock);
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    pthread_mutex_unlock(&lock);
    wait_for(&request);
    pthread_mutex_lock(&lock);
    counter.is_closing = true;
    pthread_mutex_unlock(&lock);
    if (counter.has_looker) pthread_join(counter.looker, NULL);
    counter.has_looker = false;
    pthread_mutex_lock(&lock);
    MPI_Win_unlock_all(counter.window);
    MPI_Win_free(&counter.window);
    pthread_mutex_unlock(&lock);
}
