/* What bench/gpu_bench.py asks of the kernels: each alone, timed by events of the device on data
 * that no cache holds, and the encoder whole. Internal interfaces; one stream, one thread.
 *
 *   gpu_bench [options] SECTION...     bandwidth, rows, gemm, attention, scan, prepare, encoder,
 *                                      search
 *     --device N  --model FILE (encoder)  --mixed FILE (encoder: one length a line)  --rounds N
 *     --tokens N (of a batch)  --lengths L,...  --corpus N (rows of a scan or search)
 *     --square N (gemm: of the square product)  --tiny (sizes for a try)
 *     --case NAME (kernels: only cases whose name begins with it, for a profiler)
 *     --product own|library|auto|all (gemm: which rows; encoder: who computes products; all is auto
 *     there)
 *
 * One JSON object a case on standard output: section, case, by (gemm, encoder: who computed it),
 * seconds and median of one run, bytes and flops of one run, rounds; or refused, the reason why a
 * case did not run, and then the next follows. On the emulator seconds and median are null: its
 * times mean nothing; those of `prepare host` are the CPU's and stay. Every case runs twice to warm
 * up; a round is as many runs as take some milliseconds, over as many sets of inputs as together
 * are larger than a last cache. Inputs are random and never zeros. Bytes are those that a run must
 * move, each input and output once. */
#define _GNU_SOURCE
#include "gpu_read.h"
#include "kernels/kernels.h"
#include "kernels/encoder/project.h"
#include "search/bound_codes.h"
#include "search/plan.h"
#include "midisim.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_LIST = 16,
    MAX_ROUNDS = 1000,
    SETS = 4,
    DIM = 512,
    HEADS = 8,
    INNER = 512,
    FF = 2048,
    MAX_TOKENS = 3072,
    MOST_BLOCKS = 512,
    ALL_PRODUCTS = -1
};

typedef struct {
    int device;
    const char *model, *mixed, *only; /* only: NULL, or how a case's name must begin */
    int64_t rounds, tokens, corpus, square, lengths[MAX_LIST];
    int n_lengths, product; /* ms_gpu_product, or ALL_PRODUCTS */
} settings;

static settings s = {.rounds = 15,
                     .tokens = 49152,
                     .corpus = 3480123,
                     .square = 8192,
                     .lengths = {512, 1024, 2048, 3072},
                     .n_lengths = 4,
                     .product = ALL_PRODUCTS};
static ms_gpu_stream *stream;
static ms_gpu_info card;
static bool is_emulated;
static msim_error err;
static void *blocks[MOST_BLOCKS]; /* device memory of the section that runs */
static size_t n_blocks;
static uint64_t random_state = 1;
static char by[400];               /* who computes what is measured; empty: nobody else could */
static void (*freshen)(void *arg); /* before each round, not timed: for kernels that work in place
                                    * and would end at zeros */

/* ---- Helpers ---- */

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "gpu_bench: %s: %s\n", what, err.text);
    exit(1);
}

static void must(int rc, const char *what) {
    if (rc < 0) fail(what);
}

static uint32_t random_next(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

/* Near enough to normal, of variance 1/3. */
static float random_value(void) {
    uint32_t a = random_next(), b = random_next();
    return ((float)(a >> 16) + (float)(a & 0xffff) + (float)(b >> 16) + (float)(b & 0xffff)) /
               65536.0f -
           2.0f;
}

static void *take(size_t n_items, size_t item_bytes) {
    if (n_blocks == MOST_BLOCKS) abort();
    void *p = ms_gpu_alloc(stream, n_items, item_bytes, "bench", &err);
    if (!p) fail("memory");
    return blocks[n_blocks++] = p;
}

static void give_back(void) {
    while (n_blocks) ms_gpu_free(stream, blocks[--n_blocks]);
}

static void put(void *device, const void *host, size_t n_bytes) {
    must(ms_gpu_upload(stream, device, host, n_bytes, &err), "upload");
    must(ms_gpu_sync(stream, &err), "upload");
}

enum fill { FILL_F32, FILL_BF16, FILL_BYTES };

/* Device memory of random numbers: a block made once and copied to odd places, so that no two rows
 * of a tile agree. */
static void *take_random(size_t n, enum fill kind) {
    enum { MADE = 1 << 20 };
    static float *f32;
    static ms_bf16 *bf16;
    size_t item = kind == FILL_F32 ? sizeof(float) : kind == FILL_BF16 ? sizeof(ms_bf16) : 1;
    if (!f32) {
        f32 = malloc(MADE * sizeof *f32);
        bf16 = malloc(MADE * sizeof *bf16);
        if (!f32 || !bf16) abort();
        for (size_t i = 0; i < MADE; i++) {
            f32[i] = random_value();
            bf16[i] = ms_bf16_of_f32(f32[i]);
        }
    }
    unsigned char *p = take(n, item);
    const unsigned char *made = kind == FILL_F32 ? (const void *)f32 : (const void *)bf16;
    for (size_t at = 0; at < n;) {
        size_t from = random_next() % (MADE / 2), m = MADE / 2 - 2 * (random_next() % 999);
        if (m > n - at) m = n - at;
        must(ms_gpu_upload(stream, p + at * item, made + from * item, m * item, &err), "upload");
        at += m;
    }
    must(ms_gpu_sync(stream, &err), "upload");
    return p;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* cos and sin [MAX_TOKENS, 16] of true angles: rotations keep lengths. */
static void take_angles(float **cos_table, float **sin_table) {
    enum { N = MAX_TOKENS * 16 };
    float *host = calloc(2 * N, sizeof *host);
    if (!host) abort();
    for (int i = 0; i < N; i++) {
        float angle = 3.0f * random_value();
        host[i] = cosf(angle);
        host[N + i] = sinf(angle);
    }
    *cos_table = take(N, sizeof *host);
    *sin_table = take(N, sizeof *host);
    put(*cos_table, host, N * sizeof *host);
    put(*sin_table, host + N, N * sizeof *host);
    free(host);
}

/* One run of the case with inputs of set `set`. */
typedef int (*run_fn)(void *arg, int set);

/* A string's characters as JSON. */
static void print_text(const char *text) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') putchar('\\');
        putchar((unsigned char)*text < 0x20 ? ' ' : *text);
    }
}

static void print_head(const char *section, const char *name) {
    printf("{\"section\": \"%s\", \"case\": \"", section);
    print_text(name);
    printf("\"");
    if (*by) {
        printf(", \"by\": \"");
        print_text(by);
        printf("\"");
    }
}

