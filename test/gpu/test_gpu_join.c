/* Joins on a CUDA device: the kernel keeps the pairs that search/join/kernels.h defines, the device
 * passes each on once whatever overflows, and msim_join gives the CPU's pairs, scores and order to
 * the last bit. docs/SEARCH.md, Joins. */
#include "device_rows.h"
#include "kernels/search/join.h"
#include "midisim.h"
#include "support/joins.h"
#include "support/random.h"
#include "test_stream.h"
#include <math.h>

static msim_error failed;

static void *made(size_t n_items, size_t item_bytes) {
    void *p = ms_alloc(n_items, item_bytes, "test", NULL);
    assert_non_null(p);
    return p;
}

/* ---- Tiles ---- */

/* A side of made codes and least shares; the host's are unsigned. Rows past n_rows have the least
 * share that keeps nothing. */
static ms_join_side make_side(size_t n_rows, size_t components, uint64_t seed) {
    ms_join_side s = {.n_rows = (int64_t)n_rows, .components = components};
    s.n_tiles = (n_rows + MS_JOIN_TILE - 1) / MS_JOIN_TILE;
    s.codes = made(s.n_tiles, ms_join_tile_bytes(components));
    s.least = made(s.n_tiles, MS_JOIN_TILE * sizeof *s.least);
    for (size_t i = 0; i < s.n_tiles * ms_join_tile_bytes(components); i++)
        s.codes[i] = (unsigned char)(splitmix(&seed) % 255 + 1);
    for (size_t r = 0; r < s.n_tiles * MS_JOIN_TILE; r++) {
        int32_t some = (int32_t)(splitmix(&seed) % 1000) + (int32_t)(components * 1200);
        s.least[r] = r >= n_rows || r % 19 == 7 ? MS_JOIN_NEVER
                     : r % 23 == 5              ? MS_JOIN_ALWAYS
                                                : some;
    }
    return s;
}

static void release_side(ms_join_side *s) {
    ms_free(s->codes);
    ms_free(s->least);
    *s = (ms_join_side){0};
}

static int32_t code_of(const ms_join_side *s, size_t row, size_t c) {
    return s->codes[row / 16 * ms_join_tile_bytes(s->components) + c / 4 * 64 + row % 16 * 4 +
                    c % 4] -
           128;
}

static int32_t sum_of(const ms_join_side *a, size_t x, const ms_join_side *b, size_t y) {
    int32_t sum = 0;
    for (size_t c = 0; c < a->components; c++) sum += code_of(a, x, c) * code_of(b, y, c);
    return sum;
}

/* Some pairs are kept by exactly their sum, and some lost by one. */
static void set_exactly(ms_join_side *a, const ms_join_side *b) {
    for (size_t x = 3; x < (size_t)a->n_rows; x += 7) {
        size_t y = x * 5 % (size_t)b->n_rows;
        if (b->least[y] == MS_JOIN_NEVER || b->least[y] == MS_JOIN_ALWAYS) continue;
        a->least[x] = sum_of(a, x, b, y) - b->least[y] + (int)(x % 2);
    }
}

/* Is the pair in the definition's answer? */
static int is_kept(const ms_join_side *a, size_t x, const ms_join_side *b, size_t y) {
    return sum_of(a, x, b, y) >= a->least[x] + b->least[y];
}

/* ---- The kernel ---- */

typedef struct {
    device_rows codes, least;
} device_side;

static device_side put_side(const ms_join_side *s) {
    size_t n = s->n_tiles * ms_join_tile_bytes(s->components);
    unsigned char *codes = made(n, 1);
    for (size_t i = 0; i < n; i++) codes[i] = s->codes[i] ^ 0x80;
    device_side d = {rows_of(stream, codes, n, 1),
                     rows_of(stream, s->least, s->n_tiles * MS_JOIN_TILE, sizeof *s->least)};
    ms_free(codes);
    return d;
}

