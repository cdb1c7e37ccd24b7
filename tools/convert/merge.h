/* The rows of a corpus of several files in bytewise order of name; equal names stay in the order of
 * their files and rows. Files that are in order themselves, as midisim-embed writes them, are
 * merged as they are read; of one that is not, names and 16 bytes a row are kept. One thread. */
#ifndef MS_TOOLS_CONVERT_MERGE_H
#define MS_TOOLS_CONVERT_MERGE_H
#include "common/cli.h"

typedef struct ms_merge ms_merge;

/* Reads every name once. < 0 after a signal or when out of memory. The corpus must stay open. */
int ms_merge_open(const msim_corpus *corpus, ms_merge **out, msim_error *err);
void ms_merge_close(ms_merge *m);
/* Code points of the longest name. */
int64_t ms_merge_name_chars(const ms_merge *m);
/* The next row, -1 behind the last one; its name stays until the next call. */
int64_t ms_merge_next(ms_merge *m, const char **name, size_t *length);
/* Rows so far whose name was that of the row before. */
int64_t ms_merge_same(const ms_merge *m);

#endif
