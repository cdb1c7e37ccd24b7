/* --html: the answer to a query, in the report. */
#ifndef MS_TOOLS_SEARCH_SHOWN_H
#define MS_TOOLS_SEARCH_SHOWN_H
#include "search/answers.h"

/* Add a query with its matches: first the pieces that share notes, then those that are alike and
 * not among them. */
int ms_search_show(ms_search_answers *a, const ms_search_query *query,
                   const ms_results_query *result, msim_error *err);

#endif
