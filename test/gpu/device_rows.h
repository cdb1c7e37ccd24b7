/* Buffers of the device for kernel tests: filled with 0xff (NaN as f32, bf16 and f64) and fenced by
 * guard bytes, so that what a kernel leaves unwritten, or writes beyond its rows, fails a test. */
#ifndef TEST_DEVICE_ROWS_H
#define TEST_DEVICE_ROWS_H
#include "base/bf16.h"
#include "base/mem.h"
#include "kernels/kernels.h"
#include "support/test.h"

enum { ROWS_GUARD = 1024, ROWS_POISON = 0xff };

typedef struct {
    ms_gpu_stream *stream;  /* borrowed */
    unsigned char *storage; /* device: guard, n_bytes, guard */
    void *at;               /* device: [n_bytes] */
    size_t n_bytes;
} device_rows;

#define rows_ok(call)                                             \
    do {                                                          \
        msim_error rows_err = {0};                                \
        msim_error *err = &rows_err;                              \
        if ((call) < 0) fail_msg("%s: %s", #call, rows_err.text); \
    } while (0)

static inline void rows_poison(device_rows *r) {
    rows_ok(ms_gpu_fill(r->stream, r->storage, ROWS_POISON, r->n_bytes + 2 * ROWS_GUARD, err));
}

static inline device_rows rows_open(ms_gpu_stream *stream, size_t n_items, size_t item_bytes) {
    device_rows r = {.stream = stream, .n_bytes = n_items * item_bytes};
    msim_error err = {0};
    r.storage = ms_gpu_alloc(stream, r.n_bytes + 2 * ROWS_GUARD, 1, "test", &err);
    if (!r.storage) fail_msg("%s", err.text);
    r.at = r.storage + ROWS_GUARD;
    rows_poison(&r);
    return r;
}

static inline void rows_close(device_rows *r) { ms_gpu_free(r->stream, r->storage); }

/* Host to device; waits. */
static inline void rows_put(device_rows *r, const void *host, size_t n_bytes) {
    assert_true(n_bytes <= r->n_bytes);
    rows_ok(ms_gpu_upload(r->stream, r->at, host, n_bytes, err));
    rows_ok(ms_gpu_sync(r->stream, err));
}

static inline device_rows rows_of(ms_gpu_stream *stream, const void *host, size_t n_items,
                                  size_t item_bytes) {
    device_rows r = rows_open(stream, n_items, item_bytes);
    rows_put(&r, host, n_items * item_bytes);
    return r;
}

/* Device to host (a multiple of 1 byte; host [n_bytes]); waits, and looks at the guards: all that
 * is not within the first n_bytes must be as it was. */
static inline void rows_get(const device_rows *r, void *host, size_t n_bytes) {
    size_t all = r->n_bytes + 2 * ROWS_GUARD;
    unsigned char *bytes = malloc(all);
    assert_true(bytes && n_bytes <= r->n_bytes);
    rows_ok(ms_gpu_download(r->stream, bytes, r->storage, all, err));
    rows_ok(ms_gpu_sync(r->stream, err));
    for (size_t i = 0; i < all; i++)
        if ((i < ROWS_GUARD || i >= ROWS_GUARD + n_bytes) && bytes[i] != ROWS_POISON)
            fail_msg("byte %zd beside the %zu of the result was written", (ptrdiff_t)i - ROWS_GUARD,
                     n_bytes);
    memcpy(host, bytes + ROWS_GUARD, n_bytes);
    free(bytes);
}

static inline void *rows_host(size_t n_items, size_t item_bytes) {
    void *p = ms_alloc(n_items, item_bytes, "test", NULL);
    assert_non_null(p);
    return p;
}
#endif
