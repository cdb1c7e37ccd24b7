/* The tokeniser on files that are in memory: on one core and on all. Contract: tools/bench/bench.h.
 * Every thread has a tokeniser and a buffer of its own and takes the next file when it is done with
 * one. */
#define _GNU_SOURCE
#include "bench.h"
#include "base/mem.h"
#include "common/watch.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    unsigned char **files; /* owned, each one too */
    size_t *sizes;         /* owned */
    size_t n, most_ids;
    double bytes;
    _Atomic size_t next;
    _Atomic int64_t n_tokens, n_without; /* of one round */
} corpus;

typedef struct {
    corpus *c;
    msim_tokenizer *tokenizer; /* owned */
    int32_t *ids;              /* owned: [most_ids] */
} worker;

/* A file's bytes, kept. */
static int keep_file(corpus *c, const msim_walk_item *file, msim_error *err) {
    unsigned char *bytes = ms_alloc(file->n_bytes + 1, 1, "a file", err);
    if (!bytes) return -MSIM_E_MEMORY;
    if (file->n_bytes) memcpy(bytes, file->bytes, file->n_bytes);
    c->files[c->n] = bytes;
    c->sizes[c->n++] = file->n_bytes;
    c->bytes += (double)file->n_bytes;
    size_t bound = msim_tokenizer_bound(file->n_bytes, 0, INT64_MAX);
    if (bound > c->most_ids) c->most_ids = bound;
    return 0;
}

static int read_files(const ms_bench_settings *s, corpus *c, msim_error *err) {
    msim_walk *walk;
    msim_walk_options o = ms_cli_walk_options();
    msim_walk_stats stats = {.size = sizeof stats};
    msim_walk_item file = {.size = sizeof file};
    o.paths = s->common.operands.items;
    o.n_paths = s->common.operands.n;
    int rc = msim_walk_open(&o, &walk, err);
    if (rc < 0) return ms_cli_as_failure(rc);
    rc = msim_walk_get_stats(walk, &stats);
    c->files = ms_alloc((size_t)stats.files + 1, sizeof *c->files, "files", err);
    if (c->files) c->sizes = ms_alloc((size_t)stats.files + 1, sizeof *c->sizes, "files", err);
    if (!c->sizes) rc = -MSIM_E_MEMORY;
    while (rc >= 0 && !ms_cli_stopped() && (rc = msim_walk_next(walk, &file, err)) > 0) {
        if (file.reason != MSIM_SKIP_NONE)
            ms_cli_warning("%s: not measured: %s", file.path, msim_skip_reason_name(file.reason));
        else
            rc = keep_file(c, &file, err);
    }
    msim_walk_close(walk);
    if (rc >= 0 && c->n == 0)
        rc = ms_fail(err, MSIM_E_EMPTY, "no file could be read: nothing to measure");
    return rc;
}

static void *take_files(void *arg) {
    worker *w = arg;
    corpus *c = w->c;
    int64_t starts[2], tokens = 0, without = 0;
    for (size_t i; (i = atomic_fetch_add(&c->next, 1)) < c->n;) {
        int64_t n = msim_tokenizer_encode(w->tokenizer, c->files[i], c->sizes[i], 0, INT64_MAX,
                                          w->ids, c->most_ids, starts, NULL);
        if (n > 0)
            tokens += starts[1];
        else
            without++;
    }
    atomic_fetch_add(&c->n_tokens, tokens);
    atomic_fetch_add(&c->n_without, without);
    return NULL;
}

static double run_round(corpus *c, worker *workers, int threads) {
    pthread_t ids[1024];
    int n = 1;
    c->next = 0;
    c->n_tokens = c->n_without = 0;
    double began = ms_cli_now();
    while (n < threads && pthread_create(&ids[n], NULL, take_files, &workers[n]) == 0) n++;
    take_files(&workers[0]);
    for (int i = 1; i < n; i++) pthread_join(ids[i], NULL);
    if (n < threads) ms_cli_warning("only %d of %d threads could be started", n, threads);
    return ms_cli_now() - began;
}

