/* Exact search of a corpus: one on disk, or made rows in a file that lives in memory alone. Scans
 * and numbers of queries take turns with reading memory, so that whatever else happens to
 * the machine happens to all; shares are of the bests. Contract: tools/bench/bench.h. */
#define _GNU_SOURCE
#include "bench.h"
#include "base/mem.h"
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
    return ((float)(a >> 16) + (float)(a & 0xffff) + (float)(b >> 16) + (float)(b & 0xffff)) /
               65536.0f -
           2.0f;
}

/* Not of unit length: their norms are part of the work. */
static void fill_rows(float *rows, size_t n, size_t dim, ms_bench_random *random) {
    for (size_t i = 0; i < n * dim; i++) rows[i] = random_value(random);
}

int ms_bench_make_corpus(const ms_bench_settings *s, char *path, size_t cap) {
    char head[NPY_HEAD + 1];
    size_t bytes = NPY_HEAD + (size_t)s->rows * (size_t)s->dim * sizeof(float);
    ms_bench_random random = {.state = 2};
    snprintf(
        head, sizeof head,
        "\x93NUMPY\x01%c\x76%c{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }", 1,
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
        ms_cli_error("cannot make %lld rows of %lld numbers: %s", (long long)s->rows,
                     (long long)s->dim, strerror(errno));
        if (fd >= 0) close(fd);
        return -1;
    }
    memcpy(map, head, NPY_HEAD);
    fill_rows((float *)(void *)((char *)map + NPY_HEAD), (size_t)s->rows, (size_t)s->dim, &random);
    munmap(map, bytes);
    snprintf(path, cap, "/proc/self/fd/%d", fd);
    return fd;
}

enum { MAX_SCANS = 4 };

typedef struct {
    const ms_bench_settings *s;
    msim_context *ctx;       /* owned */
    ms_bench_reader *reader; /* owned; NULL: reading is not measured */
    msim_corpus_info info;
    msim_options options;
    double open_seconds; /* until the first search can begin */
    int64_t queries[MS_BENCH_MAX_LIST];
    int scans[MAX_SCANS], n_queries, n_scans;
    float *vectors; /* owned: of the most queries */
    int64_t *rows;  /* owned: room for the matches */
    double *scores;
} search_bench;

typedef struct {
    int scan;
    int64_t n_query, n_evaluated;
    int used, device; /* msim_scan that the search took, msim_device */
    double seconds[MS_BENCH_MAX_ROUNDS];
} search_case;

/* The scans that `text` names, separated by commas. Returns how many; < 0 having said why not. */
static int parse_scans(const char *text, int *scans) {
    int n = 0;
    if (!text) {
        scans[0] = MSIM_SCAN_AUTO;
        return 1;
    }
    for (const char *p = text;; p++) {
        size_t length = strcspn(p, ",");
        int scan = MSIM_SCAN_F64;
        while (msim_scan_name(scan) &&
               (strlen(msim_scan_name(scan)) != length || strncmp(p, msim_scan_name(scan), length)))
            scan++;
        if (!msim_scan_name(scan) || n == MAX_SCANS) {
            return ms_cli_usage(
                "--scan: expected f64, f32, bf16 or int8, at most %d of them, got %s", MAX_SCANS,
                text);
        }
        scans[n++] = scan;
        p += length;
        if (!*p) return n;
    }
}

static int search_once(const search_bench *b, search_case *c, msim_error *err) {
    msim_search_options o = msim_search_options_default();
    msim_stats stats = {.size = sizeof stats};
    o.scan = c->scan;
    int64_t rc = msim_context_search_with(b->ctx, &o, b->vectors, (size_t)c->n_query, b->s->top,
                                          b->rows, b->scores, err);
    if (rc < 0) return (int)rc;
    msim_context_stats(b->ctx, &stats);
    c->used = stats.scan;
    c->device = stats.search_device;
    c->n_evaluated = stats.rows_evaluated;
    return MSIM_OK;
}

