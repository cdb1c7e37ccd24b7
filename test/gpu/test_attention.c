/* Attention on the GPU (src/kernels/encoder/attn_bf16.cu) against softmax attention in double, on
 * ragged lengths and batches. Inputs lie between rows of NaN, outputs in poisoned memory whose
 * guard rows must stay. u = 2^-24; the bound of one output is worked out in row_bounds. A row's
 * bits must depend on its sequence alone: not on the batch, on the order of the tiles, on where a
 * tile begins or on how many rows it has. */
#include "support/levels.h"
#include "base/bf16.h"
#include "kernels/device.h"
#include "kernels/kernels.h"
#include "test_stream.h"
#include <math.h>

#define U 0x1p-24

enum {
    HEAD = 64,
    MAX_SEQ = 5,
    MAX_LENGTH = 1100,
    GUARD = 3,
    POISON = 0xa5,
    POISONED = 0xa5a5,
    NAN_BITS = 0x7fc1
};

static const int lengths[] = {1, 2, 15, 16, 63, 64, 65, 127, 128, 129, 200, 300};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

/* ---- Batches ---- */

typedef struct {
    int n_seq, heads, inner;
    int starts[MAX_SEQ + 1];
    ms_bf16 *qkv; /* [n, 3 inner] */
    ms_bf16 *out; /* [n, inner] */
} batch;

static batch batch_new(const int *seq_lengths, int n_seq, int heads) {
    batch b = {.n_seq = n_seq, .heads = heads, .inner = heads * HEAD};
    for (int i = 0; i < n_seq; i++) b.starts[i + 1] = b.starts[i] + seq_lengths[i];
    b.qkv = test_alloc((size_t)b.starts[n_seq] * 3 * b.inner, sizeof *b.qkv);
    b.out = test_alloc((size_t)b.starts[n_seq] * b.inner, sizeof *b.out);
    return b;
}

static void batch_free(batch *b) {
    ms_free(b->qkv);
    ms_free(b->out);
}

enum { Q, K, V };

static ms_bf16 *at(const batch *b, int row, int part, int head) {
    return b->qkv + (size_t)row * 3 * b->inner + (size_t)part * b->inner + (size_t)head * HEAD;
}

static void fill_random(batch *b, float q_scale, float k_scale, float v_scale, uint64_t seed) {
    const float scales[] = {q_scale, k_scale, v_scale};
    for (int row = 0; row < b->starts[b->n_seq]; row++)
        for (int part = Q; part <= V; part++)
            for (int i = 0; i < b->inner; i++)
                at(b, row, part, 0)[i] = ms_bf16_of_f32(uniform(&seed) * scales[part]);
}

typedef struct {
    ms_gpu_query_tile tile[64];
    int n;
} tiling;

static void add_tile(tiling *t, const batch *b, int seq, int first) {
    assert_true(t->n < 64);
    t->tile[t->n++] =
        (ms_gpu_query_tile){.first = first, .start = b->starts[seq], .end = b->starts[seq + 1]};
}

static tiling tiles_of(const batch *b) {
    tiling t = {.n = 0};
    for (int i = 0; i < b->n_seq; i++)
        for (int first = b->starts[i]; first < b->starts[i + 1]; first += MS_GPU_QUERY_ROWS)
            add_tile(&t, b, i, first);
    return t;
}

static void *device_new(size_t n_bytes) {
    msim_error err;
    void *p = ms_gpu_alloc(stream, n_bytes, 1, "test", &err);
    assert_non_null(p);
    return p;
}

