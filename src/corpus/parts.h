/* The files of a corpus: paths as they were given, with each folder replaced by its .npy, .fvecs
 * and .fbin files in bytewise order of name. Subfolders, hidden files and descriptions are not
 * among them. A list owns its paths. */
#ifndef MS_CORPUS_PARTS_H
#define MS_CORPUS_PARTS_H
#include "base/status.h"

typedef struct {
    char **paths; /* owned, each owned: [n] */
    size_t n, cap;
} ms_parts;

/* Append a file, or the files of a folder. A folder without such a file is refused. */
int ms_parts_add(ms_parts *parts, const char *path, msim_error *err);
/* Append a path as it is, without looking at what it names. */
int ms_parts_add_name(ms_parts *parts, const char *name, msim_error *err);
void ms_parts_free(ms_parts *parts);
/* The msim_format that a file's name tells: FVECS or FBIN. -1 when the file's bytes tell it
 * (.npy). */
int ms_parts_format(const char *path);

#endif
