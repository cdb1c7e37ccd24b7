/* The worker threads of a handle. Items are handed out one at a time, in ascending order, to the
 * next free worker. The bits of an item never depend on who computes it. The calling thread works
 * too, so a pool of one starts no thread. A forked child has no workers; there the calling thread
 * does all items. */
#ifndef MS_BASE_POOL_H
#define MS_BASE_POOL_H
#include "base/status.h"

typedef struct ms_pool ms_pool;

/* item in 0..n_items-1; worker in 0..ms_pool_size-1, for scratch that each worker has of its
 * own. */
typedef void (*ms_pool_fn)(void *arg, int64_t item, int worker);

/* n_threads >= 1; 0: one for each processor this process may run on. */
int ms_pool_open(int n_threads, ms_pool **out, msim_error *err);
int ms_pool_size(const ms_pool *pool);
/* Processors that this process may run on, 1..1024. */
int ms_pool_processors(void);
/* Run fn for every item and return when all are done. Called from inside an item it runs
 * inline and fn sees worker 0: nested items must not use a worker's scratch. */
void ms_pool_run(ms_pool *pool, int64_t n_items, ms_pool_fn fn, void *arg);
void ms_pool_close(ms_pool *pool);

#endif
