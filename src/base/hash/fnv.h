/* FNV-1a of 64 bits: a hash for tables and names, not for telling contents apart
 * (base/hash/digest.h). Some names of files hold it, so its values never change. */
#ifndef MS_BASE_FNV_H
#define MS_BASE_FNV_H
#include <stddef.h>
#include <stdint.h>

static inline uint64_t ms_fnv1a(const char *bytes, size_t n) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    return h;
}

#endif
