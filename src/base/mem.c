/* Memory: see mem.h. The counter and the failure hook are the library's only mutable globals. Both
 * are atomic, and only tests set the hook. */
#define _GNU_SOURCE
#include "base/mem.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic int64_t alloc_count;
static _Atomic int64_t fail_at; /* value of alloc_count at which to fail; 0: never */

static _Atomic size_t fail_from; /* bytes; 0: never */

void ms_mem_fail_from(size_t n_bytes) { fail_from = n_bytes; }
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

/* Lies before every block, so that giving back needs no size. */
typedef struct {
    size_t mapped; /* bytes mapped from the header on; 0: from the C library */
    char pad[MS_ALIGN - sizeof(size_t)];
} alloc_head;

#define MAP_FROM ((size_t)4 << 20) /* bytes from which a block is mapped on its own */

/* The one place that asks the system: aligned, counted, and failing where a test said so. Large
 * blocks are mapped: they are zero without being touched, so that a context sized for the largest
 * batch costs what it uses, and they ask for huge pages. *is_zero says whether the block came
 * so. */
static void *raw_alloc(size_t n_bytes, bool *is_zero) {
    int64_t number = atomic_fetch_add(&alloc_count, 1) + 1;
    if ((fail_at && number == fail_at) || (fail_from && n_bytes >= fail_from)) return NULL;
    size_t all;
    if (!ms_add_size(n_bytes, sizeof(alloc_head) + MS_ALIGN - 1, &all) || all > PTRDIFF_MAX)
        return NULL;
    all &= ~(size_t)(MS_ALIGN - 1);
    *is_zero = all >= MAP_FROM;
    alloc_head *head;
    if (*is_zero) {
        head = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (head == MAP_FAILED) return NULL;
        madvise(head, all, MADV_HUGEPAGE); /* a wish: a kernel without them changes nothing */
        head->mapped = all;
    } else {
        head = aligned_alloc(MS_ALIGN, all);
        if (!head) return NULL;
        head->mapped = 0;
    }
    return head + 1;
}

static void raw_free(void *p) {
    if (!p) return;
    alloc_head *head = (alloc_head *)p - 1;
    if (head->mapped)
        munmap(head, head->mapped);
    else
        free(head);
}

static int too_big(const char *what, size_t n_items, size_t item_bytes, msim_error *err) {
    return ms_fail(err, MSIM_E_MEMORY, "out of memory: %s: %zu x %zu bytes could not be had", what,
                   n_items, item_bytes);
}

void *ms_alloc(size_t n_items, size_t item_bytes, const char *what, msim_error *err) {
    size_t n_bytes;
    bool is_zero;
    void *p = ms_mul_size(n_items, item_bytes, &n_bytes) ? raw_alloc(n_bytes, &is_zero) : NULL;
    if (!p) {
        too_big(what, n_items, item_bytes, err);
        return NULL;
    }
    if (!is_zero) memset(p, 0, n_bytes);
    return p;
}

void ms_free(void *p) { raw_free(p); }

char *ms_mem_copy_text(const char *text, const char *what, msim_error *err) {
    size_t n = strlen(text) + 1;
    char *copy = ms_alloc(n, 1, what, err);
    return copy ? memcpy(copy, text, n) : NULL;
}

int ms_grow(void **items, size_t *cap, size_t need, size_t item_bytes, const char *what,
            msim_error *err) {
    if (need <= *cap) return MSIM_OK;
    size_t want = *cap < SIZE_MAX / 2 ? *cap * 2 : SIZE_MAX;
    if (want < need) want = need;
    if (want < 16) want = 16;
    size_t n_bytes;
    bool is_zero;
    void *p = ms_mul_size(want, item_bytes, &n_bytes) ? raw_alloc(n_bytes, &is_zero) : NULL;
    if (!p) return too_big(what, want, item_bytes, err);
    if (*items) memcpy(p, *items, *cap * item_bytes);
    raw_free(*items);
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

void *ms_arena_get(ms_arena *arena, size_t n_items, size_t item_bytes, const char *what,
                   msim_error *err) {
    size_t n_bytes, total;
    bool is_zero;
    if (!ms_mul_size(n_items, item_bytes, &n_bytes) ||
        !ms_add_size(n_bytes, MS_ALIGN - 1, &n_bytes)) {
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
        ms_arena_chunk *fresh = ms_add_size(cap, sizeof *fresh, &total) ? raw_alloc(total, &is_zero)
                                                                        : NULL;
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
    /* The newest chunk is the largest: keep that one when it is within bounds, so that a steady
     * stream of files of like size asks the system for nothing. */
    ms_arena_chunk *keep = arena->chunks && arena->chunks->cap <= arena->keep_bytes ? arena->chunks
                                                                                    : NULL;
    for (ms_arena_chunk *c = arena->chunks, *next; c; c = next) {
        next = c->next;
        if (c != keep) raw_free(c);
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
    raw_free(arena->chunks);
    arena->chunks = NULL;
}
