/* The one way to write a file. Its bytes go to a temporary file beside the place, which is synced
 * and then renamed. So the name always stands for the old file or for the whole new one.
 *
 *   open -> put, put, ... -> sync -> rename -> close          (finish does sync and rename)
 *
 * The temporary name is NAME.part-PID, with a further number if that is taken. It is always a file
 * made here, never one that existed before, and never what a link points to. The first failure is
 * kept: later puts do nothing, and sync returns it. Closing without the rename removes the
 * temporary file. One thread per file. docs/FORMATS.md, What is written. */
#ifndef MS_BASE_FILE_H
#define MS_BASE_FILE_H
#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *path, *temp_path; /* owned */
    int folder;             /* borrowed: the open folder that both are names in, or AT_FDCWD */
    int fd;                 /* owned: the temporary file; -1 when closed */
    bool has_temp;          /* temp_path is ours to remove */
    int entry;              /* in the table of temporary files under way, or -1 */
    bool is_unsynced;       /* see ms_out_file_open_at */
    unsigned char *buffer;  /* owned: [cap] */
    size_t cap, n;          /* room; bytes that wait to be written */
    size_t item_max;
    uint64_t n_written, n_hinted; /* bytes given to the system; those it was asked to put on the
                                   * disk */
    msim_error failed;            /* code 0 while all went well */
} ms_out_file;

/* Create the temporary file for path + suffix. item_max: the most bytes that are put through
 * ms_out_file_room at a time. The struct must be zero before, and be closed afterwards also when
 * this fails. */
int ms_out_file_open(ms_out_file *f, const char *path, const char *suffix, size_t item_max,
                     msim_error *err);
/* The same for a name (without '/') in an open folder, for many small files: without a buffer, and
 * without syncing, which would take longer than all else. mode: of the new file, before the
 * umask. */
int ms_out_file_open_at(ms_out_file *f, int folder, const char *name, unsigned mode,
                        msim_error *err);

/* Add bytes. */
void ms_out_file_put(ms_out_file *f, const void *bytes, size_t n_bytes);
/* Or write the next item's bytes here without a copy, at most item_max of them. Then tell
 * ms_out_file_took how many there are. */
static inline unsigned char *ms_out_file_room(ms_out_file *f) { return f->buffer + f->n; }
int ms_out_file_took(ms_out_file *f, size_t n_bytes, msim_error *err);

/* Write out the bytes that wait, sync and close. */
int ms_out_file_sync(ms_out_file *f, msim_error *err);
/* Give a synced file its name, and make the name durable. */
int ms_out_file_rename(ms_out_file *f, msim_error *err);
/* The same, but never replace anything. Returns 1, or 0 when something of that name exists. */
int ms_out_file_rename_new(ms_out_file *f, msim_error *err);
int ms_out_file_finish(ms_out_file *f, msim_error *err);
/* The first failure: 0 if there was none, or minus its code with err filled. */
int ms_out_file_failed(const ms_out_file *f, msim_error *err);
void ms_out_file_close(ms_out_file *f);

/* The path of a file beside another: `path` with `ending` behind it, to be freed with ms_free. NULL
 * when out of memory. */
char *ms_file_beside(const char *path, const char *ending, msim_error *err);
/* Before any work: whether the file system takes path with `ending` behind it as a name. Temporary
 * names need no room of their own: they are cut. */
int ms_file_check_name(const char *path, const char *ending, msim_error *err);

/* Before any work: refuse to replace a folder, or a file that is something else, such as an input
 * that was named by mistake. A file may be replaced that is empty or begins with these bytes. what:
 * its kind, with an article. */
int ms_file_check_replace(const char *path, const char *begins, const char *what, msim_error *err);

/* Write n bytes at byte `at` of an open file; `path` is for the error. Any thread. */
int ms_file_write_at(int fd, const void *bytes, size_t n_bytes, int64_t at, const char *path,
                     msim_error *err);
/* Sync the folder of a path, so that files created, renamed or removed in it stay so. */
int ms_file_sync_folder(const char *path, msim_error *err);
/* The folder of a path ("." for a plain name), as a path. False when it does not fit. */
bool ms_file_folder(const char *path, char *folder, size_t cap);

#endif
