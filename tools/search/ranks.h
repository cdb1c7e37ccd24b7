/* The passes of midisim-search over rows that several ranks share: each holds one run of rows, rank
 * 0 asks, every rank searches its own, and results come together pair by pair, so that none holds
 * more than two of them. Merged by score and row, they are those of one process. docs/SCALE.md. */
#ifndef MS_TOOLS_SEARCH_RANKS_H
#define MS_TOOLS_SEARCH_RANKS_H
#include "corpus.h"

typedef struct ms_search_ranks ms_search_ranks;

/* Collective, as tools/common/ranks.h has it: load this rank's rows of the corpus. `room` is the
 * most vectors of a pass. */
int ms_search_ranks_open(const ms_search_corpus *corpus, int64_t room, ms_search_ranks **out,
                         msim_error *err);
void ms_search_ranks_close(ms_search_ranks *r);
/* Rank 0: the passes of its searcher, over the rows of all ranks. */
msim_passes ms_search_ranks_passes(ms_search_ranks *r);
/* Rank 0, when it needs the others no more. */
void ms_search_ranks_dismiss(ms_search_ranks *r);
/* The other ranks: search what rank 0 asks, until it dismisses them. */
void ms_search_ranks_serve(ms_search_ranks *r);

#endif
