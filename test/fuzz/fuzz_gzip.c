/* A file as it is read from disk, gzip undone, and tokenised. The first byte says how the file is
 * called. */
#include "target.h"
#include "pipeline/input/files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    static msim_tokenizer *tokenizer;
    static ms_files_buffer buffer; /* kept, as a reader's thread keeps it */
    char path[PATH_MAX], detail[MS_FILES_DETAIL];
    msim_error err = {.code = 0};
    if (n_bytes == 0) return 0;
    if (!tokenizer) MUST(msim_tokenizer_open(NULL, &tokenizer, NULL) >= 0);
    as_file(path, data[0] & 1 ? "a.mid.gz" : "a.mid", data + 1, n_bytes - 1);
    int reason = ms_files_read_path(path, &buffer, detail, &err);
    MUST(reason >= MSIM_SKIP_NONE && reason < MSIM_SKIP_COUNT);
    MUST(memchr(detail, 0, sizeof detail) || reason == MSIM_SKIP_NONE);
    int64_t n = msim_midi_read(path, NULL, 0, &err);
    MUST((n >= 0) == (reason == MSIM_SKIP_NONE));
    if (n < 0) {
        check_status(n, &err);
        return 0;
    }
    MUST((size_t)n == buffer.n_bytes);
    if (n > 1 << 20) return 0;
    size_t cap = msim_tokenizer_bound(buffer.n_bytes, 0, 3072);
    int32_t *ids = block(cap, sizeof *ids);
    int64_t starts[13];
    check_status(msim_tokenizer_encode(tokenizer, buffer.data, buffer.n_bytes, 0, 3072, ids, cap,
                                       starts, &err),
                 &err);
    free(ids);
    return 0;
}
