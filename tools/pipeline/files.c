/* Lists of input files: arguments, --files-from, folders walked without recursion of ours, row
 * names, reasons. Reading is in read.c, the account of skipped files in skips.c. Contract:
 * tools/pipeline/files.h. */
#define _GNU_SOURCE
#include "files.h"
#include "base/digest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

struct ms_files_block {
    ms_files_block *next;
    size_t used, cap;
    char text[];
};

const char *ms_files_reason_name(int reason) {
    static const char *const names[MS_FILES_N_REASONS] = {
        "ok",       "unreadable", "not-regular", "too-large",     "bad-gzip", "not-midi",
        "bad-midi", "no-notes",   "drums-only",  "name-too-long", "changed"};
    return reason >= 0 && reason < MS_FILES_N_REASONS ? names[reason] : "unknown";
}

int ms_files_reason_of_outcome(int outcome) {
    switch (outcome) {
    case MSIM_OUTCOME_TOKENS: return MS_FILES_OK;
    case MSIM_OUTCOME_NOT_MIDI: return MS_FILES_NOT_MIDI;
    case MSIM_OUTCOME_NO_NOTES: return MS_FILES_NO_NOTES;
    case MSIM_OUTCOME_DRUMS_ONLY: return MS_FILES_DRUMS_ONLY;
    default: return MS_FILES_BAD_MIDI;
    }
}

bool ms_files_is_failure(int reason, bool is_named) {
    if (reason == MS_FILES_OK) return false;
    return is_named || (reason != MS_FILES_NO_NOTES && reason != MS_FILES_DRUMS_ONLY);
}

int ms_files_compare_names(const ms_files_entry *a, const ms_files_entry *b) {
    uint32_t n = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order = memcmp(a->path + a->name_at, b->path + b->name_at, n);
    return order ? order : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

/* ---- Texts and names ---- */

/* Room for n bytes that live as long as the list. */
static char *list_text(ms_files_list *list, size_t n) {
    if (!list->blocks || list->blocks->cap - list->blocks->used < n) {
        size_t cap = n > 65536 ? n : 65536;
        ms_files_block *block = ms_cli_alloc(1, sizeof *block + cap);
        block->next = list->blocks;
        block->cap = cap;
        list->blocks = block;
    }
    char *text = list->blocks->text + list->blocks->used;
    list->blocks->used += n;
    return text;
}

static const char *list_copy(ms_files_list *list, const char *text) {
    size_t n = strlen(text) + 1;
    return memcpy(list_text(list, n), text, n);
}

static bool ends_with(const char *text, size_t n, const char *tail) {
    size_t m = strlen(tail);
    return n >= m && strncasecmp(text + n - m, tail, m) == 0;
}

static bool is_midi_name(const char *name) {
    size_t n = strlen(name);
    if (ends_with(name, n, ".gz")) n -= 3;
    return ends_with(name, n, ".mid") || ends_with(name, n, ".midi") || ends_with(name, n, ".kar");
}

/* parity: the original takes os.path.splitext of the base name, for which leading dots begin no
 * extension (test/cli/test_tokens.py, test_names). */
void ms_files_stem(const char *path, size_t *at, size_t *len) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = strlen(base), dots = strspn(base, ".");
    if (n > 3 && ends_with(base, n, ".gz")) n -= 3;
    for (size_t i = n; i > dots; i--)
        if (base[i - 1] == '.') {
            n = i - 1;
            break;
        }
    *at = (size_t)(base - path);
    *len = n;
}

static ms_files_entry *add_entry(ms_files_list *list, const char *path, size_t name_at, int names) {
    list->entries = ms_cli_grow(list->entries, &list->cap, list->n + 1, sizeof *list->entries);
    ms_files_entry *entry = list->entries + list->n++;
    size_t len = strlen(path + name_at);
    uint32_t relative_at = (uint32_t)name_at;
    *entry = (ms_files_entry){.path = path, .bytes = -1};
    if (names == MS_FILES_NAMES_STEM) ms_files_stem(path, &name_at, &len);
    entry->name_at = (uint32_t)name_at;
    entry->name_len = (uint32_t)len;
    entry->relative_at = relative_at;
    if (len > MS_FILES_MAX_NAME) {
        char detail[80];
        snprintf(detail, sizeof detail, "expected a name of at most %d bytes, got %zu",
                 MS_FILES_MAX_NAME, len);
        entry->reason = MS_FILES_NAME_TOO_LONG;
        entry->detail = list_copy(list, detail);
    }
    return entry;
}

