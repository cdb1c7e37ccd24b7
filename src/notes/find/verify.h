/* Verification: a chain is a map from query time to target time; the notes that agree under it are
 * counted, and what they say is summed. */
#ifndef MS_NOTES_FIND_VERIFY_H
#define MS_NOTES_FIND_VERIFY_H
#include "notes/find/chain.h"

/* A pair of notes that agree. */
typedef struct {
    uint32_t query, target;
} ms_pair;

typedef struct {
    uint32_t piece;
    int transpose;
    float score;    /* bits; of the best stretch */
    ms_pair *pairs; /* the arena's: [n_pairs], of the best stretch, in order of the query */
    size_t n_pairs;
    uint32_t query_first, query_last, first, last; /* the stretch: notes of both */
    double slope, residual_ms; /* of target onsets against a straight line in query time */
} ms_verified;

/* Memory for pieces of any length. Start from {0}. */
typedef struct {
    uint8_t *used; /* owned: [used_cap] of the target's notes; all 0 between calls */
    size_t used_cap;
} ms_verify_memory;
void ms_verify_free(ms_verify_memory *memory);

int ms_verify_chain(const ms_chain *chain, const ms_probe *query, const ms_target *target,
                    ms_verify_memory *memory, ms_arena *arena, ms_verified *out, msim_error *err);

/* Best first, in a total order. For qsort. */
int ms_verify_compare(const void *a, const void *b);

#endif
