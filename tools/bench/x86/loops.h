/* The loops of an instruction set of x86, which differ in the names of their instructions alone. A
 * file defines these names and then includes this one:
 *   VECTOR, ZERO     a register of sums, and what it begins with
 *   FACTORS          declares the registers x and y
 *   ADD(a)           a + the products of x and y
 *   SUMS             MS_LIMITS_12 or MS_LIMITS_24: how many sums
 *   LOAD_LINE(p)     loads 64 bytes into registers and holds them there; optional */
#ifndef MS_TOOLS_BENCH_X86_LOOPS_H
#define MS_TOOLS_BENCH_X86_LOOPS_H
#include "bench/limits.h"
#include <immintrin.h>

#define START(i) VECTOR a##i = ZERO;
#define STEP(i)       \
    a##i = ADD(a##i); \
    __asm__ volatile("" : "+v"(a##i));

static void dot_loop(size_t steps) {
    FACTORS
    __asm__ volatile("" : "+v"(x), "+v"(y));
    SUMS(START)
    for (size_t i = 0; i < steps; i++) {
        SUMS(STEP)
    }
}

#ifdef LOAD_LINE
static void read_loop(const void *from, size_t n_bytes) {
    size_t part = n_bytes / MS_LIMITS_STREAMS;
    const char *base = from;
    for (size_t at = 0; at < part; at += 64)
        for (int s = 0; s < MS_LIMITS_STREAMS; s++) {
            const char *p = base + (size_t)s * part + at;
            _mm_prefetch(p + MS_LIMITS_AHEAD, _MM_HINT_T0);
            LOAD_LINE(p)
        }
}
#endif

#endif
