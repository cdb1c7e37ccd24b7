/* The sources of a corpus's rows inside CORPUS.npy.json: the last member of the object, one text of
 * base64, which may be 150 MB for millions of rows. It is written and read as a stream, and a
 * reader that wants only the settings stops before it. Part of tools/pipeline/description.h, where
 * they are described. */
#ifndef MS_TOOLS_PIPELINE_SOURCES_H
#define MS_TOOLS_PIPELINE_SOURCES_H
#include "description.h"

/* The description of a file that holds sources, without them and from its beginning alone: free()
 * it; NULL when it holds none or cannot be read. */
char *ms_sources_read_head(const char *path, size_t *n);

#endif
