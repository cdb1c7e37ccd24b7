/* Where the running program lies. Contract: base/system/program.h. */
#define _GNU_SOURCE
#include "base/system/program.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

static bool folder_of(const char *path, char *folder, size_t cap) {
    char real[PATH_MAX];
    /* Without a slash it is a word that was looked up on PATH, not a path. */
    if (!path || !strchr(path, '/') || !realpath(path, real)) return false;
    *strrchr(real, '/') = 0;
    return (size_t)snprintf(folder, cap, "%s", *real ? real : "/") < cap;
}

bool ms_program_folder(char *folder, size_t cap) {
    /* The path that the kernel was given: it lies in the process, so no file system is asked. */
    return folder_of((const char *)getauxval(AT_EXECFN), folder, cap);
}

bool ms_program_code_folder(char *folder, size_t cap) {
    Dl_info info;
    static const char here;
    if (dladdr(&here, &info) && folder_of(info.dli_fname, folder, cap)) return true;
    return ms_program_folder(folder, cap);
}

bool ms_program_tree(const char *folder, char *tree, size_t cap) {
    static const char build[] = "/build";
    const char *config = strrchr(folder, '/');
    size_t n = config ? (size_t)(config - folder) : 0, m = sizeof build - 1;
    if (n <= m || strncmp(folder + n - m, build, m) != 0 || n - m >= cap) return false;
    memcpy(tree, folder, n - m);
    tree[n - m] = 0;
    return true;
}
