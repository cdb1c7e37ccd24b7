/* Memory: see mem.h. The counter and the failure hook are the library's only mutable globals; they are atomic, and the
 * hook is moved by tests alone. */
#include "core/mem.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int64_t alloc_count;
static _Atomic int64_t fail_at; /* value of alloc_count at which to fail; 0: never */

void ms_mem_fail_at(int64_t n) { fail_at = n > 0 ? alloc_count + n : 0; }
int64_t ms_mem_count(void) { return alloc_count; }

bool ms_mul_size(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

bool ms_add_size(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* The one place that asks the system: aligned, counted, and failing where a test said so. */
static void *raw_alloc(size_t n_bytes) {
    int64_t number = atomic_fetch_add(&alloc_count, 1) + 1;
    if (fail_at && number == fail_at) return NULL;
    size_t rounded;
    if (!ms_add_size(n_bytes, MS_ALIGN - 1, &rounded) || rounded > PTRDIFF_MAX) return NULL;
    rounded &= ~(size_t)(MS_ALIGN - 1);
    return aligned_alloc(MS_ALIGN, rounded ? rounded : MS_ALIGN);
}

static int too_big(const char *what, size_t n_items, size_t item_bytes, msim_error *err) {
    return ms_fail(err, MSIM_E_MEMORY, "out of memory: %s: expected %zu x %zu bytes, got none", what, n_items,
                   item_bytes);
}

void *ms_alloc(size_t n_items, size_t item_bytes, const char *what, msim_error *err) {
    size_t n_bytes;
    void *p = ms_mul_size(n_items, item_bytes, &n_bytes) ? raw_alloc(n_bytes) : NULL;
    if (!p) {
        too_big(what, n_items, item_bytes, err);
        return NULL;
    }
    memset(p, 0, n_bytes);
    return p;
}

void ms_free(void *p) { free(p); }

int ms_grow(void **items, size_t *cap, size_t need, size_t item_bytes, const char *what, msim_error *err) {
    if (need <= *cap) return MSIM_OK;
    size_t want = *cap < SIZE_MAX / 2 ? *cap * 2 : SIZE_MAX;
    if (want < need) want = need;
    if (want < 16) want = 16;
    size_t n_bytes;
    void *p = ms_mul_size(want, item_bytes, &n_bytes) ? raw_alloc(n_bytes) : NULL;
    if (!p) return too_big(what, want, item_bytes, err);
    if (*items) memcpy(p, *items, *cap * item_bytes);
    free(*items);
    *items = p;
    *cap = want;
    return MSIM_OK;
}

struct ms_arena_chunk {
    ms_arena_chunk *next; /* owned */
    size_t cap, used;     /* bytes behind this header */
    char pad[MS_ALIGN - sizeof(void *) - 2 * sizeof(size_t)];
};
_Static_assert(sizeof(ms_arena_chunk) == MS_ALIGN, "the header keeps the blocks behind it aligned");

#define ARENA_CHUNK_BYTES ((size_t)256 << 10)

void ms_arena_init(ms_arena *arena, size_t keep_bytes) {
    arena->chunks = NULL;
    arena->keep_bytes = keep_bytes;
}

void *ms_arena_get(ms_arena *arena, size_t n_items, size_t item_bytes, const char *what, msim_error *err) {
    size_t n_bytes, total;
    if (!ms_mul_size(n_items, item_bytes, &n_bytes) || !ms_add_size(n_bytes, MS_ALIGN - 1, &n_bytes)) {
        too_big(what, n_items, item_bytes, err);
        return NULL;
    }
    n_bytes &= ~(size_t)(MS_ALIGN - 1);
    ms_arena_chunk *c = arena->chunks;
    if (!c || c->cap - c->used < n_bytes) {
        /* Doubling keeps the number of chunks logarithmic in what a file needs. */
        size_t cap = c ? c->cap * 2 : ARENA_CHUNK_BYTES;
        if (cap > (size_t)64 << 20) cap = (size_t)64 << 20;
        if (cap < n_bytes) cap = n_bytes;
        ms_arena_chunk *fresh = ms_add_size(cap, sizeof *fresh, &total) ? raw_alloc(total) : NULL;
        if (!fresh) {
            too_big(what, n_items, item_bytes, err);
            return NULL;
        }
        fresh->next = c;
        fresh->cap = cap;
        fresh->used = 0;
        arena->chunks = c = fresh;
    }
    void *p = (char *)(c + 1) + c->used;
    c->used += n_bytes;
    return p;
}

void ms_arena_reset(ms_arena *arena) {
    /* The newest chunk is the largest: keep that one when it is within bounds, so that a steady stream of files of
     * like size asks the system for nothing. */
    ms_arena_chunk *keep = arena->chunks && arena->chunks->cap <= arena->keep_bytes ? arena->chunks : NULL;
    for (ms_arena_chunk *c = arena->chunks, *next; c; c = next) {
        next = c->next;
        if (c != keep) free(c);
    }
    if (keep) {
        keep->next = NULL;
        keep->used = 0;
    }
    arena->chunks = keep;
}

void ms_arena_free(ms_arena *arena) {
    arena->keep_bytes = 0;
    ms_arena_reset(arena);
    free(arena->chunks);
    arena->chunks = NULL;
}
