/* Kernels between the products (norm_act.cu, pool_norm.cu) against the same in double: norms, token
 * rows, GELU, rotary, pooling, at ragged numbers of rows and every width's instance. Bounds are
 * counted roundings: u = 2^-24 for each of f32, 2^-8 for one to bf16. Runs on the emulator and on a
 * GPU. docs/MODEL.md. */
#include "device_rows.h"
#include "support/levels.h"
#include <math.h>

#define U32 0x1p-24
#define UBF 0x1p-8

static const int64_t row_counts[] = {1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200, 257};
static const int64_t dims[] = {64, 128, 192, 512, 768, 1024, 1088, 2048};
enum {
    N_COUNTS = sizeof row_counts / sizeof *row_counts,
    N_DIMS = sizeof dims / sizeof *dims,
    MOST_ROWS = 257,
    VOCAB = 386
};

static ms_gpu_stream *stream;

static int open_stream(void **state) {
    (void)state;
    return ms_gpu_stream_open(0, &stream, NULL);
}

static int close_stream(void **state) {
    (void)state;
    ms_gpu_stream_close(stream);
    return 0;
}

/* ---- Norms ---- */

/* Rows of several kinds: plain, far from zero (the squares must be of distances), tiny, huge, and
 * all the same number. */
static void fill_rows(float *x, int64_t n, int64_t dim, uint64_t seed) {
    static const float scales[] = {1.0f, 1.0f, 1e-4f, 1e4f, 0.0f},
                       offsets[] = {0.0f, 30.0f, 0.0f, 1e3f, 0.7f};
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < dim; c++)
            x[r * dim + c] = uniform(&seed) * scales[r % 5] + offsets[r % 5];
}

static void fill_scale(float *scale, int64_t dim) {
    uint64_t seed = 7;
    for (int64_t c = 0; c < dim; c++) scale[c] = 1.0f + 0.25f * uniform(&seed);
}

/* A row of norm's results. Roundings of a sum: 3 for each 128 columns (two to add four, one to the
 * lane's), 5 of the shuffles, one of the quotient: `chain`. The mean's error moves every distance;
 * it moves the variance only squared, for distances add up to zero. */
static void check_norm_row(const float *got, const float *x, const float *scale, int64_t dim,
                           double rounding) {
    double sum = 0.0, sum_abs = 0.0, squares = 0.0, chain = 3.0 * (double)((dim + 127) / 128) + 6.0;
    for (int64_t c = 0; c < dim; c++) {
        sum += x[c];
        sum_abs += fabs(x[c]);
    }
    double mean = sum / (double)dim, mean_error = chain * U32 * sum_abs / (double)dim;
    for (int64_t c = 0; c < dim; c++) squares += (x[c] - mean) * (x[c] - mean);
    double inverse = 1.0 / sqrt(squares / (double)dim + 1e-5);
    /* Sum of squares: chain and 3 more (distance twice, square); root and quotients: 4; two
     * products: 2. */
    double relative = ((chain + 3.0) / 2.0 + 6.0) * U32 +
                      mean_error * mean_error * inverse * inverse;
    for (int64_t c = 0; c < dim; c++) {
        double ref = (x[c] - mean) * inverse * scale[c];
        double bound = fabs(ref) * relative + mean_error * inverse * fabs(scale[c]);
        bound += (fabs(ref) + bound) * rounding + 1e-38;
        if (!(fabs(got[c] - ref) <= bound))
            fail_msg("width %lld, column %lld: expected %.9g within %.2g, got %.9g", (long long)dim,
                     (long long)c, ref, bound, (double)got[c]);
    }
}

static void widen(float *to, const ms_bf16 *from, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = ms_f32_of_bf16(from[i]);
}

