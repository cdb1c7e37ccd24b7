/* Quantised copies of the rows of midisim-search's corpus. */
#ifndef MS_TOOLS_SEARCH_CODES_H
#define MS_TOOLS_SEARCH_CODES_H
#include "corpus.h"

/* Attach the copies that are there; with may_write also write those that --prepare and --cache ask
 * for. */
int ms_search_codes_attach(const ms_search_corpus *c, bool may_write, msim_error *err);

#endif
