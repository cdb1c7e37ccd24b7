/* A walk of bytes on several ranks. */
#ifndef MS_PIPELINE_WALK_H
#define MS_PIPELINE_WALK_H
#include "midisim.h"

/* Collective: rank 0 has listed the inputs, the walks of the others are of none. From here on each
 * rank gets its part of them: every so manyth file, in the order of the list; rank 0 also what
 * cannot be read and what is a stream. */
int ms_walk_share(msim_walk *walk, const msim_ranks *ranks, msim_error *err);

#endif