/* Bytes that a scan reads of each row. */
static double bytes_of_row(const search_bench *b, int scan) {
    static const double item_bytes[] = {4, 2, 2, 8};
    if (scan == MSIM_SCAN_INT8) return (double)b->info.dim + 16;
    if (scan == MSIM_SCAN_BF16) return 2 * (double)b->info.dim + 8;
    return (double)b->info.dim * item_bytes[b->info.dtype];
}

/* MB of memory that is this process's alone: not mapped files, nor the made corpus. NaN: the system
 * does not tell. */
static double private_mb(void) {
    char line[256];
    double kb = NAN;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "RssAnon:", 8) == 0) kb = strtod(line + 8, NULL);
    if (file) fclose(file);
    return kb * 1024 / 1e6;
}

static void report(const search_bench *b, search_case *c, double read) {
    ms_bench_figure f = ms_bench_times(c->seconds, (size_t)b->s->rounds);
    double bytes = (double)b->info.rows * bytes_of_row(b, c->used);
    bool is_cuda = c->device == MSIM_DEVICE_CUDA; /* whose memory is not what was read */
    ms_bench_result r = {
        .bench = "search",
        .threads = b->options.threads,
        .device = is_cuda ? "cuda" : "cpu",
        .level = is_cuda ? NULL : msim_isa_name(b->options.isa ? b->options.isa : msim_isa_best())};
    int n = snprintf(r.name, sizeof r.name, "%lldx%lld q%lld", (long long)b->info.rows,
                     (long long)b->info.dim, (long long)c->n_query);
    if (c->scan != MSIM_SCAN_AUTO && n > 0)
        snprintf(r.name + n, sizeof r.name - (size_t)n, " %s", msim_scan_name(c->scan));
    ms_bench_add(&r, "seconds", "seconds", f);
    ms_bench_add(&r, "queries_per_s", "queries/s", ms_bench_rate((double)c->n_query, f));
    ms_bench_add(&r, "gb_per_s", "GB/s", ms_bench_rate(bytes / 1e9, f));
    ms_bench_add(&r, "read_share", "of read", ms_bench_once(is_cuda ? NAN : bytes / f.best / read));
    ms_bench_add(&r, "evaluated", "in double",
                 ms_bench_once((double)c->n_evaluated / (double)c->n_query));
    ms_bench_add(&r, "open_seconds", "to open", ms_bench_once(b->open_seconds));
    if (!b->reader) ms_bench_add(&r, "private_mb", "MB private", ms_bench_once(private_mb()));
    ms_bench_report(&r);
}

static int run_cases(const search_bench *b, msim_error *err) {
    size_t n = (size_t)b->n_queries * (size_t)b->n_scans;
    search_case *cases = ms_alloc(n, sizeof *cases, "cases", err);
    double read = NAN;
    int rc = cases ? 0 : -MSIM_E_MEMORY;
    for (size_t i = 0; i < n && rc >= 0; i++) {
        cases[i] = (search_case){.scan = b->scans[i % (size_t)b->n_scans],
                                 .n_query = b->queries[i / (size_t)b->n_scans]};
        rc = search_once(b, &cases[i], err);
    }
    if (b->reader) read = ms_bench_reader_once(b->reader);
    for (int64_t round = 0; round < b->s->rounds && rc >= 0 && !ms_cli_stopped(); round++) {
        if (b->reader) read = fmax(read, ms_bench_reader_once(b->reader));
        for (size_t i = 0; i < n && rc >= 0; i++) {
            double began = ms_cli_now();
            rc = search_once(b, &cases[i], err);
            cases[i].seconds[round] = ms_cli_now() - began;
        }
    }
    for (size_t i = 0; i < n && rc >= 0 && !ms_cli_stopped(); i++) report(b, &cases[i], read);
    ms_free(cases);
    return ms_cli_as_failure(rc);
}

/* Make the codes that the scans need, of each part, in files that are gone as soon as they are
 * mapped. */
