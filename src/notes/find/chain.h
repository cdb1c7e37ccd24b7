/* Chains: anchors of one group that are in order in both pieces, at a tempo that changes
 * smoothly. */
#ifndef MS_NOTES_FIND_CHAIN_H
#define MS_NOTES_FIND_CHAIN_H
#include "notes/find/anchors.h"
#include "notes/find/cache.h"

typedef struct {
    uint32_t piece;
    int transpose;
    float score;              /* bits */
    const ms_anchor *anchors; /* [n] in order of both sides */
    size_t n;
} ms_chain;

/* Logarithms of times, made once. */
typedef struct {
    float log2_ms[MS_STEP_MAX_MS + MS_EASE_MS + 1];
} ms_chain_tables;
void ms_chain_tables_init(ms_chain_tables *tables);

/* The best chains of a group, at most MS_CHAINS_OF_GROUP, into out, best first. Their anchors are
 * the arena's. Returns how many, or < 0. */
int ms_chain_group(const ms_group *group, const ms_probe *query, const ms_target *target,
                   const ms_chain_tables *tables, ms_arena *arena, ms_chain *out, msim_error *err);

#endif
