/* --move and --links: nothing is deleted and nothing is overwritten. Contract:
 * tools/groups/groups.h. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "groups.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNDO "undo.sh"

/* A file and its place in the folder. */
typedef struct {
    char *from; /* owned: absolute */
    char *to;   /* owned: below the folder */
} placed_file;

typedef struct {
    const ms_grouping_settings *s;
    const msim_groups *g;
    const char *folder;
    bool is_move;
    placed_file *files; /* owned: [n] */
    size_t n, cap;
} placing;

/* ---- What goes where ---- */

/* The folder is new or empty: whatever is in it afterwards is ours. */
static int check_folder(const char *option, const char *folder, msim_error *err) {
    DIR *dir = opendir(folder);
    if (!dir && errno == ENOENT) return 0;
    if (!dir) return ms_fail_errno(err, errno, "%s: cannot open the folder: %s", option, folder);
    int n = 0;
    while (readdir(dir)) n++;
    (void)closedir(dir);
    if (n <= 2) return 0;
    return ms_fail(err, MSIM_E_ARG, "%s %s: the folder is not empty: name a new one", option,
                   folder);
}

static char *absolute(const char *path, msim_error *err) {
    char here[PATH_MAX];
    if (*path == '/') return ms_mem_copy_text(path, "a path", err);
    if (!getcwd(here, sizeof here)) {
        (void)ms_fail_errno(err, errno, "cannot tell the current folder");
        return NULL;
    }
    const size_t n = strlen(here) + strlen(path) + 2;
    char *out = ms_alloc(n, 1, "a path", err);
    if (out) snprintf(out, n, "%s/%s", here, path);
    return out;
}

/* Whether moving a file would take the one that is kept: two paths to one file, by links to
 * folders, or a link that is kept and leads there. */
static bool holds_keeper(const msim_groups *g, const msim_groups_file *f) {
    msim_groups_file keeper = {.size = sizeof keeper};
    char its[PATH_MAX], kept[PATH_MAX];
    struct stat st;
    if (msim_groups_get_file(g, f->keeper, &keeper) < 0 || !keeper.path) return false;
    if (!realpath(f->path, its) || !realpath(keeper.path, kept) || strcmp(its, kept) != 0)
        return false;
    /* A link of its own may go if what is kept is no link. */
    return lstat(f->path, &st) != 0 || !S_ISLNK(st.st_mode) || lstat(keeper.path, &st) != 0 ||
           S_ISLNK(st.st_mode);
}

/* Its place below the folder. A folder of the script's name gets another one. */
static char *claim_place(const placing *p, ms_tree *tree, const msim_groups_file *f,
                         msim_error *err) {
    const char *to = ms_tree_claim(tree, f->name, f->name_bytes, "", NULL, err);
    if (!to || !p->is_move || strncmp(to, UNDO "/", strlen(UNDO "/")) != 0)
        return to ? ms_mem_copy_text(to, "a path", err) : NULL;
    char *other = ms_file_beside("_", to, err);
    to = other ? ms_tree_claim(tree, other, strlen(other), "", NULL, err) : NULL;
    ms_free(other);
    return to ? ms_mem_copy_text(to, "a path", err) : NULL;
}

static int add_file(placing *p, ms_tree *tree, const msim_groups_file *f, msim_error *err) {
    int rc = ms_grow((void **)&p->files, &p->cap, p->n + 1, sizeof *p->files, "files", err);
    if (rc < 0) return rc;
    placed_file *it = &p->files[p->n];
    it->to = claim_place(p, tree, f, err);
    it->from = it->to ? absolute(f->path, err) : NULL;
    p->n += it->to != NULL; /* what is half made is freed with the rest */
    return it->from ? 0 : err->code ? -err->code : -MSIM_E_MEMORY;
}