static void print_times(const char *section, const char *name, double *seconds, double bytes,
                        double flops, bool is_known) {
    qsort(seconds, (size_t)s.rounds, sizeof *seconds, compare_doubles);
    print_head(section, name);
    if (!is_known || seconds[0] <= 0)
        printf(", \"seconds\": null, \"median\": null");
    else
        printf(", \"seconds\": %.9g, \"median\": %.9g", seconds[0], seconds[s.rounds / 2]);
    printf(", \"bytes\": %.17g, \"flops\": %.17g, \"rounds\": %lld}\n", bytes, flops,
           (long long)s.rounds);
    fflush(stdout);
}

static void print_case(const char *section, const char *name, double *seconds, double bytes,
                       double flops) {
    print_times(section, name, seconds, bytes, flops, !is_emulated);
}

/* A case that could not run: a row that says so, and the next one's turn. */
static void print_refused(const char *section, const char *name, const char *why) {
    print_head(section, name);
    printf(", \"seconds\": null, \"median\": null, \"bytes\": 0, \"flops\": 0, \"rounds\": 0, "
           "\"refused\": \"");
    print_text(why);
    printf("\"}\n");
    fflush(stdout);
}

/* Seconds of each round; the error of the run that failed. */
static int time_rounds(double *seconds, run_fn run, void *arg, ms_gpu_event *from,
                       ms_gpu_event *to) {
    int set = 0, rc = MSIM_OK;
    int64_t runs = 1;
    for (int64_t round = -2; round < s.rounds; round++) {
        if (freshen) freshen(arg);
        rc = ms_gpu_event_record(from, stream, &err);
        for (int64_t i = 0; i < runs && rc >= 0; i++, set = (set + 1) % SETS) rc = run(arg, set);
        if (rc >= 0) rc = ms_gpu_event_record(to, stream, &err);
        if (rc >= 0) rc = ms_gpu_event_wait(to, &err);
        if (rc < 0) return rc;
        double took = ms_gpu_event_seconds(from, to) / (double)runs;
        if (round >= 0) seconds[round] = took;
        if (round == -1 && !is_emulated && took > 0)
            runs = took > 5e-3 ? 1 : took < 25e-6 ? 200 : (int64_t)(5e-3 / took);
    }
    return rc;
}

static void measure(const char *section, const char *name, run_fn run, void *arg, double bytes,
                    double flops) {
    double seconds[MAX_ROUNDS];
    ms_gpu_event *from, *to;
    if (s.only && strncmp(name, s.only, strlen(s.only)) != 0) return;
    must(ms_gpu_event_open(stream, &from, &err), name);
    must(ms_gpu_event_open(stream, &to, &err), name);
    if (time_rounds(seconds, run, arg, from, to) >= 0)
        print_case(section, name, seconds, bytes, flops);
    else
        print_refused(section, name, err.text);
    ms_gpu_event_close(from);
    ms_gpu_event_close(to);
}

/* ---- bandwidth ---- */

typedef struct {
    char *from[SETS], *to[SETS];
    void *host;
    uint32_t *sink;
    size_t n_bytes;
} moves;

static int run_copy(void *arg, int set) {
    moves *m = arg;
    return ms_gpu_copy(stream, m->to[set], m->from[set], m->n_bytes, &err);
}

static int run_read(void *arg, int set) {
    moves *m = arg;
    return ms_bench_read_cuda(stream, m->sink, m->from[set], m->n_bytes, &err);
}

static int run_upload(void *arg, int set) {
    moves *m = arg;
    return ms_gpu_upload(stream, m->to[set], m->host, m->n_bytes / 4, &err);
}

static int run_download(void *arg, int set) {
    moves *m = arg;
    return ms_gpu_download(stream, m->host, m->from[set], m->n_bytes / 4, &err);
}

static void bench_bandwidth(void) {
    moves m = {.n_bytes = card.free_bytes / 32 / 4096 * 4096};
    /* larger than a cache */
    if (m.n_bytes > (size_t)s.corpus * 1024) m.n_bytes = (size_t)s.corpus * 1024 / 4096 * 4096;
    if (m.n_bytes > (size_t)1 << 30) m.n_bytes = (size_t)1 << 30;
    for (int i = 0; i < SETS; i++) {
        m.from[i] = take_random(m.n_bytes, FILL_BYTES);
        m.to[i] = take(m.n_bytes, 1);
    }
    m.sink = take(4, sizeof *m.sink);
    must(ms_gpu_fill(stream, m.sink, 0, 4 * sizeof *m.sink, &err), "fill");
    m.host = ms_gpu_host_alloc(stream, m.n_bytes / 4, 1, "bench", &err);
    if (!m.host) fail("memory");
    memset(m.host, 0x5a, m.n_bytes / 4);
    measure("bandwidth", "copy", run_copy, &m, 2 * (double)m.n_bytes, 0);
    measure("bandwidth", "read", run_read, &m, (double)m.n_bytes, 0);
    measure("bandwidth", "upload", run_upload, &m, (double)m.n_bytes / 4, 0);
    measure("bandwidth", "download", run_download, &m, (double)m.n_bytes / 4, 0);
    ms_gpu_host_free(stream, m.host);
}

/* ---- rows: kernels between the products ---- */

typedef struct {
    int64_t n, n_seq;
    float *x[SETS], *out, *table, *scale, *cos, *sin;
    ms_bf16 *h[SETS], *wide[SETS], *middle[SETS], *fresh;
    int32_t *ids, *positions;
    int64_t *starts;
    void *scratch;
} row_inputs;

static int run_embed_norm(void *arg, int set) {
    row_inputs *r = arg;
    return ms_embed_norm_cuda(stream, r->h[set], r->x[set], r->ids, r->table, r->scale, r->n, DIM,
                              &err);
}
static int run_norm_bf16(void *arg, int set) {
    row_inputs *r = arg;
    return ms_norm_bf16_cuda(stream, r->h[set], r->x[set], r->scale, r->n, DIM, &err);
}
static int run_norm_f32(void *arg, int set) {
    row_inputs *r = arg;
    return ms_norm_f32_cuda(stream, r->x[set], r->x[set], r->scale, r->n, DIM, &err);
}
static int run_gelu(void *arg, int set) {
    row_inputs *r = arg;
    return ms_gelu_bf16_cuda(stream, r->middle[set], r->n * FF, &err);
}
static void freshen_gelu(void *arg) {
    row_inputs *r = arg;
    for (int i = 0; i < SETS; i++)
        must(ms_gpu_copy(stream, r->middle[i], r->fresh, (size_t)(r->n * FF) * sizeof(ms_bf16),
                         &err),
             "copy");
}
static int run_rotate(void *arg, int set) {
    row_inputs *r = arg;
    return ms_rotate_bf16_cuda(stream, r->wide[set], r->cos, r->sin, r->positions, r->n, HEADS,
                               &err);
}
static int run_pool(void *arg, int set) {
    row_inputs *r = arg;
    return ms_pool_cuda(stream, r->out, r->x[set], r->ids, r->starts, r->n_seq, r->n, DIM,
                        &ms_family_of(MSIM_FAMILY_MIDISIM)->classes, NULL, r->scratch, &err);
}

