/* Files that are whole or not there at all: written under another name, synced, renamed. What a
 * crash may leave is PATH.PID.tmp. One thread a file. */
#ifndef MS_PIPELINE_DURABLE_H
#define MS_PIPELINE_DURABLE_H
#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *path; /* borrowed */
    char temporary[4400];
    int fd;
    unsigned char *buffer; /* owned */
    size_t n;
    msim_error failed; /* code 0 while all went well; put does nothing after that */
} ms_durable;

int ms_durable_open(ms_durable *file, const char *path, msim_error *err);
void ms_durable_put(ms_durable *file, const void *bytes, size_t n);
/* Sync and rename, or with a failure remove what there is. The file is closed either way. */
int ms_durable_finish(ms_durable *file, msim_error *err);

/* Make the names of a path's folder durable. */
int ms_durable_sync_folder(const char *path, msim_error *err);
/* The folder of a path ("." for a plain name), as a path. False when it does not fit. */
bool ms_durable_folder(const char *path, char *folder, size_t cap);

#endif
