/* A build without CUDA: the same symbols, and one reason why no GPU opens. */
#include "kernels/gpu.h"
#include <stddef.h>

int ms_gpu_compiled(void) { return 0; }

bool ms_gpu_usable(int index, msim_error *err) {
    ms_fail(err, MSIM_E_DEVICE, "device: cuda:%d: expected a build with CUDA kernels, got one without", index);
    return false;
}

const ms_backend *ms_gpu_backend(void) { return NULL; }
