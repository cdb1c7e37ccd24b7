/* One process or many that do one job: rank 0 speaks, reads standard input and writes the output,
 * the others work for it. ranks_one.c is the single process; ranks_mpi.c, which `make MPI=1` takes
 * instead, is MPI. ranks.c is what both have in common. docs/SCALE.md.
 *
 * Unless it says otherwise a function here is collective: every rank calls it, all in the same
 * order. Where MPI itself fails, it ends all ranks. Waiting for others leaves the processor to
 * them. One thread, but for the counter. */
#ifndef MS_TOOLS_COMMON_RANKS_H
#define MS_TOOLS_COMMON_RANKS_H
#include "cli.h"

/* First of all in main, before options are looked at. From here on ranks other than 0 are silent:
 * standard output is discarded, and the first error is kept for rank 0 to say. */
void ms_ranks_begin(int *argc, char ***argv);
/* The last of main: every rank returns rank 0's status, once all have come here. */
int ms_ranks_end(int status);
int ms_ranks_index(void); /* of this process, from 0; not collective, nor is the next */
int ms_ranks_count(void);

/* Has any rank failed? When none has, each gets its own rc back; otherwise all get the rc of the
 * lowest rank that has, with its text in err (marked with the rank unless it is 0). A signal that
 * one rank got, all have afterwards. */
int ms_ranks_agree(int rc, msim_error *err);
/* The signal that had come to any rank when they last agreed, or 0; not collective. */
int ms_ranks_stopped(void);

/* Bytes from one rank to all. */
void ms_ranks_broadcast(int from, void *bytes, size_t n);
/* Least of each value over the ranks, and their sums; values [n] are replaced, n at most 16. */
void ms_ranks_least(int64_t *values, int n);
void ms_ranks_sum(int64_t *values, int n);

/* From one rank to another, which first asks how many bytes are meant for it. Not collective: the
 * two ranks alone. */
void ms_ranks_send(int to, const void *bytes, size_t n);
size_t ms_ranks_expect(int from);
void ms_ranks_receive(int from, void *bytes, size_t n);

/* A number in rank 0's memory, 0 at first, that every rank reads and adds to by itself: rank 0 need
 * not be asked, nor wait. Open and close are collective; add is not, may come from any thread, and
 * gives the number before. */
void ms_ranks_counter_open(void);
int64_t ms_ranks_counter_add(int64_t n);
void ms_ranks_counter_close(void);

/* The functions above as a job of the library takes them; NULL when there is one rank. */
const msim_ranks *ms_ranks_table(void);

#endif