/* out of the rows that the tiles name; all others, and guard rows, must stay as they were. */
static void attend(batch *b, const tiling *t) {
    msim_error err;
    size_t row = (size_t)b->inner, n = (size_t)b->starts[b->n_seq], n_guarded = n + 2 * GUARD,
           bytes = row * sizeof(ms_bf16);
    ms_bf16 *in = test_alloc(n_guarded * 3 * row, sizeof *in),
            *out = test_alloc(n_guarded * row, sizeof *out);
    for (size_t i = 0; i < n_guarded * 3 * row; i++) in[i].bits = NAN_BITS;
    memcpy(in + GUARD * 3 * row, b->qkv, n * 3 * bytes);
    ms_bf16 *d_in = device_new(n_guarded * 3 * bytes), *d_out = device_new(n_guarded * bytes);
    ms_gpu_query_tile *d_tiles = device_new((size_t)t->n * sizeof *t->tile);
    assert_int_equal(ms_gpu_upload(stream, d_in, in, n_guarded * 3 * bytes, &err), MSIM_OK);
    assert_int_equal(ms_gpu_upload(stream, d_tiles, t->tile, (size_t)t->n * sizeof *t->tile, &err),
                     MSIM_OK);
    assert_int_equal(ms_gpu_fill(stream, d_out, POISON, n_guarded * bytes, &err), MSIM_OK);
    assert_int_equal(ms_attend_bf16_cuda(stream, d_out + GUARD * row, d_in + GUARD * 3 * row,
                                         d_tiles, t->n, b->heads, &err),
                     MSIM_OK);
    assert_int_equal(ms_gpu_download(stream, out, d_out, n_guarded * bytes, &err), MSIM_OK);
    assert_int_equal(ms_gpu_sync(stream, &err), MSIM_OK);
    memcpy(b->out, out + GUARD * row, n * bytes);
    char *named = test_alloc(n, 1);
    memset(named, 0, n);
    for (int i = 0; i < t->n; i++)
        for (int r = t->tile[i].first;
             r < t->tile[i].end && r < t->tile[i].first + MS_GPU_QUERY_ROWS; r++)
            named[r] = 1;
    for (size_t i = 0; i < n_guarded * row; i++) {
        size_t r = i / row;
        if (r < GUARD || r >= GUARD + n || !named[r - GUARD])
            assert_int_equal(out[i].bits, POISONED);
    }
    ms_gpu_free(stream, d_in);
    ms_gpu_free(stream, d_out);
    ms_gpu_free(stream, d_tiles);
    ms_free(named);
    ms_free(in);
    ms_free(out);
}

static void attend_all(batch *b) {
    tiling t = tiles_of(b);
    attend(b, &t);
}

/* ---- The reference in double ---- */

typedef struct {
    double value[HEAD], bound[HEAD];
    double variance[HEAD]; /* of the value, were all roundings to bf16 independent */
} reference;

static double value_of(ms_bf16 x) { return ms_f32_of_bf16(x); }

/* What a row may be off by. T tiles of 64 keys, n keys.
 *   Scores: 64 exact products, summed by the tensor cores in no stated order or rounding: 2 u each
 *   (truncation). In the
 *     exponent: the constant, a product with it and the maximum's product, u each of what they
 *     scale; each of at most T
 *     moves of the maximum subtracts two such: together no more than 4 (T + 1) u max |score|.
 *   exp2: 2 ulp, so 2^-22, for p and for the factor of each move: (T + 1) 2^-21 with the products'
 *   own roundings. Results: p to bf16, 2^-8; n terms and T factors, 2 u each. Sum: n + T additions,
 *   u each. The quotient: 2 u. Result to bf16: 2^-8. Results that f32's or bf16's smallest normal
 *   numbers cannot hold: absolute terms. */
