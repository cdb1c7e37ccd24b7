/* The layout of the weights that scans of codes use: cpu/search/codes.h. No state; the caller gives
 * all memory. */
#include "cpu/search/codes.h"

size_t ms_codes_weights_bytes(const ms_codes_kernels *k, size_t n_query, size_t dim) {
    return (dim + k->group - 1) / k->group * k->group * k->weight_bytes * n_query;
}

void ms_codes_put_weights(const ms_codes_kernels *k, void *weights, size_t q, size_t n_query,
                          size_t dim, const void *weight) {
    size_t first = 0, size = 0;
    for (size_t s = 0; first + size <= q; s += first + k->sizes[s] > n_query) {
        first += size; /* the block before was whole and q lies behind it */
        while (first + k->sizes[s] > n_query) s++;
        size = k->sizes[s];
    }
    char *block = (char *)weights + ms_codes_weights_bytes(k, first, dim);
    char *dst = block + (q - first) * k->group * k->weight_bytes;
    for (size_t j = 0; j < dim; j += k->group, dst += size * k->group * k->weight_bytes) {
        size_t n = dim - j < k->group ? dim - j : k->group;
        if (k->weight_bytes > 1)
            memcpy(dst, (const char *)weight + j * k->weight_bytes, n * k->weight_bytes);
        for (size_t i = 0; i < n && k->weight_bytes == 1; i++)
            dst[i] = (char)((const int16_t *)weight)[j + i];
    }
}