/* Token ids, positions and starts of sequences of one length. */
static void put_sequences(int64_t n, int64_t length, int32_t *ids, int32_t *positions,
                          int64_t *starts) {
    int32_t *host = calloc((size_t)n, sizeof *host);
    int64_t *first = calloc((size_t)(n / length + 1), sizeof *first);
    if (!host || !first) abort();
    for (int64_t i = 0; i < n; i++) host[i] = (int32_t)(random_next() % 384);
    put(ids, host, (size_t)n * sizeof *host);
    for (int64_t i = 0; i < n; i++) host[i] = (int32_t)(i % length);
    put(positions, host, (size_t)n * sizeof *host);
    for (int64_t i = 0; i <= n / length; i++) first[i] = i * length;
    put(starts, first, (size_t)(n / length + 1) * sizeof *first);
    free(host);
    free(first);
}

static void bench_rows(void) {
    int64_t length = s.lengths[s.n_lengths - 1];
    row_inputs r = {.n_seq = s.tokens / length + 1};
    r.n = r.n_seq * length;
    size_t n = (size_t)r.n;
    for (int i = 0; i < SETS; i++) {
        r.x[i] = take_random(n * DIM, FILL_F32);
        r.h[i] = take(n * DIM, sizeof(ms_bf16));
        r.wide[i] = take_random(n * 3 * INNER, FILL_BF16);
        r.middle[i] = take(n * FF, sizeof(ms_bf16));
    }
    r.fresh = take_random(n * FF, FILL_BF16);
    r.table = take_random(386 * DIM, FILL_F32);
    r.scale = take_random(DIM, FILL_F32);
    take_angles(&r.cos, &r.sin);
    r.ids = take(n, sizeof *r.ids);
    r.positions = take(n, sizeof *r.positions);
    r.starts = take((size_t)r.n_seq + 1, sizeof *r.starts);
    r.out = take((size_t)r.n_seq * DIM, sizeof *r.out);
    r.scratch = take(ms_pool_scratch_bytes(r.n, r.n_seq, DIM), 1);
    put_sequences(r.n, length, r.ids, r.positions, r.starts);
    double tokens = (double)r.n;
    measure("rows", "norm_bf16", run_norm_bf16, &r, tokens * DIM * 6, 0);
    measure("rows", "norm_f32", run_norm_f32, &r, tokens * DIM * 8, 0);
    /* half of each head of q and k */
    measure("rows", "rotate", run_rotate, &r, tokens * HEADS * 2 * 32 * 4, 0);
    freshen = freshen_gelu;
    measure("rows", "gelu", run_gelu, &r, tokens * FF * 4, 0);
    freshen = NULL;
    measure("rows", "pool", run_pool, &r, tokens * DIM * 4, 0);
    measure("rows", "embed_norm", run_embed_norm, &r, tokens * DIM * 6, 0);
}

/* ---- gemm: each product of the encoder, by the library, as `auto` chooses, and by each of our
 * tiles; the square one first, because shares are of it ---- */

typedef struct {
    ms_gpu_gemm g[SETS];
    ms_gpu_projector *projector; /* NULL: our kernel with `tile` */
    int tile;
} product;

static int run_product(void *arg, int set) {
    product *p = arg;
    return p->projector ? ms_gpu_project(p->projector, &p->g[set], &err)
                        : ms_gemm_bf16_tile_cuda(stream, &p->g[set], p->tile, &err);
}

typedef struct {
    const char *name;
    int epilogue;
    int64_t m, n, k;
} product_shape;

static void take_product(product *p, const product_shape *shape) {
    int64_t m = shape->m, n = shape->n, k = shape->k;
    bool is_biased = shape->epilogue == MS_GPU_GELU || shape->epilogue == MS_GPU_ADD;
    float *bias = is_biased ? take((size_t)n, sizeof *bias) : NULL, *cos_table, *sin_table;
    ms_bf16 *bias_bf16 = is_biased ? take((size_t)n, sizeof *bias_bf16) : NULL;
    int32_t *ids = take((size_t)m, sizeof *ids), *positions = take((size_t)m, sizeof *positions);
    int64_t *starts = take((size_t)m + 2, sizeof *starts);
    if (is_biased) { /* zeros in both types; a bias costs what it is not */
        must(ms_gpu_fill(stream, bias, 0, (size_t)n * sizeof *bias, &err), "fill");
        must(ms_gpu_fill(stream, bias_bf16, 0, (size_t)n * sizeof *bias_bf16, &err), "fill");
    }
    take_angles(&cos_table, &sin_table);
    put_sequences(m, m < MAX_TOKENS ? m : MAX_TOKENS / 2, ids, positions, starts);
    for (int i = 0; i < SETS; i++) {
        p->g[i] = (ms_gpu_gemm){.a = take_random((size_t)(m * k), FILL_BF16),
                                .w = take_random((size_t)(n * k), FILL_BF16),
                                .m = m,
                                .n = n,
                                .k = k,
                                .epilogue = shape->epilogue,
                                .bias = bias,
                                .bias_bf16 = bias_bf16,
                                .cos = cos_table,
                                .sin = sin_table,
                                .positions = positions,
                                .rotated = shape->epilogue == MS_GPU_ROTATE ? 2 * n / 3 : 0};
        p->g[i].dst = shape->epilogue == MS_GPU_ADD ? take_random((size_t)(m * n), FILL_F32)
                                                    : take((size_t)(m * n), sizeof(ms_bf16));
    }
}

/* One row of the table: the product by a projector, or by our kernel with a tile. */
static void bench_product(product *p, const product_shape *shape, const char *who) {
    double m = (double)shape->m, n = (double)shape->n, k = (double)shape->k;
    char label[128];
    snprintf(label, sizeof label, "%s %lldx%lldx%lld %s", shape->name, (long long)shape->m,
             (long long)shape->n, (long long)shape->k, who);
    if (!p->projector)
        snprintf(by, sizeof by, "own kernel %s", ms_gemm_bf16_tile_name(p->tile));
    else if (ms_gpu_projector_plan(p->projector, &p->g[0], &err) < 0)
        return print_refused("gemm", label, err.text);
    else
        ms_gpu_projector_describe(p->projector, &p->g[0], by, sizeof by);
    measure("gemm", label, run_product, p,
            2 * k * (m + n) + (shape->epilogue == MS_GPU_ADD ? 8 : 2) * m * n, 2 * m * n * k);
    by[0] = '\0';
}

