/* The name of a row in a buffer that grows. */
#ifndef MS_TOOLS_COMMON_NAME_H
#define MS_TOOLS_COMMON_NAME_H
#include "cli.h"

/* The name of a row of a corpus into *name [*cap], which is grown where it must be (start from NULL
 * and 0, ms_free it). NUL-terminated; returns its bytes, or < 0 for a row that is not there or when
 * out of memory. */
int64_t ms_name_get(const msim_corpus *corpus, int64_t row, char **name, size_t *cap,
                    msim_error *err);

#endif
