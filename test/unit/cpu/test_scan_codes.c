/* Kernels that scan codes, at every level: integer sums exact at the extremes of codes and
 * weights, for widths and numbers of queries around every block; the upper bound within its 9
 * roundings; f32 sums of bf16 within gamma. A row's value depends neither on its tile nor on the
 * other queries. docs/SEARCH.md, Scans of codes. */
#include "base/bf16.h"
#include "search/bound.h"
#include "cpu/search/codes.h"
#include "cpu/levels.h"
#include "support/random.h"
#include "support/test.h"
#include <math.h>

enum { TILES = 11, ROWS = TILES * MS_CODES_TILE, MAX_Q = 26, MAX_DIM = 1300, STRIDE = ROWS + 3 };
#define U 0x1p-24

static uint64_t seed = 1;
static uint64_t next(void) { return xorshift(&seed) >> 16; }
static double any_value(void) { return (double)(int64_t)(next() & 0xffffffff) * 0x1p-31 - 1.0; }

typedef struct {
    const ms_codes_kernels *k;
    size_t dim, n_query, tile_bytes, codes_bytes;
    int is_int8;
    unsigned char *tiles; /* owned */
    char *weights;        /* owned, as the kernel wants them */
    int16_t *narrow;      /* owned: [MAX_Q, dim] */
    float *wide;          /* owned: [MAX_Q, dim] */
    float scale[MAX_Q], lambda[MAX_Q], threshold[MAX_Q], rho_factor[MAX_Q];
    int32_t start[MAX_Q];
    float tail[4][ROWS]; /* a, rho, t, y */
} fixture;

static int code_at(const fixture *f, size_t r, size_t j) {
    return f->tiles[r / 16 * f->tile_bytes + (j / 4 * 16 + r % 16) * 4 + j % 4] - 128;
}

static double bf16_at(const fixture *f, size_t r, size_t j) {
    ms_bf16 x;
    memcpy(&x, f->tiles + r / 16 * f->tile_bytes + ((j / 2 * 16 + r % 16) * 2 + j % 2) * 2, 2);
    return ms_f32_of_bf16(x);
}

/* extreme: codes and weights at their largest; else anything. */
static fixture make(const ms_codes_kernels *k, int is_int8, size_t dim, int extreme) {
    fixture f = {.k = k, .dim = dim, .is_int8 = is_int8};
    int limit = k->weight_max;
    f.tile_bytes = is_int8 ? ms_codes_int8_tile(dim) : ms_codes_bf16_tile(dim);
    f.codes_bytes = is_int8 ? ms_codes_int8(dim) : ms_codes_bf16(dim);
    f.tiles = aligned_alloc(64, TILES * f.tile_bytes);
    f.narrow = calloc(MAX_Q * dim, sizeof *f.narrow);
    f.wide = calloc(MAX_Q * dim, sizeof *f.wide);
    f.weights = aligned_alloc(64, (ms_codes_weights_bytes(k, MAX_Q, dim) + 63) / 64 * 64);
    if (is_int8 && limit > (int64_t)INT32_MAX / (127 * (int64_t)dim))
        limit = (int)(INT32_MAX / (127 * (int64_t)dim));
    for (size_t q = 0; q < MAX_Q; q++) {
        int64_t sum = 0;
        for (size_t j = 0; j < dim; j++) {
            int sign = extreme == 2 ? (q % 2 ? 1 : -1) : next() % 2 ? 1 : -1;
            f.narrow[q * dim + j] = (int16_t)(extreme ? sign * limit : (int)(any_value() * limit));
            f.wide[q * dim + j] = (float)any_value();
            sum += f.narrow[q * dim + j];
        }
        f.start[q] = (int32_t)(uint32_t)(-128 * sum);
        f.scale[q] = extreme ? 1.0f : (float)any_value();
        f.lambda[q] = extreme ? 0.0f : (float)any_value();
        f.threshold[q] = extreme ? 0.0f : (float)any_value();
        f.rho_factor[q] = extreme ? 0.0f : (float)fabs(any_value());
    }
    for (size_t t = 0; t < TILES; t++) {
        unsigned char *tile = f.tiles + t * f.tile_bytes;
        for (size_t i = 0; i < f.codes_bytes; i++) {
            static const unsigned char ends[] = {1, 255};
            tile[i] = extreme == 2 ? ends[t % 2]
                      : extreme    ? ends[next() % 2]
                                   : (unsigned char)(1 + next() % 255);
            if (is_int8 && i / 64 * 4 + i % 4 >= dim) tile[i] = 128;
        }
        for (size_t i = 0; i < f.codes_bytes && !is_int8; i += 2) {
            ms_bf16 x = ms_bf16_of_f32(i / 64 * 2 + i / 2 % 2 < dim ? (float)any_value() : 0.0f);
            memcpy(tile + i, &x, 2);
        }
        for (size_t r = 0; r < 16; r++) {
            float a = extreme ? 1.0f : (float)any_value(),
                  rho = extreme ? 0.0f : (float)fabs(any_value());
            float tt = extreme ? 0.0f : (float)any_value(), y = extreme ? 0.0f : (float)any_value();
            f.tail[0][16 * t + r] = a, f.tail[1][16 * t + r] = rho, f.tail[2][16 * t + r] = tt,
                               f.tail[3][16 * t + r] = y;
        }
        for (int c = is_int8 ? 0 : 1; c < (is_int8 ? 4 : 3); c++)
            memcpy(tile + f.codes_bytes + (size_t)(is_int8 ? c : c - 1) * 64, f.tail[c] + 16 * t,
                   64);
    }
    return f;
}

