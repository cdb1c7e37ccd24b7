/* What this machine can do at best: multiply-adds of each width and kind from registers, and
 * reading memory. A round starts all threads together and ends with the last; the rate is their
 * work over that time. Contract: tools/bench/bench.h. */
#define _GNU_SOURCE
#include "bench.h"
#include "limits.h"
#include "base/mem.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LEAST_ROUNDS = 5 };

#define ROUND_SECONDS 0.05 /* of arithmetic */
#define LEAST_READ_MB 512
#define PAGE 4096u

static const struct {
    const char *name, *key, *unit;
    const ms_limits_table *table;
    int isa, precision; /* whose products use that instruction */
} limits[MS_BENCH_N_LIMITS] = {
    [MS_BENCH_FMA_256] = {"fma-f32-256", "gflop_per_s", "GFLOP/s", &ms_limits_avx2, MSIM_ISA_AVX2,
                          MSIM_PRECISION_F32},
    [MS_BENCH_FMA_512] = {"fma-f32-512", "gflop_per_s", "GFLOP/s", &ms_limits_avx512,
                          MSIM_ISA_AVX512, MSIM_PRECISION_F32},
    [MS_BENCH_DOT_BF16] = {"dot-bf16-512", "gflop_per_s", "GFLOP/s", &ms_limits_avx512bf16,
                           MSIM_ISA_AVX512BF16, MSIM_PRECISION_BF16},
    [MS_BENCH_DOT_TILES] = {"dot-bf16-tiles", "gflop_per_s", "GFLOP/s", &ms_limits_amxbf16,
                            MSIM_ISA_AMXBF16, MSIM_PRECISION_BF16},
    [MS_BENCH_DOT_INT8] = {"dot-int8-512", "gop_per_s", "GOP/s", &ms_limits_avx512vnni,
                           MSIM_ISA_AVX512, MSIM_PRECISION_INT8},
    [MS_BENCH_READ] = {"read", "gb_per_s", "GB/s", NULL, MSIM_ISA_REF, MSIM_PRECISION_F32}};

/* What the products of a level limit_work against, by msim_precision. */
static const struct {
    int isa, limit[3];
} limits_of[] = {{MSIM_ISA_AVX2, {MS_BENCH_FMA_256, MS_BENCH_FMA_256, MS_BENCH_FMA_256}},
                 {MSIM_ISA_AVX512, {MS_BENCH_FMA_512, MS_BENCH_FMA_512, MS_BENCH_DOT_INT8}},
                 {MSIM_ISA_AVX512BF16, {MS_BENCH_DOT_BF16, MS_BENCH_FMA_512, MS_BENCH_DOT_INT8}},
                 {MSIM_ISA_AMXBF16, {MS_BENCH_DOT_TILES, MS_BENCH_FMA_512, MS_BENCH_DOT_INT8}}};

static bool cpu_has(int limit) {
    return msim_isa_is_available(limits[limit].isa, limits[limit].precision);
}

int ms_bench_limit_of(int isa, int precision) {
    for (size_t i = 0; i < sizeof limits_of / sizeof *limits_of; i++)
        if (limits_of[i].isa == isa) return limits_of[i].limit[precision];
    return -1;
}

/* ---- Reading ---- */

/* Words, for a CPU without the wide loads. */
static void read_words(const void *from, size_t n_bytes) {
    const uint64_t *p = from;
    uint64_t sum = 0;
    for (size_t i = 0; i < n_bytes / sizeof *p; i++) sum += p[i];
    __asm__ volatile("" : : "r"(sum));
}

static void (*reader(void))(const void *, size_t) {
    void (*best)(const void *, size_t) = read_words;
    for (int limit = 0; limit < MS_BENCH_READ; limit++)
        if (cpu_has(limit) && limits[limit].table->read) best = limits[limit].table->read;
    return best;
}

/* ---- Threads ---- */

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_ready;
    enum { WAITING, RUNNING, CALLED_OFF } state;
    void (*run)(size_t steps);
    size_t steps;
    void (*read)(const void *from, size_t n_bytes);
    const char *memory;
    size_t part; /* bytes of each thread */
} limit_job;

typedef struct {
    limit_job *job;
    int index;
    double began, ended;
} limit_work;

/* Every thread waits here until the last has come; true: go. The first one starts or calls off the
 * round for all, so it can be left without the threads that could not be started. */
static bool wait_for_start(limit_job *j) {
    pthread_mutex_lock(&j->lock);
    j->n_ready++;
    pthread_cond_broadcast(&j->changed);
    while (j->state == WAITING) pthread_cond_wait(&j->changed, &j->lock);
    bool is_on = j->state == RUNNING;
    pthread_mutex_unlock(&j->lock);
    return is_on;
}

static void start(limit_job *j, int n_others, bool is_on) {
    pthread_mutex_lock(&j->lock);
    while (is_on && j->n_ready < n_others) pthread_cond_wait(&j->changed, &j->lock);
    j->state = is_on ? RUNNING : CALLED_OFF;
    pthread_cond_broadcast(&j->changed);
    pthread_mutex_unlock(&j->lock);
}

static void do_work(limit_work *w) {
    limit_job *j = w->job;
    w->began = ms_cli_now();
    if (j->run)
        j->run(j->steps);
    else
        j->read(j->memory + (size_t)w->index * j->part, j->part);
    w->ended = ms_cli_now();
}

static void *work_other(void *arg) {
    limit_work *w = arg;
    if (wait_for_start(w->job)) do_work(w);
    return NULL;
}

/* Seconds from the first start to the last end. NaN, which was said, when a thread cannot be
 * started. */
