/* A search on several ranks, each of which looks at pieces of its own. Whatever a search decides
 * among all pieces - the heaviest groups, the best chains, how far decoys come - the ranks decide
 * together, so that the answer is that of a single process to the bit. Functions are collective
 * and take each rank's result so far: when one has failed, all get its error. With ranks NULL they
 * do nothing. */
#ifndef MS_NOTES_FIND_SHARE_H
#define MS_NOTES_FIND_SHARE_H
#include "notes/find/chain.h"

/* The pieces of this rank: a range of them, of equal length. */
void ms_share_pieces(const msim_ranks *ranks, uint64_t n_pieces, ms_anchor_limits *limits);

/* Keep those of this rank's groups [*n], heaviest first, that are among the `most` heaviest of
 * all. */
int ms_share_groups(const msim_ranks *ranks, int rc, const ms_group *groups, size_t *n, size_t most,
                    ms_arena *arena, msim_error *err);
/* The same for chains [*n], best first. *n_first: how many of those kept are among the `first` best
 * of all. */
int ms_share_chains(const msim_ranks *ranks, int rc, const ms_chain *chains, size_t *n, size_t most,
                    size_t first, size_t *n_first, ms_arena *arena, msim_error *err);
/* The largest *most of any rank, and the sum of *count. */
int ms_share_most(const msim_ranks *ranks, int rc, double *most, int64_t *count, msim_error *err);

/* The order of groups and of chains: by weight or score, then place. For qsort. */
int ms_share_compare_chains(const void *a, const void *b);

#endif
