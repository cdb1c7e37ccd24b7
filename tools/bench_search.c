/* Exact search of a corpus: one on disk, or made rows in a file that lives in memory alone. Contract: tools/bench.h. */
#define _GNU_SOURCE
#include "bench.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NPY_HEAD 128

/* Near enough to normal: the sum of the halves of one number and the next. */
static float random_value(ms_bench_random *random) {
    uint32_t a = ms_bench_random_next(random), b = ms_bench_random_next(random);
    return ((float)(a >> 16) + (float)(a & 0xffff) + (float)(b >> 16) + (float)(b & 0xffff)) / 65536.0f - 2.0f;
}

static void fill_rows(float *rows, size_t n, size_t dim, ms_bench_random *random) {
    for (size_t i = 0; i < n * dim; i++) rows[i] = random_value(random);
    msim_normalize(rows, n, dim);
}

/* A plain .npy of unit rows in an anonymous file; its path in `path`. The descriptor, or -1 having said why not. */
static int make_corpus(const ms_bench_settings *s, char *path, size_t cap) {
    char head[NPY_HEAD + 1];
    size_t bytes = NPY_HEAD + (size_t)s->rows * (size_t)s->dim * sizeof(float);
    ms_bench_random random = {.state = 2};
    snprintf(head, sizeof head, "\x93NUMPY\x01%c\x76%c{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }", 1,
             1, (long long)s->rows, (long long)s->dim);
    head[7] = 0;
    head[9] = 0;
    memset(head + strlen(head + 10) + 10, ' ', NPY_HEAD - 10 - strlen(head + 10));
    head[NPY_HEAD - 1] = '\n';
    int fd = memfd_create("midisim-bench", MFD_CLOEXEC);
    void *map = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0)
        map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        ms_cli_error("search: cannot make %lld rows of %lld numbers: %s", (long long)s->rows, (long long)s->dim,
                     strerror(errno));
        if (fd >= 0) close(fd);
        return -1;
    }
    memcpy(map, head, NPY_HEAD);
    fill_rows((float *)(void *)((char *)map + NPY_HEAD), (size_t)s->rows, (size_t)s->dim, &random);
    munmap(map, bytes);
    snprintf(path, cap, "/proc/self/fd/%d", fd);
    return fd;
}

typedef struct {
    const ms_bench_settings *s;
    msim_context *ctx;      /* owned */
    msim_corpus_info info;
    msim_options options;
    double limit;           /* bytes/s; NaN: not known */
} bench;

static int run_case(const bench *b, int64_t n_query) {
    static const double item_bytes[] = {4, 2, 2, 8};
    double seconds[MS_BENCH_MAX_ROUNDS];
    size_t rounds = (size_t)b->s->rounds, n = (size_t)n_query, k = (size_t)b->s->top;
    float *queries = ms_cli_alloc(n * (size_t)b->info.dim, sizeof *queries);
    int64_t *rows = ms_cli_alloc(n * k, sizeof *rows), rc;
    double *scores = ms_cli_alloc(n * k, sizeof *scores);
    ms_bench_random random = {.state = 3};
    msim_error err;
    fill_rows(queries, n, (size_t)b->info.dim, &random);
    rc = msim_context_search(b->ctx, queries, n, (int64_t)k, rows, scores, &err);
    for (size_t i = 0; rc >= 0 && i < rounds && !ms_cli_stopped(); i++) {
        double began = ms_cli_now();
        rc = msim_context_search(b->ctx, queries, n, (int64_t)k, rows, scores, &err);
        seconds[i] = ms_cli_now() - began;
    }
    free(queries);
    free(rows);
    free(scores);
    if (rc < 0) ms_cli_error("%s", err.text);
    if (rc < 0 || ms_cli_stopped()) return MS_EXIT_FAILED;
    ms_bench_figure f = ms_bench_times(seconds, rounds);
    double bytes = (double)b->info.rows * (double)b->info.dim * item_bytes[b->info.dtype];
    ms_bench_result r = {.bench = "search", .threads = b->options.threads,
                         .level = msim_isa_name(b->options.isa ? b->options.isa : msim_isa_best())};
    snprintf(r.name, sizeof r.name, "%lldx%lld q%lld", (long long)b->info.rows, (long long)b->info.dim, (long long)n_query);
    ms_bench_add(&r, "seconds", "seconds", f);
    ms_bench_add(&r, "queries_per_s", "queries/s", ms_bench_rate((double)n_query, f));
    ms_bench_add(&r, "gb_per_s", "GB/s", ms_bench_rate(bytes / 1e9, f));
    ms_bench_add(&r, "read_share", "of read", ms_bench_once(bytes / f.best / b->limit));
    ms_bench_report(&r);
    return MS_EXIT_OK;
}

int ms_bench_search(const ms_bench_settings *s) {
    bench b = {.s = s, .options = ms_cli_library_options(&s->common), .limit = NAN};
    int64_t queries[MS_BENCH_MAX_LIST];
    char made[64];
    msim_corpus *corpus = NULL;
    msim_error err;
    ms_bench_figure limit;
    int n = ms_bench_list("--queries", s->queries, 1, 65536, queries), fd = -1, status = MS_EXIT_OK;
    if (n < 0) return MS_EXIT_USAGE;
    const char *path = s->common.operands.n ? s->common.operands.items[0] : made;
    if (path == made && (fd = make_corpus(s, made, sizeof made)) < 0) return MS_EXIT_FAILED;
    b.options.max_k = s->top;
    for (int i = 0; i < n; i++)
        if (queries[i] > b.options.max_queries) b.options.max_queries = queries[i];
    int rc = msim_corpus_open(path, NULL, &corpus, &err);
    if (rc >= 0) rc = msim_corpus_get_info(corpus, &b.info);
    if (rc >= 0) rc = msim_context_open(NULL, &b.options, &b.ctx, &err);
    if (rc >= 0) rc = msim_context_load_corpus(b.ctx, corpus, &err);
    if (rc < 0) {
        ms_cli_error("%s", err.text);
        status = ms_cli_exit_of(rc);
    } else if (!s->is_without_roof && ms_bench_limit(MS_BENCH_READ, b.options.threads, s, &limit)) {
        b.limit = limit.best;
    }
    for (int i = 0; i < n && status == MS_EXIT_OK; i++) status = run_case(&b, queries[i]);
    msim_context_close(b.ctx);
    msim_corpus_close(corpus);
    if (fd >= 0) close(fd);
    return status;
}
