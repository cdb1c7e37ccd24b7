/* One file put into an open folder, whole or not at all: written under a temporary name and
 * renamed, never through a link. What is there is replaced only when asked to. */
#ifndef MS_TOOLS_COMMON_PUT_FILE_H
#define MS_TOOLS_COMMON_PUT_FILE_H
#include "cli.h"
#include <sys/stat.h>

typedef struct {
    const void *data;
    size_t n;
} ms_put_part;

/* Write these parts as `file`, a name without '/', in the folder of this descriptor. source: whose
 * mode and times the file gets; NULL: those of any new file. Returns 1; 0 when something of that
 * name is there (not with is_forced); < 0. */
int ms_put_file(int folder, const char *file, const ms_put_part *parts, size_t n_parts,
                const struct stat *source, bool is_forced, msim_error *err);
/* True when a file of n_bytes is there whose first n_begin bytes are these. */
bool ms_put_holds(int folder, const char *file, const void *begin, size_t n_begin, int64_t n_bytes);

#endif