static int choose_files(placing *p, ms_tree *tree, msim_error *err) {
    msim_groups_file f = {.size = sizeof f};
    int rc = 0;
    size_t n_alone = 0;
    if (p->is_move && !ms_tree_claim(tree, UNDO, strlen(UNDO), "", NULL, err))
        return -MSIM_E_MEMORY;
    for (int64_t i = 0; rc >= 0 && msim_groups_get_file(p->g, i, &f) >= 0; i++) {
        if (!f.path)
            rc = ms_fail(err, MSIM_E_ARG,
                         "%s needs the files: give their folder instead of an index",
                         p->is_move ? "--move" : "--links");
        else if (p->is_move && f.keeper != i && holds_keeper(p->g, &f))
            n_alone++;
        else if (!f.is_unread && (f.keeper == i) != p->is_move)
            rc = add_file(p, tree, &f, err);
    }
    if (rc >= 0 && n_alone)
        ms_cli_note("%zu path%s left alone: moving would take a file that is kept", n_alone,
                    ms_cli_plural((int64_t)n_alone));
    return rc;
}

static void free_files(placing *p) {
    for (size_t i = 0; i < p->n; i++) {
        ms_free(p->files[i].from);
        ms_free(p->files[i].to);
    }
    ms_free(p->files);
}

/* ---- The script that takes moves back ---- */

static const char undo_head[] =
    "#!/bin/sh\n"
    "# Moves the files of this folder back to where midisim-groups took them from. Run it again "
    "as\n"
    "# often as you like: it never replaces a file.\n"
    "CDPATH= cd -- \"$(dirname -- \"$0\")\" || exit 1\n"
    "failed=0\n"
    "back() {\n"
    "    if [ ! -e \"$1\" ] && [ ! -L \"$1\" ]; then return; fi\n"
    "    if [ -e \"$2\" ] || [ -L \"$2\" ]; then\n"
    "        printf 'undo.sh: left alone, for a file is there: %s\\n' \"$2\" >&2\n"
    "        failed=1\n"
    "        return\n"
    "    fi\n"
    "    mv -- \"$1\" \"$2\" || failed=1\n"
    "}\n";

/* A word of sh, whatever it holds. */
static void put_quoted(ms_grouping_out *out, const char *text) {
    ms_grouping_put(out, "'", 1);
    for (const char *quote; (quote = strchr(text, '\'')); text = quote + 1) {
        ms_grouping_put(out, text, (size_t)(quote - text));
        ms_grouping_put(out, "'\\''", 4);
    }
    ms_grouping_put(out, text, strlen(text));
    ms_grouping_put(out, "'", 1);
}

static int write_undo(const placing *p, msim_error *err) {
    ms_grouping_out out;
    char *path = ms_file_beside(p->folder, "/" UNDO, err);
    if (!path) return -MSIM_E_MEMORY;
    int rc = ms_grouping_out_open(&out, path, err);
    if (rc >= 0) {
        ms_grouping_put(&out, undo_head, sizeof undo_head - 1);
        for (size_t i = 0; i < p->n; i++) {
            ms_grouping_print(&out, "back ");
            put_quoted(&out, p->files[i].to);
            ms_grouping_print(&out, " ");
            put_quoted(&out, p->files[i].from);
            ms_grouping_print(&out, "\n");
        }
        ms_grouping_print(&out, "exit $failed\n");
        rc = ms_grouping_out_finish(&out, err);
    }
    ms_grouping_out_close(&out);
    ms_free(path);
    return rc;
}

/* ---- Doing it ---- */

