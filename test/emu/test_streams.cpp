/* The fake runtime: work runs when something waits for it and not before, in any order that streams
 * and events allow; memory ends where EMU_MEMORY says; several devices are apart; nothing may be
 * left at the end. */
#include <pthread.h>

#include "kernel_test.h"

static __global__ void k_add(float *x, int n, float v) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] += v;
}

static cudaStream_t new_stream() {
    cudaStream_t s = nullptr;
    if (cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking) != cudaSuccess) abort();
    return s;
}

static cudaEvent_t new_event() {
    cudaEvent_t e = nullptr;
    if (cudaEventCreateWithFlags(&e, cudaEventDefault) != cudaSuccess) abort();
    return e;
}

/* ---- Waiting ---- */

/* Before the wait nothing has come, and what the host changes before it is what is copied. */
static void test_deferred(void **) {
    cudaStream_t s = new_stream();
    Buffer<float> x(4);
    float *in, *out;
    assert_int_equal(cudaHostAlloc((void **)&in, 16, cudaHostAllocPortable), cudaSuccess);
    assert_int_equal(cudaMallocHost((void **)&out, 16), cudaSuccess);
    for (int i = 0; i < 4; i++) in[i] = 1.0f, out[i] = -1.0f;
    assert_int_equal(cudaMemcpyAsync(x.p, in, 16, cudaMemcpyHostToDevice, s), cudaSuccess);
    assert_int_equal(launch(k_add, dim3(1), dim3(32), 0, s, x.p, 4, 10.0f), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(out, x.p, 16, cudaMemcpyDeviceToHost, s), cudaSuccess);
    assert_true(out[0] == -1.0f);
    in[2] = 5.0f;
    assert_int_equal(cudaStreamSynchronize(s), cudaSuccess);
    assert_true(out[0] == 11.0f && out[2] == 15.0f);
    assert_int_equal(cudaMemsetAsync(x.p, 0, 8, s), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(out, x.p, 16, cudaMemcpyDeviceToHost, s), cudaSuccess);
    assert_true(out[0] == 11.0f);
    int polls = 0;
    while (cudaStreamQuery(s) == cudaErrorNotReady) polls++;
    assert_true(out[0] == 0.0f && out[2] == 15.0f && polls < 1000);
    assert_int_equal(cudaFreeHost(in), cudaSuccess);
    assert_int_equal(cudaFreeHost(out), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(s), cudaSuccess);
}

/* Freeing waits for what uses the memory. */
static void test_free_waits(void **) {
    cudaStream_t s = new_stream();
    float *x, out[2] = {0.0f, 0.0f};
    assert_int_equal(cudaMalloc((void **)&x, 8), cudaSuccess);
    assert_int_equal(cudaMemsetAsync(x, 0, 8, s), cudaSuccess);
    assert_int_equal(launch(k_add, dim3(1), dim3(2), 0, s, x, 2, 3.0f), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(out, x, 8, cudaMemcpyDeviceToHost, s), cudaSuccess);
    assert_int_equal(cudaFree(x), cudaSuccess);
    assert_true(out[1] == 3.0f);
    assert_int_equal(cudaStreamDestroy(s), cudaSuccess);
}

static void test_events(void **) {
    cudaStream_t s = new_stream();
    cudaEvent_t a = new_event(), b = new_event();
    Buffer<float> x(std::vector<float>(64));
    float ms = -1.0f;
    assert_int_equal(cudaEventQuery(a), cudaSuccess);
    assert_int_equal(cudaEventElapsedTime(&ms, a, b), cudaErrorInvalidResourceHandle);
    assert_int_equal(cudaEventRecord(a, s), cudaSuccess);
    assert_int_equal(launch(k_add, dim3(2), dim3(32), 0, s, x.p, 64, 1.0f), cudaSuccess);
    assert_int_equal(cudaEventRecord(b, s), cudaSuccess);
    assert_int_equal(cudaEventElapsedTime(&ms, a, b), cudaErrorNotReady);
    assert_int_equal(cudaEventSynchronize(b), cudaSuccess);
    assert_int_equal(cudaEventElapsedTime(&ms, a, b), cudaSuccess);
    assert_true(ms >= 0.0f);
    assert_int_equal(cudaEventRecord(b, s), cudaSuccess);
    while (cudaEventQuery(b) == cudaErrorNotReady) {
    }
    assert_int_equal(cudaEventDestroy(a), cudaSuccess);
    assert_int_equal(cudaEventDestroy(b), cudaSuccess);
    assert_int_equal(cudaEventDestroy(b), cudaErrorInvalidResourceHandle);
    assert_int_equal(cudaStreamDestroy(s), cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(s), cudaErrorInvalidResourceHandle);
}