static void set_queries(fixture *f, size_t n_query) {
    size_t bytes = ms_codes_weights_bytes(f->k, n_query, f->dim);
    f->n_query = n_query;
    memset(f->weights, 0, bytes);
    for (size_t q = 0; q < n_query; q++)
        ms_codes_put_weights(f->k, f->weights, q, n_query, f->dim,
                             f->is_int8 ? (const void *)(f->narrow + q * f->dim)
                                        : (const void *)(f->wide + q * f->dim));
}

static void release(fixture *f) {
    free(f->tiles), free(f->narrow), free(f->wide), free(f->weights);
}

static void scan(const fixture *f, float *upper, size_t first_tile, size_t n_tiles) {
    ms_codes_queries q = {.weights = f->weights,
                          .start = f->start,
                          .scale = f->scale,
                          .lambda = f->lambda,
                          .threshold = f->threshold,
                          .rho_factor = f->rho_factor,
                          .n_query = f->n_query,
                          .dim = f->dim};
    f->k->scan(upper, STRIDE, f->tiles + first_tile * f->tile_bytes, n_tiles, &q);
}

/* What the upper bound is in real numbers, and how far f32 may be off it. */
static double expected(const fixture *f, size_t r, size_t q, double *slack) {
    double sum = 0, size = 0, gamma = ms_bound_gamma(MS_CODES_CHAIN(f->dim));
    for (size_t j = 0; j < f->dim; j++) {
        double p = f->is_int8 ? (double)code_at(f, r, j) * f->narrow[q * f->dim + j]
                              : bf16_at(f, r, j) * f->wide[q * f->dim + j];
        sum += p; /* exact for integers: below 2^31 */
        size += fabs(p);
    }
    double a = (double)f->tail[0][r] * f->scale[q],
           y = f->is_int8 ? (double)f->tail[3][r] * f->lambda[q] : 0.0;
    double t = (double)f->tail[2][r] * f->threshold[q],
           rho = (double)f->tail[1][r] * f->rho_factor[q];
    if (!f->is_int8) a = 1.0;
    *slack = 9 * U * (fabs(a * sum) + fabs(y) + fabs(t) + fabs(rho)) * 1.001 +
             (f->is_int8 ? 0.0 : 1.001 * gamma * size) + 1e-30;
    return a * sum + y + t + rho;
}

