/* Samples with a fixed seed that are spread over all there is: one from each of m stretches. */
#ifndef MS_CORPUS_SAMPLE_H
#define MS_CORPUS_SAMPLE_H
#include "base/random.h"

/* i * n / m without overflow, for i <= m. */
static inline int64_t ms_sample_scaled(int64_t i, int64_t n, int64_t m) {
    return n / m * i + n % m * i / m;
}

/* Number i of a sample of m of n. All, if m is n. */
static inline int64_t ms_sample_at(int64_t i, int64_t n, int64_t m, uint64_t seed) {
    int64_t from = ms_sample_scaled(i, n, m), to = ms_sample_scaled(i + 1, n, m);
    return from + (int64_t)(ms_random_at(seed, (uint64_t)i) % (uint64_t)(to - from));
}

#endif