static void report(const ms_bench_settings *s, corpus *c, worker *workers, int threads) {
    double seconds[MS_BENCH_MAX_ROUNDS];
    ms_bench_result r = {.bench = "tokens", .threads = threads};
    (void)run_round(c, workers, threads);
    for (int64_t i = 0; i < s->rounds; i++) seconds[i] = run_round(c, workers, threads);
    ms_bench_figure f = ms_bench_times(seconds, (size_t)s->rounds);
    snprintf(r.name, sizeof r.name, "%zu files", c->n);
    ms_bench_add(&r, "seconds", "seconds", f);
    ms_bench_add(&r, "files_per_s", "files/s", ms_bench_rate((double)c->n, f));
    ms_bench_add(&r, "mb_per_s", "MB/s", ms_bench_rate(c->bytes / 1e6, f));
    ms_bench_add(&r, "tokens_per_s", "tokens/s", ms_bench_rate((double)c->n_tokens, f));
    ms_bench_add(&r, "files", "files", ms_bench_once((double)c->n));
    ms_bench_add(&r, "bytes", "bytes", ms_bench_once(c->bytes));
    ms_bench_add(&r, "tokens", "tokens", ms_bench_once((double)c->n_tokens));
    ms_bench_add(&r, "without_tokens", "no tokens", ms_bench_once((double)c->n_without));
    ms_bench_report(&r);
}

static int compare_sizes(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static int say_sizes(const corpus *c, msim_error *err) {
    char least[32], middle[32], most[32], all[32];
    size_t *sorted = ms_alloc(c->n, sizeof *sorted, "sizes of files", err);
    if (!sorted) return -MSIM_E_MEMORY;
    memcpy(sorted, c->sizes, c->n * sizeof *sorted);
    qsort(sorted, c->n, sizeof *sorted, compare_sizes);
    ms_cli_note("%zu files, %s bytes: smallest %s, median %s, largest %s", c->n,
                ms_cli_count(all, (int64_t)c->bytes), ms_cli_count(least, (int64_t)sorted[0]),
                ms_cli_count(middle, (int64_t)sorted[c->n / 2]),
                ms_cli_count(most, (int64_t)sorted[c->n - 1]));
    ms_free(sorted);
    return 0;
}

static int open_workers(corpus *c, worker *workers, int threads, msim_error *err) {
    int rc = 0;
    for (int i = 0; rc >= 0 && i < threads; i++) {
        workers[i].c = c;
        workers[i].ids = ms_alloc(c->most_ids + 1, sizeof *workers[i].ids, "token ids", err);
        rc = workers[i].ids ? msim_tokenizer_open(NULL, &workers[i].tokenizer, err)
                            : -MSIM_E_MEMORY;
    }
    return rc;
}

int ms_bench_tokens(const ms_bench_settings *s) {
    corpus c = {0};
    msim_error err;
    int threads = ms_cli_threads(&s->common);
    worker *workers = ms_alloc((size_t)threads, sizeof *workers, "threads", &err);
    int rc = workers ? read_files(s, &c, &err) : -MSIM_E_MEMORY;
    if (rc >= 0) rc = open_workers(&c, workers, threads, &err);
    if (rc >= 0) rc = say_sizes(&c, &err);
    if (rc < 0 && rc != -MSIM_E_STOPPED) ms_cli_error("%s", err.text);
    if (rc >= 0 && !ms_cli_stopped()) report(s, &c, workers, 1);
    if (rc >= 0 && threads > 1 && !ms_cli_stopped()) report(s, &c, workers, threads);
    for (int i = 0; workers && i < threads; i++) {
        msim_tokenizer_close(workers[i].tokenizer);
        ms_free(workers[i].ids);
    }
    for (size_t i = 0; i < c.n; i++) ms_free(c.files[i]);
    ms_free(c.files);
    ms_free(c.sizes);
    ms_free(workers);
    return rc;
}