static void check(fixture *f, int extreme) {
    static float upper[MAX_Q * STRIDE], again[MAX_Q * STRIDE];
    static const size_t counts[] = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 17, 23, 24, 25, 26};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        set_queries(f, counts[i]);
        scan(f, upper, 0, TILES);
        for (size_t q = 0; q < counts[i]; q++)
            for (size_t r = 0; r < ROWS; r++) {
                double slack, x = expected(f, r, q, &slack);
                /* the integer itself, rounded once */
                if (extreme && f->is_int8)
                    assert_true(upper[q * STRIDE + r] == (float)x);
                else
                    assert_true(fabs(upper[q * STRIDE + r] - x) <= slack);
            }
    }
    /* 26 queries are in again: one alone, and tiles one by one, give the same bits. */
    for (size_t t = 0; t < TILES; t++) scan(f, again + 16 * t, t, 1);
    for (size_t q = 0; q < MAX_Q; q++)
        assert_memory_equal(again + q * STRIDE, upper + q * STRIDE, ROWS * sizeof *upper);
    set_queries(f, 1);
    scan(f, again, 0, TILES);
    assert_memory_equal(again, upper, ROWS * sizeof *upper);
}

static void every_level(void **state) {
    (void)state;
    static const size_t dims[] = {1,   2,   3,   4,   5,   16,  61,   127,
                                  128, 129, 257, 512, 518, 519, 1041, MAX_DIM};
    for (int isa, l = 0; (isa = msim_isa_list(l)) > 0; l++)
        for (int is_int8 = 0; is_int8 < 2; is_int8++) {
            const ms_codes_kernels *k = ms_codes_kernels_get(isa, is_int8);
            printf("scan %s: level %s: %s%s\n", is_int8 ? "int8" : "bf16", ms_cpu_isa_name(isa),
                   k ? "run by " : "", k ? k->name : "skipped (not in this build or CPU)");
            for (size_t i = 0; k && i < sizeof dims / sizeof *dims; i++) {
                if (isa == MSIM_ISA_REF && dims[i] > 600) continue; /* slow, and the same loop */
                for (int extreme = 0; extreme < (is_int8 ? 3 : 1); extreme++) {
                    fixture f = make(k, is_int8, dims[i], extreme);
                    check(&f, extreme);
                    release(&f);
                }
            }
        }
}

/* The widest rows that a corpus may have: sums near 2^30, one tile. */
static void widest(void **state) {
    (void)state;
    for (int isa, l = 0; (isa = msim_isa_list(l)) > 0; l++) {
        const ms_codes_kernels *k = ms_codes_kernels_get(isa, 1);
        static float upper[STRIDE];
        if (!k) continue;
        fixture f = make(k, 1, 65536, 2);
        set_queries(&f, 1);
        scan(&f, upper, 0, 2);
        for (size_t r = 0; r < 32; r++) {
            double slack, x = expected(&f, r, 0, &slack);
            assert_true(fabs(x) > 127.0 * 127 * 65536 * 0.99 && upper[r] == (float)x);
        }
        release(&f);
    }
}

/* Rows without numbers: -infinity stays below every upper threshold, +infinity above. */
static void infinite_rho(void **state) {
    (void)state;
    for (int isa, l = 0; (isa = msim_isa_list(l)) > 0; l++)
        for (int is_int8 = 0; is_int8 < 2; is_int8++) {
            const ms_codes_kernels *k = ms_codes_kernels_get(isa, is_int8);
            static float upper[MAX_Q * STRIDE];
            if (!k) continue;
            fixture f = make(k, is_int8, 20, 0);
            float *rho = (float *)(void *)(f.tiles + f.codes_bytes +
                                           (is_int8 ? MS_CODES_INT8_RHO : MS_CODES_BF16_RHO));
            rho[3] = INFINITY, rho[7] = -INFINITY;
            set_queries(&f, 5);
            for (size_t q = 0; q < 5; q++) f.rho_factor[q] = 1e-9f;
            scan(&f, upper, 0, TILES);
            for (size_t q = 0; q < 5; q++)
                assert_true(upper[q * STRIDE + 3] == INFINITY &&
                            upper[q * STRIDE + 7] == -INFINITY);
            release(&f);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_level), cmocka_unit_test(widest),
                                       cmocka_unit_test(infinite_rho)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
