/* Files written into one folder under names that others chose: nothing lands outside it, whatever
 * the names hold.
 *
 * '/' separates folders, which are made and entered without following links; empty parts and '.'
 * are left out, the dots that a part begins with become '_' (so '..' is '__'), and so does NUL. A
 * part over 200 bytes keeps its beginning, with a hash of all of it. Names that come out alike get
 * '~2', '~3', ... in the order they are asked for. Files are written under a temporary name and
 * renamed. One thread. */
#ifndef MS_TOOLS_COMMON_TREE_H
#define MS_TOOLS_COMMON_TREE_H
#include "cli.h"
#include <sys/stat.h>

/* ---- One file, into an open folder ----
 *
 * Whole or not at all: written under a temporary name and renamed, never through a link. What is
 * there is replaced only when asked to. */

typedef struct {
    const void *data;
    size_t n;
} ms_put_part;

/* Write these parts as `file`, a name without '/', in the folder of this descriptor. source: whose
 * mode and times the file gets; NULL: those of any new file. Returns 1; 0 when something of that
 * name is there (not with is_forced); < 0. */
int ms_put_file(int folder, const char *file, const ms_put_part *parts, size_t n_parts,
                const struct stat *source, bool is_forced, msim_error *err);
/* True when a file of n_bytes is there whose first n_begin bytes are these. */
bool ms_put_holds(int folder, const char *file, const void *begin, size_t n_begin, int64_t n_bytes);

/* ---- Many files, below a folder ---- */

typedef struct ms_tree ms_tree;

/* The folder is made, with those above it, when it is not there. */
int ms_tree_open(const char *folder, ms_tree **out, msim_error *err);
/* The path inside the folder for `name` + ending, unlike every other one of this tree. Owned by the
 * tree until the next call; NULL when out of memory. *bare: its bytes before the ending; may be
 * NULL. */
const char *ms_tree_claim(ms_tree *tree, const char *name, size_t n, const char *ending,
                          size_t *bare, msim_error *err);

/* Write a file of these parts. 1: done; 0: something of that name is there and was left alone (not
 * with is_forced). */
int ms_tree_write(ms_tree *tree, const char *path, const ms_put_part *parts, size_t n_parts,
                  bool is_forced, msim_error *err);
/* True when a file of n_bytes is there whose first n_begin bytes are these. */
bool ms_tree_holds(ms_tree *tree, const char *path, const void *begin, size_t n_begin,
                   int64_t n_bytes);
void ms_tree_close(ms_tree *tree);

#endif
