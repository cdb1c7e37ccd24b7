/* Options that hold two numbers: "3/16", "1024/512", "12-20". */
#ifndef MS_TOOLS_COMMON_NUMBERS_H
#define MS_TOOLS_COMMON_NUMBERS_H
#include "common/cli.h"

/* The number before the first `between`, or all of the text: *first in min..max. *rest: what stands
 * behind `between`, or NULL when there is none. False with nothing written otherwise. */
bool ms_cli_first_int(const char *text, char between, int64_t min, int64_t max, int64_t *first,
                      const char **rest);
/* The value of --shard, I/N with I in 1..N: *index and *n. NULL leaves both as they are. < 0: what
 * is wrong with it was said. */
int ms_cli_shard(const char *text, int64_t *index, int64_t *n);

#endif
