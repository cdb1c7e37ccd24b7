/* The CUDA backend as api.c sees it. kernels/stub.c gives the same symbols in a build without
 * CUDA. */
#ifndef MS_KERNELS_BACKEND_H
#define MS_KERNELS_BACKEND_H
#include "search/backend.h"
#include "search/join/device.h"
#include <stdbool.h>

/* 1 when CUDA kernels are part of this build. */
int ms_gpu_compiled(void);
/* True when CUDA device `index` (-1: all of them) can be used here; else false with the reason in
 * err (MSIM_E_DEVICE). */
bool ms_gpu_usable(int index, msim_error *err);
/* Devices that the driver shows, and one of them. */
int ms_gpu_visible(void);
int ms_gpu_describe(int index, msim_gpu_info *out, msim_error *err);
/* Both are NULL in a build without CUDA. */
const ms_backend *ms_gpu_backend(void);
const ms_join_device *ms_gpu_join_device(void);

#endif
