/* Contract: tools/common/texts/numbers.h. */
#include "common/texts/numbers.h"
#include <string.h>

/* The most shards of a job. */
enum { MAX_SHARDS = 1000000 };

bool ms_cli_first_int(const char *text, char between, int64_t min, int64_t max, int64_t *first,
                      const char **rest) {
    char one[64];
    const char *end = strchr(text, between);
    size_t n = end ? (size_t)(end - text) : strlen(text);
    if (n >= sizeof one) return false;
    memcpy(one, text, n);
    one[n] = 0;
    if (!ms_cli_int(one, min, max, first)) return false;
    *rest = end ? end + 1 : NULL;
    return true;
}

int ms_cli_shard(const char *text, int64_t *index, int64_t *n) {
    int64_t first, all;
    const char *rest;
    if (!text) return 0;
    if (!ms_cli_first_int(text, '/', 1, MAX_SHARDS, &first, &rest) || !rest ||
        !ms_cli_int(rest, first, MAX_SHARDS, &all))
        return ms_cli_usage("--shard: expected I/N with I in 1..N, got %.80s", text);
    *index = first;
    *n = all;
    return 0;
}
