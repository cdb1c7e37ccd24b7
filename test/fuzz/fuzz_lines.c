/* Token lines, as midisim-embed --from-tokens reads them. */
#include "target.h"
#include "pipeline/input/reader.h"
#include "pipeline/input/token_lines.h"
#include "base/mem.h"

enum { VOCAB = 386, MOST = 64 };

static int skip(void *user, const char *path, int reason, const char *detail, bool is_named,
                msim_error *err) {
    (void)user, (void)is_named, (void)err;
    MUST(path != NULL && detail != NULL);
    MUST(reason > MSIM_SKIP_NONE && reason < MSIM_SKIP_COUNT);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX];
    ms_token_lines *lines;
    ms_sequence s;
    msim_error err = {.code = 0};
    const ms_token_lines_request request = {.path = as_file(path, "a.jsonl", data, n_bytes),
                                            .vocab = VOCAB,
                                            .max_tokens = MOST,
                                            .skip = skip};
    int rc = ms_token_lines_open(&request, &lines, &err);
    MUST(rc >= 0);
    for (;;) {
        memset(&s, 0, sizeof s);
        rc = ms_token_lines_next(lines, true, &s, &err);
        check_status(rc, &err);
        if (rc != MS_READER_ITEM) break;
        MUST(s.n_ids >= 1 && s.n_ids <= MOST && s.full_length >= s.n_ids);
        for (int64_t i = 0; i < s.n_ids; i++) MUST(s.ids[i] >= 0 && s.ids[i] < VOCAB);
        MUST(s.name_len <= MS_FILES_MAX_NAME && !memchr(s.name, 0, s.name_len));
        ms_free(s.ids);
    }
    ms_token_lines_close(lines);
    return 0;
}
