/* Products with weight matrices on the GPU (src/kernels/encoder/gemm_bf16.cu,
 * kernels/encoder/project.c) against f64. Operands of bf16 are exact in f64. Rows before and behind
 * those of `a`, `w` and the bias are NaN, which would show in every sum they leak into; dst lies in
 * poisoned memory whose guard rows must stay.
 *
 * A row's bits must depend on that row alone: results of every tile and every number of rows are
 * compared bit by bit with those of one run, which is compared with f64. GELU and ROTATE are STORE
 * and what stands behind it, bit by bit. */
#include "support/levels.h"
#include "base/bf16.h"
#include "kernels/encoder/project.h"
#include "test_stream.h"
#include <math.h>

enum { GUARD = 2, POISON = 0xa5, POSITIONS = 300, PAIRS = 16, HEAD = 64, AUTO_TILE = -1 };

static const int64_t ragged[] = {1, 2, 15, 63, 64, 65, 127, 128, 129, 200, 257};
enum { N_RAGGED = sizeof ragged / sizeof *ragged, MOST = 257 };

/* ---- A product: operands on the host and the device ---- */

typedef struct {
    int64_t m, n, k;                      /* most rows */
    ms_bf16 *a, *w;                       /* host: [m, k], [n, k] */
    float *bias, *before, *cosine, *sine; /* host: [n]; what ADD adds to [m, n]; [POSITIONS,
                                           * PAIRS] */
    int32_t *positions;                   /* host: [m] */
    void *device[6]; /* a, w, bias, cosine, sine, positions, between GUARD rows of NaN; `tight`:
                         * none behind */
    ms_gpu_gemm g;
} product;

/* rows of row_bytes on the device, between guard rows full of 0xff: NaN in bf16 and f32, positions
 * far outside. Tight: at the end of their memory, where the emulator and compute-sanitizer see a
 * read past them. */
static void *guarded_upload(const void *host, int64_t rows, size_t row_bytes, bool tight,
                            void **block) {
    msim_error err;
    size_t guard = GUARD * row_bytes < 256 ? 256 : GUARD * row_bytes, n = (size_t)rows * row_bytes;
    size_t all = n + (tight ? 1 : 2) * guard;
    unsigned char *p = ms_gpu_alloc(stream, all, 1, "operand", &err);
    assert_non_null(p);
    assert_int_equal(ms_gpu_fill(stream, p, 0xff, all, &err), MSIM_OK);
    assert_int_equal(ms_gpu_upload(stream, p + guard, host, n, &err), MSIM_OK);
    assert_int_equal(ms_gpu_sync(stream, &err), MSIM_OK);
    *block = p;
    return p + guard;
}

static product product_open(int64_t m, int64_t n, int64_t k, bool tight) {
    product p = {.m = m, .n = n, .k = k};
    uint64_t seed = (uint64_t)(m * 1000003 + n * 1009 + k);
    p.a = test_alloc((size_t)(m * k), sizeof *p.a);
    p.w = test_alloc((size_t)(n * k), sizeof *p.w);
    p.bias = test_alloc((size_t)n, sizeof *p.bias);
    p.before = test_alloc((size_t)(m * n), sizeof *p.before);
    p.cosine = test_alloc(POSITIONS * PAIRS, sizeof *p.cosine);
    p.sine = test_alloc(POSITIONS * PAIRS, sizeof *p.sine);
    p.positions = test_alloc((size_t)m, sizeof *p.positions);
    for (int64_t i = 0; i < m * k; i++) p.a[i] = ms_bf16_of_f32(2.0f * uniform(&seed));
    for (int64_t i = 0; i < n * k; i++)
        p.w[i] = ms_bf16_of_f32(uniform(&seed) / sqrtf((float)k / 4));
    for (int64_t i = 0; i < n; i++) p.bias[i] = uniform(&seed);
    for (int64_t i = 0; i < m * n; i++) p.before[i] = 3.0f * uniform(&seed);
    for (int i = 0; i < POSITIONS * PAIRS; i++) {
        p.cosine[i] = cosf((float)(i / PAIRS) / (float)(1 + i % PAIRS));
        p.sine[i] = sinf((float)(i / PAIRS) / (float)(1 + i % PAIRS));
    }
    for (int64_t i = 0; i < m; i++) p.positions[i] = (int32_t)(splitmix(&seed) % POSITIONS);
    p.g = (ms_gpu_gemm){.n = n, .k = k};
    p.g.a = guarded_upload(p.a, m, (size_t)k * sizeof *p.a, tight, &p.device[0]);
    p.g.w = guarded_upload(p.w, n, (size_t)k * sizeof *p.w, tight, &p.device[1]);
    p.g.bias = guarded_upload(p.bias, n, sizeof *p.bias, tight, &p.device[2]);
    p.g.cos = guarded_upload(p.cosine, POSITIONS, PAIRS * sizeof *p.cosine, tight, &p.device[3]);
    p.g.sin = guarded_upload(p.sine, POSITIONS, PAIRS * sizeof *p.sine, tight, &p.device[4]);
    p.g.positions = guarded_upload(p.positions, m, sizeof *p.positions, tight, &p.device[5]);
    return p;
}

