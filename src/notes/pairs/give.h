/* Pairs on their way to the caller, in order of the query. */
#ifndef MS_NOTES_PAIRS_GIVE_H
#define MS_NOTES_PAIRS_GIVE_H
#include <midisim.h>

/* A pair that was compared: both sides of the match. */
typedef struct {
    uint32_t a, b;
    int is_found;   /* 0: not worth telling */
    int has_mirror; /* b asks too, and both are told */
    msim_note_match match, mirrored;
} ms_pair_found;

typedef struct ms_giver ms_giver;
/* n_pieces: of the index that asks; 0: no pair has a mirror. */
int ms_giver_open(msim_pair_sink sink, void *user, int64_t n_pieces, ms_giver **out,
                  msim_error *err);
void ms_giver_close(ms_giver *giver);
/* Pairs come in order of a, then b. A mirrored match waits for the turn of its piece. */
int ms_give(ms_giver *giver, const ms_pair_found *pair, msim_error *err);
/* Give what waits. */
int ms_give_rest(ms_giver *giver, msim_error *err);
int64_t ms_giver_count(const ms_giver *giver);

#endif
