/* Sums of four products of bytes (AVX512_VNNI), for the kernels of that level alone. */
#ifndef MS_CPU_KERNELS_X86_DOT4_AVX512VNNI_H
#define MS_CPU_KERNELS_X86_DOT4_AVX512VNNI_H
#include "cpu/kernels/unroll.h"
#include <immintrin.h>
#include <string.h>

/* Not the intrinsic: GCC 12 takes its sum through memory, and a loop of 24 sums then runs at a
 * third of its speed. */
INLINE __m512i dot4(__m512i sum, __m512i x, __m512i w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

INLINE __m512i same_four(const char *p) {
    int four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

#endif
