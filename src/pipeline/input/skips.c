/* A growing list of inputs that gave no row: pipeline/input/skips.h. */
#include "pipeline/input/skips.h"
#include "pipeline/input/files.h"
#include <string.h>

static const char *copy_text(ms_skips *s, const char *text, msim_error *err) {
    size_t n = strlen(text) + 1;
    char *copy = ms_arena_get(&s->texts, n, 1, "skipped files", err);
    return copy ? memcpy(copy, text, n) : NULL;
}

int ms_skips_add(ms_skips *s, const char *path, int reason, const char *detail, bool is_named,
                 msim_error *err) {
    int rc = ms_grow((void **)&s->items, &s->cap, s->n + 1, sizeof *s->items, "skipped files", err);
    if (rc < 0) return rc;
    ms_skip skip = {.path = copy_text(s, path, err),
                    .reason = (uint8_t)reason,
                    .is_failure = ms_files_is_failure(reason, is_named)};
    if (skip.path) skip.detail = copy_text(s, detail ? detail : "", err);
    if (!skip.detail) return -MSIM_E_MEMORY;
    s->items[s->n++] = skip;
    s->counts[reason]++;
    s->n_failures += skip.is_failure;
    return 0;
}

void ms_skips_close(ms_skips *s) {
    ms_free(s->items);
    ms_arena_free(&s->texts);
    *s = (ms_skips){0};
}