static void row_bounds(const batch *b, int seq, int head, int row, reference *ref) {
    static double w[MAX_LENGTH], r[MAX_LENGTH], size[MAX_LENGTH];
    int start = b->starts[seq], n = b->starts[seq + 1] - start, n_tiles = (n + 63) / 64;
    double top = -INFINITY, most = 0, sum = 0, wrong = 0;
    const ms_bf16 *q = at(b, row, Q, head);
    for (int j = 0; j < n; j++) {
        const ms_bf16 *k = at(b, start + j, K, head);
        w[j] = size[j] = 0;
        for (int d = 0; d < HEAD; d++) {
            double term = value_of(q[d]) * value_of(k[d]) / 8;
            w[j] += term;
            size[j] += fabs(term);
        }
        top = fmax(top, w[j]);
        most = fmax(most, fabs(w[j]));
    }
    for (int j = 0; j < n; j++) {
        w[j] = exp(w[j] - top);
        sum += w[j];
        r[j] = expm1(64 * 2 * U * size[j] + 4 * (n_tiles + 1) * U * most) + (n_tiles + 1) * 0x1p-21;
    }
    for (int j = 0; j < n; j++) {
        w[j] /= sum;
        wrong += w[j] * r[j];
    }
    for (int d = 0; d < HEAD; d++) {
        double value = 0, bound = 0, squares = 0, largest = 0;
        for (int j = 0; j < n; j++) {
            double v = value_of(at(b, start + j, V, head)[d]);
            value += w[j] * v;
            bound += w[j] * fabs(v) * (0x1p-8 + r[j] * (1 + 0x1p-8) + 2 * (n + n_tiles) * U);
            squares += w[j] * v * w[j] * v;
            largest = fmax(largest, fabs(v));
        }
        bound += fabs(value) * (wrong + (n + n_tiles + 2) * U);
        bound = 1.01 * bound + n * 0x1p-118 * largest;
        ref->value[d] = value;
        ref->bound[d] = bound + 0x1p-8 * (fabs(value) + bound) + 0x1p-133;
        ref->variance[d] = (squares + value * value) * 0x1p-16 / 3;
    }
}

/* Every `every`-th row's outputs within their bounds. Returns the mean square of error / deviation:
 * bf16's rounding error is at most 2^-8 of a number and uniform in steps that grow with it, so a
 * right kernel stays below 1, and one that leaves out a single key of hundreds, which the bound
 * alone would not show, does not. */
static double check_some_rows(const batch *b, int every) {
    double squares = 0;
    size_t n = 0;
    for (int seq = 0; seq < b->n_seq; seq++)
        for (int head = 0; head < b->heads; head++)
            for (int row = b->starts[seq]; row < b->starts[seq + 1]; row += every) {
                reference ref;
                row_bounds(b, seq, head, row, &ref);
                for (int d = 0; d < HEAD; d++) {
                    double got = value_of(b->out[(size_t)row * b->inner + (size_t)head * HEAD + d]);
                    double error = got - ref.value[d];
                    if (!(fabs(error) <= ref.bound[d]))
                        fail_msg("sequence %d of %d tokens, head %d, row %d, column %d: expected "
                                 "%g within %g, got %g",
                                 seq, b->starts[seq + 1] - b->starts[seq], head,
                                 row - b->starts[seq], d, ref.value[d], ref.bound[d], got);
                    if (ref.variance[d] > 0) squares += error * error / ref.variance[d];
                    n++;
                }
            }
    return squares / (double)n;
}

static double check_rows(const batch *b) { return check_some_rows(b, 1); }

/* ---- Lengths and batches ---- */

static void test_every_length(void **state) {
    (void)state;
    for (int i = 0; i < N_LENGTHS; i++) {
        batch b = batch_new(&lengths[i], 1, 1 + i % 3);
        fill_random(&b, 2, 2, 1, 100 + (uint64_t)i);
        attend_all(&b);
        assert_true(check_rows(&b) < 1);
        batch_free(&b);
    }
}

static void test_batches(void **state) {
    (void)state;
    for (int n_seq = 2; n_seq <= MAX_SEQ; n_seq++) {
        int some[MAX_SEQ];
        for (int i = 0; i < n_seq; i++) some[i] = lengths[(7 * n_seq + 5 * i) % N_LENGTHS];
        batch b = batch_new(some, n_seq, 1 + n_seq % 3);
        fill_random(&b, 3, 2, 1, 200 + (uint64_t)n_seq);
        attend_all(&b);
        assert_true(check_rows(&b) < 1);
        batch_free(&b);
    }
}

/* Many key tiles: the ring's places come round often, and the maximum has moved long before the
 * end. */