/* Stream b needs what stream a has made; ten rounds of it. Exit code 1: a number was wrong. */
static int two_streams(bool with_event) {
    cudaStream_t a = new_stream(), b = new_stream();
    cudaEvent_t made = new_event();
    bool right = true;
    {
        Buffer<float> x(std::vector<float>(64)), y(std::vector<float>(64));
        std::vector<float> out(64);
        for (int i = 0; i < 10; i++) {
            cudaMemsetAsync(x.p, 0, 256, a);
            launch(k_add, dim3(2), dim3(32), 0, a, x.p, 64, (float)(i + 1));
            cudaEventRecord(made, a);
            if (with_event) cudaStreamWaitEvent(b, made, 0);
            cudaMemcpyAsync(y.p, x.p, 256, cudaMemcpyDeviceToDevice, b);
            cudaMemcpyAsync(out.data(), y.p, 256, cudaMemcpyDeviceToHost, b);
            cudaStreamSynchronize(b);
            if (out[63] != (float)(i + 1)) right = false;
            cudaStreamSynchronize(a);
        }
    }
    cudaStreamDestroy(a);
    cudaStreamDestroy(b);
    cudaEventDestroy(made);
    return right ? 0 : 1;
}

static void test_two_streams(void **) {
    std::string out;
    for (const char *seed : {"EMU_SEED=0", "EMU_SEED=1", "EMU_SEED=2", "EMU_SEED=3"}) {
        assert_int_equal(run_case("event", seed, &out), 0);
        assert_int_equal(run_case("no event", seed, &out), 1);
    }
}

/* ---- Memory ---- */

static int little_memory() {
    size_t free_bytes, all, before;
    void *p, *q;
    if (cudaMemGetInfo(&before, &all) || all != 1 << 20 || before != all) return 1;
    if (cudaMalloc(&p, 768 * 1024) || (uintptr_t)p % 256) return 2;
    if (cudaMalloc(&q, 512 * 1024) != cudaErrorMemoryAllocation || q) return 3;
    if (cudaMemGetInfo(&free_bytes, &all) || free_bytes != 256 * 1024) return 4;
    if (cudaFree(p) || cudaFree(p) != cudaErrorInvalidValue) return 5;
    if (cudaMemGetInfo(&free_bytes, &all) || free_bytes != before) return 6;
    if (cudaMalloc(&q, 1) || (uintptr_t)q % 256 || cudaFree(q)) return 7;
    return 0;
}

static int leak() {
    void *p;
    return cudaMalloc(&p, 1);
}

static int copy_past_end() {
    Buffer<float> x(4);
    float out[5];
    cudaMemcpy(out, x.p, 20, cudaMemcpyDeviceToHost);
    return 0;
}

static int copy_of_host() {
    float x = 0.0f, y = 1.0f;
    cudaMemcpy(&y, &x, 4, cudaMemcpyDeviceToHost);
    return 0;
}

static void test_memory(void **) {
    std::string out;
    assert_int_equal(run_case("little memory", "EMU_MEMORY=1M", &out), 0);
    assert_int_equal(run_case("leak", nullptr, &out), 86);
    assert_non_null(strstr(out.c_str(), "left at the end: 1 device allocations"));
    assert_int_equal(run_case("copy past end", nullptr, &out), 86);
    assert_non_null(strstr(out.c_str(), "20 bytes"));
    assert_int_equal(run_case("copy of host", nullptr, &out), 86);
    assert_int_equal(run_case("leak", "EMU_LEAKS=0", &out), 0);
}