static bool is_wanted(int product_kind) {
    return s.product == ALL_PRODUCTS || s.product == product_kind;
}

static void bench_shape(const product_shape *shape, ms_gpu_projector *library,
                        ms_gpu_projector *any, const char *why) {
    product p = {.projector = library};
    char label[128];
    take_product(&p, shape);
    snprintf(label, sizeof label, "%s %lldx%lldx%lld library", shape->name, (long long)shape->m,
             (long long)shape->n, (long long)shape->k);
    if (is_wanted(MS_GPU_PRODUCT_LIBRARY) && library) bench_product(&p, shape, "library");
    if (is_wanted(MS_GPU_PRODUCT_LIBRARY) && !library) print_refused("gemm", label, why);
    p.projector = any;
    if (is_wanted(MS_GPU_PRODUCT_AUTO)) bench_product(&p, shape, "auto");
    p.projector = NULL;
    for (p.tile = 0; p.tile < MS_GPU_GEMM_TILES && is_wanted(MS_GPU_PRODUCT_OWN); p.tile++) {
        char who[32];
        snprintf(who, sizeof who, "own tile %d", p.tile);
        bench_product(&p, shape, who);
    }
    give_back();
}

static void bench_gemm(void) {
    const product_shape shapes[] = {{"square", MS_GPU_STORE, s.square, s.square, s.square},
                                    {"ff1", MS_GPU_GELU, s.tokens, FF, DIM},
                                    {"ff2", MS_GPU_ADD, s.tokens, DIM, FF},
                                    {"qkv", MS_GPU_ROTATE, s.tokens, 3 * INNER, DIM},
                                    {"out", MS_GPU_ADD, s.tokens, DIM, INNER}};
    ms_gpu_projector *library = NULL, *any = NULL;
    msim_error why = {.text = ""};
    (void)ms_gpu_projector_open(stream, MS_GPU_PRODUCT_LIBRARY, &library, &why);
    must(ms_gpu_projector_open(stream, MS_GPU_PRODUCT_AUTO, &any, &err), "products");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        bench_shape(&shapes[i], library, any, why.text);
    ms_gpu_projector_close(library);
    ms_gpu_projector_close(any);
}

/* ---- attention ---- */

typedef struct {
    ms_bf16 *qkv[SETS], *heads[SETS];
    ms_gpu_query_tile *tiles;
    int64_t n_tiles;
} attention;

static int run_attention(void *arg, int set) {
    attention *a = arg;
    return ms_attend_bf16_cuda(stream, a->heads[set], a->qkv[set], a->tiles, a->n_tiles, HEADS,
                               &err);
}

static void bench_attention(void) {
    for (int l = 0; l < s.n_lengths; l++) {
        int64_t length = s.lengths[l], n_seq = (s.tokens + length - 1) / length, n = n_seq * length;
        int64_t per_seq = (length + MS_GPU_QUERY_ROWS - 1) / MS_GPU_QUERY_ROWS;
        attention a = {.n_tiles = n_seq * per_seq};
        ms_gpu_query_tile *tiles = calloc((size_t)a.n_tiles, sizeof *tiles);
        char name[64];
        if (!tiles) abort();
        for (int64_t i = 0; i < a.n_tiles; i++) {
            int64_t start = i / per_seq * length;
            tiles[i] = (ms_gpu_query_tile){(int32_t)(start + i % per_seq * MS_GPU_QUERY_ROWS),
                                           (int32_t)start, (int32_t)(start + length)};
        }
        a.tiles = take((size_t)a.n_tiles, sizeof *a.tiles);
        put(a.tiles, tiles, (size_t)a.n_tiles * sizeof *tiles);
        for (int i = 0; i < SETS; i++) {
            a.qkv[i] = take_random((size_t)n * 3 * INNER, FILL_BF16);
            a.heads[i] = take((size_t)n * INNER, sizeof(ms_bf16));
        }
        snprintf(name, sizeof name, "%lldx%lld", (long long)length, (long long)n_seq);
        measure("attention", name, run_attention, &a, (double)n * 4 * INNER * 2,
                4.0 * (double)n_seq * (double)length * (double)length * INNER);
        free(tiles);
        give_back();
    }
}

/* ---- scan: a pass over a corpus, of which no row is kept ---- */

static int run_scan(void *arg, int set) {
    (void)set; /* the rows are larger than a cache */
    return ms_scan_cuda(stream, arg, &err);
}

/* Random queries and a short centre, on the device. */
static ms_gpu_prepare take_queries(int scan, int n) {
    ms_gpu_prepare p = {.scan = scan,
                        .n_query = n,
                        .dim = DIM,
                        .queries = take_random((size_t)n * DIM, FILL_F32),
                        .norms = take(MS_GPU_SCAN_QUERIES, sizeof(double)),
                        .laid_out = take(ms_scan_queries_bytes(scan, n, DIM), 1),
                        .bounds = take(MS_GPU_SCAN_QUERIES, sizeof(ms_bound_codes)),
                        .scale = take(MS_GPU_SCAN_QUERIES, sizeof(float)),
                        .lambda = take(MS_GPU_SCAN_QUERIES, sizeof(float))};
    float centre[DIM], *device = take(DIM, sizeof *device);
    for (int d = 0; d < DIM; d++) centre[d] = random_value() / 100;
    put(device, centre, sizeof centre);
    p.centre = device;
    return p;
}

static void put_queries(ms_gpu_scan *scan, int n) {
    float small[MS_GPU_SCAN_QUERIES], zeros[MS_GPU_SCAN_QUERIES] = {0}, uppers[MS_GPU_SCAN_QUERIES];
    ms_gpu_prepare p = take_queries(scan->scan, n);
    void *at[3];
    for (int q = 0; q < n; q++) small[q] = 1e-4f, uppers[q] = FLT_MAX;
    const void *host[] = {zeros, small, uppers}; /* nothing is kept */
    must(ms_prepare_cuda(stream, &p, &err), "queries");
    for (int i = 0; i < 3; i++) {
        at[i] = take(MS_GPU_SCAN_QUERIES, sizeof(float));
        put(at[i], host[i], (size_t)n * sizeof(float));
    }
    scan->queries = p.laid_out, scan->norms = p.norms, scan->scale = p.scale;
    scan->lambda = p.lambda;
    scan->threshold = at[0], scan->rho_factor = at[1], scan->upper_threshold = at[2];
}

