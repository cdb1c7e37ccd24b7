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

typedef struct ms_dedup ms_dedup;

int ms_dedup_open(ms_dedup **out, msim_error *err);
void ms_dedup_close(ms_dedup *dedup);
size_t ms_dedup_count(const ms_dedup *dedup);
/* The number of a content by its key; a new content is UNKNOWN. */
int ms_dedup_find(ms_dedup *dedup, const unsigned char *key, uint32_t *index, msim_error *err);
/* The same, and claim the content. Returns 1 when the content was UNKNOWN: it is now CLAIMED, and
 * the caller settles it. Returns 0 otherwise. */
int ms_dedup_claim(ms_dedup *dedup, const unsigned char *key, uint32_t *index, msim_error *err);
/* Set the entry of a content to `as`; the key in `as` is ignored. */
void ms_dedup_settle(ms_dedup *dedup, uint32_t index, ms_dedup_entry as);
ms_dedup_entry ms_dedup_get(ms_dedup *dedup, uint32_t index);

#endif
