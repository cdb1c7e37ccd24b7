/* A build without CUDA: the same symbols, and one reason why no GPU opens. */
#include "kernels/backend.h"
#include <stdio.h>

static int refuse(int index, msim_error *err) {
    char which[16] = "all";
    if (index >= 0) snprintf(which, sizeof which, "%d", index);
    return ms_fail(err, MSIM_E_DEVICE, "device: cuda:%s: this build has no CUDA kernels", which);
}

int ms_gpu_compiled(void) { return 0; }
bool ms_gpu_usable(int index, msim_error *err) { return refuse(index, err) >= 0; }
int ms_gpu_visible(void) { return 0; }

int ms_gpu_describe(int index, msim_gpu_info *out, msim_error *err) {
    (void)out;
    return refuse(index, err);
}

const ms_backend *ms_gpu_backend(void) { return NULL; }
const ms_join_device *ms_gpu_join_device(void) { return NULL; }