static void test_long_sequence(void **state) {
    (void)state;
    int n = MAX_LENGTH;
    batch b = batch_new(&n, 1, 1);
    fill_random(&b, 3, 2, 1, 250);
    attend_all(&b);
    assert_true(check_some_rows(&b, 7) < 1);
    batch_free(&b);
}

/* The CPU's scalar kernel, f32 throughout, errs by less than this one may. */
static void test_scalar_kernel(void **state) {
    (void)state;
    int n = 200;
    batch b = batch_new(&n, 1, 2);
    fill_random(&b, 3, 2, 1, 260);
    attend_all(&b);
    const ms_cpu_kernels *kernels = ms_cpu_kernels_get(MSIM_ISA_REF);
    size_t each = (size_t)n * HEAD;
    float *q = test_alloc(each, sizeof *q), *k = test_alloc(each, sizeof *k),
          *v = test_alloc(each, sizeof *v);
    float *expected = test_alloc(each, sizeof *expected);
    void *scratch = test_alloc(kernels->attend_scratch_bytes + 1, 1);
    for (int head = 0; head < b.heads; head++) {
        for (size_t i = 0; i < each; i++) {
            q[i] = ms_f32_of_bf16(at(&b, (int)(i / HEAD), Q, head)[i % HEAD]);
            k[i] = ms_f32_of_bf16(at(&b, (int)(i / HEAD), K, head)[i % HEAD]);
            v[i] = ms_f32_of_bf16(at(&b, (int)(i / HEAD), V, head)[i % HEAD]);
        }
        ms_keys keys = {.k = k, .v = v, .rows = (size_t)n};
        for (size_t row = 0, some; row < (size_t)n; row += some) {
            some = (size_t)n - row < kernels->attend_rows ? (size_t)n - row : kernels->attend_rows;
            kernels->attend(&(ms_attend){.q = q + row * HEAD,
                                         .keys = &keys,
                                         .n_keys = (size_t)n,
                                         .dst = expected + row * HEAD,
                                         .scratch = scratch,
                                         .n_query = some,
                                         .q_stride = HEAD,
                                         .dst_stride = HEAD,
                                         .precision = MSIM_PRECISION_F32});
        }
        for (int row = 0; row < n; row++) {
            reference ref;
            row_bounds(&b, 0, head, row, &ref);
            for (int d = 0; d < HEAD; d++) {
                double got = value_of(b.out[(size_t)row * b.inner + (size_t)head * HEAD + d]);
                assert_true(fabs(got - expected[row * HEAD + d]) <= 2 * ref.bound[d]);
            }
        }
    }
    ms_free(q);
    ms_free(k);
    ms_free(v);
    ms_free(expected);
    ms_free(scratch);
    batch_free(&b);
}

/* ---- Results that are known exactly: every row, key and column in its place ---- */

/* Query i is the code of key pick[i]; codes of 64 signs that share at most 52 differ in the
 * exponent by 16 x 12 / 8 x 1.44 at least: the others' share stays below n 2^-34, half a step of
 * bf16 is 2^-9. */
static void test_one_key_each(void **state) {
    (void)state;
    enum { N = 300 };
    int n = N, pick[N], heads = 2;
    batch b = batch_new(&n, 1, heads);
    uint64_t seed = 300;
    fill_random(&b, 1, 1, 1, 301);
    for (int head = 0; head < heads; head++) {
        uint64_t code[N];
        for (int i = 0; i < n; i++) pick[i] = i;
        for (int i = n - 1; i > 0; i--) {
            int j = (int)(splitmix(&seed) % (uint64_t)(i + 1)), swap = pick[i];
            pick[i] = pick[j];
            pick[j] = swap;
        }
        for (int i = 0; i < n; i++) {
            code[i] = splitmix(&seed);
            for (int j = 0; j < i; j++) assert_true(__builtin_popcountll(code[i] ^ code[j]) >= 12);
            for (int d = 0; d < HEAD; d++)
                at(&b, i, K, head)[d] = ms_bf16_of_f32(code[i] >> d & 1 ? 4 : -4);
        }
        for (int i = 0; i < n; i++)
            memcpy(at(&b, i, Q, head), at(&b, pick[i], K, head), HEAD * sizeof(ms_bf16));
        attend_all(&b);
        for (int i = 0; i < n; i++)
            for (int d = 0; d < HEAD; d++)
                assert_int_equal(b.out[(size_t)i * b.inner + (size_t)head * HEAD + d].bits,
                                 at(&b, pick[i], V, head)[d].bits);
    }
    batch_free(&b);
}

