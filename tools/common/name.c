/* Contract: tools/common/name.h. */
#include "name.h"
#include "base/mem.h"

enum { FIRST_CAP = 256 };

int64_t ms_name_get(const msim_corpus *corpus, int64_t row, char **name, size_t *cap,
                    msim_error *err) {
    int rc = ms_grow((void **)name, cap, FIRST_CAP, 1, "a row's name", err);
    if (rc < 0) return rc;
    int64_t n = msim_corpus_name(corpus, row, *name, *cap);
    if (n >= 0 && (size_t)n >= *cap) {
        rc = ms_grow((void **)name, cap, (size_t)n + 1, 1, "a row's name", err);
        n = rc < 0 ? rc : msim_corpus_name(corpus, row, *name, *cap);
    } else if (n < 0) {
        (void)ms_fail(err, (int)-n, "a row without a name: %lld", (long long)row);
    }
    if (n < 0) **name = 0;
    return n;
}
