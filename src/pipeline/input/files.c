/* Lists of input files: arguments, --files-from, folders, row names and reasons. Folders are walked
 * without recursion. input/read.c reads the files; pipeline/input/files.h describes both. */
#define _GNU_SOURCE
#include "pipeline/input/files.h"
#include "base/mem.h"
#include "base/hash/digest.h"
#include "base/text/lines.h"
#include "base/text/order.h"
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

const char *msim_skip_reason_name(int reason) {
    static const char *const names[MSIM_SKIP_COUNT] = {
        "ok",       "unreadable", "not-regular", "too-large",     "bad-gzip",
        "not-midi", "bad-midi",   "no-notes",    "drums-only",    "name-too-long",
        "changed",  "no-memory",  "not-finite",  "no-clean-notes"};
    return reason >= 0 && reason < MSIM_SKIP_COUNT ? names[reason] : "unknown";
}

int ms_files_reason_of_outcome(int outcome) {
    switch (outcome) {
    case MSIM_OUTCOME_TOKENS: return MSIM_SKIP_NONE;
    case MSIM_OUTCOME_NOT_MIDI: return MSIM_SKIP_NOT_MIDI;
    case MSIM_OUTCOME_NO_NOTES: return MSIM_SKIP_NO_NOTES;
    case MSIM_OUTCOME_DRUMS_ONLY: return MSIM_SKIP_DRUMS_ONLY;
    case MSIM_OUTCOME_NO_CLEAN_NOTES: return MSIM_SKIP_NO_CLEAN_NOTES;
    default: return MSIM_SKIP_BAD_MIDI;
    }
}

bool ms_files_is_tried_again(int reason) {
    return reason == MSIM_SKIP_UNREADABLE || reason == MSIM_SKIP_CHANGED ||
           reason == MSIM_SKIP_NO_MEMORY;
}

bool ms_files_is_failure(int reason, bool is_named) {
    if (reason == MSIM_SKIP_NONE) return false;
    return is_named || (reason != MSIM_SKIP_NO_NOTES && reason != MSIM_SKIP_DRUMS_ONLY &&
                        reason != MSIM_SKIP_NO_CLEAN_NOTES);
}

int ms_files_refuse(const char *who, const char *what, const char *expected, int64_t got,
                    msim_error *err) {
    return ms_fail(err, MSIM_E_ARG, "%s: %s: expected %s, got %lld", who, what, expected,
                   (long long)got);
}

int ms_files_check(const char *who, int names, int64_t shard, int64_t n_shards, int transpose,
                   msim_error *err) {
    if (names != MSIM_NAMES_PATH && names != MSIM_NAMES_STEM)
        return ms_files_refuse(who, "names", "an msim_names", names, err);
    if (n_shards < 0 || (n_shards && (shard < 1 || shard > n_shards)))
        return ms_files_refuse(who, "shard", "a number from 1 to n_shards", shard, err);
    if (transpose < -12 || transpose > 12)
        return ms_files_refuse(who, "transpose", "-12..12", transpose, err);
    return 0;
}

int ms_files_check_windows(const char *who, int64_t window_tokens, int64_t window_step,
                           msim_error *err) {
    if (window_tokens && (window_tokens < 16 || window_tokens > (int64_t)1 << 20))
        return ms_files_refuse(who, "window_tokens", "0 or 16..2^20", window_tokens, err);
    if (window_step < 0 || window_step > window_tokens)
        return ms_files_refuse(who, "window_step", "0..window_tokens", window_step, err);
    return 0;
}

int ms_files_check_weights(const char *who, const float *weights, int n_weights,
                           const msim_model_info *info, msim_error *err) {
    if (!weights || n_weights == 0 || n_weights == info->n_classes) return 0;
    return ms_fail(err, MSIM_E_ARG, "%s: class weights: expected %d for a model of %s (%s), got %d",
                   who, info->n_classes, info->family,
                   info->token_family == MSIM_FAMILY_MIDISIMX ? "start time, pitch, duration, chord"
                                                              : "start time, duration, pitch",
                   n_weights);
}

