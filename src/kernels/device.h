/* CUDA devices as ordinary C sees them: streams, memory, copies, events. Every call of the CUDA
 * runtime is behind this file (kernels/device.cu) or a launcher (kernels/kernels.h). No CUDA types,
 * so that C includes it; .cu files include it as extern "C".
 *
 * A stream belongs to one device and to one thread at a time. What is put into it runs in order,
 * later; `sync` waits for all of it. Failures are MSIM_E_DEVICE, or MSIM_E_MEMORY where memory ran
 * out; after a failed kernel every later call on that device fails too. */
#ifndef MS_KERNELS_DEVICE_H
#define MS_KERNELS_DEVICE_H
#include "base/status.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ms_gpu_stream ms_gpu_stream;
typedef struct ms_gpu_event ms_gpu_event;

typedef struct {
    char name[64];
    int index, major, minor; /* compute capability */
    int multiprocessors;
    size_t memory_bytes, free_bytes;
    size_t shared_bytes; /* most dynamic shared memory of a block */
} ms_gpu_info;

/* Devices that the driver shows; 0 without a driver. */
int ms_gpu_count(void);
int ms_gpu_get_info(int index, ms_gpu_info *out, msim_error *err);

int ms_gpu_stream_open(int index, ms_gpu_stream **out, msim_error *err);
void ms_gpu_stream_close(ms_gpu_stream *stream); /* accepts NULL; waits for what is under way */
int ms_gpu_stream_device(const ms_gpu_stream *stream);
int ms_gpu_stream_multiprocessors(const ms_gpu_stream *stream); /* of its device, at least 1 */
/* The cudaStream_t, for launchers; makes the stream's device current for this thread. */
void *ms_gpu_stream_raw(ms_gpu_stream *stream);

/* Memory of the device, 256-byte aligned, not cleared; pinned memory of the host. NULL with err set
 * when there is none. `what` names it in messages. Free accepts NULL and waits for the device. */
void *ms_gpu_alloc(ms_gpu_stream *stream, size_t n_items, size_t item_bytes, const char *what,
                   msim_error *err);
void ms_gpu_free(ms_gpu_stream *stream, void *p);
void *ms_gpu_host_alloc(ms_gpu_stream *stream, size_t n_items, size_t item_bytes, const char *what,
                        msim_error *err);
void ms_gpu_host_free(ms_gpu_stream *stream, void *p);

/* Put into the stream. Host memory must be pinned to overlap with anything, and stay as it is until
 * the copy has run. */
int ms_gpu_upload(ms_gpu_stream *stream, void *to_device, const void *from_host, size_t n_bytes,
                  msim_error *err);
int ms_gpu_download(ms_gpu_stream *stream, void *to_host, const void *from_device, size_t n_bytes,
                    msim_error *err);
int ms_gpu_copy(ms_gpu_stream *stream, void *to_device, const void *from_device, size_t n_bytes,
                msim_error *err);
int ms_gpu_fill(ms_gpu_stream *stream, void *device, int byte, size_t n_bytes, msim_error *err);
int ms_gpu_sync(ms_gpu_stream *stream, msim_error *err);

/* A point in a stream: recorded, then waited for by the host or by another stream of the same
 * device. */
int ms_gpu_event_open(ms_gpu_stream *stream, ms_gpu_event **out, msim_error *err);
void ms_gpu_event_close(ms_gpu_event *event); /* accepts NULL */
int ms_gpu_event_record(ms_gpu_event *event, ms_gpu_stream *stream, msim_error *err);
int ms_gpu_event_wait(ms_gpu_event *event, msim_error *err);
int ms_gpu_stream_wait(ms_gpu_stream *stream, ms_gpu_event *event, msim_error *err);
/* Seconds between two recorded events that the device has reached; below 0: not known. */
double ms_gpu_event_seconds(const ms_gpu_event *from, const ms_gpu_event *to);

/* For launchers: MSIM_OK, or the error of a launch (a cudaError_t) as a message that names the
 * kernel. */
int ms_gpu_check_launch(int cuda_error, const char *kernel, msim_error *err);

#ifdef __cplusplus
}
#endif

#endif