static product product_new(int64_t m, int64_t n, int64_t k) { return product_open(m, n, k, false); }

static void product_free(product *p) {
    void *host[] = {p->a, p->w, p->bias, p->before, p->cosine, p->sine, p->positions};
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) ms_free(host[i]);
    for (size_t i = 0; i < sizeof p->device / sizeof *p->device; i++)
        ms_gpu_free(stream, p->device[i]);
}

/* What is asked of a product. */
typedef struct {
    int epilogue, tile;
    bool with_bias;
    int64_t m, rotated;
    ms_gpu_projector *by; /* NULL: our kernel, by tile */
} ask;

static size_t value_bytes(const ask *q) {
    return q->epilogue == MS_GPU_ADD ? sizeof(float) : sizeof(ms_bf16);
}

/* Run it: m rows of n values (f32 of ADD, bf16 of all others), to be freed. */
static void *run(const product *p, ask q) {
    msim_error err;
    ms_gpu_gemm g = p->g;
    size_t row = (size_t)p->n * value_bytes(&q), guard = GUARD * row, n = (size_t)q.m * row;
    unsigned char *device = ms_gpu_alloc(stream, n + 2 * guard, 1, "result", &err),
                  *host = test_alloc(n + 2 * guard, 1);
    assert_non_null(device);
    assert_int_equal(ms_gpu_fill(stream, device, POISON, n + 2 * guard, &err), MSIM_OK);
    if (q.epilogue == MS_GPU_ADD)
        assert_int_equal(ms_gpu_upload(stream, device + guard, p->before, n, &err), MSIM_OK);
    g.m = q.m;
    g.epilogue = q.epilogue;
    g.rotated = q.rotated;
    if (!q.with_bias) g.bias = NULL;
    g.dst = device + guard;
    int rc = q.by                  ? ms_gpu_project(q.by, &g, &err)
             : q.tile == AUTO_TILE ? ms_gemm_bf16_cuda(stream, &g, &err)
                                   : ms_gemm_bf16_tile_cuda(stream, &g, q.tile, &err);
    assert_int_equal(rc, MSIM_OK);
    assert_int_equal(ms_gpu_download(stream, host, device, n + 2 * guard, &err), MSIM_OK);
    assert_int_equal(ms_gpu_sync(stream, &err), MSIM_OK);
    ms_gpu_free(stream, device);
    for (size_t i = 0; i < guard; i++)
        if (host[i] != POISON || host[guard + n + i] != POISON)
            fail_msg("n %lld k %lld m %lld epilogue %d tile %d: guard byte %zu overwritten",
                     (long long)p->n, (long long)p->k, (long long)q.m, q.epilogue, q.tile, i);
    memmove(host, host + guard, n);
    return host;
}

static void assert_same_bits(const product *p, const ask *q, const void *got,
                             const void *expected) {
    size_t row = (size_t)p->n * value_bytes(q), width = value_bytes(q);
    for (size_t i = 0; i < (size_t)q->m * row; i += width)
        if (memcmp((const char *)got + i, (const char *)expected + i, width) != 0)
            fail_msg("n %lld k %lld m %lld epilogue %d tile %d: row %zu column %zu: other bits",
                     (long long)p->n, (long long)p->k, (long long)q->m, q->epilogue, q->tile,
                     i / row, i % row / width);
}