ms_files_entry *ms_files_list_add(ms_files_list *list, const char *name) {
    return add_entry(list, list_copy(list, name), 0, MS_FILES_NAMES_PATH);
}

void ms_files_list_refuse(ms_files_list *list, ms_files_entry *entry, int reason,
                          const char *detail) {
    entry->reason = (uint8_t)reason;
    entry->detail = detail && *detail ? list_copy(list, detail) : NULL;
}

static void set_stat(ms_files_list *list, ms_files_entry *entry, const struct stat *st) {
    entry->bytes = (int64_t)st->st_size;
    entry->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    if (entry->reason == MS_FILES_OK && !S_ISREG(st->st_mode))
        ms_files_list_refuse(list, entry, MS_FILES_NOT_REGULAR,
                             S_ISFIFO(st->st_mode)   ? "expected a regular file, got a FIFO"
                             : S_ISSOCK(st->st_mode) ? "expected a regular file, got a socket"
                                                     : "expected a regular file, got a device");
}

/* ---- Folders ---- */

typedef struct {
    ms_files_list *list; /* borrowed */
    size_t name_at;      /* where row names begin in paths below this folder */
    int names;
    ms_cli_texts todo; /* folders still to be read, owned by the list */
} walk;

static const char *join(ms_files_list *list, const char *folder, const char *name) {
    size_t n = strlen(folder), m = strlen(name), slash = n == 0 || folder[n - 1] != '/';
    char *path = list_text(list, n + slash + m + 1);
    memcpy(path, folder, n);
    if (slash) path[n] = '/';
    memcpy(path + n + slash, name, m + 1);
    return path;
}

static void visit(walk *w, DIR *dir, const char *folder, const struct dirent *found) {
    struct stat st;
    bool is_midi = is_midi_name(found->d_name), is_folder = found->d_type == DT_DIR;
    if (found->d_type == DT_UNKNOWN)
        is_folder = fstatat(dirfd(dir), found->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                    S_ISDIR(st.st_mode);
    if (is_folder) {
        ms_cli_texts_add(&w->todo, join(w->list, folder, found->d_name));
        return;
    }
    if (!is_midi) return;
    int failed = fstatat(dirfd(dir), found->d_name, &st, 0) != 0 ? errno : 0;
    if (!failed && S_ISDIR(st.st_mode)) return; /* a link to a folder */
    const char *path = join(w->list, folder, found->d_name);
    ms_files_entry *entry = add_entry(w->list, path, w->name_at, w->names);
    if (failed)
        ms_files_list_refuse(w->list, entry, MS_FILES_UNREADABLE, strerror(failed));
    else
        set_stat(w->list, entry, &st);
}

static void read_folder(walk *w, const char *folder) {
    const struct dirent *found;
    DIR *dir = opendir(folder);
    while (dir) {
        errno = 0;
        found = readdir(dir);
        if (!found) break;
        if (strcmp(found->d_name, ".") != 0 && strcmp(found->d_name, "..") != 0)
            visit(w, dir, folder, found);
    }
    if (!dir || errno) {
        char detail[160];
        int failed = errno;
        size_t name_at = strlen(folder) > w->name_at ? w->name_at : 0;
        snprintf(detail, sizeof detail, "folder: %s", strerror(failed));
        ms_files_entry *entry = add_entry(w->list, folder, name_at, w->names);
        ms_files_list_refuse(w->list, entry, MS_FILES_UNREADABLE, detail);
        entry->is_folder = true;
    }
    if (dir) closedir(dir);
}

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const ms_files_entry *)a)->path, ((const ms_files_entry *)b)->path);
}

static void walk_folder(ms_files_list *list, const char *folder, bool is_only, int names) {
    size_t n = strlen(folder), first = list->n;
    walk w = {.list = list, .names = names};
    w.name_at = !is_only ? 0 : n + (folder[n - 1] != '/');
    ms_cli_texts_add(&w.todo, folder);
    while (w.todo.n && !ms_cli_stopped()) {
        read_folder(&w, w.todo.items[--w.todo.n]);
        ms_cli_progress("files listed", (int64_t)list->n, -1);
    }
    free(w.todo.items);
    if (list->n > first) {
        qsort(list->entries + first, list->n - first, sizeof *list->entries, compare_entries);
    } else if (!ms_cli_stopped()) {
        list->n_empty_folders++;
        ms_cli_error("no MIDI files: %s: expected .mid, .midi or .kar files (or those with .gz) in "
                     "this folder, got "
                     "none",
                     folder);
    }
}

