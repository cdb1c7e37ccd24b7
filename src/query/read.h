/* One MIDI file into memory, gzip undone. */
#ifndef MS_QUERY_READ_H
#define MS_QUERY_READ_H
#include "pipeline/input/files.h"

/* Read a regular file of at most MS_FILES_MAX_BYTES, decompressed too. The buffer starts from {0},
 * is reused from file to file, and is freed with ms_files_buffer_free. */
int ms_query_read(const char *path, ms_files_buffer *to, msim_error *err);

#endif
