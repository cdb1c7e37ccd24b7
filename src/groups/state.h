/* WORK.pairs: which contents were compared with all that were there, and what was found.
 * docs/FORMATS.md, Pairs, has every byte.
 *
 * A header with the settings; then blocks, each with its length and checksum, synced before the
 * next. What a crash left half written is cut off. The file is locked while it is open. Its
 * contents are looked at as a stranger's: every number is checked. One thread. */
#ifndef MS_GROUPS_STATE_H
#define MS_GROUPS_STATE_H
#include "base/status.h"

typedef struct ms_groups_state ms_groups_state;

/* One match of a content, with the content that it is with. */
typedef struct {
    unsigned char content[MSIM_CONTENT_BYTES];
    msim_note_match match; /* its piece and other places are not kept */
} ms_groups_found;

/* What is written down of a content. The last mark of a content counts. Its matches stay true
 * whatever comes later, as contents do not change. */
enum {
    MS_GROUPS_COMPARED, /* with all that are there or compared themselves */
    MS_GROUPS_THERE,    /* when all that are compared were; it was not compared itself */
    MS_GROUPS_GONE      /* when others were compared: when it is back, it must be, too */
};

/* A file of other settings is begun anew; a file that is none of this kind is refused. */
int ms_groups_state_open(const char *path, int density, double evalue, ms_groups_state **out,
                         msim_error *err);
typedef int (*ms_groups_visit)(void *user, const unsigned char *content, int mark,
                               const ms_groups_found *found, size_t n, msim_error *err);
/* Visit each content with its mark and its matches, in order. A damaged end is cut off. */
int ms_groups_state_load(ms_groups_state *state, ms_groups_visit visit, void *user,
                         msim_error *err);
/* Add a content that is THERE or GONE. */
int ms_groups_state_mark(ms_groups_state *state, const unsigned char *content, int mark,
                         msim_error *err);
/* Add a content that was COMPARED; sync writes and syncs what was added. */
int ms_groups_state_add(ms_groups_state *state, const unsigned char *content,
                        const ms_groups_found *found, size_t n, msim_error *err);
int ms_groups_state_sync(ms_groups_state *state, msim_error *err);
/* Bytes of the file; and those of so many contents with so many matches in all. */
int64_t ms_groups_state_bytes(const ms_groups_state *state);
int64_t ms_groups_state_cost(size_t n_contents, size_t n_matches);
/* A new, empty file beside one that is open, with its settings; then in its place. Both stay open:
 * the old one is then only closed. A new one that is closed before is removed. */
int ms_groups_state_open_next(const ms_groups_state *state, ms_groups_state **out, msim_error *err);
int ms_groups_state_replace(const ms_groups_state *state, ms_groups_state *next, msim_error *err);
void ms_groups_state_close(ms_groups_state *state);

#endif
