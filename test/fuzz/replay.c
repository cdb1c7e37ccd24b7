/* Runs a fuzz target over files, in the order of their names within a folder: the inputs that are
 * kept, without libFuzzer and with any compiler.
 *
 *   replay_NAME FILE-or-folder...
 *
 * Prints each file before it runs, since a failure ends the program, and at the end how many
 * ran. */
#define _GNU_SOURCE
#include "target.h"
#include <dirent.h>
#include <errno.h>

static long n_done;

static void die(const char *path) {
    fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
    exit(2);
}

static void run_file(const char *path, size_t n_bytes) {
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(n_bytes ? n_bytes : 1);
    if (!f || !data || fread(data, 1, n_bytes, f) != n_bytes) die(path);
    fclose(f);
    puts(path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, n_bytes);
    free(data);
    n_done++;
}

static void run_path(const char *path) {
    struct stat st;
    struct dirent **entries;
    if (stat(path, &st) != 0) die(path);
    if (!S_ISDIR(st.st_mode)) {
        run_file(path, (size_t)st.st_size);
        return;
    }
    int n = scandir(path, &entries, NULL, alphasort);
    if (n < 0) die(path);
    for (int i = 0; i < n; i++) {
        char inner[PATH_MAX];
        if (entries[i]->d_name[0] != '.' &&
            snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name) < (int)sizeof inner)
            run_path(inner);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) { /* a target may change the folder */
        char *path = realpath(argv[i], NULL);
        if (!path) die(argv[i]);
        argv[i] = path;
    }
    for (int i = 1; i < argc; i++) run_path(argv[i]);
    for (int i = 1; i < argc; i++) free(argv[i]);
    printf("replay: %ld inputs\n", n_done);
    return 0;
}
