/* kernels/device.h on the CUDA runtime: devices, streams, memory, copies, events. Every call passes
 * through `check`, which makes one line of a failure: on which device, what was attempted, what
 * came back. A failure that CUDA remembers is taken off again, or the next launch would report it
 * as its own.
 *
 * Owns what a handle holds and nothing else: no globals, no thread of its own. CUDA's current
 * device belongs to a thread, so every call that depends on it sets it first. Linked statically, so
 * a program starts where there is no driver; the first call then fails with a reason.
 * docs/GPU.md. */
#include "base/mem.h"
#include "kernels/device.h"
#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>

struct ms_gpu_stream {
    int device, multiprocessors;
    cudaStream_t raw; /* owned */
};

struct ms_gpu_event {
    int device;
    cudaEvent_t raw; /* owned */
};

static int check(cudaError_t rc, int device, const char *attempt, msim_error *err) {
    if (rc == cudaSuccess) return MSIM_OK;
    (void)cudaGetLastError();
    return ms_fail(err, rc == cudaErrorMemoryAllocation ? MSIM_E_MEMORY : MSIM_E_DEVICE,
                   "device: cuda:%d: %s failed: %s (%s)", device, attempt, cudaGetErrorName(rc),
                   cudaGetErrorString(rc));
}

static int make_current(int device, msim_error *err) {
    return check(cudaSetDevice(device), device, "making it current", err);
}

/* ---- Devices ---- */

extern "C" int ms_gpu_count(void) {
    int n = 0;
    if (cudaGetDeviceCount(&n) == cudaSuccess) return n;
    (void)cudaGetLastError();
    return 0;
}

/* Check that device `index` is there. A missing driver and a missing device have messages of their
 * own. */
static int check_present(int index, msim_error *err) {
    int n = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);
    if (rc != cudaSuccess) (void)cudaGetLastError();
    if (rc == cudaErrorInsufficientDriver)
        return ms_fail(err, MSIM_E_DEVICE,
                       "device: cuda:%d: this machine has no NVIDIA driver for CUDA %d.%d or later",
                       index, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (rc == cudaErrorNoDevice || (rc == cudaSuccess && n == 0))
        return ms_fail(err, MSIM_E_DEVICE, "device: cuda:%d: this machine has no NVIDIA GPU",
                       index);
    if (rc != cudaSuccess) return check(rc, index, "counting devices", err);
    if (index < 0 || index >= n)
        return ms_fail(err, MSIM_E_DEVICE, "device: cuda:%d: expected 0..%d, got %d", index, n - 1,
                       index);
    return MSIM_OK;
}

extern "C" int ms_gpu_get_info(int index, ms_gpu_info *out, msim_error *err) {
    struct cudaDeviceProp p;
    size_t free_bytes = 0, all_bytes = 0;
    int rc = check_present(index, err);
    if (rc >= 0)
        rc = check(cudaGetDeviceProperties(&p, index), index, "reading its properties", err);
    if (rc >= 0) rc = make_current(index, err);
    if (rc >= 0)
        rc = check(cudaMemGetInfo(&free_bytes, &all_bytes), index, "asking for its free memory",
                   err);
    if (rc < 0) return rc;
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%.63s", p.name);
    out->index = index;
    out->major = p.major;
    out->minor = p.minor;
    out->multiprocessors = p.multiProcessorCount;
    out->memory_bytes = all_bytes;
    out->free_bytes = free_bytes;
    out->shared_bytes = p.sharedMemPerBlockOptin;
    return MSIM_OK;
}

/* ---- Streams ---- */

extern "C" int ms_gpu_stream_open(int index, ms_gpu_stream **out, msim_error *err) {
    *out = NULL;
    int rc = check_present(index, err);
    if (rc >= 0) rc = make_current(index, err);
    if (rc < 0) return rc;
    ms_gpu_stream *s = (ms_gpu_stream *)ms_alloc(1, sizeof *s, "stream", err);
    if (!s) return -MSIM_E_MEMORY;
    s->device = index;
    /* Non-blocking: no waiting for the default stream, which somebody else in the process may
     * use. */
    rc = check(cudaDeviceGetAttribute(&s->multiprocessors, cudaDevAttrMultiProcessorCount, index),
               index, "counting its multiprocessors", err);
    if (s->multiprocessors < 1) s->multiprocessors = 1;
    if (rc >= 0)
        rc = check(cudaStreamCreateWithFlags(&s->raw, cudaStreamNonBlocking), index,
                   "opening a stream", err);
    if (rc < 0) {
        ms_free(s);
        return rc;
    }
    *out = s;
    return MSIM_OK;
}