int ms_files_compare_names(const ms_files_entry *a, const ms_files_entry *b) {
    return ms_text_compare(a->path + a->name_at, a->name_len, b->path + b->name_at, b->name_len);
}

/* ---- Texts and names ---- */

/* Room for n bytes that live as long as the list; NULL when out of memory. */
static char *list_text(ms_files_list *list, size_t n, msim_error *err) {
    if (!list->blocks || list->blocks->cap - list->blocks->used < n) {
        size_t cap = n > 65536 ? n : 65536;
        ms_files_block *block = ms_alloc(1, sizeof *block + cap, "list of files", err);
        if (!block) return NULL;
        block->next = list->blocks;
        block->cap = cap;
        list->blocks = block;
    }
    char *text = list->blocks->text + list->blocks->used;
    list->blocks->used += n;
    return text;
}

static const char *list_copy(ms_files_list *list, const char *text, msim_error *err) {
    size_t n = strlen(text) + 1;
    char *copy = list_text(list, n, err);
    return copy ? memcpy(copy, text, n) : NULL;
}

/* Texts in order, borrowed from whoever added them. */
typedef struct {
    const char **items; /* owned: [n] */
    size_t n, cap;
} texts;

static int add_text(texts *t, const char *text, msim_error *err) {
    int rc = ms_grow((void **)&t->items, &t->cap, t->n + 1, sizeof *t->items, "list of files", err);
    if (rc < 0) return rc;
    t->items[t->n++] = text;
    return 0;
}

static bool ends_with(const char *text, size_t n, const char *tail) {
    size_t m = strlen(tail);
    return n >= m && strncasecmp(text + n - m, tail, m) == 0;
}