static void drop_side(device_side *d) {
    rows_close(&d->codes);
    rows_close(&d->least);
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The definition's pairs, in order. */
static size_t defined_pairs(uint32_t *out, const ms_join_side *a, const ms_join_side *b,
                            int64_t diagonal, uint32_t first) {
    size_t n = 0;
    for (size_t x = 0; x < a->n_tiles * 16; x++)
        for (size_t y = 0; y < b->n_tiles * 16; y++)
            if ((int64_t)y + diagonal > (int64_t)x && is_kept(a, x, b, y))
                out[n++] = (uint32_t)(x << 16 | y) + first;
    return n;
}

enum { LEFT_FIRST = 128, RIGHT_FIRST = 1024 };

/* Run the kernel with room for `cap` pairs behind a counter that stands at `before`. Returns what
 * the counter says then. */
static uint32_t run_kernel(const ms_join_side *a, const ms_join_side *b, int64_t diagonal,
                           uint32_t before, size_t cap, uint32_t *got) {
    device_side left = put_side(a), right = put_side(b);
    device_rows pairs = rows_open(stream, cap + 1, 4), count = rows_of(stream, &before, 1, 4);
    ms_gpu_join join = {.left = {left.codes.at, left.least.at, (int64_t)a->n_tiles},
                        .right = {right.codes.at, right.least.at, (int64_t)b->n_tiles},
                        .components = (int64_t)a->components,
                        .diagonal = diagonal,
                        .left_first = LEFT_FIRST,
                        .right_first = RIGHT_FIRST,
                        .pairs = pairs.at,
                        .n_pairs = count.at,
                        .cap = (uint32_t)cap};
    uint32_t n_found;
    rows_ok(ms_join_codes_cuda(stream, &join, err));
    rows_get(&count, &n_found, 4);
    rows_get(&pairs, got, cap * 4); /* and nothing behind it */
    rows_close(&pairs), rows_close(&count);
    drop_side(&left), drop_side(&right);
    return n_found;
}

static void check_kernel(size_t n_left, size_t n_right, size_t components, int64_t diagonal) {
    ms_join_side a = make_side(n_left, components, 3), b = make_side(n_right, components, 4);
    set_exactly(&a, &b);
    size_t all = a.n_tiles * b.n_tiles * 256;
    uint32_t *expected = made(all, 4), *got = made(all, 4);
    size_t n = defined_pairs(expected, &a, &b, diagonal, LEFT_FIRST << 16 | RIGHT_FIRST);
    assert_int_equal(run_kernel(&a, &b, diagonal, 0, n, got), n);
    qsort(got, n, 4, by_number);
    if (memcmp(got, expected, n * 4) != 0)
        fail_msg("%zu x %zu rows of %zu, diagonal %lld: other pairs", n_left, n_right, components,
                 (long long)diagonal);
    if (diagonal == MS_GPU_JOIN_NO_DIAGONAL) assert_true(n > 0 && n < n_left * n_right);
    /* a list that is too short counts on, and nothing is written behind it */
    if (n) assert_int_equal(run_kernel(&a, &b, diagonal, 0, n - 1, got), n);
    if (n) assert_int_equal(run_kernel(&a, &b, diagonal, 7, 7 + n / 2, got), n + 7);
    ms_free(expected), ms_free(got);
    release_side(&a), release_side(&b);
}

static void the_kernel_keeps_the_defined_pairs(void **state) {
    (void)state;
    check_kernel(16, 16, 64, MS_GPU_JOIN_NO_DIAGONAL);
    check_kernel(37, 150, 128, MS_GPU_JOIN_NO_DIAGONAL);
    check_kernel(150, 37, 192, MS_GPU_JOIN_NO_DIAGONAL);
    check_kernel(130, 140, 320, MS_GPU_JOIN_NO_DIAGONAL);
    check_kernel(140, 260, 64, 0);
    check_kernel(260, 140, 64, 30);
    check_kernel(64, 260, 64, -100);
    check_kernel(64, 64, 64, -64); /* none is above */
}

/* The largest sums and least shares. */
static void nothing_overflows(void **state) {
    (void)state;
    ms_join_side a = make_side(16, MS_JOIN_MOST_COMPONENTS, 1), b = make_side(16, 2048, 2);
    uint32_t got[256];
    memset(a.codes, 255, 16 * 2048); /* 127 */
    memset(b.codes, 255, 8 * 2048);
    memset(b.codes + 8 * 2048, 1, 8 * 2048); /* -127 in the second half of the components */
    for (size_t r = 0; r < 16; r++) {
        a.least[r] = r < 4 ? MS_JOIN_NEVER : r < 8 ? MS_JOIN_ALWAYS : 0;
        b.least[r] = r < 4 ? MS_JOIN_NEVER : r < 8 ? MS_JOIN_ALWAYS : 1;
    }
    uint32_t expected[256];
    size_t n = defined_pairs(expected, &a, &b, 1 << 20, LEFT_FIRST << 16 | RIGHT_FIRST);
    assert_int_equal(run_kernel(&a, &b, 1 << 20, 0, n, got), n);
    qsort(got, n, 4, by_number);
    assert_memory_equal(got, expected, n * 4);
    release_side(&a), release_side(&b);
}

/* ---- Strips ---- */

typedef struct {
    const ms_join_side *a, *b;
    const ms_join_strip *strip;
    unsigned char *seen; /* owned: [a rows][b rows] how often */
    int n_lists, ends_at;
    size_t cap;
} taker;

static int take_found(void *user, const ms_join_found *found) {
    taker *t = user;
    assert_true(found->n >= 1 && found->n <= t->cap);
    for (size_t p = 0; p < found->n; p++) {
        int64_t x = t->strip->left + (found->pairs[p] >> 16),
                y = found->right + (found->pairs[p] & 0xffff);
        assert_true(x < t->strip->left_end && y < t->b->n_rows);
        t->seen[x * t->b->n_rows + y]++;
    }
    return ++t->n_lists == t->ends_at;
}

/* All strips of a join whose device holds little: each pair once. */
static int check_strips(const ms_join_side *a, const ms_join_side *b, int64_t first, int64_t end,
                        int64_t cap, int64_t right_rows) {
    ms_gpu_join_limits limits = {.list_cap = cap, .right_rows = right_rows};
    ms_join_shape shape = {a->n_rows, b->n_rows, a == b};
    taker t = {.a = a, .b = b, .cap = (size_t)cap};
    ms_gpu_joiner *j;
    t.seen = made((size_t)a->n_rows, (size_t)b->n_rows);
    rows_ok(ms_gpu_join_open(0, a, b, &limits, &j, err));
    for (int64_t left = first; left < end;) {
        ms_join_strip strip = ms_join_strip_at(&shape, left, end);
        t.strip = &strip;
        rows_ok(ms_gpu_join_find(j, &strip, take_found, &t, err));
        left = strip.left_end;
    }
    ms_gpu_join_close(j);
    for (int64_t x = 0; x < a->n_rows; x++)
        for (int64_t y = 0; y < b->n_rows; y++) {
            int is_wanted = x >= first && x < end && (a != b || x < y) &&
                            is_kept(a, (size_t)x, b, (size_t)y);
            if (t.seen[x * b->n_rows + y] != is_wanted)
                fail_msg("pair %lld, %lld is there %d times, expected %d", (long long)x,
                         (long long)y, t.seen[x * b->n_rows + y], is_wanted);
        }
    ms_free(t.seen);
    return t.n_lists;
}

static void lists_that_overflow_lose_nothing(void **state) {
    (void)state;
    ms_join_side a = make_side(150, 64, 5), b = make_side(215, 64, 6);
    for (size_t r = 0; r < 150; r++) /* rows with all pairs, side by side */
        if (r / 16 == 3) a.least[r] = MS_JOIN_ALWAYS;
    assert_true(check_strips(&a, &b, 0, 150, 256, 48) > 12);
    assert_true(check_strips(&a, &b, 0, 150, 2000, 10000) > 1);
    (void)check_strips(&a, &b, 64, 150, MS_JOIN_LIST, 80);
    (void)check_strips(&b, &b, 0, 215, 256, 64);
    (void)check_strips(&b, &b, 128, 192, 300, 112); /* a shard */
    release_side(&a), release_side(&b);
}

static void a_strip_ends_when_it_is_told_to(void **state) {
    (void)state;
    ms_join_side a = make_side(64, 64, 5);
    ms_gpu_join_limits limits = {.list_cap = 256, .right_rows = 16};
    ms_join_shape shape = {64, 64, 1};
    ms_join_strip strip = ms_join_strip_at(&shape, 0, 64);
    taker t = {.a = &a, .b = &a, .strip = &strip, .cap = 256, .ends_at = 1};
    ms_gpu_joiner *j;
    for (size_t r = 0; r < 64; r++) a.least[r] = MS_JOIN_ALWAYS;
    t.seen = made(64, 64);
    rows_ok(ms_gpu_join_open(0, &a, &a, &limits, &j, err));
    rows_ok(ms_gpu_join_find(j, &strip, take_found, &t, err));
    assert_int_equal(t.n_lists, 1);
    t.ends_at = 0; /* the next strip begins anew */
    memset(t.seen, 0, 64 * 64);
    rows_ok(ms_gpu_join_find(j, &strip, take_found, &t, err));
    for (int x = 0; x < 64; x++)
        for (int y = 0; y < 64; y++) assert_int_equal(t.seen[x * 64 + y], x < y);
    ms_gpu_join_close(j);
    ms_gpu_join_close(NULL);
    ms_free(t.seen);
    release_side(&a);
}

/* ---- The whole ---- */

typedef struct {
    msim_options device;
    msim_join_options join;
} settings;

static join_list join_on(int device, const msim_corpus *a, const msim_corpus *b, double threshold,
                         settings s, msim_join_stats *stats) {
    join_list l = {0};
    *stats = (msim_join_stats){.size = sizeof *stats};
    s.device.device = device;
    s.join.options = &s.device;
    int64_t n = msim_join(a, b, threshold, &s.join, take_hit, &l, stats, &failed);
    if (n < 0) fail_msg("%s", failed.text);
    assert_int_equal(n, l.n);
    return l;
}

static settings ordinary(int threads) {
    settings s = {msim_options_default(), msim_join_options_default()};
    s.device.threads = threads;
    return s;
}

static void compare(const msim_corpus *a, const msim_corpus *b, double threshold, settings s) {
    msim_join_stats c, g;
    join_list cpu = join_on(MSIM_DEVICE_CPU, a, b, threshold, s, &c),
              gpu = join_on(MSIM_DEVICE_CUDA, a, b, threshold, s, &g);
    assert_int_equal(cpu.n, gpu.n);
    if (cpu.n) assert_memory_equal(cpu.hits, gpu.hits, cpu.n * sizeof *cpu.hits);
    assert_int_equal(c.pairs, g.pairs);
    assert_int_equal(c.rows_nonfinite, g.rows_nonfinite);
    assert_int_equal(c.scored, g.scored); /* few rows: both compare their own components */
    ms_free(cpu.hits);
    ms_free(gpu.hits);
}

static msim_corpus *open_rows(float *rows, size_t n, size_t dim, uint64_t seed) {
    msim_corpus *corpus;
    make_join_rows(rows, n, dim, seed);
    rows_ok(msim_corpus_open_rows(rows, (int64_t)n, (int64_t)dim, NULL, NULL, &corpus, err));
    return corpus;
}

static void results_are_the_cpus(void **state) {
    (void)state;
    enum { MOST = 20000 };
    static float rows[MOST], others[MOST];
    static const struct {
        size_t n, m, dim;
    } shapes[] = {{211, 70, 70}, {16, 33, 3}, {65, 20, 200}, {1, 1, 64}, {0, 5, 64}, {290, 0, 64}};
    static const double thresholds[] = {1.5, 0.9, 0.0, -INFINITY};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        msim_corpus *a = open_rows(rows, shapes[i].n, shapes[i].dim, 11 + i),
                    *b = open_rows(others, shapes[i].m, shapes[i].dim, 31 + i);
        for (size_t t = 0; t < 4; t++) {
            compare(a, NULL, thresholds[t], ordinary(1 + (int)t % 2));
            compare(a, b, thresholds[t], ordinary(2));
        }
        msim_corpus_close(a);
        msim_corpus_close(b);
    }
}

