/* The name of a row in a buffer that grows. */
#ifndef MS_TOOLS_COMMON_NAME_H
#define MS_TOOLS_COMMON_NAME_H
#include "cli.h"

/* The name of a row of a corpus into *name [*cap], which is grown where it must be (start from NULL
 * and 0, free() it). NUL-terminated; returns its bytes, or < 0, with *name empty, for a row that is
 * not there. */
int64_t ms_name_get(const msim_corpus *corpus, int64_t row, char **name, size_t *cap);

#endif
