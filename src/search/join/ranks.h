/* A join on several ranks. Each joins a range of the left rows. Rank 0 passes its own hits on as
 * they come; the others keep theirs, in memory or in a temporary file, until rank 0 has come to the
 * end of what lies before. */
#ifndef MS_SEARCH_JOIN_RANKS_H
#define MS_SEARCH_JOIN_RANKS_H
#include "search/join/hits.h"

typedef struct {
    const msim_ranks *ranks; /* borrowed; NULL: there is one process */
    const char *folder;      /* borrowed: for the file */
    int fd;                  /* owned: -1: there is no file yet */
    ms_join_hit *hits;       /* owned: [cap] the last ones; on rank 0 those that arrive */
    size_t n, cap;
    int64_t n_in_file;
    msim_error failed; /* the first failure; code 0: none */
} ms_join_log;

/* Room for about `bytes` of hits; none without ranks. */
int ms_join_log_open(ms_join_log *log, const msim_ranks *ranks, size_t bytes, const char *folder,
                     msim_error *err);
void ms_join_log_close(ms_join_log *log); /* accepts one that is all zeros */
/* A sink (user: the log) for all ranks but 0. It ends the join when the file cannot be written. */
int ms_join_log_take(void *log, int64_t a, int64_t b, double score);
/* Take part in passing the hits of all other ranks to rank 0's sink, in order. Returns how many it
 * got. Called on all ranks or on none. */
int64_t ms_join_log_gather(ms_join_log *log, msim_join_sink sink, void *user, int *has_ended,
                           msim_error *err);

#endif