extern "C" void ms_gpu_stream_close(ms_gpu_stream *s) {
    if (!s) return;
    if (make_current(s->device, NULL) >= 0) {
        (void)check(cudaStreamSynchronize(s->raw), s->device, "waiting", NULL);
        (void)check(cudaStreamDestroy(s->raw), s->device, "closing a stream", NULL);
    }
    ms_free(s);
}

extern "C" int ms_gpu_stream_device(const ms_gpu_stream *s) { return s->device; }

extern "C" int ms_gpu_stream_multiprocessors(const ms_gpu_stream *s) { return s->multiprocessors; }

extern "C" void *ms_gpu_stream_raw(ms_gpu_stream *s) {
    (void)make_current(s->device, NULL); /* a device that is gone makes the launch fail too, with an
                                          * error to give */
    return (void *)s->raw;
}

/* ---- Memory ---- */

/* Report memory that could not be taken: what for, how much, and how much is free. */
static void *no_memory(int device, const char *where, const char *what, size_t n_bytes,
                       msim_error *err) {
    size_t free_bytes = 0, all_bytes = 0;
    (void)check(cudaMemGetInfo(&free_bytes, &all_bytes), device, "asking for its free memory",
                NULL);
    ms_fail(err, MSIM_E_MEMORY,
            "device: cuda:%d: %s: cannot take %zu bytes of %s memory (%zu of %zu free)", device,
            what, n_bytes, where, free_bytes, all_bytes);
    return NULL;
}

static void *take(ms_gpu_stream *s, bool is_host, size_t n_items, size_t item_bytes,
                  const char *what, msim_error *err) {
    size_t n_bytes;
    void *p = NULL;
    if (!ms_mul_size(n_items, item_bytes, &n_bytes)) {
        ms_fail(err, MSIM_E_MEMORY,
                "device: cuda:%d: %s: %zu items of %zu bytes are more than memory can hold",
                s->device, what, n_items, item_bytes);
        return NULL;
    }
    if (make_current(s->device, err) < 0) return NULL;
    size_t asked = n_bytes ? n_bytes : 1;
    cudaError_t rc = is_host ? cudaHostAlloc(&p, asked, cudaHostAllocPortable)
                             : cudaMalloc(&p, asked);
    if (rc == cudaSuccess) return p;
    (void)cudaGetLastError();
    if (rc == cudaErrorMemoryAllocation)
        return no_memory(s->device, is_host ? "pinned" : "its", what, n_bytes, err);
    (void)check(rc, s->device, is_host ? "taking pinned memory" : "taking memory", err);
    return NULL;
}

extern "C" void *ms_gpu_alloc(ms_gpu_stream *s, size_t n_items, size_t item_bytes, const char *what,
                              msim_error *err) {
    return take(s, false, n_items, item_bytes, what, err);
}

extern "C" void *ms_gpu_host_alloc(ms_gpu_stream *s, size_t n_items, size_t item_bytes,
                                   const char *what, msim_error *err) {
    return take(s, true, n_items, item_bytes, what, err);
}

extern "C" void ms_gpu_free(ms_gpu_stream *s, void *p) {
    if (!p || make_current(s->device, NULL) < 0) return;
    (void)check(cudaFree(p), s->device, "giving memory back", NULL);
}

extern "C" void ms_gpu_host_free(ms_gpu_stream *s, void *p) {
    if (!p || make_current(s->device, NULL) < 0) return;
    (void)check(cudaFreeHost(p), s->device, "giving pinned memory back", NULL);
}

/* ---- Work in a stream ---- */

static int copy(ms_gpu_stream *s, void *to, const void *from, size_t n_bytes, cudaMemcpyKind kind,
                const char *attempt, msim_error *err) {
    if (!n_bytes) return MSIM_OK;
    int rc = make_current(s->device, err);
    return rc < 0
               ? rc
               : check(cudaMemcpyAsync(to, from, n_bytes, kind, s->raw), s->device, attempt, err);
}

