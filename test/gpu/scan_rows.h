/* What the tests of search kernels share: device memory with guards, rows of every nasty kind in
 * every dtype, and the score of docs/SEARCH.md by the CPU's reference kernels. Included by one test
 * program each. */
#ifndef TEST_SCAN_ROWS_H
#define TEST_SCAN_ROWS_H
#include "support/levels.h"
#include "support/rows.h"
#include "base/bf16.h"
#include "search/bound.h"
#include "base/rows.h"
#include "kernels/kernels.h"
#include "test_stream.h"
#include <math.h>

/* ---- Device memory: poisoned, with a guard behind it ---- */

enum { GUARD = 64, POISON = 0xa5, MAX_BUFFERS = 64 };

static struct {
    unsigned char *device;
    size_t n_bytes;
} buffers[MAX_BUFFERS];
static int n_buffers;

static void sync(void) { assert_int_equal(ms_gpu_sync(stream, NULL), MSIM_OK); }

/* n_bytes that lie in the device, all POISON. Freed by release_buffers. */
static void *poisoned(size_t n_bytes) {
    unsigned char *p = ms_gpu_alloc(stream, n_bytes + GUARD, 1, "test", NULL);
    assert_non_null(p);
    assert_true(n_buffers < MAX_BUFFERS);
    assert_int_equal(ms_gpu_fill(stream, p, POISON, n_bytes + GUARD, NULL), MSIM_OK);
    buffers[n_buffers].device = p;
    buffers[n_buffers++].n_bytes = n_bytes;
    return p;
}

static void *on_device(const void *host, size_t n_bytes) {
    void *p = poisoned(n_bytes);
    if (n_bytes) assert_int_equal(ms_gpu_upload(stream, p, host, n_bytes, NULL), MSIM_OK);
    sync();
    return p;
}

static void fetch(void *host, const void *device, size_t n_bytes) {
    if (n_bytes) assert_int_equal(ms_gpu_download(stream, host, device, n_bytes, NULL), MSIM_OK);
    sync();
}

/* Free everything; nothing may have been written behind any of it. */
static void release_buffers(void) {
    while (n_buffers > 0) {
        unsigned char guard[GUARD], whole[GUARD];
        n_buffers--;
        memset(whole, POISON, sizeof whole);
        fetch(guard, buffers[n_buffers].device + buffers[n_buffers].n_bytes, GUARD);
        assert_memory_equal(guard, whole, GUARD);
        ms_gpu_free(stream, buffers[n_buffers].device);
    }
}

/* ---- Rows ---- */

/* RANDOM; a tiny ball around a vector of length 1, so that the mean is nearly 1 long; three
 * directions many times over; neighbours 1e-7 apart; one vector; single components; lengths over 60
 * powers of ten; zeros, NaN, infinities, subnormals, squares that overflow. */
enum made { RANDOM, BALL, DUPLICATED, NEAR_TIED, SAME, SPIKES, LENGTHS, ODD, MADE_COUNT };

typedef struct {
    int64_t n_rows, dim;
    int dtype;
    unsigned char *bytes; /* owned: rows of row_bytes, NaN behind dim */
    size_t row_bytes;
    ms_rows view;
    double *squares; /* owned: the score's own */
} corpus;

static double made_value(enum made made, int64_t i, int64_t j, int64_t dim, const double *base,
                         int dtype, uint64_t *seed) {
    static const double odd[] = {NAN, INFINITY, -INFINITY};
    double x = uniform(seed), far = dtype == MSIM_DTYPE_F64   ? 9.0
                                    : dtype == MSIM_DTYPE_F16 ? 0.1
                                                              : 1.0;
    switch (made) {
    case BALL: return base[j] + 0.01 * x;
    case DUPLICATED: return base[(j + i % 3 * 7) % dim] * (1.0 + (double)(i % 2) * 3.0);
    case NEAR_TIED: return base[j] + 1e-7 * x;
    case SAME: return base[j];
    case SPIKES: return j == i % dim ? 1.0 : i % 2 ? 1e-3 * x : 0.0;
    case LENGTHS: return x * pow(10.0, far * (double)(i % 61 - 30));
    case ODD:
        if (i % 11 == 0) return i % 2 ? 0.0 : -0.0;
        if (i % 7 == 0) return j == i % dim ? odd[i % 3] : x;
        if (i % 13 == 0) return x * (dtype == MSIM_DTYPE_F64 ? 1e200 : 1e-42);
        if (i % 17 == 0) return x * (dtype == MSIM_DTYPE_F64 ? 1e-200 : 1e-6);
        return x;
    default: return x;
    }
}

