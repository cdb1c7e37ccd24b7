/* Deterministic numbers: the same on every machine, from a state that the caller seeds. */
#ifndef TEST_SUPPORT_RANDOM_H
#define TEST_SUPPORT_RANDOM_H
#include <stdint.h>

/* SplitMix64; any seed will do. */
static inline uint64_t splitmix(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* In [-1, 1) with 24 bits, as docs/MODEL.md's seeded weights. */
static inline float uniform(uint64_t *state) {
    return (float)((int64_t)(splitmix(state) >> 40) - 8388608) / 8388608.0f;
}

/* Xorshift64; the state must not be 0. */
static inline uint64_t xorshift(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* In [-1, 1) with 53 bits. */
static inline double uniform_f64(uint64_t *state) {
    return (double)(int64_t)(xorshift(state) >> 11) * 0x1p-52 - 1.0;
}
#endif