/* Tiles of random codes with the numbers of a well-behaved row behind each. */
static unsigned char *take_tiles(int scan_kind, int64_t n_rows) {
    enum { MADE = 4096 };
    size_t codes = scan_kind == MSIM_SCAN_INT8 ? ms_codes_int8(DIM) : ms_codes_bf16(DIM);
    size_t tile = scan_kind == MSIM_SCAN_INT8 ? ms_codes_int8_tile(DIM) : ms_codes_bf16_tile(DIM);
    size_t n = (size_t)(n_rows + MS_CODES_TILE - 1) / MS_CODES_TILE, made = n < MADE ? n : MADE;
    unsigned char *host = calloc(made, tile), *device = take(n, tile);
    if (!host) abort();
    for (size_t t = 0; t < made; t++) {
        unsigned char *at = host + t * tile;
        for (size_t i = 0; i < codes / 2; i++) {
            uint16_t code = scan_kind == MSIM_SCAN_INT8 ? (uint16_t)random_next()
                                                        : ms_bf16_of_f32(random_value() / 16).bits;
            memcpy(at + 2 * i, &code, 2);
        }
        for (size_t i = codes; i < tile; i += sizeof(float)) {
            float small = 1e-3f;
            memcpy(at + i, &small, sizeof small);
        }
    }
    for (size_t t = 0; t < n; t += made)
        put(device + t * tile, host, (n - t < made ? n - t : made) * tile);
    free(host);
    return device;
}

static void bench_one_scan(int scan_kind, const ms_gpu_rows *rows, const float *values) {
    static const int numbers[] = {1, 12, 64};
    size_t row_bytes = scan_kind == MSIM_SCAN_INT8 ? ms_codes_int8_tile(DIM) / MS_CODES_TILE
                       : scan_kind == MSIM_SCAN_BF16
                           ? ms_codes_bf16_tile(DIM) / MS_CODES_TILE
                           : DIM * sizeof(float) + (scan_kind == MSIM_SCAN_F32) * sizeof(float);
    ms_gpu_scan scan = {.scan = scan_kind, .rows = *rows, .values = values, .candidate_cap = 1024};
    scan.n_blocks = (rows->n_rows + MS_GPU_BLOCK_ROWS - 1) / MS_GPU_BLOCK_ROWS;
    scan.block_step = 1;
    if (scan_kind == MSIM_SCAN_INT8 || scan_kind == MSIM_SCAN_BF16)
        scan.tiles = take_tiles(scan_kind, rows->n_rows);
    scan.candidates = take(MS_GPU_SCAN_QUERIES * 1024, sizeof *scan.candidates);
    scan.n_candidates = take(MS_GPU_SCAN_QUERIES, sizeof *scan.n_candidates);
    must(ms_gpu_fill(stream, scan.n_candidates, 0, MS_GPU_SCAN_QUERIES * sizeof *scan.n_candidates,
                     &err),
         "fill");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char name[64];
        scan.n_query = numbers[i];
        put_queries(&scan, scan.n_query);
        snprintf(name, sizeof name, "%s %lldx%d q%d", msim_scan_name(scan_kind),
                 (long long)rows->n_rows, DIM, scan.n_query);
        measure("scan", name, run_scan, &scan, (double)rows->n_rows * (double)row_bytes,
                2.0 * (double)rows->n_rows * DIM * scan.n_query);
    }
}

/* Rows that the device makes: the host would take longer for them than all scans together. */
static float *take_rows(int64_t n) {
    float *rows = take((size_t)n * DIM, sizeof *rows);
    must(ms_bench_fill_cuda(stream, rows, (size_t)n * DIM, 2, &err), "rows");
    return rows;
}

static void bench_scan(void) {
    ms_gpu_rows rows = {
        .row_bytes = DIM * sizeof(float), .n_rows = s.corpus, .dim = DIM, .dtype = MSIM_DTYPE_F32};
    bench_one_scan(MSIM_SCAN_INT8, &rows, NULL);
    give_back();
    bench_one_scan(MSIM_SCAN_BF16, &rows, NULL);
    give_back();
    rows.data = take_rows(s.corpus);
    float *values = take((size_t)s.corpus, sizeof *values);
    uint32_t *nonfinite = take(4, sizeof *nonfinite);
    must(ms_gpu_fill(stream, nonfinite, 0, 4 * sizeof *nonfinite, &err), "fill");
    must(ms_row_values_cuda(stream, values, nonfinite, &rows, 0, &err), "row values");
    bench_one_scan(MSIM_SCAN_F32, &rows, values);
}

/* ---- prepare: what a search does beside its scans, 12 queries for the 10 best rows ---- */

enum { SEARCH_TOP = 10, SEARCH_QUERIES = 12 };

typedef struct {
    ms_gpu_prepare prepare;
    ms_gpu_thresholds thresholds;
    ms_gpu_score score;
    ms_gpu_select select;
    void *pinned, *laid_out; /* queries that the host prepared, and where they go */
    size_t pinned_bytes;
} aside;

static int run_prepare(void *arg, int set) {
    (void)set;
    return ms_prepare_cuda(stream, &((aside *)arg)->prepare, &err);
}
static int run_thresholds(void *arg, int set) {
    (void)set;
    return ms_thresholds_cuda(stream, &((aside *)arg)->thresholds, &err);
}
static int run_score(void *arg, int set) {
    (void)set;
    return ms_score_f64_cuda(stream, &((aside *)arg)->score, &err);
}
static int run_select(void *arg, int set) {
    (void)set;
    return ms_select_cuda(stream, &((aside *)arg)->select, &err);
}
static int run_send(void *arg, int set) {
    aside *a = arg;
    (void)set;
    return ms_gpu_upload(stream, a->laid_out, a->pinned, a->pinned_bytes, &err);
}
/* What a round costs even if it finds nothing: the way to the host and back. */
static int run_wait(void *arg, int set) {
    aside *a = arg;
    (void)set;
    int rc = ms_gpu_download(stream, a->pinned, a->select.n_best, 256, &err);
    return rc < 0 ? rc : ms_gpu_sync(stream, &err);
}

/* The same queries prepared by the host, which is how the CPU's search does it: without laying them
 * out and without sending them. By the clock of the host, on the emulator too. */
static void time_host(int scan, const float *queries, const float *centre) {
    double seconds[MAX_ROUNDS];
    float weight[DIM];
    int16_t narrow[DIM];
    ms_codes codes = {.centre = centre, .dim = DIM};
    char name[64];
    for (int64_t round = -2; round < s.rounds; round++) {
        double began = now();
        for (int q = 0; q < SEARCH_QUERIES; q++) {
            const float *query = queries + q * DIM;
            ms_bound_codes b;
            double norm = sqrt(ms_row_square((const unsigned char *)query, MSIM_DTYPE_F32, DIM));
            if (scan == MSIM_SCAN_INT8)
                ms_bound_int8_make(&b, narrow, query, norm, &codes, 127);
            else if (scan == MSIM_SCAN_BF16)
                ms_bound_bf16_narrow_make(&b, weight, query, norm, &codes, ms_scan_bf16_chain(DIM));
            else
                for (int d = 0; d < DIM; d++) weight[d] = (float)(query[d] / norm);
            __asm__ volatile("" ::"r"(weight), "r"(narrow), "r"(&b) : "memory");
        }
        if (round >= 0) seconds[round] = now() - began;
    }
    snprintf(name, sizeof name, "host %s q%d", msim_scan_name(scan), SEARCH_QUERIES);
    if (!s.only || strncmp(name, s.only, strlen(s.only)) == 0)
        print_times("prepare", name, seconds, 0, 0, true);
}

