/* Checks a packed batch: see batch.h. It allocates nothing and borrows the caller's arrays. */
#include "model/batch.h"

int ms_batch_init(ms_batch *out, const int32_t *ids, const int64_t *starts, size_t n_seq,
                  int64_t vocab, msim_error *err) {
    int64_t longest = 0;
    if (n_seq > INT64_MAX / sizeof *starts - 1 || (n_seq && !starts))
        return ms_fail(err, MSIM_E_ARG, "batch: expected starts of %zu sequences, got %s", n_seq,
                       starts ? "too many" : "none");
    if (n_seq && starts[0] != 0)
        return ms_fail(err, MSIM_E_ARG, "batch: expected starts to begin at 0, got %lld",
                       (long long)starts[0]);
    for (size_t i = 0; i < n_seq; i++) {
        if (starts[i + 1] < starts[i])
            return ms_fail(
                err, MSIM_E_ARG,
                "batch, sequence %zu: expected starts that do not fall, got %lld after %lld", i,
                (long long)starts[i + 1], (long long)starts[i]);
        if (starts[i + 1] - starts[i] > longest) longest = starts[i + 1] - starts[i];
    }
    int64_t n_tokens = n_seq ? starts[n_seq] : 0;
    if (n_tokens && !ids)
        return ms_fail(err, MSIM_E_ARG, "batch: the list of %lld ids is NULL", (long long)n_tokens);
    for (int64_t i = 0; i < n_tokens; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return ms_fail(err, MSIM_E_ARG, "batch, token %lld: expected an id in 0..%lld, got %ld",
                           (long long)i, (long long)vocab - 1, (long)ids[i]);
    *out = (ms_batch){.ids = ids,
                      .starts = starts,
                      .n_seq = (int64_t)n_seq,
                      .n_tokens = n_tokens,
                      .longest = longest,
                      .classes = &ms_family_of_vocab(vocab)->classes};
    return MSIM_OK;
}
