/* Worker threads of a handle: see pool.h. There is one mutex and two conditions. Between jobs,
 * workers spin briefly before they sleep, because a forward pass is many short jobs in a row. */
#define _GNU_SOURCE
#include "base/pool.h"
#include "base/mem.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { SPIN_ROUNDS = 2000, MAX_THREADS = 1024 };

typedef struct {
    ms_pool *pool; /* borrowed */
    pthread_t thread;
    int index;
} pool_worker;

struct ms_pool {
    pthread_mutex_t lock;
    pthread_cond_t work_ready, work_done;
    pool_worker *workers;        /* owned: n_threads - 1 of them */
    int n_threads;               /* the caller included */
    pid_t owner;                 /* the process that has the workers: a forked child has none */
    _Atomic uint64_t generation; /* one up for each job */
    _Atomic int n_busy;          /* workers still on the current job */
    _Atomic int stopping;
    _Atomic int running;  /* a job is under way: nested calls run inline */
    _Atomic int64_t next; /* next item to hand out */
    int64_t n_items;
    ms_pool_fn fn;
    void *arg;
};

/* Processors in this process's affinity mask; 0 when it cannot be read. The kernel refuses a mask
 * with fewer bits than the machine may have processors, so the mask grows until it is taken. */
static int count_affine(void) {
    for (int n_bits = 1024; n_bits <= 1 << 20; n_bits *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)n_bits);
        size_t n_bytes = CPU_ALLOC_SIZE((size_t)n_bits);
        if (!set) return 0;
        int failed = sched_getaffinity(0, n_bytes, set) == 0 ? 0 : errno;
        int n = failed ? 0 : CPU_COUNT_S(n_bytes, set);
        CPU_FREE(set);
        if (failed != EINVAL) return n;
    }
    return 0;
}

int ms_pool_processors(void) {
    int64_t n = count_affine();
    if (n < 1) n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

static void take_items(ms_pool *pool, int index) {
    for (int64_t i;
         (i = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->n_items;)
        pool->fn(pool->arg, i, index);
}

static inline void cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Wait until the generation leaves `seen`; false when the pool is closing. */
static int wait_for_work(ms_pool *pool, uint64_t seen) {
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen)
            return !pool->stopping;
        cpu_pause();
    }
    pthread_mutex_lock(&pool->lock);
    while (pool->generation == seen && !pool->stopping)
        pthread_cond_wait(&pool->work_ready, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return !pool->stopping;
}

static void *worker_main(void *arg) {
    pool_worker *w = arg;
    ms_pool *pool = w->pool;
    for (uint64_t seen = 0; wait_for_work(pool, seen);) {
        seen++;
        take_items(pool, w->index);
        if (atomic_fetch_sub_explicit(&pool->n_busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->work_done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
    return NULL;
}

int ms_pool_open(int n_threads, ms_pool **out, msim_error *err) {
    if (n_threads < 0 || n_threads > MAX_THREADS)
        return ms_fail(err, MSIM_E_ARG, "threads: expected 0..%d, got %d", MAX_THREADS, n_threads);
    if (n_threads == 0) n_threads = ms_pool_processors();
    ms_pool *pool = ms_alloc(1, sizeof *pool, "thread pool", err);
    if (!pool) return -MSIM_E_MEMORY;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work_ready, NULL);
    pthread_cond_init(&pool->work_done, NULL);
    pool->n_threads = 1;
    pool->owner = getpid();
    pool->workers = ms_alloc((size_t)n_threads, sizeof *pool->workers, "thread pool", err);
    if (!pool->workers) {
        ms_pool_close(pool);
        return -MSIM_E_MEMORY;
    }
    for (int i = 1; i < n_threads; i++) {
        pool_worker *w = &pool->workers[i - 1];
        w->pool = pool;
        w->index = i;
        int rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc != 0) {
            ms_pool_close(pool);
            return ms_fail_errno(err, rc, "cannot start thread %d of %d", i + 1, n_threads);
        }
        pool->n_threads++;
    }
    *out = pool;
    return MSIM_OK;
}

/* After fork() the child has this memory, but none of the threads: it works alone. */
static int has_workers(const ms_pool *pool) { return getpid() == pool->owner; }

int ms_pool_size(const ms_pool *pool) { return pool->n_threads; }

void ms_pool_run(ms_pool *pool, int64_t n_items, ms_pool_fn fn, void *arg) {
    if (n_items <= 0) return;
    int nested = atomic_exchange(&pool->running, 1);
    if (nested || pool->n_threads == 1 || n_items == 1 || !has_workers(pool)) {
        /* Worker 0 stands for the caller; a nested call's scratch is the item's own affair. */
        for (int64_t i = 0; i < n_items; i++) fn(arg, i, 0);
        if (!nested) pool->running = 0;
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    pool->n_items = n_items;
    pool->next = 0;
    pool->n_busy = pool->n_threads - 1;
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->work_ready);
    pthread_mutex_unlock(&pool->lock);
    take_items(pool, 0);
    for (int i = 0; i < SPIN_ROUNDS && pool->n_busy; i++) cpu_pause();
    if (atomic_load_explicit(&pool->n_busy, memory_order_acquire)) {
        pthread_mutex_lock(&pool->lock);
        while (pool->n_busy) pthread_cond_wait(&pool->work_done, &pool->lock);
        pthread_mutex_unlock(&pool->lock);
    }
    pool->running = 0;
}

void ms_pool_close(ms_pool *pool) {
    if (!pool) return;
    if (!has_workers(pool)) {
        /* Nobody to join; lock and conditions may hold traces of the parent's threads, for which
         * destroying them would wait. */
        ms_free(pool->workers);
        ms_free(pool);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stopping = 1;
    pthread_cond_broadcast(&pool->work_ready);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->n_threads - 1; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->work_ready);
    pthread_cond_destroy(&pool->work_done);
    pthread_mutex_destroy(&pool->lock);
    ms_free(pool->workers);
    ms_free(pool);
}