static void prepare_both_ways(aside *a, int scan) {
    static float queries[SEARCH_QUERIES * DIM], centre[DIM];
    char name[64];
    for (int i = 0; i < SEARCH_QUERIES * DIM; i++) queries[i] = random_value();
    for (int i = 0; i < DIM; i++) centre[i] = random_value() / 100;
    a->prepare = take_queries(scan, SEARCH_QUERIES);
    a->pinned_bytes = ms_scan_queries_bytes(scan, SEARCH_QUERIES, DIM);
    a->laid_out = a->prepare.laid_out;
    snprintf(name, sizeof name, "device %s q%d", msim_scan_name(scan), SEARCH_QUERIES);
    measure("prepare", name, run_prepare, a, 0, 0);
    time_host(scan, queries, centre);
    snprintf(name, sizeof name, "send %s q%d", msim_scan_name(scan), SEARCH_QUERIES);
    measure("prepare", name, run_send, a, (double)a->pinned_bytes, 0);
}

/* A sample of 3,072 rows of bf16, its scores, the best of them, thresholds. */
static void prepare_rounds(aside *a) {
    enum { N = MS_GPU_MAX_CANDIDATES };
    static ms_gpu_candidate sample[N];
    int64_t n = s.corpus < N ? s.corpus : N;
    ms_gpu_hit *best = take(SEARCH_QUERIES * SEARCH_TOP, sizeof *best);
    for (int64_t i = 0; i < n; i++) sample[i].row = ms_plan_sample_row(s.corpus, n, i);
    ms_gpu_candidate *list = take(N, sizeof *list);
    put(list, sample, sizeof sample);
    a->score = (ms_gpu_score){.rows = {.data = take_random((size_t)s.corpus * DIM, FILL_BF16),
                                       .row_bytes = 2 * DIM,
                                       .n_rows = s.corpus,
                                       .dim = DIM,
                                       .dtype = MSIM_DTYPE_BF16},
                              .queries = a->prepare.queries,
                              .norms = a->prepare.norms,
                              .n_query = SEARCH_QUERIES,
                              .candidates = list,
                              .candidate_cap = N,
                              .n_shared = n,
                              .scores = take(SEARCH_QUERIES * N, sizeof(double))};
    a->select = (ms_gpu_select){.n_query = SEARCH_QUERIES,
                                .k = SEARCH_TOP,
                                .candidates = list,
                                .n_shared = n,
                                .scores = a->score.scores,
                                .candidate_cap = N,
                                .best = best,
                                .n_best = take(MS_GPU_SCAN_QUERIES, sizeof(uint32_t)),
                                .kth_score = take(MS_GPU_SCAN_QUERIES, sizeof(double))};
    must(ms_gpu_fill(stream, a->select.n_best, 0, MS_GPU_SCAN_QUERIES * sizeof(uint32_t), &err),
         "fill");
    float *constants = take(3 * MS_GPU_SCAN_QUERIES, sizeof *constants);
    a->thresholds = (ms_gpu_thresholds){.scan = a->prepare.scan,
                                        .n_query = SEARCH_QUERIES,
                                        .least = -INFINITY,
                                        .k = SEARCH_TOP,
                                        .kth_score = a->select.kth_score,
                                        .n_best = a->select.n_best,
                                        .bounds = a->prepare.bounds,
                                        .norms = a->prepare.norms,
                                        .threshold = constants,
                                        .rho_factor = constants + MS_GPU_SCAN_QUERIES,
                                        .upper_threshold = constants + 2 * MS_GPU_SCAN_QUERIES};
    measure("prepare", "sample scores 3072 q12", run_score, a, (double)n * 2 * DIM,
            4.0 * (double)n * DIM * SEARCH_QUERIES);
    measure("prepare", "sample best 3072 q12", run_select, a, 0, 0);
    measure("prepare", "thresholds q12", run_thresholds, a, 0, 0);
    measure("prepare", "wait q12", run_wait, a, 0, 0);
}

static void bench_prepare(void) {
    static const int scans[] = {MSIM_SCAN_F32, MSIM_SCAN_INT8, MSIM_SCAN_BF16};
    aside a = {0};
    a.pinned = ms_gpu_host_alloc(stream, (size_t)1 << 20, 1, "bench", &err);
    if (!a.pinned) fail("memory");
    memset(a.pinned, 0, (size_t)1 << 20);
    for (size_t i = 0; i < sizeof scans / sizeof *scans; i++) prepare_both_ways(&a, scans[i]);
    prepare_rounds(&a);
    must(ms_gpu_sync(stream, &err), "prepare");
    ms_gpu_host_free(stream, a.pinned);
}

/* ---- encoder: whole batches through the library, two under way, times of the host's clock ---- */

typedef struct {
    int32_t *ids;
    int64_t *starts, n_seq, n_cut, *cuts; /* batches are sequences cuts[i] .. cuts[i + 1] */
} workload;

static int longest_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Batches of at most s.tokens tokens (and 1,024 sequences) from sequences of these lengths, longest
 * first. */
static workload make_workload(int64_t *lengths, int64_t n) {
    workload w = {.n_seq = n};
    qsort(lengths, (size_t)n, sizeof *lengths, longest_first);
    w.starts = calloc((size_t)n + 1, sizeof *w.starts);
    w.cuts = calloc((size_t)n + 1, sizeof *w.cuts);
    if (!w.starts || !w.cuts) abort();
    for (int64_t i = 0; i < n; i++) {
        w.starts[i + 1] = w.starts[i] + lengths[i];
        int64_t first = w.cuts[w.n_cut];
        if (i > first && (w.starts[i + 1] - w.starts[first] > s.tokens || i - first == 1024))
            w.cuts[++w.n_cut] = i;
    }
    w.cuts[++w.n_cut] = n;
    w.ids = malloc((size_t)w.starts[n] * sizeof *w.ids);
    if (!w.ids) abort();
    for (int64_t i = 0; i < w.starts[n]; i++) w.ids[i] = (int32_t)(random_next() % 384);
    return w;
}