/* New memory is no zeros. */
static void test_poison(void **) {
    Buffer<uint32_t> x(9);
    for (uint32_t v : x.get()) assert_int_equal(v, 0xffffffffu);
}

/* ---- Devices ---- */

static int no_device(cudaError_t rc) {
    int n = 5;
    void *p;
    if (cudaGetDeviceCount(&n) != rc || n) return 1;
    if (cudaSetDevice(0) == cudaSuccess || cudaMalloc(&p, 1) == cudaSuccess) return 2;
    return 0;
}

static int two_devices() {
    int n, device;
    struct cudaDeviceProp prop;
    size_t free_bytes, all;
    if (cudaGetDeviceCount(&n) || n != 2 || cudaSetDevice(2) != cudaErrorInvalidDevice) return 1;
    if (cudaGetDeviceProperties(&prop, 1) || prop.sharedMemPerBlockOptin != 163 * 1024) return 2;
    cudaStream_t s = new_stream();
    if (cudaSetDevice(1) || cudaGetDevice(&device) || device != 1) return 3;
    Buffer<float> x(std::vector<float>(32));
    if (launch(k_add, dim3(1), dim3(32), 0, s, x.p, 32, 1.0f) != cudaErrorInvalidResourceHandle)
        return 4;
    if (run_kernel(k_add, dim3(1), dim3(32), 0, x.p, 32, 1.0f) || x.get()[3] != 1.0f) return 5;
    if (cudaMemGetInfo(&free_bytes, &all) || free_bytes != all - 512) return 6;
    if (cudaSetDevice(0) || cudaMemGetInfo(&free_bytes, &all) || free_bytes != all) return 7;
    cudaStreamDestroy(s);
    return 0;
}

static int others_memory() {
    cudaSetDevice(1);
    Buffer<float> x(std::vector<float>(32));
    cudaSetDevice(0);
    cudaStream_t s = new_stream();
    cudaMemsetAsync(x.p, 0, 4, s);
    return 0;
}

static void test_devices(void **) {
    std::string out;
    assert_int_equal(run_case("no driver", "EMU_DRIVER=0", &out), 0);
    assert_int_equal(run_case("no device", "EMU_DEVICES=0", &out), 0);
    assert_int_equal(run_case("two devices", "EMU_DEVICES=2", &out), 0);
    assert_int_equal(run_case("other's memory", "EMU_DEVICES=2", &out), 86);
    assert_non_null(strstr(out.c_str(), "a fill of device 0"));
}

/* ---- Host threads ---- */

static void *work(void *right) {
    cudaStream_t s = new_stream();
    {
        Buffer<float> x(std::vector<float>(96));
        std::vector<float> out(96);
        for (int i = 0; i < 20; i++) {
            launch(k_add, dim3(3), dim3(32), 0, s, x.p, 96, 1.0f);
            cudaMemcpyAsync(out.data(), x.p, 384, cudaMemcpyDeviceToHost, s);
            cudaStreamSynchronize(s);
            if (out[95] != (float)(i + 1)) *(bool *)right = false;
        }
    }
    cudaStreamDestroy(s);
    return nullptr;
}

static void test_threads(void **) {
    pthread_t threads[3];
    bool right[3] = {true, true, true};
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], nullptr, work, &right[i]), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], nullptr);
    for (bool r : right) assert_true(r);
}

int main(int argc, char **argv) {
    std::string name = argc > 1 ? argv[1] : "";
    if (name == "event") return two_streams(true);
    if (name == "no event") return two_streams(false);
    if (name == "little memory") return little_memory();
    if (name == "leak") return leak();
    if (name == "copy past end") return copy_past_end();
    if (name == "copy of host") return copy_of_host();
    if (name == "no driver") return no_device(cudaErrorInsufficientDriver);
    if (name == "no device") return no_device(cudaErrorNoDevice);
    if (name == "two devices") return two_devices();
    if (name == "other's memory") return others_memory();
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_deferred), cmocka_unit_test(test_free_waits),
        cmocka_unit_test(test_events),   cmocka_unit_test(test_two_streams),
        cmocka_unit_test(test_memory),   cmocka_unit_test(test_poison),
        cmocka_unit_test(test_devices),  cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
