/* Read-only file mappings. Views borrow from a map; its owner unmaps it. */
#ifndef MS_BASE_MAP_H
#define MS_BASE_MAP_H
#include "base/status.h"

typedef struct {
    const unsigned char *data; /* mapped: n_bytes bytes, NULL when n_bytes is 0 */
    size_t n_bytes;
    int64_t changed;        /* last change of the file when it was mapped, in ns since 1970 */
    uint64_t device, inode; /* of the file */
    char *path;             /* owned */
} ms_map;

enum ms_map_hint { MS_MAP_NORMAL, MS_MAP_SEQUENTIAL, MS_MAP_RANDOM };

/* Map a regular file (anything else is refused without being opened for reading). The descriptor is
 * closed at once. */
int ms_map_open(const char *path, enum ms_map_hint hint, ms_map *out, msim_error *err);
/* -MSIM_E_IO when the file was changed in place since it was mapped: what was read from it may be
 * anything, a cut part reads as zeros up to the end of its page. A file that was removed, or
 * replaced by another one, keeps its bytes. */
int ms_map_check(const ms_map *map, msim_error *err);
void ms_map_close(ms_map *map);

#endif
