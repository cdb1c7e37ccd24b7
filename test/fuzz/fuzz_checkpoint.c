/* A checkpoint in memory: safetensors, a .pth as a zip archive and as the stream of before PyTorch
 * 1.6. Every tensor is read. */
#include "target.h"
#include "checkpoint/stored.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    msim_error err = {.code = 0};
    ms_stored s = {.path = "a.pth",
                   .container = "",
                   .map.data = n_bytes ? data : NULL,
                   .map.n_bytes = n_bytes};
    ms_arena_init(&s.arena, 0);
    int rc = ms_torch_is(&s.map) ? ms_torch_read(&s, &err) : ms_safetensors_read(&s, &err);
    check_status(rc, &err);
    for (size_t i = 0; rc >= 0 && i < s.n_tensors; i++) {
        ms_stored_tensor *t = &s.tensors[i];
        MUST(ms_stored_find(&s, t->name) != NULL);
        MUST(t->rank >= 0 && t->rank <= MS_STORED_MAX_RANK && t->n >= 0);
        int loaded = ms_stored_load(&s, t, &err);
        check_status(loaded, &err);
        for (int64_t k = 0; loaded >= 0 && k < t->n; k++)
            MUST(isfinite(ms_tensor_get(t->value, k)));
    }
    ms_arena_free(&s.arena);
    return 0;
}
