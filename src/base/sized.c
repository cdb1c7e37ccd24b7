/* Public structs that may grow: see base/sized.h. */
#include "base/sized.h"
#include <string.h>

static size_t size_of(const void *from) {
    size_t size;
    memcpy(&size, from, sizeof size);
    return size;
}

int ms_sized_in(void *to, size_t to_bytes, const void *from, const char *what, msim_error *err) {
    size_t size = size_of(from);
    if (size < sizeof size)
        return ms_fail(err, MSIM_E_ARG, "%s: size: expected the size of the struct, got %zu", what,
                       size);
    for (size_t i = to_bytes; i < size; i++)
        if (((const unsigned char *)from)[i])
            return ms_fail(err, MSIM_E_UNSUPPORTED,
                           "%s: this library knows %zu bytes of it, and byte %zu is set", what,
                           to_bytes, i);
    memcpy(to, from, size < to_bytes ? size : to_bytes);
    memcpy(to, &to_bytes, sizeof to_bytes);
    return MSIM_OK;
}

int ms_sized_out(void *to, const void *from, size_t from_bytes) {
    size_t size = size_of(to);
    if (size < sizeof size) return -MSIM_E_ARG;
    size_t n = size < from_bytes ? size : from_bytes;
    memcpy((unsigned char *)to + sizeof size, (const unsigned char *)from + sizeof size,
           n - sizeof size);
    return MSIM_OK;
}
