/* Read-only file mappings: see map.h. */
#include "base/map.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
    out->data = p;
    out->n_bytes = (size_t)st.st_size;
    out->changed = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return MSIM_OK;
}

void ms_map_close(ms_map *map) {
    if (map->data) munmap((void *)map->data, map->n_bytes);
    map->data = NULL;
    map->n_bytes = 0;
}