extern "C" int ms_gpu_upload(ms_gpu_stream *s, void *to_device, const void *from_host,
                             size_t n_bytes, msim_error *err) {
    return copy(s, to_device, from_host, n_bytes, cudaMemcpyHostToDevice, "a copy to it", err);
}

extern "C" int ms_gpu_download(ms_gpu_stream *s, void *to_host, const void *from_device,
                               size_t n_bytes, msim_error *err) {
    return copy(s, to_host, from_device, n_bytes, cudaMemcpyDeviceToHost, "a copy from it", err);
}

extern "C" int ms_gpu_copy(ms_gpu_stream *s, void *to_device, const void *from_device,
                           size_t n_bytes, msim_error *err) {
    return copy(s, to_device, from_device, n_bytes, cudaMemcpyDeviceToDevice, "a copy on it", err);
}

extern "C" int ms_gpu_fill(ms_gpu_stream *s, void *device, int byte, size_t n_bytes,
                           msim_error *err) {
    if (!n_bytes) return MSIM_OK;
    int rc = make_current(s->device, err);
    return rc < 0 ? rc
                  : check(cudaMemsetAsync(device, byte, n_bytes, s->raw), s->device,
                          "filling its memory", err);
}

extern "C" int ms_gpu_sync(ms_gpu_stream *s, msim_error *err) {
    int rc = make_current(s->device, err);
    return rc < 0
               ? rc
               : check(cudaStreamSynchronize(s->raw), s->device, "the work put into a stream", err);
}

/* ---- Events ---- */

extern "C" int ms_gpu_event_open(ms_gpu_stream *s, ms_gpu_event **out, msim_error *err) {
    *out = NULL;
    int rc = make_current(s->device, err);
    if (rc < 0) return rc;
    ms_gpu_event *e = (ms_gpu_event *)ms_alloc(1, sizeof *e, "event", err);
    if (!e) return -MSIM_E_MEMORY;
    e->device = s->device;
    rc = check(cudaEventCreateWithFlags(&e->raw, cudaEventDefault), s->device, "opening an event",
               err);
    if (rc < 0) {
        ms_free(e);
        return rc;
    }
    *out = e;
    return MSIM_OK;
}

extern "C" void ms_gpu_event_close(ms_gpu_event *e) {
    if (!e) return;
    if (make_current(e->device, NULL) >= 0)
        (void)check(cudaEventDestroy(e->raw), e->device, "closing an event", NULL);
    ms_free(e);
}

extern "C" int ms_gpu_event_record(ms_gpu_event *e, ms_gpu_stream *s, msim_error *err) {
    int rc = make_current(s->device, err);
    return rc < 0 ? rc
                  : check(cudaEventRecord(e->raw, s->raw), s->device, "recording an event", err);
}

extern "C" int ms_gpu_event_wait(ms_gpu_event *e, msim_error *err) {
    int rc = make_current(e->device, err);
    return rc < 0 ? rc
                  : check(cudaEventSynchronize(e->raw), e->device, "the work before an event", err);
}

extern "C" int ms_gpu_stream_wait(ms_gpu_stream *s, ms_gpu_event *e, msim_error *err) {
    int rc = make_current(s->device, err);
    return rc < 0 ? rc
                  : check(cudaStreamWaitEvent(s->raw, e->raw, 0), s->device, "waiting for an event",
                          err);
}

extern "C" double ms_gpu_event_seconds(const ms_gpu_event *from, const ms_gpu_event *to) {
    float ms = 0.0f;
    if (make_current(from->device, NULL) < 0) return -1.0;
    if (check(cudaEventElapsedTime(&ms, from->raw, to->raw), from->device, "timing", NULL) < 0)
        return -1.0;
    return (double)ms * 1e-3;
}

extern "C" int ms_gpu_check_launch(int cuda_error, const char *kernel, msim_error *err) {
    int device = -1;
    if (cuda_error == cudaSuccess) return MSIM_OK;
    (void)cudaGetLastError();
    (void)cudaGetDevice(&device);
    return check((cudaError_t)cuda_error, device, kernel, err);
}