/* ---- f64 ---- */

/* Sum and sum of magnitudes of one element. */
static double exact(const product *p, int64_t i, int64_t j, double *magnitude) {
    double sum = 0.0, all = 0.0;
    for (int64_t l = 0; l < p->k; l++) {
        double term = (double)ms_f32_of_bf16(p->a[i * p->k + l]) *
                      (double)ms_f32_of_bf16(p->w[j * p->k + l]);
        sum += term;
        all += fabs(term);
    }
    *magnitude = all;
    return sum;
}

/* A step of 16 adds 17 values in an order and with a rounding of its own; each may lose 2^-23
 * (truncation) of a magnitude that the sum of magnitudes bounds. The bias and ADD round once more
 * each, a stored bf16 by 2^-8. */
static void assert_near_exact(const product *p, const ask *q, const void *got) {
    double gamma = (double)(p->k / 16) * 17 * 0x1p-23;
    for (int64_t i = 0; i < q->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double all, sum = exact(p, i, j, &all), bound = gamma * all, value;
            if (q->with_bias) bound += 0x1p-24 * (fabs(sum += p->bias[j]) + bound);
            if (q->epilogue == MS_GPU_ADD) {
                sum += p->before[i * p->n + j];
                bound += 0x1p-24 * (fabs(sum) + bound);
                value = ((const float *)got)[i * p->n + j];
            } else {
                bound += 0x1p-8 * (fabs(sum) + bound);
                value = ms_f32_of_bf16(((const ms_bf16 *)got)[i * p->n + j]);
            }
            if (!(fabs(value - sum) <= bound))
                fail_msg("n %lld k %lld m %lld epilogue %d tile %d: row %lld column %lld: %.9g, "
                         "expected %.9g +- %.3g",
                         (long long)p->n, (long long)p->k, (long long)q->m, q->epilogue, q->tile,
                         (long long)i, (long long)j, value, sum, bound);
        }
}

/* ---- Tests ---- */

/* One run near f64, all others equal to it: every tile and the default, every number of rows. */
static void check_rows_and_tiles(int64_t n, int64_t k, int epilogue, bool with_bias,
                                 const int64_t *rows, int n_rows) {
    product p = product_new(rows[n_rows - 1], n, k);
    ask q = {.epilogue = epilogue, .tile = 1, .with_bias = with_bias, .m = p.m};
    void *expected = run(&p, q);
    assert_near_exact(&p, &q, expected);
    for (q.tile = AUTO_TILE; q.tile < MS_GPU_GEMM_TILES; q.tile++)
        for (int i = 0; i < n_rows; i++) {
            q.m = rows[i];
            void *got = run(&p, q);
            assert_same_bits(&p, &q, got, expected);
            ms_free(got);
        }
    ms_free(expected);
    product_free(&p);
}

static void test_ragged_rows(void **state) {
    (void)state;
    check_rows_and_tiles(64, 64, MS_GPU_STORE, false, ragged, N_RAGGED);
    check_rows_and_tiles(192, 128, MS_GPU_STORE, true, ragged, N_RAGGED);
    check_rows_and_tiles(128, 192, MS_GPU_ADD, true, ragged, N_RAGGED);
    if (!SANITIZED) check_rows_and_tiles(192, 64, MS_GPU_ADD, false, ragged, N_RAGGED);
}

static void test_model_shapes(void **state) {
    (void)state;
    static const int64_t few[] = {1, 65}, some[] = {200};
    check_rows_and_tiles(64, 1536, MS_GPU_STORE, false, few, 2);
    if (SANITIZED) return;
    check_rows_and_tiles(512, 512, MS_GPU_ADD, false, some, 1);
    check_rows_and_tiles(1536, 512, MS_GPU_STORE, false, few, 1);
    check_rows_and_tiles(512, 2048, MS_GPU_ADD, true, few, 2);
}

/* Enough tiles for the default to be a large one, and more rows of tiles than a group of blocks
 * has. */
