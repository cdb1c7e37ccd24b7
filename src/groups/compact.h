/* WORK.pairs written anew, when more than half of it says what no run needs any more: matches with
 * contents that are gone, and what is there twice since a content went and came back. */
#ifndef MS_GROUPS_COMPACT_H
#define MS_GROUPS_COMPACT_H
#include "groups/groups.h"
#include "groups/state.h"

/* A match in the file, by contents that are there. */
typedef struct {
    int64_t a, b;
    size_t number; /* among all of the file */
} ms_groups_seen_match;

/* What was seen when the file was read. */
typedef struct {
    ms_groups_seen_match *matches; /* owned, and so on: [n_matches] */
    size_t n_matches, matches_cap;
    size_t n_all;         /* matches in the file */
    unsigned char *marks; /* [contents] 1 + the last mark of each that is there; 0: none */
} ms_groups_seen;

int ms_groups_seen_open(const msim_groups *g, ms_groups_seen *seen, msim_error *err);
void ms_groups_seen_close(ms_groups_seen *seen);
/* One record of the file; a: its content, -1 when it is not there. */
int ms_groups_seen_add(const msim_groups *g, ms_groups_seen *seen, int64_t a, int mark,
                       const ms_groups_found *found, size_t n, msim_error *err);
/* Write the file anew if it is worth it, when all that is not there is marked as gone. */
int ms_groups_compact(const msim_groups *g, ms_groups_seen *seen, ms_groups_state **state,
                      msim_error *err);

#endif
