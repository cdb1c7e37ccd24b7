/* Blocks of postings: see block.h. */
#include "notes/file/block.h"
#include "notes/file/bytes.h"

size_t ms_block_put(const ms_posting *postings, size_t n, unsigned width, uint8_t *out) {
    memset(out, 0, ms_packed_bytes(n, width) + 8);
    for (size_t i = 0; i < n; i++) ms_packed_put(out, i, width, postings[i].value);
    uint8_t *p = out + ms_packed_bytes(n, width);
    uint64_t last = postings[0].key;
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && postings[next].key == postings[i].key; next++) {
        }
        const uint64_t more = next - i - 1;
        p = ms_varint_put(p, (postings[i].key - last) << 2 | (more < 3 ? more : 3));
        if (more >= 3) p = ms_varint_put(p, more - 3);
        last = postings[i].key;
    }
    return (size_t)(p - out);
}

bool ms_block_keys(const uint8_t *bytes, size_t n_bytes, uint64_t first_key, size_t n,
                   unsigned width, uint64_t *keys) {
    const size_t packed = ms_packed_bytes(n, width);
    if (n_bytes < packed) return false;
    const uint8_t *p = bytes + packed, *const end = bytes + n_bytes;
    uint64_t key = first_key, value, more;
    for (size_t i = 0; i < n;) {
        if (!ms_varint_get(&p, end, &value)) return false;
        key += value >> 2;
        more = value & 3;
        if (more == 3) {
            if (!ms_varint_get(&p, end, &more) || more > MS_BLOCK) return false;
            more += 3;
        }
        if (more >= n - i) return false;
        for (uint64_t k = 0; k <= more; k++) keys[i++] = key;
    }
    return true;
}

uint64_t ms_block_value(const uint8_t *bytes, size_t i, unsigned width) {
    return ms_packed_get(bytes, i, width);
}