static void norms_at(int64_t n, int64_t dim) {
    size_t count = (size_t)(n * dim);
    float *x = rows_host(count, sizeof *x), *scale = rows_host((size_t)dim, sizeof *scale);
    float *got = rows_host(count, sizeof *got), *again = rows_host(count, sizeof *again);
    ms_bf16 *narrow = rows_host(count, sizeof *narrow);
    fill_rows(x, n, dim, 1000 * (uint64_t)n + (uint64_t)dim);
    fill_scale(scale, dim);
    device_rows dx = rows_of(stream, x, count, sizeof *x),
                dscale = rows_of(stream, scale, (size_t)dim, sizeof *scale);
    device_rows wide = rows_open(stream, count, sizeof *got),
                half = rows_open(stream, count, sizeof *narrow);
    rows_ok(ms_norm_f32_cuda(stream, wide.at, dx.at, dscale.at, n, dim, err));
    rows_ok(ms_norm_bf16_cuda(stream, half.at, dx.at, dscale.at, n, dim, err));
    rows_get(&wide, got, count * sizeof *got);
    rows_get(&half, narrow, count * sizeof *narrow);
    for (int64_t r = 0; r < n; r++) check_norm_row(got + r * dim, x + r * dim, scale, dim, 0.0);
    /* the same, rounded */
    for (size_t i = 0; i < count; i++)
        assert_int_equal(narrow[i].bits, ms_bf16_of_f32(got[i]).bits);
    rows_get(&dx, again, count * sizeof *again);
    assert_memory_equal(again, x, count * sizeof *x);
    /* A row alone, the last one, has the same bits; and so have all in place. */
    rows_poison(&wide);
    rows_ok(ms_norm_f32_cuda(stream, wide.at, (const float *)dx.at + (n - 1) * dim, dscale.at, 1,
                             dim, err));
    rows_get(&wide, again, (size_t)dim * sizeof *again);
    assert_memory_equal(again, got + (n - 1) * dim, (size_t)dim * sizeof *again);
    rows_ok(ms_norm_f32_cuda(stream, dx.at, dx.at, dscale.at, n, dim, err));
    rows_get(&dx, again, count * sizeof *again);
    assert_memory_equal(again, got, count * sizeof *again);
    rows_close(&dx);
    rows_close(&dscale);
    rows_close(&wide);
    rows_close(&half);
    ms_free(x);
    ms_free(scale);
    ms_free(got);
    ms_free(again);
    ms_free(narrow);
}

static void norms(void **state) {
    (void)state;
    for (int i = 0; i < N_COUNTS; i++) norms_at(row_counts[i], i % 2 ? 512 : 128);
    for (int i = 0; i < N_DIMS; i++) norms_at(11, dims[i]);
}

static void token_rows(int64_t n, int64_t dim) {
    size_t count = (size_t)(n * dim), cells = (size_t)(VOCAB * dim);
    float *table = rows_host(cells, sizeof *table), *scale = rows_host((size_t)dim, sizeof *scale);
    float *x = rows_host(count, sizeof *x), *got = rows_host(count, sizeof *got);
    ms_bf16 *h = rows_host(count, sizeof *h);
    int32_t ids[MOST_ROWS];
    fill_rows(table, VOCAB, dim, (uint64_t)dim);
    fill_scale(scale, dim);
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)((i * 101 + 385) % VOCAB);
    device_rows dtable = rows_of(stream, table, cells, sizeof *table),
                dscale = rows_of(stream, scale, (size_t)dim, 4);
    device_rows dids = rows_of(stream, ids, (size_t)n, sizeof *ids),
                dx = rows_open(stream, count, sizeof *x);
    device_rows dh = rows_open(stream, count, sizeof *h);
    rows_ok(ms_embed_norm_cuda(stream, dh.at, dx.at, dids.at, dtable.at, dscale.at, n, dim, err));
    rows_get(&dx, x, count * sizeof *x);
    rows_get(&dh, h, count * sizeof *h);
    widen(got, h, n * dim);
    for (int64_t r = 0; r < n; r++) {
        const float *row = table + ids[r] * dim;
        assert_memory_equal(x + r * dim, row, (size_t)dim * sizeof *row);
        check_norm_row(got + r * dim, row, scale, dim, UBF);
    }
    rows_close(&dtable);
    rows_close(&dscale);
    rows_close(&dids);
    rows_close(&dx);
    rows_close(&dh);
    ms_free(table);
    ms_free(scale);
    ms_free(x);
    ms_free(got);
    ms_free(h);
}

