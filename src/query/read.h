/* One MIDI file into memory, gzip undone. */
#ifndef MS_QUERY_READ_H
#define MS_QUERY_READ_H
#include "base/status.h"

typedef struct {
    unsigned char *data; /* owned */
    size_t n_bytes, cap;
} ms_query_bytes;

/* Read a regular file of at most 256 MiB, decompressed too. The buffer starts zero, is reused from
 * file to file, and is freed with ms_free(data). */
int ms_query_read(const char *path, ms_query_bytes *to, msim_error *err);

#endif
