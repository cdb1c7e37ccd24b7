/* The stream that a test program of kernels works in: group set-up and tear-down. */
#ifndef TEST_STREAM_H
#define TEST_STREAM_H
#include "kernels/device.h"
#include <stdio.h>

static ms_gpu_stream *stream;

static int open_stream(void **state) {
    (void)state;
    msim_error err;
    if (ms_gpu_stream_open(0, &stream, &err) == MSIM_OK) return 0;
    printf("%s\n", err.text);
    return -1;
}

static int close_stream(void **state) {
    (void)state;
    ms_gpu_stream_close(stream);
    return 0;
}

#endif
