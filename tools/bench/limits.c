/* What this machine can do at best: multiply-adds of each width and kind from registers, and
 * reading memory. A round starts all threads together and ends with the last; the rate is their
 * work over that time. Contract: tools/bench/bench.h. */
#define _GNU_SOURCE
#include "bench.h"
#include "limits.h"
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
    [MS_BENCH_DOT_INT8] = {"dot-int8-512", "gop_per_s", "GOP/s", &ms_limits_avx512vnni,
                           MSIM_ISA_AVX512, MSIM_PRECISION_INT8},
    [MS_BENCH_READ] = {"read", "gb_per_s", "GB/s", NULL, MSIM_ISA_REF, MSIM_PRECISION_F32}};

/* What the products of a level work against, by msim_precision. */
static const struct {
    int isa, limit[3];
} limits_of[] = {{MSIM_ISA_AVX2, {MS_BENCH_FMA_256, MS_BENCH_FMA_256, MS_BENCH_FMA_256}},
                 {MSIM_ISA_AVX512, {MS_BENCH_FMA_512, MS_BENCH_FMA_512, MS_BENCH_DOT_INT8}},
                 {MSIM_ISA_AVX512BF16, {MS_BENCH_DOT_BF16, MS_BENCH_FMA_512, MS_BENCH_DOT_INT8}}};

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
    pthread_barrier_t start;
    void (*run)(size_t steps);
    size_t steps;
    void (*read)(const void *from, size_t n_bytes);
    const char *memory;
    size_t part; /* bytes of each thread */
} job;

typedef struct {
    job *job;
    int index;
    double began, ended;
} work;

static void *do_work(void *arg) {
    work *w = arg;
    job *j = w->job;
    pthread_barrier_wait(&j->start);
    w->began = ms_cli_now();
    if (j->run)
        j->run(j->steps);
    else
        j->read(j->memory + (size_t)w->index * j->part, j->part);
    w->ended = ms_cli_now();
    return NULL;
}

/* Seconds from the first start to the last end. NaN when a thread cannot be started. */
static double time_round(job *j, int threads) {
    work *all = ms_cli_alloc((size_t)threads, sizeof *all);
    pthread_t *ids = ms_cli_alloc((size_t)threads, sizeof *ids);
    double began = INFINITY, ended = 0;
    pthread_barrier_init(&j->start, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        all[i] = (work){.job = j, .index = i};
        if (i > 0 && pthread_create(&ids[i], NULL, do_work, &all[i]) != 0) {
            ms_cli_error("cannot start thread %d of %d", i + 1, threads);
            exit(MS_EXIT_FAILED); /* those that wait at the barrier go with the process */
        }
    }
    do_work(&all[0]);
    for (int i = 1; i < threads; i++) pthread_join(ids[i], NULL);
    for (int i = 0; i < threads; i++) {
        began = fmin(began, all[i].began);
        ended = fmax(ended, all[i].ended);
    }
    pthread_barrier_destroy(&j->start);
    free(all);
    free(ids);
    return ended - began;
}

static ms_bench_figure rate_of(job *j, int threads, int64_t rounds, double per_thread) {
    if (rounds < LEAST_ROUNDS)
        rounds = LEAST_ROUNDS; /* shares stand on it, however short the case
                                                       * itself */
    double seconds[MS_BENCH_MAX_ROUNDS];
    (void)time_round(j, threads); /* warm */
    for (int64_t i = 0; i < rounds; i++) seconds[i] = time_round(j, threads);
    return ms_bench_rate(per_thread * threads, ms_bench_times(seconds, (size_t)rounds));
}

struct ms_bench_reader {
    void *memory; /* owned, mapped */
    size_t bytes;
    job job;
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
    ms_bench_reader *r = ms_cli_alloc(1, sizeof *r);
    *r = (ms_bench_reader){.memory = memory, .bytes = bytes, .threads = threads};
    r->job = (job){.read = reader(), .memory = memory, .part = bytes / (size_t)threads};
    return r;
}

double ms_bench_reader_once(ms_bench_reader *r) {
    return (double)r->bytes / time_round(&r->job, r->threads);
}

void ms_bench_reader_close(ms_bench_reader *r) {
    if (!r) return;
    munmap(r->memory, r->bytes);
    free(r);
}

static bool measure_read(int threads, const ms_bench_settings *s, ms_bench_figure *out) {
    ms_bench_reader *r = ms_bench_reader_open(threads, s);
    if (!r) return false;
    *out = rate_of(&r->job, threads, s->rounds, (double)r->job.part);
    ms_bench_reader_close(r);
    return true;
}

bool ms_bench_limit(int limit, int threads, const ms_bench_settings *s,
                    ms_bench_figure *per_second) {
    if (!cpu_has(limit)) return false;
    if (limit == MS_BENCH_READ) return measure_read(threads, s, per_second);
    const ms_limits_loop *loop = &limits[limit].table->dot;
    job j = {.run = loop->run, .steps = 100000};
    double once = fmin(time_round(&j, 1), time_round(&j, 1));
    j.steps = (size_t)(ROUND_SECONDS / fmax(once, 1e-6) * (double)j.steps) + 1;
    *per_second = rate_of(&j, threads, s->rounds, loop->per_step * (double)j.steps);
    return true;
}

int ms_bench_limits(const ms_bench_settings *s) {
    int all = ms_cli_threads(&s->common);
    for (int limit = 0; limit < MS_BENCH_N_LIMITS; limit++)
        for (int threads = 1;; threads = all) {
            ms_bench_figure f;
            ms_bench_result r = {.bench = "roof", .threads = threads};
            if (!ms_bench_limit(limit, threads, s, &f)) {
                ms_cli_note("%s: not on this CPU, or not enough memory", limits[limit].name);
                break;
            }
            snprintf(r.name, sizeof r.name, "%s", limits[limit].name);
            ms_bench_add(&r, limits[limit].key, limits[limit].unit,
                         (ms_bench_figure){f.best / 1e9, f.median / 1e9});
            ms_bench_report(&r);
            if (threads == all || ms_cli_stopped()) break;
        }
    return MS_EXIT_OK;
}
