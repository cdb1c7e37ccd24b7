/* Pairs of units that no search has seen, compared directly, each at most once in a run. */
#ifndef MS_GROUPS_COMPARE_H
#define MS_GROUPS_COMPARE_H
#include "groups/groups.h"

typedef struct ms_groups_compare ms_groups_compare;

int ms_groups_compare_open(msim_groups *g, ms_groups_compare **out, msim_error *err);
void ms_groups_compare_close(ms_groups_compare *compare);
/* How contents x and y relate: by the pair of their units, which is found now if need be. Returns
 * the kind, or < 0. Once the unit of a y has been compared MS_GROUPS_MOST_COMPARED times, it counts
 * as related to none but those it is known to be: work grows with the pieces, whatever they are. */
enum { MS_GROUPS_MOST_COMPARED = 32 };
int ms_groups_compare_contents(ms_groups_compare *compare, int64_t x, int64_t y,
                               msim_file_pair *out, msim_error *err);
/* Whether this unit may be compared further. */
static inline bool ms_groups_may_compare(const msim_groups *g, int64_t unit) {
    return g->units[unit].piece >= 0 && g->units[unit].n_compared < MS_GROUPS_MOST_COMPARED;
}

#endif
