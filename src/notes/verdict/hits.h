/* Verified chains become matches: one for each piece, with its places. */
#ifndef MS_NOTES_VERDICT_HITS_H
#define MS_NOTES_VERDICT_HITS_H
#include "notes/find/pass.h"
#include "notes/verdict/relation.h"

/* A match before its words and voice are known. */
typedef struct {
    uint32_t piece;
    const ms_verified *best;
    const ms_verified **places; /* [n_places] further chains: sections first, then repetitions */
    size_t n_places, n_sections;
    double score, best_score; /* of all sections; of the best chain alone */
    ms_agreement agreement;
} ms_piece_hit;

/* Hits in rank order: by score, then matched notes, then residual, then piece. Everything is the
 * arena's. */
int ms_hits_make(const ms_pass_result *pass, ms_cache *cache, bool is_same_tempo, ms_arena *arena,
                 ms_piece_hit **out, size_t *n_out, msim_error *err);

/* The hit of one piece, whose chains [n >= 1] come best first. How many notes both have in all is
 * for the caller to fill in. */
int ms_hit_make(const ms_verified **chains, size_t n, ms_arena *arena, ms_piece_hit *hit,
                msim_error *err);

/* Put hits in rank order. */
void ms_hits_sort(ms_piece_hit *hits, size_t n);

#endif
