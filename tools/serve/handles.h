/* What one thread has open to answer requests. A handle stays open for requests with the same
 * options. */
#ifndef MS_TOOLS_SERVE_HANDLES_H
#define MS_TOOLS_SERVE_HANDLES_H
#include "ask.h"
#include "base/stop/stop.h"
#include "serve.h"

/* Begin with the first three alone. */
typedef struct {
    const ms_serve_stock *stock; /* borrowed */
    int threads;
    ms_stop stop;             /* asked by finder and searcher */
    msim_note_reader *reader; /* owned, and so on; NULL: not open */
    msim_finder *finders[2];  /* in any key, and in the query's own */
    msim_searcher *searcher;  /* for: */
    int searcher_keys;
} ms_handles;

/* Open what is not, as the request needs it. */
int ms_handles_reader(ms_handles *h, msim_error *err);
/* Finder and searcher give as many matches as anyone may ask for: the best come first. */
int ms_handles_finder(ms_handles *h, const ms_ask *ask, msim_finder **out, msim_error *err);
int ms_handles_searcher(ms_handles *h, const ms_ask *ask, msim_error *err);
/* A reader and a finder keep what a query took till the next one: after a large one they are
 * closed. */
void ms_handles_give_back(ms_handles *h, const ms_ask *ask, size_t n_notes);
void ms_handles_close(ms_handles *h);

#endif