static void token_rows_and_their_norm(void **state) {
    (void)state;
    for (int i = 0; i < N_COUNTS; i++) token_rows(row_counts[i], i % 2 ? 64 : 192);
    for (int i = 0; i < N_DIMS; i++) token_rows(9, dims[i]);
}

static void no_rows_are_no_work(void **state) {
    (void)state;
    rows_ok(ms_embed_norm_cuda(stream, NULL, NULL, NULL, NULL, NULL, 0, 512, err));
    rows_ok(ms_norm_bf16_cuda(stream, NULL, NULL, NULL, 0, 512, err));
    rows_ok(ms_norm_f32_cuda(stream, NULL, NULL, NULL, 0, 512, err));
    rows_ok(ms_gelu_bf16_cuda(stream, NULL, 0, err));
    rows_ok(ms_rotate_bf16_cuda(stream, NULL, NULL, NULL, NULL, 0, 8, err));
    rows_ok(ms_pool_cuda(stream, NULL, NULL, NULL, NULL, 0, 0, 512, NULL, NULL, NULL, err));
    rows_ok(ms_gpu_sync(stream, err));
}

/* ---- GELU ---- */

/* Before it is rounded to bf16 a value is off by less than a twentieth of a step there
 * (kernels/encoder/act.cuh). erfc: 1 + erf cancels where u is far below 0. */
static void check_gelu(ms_bf16 got, ms_bf16 from) {
    double u = ms_f32_of_bf16(from), ref = 0.5 * u * erfc(-u / sqrt(2.0)), g = ms_f32_of_bf16(got);
    int exponent = ref != 0.0 ? ilogb(ref) : -200;
    double bound = 0.55 * ldexp(1.0, (exponent < -126 ? -126 : exponent) - 7);
    if (!(fabs(g - ref) <= bound))
        fail_msg("gelu(%g): expected %.6g within %.2g, got %.6g", u, ref, bound, g);
}

static void gelu_of_every_number(void **state) {
    (void)state;
    enum { ALL = 65536 };
    static const int64_t counts[] = {1, 7, 8, 9, 2047, 2048, 2049, ALL};
    ms_bf16 *u = rows_host(ALL, sizeof *u), *got = rows_host(ALL, sizeof *got);
    /* odd: every pattern once, neighbours far apart */
    for (int i = 0; i < ALL; i++) u[i].bits = (uint16_t)(i * 40503);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        size_t n = (size_t)counts[i];
        device_rows d = rows_of(stream, u, n, sizeof *u);
        rows_ok(ms_gelu_bf16_cuda(stream, d.at, counts[i], err));
        rows_get(&d, got, n * sizeof *got);
        for (size_t j = 0; j < n; j++)
            if ((u[j].bits & 0x7f80) != 0x7f80)
                check_gelu(got[j], u[j]);
            else if (u[j].bits & 0x7f)
                assert_true(isnan(ms_f32_of_bf16(got[j])));
        rows_close(&d);
    }
    ms_free(u);
    ms_free(got);
}

/* ---- Rotary ---- */