static int run_workload(msim_context *ctx, const workload *w, float *out, int64_t dim) {
    int64_t starts[1025];
    int rc = 0;
    for (int64_t c = 0; c < w->n_cut && rc >= 0; c++) {
        int64_t first = w->cuts[c], n = w->cuts[c + 1] - first;
        for (int64_t i = 0; i <= n; i++) starts[i] = w->starts[first + i] - w->starts[first];
        if (c >= MSIM_BATCHES_UNDER_WAY) rc = msim_context_embed_wait(ctx, &err);
        if (rc >= 0)
            rc = msim_context_embed_submit(ctx, w->ids + w->starts[first], starts, (size_t)n, NULL,
                                           out + first * dim, &err);
    }
    for (int64_t c = 0; c < w->n_cut && c < MSIM_BATCHES_UNDER_WAY && rc >= 0; c++)
        rc = msim_context_embed_wait(ctx, &err);
    return rc;
}

static void time_workload(const msim_model *model, const msim_options *o, const char *name,
                          int64_t *lengths, int64_t n) {
    double seconds[MAX_ROUNDS], flops = 0, tokens = 0;
    char label[96];
    msim_model_info info = {.size = sizeof info};
    msim_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    msim_context *ctx;
    msim_model_get_info(model, &info);
    workload w = make_workload(lengths, n);
    float *out = malloc((size_t)(n * info.dim) * sizeof *out);
    if (!out) abort();
    must(msim_context_open(model, o, &ctx, &err), "context");
    must(run_workload(ctx, &w, out, info.dim), name); /* to warm up */
    msim_context_stats(ctx, &before);
    for (int64_t round = 0; round < s.rounds; round++) {
        double began = now();
        must(run_workload(ctx, &w, out, info.dim), name);
        seconds[round] = now() - began;
    }
    msim_context_stats(ctx, &after);
    for (int64_t i = 0; i < n; i++) {
        double l = (double)lengths[i], dim = (double)info.dim, inner = 64.0 * (double)info.heads;
        tokens += l;
        flops += (double)info.depth *
                 (2 * (4 * dim * inner + 8 * dim * dim) * l + 4 * inner * l * l);
    }
    snprintf(label, sizeof label, "%s, %lld sequences, %.0f tokens", name, (long long)n, tokens);
    print_case("encoder", label, seconds, 0, flops);
    for (int i = 0; i < MSIM_STAGE_COUNT; i++) {
        double each = (after.stage_seconds[i] - before.stage_seconds[i]) / (double)s.rounds;
        for (int64_t round = 0; round < s.rounds; round++) seconds[round] = each;
        snprintf(label, sizeof label, "%s %s", name, msim_stage_name(i));
        print_case("stage", label, seconds, 0, 0);
    }
    msim_context_close(ctx);
    free(out);
    free(w.ids);
    free(w.starts);
    free(w.cuts);
}

static const char *const product_names[] = {[MS_GPU_PRODUCT_AUTO] = "auto",
                                            [MS_GPU_PRODUCT_OWN] = "own",
                                            [MS_GPU_PRODUCT_LIBRARY] = "library"};

static void bench_encoder(void) {
    enum { BATCHES = 4 };
    msim_options o = msim_options_default();
    msim_model *model;
    int64_t *lengths = malloc(((size_t)1 << 20) * sizeof *lengths), n;
    char name[64];
    if (!lengths) abort();
    if (s.product != ALL_PRODUCTS) ms_gpu_projector_set_auto(s.product);
    snprintf(by, sizeof by, "products: %s",
             product_names[s.product == ALL_PRODUCTS ? MS_GPU_PRODUCT_AUTO : s.product]);
    o.device = MSIM_DEVICE_CUDA;
    o.gpu = s.device;
    o.max_batch_tokens = s.tokens > MAX_TOKENS ? s.tokens : MAX_TOKENS;
    o.max_batch_seqs = 1024;
    if (!s.model) snprintf(err.text, sizeof err.text, "expected --model"), fail("encoder");
    must(msim_model_open(s.model, &o, &model, &err), "model");
    for (int l = 0; l < s.n_lengths; l++) {
        n = BATCHES * (s.tokens / s.lengths[l] + (s.tokens < s.lengths[l]));
        for (int64_t i = 0; i < n; i++) lengths[i] = s.lengths[l];
        snprintf(name, sizeof name, "%lld", (long long)s.lengths[l]);
        time_workload(model, &o, name, lengths, n);
        n = 1;
        snprintf(name, sizeof name, "%lld alone", (long long)s.lengths[l]);
        time_workload(model, &o, name, lengths, n);
    }
    FILE *file = s.mixed ? fopen(s.mixed, "r") : NULL;
    long long one;
    for (n = 0; file && n < 1 << 20 && fscanf(file, "%lld", &one) == 1;)
        if (one >= 1 && one <= MAX_TOKENS) lengths[n++] = one;
    if (file) fclose(file);
    if (n) time_workload(model, &o, "mixed", lengths, n);
    msim_model_close(model);
    free(lengths);
    by[0] = '\0';
    ms_gpu_projector_set_auto(MS_GPU_PRODUCT_AUTO);
}

/* ---- search: whole searches through the library, times of the host's clock. The rows are made
 * once, on the device, and every scan's codes come from them. ---- */

typedef struct {
    msim_corpus *corpus;
    float *rows, *queries;
    msim_context *ctx;
} search_bench;

/* The last case leaves one row out, another one in each round, as a search for a corpus's own rows
 * does. */
static void bench_searches(search_bench *b, int scan) {
    static const int numbers[] = {1, SEARCH_QUERIES, SEARCH_QUERIES};
    int64_t found[SEARCH_QUERIES * SEARCH_TOP], excluded = 0;
    double scores[SEARCH_QUERIES * SEARCH_TOP], seconds[MAX_ROUNDS];
    msim_search_options o = msim_search_options_default();
    o.scan = scan;
    o.excluded = &excluded;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int64_t rc = 0;
        char name[96];
        o.n_excluded = i == 2;
        snprintf(name, sizeof name, "%s %lldx%d q%d%s", msim_scan_name(scan), (long long)s.corpus,
                 DIM, numbers[i], i == 2 ? ", one row excluded" : "");
        for (int64_t round = -2; round < s.rounds && rc >= 0; round++) {
            double began = now();
            rc = msim_context_search_with(b->ctx, &o, b->queries, (size_t)numbers[i], SEARCH_TOP,
                                          found, scores, &err);
            if (round >= 0) seconds[round] = now() - began;
            excluded = (excluded + 104729) % s.corpus;
        }
        double row_bytes = scan == MSIM_SCAN_INT8   ? DIM + 16
                           : scan == MSIM_SCAN_BF16 ? 2 * DIM + 8
                                                    : DIM * sizeof(float);
        if (rc < 0)
            print_refused("search", name, err.text);
        else
            print_case("search", name, seconds, (double)s.corpus * row_bytes, 0);
    }
}

