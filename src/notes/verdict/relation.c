/* Words for relations: see relation.h. docs/NOTES.md has the rules and how often they hold. */
#include "notes/verdict/relation.h"
#include <stddef.h>

double ms_identity_of(const ms_agreement *a) {
    return a->in_query + a->in_target > 0 ? 2 * a->matched / (a->in_query + a->in_target) : 0;
}

int ms_relation_of(const ms_agreement *a) {
    const double query = a->matched / a->of_query, target = a->matched / a->of_target;
    const double least = query < target ? query : target, identity = ms_identity_of(a);
    if (least >= 0.97 && identity >= 0.97 && a->residual < 0.03) return MSIM_RELATION_SAME_NOTES;
    if (least >= 0.6 && identity >= 0.7) return MSIM_RELATION_SAME_PIECE;
    if (query >= 0.8 && a->matched >= 0.85 * a->in_query) return MSIM_RELATION_PART_OF;
    if (target >= 0.8 && a->matched >= 0.85 * a->in_target) return MSIM_RELATION_CONTAINS;
    return least >= 0.25 ? MSIM_RELATION_VERSION : MSIM_RELATION_PASSAGE;
}

const char *msim_relation_name(int relation) {
    static const char *const names[MSIM_RELATION_COUNT] = {
        "none", "same notes", "same piece", "part of", "contains", "version", "shares a passage"};
    return relation >= 0 && relation < MSIM_RELATION_COUNT ? names[relation] : NULL;
}
