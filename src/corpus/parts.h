/* The files that make a corpus: paths as they were given, a folder replaced by its .npy, .fvecs and
 * .fbin files in bytewise order of name (not its subfolders; no hidden files, no sidecars). Owns
 * the paths. */
#ifndef MS_CORPUS_PARTS_H
#define MS_CORPUS_PARTS_H
#include "base/status.h"

typedef struct {
    char **paths; /* owned, each owned: [n] */
    size_t n, cap;
} ms_parts;

/* Append what `path` stands for. A folder without such a file is refused. */
int ms_parts_add(ms_parts *parts, const char *path, msim_error *err);
/* Append a path as it is, whatever lies there. */
int ms_parts_add_name(ms_parts *parts, const char *name, msim_error *err);
void ms_parts_free(ms_parts *parts);
/* The msim_format that a file's name says: FVECS, FBIN, or -1 for one told by its bytes (.npy). */
int ms_parts_format(const char *path);

#endif
