/* What the fuzz targets share: how a failure is told, and inputs as files that need no disk.
 *
 * A target is one file fuzz_NAME.c with LLVMFuzzerTestOneInput. It is linked with libFuzzer, which
 * looks for inputs that reach new code, or with replay.c, which runs the inputs that are kept.
 * Either gives each input in a block of exactly its size, so that a sanitizer sees any read past
 * its end. run.py knows the targets, their seeds and limits. */
#ifndef TEST_FUZZ_TARGET_H
#define TEST_FUZZ_TARGET_H
#include "midisim.h"
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

#define MUST(holds)                                                                   \
    do {                                                                              \
        if (!(holds)) {                                                               \
            fprintf(stderr, "%s:%d: expected that %s\n", __FILE__, __LINE__, #holds); \
            abort();                                                                  \
        }                                                                             \
    } while (0)

/* A failure is a known status with its text on one line. No input may ask for more memory than it
 * has bytes for: within the limits of run.py, memory does not run out. */
static inline void check_status(int64_t rc, const msim_error *err) {
    if (rc >= 0) return;
    MUST(rc >= -MSIM_E_STOPPED);
    MUST(rc != -MSIM_E_MEMORY);
    MUST(err->code == -rc);
    MUST(err->text[0] && memchr(err->text, 0, sizeof err->text) && !strchr(err->text, '\n'));
}

/* A block of n items, of at least one byte. */
static inline void *block(size_t n, size_t item_bytes) {
    void *p = calloc(n ? n : 1, item_bytes);
    MUST(p != NULL);
    return p;
}

/* The folder of this process: in FUZZ_FOLDER, which run.py makes and removes, else in /tmp. */
static inline const char *fuzz_folder(void) {
    static char path[PATH_MAX];
    const char *base = getenv("FUZZ_FOLDER");
    if (!*path) {
        snprintf(path, sizeof path, "%s/fuzz-%ld", base ? base : "/tmp", (long)getpid());
        MUST(mkdir(path, 0700) == 0 || access(path, W_OK) == 0);
    }
    return path;
}

static inline const char *fuzz_path(char *path, const char *name) {
    int n = snprintf(path, PATH_MAX, "%s/%s", fuzz_folder(), name);
    MUST(n > 0 && n < PATH_MAX);
    return path;
}

/* The input as a file of that name, written into path [PATH_MAX]. */
static inline const char *as_file(char *path, const char *name, const uint8_t *data,
                                  size_t n_bytes) {
    int fd = open(fuzz_path(path, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MUST(fd >= 0);
    MUST(n_bytes == 0 || write(fd, data, n_bytes) == (ssize_t)n_bytes);
    MUST(close(fd) == 0);
    return path;
}

/* A corpus of any format as a file. A .npy begins with 0x93; of another input the first byte says
 * the format and is no part of the file. */
static inline const char *as_corpus(char *path, const uint8_t *data, size_t n_bytes) {
    static const char *const names[] = {"c.npy", "c.fvecs", "c.fbin"};
    if (n_bytes == 0 || data[0] == 0x93) return as_file(path, names[0], data, n_bytes);
    return as_file(path, names[1 + data[0] % 2], data + 1, n_bytes - 1);
}

/* The options of a context with one thread on the CPU. */
static inline msim_options one_thread(void) {
    msim_options options = msim_options_default();
    options.device = MSIM_DEVICE_CPU;
    options.threads = 1;
    return options;
}
#endif