static void rotate_at(int64_t n, int64_t heads) {
    enum { POSITIONS = 300 };
    int64_t inner = heads * 64, count = n * 3 * inner;
    ms_bf16 *qkv = rows_host((size_t)count, sizeof *qkv),
            *got = rows_host((size_t)count, sizeof *got);
    float cosines[POSITIONS * 16], sines[POSITIONS * 16];
    int32_t positions[MOST_ROWS];
    uint64_t seed = (uint64_t)count;
    for (int i = 0; i < POSITIONS * 16; i++) {
        cosines[i] = cosf((float)i * 0.37f);
        sines[i] = sinf((float)i * 0.37f);
    }
    for (int64_t i = 0; i < n; i++) positions[i] = (int32_t)(i * 7 % POSITIONS);
    for (int64_t i = 0; i < count; i++) qkv[i] = ms_bf16_of_f32(4.0f * uniform(&seed));
    device_rows d = rows_of(stream, qkv, (size_t)count, sizeof *qkv),
                dc = rows_of(stream, cosines, POSITIONS * 16, 4);
    device_rows ds = rows_of(stream, sines, POSITIONS * 16, 4),
                dp = rows_of(stream, positions, (size_t)n, 4);
    rows_ok(ms_rotate_bf16_cuda(stream, d.at, dc.at, ds.at, dp.at, n, heads, err));
    rows_get(&d, got, (size_t)count * sizeof *got);
    for (int64_t i = 0; i < count; i++) {
        int64_t column = i % (3 * inner), pair = column % 64 / 2,
                angle = positions[i / (3 * inner)] * 16 + pair;
        float same = ms_f32_of_bf16(qkv[i]), other = ms_f32_of_bf16(qkv[i ^ 1]);
        if (column < 2 * inner && pair < 16) /* the same roundings as kern_ref: the same bits */
            same = ms_round_bf16(column % 2 ? same * cosines[angle] + other * sines[angle]
                                            : same * cosines[angle] - other * sines[angle]);
        if (got[i].bits != ms_bf16_of_f32(same).bits)
            fail_msg("%lld heads, row %lld, column %lld: expected %g, got %g", (long long)heads,
                     (long long)(i / (3 * inner)), (long long)column, (double)same,
                     (double)ms_f32_of_bf16(got[i]));
    }
    rows_close(&d);
    rows_close(&dc);
    rows_close(&ds);
    rows_close(&dp);
    ms_free(qkv);
    ms_free(got);
}

static void rotary(void **state) {
    (void)state;
    static const int64_t heads[] = {1, 2, 3, 8};
    for (int i = 0; i < N_COUNTS; i++) rotate_at(row_counts[i], heads[i % 4]);
}

/* ---- Pooling ---- */

enum { N_SEQ = 14 };
static const int64_t lengths[N_SEQ] = {0, 1, 2, 63, 64, 65, 0, 127, 128, 129, 200, 0, 513, 3};

static const ms_token_classes *classes; /* of the family in hand */

/* One sequence in double. Three roundings to f32: sum, weight sum, quotient. */
static void check_pooled(const float *got, const float *rows, const int32_t *ids, int64_t n,
                         int64_t dim, const float *weights) {
    for (int64_t c = 0; c < dim; c++) {
        double sum = 0.0, sum_abs = 0.0, weight_sum = 0.0;
        for (int64_t t = 0; t < n; t++) {
            double weight = weights ? (double)ms_class_weight(classes, weights, ids[t]) : 1.0;
            sum += weight * rows[t * dim + c];
            sum_abs += fabs(weight * rows[t * dim + c]);
            weight_sum += weight;
        }
        double divisor = fmax(weight_sum, weights ? 1e-6 : 1e-9);
        double bound = (3 * U32 + (double)n * 0x1p-53) * sum_abs / divisor + 1e-30;
        if (!(fabs(got[c] - sum / divisor) <= bound))
            fail_msg("%lld tokens, column %lld: expected %.9g within %.2g, got %.9g", (long long)n,
                     (long long)c, sum / divisor, bound, (double)got[c]);
    }
}