/* More left rows than a strip has, in shards, and hits that go through the file. */
static void strips_and_shards_are_the_cpus(void **state) {
    (void)state;
    enum { N = 4200, DIM = 4 };
    static float rows[N * DIM], few[40 * DIM];
    msim_corpus *a = open_rows(rows, N, DIM, 3), *b = open_rows(few, 40, DIM, 4);
    settings s = ordinary(2);
    s.join.memory_bytes = 0;
    compare(a, b, 0.99, s);
    msim_corpus_close(a);
    a = open_rows(rows, 300, DIM, 3);
    for (s.join.shard = 1, s.join.n_shards = 3; s.join.shard <= 3; s.join.shard++)
        compare(a, NULL, 0.9, s);
    msim_corpus_close(a);
    msim_corpus_close(b);
}

static int always(void *user) {
    (void)user;
    return 1;
}

static void joins_stop_and_refuse(void **state) {
    (void)state;
    static float rows[200 * 8];
    msim_corpus *a = open_rows(rows, 200, 8, 3);
    settings s = ordinary(2);
    join_list l = {.most = 3};
    s.device.device = MSIM_DEVICE_CUDA;
    s.join.options = &s.device;
    assert_int_equal(msim_join(a, NULL, 0.5, &s.join, take_hit, &l, NULL, &failed), 3);
    s.join.should_stop = always;
    assert_int_equal(msim_join(a, NULL, 0.5, &s.join, take_hit, &l, NULL, &failed),
                     -MSIM_E_STOPPED);
    s.join.should_stop = NULL;
    s.join.scan = MSIM_SCAN_F64;
    assert_int_equal(msim_join(a, NULL, 0.5, &s.join, take_hit, &l, NULL, &failed),
                     -MSIM_E_UNSUPPORTED);
    s.join.scan = MSIM_SCAN_INT8;
    s.device.gpu = 99;
    assert_int_equal(msim_join(a, NULL, 0.5, &s.join, take_hit, &l, NULL, &failed), -MSIM_E_DEVICE);
    assert_non_null(strstr(failed.text, "cuda:99"));
    assert_int_equal(l.n, 3);
    ms_free(l.hits);
    msim_corpus_close(a);
}

