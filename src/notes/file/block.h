/* Blocks of postings.
 *
 *   values   MS_BLOCK (the last block: fewer) packed numbers of `width` bits:
 *            note of the collection << MS_SPAN_BITS | code of the span
 *   runs     postings of one key: varint (key - key before) * 4 + min(postings - 1, 3),
 *            from 3 on another varint with postings - 4; the first run's key is in MS_SECTION_KEYS,
 *            here as a difference of 0 */
#ifndef MS_NOTES_FILE_BLOCK_H
#define MS_NOTES_FILE_BLOCK_H
#include "notes/constants.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t key;
    uint64_t value; /* note << MS_SPAN_BITS | code of the span */
} ms_posting;

/* Most bytes of a block. */
#define MS_BLOCK_MAX_BYTES (MS_BLOCK * (7 + 20) + 8)

/* Write n postings, 1..MS_BLOCK, in order of key. Returns the number of bytes. */
size_t ms_block_put(const ms_posting *postings, size_t n, unsigned width, uint8_t *out);
/* Read the keys [n] of a block. False: damaged. */
bool ms_block_keys(const uint8_t *bytes, size_t n_bytes, uint64_t first_key, size_t n,
                   unsigned width, uint64_t *keys);
/* Value i of a block that is long enough (ms_block_keys has looked). */
uint64_t ms_block_value(const uint8_t *bytes, size_t i, unsigned width);

#endif
