/* Hits of several ranks, brought together on rank 0. */
#ifndef MS_NOTES_VERDICT_GATHER_H
#define MS_NOTES_VERDICT_GATHER_H
#include "notes/verdict/hits.h"

/* Collective: on rank 0, *hits [*n] become those of all ranks, in rank order; on the others they
 * become none. Everything is the arena's. With ranks NULL nothing is done. */
int ms_hits_gather(const msim_ranks *ranks, ms_piece_hit **hits, size_t *n, ms_arena *arena,
                   msim_error *err);

#endif