/* The folders above a path below the folder. */
static int make_folders(char *path, size_t from, msim_error *err) {
    for (char *slash = strchr(path + from, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        const int failed = mkdir(path, 0777) != 0 && errno != EEXIST ? errno : 0;
        if (failed) (void)ms_fail_errno(err, failed, "cannot make the folder: %s", path);
        *slash = '/';
        if (failed) return -err->code;
    }
    return 0;
}

static int fail_apart(const placing *p, const placed_file *f, msim_error *err) {
    return ms_fail(err, MSIM_E_IO,
                   "--move: %s is on another file system than %s: name a folder on the same one",
                   p->folder, f->from);
}

/* Before anything is moved: a file gets its place by its name alone, without a copy. */
static int check_file_systems(const placing *p, msim_error *err) {
    struct stat folder, st;
    if (stat(p->folder, &folder) != 0)
        return ms_fail_errno(err, errno, "--move: cannot open the folder: %s", p->folder);
    for (size_t i = 0; i < p->n; i++)
        if (lstat(p->files[i].from, &st) == 0 && st.st_dev != folder.st_dev)
            return fail_apart(p, &p->files[i], err);
    return 0;
}

/* Returns 1; 0 when the file is not there any more: it vanished, or another path led to it. */
static int place_file(const placing *p, const placed_file *f, msim_error *err) {
    const size_t n = strlen(p->folder) + strlen(f->to) + 2;
    char *to = ms_alloc(n, 1, "a path", err);
    if (!to) return -MSIM_E_MEMORY;
    snprintf(to, n, "%s/%s", p->folder, f->to);
    struct stat st;
    int rc = lstat(f->from, &st) != 0 && errno == ENOENT ? 0 : 1;
    if (rc == 0) ms_cli_warning("not there any more: %s", f->from);
    if (rc > 0) rc = make_folders(to, strlen(p->folder) + 1, err) < 0 ? -err->code : 1;
    if (rc > 0 && !p->is_move && symlink(f->from, to) != 0)
        rc = ms_fail_errno(err, errno, "cannot make the link: %s", to);
    if (rc > 0 && p->is_move && renameat2(AT_FDCWD, f->from, AT_FDCWD, to, RENAME_NOREPLACE) != 0)
        rc = errno == EXDEV ? fail_apart(p, f, err)
                            : ms_fail_errno(err, errno, "cannot move: %s", f->from);
    ms_free(to);
    return rc;
}

static int place_files(const placing *p, msim_error *err) {
    int rc = p->is_move ? check_file_systems(p, err) : 0;
    size_t done = 0;
    if (rc >= 0 && p->is_move) rc = write_undo(p, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < p->n && rc >= 0; i++) {
        if (ms_cli_stopped()) rc = ms_fail(err, MSIM_E_STOPPED, "stopped");
        if (rc >= 0) rc = place_file(p, &p->files[i], err);
        done += rc > 0;
    }
    if (p->is_move)
        ms_cli_note("moved %zu of %zu file%s to %s; sh %s/undo.sh takes that back", done, p->n,
                    ms_cli_plural((int64_t)p->n), p->folder, p->folder);
    else
        ms_cli_note("%s: %zu link%s to files that are kept", p->folder, done,
                    ms_cli_plural((int64_t)done));
    return rc < 0 ? rc : 0;
}

static void say_files(const placing *p) {
    for (size_t i = 0; i < p->n; i++)
        ms_cli_note(p->is_move ? "would move %s to %s/%s" : "would link %s as %s/%s",
                    p->files[i].from, p->folder, p->files[i].to);
}

static int act(const ms_grouping_settings *s, const msim_groups *g, const char *folder,
               bool is_move, msim_error *err) {
    placing p = {.s = s, .g = g, .folder = folder, .is_move = is_move};
    ms_tree *tree = NULL;
    struct stat st;
    const bool is_new = lstat(folder, &st) != 0;
    err->code = 0;
    int rc = check_folder(is_move ? "--move" : "--links", folder, err);
    if (rc >= 0) rc = ms_tree_open(s->is_dry ? "." : folder, &tree, err);
    if (rc >= 0) rc = choose_files(&p, tree, err);
    if (rc >= 0 && s->is_dry)
        say_files(&p);
    else if (rc >= 0)
        rc = place_files(&p, err);
    free_files(&p);
    if (tree) ms_tree_close(tree);
    if (rc < 0 && tree && is_new && !s->is_dry) (void)rmdir(folder); /* if nothing is in it */
    return rc;
}

int ms_grouping_act(const ms_grouping_settings *s, const msim_groups *g, msim_error *err) {
    int rc = s->links ? act(s, g, s->links, false, err) : 0;
    return rc >= 0 && s->move ? act(s, g, s->move, true, err) : rc;
}
