/* The members of a zip archive, read from its central directory alone. All members must be stored,
 * that is, not compressed. Spans borrow from the map; the table lies in the caller's arena.
 * docs/FORMATS.md, Checkpoints. */
#ifndef MS_CHECKPOINT_ZIP_DIR_H
#define MS_CHECKPOINT_ZIP_DIR_H
#include "base/map.h"
#include "base/mem.h"

typedef struct {
    const char *name; /* mapped, not terminated */
    size_t name_bytes;
    const unsigned char *data; /* mapped: [n_bytes] */
    size_t n_bytes;
    size_t header_at; /* offset of the local header */
    uint32_t crc;
} ms_zip_member;

typedef struct {
    ms_zip_member *members; /* in the arena: sorted by name */
    size_t n_members;
} ms_zip;

/* Every span lies inside the file before the directory, no two overlap, no two share a name, names
 * are relative. */
int ms_zip_parse(const ms_map *map, const char *path, ms_arena *arena, ms_zip *out,
                 msim_error *err);
const ms_zip_member *ms_zip_find(const ms_zip *zip, const char *name, size_t name_bytes);
/* Compare the member's CRC-32; a recorded 0 passes, since a writer may leave it out. */
int ms_zip_check_crc(const ms_zip_member *m, const char *path, msim_error *err);

#endif
