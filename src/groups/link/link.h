/* Between the files that make groups of pairs. */
#ifndef MS_GROUPS_LINK_H
#define MS_GROUPS_LINK_H
#include "groups/compare.h"

typedef struct {
    int64_t root, rank, content; /* root: of its component */
} ms_linked_content;

typedef struct {
    msim_groups *g;
    bool is_plain; /* the contents of a unit are pairs: the first of them speaks for all */
    ms_groups_compare *compare; /* owned, and so on */
    int64_t *by_key;         /* [contents] as by_unit, those of a unit in order of key and tempo */
    ms_linked_content *list; /* [contents] by component, then rank */
    int64_t *place;          /* [contents] for complete.c: -1 */
    int64_t *leader;         /* [contents] whose best file is kept of the group; -1: none yet */
} ms_linking;

/* Whether a pair of this kind joins groups: an excerpt never does. */
bool ms_groups_joins(const msim_groups *g, int kind);

/* ---- components.c: what a chain of pairs connects ---- */

int ms_groups_order_by_key(ms_linking *l, msim_error *err);
/* A few contents of a unit, which may be that of x. If each content of two units is joined with
 * those of them that it is a pair with, all are connected that pairs connect. Returns how many. */
enum { MS_GROUPS_NEAR = 4 };
size_t ms_groups_near(const ms_linking *l, int64_t x, int64_t unit, int64_t near[MS_GROUPS_NEAR]);
/* of [contents]: disjoint sets. */
void ms_groups_find_components(const ms_linking *l, int64_t *of);

/* complete.c: groups of which every two members are a pair. */
int ms_groups_link_complete(ms_linking *l, const ms_linked_content *list, size_t n,
                            msim_error *err);
/* attach.c: excerpts that are alone go to the group of their whole. */
int ms_groups_attach(ms_linking *l, msim_error *err);
/* number.c: the groups of files. */
int ms_groups_number(ms_linking *l, msim_error *err);

#endif
