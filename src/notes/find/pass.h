/* One pass of a search: a query's notes through words, anchors, chains and verification, to the
 * chains that hold, by piece. A search passes once for the query and again for its decoys. */
#ifndef MS_NOTES_FIND_PASS_H
#define MS_NOTES_FIND_PASS_H
#include "notes/find/verify.h"

typedef struct {
    ms_probe_limits query;
    ms_anchor_limits anchors;
    size_t max_verified;
    const msim_ranks *ranks; /* borrowed: who looks at the other pieces; NULL: nobody */
} ms_pass_limits;

/* What one thread works with on an index. */
typedef struct {
    const msim_notes *notes; /* borrowed */
    ms_lookup lookup;
    ms_cache cache;
    ms_chain_tables tables;
    ms_verify_memory memory;
} ms_pass_memory;

int ms_pass_memory_init(ms_pass_memory *memory, const msim_notes *notes, msim_error *err);
void ms_pass_memory_free(ms_pass_memory *memory);

typedef struct {
    ms_probe query;
    ms_verified *found; /* [n] by falling score, then piece, transposition, place */
    size_t n;
} ms_pass_result;

/* Everything in `out` is the arena's. On several ranks this is collective, and `out` has what was
 * found in this rank's pieces; a failure may be of this rank alone. */
int ms_pass_run(ms_pass_memory *memory, const msim_note *notes, size_t n,
                const ms_pass_limits *limits, ms_arena *arena, ms_pass_result *out,
                msim_error *err);

#endif