/* Queries of zeros, half of them -0: all scores are 0, p is 1, the sum is exact, and so is its
 * inverse for powers of two. */
static void test_equal_scores(void **state) {
    (void)state;
    static const int powers[] = {1, 2, 16, 64, 128};
    uint64_t seed = 400;
    for (size_t i = 0; i < sizeof powers / sizeof *powers; i++) {
        batch b = batch_new(&powers[i], 1, 1);
        fill_random(&b, 0, 5, 1, 401);
        for (int row = 0; row < powers[i]; row++)
            for (int d = 0; d < HEAD; d++) {
                at(&b, row, Q, 0)[d].bits = splitmix(&seed) & 1 ? 0x8000 : 0;
                at(&b, row, V, 0)[d] = ms_bf16_of_f32((float)((int)(splitmix(&seed) % 255) - 127));
            }
        attend_all(&b);
        for (int d = 0; d < HEAD; d++) {
            float sum = 0;
            for (int row = 0; row < powers[i]; row++) sum += ms_f32_of_bf16(at(&b, row, V, 0)[d]);
            for (int row = 0; row < powers[i]; row++)
                assert_true(value_of(b.out[row * HEAD + d]) ==
                            ms_round_bf16(sum / (float)powers[i]));
        }
        batch_free(&b);
    }
}

/* ---- Ranges ---- */

static void test_sharp_scores(void **state) {
    (void)state;
    static const float scales[] = {8, 16, 40, 200}; /* scores up to some +-60, +-250, +-1500, and
                                                     * far outside exp2's range */
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        int some[] = {200, 65, 129};
        batch b = batch_new(some, 3, 1);
        fill_random(&b, scales[i], scales[i], 1, 500 + (uint64_t)i);
        attend_all(&b);
        check_rows(&b);
        batch_free(&b);
    }
}

/* Scores that rise or fall by so many powers of two from tile to tile: below, at and above what
 * makes the running maximum move, so far that everything before vanishes, and in a row of small
 * steps that add up. */
static void test_moving_maximum(void **state) {
    (void)state;
    static const float steps[] = {1, 3, 7.5f, 7.99f, 8, 8.01f, 9, 30, 120, 200, -1, -8, -9, -130};
    int n = 300;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        batch b = batch_new(&n, 1, 1);
        fill_random(&b, 0.25f, 0.25f, 1, 600 + (uint64_t)i);
        for (int row = 0; row < n; row++) {
            /* one column carries the score in powers of two: 8 x key / 8 x log2(e); in some rows it
             * has no say */
            at(&b, row, Q, 0)[17] = ms_bf16_of_f32(row % 3 ? 8 : 0.125f);
            at(&b, row, K, 0)[17] = ms_bf16_of_f32((float)(row / 64) * steps[i] / 1.4426950f);
        }
        attend_all(&b);
        check_rows(&b);
        batch_free(&b);
    }
}

static void test_large_and_small(void **state) {
    (void)state;
    static const float scales[][3] = {
        {0x1p60f, 0x1p-60f, 0x1p90f}, {0x1p-60f, 0x1p-50f, 0x1p-100f}, {0x1p-30f, 0x1p33f, 1}};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        int some[] = {130, 15};
        batch b = batch_new(some, 2, 1);
        fill_random(&b, scales[i][0], scales[i][1], scales[i][2], 700 + (uint64_t)i);
        attend_all(&b);
        check_rows(&b);
        batch_free(&b);
    }
}