/* The emulator's; a card has none. */
extern void emu_refuse_allocation(int64_t n) __attribute__((weak));

/* Every allocation of the device, of pinned memory and of the host is refused once. */
static void running_out_of_memory_is_an_ordinary_error(void **state) {
    (void)state;
    ms_join_side a = make_side(40, 64, 5);
    ms_gpu_joiner *j = NULL;
    int n_refused = 0;
    ms_mem_fail_at(1);
    assert_int_equal(ms_gpu_join_open(0, &a, &a, NULL, &j, &failed), -MSIM_E_MEMORY);
    ms_mem_fail_at(0);
    for (int64_t n = 1; emu_refuse_allocation && !j; n++) {
        emu_refuse_allocation(n);
        int rc = ms_gpu_join_open(0, &a, &a, NULL, &j, &failed);
        emu_refuse_allocation(0);
        n_refused += rc < 0;
        if (rc < 0) assert_true(rc == -MSIM_E_MEMORY && strstr(failed.text, "cannot take") && !j);
    }
    if (emu_refuse_allocation) assert_int_equal(n_refused, 15);
    ms_gpu_join_close(j);
    release_side(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_keeps_the_defined_pairs),
        cmocka_unit_test(nothing_overflows),
        cmocka_unit_test(lists_that_overflow_lose_nothing),
        cmocka_unit_test(a_strip_ends_when_it_is_told_to),
        cmocka_unit_test(results_are_the_cpus),
        cmocka_unit_test(strips_and_shards_are_the_cpus),
        cmocka_unit_test(joins_stop_and_refuse),
        cmocka_unit_test(running_out_of_memory_is_an_ordinary_error),
    };
    return cmocka_run_group_tests(tests, open_stream, close_stream);
}
