/* The spans and the sources of a corpus's rows inside CORPUS.npy.json: the last members of the
 * object, texts of base64 of which each may be 150 MB for millions of rows. They are written and
 * read as a stream, and a reader that wants only the settings stops before them. Part of
 * pipeline/disk/description.h, where they are described. */
#ifndef MS_PIPELINE_DISK_SOURCES_H
#define MS_PIPELINE_DISK_SOURCES_H
#include "pipeline/disk/description.h"

/* The description of a file that holds spans or sources, without them and from its beginning alone:
 * 1, with *out to be freed with ms_free; 0 when it holds none, is not there, or is no regular
 * file. */
int ms_sources_read_head(const char *path, char **out, size_t *n, msim_error *err);

#endif
