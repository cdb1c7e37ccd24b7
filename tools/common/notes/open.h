/* A note index to search: one that is there, or that of a folder, made on the fly and kept. */
#ifndef MS_TOOLS_COMMON_NOTES_OPEN_H
#define MS_TOOLS_COMMON_NOTES_OPEN_H
#include "common/cli.h"

/* Open an index, or index a folder of MIDI files now: what is unchanged is taken from the last
 * time, and the index is kept in $XDG_CACHE_HOME/midisim, else ~/.cache/midisim. *root (may be
 * NULL) is then `path`, for which the names of pieces are relative; else NULL. A folder without
 * MIDI files: -MSIM_E_EMPTY. */
int ms_noteindex_open(const char *path, int threads, msim_notes **out, const char **root,
                      msim_error *err);
/* $XDG_CACHE_HOME/midisim, else ~/.cache/midisim, made when it is not there. */
int ms_noteindex_cache(char *path, size_t cap, msim_error *err);
/* Where the note index of a corpus lies: CORPUS without .npy, and .notes. False, with "", when that
 * has no room. */
bool ms_noteindex_beside(const char *corpus, char *path, size_t cap);
/* One byte for each piece: 1 where a pattern fits its name, as in a shell ('*' also stands for
 * '/'). For ms_free; NULL, and 0, without patterns. -MSIM_E_EMPTY when no name fits. */
int ms_noteindex_choose(const ms_cli_texts *patterns, const msim_notes *notes, unsigned char **out,
                        msim_error *err);

#endif
