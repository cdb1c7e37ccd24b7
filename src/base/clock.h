/* A clock that never goes back, for measuring time. */
#ifndef MS_BASE_CLOCK_H
#define MS_BASE_CLOCK_H
#include <time.h>

/* Seconds since some moment in the past. */
static inline double ms_clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
