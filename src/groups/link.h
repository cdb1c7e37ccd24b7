/* Between the files that make groups of pairs. */
#ifndef MS_GROUPS_LINK_H
#define MS_GROUPS_LINK_H
#include "groups/compare.h"

typedef struct {
    int64_t root, rank, content; /* root: of its component */
} ms_linked_content;

typedef struct {
    msim_groups *g;
    ms_groups_compare *compare; /* owned, and so on */
    ms_linked_content *list;    /* [contents] by component, then rank */
    int64_t *place;             /* [contents] for complete.c: -1 */
    int64_t *leader;            /* [contents] whose best file is kept of the group; -1: none yet */
} ms_linking;

/* Whether a pair of this kind joins groups: an excerpt never does. */
bool ms_groups_joins(const msim_groups *g, int kind);

/* complete.c: groups of which every two members are a pair. */
int ms_groups_link_complete(ms_linking *l, const ms_linked_content *list, size_t n,
                            msim_error *err);
/* attach.c: excerpts that are alone go to the group of their whole. */
int ms_groups_attach(ms_linking *l, msim_error *err);
/* number.c: the groups of files. */
int ms_groups_number(ms_linking *l, msim_error *err);

#endif
