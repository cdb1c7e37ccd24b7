/* What gpu_check.py asks of the library itself, where files and programs would hide the bits: batch
 * invariance, searches against the CPU's, contexts side by side, memory. Public interface,
 * kernels/device.h and the choice of kernels/encoder/project.h alone.
 *
 *   driver [options] info | batches | search | contexts | memory | small
 *     --model FILE  --corpus FILE.npy
 *     --device cuda|cpu (cpu: the CPU against itself, to try this program)
 *     --count N (batches, rounds)  --seed N  --max-tokens N  --batch-tokens N  --pool N (sequences)
 *     --queries N,...  --top K,...
 *     --no-fill (memory: leave out what fills the card)
 *     --product own|auto (own: without cuBLASLt, for tools that must not look into its kernels)
 *     --plant (spoil one result: the check must then fail)
 *
 * Prints 'ok WHAT: how much' or 'FAIL WHAT: why' lines; info prints one JSON object. Exit code 1
 * when something failed, 2 for wrong options. */
#define _GNU_SOURCE
#include "kernels/device.h"
#include "kernels/encoder/project.h"
#include "midisim.h"
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LIST = 16, POOL = 48, MAX_SEQS = 24, MAX_QUERIES = 64, MAX_K = 1024, DIM_CAP = 4096 };

typedef struct {
    const char *command, *model, *corpus;
    int device;
    int64_t count, seed, max_tokens, batch_tokens;
    int64_t queries[MAX_LIST], tops[MAX_LIST];
    int n_queries, n_tops, n_pool; /* of POOL sequences, those in use */
    bool is_filling, is_planted;
} settings;

static settings s = {.device = MSIM_DEVICE_CUDA,
                     .count = 1000,
                     .seed = 1,
                     .max_tokens = 3072,
                     .batch_tokens = 16384,
                     .queries = {1, 12},
                     .n_queries = 2,
                     .tops = {1, 16, 100, 1024},
                     .n_tops = 4,
                     .n_pool = POOL,
                     .is_filling = true};
static int failures;
static pthread_mutex_t saying = PTHREAD_MUTEX_INITIALIZER;

/* ---- Helpers ---- */

__attribute__((format(printf, 2, 3))) static void say(bool is_ok, const char *format, ...) {
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&saying);
    printf("%s ", is_ok ? "ok" : "FAIL");
    vprintf(format, args);
    printf("\n");
    fflush(stdout);
    failures += !is_ok;
    pthread_mutex_unlock(&saying);
    va_end(args);
}

static _Noreturn void die(const char *what, const msim_error *err) {
    say(false, "%s: %s", what, err->text);
    exit(1);
}

static void *take(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    if (!p) abort();
    return p;
}