static void test_many_rows(void **state) {
    (void)state;
    product p = product_new(SANITIZED ? 6200 : 25000, 64, 64);
    ask q = {.epilogue = MS_GPU_STORE, .tile = 2, .m = p.m};
    void *expected = run(&p, q), *got;
    for (q.tile = AUTO_TILE; q.tile < 2; q.tile++) {
        got = run(&p, q);
        assert_same_bits(&p, &q, got, expected);
        ms_free(got);
    }
    q.m = 64; /* the first rows near f64, and the last ones as if they were the first */
    assert_near_exact(&p, &q, expected);
    p.g.a += (p.m - q.m) * p.k;
    got = run(&p, q);
    assert_same_bits(&p, &q, got, (const ms_bf16 *)expected + (p.m - q.m) * p.n);
    ms_free(got);
    ms_free(expected);
    product_free(&p);
}

/* GELU of f32, as exact as f64 can tell, of one value of bf16. */
static double gelu(double u) { return 0.5 * u * erfc(-u * 0.70710678118654752); }

/* Within 0.55 steps of bf16, each at most 2^-7 of the value: test_norms.c has every number. */
static void assert_near_gelu(const product *p, const ask *q, const ms_bf16 *u, const ms_bf16 *got) {
    for (int64_t i = 0; i < q->m * p->n; i++) {
        double x = ms_f32_of_bf16(u[i]), expected = gelu(x), bound = 0.55 * 0x1p-7 * fabs(expected);
        if (!(fabs(ms_f32_of_bf16(got[i]) - expected) <= bound))
            fail_msg("gelu(%.9g): %.9g, expected %.9g +- %.3g", x, (double)ms_f32_of_bf16(got[i]),
                     expected, bound);
    }
}

/* What a kernel of norm_act.cu makes of values on the host. */
static void apply_behind(const product *p, const ask *q, ms_bf16 *values) {
    msim_error err;
    size_t bytes = (size_t)(q->m * p->n) * sizeof *values;
    ms_bf16 *device = ms_gpu_alloc(stream, bytes, 1, "values", &err);
    assert_non_null(device);
    assert_int_equal(ms_gpu_upload(stream, device, values, bytes, &err), MSIM_OK);
    if (q->epilogue == MS_GPU_GELU)
        assert_int_equal(ms_gelu_bf16_cuda(stream, device, q->m * p->n, &err), MSIM_OK);
    else
        assert_int_equal(ms_rotate_bf16_cuda(stream, device, p->g.cos, p->g.sin, p->g.positions,
                                             q->m, q->rotated / (2 * HEAD), &err),
                         MSIM_OK);
    assert_int_equal(ms_gpu_download(stream, values, device, bytes, &err), MSIM_OK);
    assert_int_equal(ms_gpu_sync(stream, &err), MSIM_OK);
    ms_gpu_free(stream, device);
}

static void test_gelu(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {
        {1, 64, 64}, {65, 192, 128}, {129, 128, 64}, {200, 64, 192}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int with_bias = 0; with_bias < 2; with_bias++) {
            product p = product_new(shapes[s][0], shapes[s][1], shapes[s][2]);
            ask q = {.epilogue = MS_GPU_STORE, .tile = AUTO_TILE, .with_bias = with_bias, .m = p.m};
            ms_bf16 *u = run(&p, q), *got;
            q.epilogue = MS_GPU_GELU;
            got = run(&p, q);
            assert_near_gelu(&p, &q, u, got);
            apply_behind(&p, &q, u);
            assert_same_bits(&p, &q, got, u);
            for (q.tile = 0; q.tile < MS_GPU_GEMM_TILES; q.tile++) {
                ms_free(got);
                got = run(&p, q);
                assert_same_bits(&p, &q, got, u);
            }
            ms_free(u);
            ms_free(got);
            product_free(&p);
        }
}

