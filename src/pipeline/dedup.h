/* Which contents have been embedded: a table from the SHA-256 of an input's bytes to the result. So
 * the same bytes are embedded once, in this run and in earlier ones. An entry takes 32 bytes and
 * some slots; vectors and texts stay in the journal or in the previous corpus.
 *
 * Contents are numbered from 0 in order of arrival. The key is the first 16 bytes of the hash. Any
 * thread may call; indexes stay valid until close. */
#ifndef MS_PIPELINE_DEDUP_H
#define MS_PIPELINE_DEDUP_H
#include "base/status.h"
#include <stdbool.h>

#define MS_DEDUP_NONE UINT32_MAX
#define MS_DEDUP_KEY 16 /* bytes of a hash that are kept */

enum ms_dedup_state {
    MS_DEDUP_UNKNOWN,  /* named by something, not yet looked at */
    MS_DEDUP_CLAIMED,  /* being worked on */
    MS_DEDUP_JOURNAL,  /* settled: `at` is the byte of its record in the journal */
    MS_DEDUP_PREVIOUS, /* settled: `at` is its first row in the previous corpus */
    MS_DEDUP_LOST      /* settled for this run alone: no record of the content came */
};

typedef struct {
    unsigned char key[MS_DEDUP_KEY];
    int64_t at;
    uint32_t n_windows; /* rows, each a window of the piece; 0: one row, all of it */
    uint8_t state;      /* ms_dedup_state */
    uint8_t outcome;    /* msim_skip_reason, when settled */
    bool is_cut;        /* longer than the token limit */
} ms_dedup_entry;

/* Where the notes of a content are, for a job that writes a note index too: the byte of their
 * record in the journal, or one of these. */
enum {
    MS_NOTES_UNKNOWN = 0,
    MS_NOTES_CLAIMED = -1, /* being read */
    MS_NOTES_NONE = -2     /* settled: the content has no notes, or too many of them */
};

/* What the caller of a claim has to find out. */
enum { MS_CLAIM_VECTORS = 1, MS_CLAIM_NOTES = 2 };

typedef struct ms_dedup ms_dedup;

int ms_dedup_open(ms_dedup **out, msim_error *err);
void ms_dedup_close(ms_dedup *dedup);
size_t ms_dedup_count(const ms_dedup *dedup);
/* The number of a content by its key; a new content is UNKNOWN. */
int ms_dedup_find(ms_dedup *dedup, const unsigned char *key, uint32_t *index, msim_error *err);
/* The same, and claim the content. Returns MS_CLAIM_VECTORS when the content was UNKNOWN: it is now
 * CLAIMED, and the caller settles it. MS_CLAIM_NOTES, alone or added to it, says the same of its
 * notes, where these are wanted. Returns 0 otherwise. */
int ms_dedup_claim(ms_dedup *dedup, const unsigned char *key, uint32_t *index, msim_error *err);
/* Set the entry of a content to `as`; the key in `as` is ignored. */
void ms_dedup_settle(ms_dedup *dedup, uint32_t index, ms_dedup_entry as);
ms_dedup_entry ms_dedup_get(ms_dedup *dedup, uint32_t index);

/* From now on notes are wanted: 8 bytes more for a content. Before this all notes are NONE. */
void ms_dedup_want_notes(ms_dedup *dedup);
void ms_dedup_settle_notes(ms_dedup *dedup, uint32_t index, int64_t notes);
int64_t ms_dedup_get_notes(ms_dedup *dedup, uint32_t index);

#endif
