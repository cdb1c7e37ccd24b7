/* The spans and the sources of a corpus's rows inside CORPUS.npy.json. They are the last members of
 * the object, texts of base64; for millions of rows each may be 150 MB. They are written and read
 * as a stream, and a reader that wants only the settings stops before them.
 * pipeline/disk/description.h describes their contents. */
#ifndef MS_PIPELINE_DISK_SOURCES_H
#define MS_PIPELINE_DISK_SOURCES_H
#include "pipeline/disk/description.h"

/* The settings of a description that holds spans or sources, read from the beginning of the file
 * alone. Returns 1, and *out is to be freed with ms_free; 0 when the file holds neither, is not
 * there, or is no regular file. */
int ms_sources_read_head(const char *path, char **out, size_t *n, msim_error *err);

#endif
