/* Finds the model to use when none is named, and the fit of a whitening that comes with it:
 * include/midisim.h, Simple calls and Whitening. This is the only place in the library that reads
 * the environment. */
#define _GNU_SOURCE
#include "base/system/program.h"
#include "base/status.h"
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* midisim-small before others, safetensors before pth for it; 0: no model. */
static int rank_of_model(const char *name) {
    size_t n = strlen(name);
    bool is_st = n > 12 && strcmp(name + n - 12, ".safetensors") == 0,
         is_pth = n > 4 && !strcmp(name + n - 4, ".pth");
    if (name[0] == '.' || (!is_st && !is_pth)) return 0;
    if (strncmp(name, "midisim-small.", 14) != 0) return 1;
    return is_st ? 3 : 2;
}

static int rank_of_fit(const char *name) { return strcmp(name, "default.whiten") == 0; }

/* How well a file's name fits; 0: it does not. */
typedef int (*name_rank)(const char *name);

/* The best file of a folder; of equal ones the first in bytewise order. */
static bool find_in_folder(const char *folder, name_rank rank_of, char *path, size_t cap) {
    char best[256] = "", full[4608];
    int best_rank = 0;
    struct dirent *entry;
    struct stat st;
    DIR *dir = opendir(folder);
    if (!dir) return false;
    while ((entry = readdir(dir))) {
        int rank = rank_of(entry->d_name);
        if (rank == 0 || rank < best_rank) continue;
        if (rank == best_rank && strcmp(entry->d_name, best) > 0) continue;
        snprintf(full, sizeof full, "%s/%s", folder, entry->d_name);
        if (stat(full, &st) != 0 || !S_ISREG(st.st_mode)) continue;
        best_rank = rank;
        snprintf(best, sizeof best, "%s", entry->d_name);
    }
    closedir(dir);
    return best_rank > 0 && (size_t)snprintf(path, cap, "%s/%s", folder, best) < cap;
}

/* A file in the weights folder of the source tree that this code was built in. */
static bool find_in_tree(name_rank rank_of, char *path, size_t cap) {
    char folder[4096], tree[4096];
    if (!ms_program_code_folder(folder, sizeof folder) ||
        !ms_program_tree(folder, tree, sizeof tree))
        return false;
    size_t n = strlen(tree);
    return (size_t)snprintf(tree + n, sizeof tree - n, "/weights") < sizeof tree - n &&
           find_in_folder(tree, rank_of, path, cap);
}

/* A file of the installation that the program belongs to, which may have been moved as a whole:
 * PREFIX/bin/PROGRAM -> PREFIX/share/midisim. */
static bool find_beside_program(name_rank rank_of, char *path, size_t cap) {
    char folder[4096], models[4200];
    if (!ms_program_folder(folder, sizeof folder)) return false;
    char *slash = strrchr(folder, '/');
    if (!slash || strcmp(slash, "/bin") != 0) return false;
    *slash = 0;
    snprintf(models, sizeof models, "%s/share/midisim", folder);
    return find_in_folder(models, rank_of, path, cap);
}

/* The user's folder for data of this program; "" when there is no telling. */
static void user_folder(char *folder, size_t cap) {
    const char *home = getenv("HOME"), *data = getenv("XDG_DATA_HOME");
    folder[0] = 0;
    if (data && data[0] == '/')
        snprintf(folder, cap, "%s/midisim", data);
    else if (home && *home)
        snprintf(folder, cap, "%s/.local/share/midisim", home);
}

static bool find(name_rank rank_of, char *path, size_t cap) {
    char folder[4200];
    if (find_in_tree(rank_of, path, cap)) return true;
    user_folder(folder, sizeof folder);
    return (*folder && find_in_folder(folder, rank_of, path, cap)) ||
           find_beside_program(rank_of, path, cap) ||
           find_in_folder(MSIM_PREFIX "/share/midisim", rank_of, path, cap);
}

int msim_default_model(char *path, size_t cap, msim_error *err) {
    char folder[4200];
    const char *given = getenv("MIDISIM_MODEL");
    if (given && *given) {
        if ((size_t)snprintf(path, cap, "%s", given) < cap) return MSIM_OK;
        return ms_fail(err, MSIM_E_LIMIT, "model: expected a path of under %zu bytes, got %zu", cap,
                       strlen(given));
    }
    if (find(rank_of_model, path, cap)) return MSIM_OK;
    user_folder(folder, sizeof folder);
    return ms_fail(err, MSIM_E_EMPTY,
                   "no model: expected MIDISIM_MODEL, or midisim-small.safetensors in %s or "
                   "%s/share/midisim; 'midisim fetch small' fetches it (in the source tree: "
                   "weights/fetch.sh)",
                   *folder ? folder : "$XDG_DATA_HOME/midisim", MSIM_PREFIX);
}

int msim_default_whitening(char *path, size_t cap, msim_error *err) {
    char folder[4352];
    const char *model = getenv("MIDISIM_MODEL");
    if (model && (size_t)snprintf(folder, sizeof folder, "%s", model) < sizeof folder) {
        char *slash = strrchr(folder, '/');
        if (slash) *slash = 0;
        if (find_in_folder(slash ? folder : ".", rank_of_fit, path, cap)) return MSIM_OK;
    }
    if (find(rank_of_fit, path, cap)) return MSIM_OK;
    return ms_fail(err, MSIM_E_EMPTY, "no default.whiten beside the models");
}
