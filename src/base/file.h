/* A file that comes to be under another name: bytes go through one buffer to PATH.part-PID beside
 * the place, which is synced and then renamed, so that under PATH there is the old file or the
 * whole new one. Closing without the rename removes it. The first failure sticks. One thread.
 * docs/FORMATS.md, What is written. */
#ifndef MS_BASE_FILE_H
#define MS_BASE_FILE_H
#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *path, *temp_path; /* owned */
    int fd;                 /* owned: the temporary file; -1 when closed */
    bool has_temp;          /* temp_path is ours to remove */
    unsigned char *buffer;  /* owned: [cap] */
    size_t cap, n;          /* room; bytes that wait to be written */
    size_t item_max;
    uint64_t n_written, n_hinted; /* bytes given to the system; those it was asked to put on the
                                   * disk */
    msim_error failed;            /* code 0 while all went well */
} ms_out_file;

/* Create the temporary file for path + suffix. Items of at most item_max bytes are put through it.
 * The struct must be zero before, and be closed afterwards also when this fails. */
int ms_out_file_open(ms_out_file *f, const char *path, const char *suffix, size_t item_max,
                     msim_error *err);
/* Where the next item's bytes go (item_max of them); ms_out_file_took says how many there are. */
static inline unsigned char *ms_out_file_room(ms_out_file *f) { return f->buffer + f->n; }
int ms_out_file_took(ms_out_file *f, size_t n_bytes, msim_error *err);
/* Write out what waits, sync and close. */
int ms_out_file_sync(ms_out_file *f, msim_error *err);
/* Give a synced file its name. */
int ms_out_file_rename(ms_out_file *f, msim_error *err);
/* The failure that sticks: 0, or minus its code with err filled. */
int ms_out_file_failed(const ms_out_file *f, msim_error *err);
void ms_out_file_close(ms_out_file *f);

#endif
