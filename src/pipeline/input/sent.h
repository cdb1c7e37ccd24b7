/* A list of input files on its way from rank 0 to the others, and other things of which there may
 * be millions: bytes, some at a time. Collective: all ranks are in the same list at the same place,
 * and when one is out of memory, all end it. */
#ifndef MS_PIPELINE_INPUT_SENT_H
#define MS_PIPELINE_INPUT_SENT_H
#include "pipeline/input/files.h"

/* Start with the ranks, the rest 0. */
typedef struct {
    const msim_ranks *ranks; /* borrowed */
    unsigned char *bytes;    /* owned: [cap] */
    size_t n, cap;
    msim_error failed; /* of this rank; code 0 while all went well */
} ms_sent;

/* Rank 0: add bytes of an item. */
void ms_sent_put(ms_sent *sent, const void *bytes, size_t n);
/* Rank 0, after each item: they go out when there are enough. False: a rank failed, and the list is
 * at its end. */
bool ms_sent_step(ms_sent *sent);
/* Rank 0: the rest, and the mark of the end. */
void ms_sent_end(ms_sent *sent);
/* The others: get bytes [n], whole items. False at the end, and when any rank failed. */
bool ms_sent_next(ms_sent *sent);
/* Every rank: free the bytes. Returns < 0 when any rank failed. */
int ms_sent_close(ms_sent *sent, msim_error *err);

/* Put one entry of a list. */
void ms_sent_put_entry(ms_sent *sent, const ms_files_entry *entry);
/* Append the entries of `bytes`. A failure is kept in `sent`. */
void ms_sent_get_entries(ms_sent *sent, ms_files_list *list);

#endif
