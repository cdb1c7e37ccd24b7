/* Where an index is written from: runs in memory and other indexes, each with its pieces in order
 * and its postings in order of (key, note). */
#ifndef MS_NOTES_BUILD_FEED_H
#define MS_NOTES_BUILD_FEED_H
#include "notes/build/run.h"

/* One source. It borrows the run or the index. */
typedef struct {
    const ms_run *run; /* sorted; or NULL */
    const msim_notes *notes;
    uint64_t n_pieces, n_postings;
    uint64_t *old_first; /* owned: [n_pieces + 1] first note of each piece in the source */
    uint64_t *new_first; /* owned: [n_pieces] in what is written; UINT64_MAX: left out */
    uint32_t *ranges;    /* owned: the piece of note 0, 1024, ... */
    /* The posting that comes next. */
    ms_posting next; /* its note counts in what is written */
    bool is_at_end;
    uint64_t at;             /* postings read so far */
    uint64_t keys[MS_BLOCK]; /* of the block of an index being read */
    const uint8_t *block;
} ms_feed;

/* keep: pieces that are kept, as in msim_notes_builder_add_index; only for an index. */
int ms_feed_open(ms_feed *source, const ms_run *run, const msim_notes *notes,
                 int (*keep)(void *user, int64_t piece), void *user, msim_error *err);
bool ms_feed_piece(const ms_feed *source, uint64_t piece, ms_piece_view *out);
/* Go on to the next posting that is not left out; the first call gives the first one. */
int ms_feed_next(ms_feed *source, msim_error *err);
void ms_feed_close(ms_feed *source);

#endif