/* The rotation of docs/MODEL.md on rows of rounded values: in f32, rounded again. */
static void rotate(const product *p, const ask *q, ms_bf16 *values) {
    for (int64_t i = 0; i < q->m; i++)
        for (int64_t j = 0; j < q->rotated; j += 2) {
            if (j % HEAD >= 2 * PAIRS) continue;
            ms_bf16 *pair = values + i * p->n + j;
            float a = ms_f32_of_bf16(pair[0]), b = ms_f32_of_bf16(pair[1]);
            float c = p->cosine[p->positions[i] * PAIRS + j % HEAD / 2],
                  s = p->sine[p->positions[i] * PAIRS + j % HEAD / 2];
            pair[0] = ms_bf16_of_f32(a * c - b * s);
            pair[1] = ms_bf16_of_f32(b * c + a * s);
        }
}

static void test_rotate(void **state) {
    (void)state;
    static const int64_t shapes[][4] = {/* m, n, k, rotated */
                                        {1, 192, 64, 128},   {2, 384, 128, 256},
                                        {65, 192, 192, 128}, {129, 384, 64, 256},
                                        {200, 192, 64, 64},  {63, 192, 64, 192}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        product p = product_open(shapes[s][0], shapes[s][1], shapes[s][2], true);
        ask q = {.epilogue = MS_GPU_STORE, .tile = AUTO_TILE, .m = p.m, .rotated = shapes[s][3]};
        ms_bf16 *expected = run(&p, q), *behind = run(&p, q);
        rotate(&p, &q, expected);
        q.epilogue = MS_GPU_ROTATE;
        if (q.rotated * 3 == p.n * 2) { /* as the model has it */
            apply_behind(&p, &q, behind);
            assert_same_bits(&p, &q, behind, expected);
        }
        for (q.tile = 0; q.tile < MS_GPU_GEMM_TILES; q.tile++) {
            ms_bf16 *got = run(&p, q);
            assert_same_bits(&p, &q, got, expected);
            ms_free(got);
        }
        ms_free(expected);
        ms_free(behind);
        product_free(&p);
    }
}

/* Rows of NaN and infinity within the batch stay their own. */
static void test_rows_are_alone(void **state) {
    (void)state;
    product p = product_new(130, 128, 64);
    for (int epilogue = MS_GPU_STORE; epilogue <= MS_GPU_ADD; epilogue++)
        for (int tile = 0; tile < MS_GPU_GEMM_TILES; tile++) {
            ask q = {.epilogue = epilogue, .tile = tile, .m = p.m, .rotated = HEAD};
            char *expected = run(&p, q), *got;
            msim_error err;
            static const int64_t spoilt[] = {0, 7, 64, 129};
            size_t row = (size_t)p.n * value_bytes(&q);
            for (int i = 0; i < 4; i++) {
                ms_bf16 bad[64];
                for (int j = 0; j < 64; j++) bad[j].bits = i % 2 ? 0x7f80 : 0x7fc0;
                assert_int_equal(ms_gpu_upload(stream, (ms_bf16 *)p.g.a + spoilt[i] * p.k, bad,
                                               sizeof bad, &err),
                                 MSIM_OK);
                assert_int_equal(ms_gpu_sync(stream, &err), MSIM_OK);
            }
            got = run(&p, q);
            for (int i = 0; i < 4; i++) { /* they are NaN, infinite where the first are not, and
                                           * GELU(-inf) */
                assert_memory_not_equal(got + spoilt[i] * (int64_t)row,
                                        expected + spoilt[i] * (int64_t)row, row);
                memcpy(got + spoilt[i] * (int64_t)row, expected + spoilt[i] * (int64_t)row, row);
                assert_int_equal(ms_gpu_upload(stream, (ms_bf16 *)p.g.a + spoilt[i] * p.k,
                                               p.a + spoilt[i] * p.k, 64 * sizeof *p.a, &err),
                                 MSIM_OK);
            }
            assert_int_equal(ms_gpu_sync(stream, &err), MSIM_OK);
            assert_same_bits(&p, &q, got, expected);
            ms_free(expected);
            ms_free(got);
        }
    product_free(&p);
}