static bool is_midi_name(const char *name) {
    size_t n = strlen(name);
    if (ends_with(name, n, ".gz")) n -= 3;
    static const char *const endings[] = {".mid", ".midi", ".kar", ".rmi", ".rmid"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_with(name, n, endings[i])) return true;
    return false;
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

/* Append an entry; NULL when out of memory. */
static ms_files_entry *add_entry(ms_files_list *list, const char *path, size_t name_at, int names,
                                 msim_error *err) {
    char detail[80];
    if (ms_grow((void **)&list->entries, &list->cap, list->n + 1, sizeof *list->entries,
                "list of files", err) < 0)
        return NULL;
    ms_files_entry *entry = list->entries + list->n;
    size_t len = strlen(path + name_at);
    uint32_t relative_at = (uint32_t)name_at;
    *entry = (ms_files_entry){.path = path, .bytes = -1};
    if (names == MSIM_NAMES_STEM) ms_files_stem(path, &name_at, &len);
    entry->name_at = (uint32_t)name_at;
    entry->name_len = (uint32_t)len;
    entry->relative_at = relative_at;
    if (len > MS_FILES_MAX_NAME) {
        snprintf(detail, sizeof detail, "expected a name of at most %d bytes, got %zu",
                 MS_FILES_MAX_NAME, len);
        if (ms_files_list_refuse(list, entry, MSIM_SKIP_NAME_TOO_LONG, detail, err) < 0)
            return NULL;
    }
    list->n++;
    return entry;
}

int ms_files_list_add(ms_files_list *list, const char *name, ms_files_entry **out,
                      msim_error *err) {
    const char *copy = list_copy(list, name, err);
    ms_files_entry *entry = copy ? add_entry(list, copy, 0, MSIM_NAMES_PATH, err) : NULL;
    if (!entry) return -MSIM_E_MEMORY;
    if (out) *out = entry;
    return 0;
}

int ms_files_list_refuse(ms_files_list *list, ms_files_entry *entry, int reason, const char *detail,
                         msim_error *err) {
    const char *copy = detail && *detail ? list_copy(list, detail, err) : NULL;
    if (detail && *detail && !copy) return -MSIM_E_MEMORY;
    entry->reason = (uint8_t)reason;
    entry->detail = copy;
    return 0;
}

static int set_stat(ms_files_list *list, ms_files_entry *entry, const struct stat *st,
                    msim_error *err) {
    entry->bytes = (int64_t)st->st_size;
    entry->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    if (entry->reason != MSIM_SKIP_NONE || S_ISREG(st->st_mode)) return 0;
    return ms_files_list_refuse(list, entry, MSIM_SKIP_NOT_REGULAR,
                                S_ISFIFO(st->st_mode)   ? "a FIFO, not a regular file"
                                : S_ISSOCK(st->st_mode) ? "a socket, not a regular file"
                                                        : "a device, not a regular file",
                                err);
}

/* A new entry with what stat said: an errno, or st. */
static int add_found(ms_files_list *list, ms_files_entry *entry, int failed, const struct stat *st,
                     msim_error *err) {
    if (!entry) return -MSIM_E_MEMORY;
    return failed ? ms_files_list_refuse(list, entry, MSIM_SKIP_UNREADABLE, strerror(failed), err)
                  : set_stat(list, entry, st, err);
}

/* ---- Folders ---- */

typedef struct {
    ms_files_list *list; /* borrowed */
    size_t name_at;      /* where row names begin in paths below this folder */
    int names;
    ms_watch *watch; /* borrowed */
    texts todo;      /* folders still to be read, owned by the list */
} walk;

static const char *join(ms_files_list *list, const char *folder, const char *name,
                        msim_error *err) {
    size_t n = strlen(folder), m = strlen(name), slash = n == 0 || folder[n - 1] != '/';
    char *path = list_text(list, n + slash + m + 1, err);
    if (!path) return NULL;
    memcpy(path, folder, n);
    if (slash) path[n] = '/';
    memcpy(path + n + slash, name, m + 1);
    return path;
}

static int visit(walk *w, DIR *dir, const char *folder, const struct dirent *found,
                 msim_error *err) {
    struct stat st;
    bool is_midi = is_midi_name(found->d_name), is_folder = found->d_type == DT_DIR;
    if (found->d_type == DT_UNKNOWN)
        is_folder = fstatat(dirfd(dir), found->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                    S_ISDIR(st.st_mode);
    if (!is_folder && !is_midi) return 0;
    int failed = 0;
    if (!is_folder && fstatat(dirfd(dir), found->d_name, &st, 0) != 0) failed = errno;
    if (!is_folder && !failed && S_ISDIR(st.st_mode)) return 0; /* a link to a folder */
    const char *path = join(w->list, folder, found->d_name, err);
    if (!path) return -MSIM_E_MEMORY;
    if (is_folder) return add_text(&w->todo, path, err);
    return add_found(w->list, add_entry(w->list, path, w->name_at, w->names, err), failed, &st,
                     err);
}

static int refuse_folder(walk *w, const char *folder, int failed, msim_error *err) {
    char detail[160];
    size_t name_at = strlen(folder) > w->name_at ? w->name_at : 0;
    snprintf(detail, sizeof detail, "folder: %s", strerror(failed));
    ms_files_entry *entry = add_entry(w->list, folder, name_at, w->names, err);
    if (!entry) return -MSIM_E_MEMORY;
    entry->is_folder = true;
    return ms_files_list_refuse(w->list, entry, MSIM_SKIP_UNREADABLE, detail, err);
}

static int read_folder(walk *w, const char *folder, msim_error *err) {
    const struct dirent *found;
    DIR *dir = opendir(folder);
    int rc = 0, failed = dir ? 0 : errno;
    while (dir && rc == 0) {
        errno = 0;
        found = readdir(dir);
        failed = errno;
        if (!found) break;
        if (strcmp(found->d_name, ".") != 0 && strcmp(found->d_name, "..") != 0)
            rc = visit(w, dir, folder, found, err);
    }
    if (rc == 0 && failed) rc = refuse_folder(w, folder, failed, err);
    if (dir) closedir(dir);
    return rc;
}

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const ms_files_entry *)a)->path, ((const ms_files_entry *)b)->path);
}

