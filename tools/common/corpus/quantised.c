/* Contract: tools/common/corpus/quantised.h. */
#define _GNU_SOURCE
#include "common/corpus/quantised.h"
#include "base/mem.h"
#include "common/cli.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int ms_quantised_attach(msim_corpus *corpus, int64_t part, int codec, const char *path,
                        bool is_full, msim_error *err) {
    struct stat st;
    if (lstat(path, &st) != 0) return 0;
    int rc = msim_corpus_attach_codes(corpus, part, path, is_full, err);
    return rc < 0 ? rc : msim_corpus_has_codes(corpus, part, codec);
}

void ms_quantised_say_ignored(const char *why, const char *hint, bool *is_said) {
    if (!*is_said) ms_cli_warning("quantised rows not used: %s%s", why, hint);
    *is_said = true;
}

int ms_quantised_attach_beside(msim_corpus *corpus, int codec, msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    msim_error why;
    bool is_said = false;
    int rc = msim_corpus_get_info(corpus, &info);
    for (int64_t part = 0; part < info.parts && rc >= 0; part++) {
        const char *path = msim_corpus_part_path(corpus, part);
        const size_t cap = strlen(path) + sizeof ".msim";
        char *beside = ms_alloc(cap, 1, "a path", err);
        if (!beside) return -MSIM_E_MEMORY;
        snprintf(beside, cap, "%s.msim", path);
        if (msim_corpus_part_rows(corpus, part) > 0 &&
            ms_quantised_attach(corpus, part, codec, beside, false, &why) < 0)
            ms_quantised_say_ignored(why.text, " (midisim-search --prepare writes them anew)",
                                     &is_said);
        ms_free(beside);
    }
    return rc;
}