/* The rows on the host, through the bench's own stream; its memory is given back, or codes and rows
 * of the search would stand beside it. */
static int make_search_rows(search_bench *b) {
    size_t n = (size_t)s.corpus * DIM;
    b->rows = malloc(n * sizeof *b->rows);
    b->queries = malloc(SEARCH_QUERIES * DIM * sizeof *b->queries);
    if (!b->rows || !b->queries) abort();
    const float *made = take_rows(s.corpus);
    must(ms_gpu_download(stream, b->rows, made, n * sizeof *b->rows, &err), "rows");
    must(ms_gpu_sync(stream, &err), "rows");
    give_back();
    for (int i = 0; i < SEARCH_QUERIES * DIM; i++) b->queries[i] = random_value();
    return msim_corpus_open_rows(b->rows, s.corpus, DIM, NULL, NULL, &b->corpus, &err);
}

/* Codes of both kinds beside the corpus in memory, from a file that is gone as soon as it is
 * mapped. */
static int attach_codes(search_bench *b) {
    const char *folder = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%.4000s/midisim-gpu-bench-%ld.msim",
             folder && *folder ? folder : "/tmp", (long)getpid());
    int rc = msim_corpus_write_codes(b->corpus, 0, path, MSIM_SCAN_BF16, 0, NULL, NULL, &err);
    if (rc >= 0)
        rc = msim_corpus_write_codes(b->corpus, 0, path, MSIM_SCAN_INT8, 0, NULL, NULL, &err);
    if (rc >= 0) rc = msim_corpus_attach_codes(b->corpus, 0, path, 0, &err);
    unlink(path);
    return rc;
}

static void bench_search(void) {
    static const int scans[] = {MSIM_SCAN_BF16, MSIM_SCAN_INT8, MSIM_SCAN_F32};
    search_bench b = {.corpus = NULL};
    msim_options o = msim_options_default();
    o.device = MSIM_DEVICE_CUDA;
    o.gpu = s.device;
    o.max_queries = SEARCH_QUERIES;
    o.max_k = SEARCH_TOP;
    int rc = make_search_rows(&b);
    if (rc >= 0) rc = attach_codes(&b);
    if (rc >= 0) rc = msim_context_open(NULL, &o, &b.ctx, &err);
    if (rc >= 0) rc = msim_context_load_corpus(b.ctx, b.corpus, &err);
    for (size_t i = 0; i < sizeof scans / sizeof *scans; i++)
        if (rc >= 0)
            bench_searches(&b, scans[i]);
        else
            print_refused("search", msim_scan_name(scans[i]), err.text);
    msim_context_close(b.ctx);
    msim_corpus_close(b.corpus);
    free(b.rows);
    free(b.queries);
}

/* ---- Options ---- */

static const struct {
    const char *name;
    void (*run)(void);
} sections[] = {{"bandwidth", bench_bandwidth}, {"rows", bench_rows},    {"gemm", bench_gemm},
                {"attention", bench_attention}, {"scan", bench_scan},    {"prepare", bench_prepare},
                {"encoder", bench_encoder},     {"search", bench_search}};

static void make_tiny(void) {
    s.rounds = 2;
    s.tokens = 130;
    s.corpus = 300;
    s.square = 128;
    s.lengths[0] = 40, s.lengths[1] = 65, s.n_lengths = 2;
}

static bool read_option(const char *name, const char *value) {
    int64_t n = value ? strtoll(value, NULL, 10) : 0;
    if (!value) return false;
    if (strcmp(name, "--device") == 0) return (s.device = (int)n) >= 0;
    if (strcmp(name, "--model") == 0) return (s.model = value) != NULL;
    if (strcmp(name, "--case") == 0) return (s.only = value) != NULL;
    if (strcmp(name, "--mixed") == 0) return (s.mixed = value) != NULL;
    if (strcmp(name, "--rounds") == 0) return (s.rounds = n) >= 1 && n <= MAX_ROUNDS;
    if (strcmp(name, "--tokens") == 0) return (s.tokens = n) >= 1;
    if (strcmp(name, "--corpus") == 0) return (s.corpus = n) >= 1;
    for (int i = 0; strcmp(name, "--product") == 0 && i < 3; i++)
        if (strcmp(value, product_names[i]) == 0) return (s.product = i) >= 0;
    if (strcmp(name, "--product") == 0) return strcmp(value, "all") == 0;
    if (strcmp(name, "--square") == 0) return (s.square = n) >= 64 && n % 64 == 0;
    if (strcmp(name, "--lengths") != 0) return false;
    for (s.n_lengths = 0; s.n_lengths < MAX_LIST && *value;) {
        char *end;
        s.lengths[s.n_lengths] = strtoll(value, &end, 10);
        if (s.lengths[s.n_lengths] < 1 || s.lengths[s.n_lengths++] > MAX_TOKENS ||
            (*end && *end != ','))
            return false;
        value = *end ? end + 1 : end;
    }
    return s.n_lengths > 0;
}

int main(int argc, char **argv) {
    int wanted[MAX_LIST], n = 0;
    for (int i = 1; i < argc; i++) {
        size_t at = 0, n_sections = sizeof sections / sizeof *sections;
        while (at < n_sections && strcmp(argv[i], sections[at].name) != 0) at++;
        if (at < n_sections && n < MAX_LIST) {
            wanted[n++] = (int)at;
        } else if (strcmp(argv[i], "--tiny") == 0) {
            make_tiny();
        } else if (i + 1 >= argc || !read_option(argv[i], argv[i + 1])) {
            fprintf(stderr, "gpu_bench: %s: expected a section or an option with its value\n",
                    argv[i]);
            return 2;
        } else {
            i++;
        }
    }
    must(ms_gpu_stream_open(s.device, &stream, &err), "device");
    must(ms_gpu_get_info(s.device, &card, &err), "device");
    is_emulated = strncmp(card.name, "emulated", 8) == 0;
    printf("{\"section\": \"card\", \"case\": \"%s\", \"capability\": \"%d.%d\", "
           "\"multiprocessors\": %d, \"memory_bytes\": "
           "%zu, \"emulated\": %s}\n",
           card.name, card.major, card.minor, card.multiprocessors, card.memory_bytes,
           is_emulated ? "true" : "false");
    for (int i = 0; i < n; i++) {
        sections[wanted[i]].run();
        give_back();
        must(ms_gpu_sync(stream, &err), sections[wanted[i]].name);
    }
    ms_gpu_stream_close(stream);
    return 0;
}
