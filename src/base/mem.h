/* Memory: checked sizes, aligned blocks, growing arrays and an arena. A hook lets tests make the
 * Nth allocation fail. Every allocation of the library goes through this file. docs/PITFALLS.md. */
#ifndef MS_BASE_MEM_H
#define MS_BASE_MEM_H
#include "base/status.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MS_ALIGN 64 /* bytes: a cache line, and the widest vector register */

/* *out = a * b (or a + b). False, with *out untouched, when it does not fit a size_t. */
bool ms_mul_size(size_t a, size_t b, size_t *out);
bool ms_add_size(size_t a, size_t b, size_t *out);

/* n_items * item_bytes zeroed bytes, 64-byte aligned; NULL (with err filled) when out of memory or
 * too large. A count of zero gives a valid block. Free with ms_free. `what` names it in the
 * error. */
void *ms_alloc(size_t n_items, size_t item_bytes, const char *what, msim_error *err);
void ms_free(void *p);
/* A copy of a text, as ms_alloc gives it. */
char *ms_mem_copy_text(const char *text, const char *what, msim_error *err);

/* Make room for at least `need` items in a growing array: *items and *cap are replaced on growth
 * (doubling, contents kept, new items not zeroed). On failure both are untouched. Free with
 * ms_free. Start from NULL and 0. */
int ms_grow(void **items, size_t *cap, size_t need, size_t item_bytes, const char *what,
            msim_error *err);

/* An arena hands out blocks in order and takes all of them back at once. It keeps its memory
 * between uses, up to keep_bytes. */
typedef struct ms_arena_chunk ms_arena_chunk;
typedef struct {
    ms_arena_chunk *chunks; /* owned: newest first */
    size_t keep_bytes;      /* after a reset at most this much stays */
} ms_arena;

void ms_arena_init(ms_arena *arena, size_t keep_bytes);
/* n_items * item_bytes bytes, 64-byte aligned, NOT zeroed; NULL with err filled on failure. */
void *ms_arena_get(ms_arena *arena, size_t n_items, size_t item_bytes, const char *what,
                   msim_error *err);
void ms_arena_reset(ms_arena *arena);
void ms_arena_free(ms_arena *arena);

/* Test hook: the n-th allocation from now on fails (1: the next one; 0: none). Not for concurrent
 * use. */
void ms_mem_fail_at(int64_t n);
/* Test hook: allocations of so many bytes or more fail (0: none). */
void ms_mem_fail_from(size_t n_bytes);
/* Number of allocations made since the program began (tests: embed and search must not change
 * it). */
int64_t ms_mem_count(void);

#ifdef __cplusplus
}
#endif

#endif
