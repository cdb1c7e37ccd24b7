/* Numbers in bytes: little endian, varints of 7 bits a byte, and packed bits. Readers never pass
 * their end. */
#ifndef MS_NOTES_FILE_BYTES_H
#define MS_NOTES_FILE_BYTES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MS_VARINT_MAX = 10 }; /* bytes */

static inline uint8_t *ms_varint_put(uint8_t *p, uint64_t value) {
    for (; value >= 128; value >>= 7) *p++ = (uint8_t)(value | 128);
    *p++ = (uint8_t)value;
    return p;
}

/* False at the end of the bytes, and for a number beyond 64 bits. */
static inline bool ms_varint_get(const uint8_t **p, const uint8_t *end, uint64_t *value) {
    uint64_t v = 0;
    if (end - *p >= 2 && ((*p)[0] & (*p)[1]) < 128) { /* most take one or two bytes */
        const unsigned low = (*p)[0], is_long = low >> 7, high = (*p)[1];
        *value = is_long ? (low & 127) | high << 7 : low;
        *p += 1 + is_long;
        return true;
    }
    for (unsigned shift = 0; *p < end && shift < 64; shift += 7) {
        const uint8_t byte = *(*p)++;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *value = v;
            return true;
        }
    }
    return false;
}

static inline uint64_t ms_zigzag(int64_t x) { return (uint64_t)x << 1 ^ (uint64_t)(x >> 63); }
static inline int64_t ms_unzigzag(uint64_t x) { return (int64_t)(x >> 1) ^ -(int64_t)(x & 1); }

static inline unsigned ms_bits_for(uint64_t most) {
    return most ? 64 - (unsigned)__builtin_clzll(most) : 0;
}
static inline size_t ms_packed_bytes(size_t n, unsigned width) { return (n * width + 7) / 8; }

/* Item i of items of `width` bits, at most 56, lowest bit first. put needs zeroed bytes; both touch
 * 8 bytes from the item's first byte on. */
static inline void ms_packed_put(uint8_t *bytes, size_t i, unsigned width, uint64_t value) {
    uint64_t word;
    uint8_t *at = bytes + i * width / 8;
    memcpy(&word, at, 8);
    word |= value << (i * width % 8);
    memcpy(at, &word, 8);
}
static inline uint64_t ms_packed_get(const uint8_t *bytes, size_t i, unsigned width) {
    uint64_t word;
    memcpy(&word, bytes + i * width / 8, 8);
    return word >> (i * width % 8) & ((UINT64_C(1) << width) - 1);
}

#endif
