/* Which pieces are worth comparing: those that share rare words with a piece, in order. */
#ifndef MS_NOTES_PAIRS_PROPOSE_H
#define MS_NOTES_PAIRS_PROPOSE_H
#include "base/pool.h"
#include "notes/file/index.h"

/* A piece that asks, and one that it proposes. */
typedef struct {
    uint32_t a, b;
} ms_proposal;

typedef struct {
    ms_proposal *pairs; /* owned: [n] */
    size_t n, cap;
} ms_proposals;
void ms_proposals_free(ms_proposals *proposals);

typedef struct ms_proposer ms_proposer;
/* Pieces of `notes` ask for pieces of `against`; the two may be one, where no piece finds itself.
 */
int ms_proposer_open(const msim_notes *notes, const msim_notes *against, ms_pool *pool,
                     ms_proposer **out, msim_error *err);
void ms_proposer_close(ms_proposer *proposer);
/* Add what the pieces [n] propose, in their order. */
int ms_propose(ms_proposer *proposer, const uint32_t *pieces, size_t n, ms_proposals *out,
               msim_error *err);

#endif
