/* Contract: tools/common/texts/output.h. */
#include "output.h"
#include <fcntl.h>
#include <midisim.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a file is; lines may end in NUL. MSIM_KIND_UNKNOWN when it cannot be read. */
static int kind_of(const char *path) {
    char start[512];
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    const ssize_t n = fd < 0 ? -1 : pread(fd, start, sizeof start, 0);
    if (fd >= 0) (void)close(fd);
    for (ssize_t i = 0; i < n; i++)
        if (!start[i]) start[i] = '\n';
    return n < 0 ? MSIM_KIND_UNKNOWN : msim_file_kind(start, (size_t)n);
}

static bool is_same(const struct stat *st, const char *path) {
    struct stat other;
    return path && stat(path, &other) == 0 && st->st_dev == other.st_dev &&
           st->st_ino == other.st_ino;
}

int ms_cli_check_output(const char *path, const char *list, msim_error *err) {
    struct stat st;
    if (!path || stat(path, &st) != 0) return 0;
    if (S_ISDIR(st.st_mode))
        return ms_fail(err, MSIM_E_ARG, "cannot write: %s: it is a folder: give the name of a file",
                       path);
    if (!S_ISREG(st.st_mode)) return 0; /* devices are written to, not replaced */
    if (is_same(&st, list))
        return ms_fail(err, MSIM_E_ARG,
                       "cannot replace: %s: it is the list of --files-from: name another file",
                       path);
    const int kind = kind_of(path);
    if (kind == MSIM_KIND_EMPTY || kind == MSIM_KIND_TEXT || kind == MSIM_KIND_TOKEN_LINES)
        return 0;
    return ms_fail(err, MSIM_E_ARG, "cannot replace: %s: it is %s: name another file, or remove it",
                   path, msim_file_kind_name(kind));
}
