/* Contract: tools/common/tree.h. The folder is opened once and everything else is reached from that
 * descriptor, one part of a path at a time and never through a link. The folder last used stays
 * open, as names come in order. */
#define _GNU_SOURCE
#include "tree.h"
#include "base/file.h"
#include "base/hash/fnv.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PART = 200, FOLDER_FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC };

/* ---- One file ---- */

static int take_after(const ms_out_file *f, const struct stat *source, msim_error *err) {
    const struct timespec times[2] = {source->st_atim, source->st_mtim};
    if (fchmod(f->fd, source->st_mode & 0777) == 0 && futimens(f->fd, times) == 0) return 0;
    return ms_fail(err, MSIM_E_IO, "cannot set mode and times: %s: %s", f->temp_path,
                   strerror(errno));
}

int ms_put_file(int folder, const char *file, const ms_put_part *parts, size_t n_parts,
                const struct stat *source, bool is_forced, msim_error *err) {
    ms_out_file f = {.fd = -1};
    int rc = ms_out_file_open_at(&f, folder, file, source ? 0600 : 0666, err);
    for (size_t i = 0; i < n_parts && rc >= 0; i++) {
        ms_out_file_put(&f, parts[i].data, parts[i].n);
        rc = ms_out_file_failed(&f, err);
    }
    if (rc >= 0 && source) rc = take_after(&f, source, err);
    if (rc >= 0) rc = ms_out_file_sync(&f, err);
    if (rc >= 0 && !is_forced)
        rc = ms_out_file_rename_new(&f, err);
    else if (rc >= 0)
        rc = ms_out_file_rename(&f, err) < 0 ? -f.failed.code : 1;
    ms_out_file_close(&f);
    return rc;
}

bool ms_put_holds(int folder, const char *file, const void *begin, size_t n_begin,
                  int64_t n_bytes) {
    struct stat st;
    unsigned char part[16384];
    int fd = openat(folder, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    bool holds = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == n_bytes;
    for (size_t done = 0; holds && done < n_begin;) {
        size_t most = n_begin - done < sizeof part ? n_begin - done : sizeof part;
        ssize_t n = read(fd, part, most);
        holds = n > 0 && memcmp(part, (const unsigned char *)begin + done, (size_t)n) == 0;
        done += holds ? (size_t)n : 0;
    }
    if (fd >= 0) close(fd);
    return holds;
}

/* ---- A tree ---- */

/* A name that was given out, by its hash: when two names share one, the second gets a number it did
 * not need. */
typedef struct {
    uint64_t hash;   /* 0: free */
    uint64_t n_same; /* names that came out as this one */
} claimed;

struct ms_tree {
    char *folder; /* owned: as given */
    int top;
    claimed *table; /* owned: [table_size], a power of two */
    size_t table_size, n_claimed;
    char *path; /* owned: the last claim */
    size_t path_cap;
    int at;        /* descriptor of the folder last used, or -1 */
    char *at_path; /* owned: which it is */
};

static uint64_t hash_bytes(const char *bytes, size_t n) {
    uint64_t h = ms_fnv1a(bytes, n);
    return h ? h : 1;
}

/* ---- Names ---- */

static claimed *find(claimed *table, size_t size, uint64_t hash) {
    size_t i = (size_t)(hash ^ hash >> 32) & (size - 1);
    while (table[i].hash && table[i].hash != hash) i = (i + 1) & (size - 1);
    return table + i;
}

/* Room for one claim: two entries, the plain name's and its own. */
static int reserve_claims(ms_tree *t, msim_error *err) {
    if (2 * (t->n_claimed + 2) <= t->table_size) return 0;
    size_t size = t->table_size ? 2 * t->table_size : 256;
    claimed *table = ms_alloc(size, sizeof *table, "names of files", err);
    if (!table) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < t->table_size; i++)
        if (t->table[i].hash) *find(table, size, t->table[i].hash) = t->table[i];
    ms_free(t->table);
    t->table = table;
    t->table_size = size;
    return 0;
}

/* The entry of a name, which is new when its n_same is 0. */
static claimed *claim(ms_tree *t, uint64_t hash) {
    claimed *c = find(t->table, t->table_size, hash);
    if (!c->hash) t->n_claimed++;
    c->hash = hash;
    return c;
}

static bool is_claimed(const ms_tree *t, uint64_t hash) {
    const claimed *c = find(t->table, t->table_size, hash);
    return c->hash && c->n_same;
}

/* One part of a path, safe, to out; at most MAX_PART bytes. */
static size_t put_part(const char *part, size_t n, char *out) {
    size_t len = n, dots = 0;
    char hash[24] = "";
    if (n > MAX_PART) {
        snprintf(hash, sizeof hash, "~%016llx", (unsigned long long)hash_bytes(part, n));
        len = MAX_PART - strlen(hash);
        /* not within a character */
        while (len > 0 && ((unsigned char)part[len] & 0xc0) == 0x80) len--;
    }
    while (dots < len && part[dots] == '.') dots++;
    for (size_t i = 0; i < len; i++) out[i] = i < dots || part[i] == 0 ? '_' : part[i];
    memcpy(out + len, hash, strlen(hash));
    return len + strlen(hash);
}

/* The path that a name asks for, without its ending, to t->path. Returns its bytes. */
static size_t put_path(ms_tree *t, const char *name, size_t n) {
    size_t len = 0;
    for (size_t at = 0; at < n;) {
        const char *slash = memchr(name + at, '/', n - at);
        size_t end = slash ? (size_t)(slash - name) : n;
        if (end > at && !(end == at + 1 && name[at] == '.')) {
            if (len) t->path[len++] = '/';
            len += put_part(name + at, end - at, t->path + len);
        }
        at = end + 1;
    }
    if (len == 0) t->path[len++] = '_';
    return len;
}

