/* What is known of each content: a table from the SHA-256 of an input's bytes to what embedding it gave, so that the same
 * bytes are embedded once, in this run and in those that went before. 32 bytes and some slots for each content; vectors
 * and texts stay where they are, in the journal or in the corpus that is brought up to date.
 *
 * Contents are numbered from 0 as they come. The first 16 bytes of a hash stand for it. Any thread may call; indexes
 * stay valid until close. */
#ifndef MS_TOOLS_CONTENTS_H
#define MS_TOOLS_CONTENTS_H
#include "common/cli.h"

#define MS_CONTENTS_NONE UINT32_MAX
#define MS_CONTENTS_KEY 16 /* bytes of a hash that are kept */

enum ms_contents_state {
    MS_CONTENTS_UNKNOWN, /* named by something, not yet looked at */
    MS_CONTENTS_CLAIMED, /* being worked on */
    MS_CONTENTS_JOURNAL, /* settled: `at` is the byte of its record in the journal */
    MS_CONTENTS_BASE,    /* settled: `at` is the row in the corpus that is brought up to date */
    MS_CONTENTS_LOST     /* settled for this run alone: it could not be looked at, for want of memory */
};

typedef struct {
    unsigned char key[MS_CONTENTS_KEY];
    int64_t at;
    uint8_t state;   /* ms_contents_state */
    uint8_t outcome; /* ms_files_reason, when settled */
    bool is_cut;     /* longer than the token limit */
} ms_content;

typedef struct ms_contents ms_contents;

ms_contents *ms_contents_open(void);
void ms_contents_close(ms_contents *contents);
size_t ms_contents_count(const ms_contents *contents);
/* Number of a content by its key; a new one is UNKNOWN. */
uint32_t ms_contents_find(ms_contents *contents, const unsigned char *key);
/* As above; true when it was UNKNOWN, and is now CLAIMED by the caller, who will settle it. */
bool ms_contents_claim(ms_contents *contents, const unsigned char *key, uint32_t *index);
void ms_contents_settle(ms_contents *contents, uint32_t index, int state, int64_t at, int outcome, bool is_cut);
ms_content ms_contents_get(ms_contents *contents, uint32_t index);

#endif