static void test_identical_keys(void **state) {
    (void)state;
    int some[] = {63, 129, 300};
    batch b = batch_new(some, 3, 2);
    fill_random(&b, 4, 4, 1, 800);
    for (int row = 0; row < b.starts[3]; row++)
        memcpy(at(&b, row, K, 0), at(&b, 0, K, 0), (size_t)b.inner * sizeof(ms_bf16));
    attend_all(&b);
    assert_true(check_rows(&b) < 1);
    batch_free(&b);
}

/* ---- A row's bits ---- */

static void same_rows(const batch *a, int row_a, const batch *b, int row_b, int n) {
    assert_memory_equal(a->out + (size_t)row_a * a->inner, b->out + (size_t)row_b * b->inner,
                        (size_t)n * a->inner * sizeof(ms_bf16));
}

static batch alone(const batch *b, int seq) {
    int n = b->starts[seq + 1] - b->starts[seq];
    batch one = batch_new(&n, 1, b->heads);
    memcpy(one.qkv, at(b, b->starts[seq], Q, 0), (size_t)n * 3 * b->inner * sizeof(ms_bf16));
    attend_all(&one);
    return one;
}

static void test_batch_mates(void **state) {
    (void)state;
    int some[] = {129, 1, 300, 64, 15};
    batch b = batch_new(some, 5, 2);
    fill_random(&b, 3, 3, 1, 900);
    attend_all(&b);
    for (int seq = 0; seq < 5; seq++) {
        batch one = alone(&b, seq);
        same_rows(&one, 0, &b, b.starts[seq], some[seq]);
        batch_free(&one);
    }
    batch_free(&b);
}

static void test_tile_order(void **state) {
    (void)state;
    int some[] = {300, 65, 200, 128};
    batch b = batch_new(some, 4, 2), again = batch_new(some, 4, 2);
    fill_random(&b, 3, 3, 1, 1000);
    memcpy(again.qkv, b.qkv, (size_t)b.starts[4] * 3 * b.inner * sizeof *b.qkv);
    attend_all(&b);
    uint64_t seed = 1001;
    for (int round = 0; round < 3; round++) {
        tiling t = tiles_of(&b);
        for (int i = t.n - 1; i > 0; i--) {
            int j = round == 0 ? t.n - 1 - i : (int)(splitmix(&seed) % (uint64_t)(i + 1));
            if (round == 0 && j >= i) break;
            ms_gpu_query_tile swap = t.tile[i];
            t.tile[i] = t.tile[j];
            t.tile[j] = swap;
        }
        attend(&again, &t);
        same_rows(&b, 0, &again, 0, b.starts[4]);
    }
    batch_free(&again);
    batch_free(&b);
}

/* A tile that begins anywhere gives its rows the bits they have in the usual tiles: tiles of up to
 * 64 rows and of more compute them by different code. */
static void test_tile_heights(void **state) {
    (void)state;
    static const int firsts[] = {0, 1, 37, 128, 135, 136, 137, 171, 172, 184, 199};
    int n = 200;
    batch b = batch_new(&n, 1, 1), again = batch_new(&n, 1, 1);
    fill_random(&b, 4, 4, 1, 1100);
    memcpy(again.qkv, b.qkv, (size_t)n * 3 * b.inner * sizeof *b.qkv);
    attend_all(&b);
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        tiling t = {.n = 0};
        add_tile(&t, &again, 0, firsts[i]);
        attend(&again, &t);
        same_rows(&b, firsts[i], &again, firsts[i],
                  n - firsts[i] < MS_GPU_QUERY_ROWS ? n - firsts[i] : MS_GPU_QUERY_ROWS);
    }
    batch_free(&again);
    batch_free(&b);
}

/* The same where it shows most: a sum that is off by one bit changes one rounded result in some
 * 50,000. */