/* Our kernel through a projector, and whatever `auto` chooses; no rows at all. */
static void test_projector(void **state) {
    (void)state;
    msim_error err;
    ms_gpu_projector *own, *any;
    assert_int_equal(ms_gpu_projector_open(stream, MS_GPU_PRODUCT_OWN, &own, &err), MSIM_OK);
    assert_int_equal(ms_gpu_projector_open(stream, MS_GPU_PRODUCT_AUTO, &any, &err), MSIM_OK);
    assert_int_equal(ms_gpu_projector_library(own), 0);
    product p = product_new(129, 192, 128);
    for (int epilogue = MS_GPU_STORE; epilogue <= MS_GPU_ADD; epilogue++) {
        ask q = {.epilogue = epilogue,
                 .tile = 2,
                 .with_bias = epilogue > MS_GPU_ROTATE,
                 .m = p.m,
                 .rotated = 2 * HEAD};
        ms_gpu_gemm shape = {.n = p.n,
                             .k = p.k,
                             .epilogue = epilogue,
                             .rotated = q.rotated,
                             .bias = q.with_bias ? p.g.bias : NULL};
        assert_int_equal(ms_gpu_projector_plan(any, &shape, &err), MSIM_OK);
        int choice = ms_gpu_projector_choice(any, &shape);
        assert_true(choice == MS_GPU_PRODUCT_OWN || choice == MS_GPU_PRODUCT_LIBRARY);
        assert_int_equal(ms_gpu_projector_choice(own, &shape), MS_GPU_PRODUCT_OWN);
        void *expected = run(&p, q), *got;
        q.by = own;
        got = run(&p, q);
        assert_same_bits(&p, &q, got, expected);
        ms_free(got);
        q.by = any;
        got = run(&p, q);
        if (choice == MS_GPU_PRODUCT_OWN) assert_same_bits(&p, &q, got, expected);
        if (epilogue == MS_GPU_STORE || epilogue == MS_GPU_ADD) assert_near_exact(&p, &q, got);
        ask one = q;
        one.m = 1;
        void *first = run(&p, one);
        assert_same_bits(&p, &one, first, got);
        ms_free(first);
        ms_free(got);
        ms_free(expected);
    }
    ms_gpu_gemm nothing = {.n = 64, .k = 64};
    assert_int_equal(ms_gpu_project(any, &nothing, &err), MSIM_OK);
    assert_int_equal(ms_gemm_bf16_cuda(stream, &nothing, &err), MSIM_OK);
    product_free(&p);
    ms_gpu_projector_close(own);
    ms_gpu_projector_close(any);
}

/* The library is there and used, or the reason why it is not. */
static void test_library(void **state) {
    (void)state;
    msim_error err;
    ms_gpu_projector *p;
    int rc = ms_gpu_projector_open(stream, MS_GPU_PRODUCT_LIBRARY, &p, &err);
    if (rc < 0) {
        printf("test_gemm: %s\n", err.text);
        assert_int_equal(rc, -MSIM_E_DEVICE);
        assert_null(p);
        assert_non_null(strstr(err.text, "cuBLASLt"));
        return;
    }
    printf("test_gemm: cuBLASLt %zu\n", ms_gpu_projector_library(p));
    static const int64_t shapes[][3] = {{1536, 512, MS_GPU_ROTATE},
                                        {512, 512, MS_GPU_ADD},
                                        {2048, 512, MS_GPU_GELU},
                                        {512, 2048, MS_GPU_ADD}};
    for (int i = 0; i < 4; i++) {
        float stand_in;
        ms_gpu_gemm g = {.n = shapes[i][0],
                         .k = shapes[i][1],
                         .epilogue = (int)shapes[i][2],
                         .rotated = 1024,
                         .bias = i > 1 ? &stand_in : NULL};
        rc = ms_gpu_projector_plan(p, &g, &err);
        printf("test_gemm: n %lld k %lld epilogue %d: %s\n", (long long)g.n, (long long)g.k,
               g.epilogue, rc < 0 ? err.text : "cuBLASLt");
        assert_true(rc == MSIM_OK || rc == -MSIM_E_UNSUPPORTED);
    }
    ms_gpu_projector_close(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ragged_rows), cmocka_unit_test(test_model_shapes),
        cmocka_unit_test(test_many_rows),   cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_rotate),      cmocka_unit_test(test_rows_are_alone),
        cmocka_unit_test(test_projector),   cmocka_unit_test(test_library)};
    return cmocka_run_group_tests(tests, open_stream, close_stream);
}