/* Numbers that are the same everywhere. */
static uint64_t random_next(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int64_t random_below(uint64_t *state, int64_t n) {
    return (int64_t)(random_next(state) % (uint64_t)n);
}

/* Near enough to normal. */
static float random_value(uint64_t *state) {
    uint64_t r = random_next(state);
    float sum = 0;
    for (int i = 0; i < 4; i++) sum += (float)(uint16_t)(r >> (16 * i));
    return sum / 65536.0f - 2.0f;
}

static msim_options device_options(int device) {
    msim_options o = msim_options_default();
    o.device = device;
    o.max_batch_tokens = s.batch_tokens;
    o.max_batch_seqs = MAX_SEQS;
    o.max_queries = MAX_QUERIES;
    o.max_k = MAX_K;
    return o;
}

static msim_model *open_model(int device) {
    msim_options o = device_options(device);
    msim_model *model;
    msim_error err;
    if (!s.model) snprintf(err.text, sizeof err.text, "expected --model"), die("model", &err);
    if (msim_model_open(s.model, &o, &model, &err) < 0) die("model", &err);
    return model;
}

static msim_corpus *open_corpus(void) {
    msim_corpus *corpus;
    msim_error err;
    if (!s.corpus) snprintf(err.text, sizeof err.text, "expected --corpus"), die("corpus", &err);
    if (msim_corpus_open(s.corpus, NULL, &corpus, &err) < 0) die("corpus", &err);
    char copy[4096];
    snprintf(copy, sizeof copy, "%s.msim", s.corpus);
    /* gpu_check.py has made them */
    if (msim_corpus_attach_codes(corpus, 0, copy, 0, &err) < 0) die("copies", &err);
    return corpus;
}

static msim_context *open_context(const msim_model *model, const msim_options *o) {
    msim_context *ctx;
    msim_error err;
    if (msim_context_open(model, o, &ctx, &err) < 0) die("context", &err);
    return ctx;
}

/* ---- Sequences, and what each gives alone ---- */

typedef struct {
    int64_t dim;
    int32_t *ids[POOL]; /* owned */
    int64_t length[POOL];
    float *plain, *weighted; /* owned: [POOL, dim], each sequence embedded in a call of its own */
} pool;

static const float pool_weights[3] = {1, 1, 2};

static pool make_pool(msim_context *ctx, const msim_model *model) {
    static const int64_t edges[] = {1,   2,   3,   31,  63,  64,  65,  127,  128,
                                    129, 200, 255, 256, 257, 511, 513, 1025, 3072};
    pool p = {0};
    msim_model_info info = {.size = sizeof info};
    msim_error err;
    uint64_t random = (uint64_t)s.seed;
    int64_t most = s.max_tokens < s.batch_tokens ? s.max_tokens : s.batch_tokens;
    msim_model_get_info(model, &info);
    p.dim = info.dim;
    p.plain = take((size_t)(POOL * p.dim), sizeof *p.plain);
    p.weighted = take((size_t)(POOL * p.dim), sizeof *p.weighted);
    for (size_t i = 0; i < (size_t)s.n_pool; i++) {
        size_t n_edges = sizeof edges / sizeof *edges;
        int64_t n = i < n_edges ? edges[i] : 1 + random_below(&random, i % 4 ? most / 4 + 1 : most);
        if (n > most) n = 1 + n % most;
        p.length[i] = n;
        p.ids[i] = take((size_t)n, sizeof *p.ids[i]);
        for (int64_t t = 0; t < n; t++)
            p.ids[i][t] = (int32_t)random_below(&random, info.vocab < 384 ? info.vocab : 384);
        int64_t starts[2] = {0, n};
        if (msim_context_embed(ctx, p.ids[i], starts, 1, NULL, p.plain + (int64_t)i * p.dim, &err) <
                0 ||
            msim_context_embed(ctx, p.ids[i], starts, 1, pool_weights,
                               p.weighted + (int64_t)i * p.dim, &err) < 0)
            die("embed alone", &err);
    }
    return p;
}

static void free_pool(pool *p) {
    for (size_t i = 0; i < POOL; i++) free(p->ids[i]);
    free(p->plain);
    free(p->weighted);
}

typedef struct {
    int n, which[MAX_SEQS];
    int64_t starts[MAX_SEQS + 1];
    int32_t *ids; /* owned: [batch_tokens] */
    float *out;   /* owned: [MAX_SEQS, dim] */
    bool is_weighted;
} random_batch;

static void fill_batch(random_batch *b, const pool *p, int64_t room, uint64_t *random) {
    int wanted = 1 + (int)random_below(random, MAX_SEQS);
    b->n = 0;
    b->is_weighted = random_below(random, 4) == 0;
    while (b->n < wanted) {
        int i = (int)random_below(random, s.n_pool);
        if (b->starts[b->n] + p->length[i] > room) break;
        memcpy(b->ids + b->starts[b->n], p->ids[i], (size_t)p->length[i] * sizeof *b->ids);
        b->which[b->n++] = i;
        b->starts[b->n] = b->starts[b->n - 1] + p->length[i];
    }
    if (b->n == 0) { /* the first pick was longer than the room */
        memcpy(b->ids, p->ids[0], sizeof *b->ids);
        b->which[b->n++] = 0;
        b->starts[1] = 1;
    }
    /* NaN: what is not written differs */
    memset(b->out, 0xff, (size_t)(MAX_SEQS * p->dim) * sizeof *b->out);
}

/* How many rows of the batch are not, to the bit, what their sequences give alone. */
static int64_t count_differing(const random_batch *b, const pool *p) {
    int64_t n = 0;
    const float *alone = b->is_weighted ? p->weighted : p->plain;
    for (int i = 0; i < b->n; i++)
        n += memcmp(b->out + i * p->dim, alone + b->which[i] * p->dim,
                    (size_t)p->dim * sizeof *alone) != 0;
    return n;
}

static random_batch make_batch(const pool *p) {
    random_batch b = {0};
    b.ids = take((size_t)s.batch_tokens, sizeof *b.ids);
    b.out = take((size_t)(MAX_SEQS * p->dim), sizeof *b.out);
    return b;
}

static int64_t count_odd(const pool *p) {
    int64_t n = 0;
    for (int64_t i = 0; i < s.n_pool * p->dim; i++) n += !isfinite(p->plain[i]);
    return n;
}

/* ---- batches ---- */

static int run_batch(msim_context *ctx, random_batch *b, msim_error *err) {
    return msim_context_embed(ctx, b->ids, b->starts, (size_t)b->n,
                              b->is_weighted ? pool_weights : NULL, b->out, err);
}

/* Two batches under way at once; what they share must not be the numbers. */
static int run_pair(msim_context *ctx, random_batch *a, random_batch *b, msim_error *err) {
    random_batch *both[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        int rc = msim_context_embed_submit(ctx, both[i]->ids, both[i]->starts, (size_t)both[i]->n,
                                           both[i]->is_weighted ? pool_weights : NULL, both[i]->out,
                                           err);
        if (rc < 0) return rc;
        /* may be reused at once */
        memset(both[i]->ids, 0, (size_t)both[i]->starts[both[i]->n] * sizeof *both[i]->ids);
    }
    int rc = msim_context_embed_wait(ctx, err);
    return rc < 0 ? rc : msim_context_embed_wait(ctx, err);
}

static void check_batches(void) {
    msim_model *model = open_model(s.device);
    msim_options o = device_options(s.device), narrow = o;
    narrow.max_batch_tokens = s.max_tokens; /* other sizes of buffers must not matter either */
    narrow.max_batch_seqs = 4;
    msim_context *wide = open_context(model, &o), *small = open_context(model, &narrow);
    pool p = make_pool(wide, model);
    random_batch b = make_batch(&p), other = make_batch(&p);
    uint64_t random = (uint64_t)s.seed + 1;
    int64_t bad = 0, rows = 0, bad_batches = 0;
    msim_error err;
    for (int64_t i = 0; i < s.count; i++) {
        bool is_small = i % 5 == 4, is_pair = i % 3 == 2;
        fill_batch(&b, &p, is_small ? s.max_tokens : s.batch_tokens, &random);
        fill_batch(&other, &p, is_small ? s.max_tokens : s.batch_tokens, &random);
        if (is_small && b.n > 4) b.n = 4;
        if (is_small && other.n > 4) other.n = 4;
        msim_context *ctx = is_small ? small : wide;
        if ((is_pair ? run_pair(ctx, &b, &other, &err) : run_batch(ctx, &b, &err)) < 0)
            die("batches", &err);
        if (s.is_planted && i == s.count / 2) ((unsigned char *)b.out)[0] ^= 1;
        int64_t differ = count_differing(&b, &p) + (is_pair ? count_differing(&other, &p) : 0);
        bad += differ;
        bad_batches += differ > 0;
        rows += b.n + (is_pair ? other.n : 0);
    }
    say(bad == 0,
        "batches: %lld rows in %lld random batches, %lld rows of %lld batches differ from their "
        "sequence alone",
        (long long)rows, (long long)s.count, (long long)bad, (long long)bad_batches);
    int64_t odd = count_odd(&p);
    say(odd == 0, "finite: %d vectors, %lld components NaN or infinite", s.n_pool, (long long)odd);
    free(b.ids);
    free(b.out);
    free(other.ids);
    free(other.out);
    free_pool(&p);
    msim_context_close(small);
    msim_context_close(wide);
    msim_model_close(model);
}

/* ---- search ---- */

/* Some are rows with noise, some are not near any row, the last is a row as it is. */
static float *make_queries(const msim_corpus *corpus, int64_t dim, int n) {
    uint64_t random = (uint64_t)s.seed + 7;
    float *q = take((size_t)(n * dim), sizeof *q);
    msim_error err;
    for (int i = 0; i < n; i++) {
        float *row = q + i * dim, noise = i == n - 1 ? 0.0f : i % 3 ? 0.05f : 1.0f;
        bool is_finite = true;
        if (msim_corpus_vector(corpus, random_below(&random, msim_corpus_rows(corpus)), row, &err) <
            0)
            die("row", &err);
        for (int64_t d = 0; d < dim; d++) is_finite = is_finite && isfinite(row[d]);
        for (int64_t d = 0; d < dim; d++)
            row[d] = (is_finite ? row[d] : 0.5f) + noise * random_value(&random);
    }
    return q;
}

typedef struct {
    int64_t *rows;  /* owned: [MAX_QUERIES, MAX_K] */
    double *scores; /* owned */
    int64_t n;
} answer;

static answer make_answer(void) {
    return (answer){take((size_t)MAX_QUERIES * MAX_K, sizeof(int64_t)),
                    take((size_t)MAX_QUERIES * MAX_K, sizeof(double)), 0};
}

static void free_answer(answer *a) {
    free(a->rows);
    free(a->scores);
}

static int search(msim_context *ctx, const msim_search_options *o, const float *queries,
                  int n_query, int64_t k, answer *a, msim_error *err) {
    memset(a->rows, 0xff, (size_t)MAX_QUERIES * MAX_K * sizeof *a->rows);
    memset(a->scores, 0xff, (size_t)MAX_QUERIES * MAX_K * sizeof *a->scores);
    a->n = msim_context_search_with(ctx, o, queries, (size_t)n_query, k, a->rows, a->scores, err);
    return a->n < 0 ? (int)a->n : 0;
}

/* Entries whose row or score differ in a bit. */
static int64_t count_different(const answer *a, const answer *b, int n_query, int64_t k) {
    int64_t bad = a->n != b->n;
    for (int q = 0; q < n_query; q++)
        for (int64_t i = 0; i < a->n && i < b->n; i++)
            bad += a->rows[q * k + i] != b->rows[q * k + i] ||
                   memcmp(&a->scores[q * k + i], &b->scores[q * k + i], sizeof(double)) != 0;
    return bad;
}

typedef struct {
    uint64_t sum; /* of a mix of query, row and score: hits come in no order */
    int64_t n;
} hit_sum;

static int add_hit(void *user, size_t query, int64_t row, double score) {
    hit_sum *h = user;
    uint64_t bits, mixed = (uint64_t)query * 0x9e3779b97f4a7c15u + (uint64_t)row;
    memcpy(&bits, &score, sizeof bits);
    mixed ^= bits * 0x94d049bb133111ebu;
    h->sum += random_next(&mixed);
    h->n++;
    return 0;
}

typedef struct {
    msim_context *cpu, *gpu;
    const float *queries;
    answer a, b;
    int64_t searches, bad;
} comparison;

static void compare_top(comparison *c, const msim_search_options *o, int n_query, int64_t k) {
    msim_search_options plain = *o;
    msim_error err;
    plain.scan = MSIM_SCAN_F64; /* every row in double: the definition */
    if (search(c->cpu, &plain, c->queries, n_query, k, &c->a, &err) < 0)
        die("search on the CPU", &err);
    if (search(c->gpu, o, c->queries, n_query, k, &c->b, &err) < 0)
        die("search on the device", &err);
    if (s.is_planted && c->searches == 3) ((unsigned char *)c->b.scores)[0] ^= 1;
    int64_t bad = count_different(&c->a, &c->b, n_query, k);
    if (bad)
        say(false,
            "search: scan %s, metric %d, %d queries, K %lld, %zu excluded: %lld of %lld entries "
            "differ",
            msim_scan_name(o->scan), o->metric, n_query, (long long)k, o->n_excluded,
            (long long)bad, (long long)(c->a.n * n_query));
    c->searches++;
    c->bad += bad;
}

static void compare_above(comparison *c, const msim_search_options *o, int n_query,
                          double threshold) {
    hit_sum a = {0}, b = {0};
    msim_error err;
    if (msim_context_search_above(c->cpu, o, c->queries, (size_t)n_query, threshold, add_hit, &a,
                                  &err) < 0)
        die("threshold on the CPU", &err);
    if (msim_context_search_above(c->gpu, o, c->queries, (size_t)n_query, threshold, add_hit, &b,
                                  &err) < 0)
        die("threshold on the device", &err);
    if (a.n != b.n || a.sum != b.sum) {
        say(false, "threshold: scan %s, %g: %lld hits, expected the CPU's %lld",
            msim_scan_name(o->scan), threshold, (long long)b.n, (long long)a.n);
        c->bad++;
    }
    c->searches++;
}

static void compare_all(comparison *c, const msim_search_options *o, const int64_t *excluded,
                        size_t n_excluded) {
    for (int qi = 0; qi < s.n_queries; qi++)
        for (int ki = 0; ki < s.n_tops; ki++) {
            msim_search_options some = *o;
            compare_top(c, &some, (int)s.queries[qi], s.tops[ki]);
            if (ki % 2) continue;
            some.excluded = excluded;
            some.n_excluded = n_excluded;
            compare_top(c, &some, (int)s.queries[qi], s.tops[ki]);
        }
}

static void check_search(void) {
    static const int forms[] = {MSIM_SCAN_F64, MSIM_SCAN_F32, MSIM_SCAN_BF16, MSIM_SCAN_INT8};
    msim_corpus *corpus = open_corpus();
    msim_options on_cpu = device_options(MSIM_DEVICE_CPU), on_gpu = device_options(s.device);
    comparison c = {open_context(NULL, &on_cpu),
                    open_context(NULL, &on_gpu),
                    NULL,
                    make_answer(),
                    make_answer(),
                    0,
                    0};
    msim_corpus_info info = {.size = sizeof info};
    msim_error err;
    msim_corpus_get_info(corpus, &info);
    if (msim_context_load_corpus(c.cpu, corpus, &err) < 0 ||
        msim_context_load_corpus(c.gpu, corpus, &err) < 0)
        die("load", &err);
    float *queries = make_queries(corpus, info.dim, MAX_QUERIES);
    c.queries = queries;
    size_t n_excluded = (size_t)(info.rows / 3);
    int64_t *excluded = take(n_excluded, sizeof *excluded);
    for (size_t i = 0; i < n_excluded; i++) excluded[i] = (int64_t)(3 * i + 1);
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (int metric = 0; metric < 2; metric++) {
            msim_search_options o = msim_search_options_default();
            o.scan = forms[f];
            o.metric = metric;
            /* no such proof: docs/SEARCH.md */
            if (metric == MSIM_METRIC_IP && forms[f] > MSIM_SCAN_F32) continue;
            compare_all(&c, &o, excluded, n_excluded);
            if (metric == MSIM_METRIC_COSINE) {
                compare_above(&c, &o, 3, 0.2);
                compare_above(&c, &o, 3, 0.9);
            }
        }
    say(c.bad == 0,
        "search: %lld searches of %lld x %lld in every form, to the bit the CPU's plain scan: %lld "
        "differences",
        (long long)c.searches, (long long)info.rows, (long long)info.dim, (long long)c.bad);
    free(excluded);
    free(queries);
    free_answer(&c.a);
    free_answer(&c.b);
    msim_context_close(c.cpu);
    msim_context_close(c.gpu);
    msim_corpus_close(corpus);
}

/* ---- contexts ---- */

typedef struct {
    const msim_model *model;
    const msim_corpus *corpus;
    const pool *p;
    const float *queries;
    const answer *alone;
    int number;
    int64_t bad, done;
} worker;

/* Embeds and searches in a context of its own, and compares with what was found when nothing else
 * ran. */
static void *work(void *arg) {
    worker *w = arg;
    msim_options o = device_options(s.device);
    msim_search_options so = msim_search_options_default();
    msim_context *ctx = open_context(w->model, &o);
    random_batch b = make_batch(w->p);
    answer found = make_answer();
    uint64_t random = (uint64_t)(s.seed + 100 + w->number);
    msim_error err;
    so.scan = w->number % 2 ? MSIM_SCAN_F32 : MSIM_SCAN_INT8;
    if (msim_context_load_corpus(ctx, w->corpus, &err) < 0) die("contexts: load", &err);
    for (int64_t i = 0; i < s.count; i++) {
        fill_batch(&b, w->p, s.batch_tokens, &random);
        if (run_batch(ctx, &b, &err) < 0) die("contexts: embed", &err);
        if (search(ctx, &so, w->queries, 12, 16, &found, &err) < 0) die("contexts: search", &err);
        if (s.is_planted && i == 0 && w->number == 1) found.rows[5]++;
        w->bad += count_differing(&b, w->p) + count_different(w->alone, &found, 12, 16);
        w->done++;
    }
    free(b.ids);
    free(b.out);
    free_answer(&found);
    msim_context_close(ctx);
    return NULL;
}

static void check_contexts(void) {
    enum { THREADS = 2 };
    msim_model *model = open_model(s.device);
    msim_corpus *corpus = open_corpus();
    msim_options o = device_options(s.device);
    msim_context *ctx = open_context(model, &o);
    msim_corpus_info info = {.size = sizeof info};
    msim_error err;
    pool p = make_pool(ctx, model);
    msim_corpus_get_info(corpus, &info);
    float *queries = make_queries(corpus, info.dim, MAX_QUERIES);
    answer alone = make_answer();
    if (msim_context_load_corpus(ctx, corpus, &err) < 0) die("contexts: load", &err);
    if (search(ctx, NULL, queries, 12, 16, &alone, &err) < 0) die("contexts: search", &err);
    worker workers[THREADS];
    pthread_t threads[THREADS];
    int64_t bad = 0, done = 0;
    for (int t = 0; t < THREADS; t++) {
        workers[t] = (worker){model, corpus, &p, queries, &alone, t, 0, 0};
        if (pthread_create(&threads[t], NULL, work, &workers[t]) != 0) abort();
    }
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        bad += workers[t].bad;
        done += workers[t].done;
    }
    say(bad == 0,
        "contexts: %d threads, each with a context, %lld rounds of embedding and searching: %lld "
        "results differ",
        THREADS, (long long)done, (long long)bad);
    free(queries);
    free_answer(&alone);
    free_pool(&p);
    msim_context_close(ctx);
    msim_corpus_close(corpus);
    msim_model_close(model);
}

