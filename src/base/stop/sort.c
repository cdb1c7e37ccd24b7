/* Runs that qsort puts in order, then merged in pairs: see base/stop/sort.h. */
#include "base/stop/sort.h"
#include <stdlib.h>
#include <string.h>

enum { RUN = 1 << 15 };

typedef struct {
    size_t item_bytes;
    int (*compare)(const void *, const void *);
} order;

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Two neighbouring runs of n and m items become one, at `to`. */
static void merge(const order *o, const char *from, size_t n, size_t m, char *to) {
    const size_t size = o->item_bytes;
    const char *other = from + n * size;
    while (n > 0 && m > 0) {
        const bool is_first = o->compare(from, other) <= 0;
        memcpy(to, is_first ? from : other, size);
        from += is_first ? size : 0;
        other += is_first ? 0 : size;
        n -= is_first;
        m -= !is_first;
        to += size;
    }
    memcpy(to, n > 0 ? from : other, (n + m) * size);
}

int ms_sort(void *items, size_t n, size_t item_bytes, int (*compare)(const void *, const void *),
            const ms_stop *stop, ms_arena *arena, const char *what, msim_error *err) {
    const order o = {item_bytes, compare};
    char *from = items;
    int rc = MSIM_OK;
    for (size_t i = 0; i < n && rc >= 0; i += RUN) {
        if (n > RUN) rc = ms_stop_check(stop, what, err);
        if (rc >= 0) qsort(from + i * item_bytes, least(RUN, n - i), item_bytes, compare);
    }
    if (rc < 0 || n <= RUN) return rc;
    char *to = ms_arena_get(arena, n, item_bytes, what, err);
    if (!to) return -MSIM_E_MEMORY;
    for (size_t run = RUN; run < n && rc >= 0; run *= 2) {
        for (size_t i = 0; i < n && rc >= 0; i += 2 * run) {
            const size_t first = least(run, n - i), second = least(run, n - i - first);
            rc = ms_stop_check(stop, what, err);
            if (rc >= 0) merge(&o, from + i * item_bytes, first, second, to + i * item_bytes);
        }
        if (rc < 0) break; /* `from` has all of them yet */
        char *done = to;
        to = from;
        from = done;
    }
    if (from != items) memcpy(items, from, n * item_bytes);
    return rc;
}
