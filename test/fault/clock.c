/* A monotonic clock that goes RATE times as fast, for tests of what happens in minutes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

#ifndef RATE
#define RATE 1000
#endif

int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(id, t);
    if (rc != 0 || id != CLOCK_MONOTONIC) return rc;
    __int128 ns = ((__int128)t->tv_sec * 1000000000 + t->tv_nsec) * RATE;
    t->tv_sec = (time_t)(ns / 1000000000);
    t->tv_nsec = (long)(ns % 1000000000);
    return 0;
}