static double time_threads(limit_job *j, limit_work *all, pthread_t *ids, int threads) {
    double began = INFINITY, ended = 0;
    int n = 1;
    for (int i = 0; i < threads; i++) all[i] = (limit_work){.job = j, .index = i};
    while (n < threads && pthread_create(&ids[n], NULL, work_other, &all[n]) == 0) n++;
    start(j, n - 1, n == threads);
    if (n == threads) do_work(&all[0]);
    for (int i = 1; i < n; i++) pthread_join(ids[i], NULL);
    if (n < threads) {
        ms_cli_error("cannot start thread %d of %d: give fewer with --threads", n + 1, threads);
        return NAN;
    }
    for (int i = 0; i < threads; i++) {
        began = fmin(began, all[i].began);
        ended = fmax(ended, all[i].ended);
    }
    return ended - began;
}

static double time_round(limit_job *j, int threads) {
    msim_error err;
    double seconds = NAN;
    limit_work *all = ms_alloc((size_t)threads, sizeof *all, "threads", &err);
    pthread_t *ids = all ? ms_alloc((size_t)threads, sizeof *ids, "threads", &err) : NULL;
    if (ids) {
        pthread_mutex_init(&j->lock, NULL);
        pthread_cond_init(&j->changed, NULL);
        j->n_ready = 0;
        j->state = WAITING;
        seconds = time_threads(j, all, ids, threads);
        pthread_cond_destroy(&j->changed);
        pthread_mutex_destroy(&j->lock);
    } else {
        ms_cli_error("%s", err.text);
    }
    ms_free(all);
    ms_free(ids);
    return seconds;
}

/* 1, or < 0 when a round failed, which was said. */
static int rate_of(limit_job *j, int threads, int64_t rounds, double per_thread,
                   ms_bench_figure *out) {
    if (rounds < LEAST_ROUNDS)
        rounds = LEAST_ROUNDS; /* shares stand on it, however short the case */
    double seconds[MS_BENCH_MAX_ROUNDS];
    if (isnan(time_round(j, threads))) return -MSIM_E_MEMORY; /* warm */
    for (int64_t i = 0; i < rounds; i++)
        if (isnan(seconds[i] = time_round(j, threads))) return -MSIM_E_MEMORY;
    *out = ms_bench_rate(per_thread * threads, ms_bench_times(seconds, (size_t)rounds));
    return 1;
}

struct ms_bench_reader {
    void *memory; /* owned, mapped */
    size_t bytes;
    limit_job job;
    int threads;
};

/* Memory for reading: four times the last cache and more, in huge pages where the system gives
 * them. */
ms_bench_reader *ms_bench_reader_open(int threads, const ms_bench_settings *s) {
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = (size_t)LEAST_READ_MB << 20, unit = PAGE * (size_t)threads;
    if (cache > 0 && (size_t)cache * 4 > bytes) bytes = (size_t)cache * 4;
    if (s->megabytes) bytes = (size_t)s->megabytes << 20;
    bytes = (bytes + unit - 1) / unit * unit;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 1, bytes);
    ms_bench_reader *r = ms_alloc(1, sizeof *r, "memory to read", NULL);
    if (!r) {
        munmap(memory, bytes);
        return NULL;
    }
    *r = (ms_bench_reader){.memory = memory, .bytes = bytes, .threads = threads};
    r->job = (limit_job){.read = reader(), .memory = memory, .part = bytes / (size_t)threads};
    return r;
}

double ms_bench_reader_once(ms_bench_reader *r) {
    return (double)r->bytes / time_round(&r->job, r->threads);
}

void ms_bench_reader_close(ms_bench_reader *r) {
    if (!r) return;
    munmap(r->memory, r->bytes);
    ms_free(r);
}

static int measure_read(int threads, const ms_bench_settings *s, ms_bench_figure *out) {
    ms_bench_reader *r = ms_bench_reader_open(threads, s);
    if (!r) return 0;
    int rc = rate_of(&r->job, threads, s->rounds, (double)r->job.part, out);
    ms_bench_reader_close(r);
    return rc;
}

int ms_bench_limit(int limit, int threads, const ms_bench_settings *s,
                   ms_bench_figure *per_second) {
    if (!cpu_has(limit)) return 0;
    if (limit == MS_BENCH_READ) return measure_read(threads, s, per_second);
    const ms_limits_loop *loop = &limits[limit].table->dot;
    limit_job j = {.run = loop->run, .steps = 100000};
    double once = fmin(time_round(&j, 1), time_round(&j, 1));
    if (isnan(once)) return -MSIM_E_MEMORY;
    j.steps = (size_t)(ROUND_SECONDS / fmax(once, 1e-6) * (double)j.steps) + 1;
    return rate_of(&j, threads, s->rounds, loop->per_step * (double)j.steps, per_second);
}

int ms_bench_limits(const ms_bench_settings *s) {
    int all = ms_cli_threads(&s->common);
    for (int limit = 0; limit < MS_BENCH_N_LIMITS; limit++)
        for (int threads = 1;; threads = all) {
            ms_bench_figure f;
            ms_bench_result r = {.bench = "roof", .threads = threads};
            int rc = ms_bench_limit(limit, threads, s, &f);
            if (rc < 0) return rc;
            if (rc == 0) {
                ms_cli_note("%s: not on this CPU, or not enough memory", limits[limit].name);
                break;
            }
            snprintf(r.name, sizeof r.name, "%s", limits[limit].name);
            ms_bench_add(&r, limits[limit].key, limits[limit].unit,
                         (ms_bench_figure){f.best / 1e9, f.median / 1e9});
            ms_bench_report(&r);
            if (threads == all || ms_cli_stopped()) break;
        }
    return 0;
}
