/* How two pieces lie on each other: the verified chains between them. */
#ifndef MS_NOTES_PAIRS_ALIGN_H
#define MS_NOTES_PAIRS_ALIGN_H
#include "notes/find/verify.h"
#include "notes/pairs/side.h"

typedef struct {
    ms_verified *found; /* the arena's: [n], best first */
    size_t n;
} ms_alignment;

/* What one thread works with. Start from ms_align_init. */
typedef struct {
    ms_chain_tables tables;
    ms_verify_memory memory;
} ms_align_memory;
void ms_align_init(ms_align_memory *memory);
void ms_align_free(ms_align_memory *memory);

int ms_align(ms_align_memory *memory, const ms_side *query, const ms_side *target, ms_arena *arena,
             ms_alignment *out, msim_error *err);
/* The straight map from first note to first and last to last, alone: what a copy needs. Of pieces
 * whose numbers of notes differ much, none. */
int ms_align_straight(ms_align_memory *memory, const ms_side *query, const ms_side *target,
                      ms_arena *arena, ms_alignment *out, msim_error *err);

#endif
