/* Times of pieces, decoded once and kept while they fit. What is found never depends on what the
 * cache holds. */
#ifndef MS_NOTES_FIND_CACHE_H
#define MS_NOTES_FIND_CACHE_H
#include "notes/file/index.h"

typedef struct {
    const uint32_t *time; /* [n] ms */
    const uint8_t *pitch; /* [n] */
    size_t n;
    const uint8_t *voices, *end; /* details.h */
} ms_target;

/* What is kept of a piece. */
typedef struct {
    uint64_t piece; /* + 1; 0: free */
    uint32_t *time; /* the arena's */
    const uint8_t *voices;
} ms_cached;

typedef struct {
    const msim_notes *notes; /* borrowed */
    ms_arena arena;
    size_t n_bytes;
    ms_cached *pieces; /* owned: [slots] */
    size_t slots, n_used;
} ms_cache;

int ms_cache_init(ms_cache *cache, const msim_notes *notes, msim_error *err);
void ms_cache_free(ms_cache *cache);
/* Make room. What ms_cache_get gave is then gone. */
void ms_cache_trim(ms_cache *cache);
/* The notes of a piece, valid until ms_cache_trim. */
int ms_cache_get(ms_cache *cache, uint32_t piece, ms_target *out, msim_error *err);

#endif
