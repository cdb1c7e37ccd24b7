/* Contract: tools/common/name.h. */
#include "name.h"

enum { FIRST_CAP = 256 };

int64_t ms_name_get(const msim_corpus *corpus, int64_t row, char **name, size_t *cap) {
    if (*cap < FIRST_CAP) *name = ms_cli_grow(*name, cap, FIRST_CAP, 1);
    int64_t n = msim_corpus_name(corpus, row, *name, *cap);
    if (n >= 0 && (size_t)n >= *cap) {
        *name = ms_cli_grow(*name, cap, (size_t)n + 1, 1);
        n = msim_corpus_name(corpus, row, *name, *cap);
    }
    if (n < 0) **name = 0;
    return n;
}
