/* midisim-find on several ranks: rank 0 reads queries and prints, the others search their pieces
 * for the queries that it tells them. In a single process nobody is told. */
#ifndef MS_TOOLS_FIND_FOLLOW_H
#define MS_TOOLS_FIND_FOLLOW_H
#include "common/notes/asked.h"

/* -MSIM_E_ARG where several ranks cannot do this: index a folder on the fly, listen to a stream. */
int ms_find_check_ranks(const char *index, bool is_stream, msim_error *err);
/* Rank 0: tell the others a query, and answer it with them. What went wrong is in asked->err. */
void ms_find_lead(ms_asked *asked, msim_finder *finder);
/* Rank 0: there are no more queries. */
void ms_find_dismiss(void);
/* The others, until there are no more. A query that fails, fails on every rank; rank 0 says so. */
int ms_find_follow(msim_finder *finder);

#endif