static corpus make_corpus(enum made made, int dtype, int64_t n_rows, int64_t dim, uint64_t seed) {
    corpus c = {.n_rows = n_rows, .dim = dim, .dtype = dtype};
    size_t each = ms_dtype_bytes(dtype);
    double *base = test_alloc((size_t)dim, sizeof *base);
    for (int64_t j = 0; j < dim; j++) base[j] = uniform(&seed);
    c.row_bytes = ((size_t)dim * each + 15) / 16 * 16 + (size_t)(seed % 2) * 16;
    c.bytes = test_alloc((size_t)n_rows, c.row_bytes);
    memset(c.bytes, 0xff, (size_t)n_rows * c.row_bytes);
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t j = 0; j < dim; j++)
            put_value(c.bytes + (size_t)i * c.row_bytes + (size_t)j * each, dtype,
                      made_value(made, i, j, dim, base, dtype, &seed));
    c.view = (ms_rows){
        .base = c.bytes, .row_bytes = c.row_bytes, .n_rows = n_rows, .dim = dim, .dtype = dtype};
    c.squares = test_alloc((size_t)n_rows, sizeof *c.squares);
    ms_cpu_kernels_get(MSIM_ISA_REF)
        ->squares_f64(c.squares, c.bytes, c.row_bytes, dtype, (size_t)n_rows, (size_t)dim);
    ms_free(base);
    return c;
}

static void release_corpus(corpus *c) {
    ms_free(c->bytes);
    ms_free(c->squares);
}

static inline ms_gpu_rows upload_rows(const corpus *c, int64_t first_row) {
    return (ms_gpu_rows){.data = on_device(c->bytes, (size_t)c->n_rows * c->row_bytes),
                         .row_bytes = c->row_bytes,
                         .n_rows = c->n_rows,
                         .dim = c->dim,
                         .dtype = c->dtype,
                         .first_row = first_row};
}

/* ---- Queries ---- */

/* A random one, near the rows, opposite to one, a row, zeros, tiny, huge, one component; then
 * random ones. */
static void make_query(float *query, const corpus *c, int which, uint64_t *seed) {
    const unsigned char *row = c->bytes + (size_t)(which * 37 % c->n_rows) * c->row_bytes;
    for (int64_t j = 0; j < c->dim; j++) {
        float x = uniform(seed), near;
        near = (float)get_value(row + (size_t)j * ms_dtype_bytes(c->dtype), c->dtype);
        if (!ms_is_finite_f32(near) || fabsf(near) > 1e15f) near = x;
        switch (which) {
        case 1: query[j] = near + 0.01f * x; break;
        case 2: query[j] = -near; break;
        case 3: query[j] = near * 3.0f; break;
        case 4: query[j] = 0.0f; break;
        case 5: query[j] = x * 1e-40f; break;
        case 6: query[j] = j == c->dim / 2 ? 3e38f : 0.0f; break;
        default: query[j] = x; break;
        }
    }
}

static double norm_of(const float *query, int64_t dim) {
    double square;
    ms_cpu_kernels_get(MSIM_ISA_REF)
        ->squares_f64(&square, (const unsigned char *)query, 4 * (size_t)dim, MSIM_DTYPE_F32, 1,
                      (size_t)dim);
    return sqrt(square);
}

static inline double exact_score(const corpus *c, int64_t row, const float *query, int is_ip) {
    double dot, norm = norm_of(query, c->dim), square = c->squares[row];
    ms_cpu_kernels_get(MSIM_ISA_REF)
        ->dots_f64(&dot, c->bytes + (size_t)row * c->row_bytes, c->row_bytes, c->dtype, query, 1, 1,
                   (size_t)c->dim);
    if (!isfinite(square)) return -INFINITY;
    if (is_ip) return dot + 0.0;
    return square == 0.0 || norm == 0.0 ? 0.0 : dot / (norm * sqrt(square)) + 0.0;
}

#endif