static void test_half_tiles(void **state) {
    (void)state;
    int some[MAX_SEQ] = {128, 128, 128, 128, 128};
    batch b = batch_new(some, MAX_SEQ, 3), again = batch_new(some, MAX_SEQ, 3);
    fill_random(&b, 3, 3, 1, 1150);
    memcpy(again.qkv, b.qkv, (size_t)b.starts[MAX_SEQ] * 3 * b.inner * sizeof *b.qkv);
    attend_all(&b);
    tiling t = {.n = 0};
    for (int seq = 0; seq < MAX_SEQ; seq++) add_tile(&t, &again, seq, b.starts[seq] + 64);
    attend(&again, &t);
    for (int seq = 0; seq < MAX_SEQ; seq++)
        same_rows(&b, b.starts[seq] + 64, &again, b.starts[seq] + 64, 64);
    batch_free(&again);
    batch_free(&b);
}

/* ---- NaN and infinity stay in their sequence ---- */

static void test_bad_neighbours(void **state) {
    (void)state;
    static const uint16_t bad[] = {NAN_BITS, 0x7f80, 0xff80};
    int some[] = {65, 40, 129, 3, 1};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        batch b = batch_new(some, 5, 2);
        fill_random(&b, 2, 2, 1, 1200);
        for (int seq = 1; seq < 5; seq += 2)
            for (int row = b.starts[seq]; row < b.starts[seq + 1]; row++)
                for (int j = 0; j < 3 * b.inner; j++) at(&b, row, Q, 0)[j].bits = bad[i];
        attend_all(&b);
        for (int seq = 0; seq < 5; seq++) {
            batch one = alone(&b, seq);
            if (seq % 2 == 0) {
                check_rows(&one);
                same_rows(&one, 0, &b, b.starts[seq], some[seq]);
            } else {
                for (int j = 0; j < some[seq] * b.inner; j++)
                    assert_true(
                        isnan(value_of(b.out[(size_t)b.starts[seq] * b.inner + (size_t)j])));
            }
            batch_free(&one);
        }
        batch_free(&b);
    }
}

/* One NaN value reaches its column of its sequence and nothing else; one NaN query, its row. An
 * infinite value makes its column infinite, not NaN: what stands for keys past the end is zeros,
 * not a copy of some row. */
static void test_one_nan(void **state) {
    (void)state;
    int n = 150;
    batch b = batch_new(&n, 1, 2), clean = batch_new(&n, 1, 2);
    fill_random(&b, 2, 2, 1, 1300);
    memcpy(clean.qkv, b.qkv, (size_t)n * 3 * b.inner * sizeof *b.qkv);
    at(&b, 100, V, 1)[7].bits = NAN_BITS;
    at(&b, 141, Q, 0)[63].bits = NAN_BITS;
    at(&b, 0, V, 1)[9].bits = at(&b, n - 1, V, 1)[10].bits = 0x7f80;
    attend_all(&b);
    attend_all(&clean);
    for (int row = 0; row < n; row++)
        for (int j = 0; j < b.inner; j++) {
            ms_bf16 got = b.out[row * b.inner + j];
            if (j == HEAD + 7 || (row == 141 && j < HEAD))
                assert_true(isnan(value_of(got)));
            else if (j == HEAD + 9 || j == HEAD + 10)
                assert_int_equal(got.bits, 0x7f80);
            else
                assert_int_equal(got.bits, clean.out[row * b.inner + j].bits);
        }
    batch_free(&clean);
    batch_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length),    cmocka_unit_test(test_batches),
        cmocka_unit_test(test_long_sequence),   cmocka_unit_test(test_scalar_kernel),
        cmocka_unit_test(test_one_key_each),    cmocka_unit_test(test_equal_scores),
        cmocka_unit_test(test_sharp_scores),    cmocka_unit_test(test_moving_maximum),
        cmocka_unit_test(test_large_and_small), cmocka_unit_test(test_identical_keys),
        cmocka_unit_test(test_batch_mates),     cmocka_unit_test(test_tile_order),
        cmocka_unit_test(test_tile_heights),    cmocka_unit_test(test_half_tiles),
        cmocka_unit_test(test_bad_neighbours),  cmocka_unit_test(test_one_nan),
    };
    return cmocka_run_group_tests(tests, open_stream, close_stream);
}
