/* A file that lists paths, one per line or (bit 0 of the first byte) separated by NUL; the other
 * bits are the kind of names and the number of shards. The paths lead into a folder of a few files:
 * a slash that would lead out of it is made another letter. */
#include "target.h"
#include "pipeline/input/files.h"
#include <ctype.h>

static void set_up(void) {
    char path[PATH_MAX];
    MUST(mkdir(fuzz_path(path, "in"), 0700) == 0 && mkdir(fuzz_path(path, "in/b"), 0700) == 0);
    as_file(path, "in/a.mid", (const uint8_t *)"MThd", 4);
    as_file(path, "in/b/c.kar", (const uint8_t *)"", 0);
    as_file(path, "in/b/d.mid.gz", (const uint8_t *)"\x1f\x8b", 2);
    as_file(path, "in/b/\xff.mid", (const uint8_t *)"x", 1);
    MUST(chdir(fuzz_path(path, "in/b")) == 0);
}

/* A slash stays only behind a letter or a digit: no path begins with one (nor behind a byte-order
 * mark), and none goes up more than once. */
static void stay_inside(uint8_t *text, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++)
        if (text[i] == '/' && (i == 0 || !isalnum(text[i - 1]))) text[i] = '_';
}

static void list(const char *path, int flags) {
    ms_files_list files = {.entries = NULL};
    msim_error err = {.code = 0};
    const ms_files_request request = {.files_from = path,
                                      .is_nul_separated = flags & 1,
                                      .names = flags & 2 ? MSIM_NAMES_STEM : MSIM_NAMES_PATH,
                                      .shard = (flags >> 2 & 3) ? 1 : 0,
                                      .n_shards = flags >> 2 & 3};
    int rc = ms_files_list_open(&request, &files, &err);
    check_status(rc, &err);
    for (size_t i = 0; rc >= 0 && i < files.n; i++) {
        const ms_files_entry *e = &files.entries[i];
        size_t n = strlen(e->path);
        MUST(e->name_at <= n && e->name_len <= n - e->name_at && e->relative_at <= n);
        MUST(e->reason < MSIM_SKIP_COUNT);
        check_status(ms_files_shard_of(e, 3, &err), &err);
    }
    ms_files_list_close(&files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    static bool is_ready;
    char path[PATH_MAX];
    if (n_bytes == 0) return 0;
    if (!is_ready) set_up();
    is_ready = true;
    uint8_t *text = block(n_bytes, 1);
    memcpy(text, data + 1, n_bytes - 1);
    stay_inside(text, n_bytes - 1);
    as_file(path, "list.txt", text, n_bytes - 1);
    free(text);
    list(path, data[0]);
    return 0;
}