/* ---- memory ---- */

enum { SLACK = 2 << 20 }; /* the driver's own: it hands memory out in pieces of this size */

static size_t free_bytes(void) {
    ms_gpu_info info = {0};
    msim_error err;
    if (s.device == MSIM_DEVICE_CPU) return 0;
    if (ms_gpu_get_info(0, &info, &err) < 0) die("memory", &err);
    return info.free_bytes;
}

/* Everything once: opened, used and closed. */
static void use_everything(void) {
    msim_model *model = open_model(s.device);
    msim_corpus *corpus = open_corpus();
    msim_options o = device_options(s.device);
    msim_context *ctx = open_context(model, &o);
    msim_corpus_info info = {.size = sizeof info};
    msim_error err;
    answer found = make_answer();
    int64_t starts[] = {0, 5, 10};
    int32_t ids[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    float *out = take(2 * DIM_CAP, sizeof *out);
    msim_corpus_get_info(corpus, &info);
    float *queries = make_queries(corpus, info.dim, 4);
    if (msim_context_embed(ctx, ids, starts, 2, NULL, out, &err) < 0) die("memory: embed", &err);
    if (msim_context_load_corpus(ctx, corpus, &err) < 0) die("memory: load", &err);
    if (search(ctx, NULL, queries, 4, 16, &found, &err) < 0) die("memory: search", &err);
    free(queries);
    free(out);
    free_answer(&found);
    msim_context_close(ctx);
    msim_corpus_close(corpus);
    msim_model_close(model);
}

static void check_leaks(void) {
    use_everything(); /* kernels are loaded with their first use, and stay */
    use_everything();
    size_t before = free_bytes();
    for (int64_t i = 0; i < s.count; i++) use_everything();
    size_t after = free_bytes();
    if (s.is_planted) after -= 2 * SLACK + 1;
    say(after + SLACK >= before,
        "leaks: %lld times opened, used and closed; free before %zu bytes, after %zu",
        (long long)s.count, before, after);
}

/* A context for more tokens than the card holds must be refused, with nothing left behind. */
static void check_large_batch(void) {
    ms_gpu_info info;
    msim_error err = {0};
    msim_model *model = open_model(s.device);
    msim_options o = device_options(s.device);
    msim_context *ctx = NULL;
    size_t before = free_bytes();
    if (ms_gpu_get_info(0, &info, &err) < 0) die("memory", &err);
    o.max_batch_tokens = (int64_t)(info.memory_bytes / 1024); /* the residual stream alone is 2 KiB
                                                               * a token at width 512 */
    int rc = msim_context_open(model, &o, &ctx, &err);
    say(rc == -MSIM_E_MEMORY || rc == -MSIM_E_LIMIT, "large batch: %lld tokens: %s: %s",
        (long long)o.max_batch_tokens, msim_status_name(rc),
        rc < 0 ? err.text : "expected an error, got a context");
    say(rc >= 0 || ctx == NULL, "large batch: handle is NULL after the error");
    msim_context_close(ctx);
    say(free_bytes() + SLACK >= before, "large batch: free before %zu bytes, after %zu", before,
        free_bytes());
    msim_model_close(model);
}

enum { MAX_BLOCKS = 4096 };

/* Take memory until no more than `leave` bytes are free. */
static size_t fill_card(ms_gpu_stream *stream, void **blocks, size_t leave) {
    size_t n = 0, mebibyte = (size_t)1 << 20;
    msim_error err;
    for (size_t step = (size_t)1 << 30; step >= mebibyte; step /= 4)
        while (n < MAX_BLOCKS && free_bytes() > leave + step &&
               (blocks[n] = ms_gpu_alloc(stream, step, 1, "filling", &err)))
            n++;
    return n;
}

/* With `leave` bytes of the card free: the CPU's answer, or where is_tight an error that says what
 * there is none of. */
static void check_full(size_t leave, bool is_tight) {
    static void *blocks[MAX_BLOCKS];
    msim_corpus *corpus = open_corpus();
    msim_options on_gpu = device_options(s.device), on_cpu = device_options(MSIM_DEVICE_CPU);
    msim_context *gpu = open_context(NULL, &on_gpu), *cpu = open_context(NULL, &on_cpu);
    msim_corpus_info info = {.size = sizeof info};
    msim_search_options o = msim_search_options_default();
    answer a = make_answer(), b = make_answer();
    ms_gpu_stream *stream;
    msim_error err;
    msim_corpus_get_info(corpus, &info);
    if (ms_gpu_stream_open(0, &stream, &err) < 0) die("memory: stream", &err);
    size_t n = fill_card(stream, blocks, leave), left = free_bytes();
    int rc = msim_context_load_corpus(gpu, corpus, &err);
    if (rc < 0) {
        say(is_tight && (rc == -MSIM_E_MEMORY || rc == -MSIM_E_DEVICE),
            "full card: %zu bytes left: %s: %s", left, msim_status_name(rc), err.text);
    } else {
        float *queries = make_queries(corpus, info.dim, 12);
        if (msim_context_load_corpus(cpu, corpus, &err) < 0) die("load", &err);
        for (o.scan = MSIM_SCAN_F64; o.scan <= MSIM_SCAN_INT8; o.scan++) {
            if (search(cpu, &o, queries, 12, 100, &a, &err) < 0) die("search on the CPU", &err);
            rc = search(gpu, &o, queries, 12, 100, &b, &err);
            int64_t bad = rc < 0 ? -1 : count_different(&a, &b, 12, 100);
            say(bad == 0 || (is_tight && rc == -MSIM_E_MEMORY),
                "full card: %zu bytes left, %lld x %lld, scan %s: %s", left, (long long)info.rows,
                (long long)info.dim, msim_scan_name(o.scan),
                rc < 0 ? err.text
                : bad  ? "differs from the CPU"
                       : "the CPU's answer");
        }
        free(queries);
    }
    while (n) ms_gpu_free(stream, blocks[--n]);
    ms_gpu_stream_close(stream);
    rc = msim_context_load_corpus(gpu, corpus, &err);
    say(rc >= 0, "full card: loading again with room: %s", rc < 0 ? err.text : "as ever");
    free_answer(&a);
    free_answer(&b);
    msim_context_close(gpu);
    msim_context_close(cpu);
    msim_corpus_close(corpus);
}

static void check_memory(void) {
    check_leaks();
    if (s.device == MSIM_DEVICE_CPU || !s.is_filling) return;
    check_large_batch();
    size_t before = free_bytes();
    check_full((size_t)512 << 20, false); /* rows of 410 MB stream, smaller copies may stay
                                           * (kernels/search/rows.c keeps 256 MiB free) */
    check_full((size_t)1 << 20, true);
    say(free_bytes() + SLACK >= before, "full card: free before %zu bytes, after %zu", before,
        free_bytes());
}

/* ---- small: everything once, on few rows, for compute-sanitizer ---- */

static void check_small(void) {
    s.count = 3;
    s.n_pool = 12;
    s.max_tokens = s.max_tokens < 200 ? s.max_tokens : 200;
    s.batch_tokens = s.batch_tokens < 1024 ? s.batch_tokens : 1024;
    s.queries[0] = 1, s.queries[1] = 12, s.n_queries = 2;
    s.tops[0] = 1, s.tops[1] = 16, s.n_tops = 2;
    check_batches();
    check_search();
}

/* ---- Options ---- */

static void print_info(void) {
    ms_gpu_info info;
    msim_error err;
    int n = ms_gpu_count();
    printf("{\"devices\": [");
    for (int i = 0; i < n; i++) {
        if (ms_gpu_get_info(i, &info, &err) < 0) die("info", &err);
        printf("%s{\"name\": \"%s\", \"capability\": \"%d.%d\", \"multiprocessors\": %d, "
               "\"memory_bytes\": %zu, "
               "\"free_bytes\": %zu, \"shared_bytes\": %zu}",
               i ? ", " : "", info.name, info.major, info.minor, info.multiprocessors,
               info.memory_bytes, info.free_bytes, info.shared_bytes);
    }
    printf("]}\n");
}

static int read_list(const char *text, int64_t *out, int64_t most) {
    int n = 0;
    for (char *at = (char *)text; n < MAX_LIST; at++) {
        out[n] = strtoll(at, &at, 10);
        if (out[n] < 1 || out[n] > most) return 0;
        n++;
        if (*at != ',') return *at ? 0 : n;
    }
    return 0;
}

static bool read_option(const char *name, const char *value) {
    int64_t n = value ? strtoll(value, NULL, 10) : 0;
    if (strcmp(name, "--model") == 0)
        s.model = value;
    else if (strcmp(name, "--corpus") == 0)
        s.corpus = value;
    else if (strcmp(name, "--device") == 0)
        s.device = strcmp(value, "cpu") == 0 ? MSIM_DEVICE_CPU : MSIM_DEVICE_CUDA;
    else if (strcmp(name, "--count") == 0)
        return (s.count = n) > 0;
    else if (strcmp(name, "--seed") == 0)
        s.seed = n;
    else if (strcmp(name, "--max-tokens") == 0)
        return (s.max_tokens = n) > 0;
    else if (strcmp(name, "--batch-tokens") == 0)
        return (s.batch_tokens = n) > 0;
    else if (strcmp(name, "--pool") == 0)
        return (s.n_pool = (int)n) > 0 && n <= POOL;
    else if (strcmp(name, "--queries") == 0)
        return (s.n_queries = read_list(value, s.queries, MAX_QUERIES)) > 0;
    else if (strcmp(name, "--product") == 0 && value && strcmp(value, "own") == 0)
        ms_gpu_projector_set_auto(MS_GPU_PRODUCT_OWN);
    else if (strcmp(name, "--product") == 0)
        return value && strcmp(value, "auto") == 0;
    else if (strcmp(name, "--top") == 0)
        return (s.n_tops = read_list(value, s.tops, MAX_K)) > 0;
    else
        return false;
    return true;
}

static const struct {
    const char *name;
    void (*run)(void);
} commands[] = {{"info", print_info},         {"batches", check_batches}, {"search", check_search},
                {"contexts", check_contexts}, {"memory", check_memory},   {"small", check_small}};

int main(int argc, char **argv) {
    void (*run)(void) = NULL;
    for (int i = 1; i < argc; i++) {
        bool is_known = true;
        if (strcmp(argv[i], "--plant") == 0)
            s.is_planted = true;
        else if (strcmp(argv[i], "--no-fill") == 0)
            s.is_filling = false;
        else if (argv[i][0] == '-')
            is_known = i + 1 < argc && read_option(argv[i], argv[i + 1]), i++;
        else
            for (size_t c = 0; c < sizeof commands / sizeof *commands; c++)
                if (strcmp(argv[i], commands[c].name) == 0) run = commands[c].run;
        if (!is_known) {
            fprintf(stderr, "driver: %s: expected an option with its value\n", argv[i - 1]);
            return 2;
        }
    }
    if (!run) {
        fprintf(stderr, "driver: expected info, batches, search, contexts, memory or small\n");
        return 2;
    }
    if (s.batch_tokens < s.max_tokens) s.batch_tokens = s.max_tokens;
    run();
    return failures != 0;
}
