/* midisim-tokens --md5 and --normalize-midi: files in the original's canonical form
 * (docs/CANONICAL.md), and the MD5s of both. One JSON object per file on standard output. One
 * thread. */
#ifndef MS_TOOLS_TOKENS_CANONICAL_H
#define MS_TOOLS_TOKENS_CANONICAL_H
#include "common/skips.h"

typedef struct {
    msim_walk *walk;     /* borrowed: gives the bytes of files */
    ms_cli_skips *skips; /* borrowed */
    bool has_md5;        /* --md5 */
    const char *out;     /* --normalize-midi: a file, a folder, "-"; or NULL */
    bool is_folder;      /* `out` takes one file for each input */
    bool is_stem;        /* names have no extension */
    bool is_forced;      /* files that are there are replaced */
} ms_canonical_request;

/* Does all of it. Returns < 0 when nothing could be begun. *n_done: files that came out. */
int ms_canonical_run(const ms_canonical_request *request, int64_t *n_done, msim_error *err);

#endif