static int attach_codes(const search_bench *b, msim_corpus *corpus, msim_error *err) {
    const char *folder = getenv("TMPDIR");
    char path[4096];
    int rc = MSIM_OK;
    for (int64_t part = 0; part < msim_corpus_parts(corpus) && rc >= 0; part++) {
        int is_made = 0,
            n = snprintf(path, sizeof path, "%s/midisim-bench-%ld-%lld.msim",
                         folder && *folder ? folder : "/tmp", (long)getpid(), (long long)part);
        if (n >= (int)sizeof path) {
            snprintf(err->text, sizeof err->text,
                     "search: the path in TMPDIR is too long: set a shorter one");
            return -MSIM_E_ARG;
        }
        for (int i = 0; i < b->n_scans && rc >= 0; i++)
            if (b->scans[i] == MSIM_SCAN_BF16 || b->scans[i] == MSIM_SCAN_INT8) {
                rc = msim_corpus_write_codes(corpus, part, path, b->scans[i], b->options.threads,
                                             NULL, NULL, err);
                is_made = 1;
            }
        if (rc >= 0 && is_made) rc = msim_corpus_attach_codes(corpus, part, path, 0, err);
        if (is_made) unlink(path);
    }
    return rc;
}

static int open_corpus(search_bench *b, const char *path, msim_corpus **corpus, msim_error *err) {
    for (int i = 0; i < b->n_queries; i++)
        if (b->queries[i] > b->options.max_queries) b->options.max_queries = b->queries[i];
    b->options.max_k = b->s->top;
    double began = ms_cli_now();
    int rc = msim_corpus_open(path, NULL, corpus, err);
    b->info.size = sizeof b->info;
    if (rc >= 0) rc = msim_corpus_get_info(*corpus, &b->info);
    b->open_seconds = ms_cli_now() - began;
    if (rc >= 0) rc = attach_codes(b, *corpus, err);
    began = ms_cli_now();
    if (rc >= 0) rc = msim_context_open(NULL, &b->options, &b->ctx, err);
    if (rc >= 0) rc = msim_context_load_corpus(b->ctx, *corpus, err);
    b->open_seconds += ms_cli_now() - began;
    return rc;
}

static int open_buffers(search_bench *b, msim_error *err) {
    ms_bench_random random = {.state = 3};
    size_t n = (size_t)b->options.max_queries, dim = (size_t)b->info.dim, k = (size_t)b->s->top;
    b->vectors = ms_alloc(n, dim * sizeof *b->vectors, "queries", err);
    if (b->vectors) b->rows = ms_alloc(n, k * sizeof *b->rows, "search results", err);
    if (b->rows) b->scores = ms_alloc(n, k * sizeof *b->scores, "search results", err);
    if (!b->scores) return -MSIM_E_MEMORY;
    fill_rows(b->vectors, n, dim, &random);
    return 0;
}

int ms_bench_search(const ms_bench_settings *s) {
    search_bench b = {.s = s, .options = ms_cli_library_options(&s->common)};
    char made[64];
    msim_corpus *corpus = NULL;
    msim_error err;
    int fd = -1;
    b.n_queries = ms_bench_list("--queries", s->queries, 1, 65536, b.queries);
    b.n_scans = b.n_queries < 0 ? b.n_queries : parse_scans(s->scan, b.scans);
    if (b.n_scans < 0) return b.n_scans;
    const char *path = s->common.operands.n ? s->common.operands.items[0] : made;
    if (path == made && (fd = ms_bench_make_corpus(s, made, sizeof made)) < 0) return -MSIM_E_IO;
    int rc = open_corpus(&b, path, &corpus, &err);
    if (rc >= 0) rc = open_buffers(&b, &err);
    if (rc >= 0) {
        if (!s->is_without_roof) b.reader = ms_bench_reader_open(b.options.threads, s);
        rc = run_cases(&b, &err);
    }
    if (rc < 0) ms_cli_error("%s", err.text);
    ms_bench_reader_close(b.reader);
    ms_free(b.vectors);
    ms_free(b.rows);
    ms_free(b.scores);
    msim_context_close(b.ctx);
    msim_corpus_close(corpus);
    if (fd >= 0) close(fd);
    return rc;
}