/* Sequences `order`[0 .. n_seq) as one batch; out by place in the batch. */
static void pool(float *out, const float *rows, const int32_t *ids, const int *order, int n_seq,
                 int64_t dim, const float *weights) {
    int64_t starts[N_SEQ + 1] = {0}, first[N_SEQ] = {0};
    for (int i = 0; i + 1 < N_SEQ; i++) first[i + 1] = first[i] + lengths[i];
    for (int i = 0; i < n_seq; i++) starts[i + 1] = starts[i] + lengths[order[i]];
    size_t n = (size_t)starts[n_seq], row_bytes = (size_t)dim * sizeof *rows;
    device_rows drows = rows_open(stream, n + 1, row_bytes),
                dids = rows_open(stream, n + 1, sizeof *ids);
    device_rows dout = rows_open(stream, (size_t)n_seq, row_bytes),
                dstarts = rows_of(stream, starts, (size_t)n_seq + 1, 8);
    device_rows scratch = rows_open(stream, ms_pool_scratch_bytes((int64_t)n, n_seq, dim), 1);
    for (int i = 0; i < n_seq; i++) {
        size_t length = (size_t)lengths[order[i]];
        rows_ok(ms_gpu_upload(stream, (float *)drows.at + starts[i] * dim,
                              rows + first[order[i]] * dim, length * row_bytes, err));
        rows_ok(ms_gpu_upload(stream, (int32_t *)dids.at + starts[i], ids + first[order[i]],
                              length * sizeof *ids, err));
    }
    rows_ok(ms_pool_cuda(stream, dout.at, drows.at, dids.at, dstarts.at, n_seq, (int64_t)n, dim,
                         classes, weights, scratch.at, err));
    rows_get(&dout, out, (size_t)n_seq * row_bytes);
    unsigned char *used = rows_host(scratch.n_bytes, 1);
    rows_get(&scratch, used, scratch.n_bytes); /* the guards */
    ms_free(used);
    rows_close(&drows);
    rows_close(&dids);
    rows_close(&dout);
    rows_close(&dstarts);
    rows_close(&scratch);
}

static void pooling_at(int64_t dim, const float *weights) {
    static const int all[N_SEQ] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
    static const int other[N_SEQ] = {12, 11, 3, 13, 9, 0, 10, 1, 8, 7, 2, 6, 5, 4};
    int64_t n = 0;
    for (int i = 0; i < N_SEQ; i++) n += lengths[i];
    float *rows = rows_host((size_t)(n * dim), sizeof *rows),
          *out = rows_host((size_t)(N_SEQ * dim), sizeof *out);
    float *alone = rows_host((size_t)(N_SEQ * dim), sizeof *alone);
    int32_t *ids = rows_host((size_t)n, sizeof *ids);
    uint64_t seed = (uint64_t)dim;
    for (int64_t i = 0; i < n * dim; i++) rows[i] = uniform(&seed) * 3.0f + 0.25f;
    const uint64_t vocab = classes->n == 4 ? 720 : VOCAB;
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)(splitmix(&seed) % vocab);
    pool(out, rows, ids, all, N_SEQ, dim, weights);
    for (int64_t i = 0, first = 0; i < N_SEQ; first += lengths[i++])
        check_pooled(out + i * dim, rows + first * dim, ids + first, lengths[i], dim, weights);
    for (int i = 0; i < N_SEQ; i++) { /* the same bits alone, and in another batch */
        pool(alone, rows, ids, all + i, 1, dim, weights);
        assert_memory_equal(alone, out + i * dim, (size_t)dim * sizeof *out);
    }
    pool(alone, rows, ids, other, N_SEQ, dim, weights);
    for (int i = 0; i < N_SEQ; i++)
        assert_memory_equal(alone + i * dim, out + other[i] * dim, (size_t)dim * sizeof *out);
    ms_free(rows);
    ms_free(out);
    ms_free(alone);
    ms_free(ids);
}

static void pooling(void **state) {
    (void)state;
    static const float cases[][3] = {{1, 1, 2}, {0, 0, 1}, {-1, -1, -1}, {0.3f, -0.7f, 0.4f}};
    static const float of_four[][4] = {{1, 2, 1, 2}, {0.3f, 0, -0.2f, 1.5f}};
    classes = &ms_family_of(MSIM_FAMILY_MIDISIM)->classes;
    pooling_at(64, NULL);
    pooling_at(512, NULL);
    pooling_at(768, cases[0]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        pooling_at(i % 2 ? 128 : 192, cases[i]);
    classes = &ms_family_of(MSIM_FAMILY_MIDISIMX)->classes;
    pooling_at(128, of_four[0]);
    pooling_at(64, of_four[1]);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms),
        cmocka_unit_test(token_rows_and_their_norm),
        cmocka_unit_test(no_rows_are_no_work),
        cmocka_unit_test(gelu_of_every_number),
        cmocka_unit_test(rotary),
        cmocka_unit_test(pooling),
    };
    return cmocka_run_group_tests(tests, open_stream, close_stream);
}