static int walk_folder(ms_files_list *list, const char *folder, bool is_only,
                       const ms_files_request *request, msim_error *err) {
    size_t n = strlen(folder), first = list->n;
    walk w = {.list = list, .names = request->names, .watch = request->watch};
    w.name_at = !is_only ? 0 : n + (folder[n - 1] != '/');
    int rc = add_text(&w.todo, folder, err);
    while (rc == 0 && w.todo.n) {
        rc = read_folder(&w, w.todo.items[--w.todo.n], err);
        if (ms_watch_step(w.watch, MSIM_STEP_LIST, (int64_t)list->n, -1) && rc == 0)
            rc = ms_watch_stop(err, "while listing files");
    }
    ms_free(w.todo.items);
    if (rc < 0) return rc;
    if (list->n > first) {
        qsort(list->entries + first, list->n - first, sizeof *list->entries, compare_entries);
        return 0;
    }
    list->n_empty_folders++;
    ms_watch_say(request->watch, MSIM_MESSAGE_ERROR,
                 "no MIDI files: %s: this folder holds no .mid, .midi, .kar, .rmi or .rmid file, "
                 "plain or with .gz",
                 folder);
    return 0;
}

/* ---- Arguments ---- */

static int add_path(ms_files_list *list, const char *typed, bool is_only,
                    const ms_files_request *request, msim_error *err) {
    struct stat st;
    bool is_stream = request->has_stream && strcmp(typed, "-") == 0;
    int failed = 0;
    if (!is_stream && stat(typed, &st) != 0) failed = errno;
    if (!is_stream && !failed && S_ISDIR(st.st_mode))
        return walk_folder(list, typed, is_only, request, err);
    ms_files_entry *entry = add_entry(list, typed, 0, request->names, err);
    if (!entry) return -MSIM_E_MEMORY;
    entry->is_named = true;
    entry->is_stream = is_stream;
    return is_stream ? 0 : add_found(list, entry, failed, &st, err);
}

/* One line without its end, n bytes of it. */
static int add_line(ms_files_list *list, const char *from, const char *line, size_t n, texts *paths,
                    msim_error *err) {
    if (strlen(line) != n)
        return ms_fail(err, MSIM_E_ARG,
                       "wrong list: %s: a path holds a NUL byte (-0 reads lists separated by NUL)",
                       from);
    if (n == 0) return 0;
    const char *copy = list_copy(list, line, err);
    return copy ? add_text(paths, copy, err) : -MSIM_E_MEMORY;
}

static int read_list_file(ms_files_list *list, const ms_files_request *request, texts *paths,
                          msim_error *err) {
    ms_lines lines;
    const char *line;
    size_t n, n_lines = 0;
    int rc = ms_lines_open(&lines, request->files_from, request->is_nul_separated ? 0 : '\n', err);
    while (rc >= 0) {
        rc = ms_lines_next(&lines, &line, &n, err);
        if ((rc == 0 || n_lines++ % 64 == 0) && ms_watch_is_stopped(request->watch))
            rc = ms_watch_stop(err, "while listing files");
        if (rc <= 0) break;
        rc = add_line(list, request->files_from, line, n, paths, err);
    }
    ms_lines_close(&lines);
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
    texts paths = {0};
    int rc = 0;
    for (size_t i = 0; i < request->n_paths && rc == 0; i++)
        rc = add_text(&paths, request->paths[i], err);
    if (rc == 0 && request->files_from) rc = read_list_file(list, request, &paths, err);
    for (size_t i = 0; rc == 0 && i < paths.n; i++) {
        rc = add_path(list, paths.items[i], paths.n == 1, request, err);
        if (rc == 0 && i % 64 == 0 && ms_watch_is_stopped(request->watch))
            rc = ms_watch_stop(err, "while listing files");
    }
    ms_watch_end_step(request->watch);
    ms_free(paths.items);
    if (rc == 0 && request->n_shards) rc = keep_shard(list, request->shard, request->n_shards, err);
    if (rc < 0) ms_files_list_close(list);
    return rc;
}

void ms_files_list_close(ms_files_list *list) {
    while (list->blocks) {
        ms_files_block *next = list->blocks->next;
        ms_free(list->blocks);
        list->blocks = next;
    }
    ms_free(list->entries);
    *list = (ms_files_list){0};
}
