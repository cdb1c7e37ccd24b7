/* A hit becomes a match: what a caller is told. */
#ifndef MS_NOTES_VERDICT_MATCH_H
#define MS_NOTES_VERDICT_MATCH_H
#include "notes/verdict/hits.h"

/* Everything but the verdict. query_time: of the query's notes. Places are the arena's. */
int ms_match_fill(const ms_piece_hit *hit, const uint32_t *query_time, const ms_target *target,
                  ms_arena *arena, msim_note_match *out, msim_error *err);
/* The verdict: E, whether it is at most `threshold`, and a word for the relation. */
void ms_match_judge(msim_note_match *match, const ms_piece_hit *hit, double evalue,
                    double threshold);
/* The same match seen from the other piece, `piece`, whose notes and voices are `query`. Places
 * are the arena's. */
int ms_match_mirror(const msim_note_match *match, const ms_piece_hit *hit, const ms_target *query,
                    uint32_t piece, ms_arena *arena, msim_note_match *out, msim_error *err);

#endif
