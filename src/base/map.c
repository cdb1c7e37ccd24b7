/* Read-only file mappings: see map.h. */
#include "base/map.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t mtime_of(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

int ms_map_open(const char *path, enum ms_map_hint hint, ms_map *out, msim_error *err) {
    struct stat st;
    /* O_NONBLOCK: opening a FIFO without a writer must not wait; the type is checked before any
     * byte is read. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return ms_fail_errno(err, errno, "cannot open: %s", path);
    int rc = MSIM_OK;
    void *p = NULL;
    if (fstat(fd, &st) != 0) {
        rc = ms_fail_errno(err, errno, "cannot examine: %s", path);
    } else if (!S_ISREG(st.st_mode)) {
        rc = ms_fail(err, MSIM_E_IO, "cannot map: %s: expected a regular file, got %s", path,
                     S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    } else if (st.st_size > 0) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) rc = ms_fail_errno(err, errno, "cannot map: %s", path);
    }
    close(fd);
    if (rc < 0) return rc;
    if (p && hint != MS_MAP_NORMAL)
        (void)madvise(p, (size_t)st.st_size,
                      hint == MS_MAP_SEQUENTIAL ? MADV_SEQUENTIAL : MADV_RANDOM);
    *out = (ms_map){.data = p,
                    .n_bytes = (size_t)st.st_size,
                    .changed = mtime_of(&st),
                    .device = st.st_dev,
                    .inode = st.st_ino};
    if ((out->path = ms_alloc(strlen(path) + 1, 1, "path", err))) {
        memcpy(out->path, path, strlen(path));
        return MSIM_OK;
    }
    ms_map_close(out);
    return -MSIM_E_MEMORY;
}

int ms_map_check(const ms_map *map, msim_error *err) {
    struct stat st;
    if (!map->path || stat(map->path, &st) != 0) return MSIM_OK;
    if (st.st_dev != map->device || st.st_ino != map->inode) return MSIM_OK;
    if ((uint64_t)st.st_size == map->n_bytes && mtime_of(&st) == map->changed) return MSIM_OK;
    return ms_fail(err, MSIM_E_IO,
                   "changed while it was in use: %.300s: it had %zu bytes, and has %lld; what was "
                   "read from it may be wrong",
                   map->path, map->n_bytes, (long long)st.st_size);
}

void ms_map_close(ms_map *map) {
    if (map->data) munmap((void *)map->data, map->n_bytes);
    ms_free(map->path);
    *map = (ms_map){.data = NULL};
}
