/* For the emulator's own tests: buffers on the device, and cases that run in a process of their own
 * because they end it (a broken rule) or need other variables. A case is run by starting this
 * program again with its name. */
#ifndef KERNEL_TEST_H
#define KERNEL_TEST_H
#include <cstdarg>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>
extern "C" {
#include <cmocka.h>
}
#include "kernels/prim.cuh"

/* How a program of this build reports what: EMU_RACE comes from emu.mk. */
enum Mode { FAST, RACE, ASAN };
#if defined(EMU_RACE)
static const Mode MODE = RACE;
#elif defined(EMU_ASAN)
static const Mode MODE = ASAN;
#else
static const Mode MODE = FAST;
#endif

/* n values of device memory. */
template <typename T> struct Buffer {
    T *p = nullptr;
    size_t n;
    explicit Buffer(size_t n_) : n(n_) {
        if (cudaMalloc((void **)&p, n * sizeof(T)) != cudaSuccess) abort();
    }
    explicit Buffer(const std::vector<T> &v) : Buffer(v.size()) {
        if (cudaMemcpy(p, v.data(), n * sizeof(T), cudaMemcpyHostToDevice) != cudaSuccess) abort();
    }
    std::vector<T> get() const {
        std::vector<T> v(n);
        if (cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost) != cudaSuccess) abort();
        return v;
    }
    ~Buffer() { cudaFree(p); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
};

/* Launch on the default stream and wait. */
template <typename... P, typename... A>
static inline cudaError_t run_kernel(void (*kernel)(P...), dim3 grid, dim3 block,
                                     size_t shared_bytes, A... args) {
    cudaError_t rc = launch(kernel, grid, block, shared_bytes, nullptr, args...);
    cudaDeviceSynchronize();
    return rc;
}

/* This program with one argument and one variable ("NAME=value" or NULL): its exit code and what it
 * printed. */
static inline int run_case(const char *name, const char *variable, std::string *out) {
    int ends[2];
    char text[4096];
    fflush(stdout);
    if (pipe(ends)) abort();
    pid_t child = fork();
    if (!child) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        unsetenv("EMU_DROP");
        unsetenv("EMU_BARRIERS");
        if (variable) putenv((char *)variable);
        execl("/proc/self/exe", "case", name, (char *)nullptr);
        _exit(127);
    }
    close(ends[1]);
    out->clear();
    for (ssize_t n; (n = read(ends[0], text, sizeof text)) > 0;) out->append(text, (size_t)n);
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif
