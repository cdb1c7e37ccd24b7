/* The calls of cuda_runtime.h: what CUDA would refuse is refused with its error code; what CUDA
 * would accept and a program of ours must never do (a copy out of bounds, memory or streams left at
 * the end) stops the process. */
#include <cstdio>
#include <cstdlib>
#include <map>
#include <unistd.h>

#include "emu_runtime.h"

using namespace emu;

namespace {

thread_local int device_now;
thread_local cudaError_t last_error;
std::map<void *, size_t> pinned;
int64_t refused_in; /* allocations until one is refused; 0: none is */

/* Whether this allocation is the one that a test wants refused. */
bool is_refused() { return refused_in > 0 && --refused_in == 0; }

cudaError_t done(cudaError_t rc) {
    if (rc != cudaSuccess) last_error = rc;
    return rc;
}

int n_devices() {
    static const int n = (int)setting("EMU_DEVICES", 1);
    return n < MAX_DEVICES ? n : (int)MAX_DEVICES;
}

int capability() {
    static const int n = (int)setting("EMU_CAPABILITY", 80);
    return n;
}

size_t shared_limit() {
    static const size_t n = setting("EMU_SHARED", (capability() == 80  ? 163
                                                   : capability() < 90 ? 99
                                                                       : 227) *
                                                      1024);
    return n;
}

/* Nothing may be left when the program ends in an orderly way. */
void look_for_leaks() {
    if (!setting("EMU_LEAKS", 1)) return;
    if (memory_count() + pinned.size() + streams_open() + events_open() == 0) return;
    fflush(stdout);
    fprintf(stderr,
            "emu: left at the end: %zu device allocations, %zu of pinned memory, %zu streams, %zu "
            "events\n",
            memory_count(), pinned.size(), streams_open(), events_open());
    fflush(stderr);
    _exit(EXIT_CODE);
}

void begin() {
    static bool once;
    if (once) return;
    once = true;
    atexit(look_for_leaks);
}

/* Every call: one at a time. */
struct Held {
    std::lock_guard<std::recursive_mutex> guard;
    Held() : guard(lock) {
        begin();
        watch_faults();
    }
};

const Place HERE = {"cuda_runtime.h", 0};

void check_copy(const void *device_side, const void *host_side, size_t n_bytes, int device,
                const char *what) {
    if (device_side && !in_device_memory(device_side, n_bytes, device))
        fail(HERE, "%s of device %d: %zu bytes at %s", what, device, n_bytes,
             describe_device(device_side));
    if (host_side && in_device_range(host_side))
        fail(HERE, "%s: device memory where host memory is expected", what);
}

cudaError_t put_copy(void *to, const void *from, size_t n_bytes, cudaMemcpyKind kind,
                     cudaStream_t stream) {
    if (!is_stream(stream)) return cudaErrorInvalidResourceHandle;
    if (!n_bytes) return cudaSuccess;
    if (kind == cudaMemcpyDefault)
        kind = in_device_range(to)
                   ? in_device_range(from) ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
               : in_device_range(from) ? cudaMemcpyDeviceToHost
                                       : cudaMemcpyHostToHost;
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    int device = stream_device(stream);
    check_copy(to_device ? to : nullptr, to_device ? nullptr : to, n_bytes, device,
               "target of a copy");
    check_copy(from_device ? from : nullptr, from_device ? nullptr : from, n_bytes, device,
               "source of a copy");
    const unsigned char *a = (const unsigned char *)to, *b = (const unsigned char *)from;
    if (a < b + n_bytes && b < a + n_bytes) fail(HERE, "a copy of %zu bytes onto itself", n_bytes);
    Work w = {};
    w.kind = Work::COPY;
    w.to = to;
    w.from = from;
    w.n_bytes = n_bytes;
    stream_put(stream, std::move(w));
    return cudaSuccess;
}

cudaError_t put_fill(void *p, int byte, size_t n_bytes, cudaStream_t stream) {
    if (!is_stream(stream)) return cudaErrorInvalidResourceHandle;
    if (!n_bytes) return cudaSuccess;
    check_copy(p, nullptr, n_bytes, stream_device(stream), "a fill");
    Work w = {};
    w.kind = Work::FILL;
    w.to = p;
    w.byte = byte;
    w.n_bytes = n_bytes;
    stream_put(stream, std::move(w));
    return cudaSuccess;
}

bool ready() { return setting("EMU_DRIVER", 1) && n_devices() > 0; }

} // namespace

