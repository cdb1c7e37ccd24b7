/* Pairs that a device found, in the order in which they are scored: see device.h. A block has as
 * many left rows as a worker keeps widened. */
#include "search/join/device.h"

enum { BLOCKS = MS_JOIN_STRIP / MS_JOIN_LEFT };

static size_t block_of(uint32_t pair) { return (pair >> 16) / MS_JOIN_LEFT; }

void ms_join_found_sort(uint32_t *to, const uint32_t *pairs, size_t n) {
    size_t at[BLOCKS + 1] = {0};
    for (size_t p = 0; p < n; p++) at[block_of(pairs[p]) + 1]++;
    for (size_t b = 0; b < BLOCKS; b++) at[b + 1] += at[b];
    for (size_t p = 0; p < n; p++) to[at[block_of(pairs[p])]++] = pairs[p];
}

size_t ms_join_found_run(const uint32_t *pairs, size_t n) {
    size_t run = 1;
    while (run < n && block_of(pairs[run]) == block_of(pairs[0])) run++;
    return run;
}