/* ---- Arguments ---- */

static void add_path(ms_files_list *list, const char *typed, bool is_only,
                     const ms_files_request *request) {
    struct stat st;
    bool is_stream = request->has_stream && strcmp(typed, "-") == 0;
    int failed = 0;
    if (!is_stream && stat(typed, &st) != 0) failed = errno;
    if (!is_stream && !failed && S_ISDIR(st.st_mode)) {
        walk_folder(list, typed, is_only, request->names);
        return;
    }
    ms_files_entry *entry = add_entry(list, typed, 0, request->names);
    entry->is_named = true;
    entry->is_stream = is_stream;
    if (failed)
        ms_files_list_refuse(list, entry, MS_FILES_UNREADABLE, strerror(failed));
    else if (!is_stream)
        set_stat(list, entry, &st);
}

static int read_list_file(ms_files_list *list, const ms_files_request *request, ms_cli_texts *paths,
                          msim_error *err) {
    const char *from = request->files_from;
    bool is_stdin = strcmp(from, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(from, "re");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = 0, delimiter = request->is_nul_separated ? 0 : '\n';
    if (!file) return ms_cli_fail(err, MSIM_E_IO, "cannot read: %s: %s", from, strerror(errno));
    errno = 0;
    while (rc == 0 && !ms_cli_stopped() && (n = getdelim(&line, &cap, delimiter, file)) > 0) {
        if (line[n - 1] == delimiter) line[--n] = 0;
        if (strlen(line) != (size_t)n)
            rc = ms_cli_fail(err, MSIM_E_ARG,
                             "wrong list: %s: expected one path a line, got a NUL byte (-0 reads "
                             "lists separated by NUL)",
                             from);
        else if (n > 0)
            ms_cli_texts_add(paths, list_copy(list, line));
    }
    if (rc == 0 && ferror(file))
        rc = ms_cli_fail(err, MSIM_E_IO, "cannot read: %s: %s", from, strerror(errno));
    free(line);
    if (!is_stdin) fclose(file);
    return rc;
}

/* ---- Shards ---- */

int64_t ms_files_shard_of(const ms_files_entry *entry, int64_t n_shards, msim_error *err) {
    unsigned char digest[MS_SHA256_BYTES];
    const char *name = entry->path + entry->relative_at;
    uint64_t head = 0;
    int rc = ms_digest_of(MS_DIGEST_SHA256, name, strlen(name), digest, err);
    if (rc < 0) return rc;
    for (int i = 0; i < 8; i++) head = head << 8 | digest[i];
    return (int64_t)(head % (uint64_t)n_shards) + 1;
}

static int keep_shard(ms_files_list *list, int64_t shard, int64_t n_shards, msim_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        int64_t of = ms_files_shard_of(list->entries + i, n_shards, err);
        if (of < 0) return (int)of;
        if (of == shard) list->entries[n++] = list->entries[i];
    }
    list->n = n;
    return 0;
}

int ms_files_list_open(const ms_files_request *request, ms_files_list *list, msim_error *err) {
    ms_cli_texts paths = {0};
    for (size_t i = 0; i < request->paths->n; i++)
        ms_cli_texts_add(&paths, request->paths->items[i]);
    int rc = request->files_from ? read_list_file(list, request, &paths, err) : 0;
    for (size_t i = 0; rc == 0 && i < paths.n && !ms_cli_stopped(); i++)
        add_path(list, paths.items[i], paths.n == 1, request);
    ms_cli_progress_end();
    free(paths.items);
    if (rc == 0 && ms_cli_stopped())
        rc = ms_cli_fail(err, MSIM_E_IO, "stopped while listing files");
    if (rc == 0 && request->n_shards) rc = keep_shard(list, request->shard, request->n_shards, err);
    if (rc < 0) ms_files_list_close(list);
    return rc;
}

void ms_files_list_close(ms_files_list *list) {
    while (list->blocks) {
        ms_files_block *next = list->blocks->next;
        free(list->blocks);
        list->blocks = next;
    }
    free(list->entries);
    *list = (ms_files_list){0};
}