int emu::current_device() { return device_now; }

/* Shared memory beyond 48 KiB that a kernel was allowed on a device. */
static std::map<std::pair<const void *, int>, size_t> allowed;
static uint64_t n_attributes;

uint64_t emu::attribute_calls() { return n_attributes; }

cudaError_t emu_launch(EmuCall *call, dim3 grid, dim3 block, size_t shared_bytes,
                       cudaStream_t stream) {
    Held held;
    Work w = {};
    w.call.reset(call);
    if (!is_stream(stream) || stream_device(stream) != device_now)
        return done(cudaErrorInvalidResourceHandle);
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 ||
        !block.x || !block.y || !block.z || block.z > 64 || block.x > MAX_THREADS ||
        block.y > MAX_THREADS || block.x * block.y * block.z > MAX_THREADS)
        return done(cudaErrorInvalidConfiguration);
    auto may = allowed.find({w.call->kernel, device_now});
    if (shared_bytes > 48 * 1024 && (may == allowed.end() || may->second < shared_bytes))
        return done(cudaErrorInvalidValue);
    w.kind = Work::LAUNCH;
    w.grid = grid;
    w.block = block;
    w.shared_bytes = shared_bytes;
    stream_put(stream, std::move(w));
    return cudaSuccess;
}

extern "C" {

cudaError_t cudaGetDeviceCount(int *n) {
    Held held;
    *n = 0;
    if (!setting("EMU_DRIVER", 1)) return done(cudaErrorInsufficientDriver);
    if (!n_devices()) return done(cudaErrorNoDevice);
    *n = n_devices();
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    Held held;
    if (!ready() || device < 0 || device >= n_devices()) return done(cudaErrorInvalidDevice);
    device_now = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
    *device = device_now;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int device) {
    Held held;
    if (!ready() || device < 0 || device >= n_devices()) return done(cudaErrorInvalidDevice);
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "emulated GPU %d", device);
    out->totalGlobalMem = memory_limit();
    out->sharedMemPerBlock = 48 * 1024;
    out->sharedMemPerBlockOptin = shared_limit();
    out->major = capability() / 10;
    out->minor = capability() % 10;
    out->multiProcessorCount = 4;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr what, int device) {
    struct cudaDeviceProp p;
    cudaError_t rc = cudaGetDeviceProperties(&p, device);
    if (rc != cudaSuccess) return rc;
    switch (what) {
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    default: return done(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = setting("EMU_DRIVER", 1) ? CUDART_VERSION : 0;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *all_bytes) {
    Held held;
    if (!ready()) return done(cudaErrorNoDevice);
    *free_bytes = memory_free(device_now);
    *all_bytes = memory_limit();
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void) {
    Held held;
    device_drain(device_now);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t n_bytes) {
    Held held;
    *p = nullptr;
    if (!ready()) return done(cudaErrorNoDevice);
    if (!n_bytes) return cudaSuccess;
    if (!is_refused()) *p = memory_take(device_now, n_bytes);
    return *p ? cudaSuccess : done(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *p) {
    Held held;
    if (!p) return cudaSuccess;
    int device = device_of(p);
    if (device >= 0) device_drain(device);
    return memory_give(p) ? cudaSuccess : done(cudaErrorInvalidValue);
}

cudaError_t cudaHostAlloc(void **p, size_t n_bytes, unsigned) {
    Held held;
    *p = nullptr;
    if (!ready()) return done(cudaErrorNoDevice);
    if (!n_bytes) return cudaSuccess;
    if (is_refused() || posix_memalign(p, 256, n_bytes)) return done(cudaErrorMemoryAllocation);
    memset(*p, 0xff, n_bytes);
    pinned[*p] = n_bytes;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t n_bytes) {
    return cudaHostAlloc(p, n_bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *p) {
    Held held;
    if (!p) return cudaSuccess;
    if (!pinned.erase(p)) return done(cudaErrorInvalidValue);
    for (int i = 0; i < n_devices(); i++) device_drain(i);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n_bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    Held held;
    return done(put_copy(to, from, n_bytes, kind, stream));
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t n_bytes, enum cudaMemcpyKind kind) {
    Held held;
    cudaError_t rc = put_copy(to, from, n_bytes, kind, nullptr);
    stream_drain(nullptr);
    return done(rc);
}

cudaError_t cudaMemsetAsync(void *p, int byte, size_t n_bytes, cudaStream_t stream) {
    Held held;
    return done(put_fill(p, byte, n_bytes, stream));
}

cudaError_t cudaMemset(void *p, int byte, size_t n_bytes) {
    Held held;
    cudaError_t rc = put_fill(p, byte, n_bytes, nullptr);
    stream_drain(nullptr);
    return done(rc);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned) {
    Held held;
    if (!ready()) return done(cudaErrorNoDevice);
    *out = stream_new(device_now);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    Held held;
    if (!stream || !is_stream(stream)) return done(cudaErrorInvalidResourceHandle);
    stream_delete(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    Held held;
    if (!is_stream(stream)) return done(cudaErrorInvalidResourceHandle);
    stream_drain(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    Held held;
    if (!is_stream(stream)) return done(cudaErrorInvalidResourceHandle);
    return stream_poll(stream) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    Held held;
    if (!is_stream(stream) || !is_event(event)) return done(cudaErrorInvalidResourceHandle);
    event_hold(stream, event);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned) {
    Held held;
    if (!ready()) return done(cudaErrorNoDevice);
    *out = event_new(device_now);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    Held held;
    if (!is_event(event)) return done(cudaErrorInvalidResourceHandle);
    event_delete(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    Held held;
    if (!is_stream(stream) || !is_event(event) || event_device(event) != stream_device(stream))
        return done(cudaErrorInvalidResourceHandle);
    event_record(event, stream);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    Held held;
    if (!is_event(event)) return done(cudaErrorInvalidResourceHandle);
    event_drain(event);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    Held held;
    if (!is_event(event)) return done(cudaErrorInvalidResourceHandle);
    return event_poll(event) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
    Held held;
    if (!is_event(from) || !is_event(to)) return done(cudaErrorInvalidResourceHandle);
    const Mark *a = event_mark(from), *b = event_mark(to);
    if (!a || !b) return done(cudaErrorInvalidResourceHandle);
    if (!a->reached || !b->reached) return cudaErrorNotReady;
    *ms = (float)((b->seconds - a->seconds) * 1e3);
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute, int value) {
    Held held;
    n_attributes++;
    if (value < 0 || (size_t)value > shared_limit()) return done(cudaErrorInvalidValue);
    allowed[{kernel, device_now}] = (size_t)value;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void) {
    cudaError_t rc = last_error;
    last_error = cudaSuccess;
    return rc;
}

cudaError_t cudaPeekAtLastError(void) { return last_error; }

const char *cudaGetErrorName(cudaError_t rc) {
    switch (rc) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInitializationError: return "cudaErrorInitializationError";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    default: return "cudaErrorUnknown";
    }
}

const char *cudaGetErrorString(cudaError_t rc) {
    return rc == cudaSuccess ? "no error" : "as the emulator of the tests reports it";
}
}

/* For tests: the n-th allocation from now on, of a device or pinned, is refused as if there were no
 * memory (1: the next; 0: none). A program that must run on a card too declares it weak. */
extern "C" void emu_refuse_allocation(int64_t n);
extern "C" void emu_refuse_allocation(int64_t n) {
    Held held;
    refused_in = n;
}
