/* SplitMix64 (Steele, Lea, Flood 2014): numbers that depend on a seed alone, for samples that are
 * the same everywhere. */
#ifndef MS_BASE_RANDOM_H
#define MS_BASE_RANDOM_H
#include <stdint.h>

#define MS_RANDOM_STEP UINT64_C(0x9e3779b97f4a7c15)

/* The next number. The state begins as the seed. */
static inline uint64_t ms_random_next(uint64_t *state) {
    uint64_t z = *state += MS_RANDOM_STEP;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Number i of a seed, from 0. */
static inline uint64_t ms_random_at(uint64_t seed, uint64_t i) {
    uint64_t state = seed + i * MS_RANDOM_STEP;
    return ms_random_next(&state);
}

#endif