const char *ms_tree_claim(ms_tree *t, const char *name, size_t n, const char *ending, size_t *bare,
                          msim_error *err) {
    const size_t n_ending = strlen(ending);
    if (ms_grow((void **)&t->path, &t->path_cap, n + n_ending + 64, 1, "a file's name", err) < 0)
        return NULL;
    size_t len = put_path(t, name, n);
    memcpy(t->path + len, ending, n_ending + 1);
    const uint64_t plain = hash_bytes(t->path, len + n_ending);
    const size_t plain_len = len;
    if (reserve_claims(t, err) < 0) return NULL;
    uint64_t mine = plain, number = claim(t, plain)->n_same;
    while (is_claimed(t, mine)) {
        len = plain_len +
              (size_t)sprintf(t->path + plain_len, "~%llu", (unsigned long long)++number);
        memcpy(t->path + len, ending, n_ending + 1);
        mine = hash_bytes(t->path, len + n_ending);
    }
    claim(t, mine)->n_same = 1;
    if (number) claim(t, plain)->n_same = number;
    if (bare) *bare = len;
    return t->path;
}

/* ---- Folders ---- */

static int fail_at(const ms_tree *t, const char *path, int failed, msim_error *err) {
    const char *why = failed == ENOTDIR || failed == ELOOP ? "a part of this path is no folder"
                                                           : strerror(failed);
    return ms_fail(err, MSIM_E_IO, "%s/%s: %s", t->folder, path, why);
}

/* mkdir -p */
static int make_folders(const char *folder, msim_error *err) {
    char *path = ms_mem_copy_text(folder, "path", err);
    if (!path) return -MSIM_E_MEMORY;
    for (char *p = path + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(path, 0777);
            *p = '/';
        }
    mkdir(path, 0777); /* what failed here fails again in open */
    ms_free(path);
    return 0;
}

int ms_tree_open(const char *folder, ms_tree **out, msim_error *err) {
    *out = NULL;
    int rc = make_folders(folder, err);
    if (rc < 0) return rc;
    ms_tree *t = ms_alloc(1, sizeof *t, "folder", err);
    if (!t) return -MSIM_E_MEMORY;
    t->top = t->at = -1;
    t->folder = ms_mem_copy_text(folder, "path", err);
    if (t->folder && (t->top = open(folder, FOLDER_FLAGS)) < 0)
        rc = ms_fail(err, MSIM_E_IO, "cannot open the folder: %s: %s", folder, strerror(errno));
    if (t->top < 0) {
        ms_tree_close(t);
        return rc < 0 ? rc : -MSIM_E_MEMORY;
    }
    *out = t;
    return 0;
}

static void leave(ms_tree *t) {
    if (t->at >= 0) close(t->at);
    ms_free(t->at_path);
    t->at = -1;
    t->at_path = NULL;
}

/* The folder that a path lies in, made when is_made; -1 with errno. *file: the rest of the path. */
static int enter(ms_tree *t, const char *path, bool is_made, const char **file) {
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    *file = slash ? slash + 1 : path;
    if (!slash) return t->top;
    if (t->at >= 0 && strncmp(t->at_path, path, len) == 0 && t->at_path[len] == 0) return t->at;
    leave(t);
    char *part = ms_mem_copy_text(path, "path", NULL);
    int at = t->top;
    if (!part) {
        errno = ENOMEM;
        return -1;
    }
    part[len] = 0;
    for (char *begin = part; begin && at >= 0;) {
        char *end = strchr(begin, '/');
        if (end) *end = 0;
        int made = is_made && mkdirat(at, begin, 0777) != 0 && errno != EEXIST ? errno : 0;
        int next = made ? -1 : openat(at, begin, FOLDER_FLAGS | O_NOFOLLOW);
        int failed = made ? made : errno;
        if (at != t->top) close(at);
        errno = failed;
        at = next;
        if (end) *end = '/';
        begin = end ? end + 1 : NULL;
    }
    int failed = errno;
    if (at >= 0) {
        t->at = at;
        t->at_path = part;
    } else {
        ms_free(part);
    }
    errno = failed;
    return at;
}

/* ---- Files ---- */

int ms_tree_write(ms_tree *t, const char *path, const ms_put_part *parts, size_t n_parts,
                  bool is_forced, msim_error *err) {
    const char *file;
    struct stat st;
    int folder = enter(t, path, true, &file);
    if (folder < 0) return fail_at(t, path, errno, err);
    if (!is_forced && fstatat(folder, file, &st, AT_SYMLINK_NOFOLLOW) == 0) return 0;
    msim_error why;
    int rc = ms_put_file(folder, file, parts, n_parts, NULL, is_forced, &why);
    return rc < 0 ? ms_fail(err, why.code, "%s/%s: %.200s", t->folder, path, why.text) : rc;
}

bool ms_tree_holds(ms_tree *t, const char *path, const void *begin, size_t n_begin,
                   int64_t n_bytes) {
    const char *file;
    int folder = enter(t, path, false, &file);
    return folder >= 0 && ms_put_holds(folder, file, begin, n_begin, n_bytes);
}

void ms_tree_close(ms_tree *t) {
    if (!t) return;
    leave(t);
    if (t->top >= 0) close(t->top);
    ms_free(t->folder);
    ms_free(t->table);
    ms_free(t->path);
    ms_free(t);
}
