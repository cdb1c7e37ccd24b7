/* The order of names everywhere: by bytes, and a beginning before what goes on. */
#ifndef MS_BASE_TEXT_ORDER_H
#define MS_BASE_TEXT_ORDER_H
#include <stddef.h>
#include <string.h>

/* < 0, 0 or > 0: name a comes before name b, is the same, or comes after it. */
static inline int ms_text_compare(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t n = n_a < n_b ? n_a : n_b;
    int order = n ? memcmp(a, b, n) : 0;
    return order ? order : (n_a > n_b) - (n_a < n_b);
}

#endif
