/* A checkpoint as a file: what it holds, a conversion, and the encoder with its weights. What is
 * converted says the same of itself and keeps the hash of what it came from. */
#include "target.h"

enum { DIM_MOST = 64, DEPTH_MOST = 4, HEADS_MOST = 4, VOCAB_MOST = 1024 };

static void convert(const char *path, const msim_checkpoint_info *info, int dtype) {
    char out[PATH_MAX];
    msim_checkpoint_info again = {.size = sizeof again};
    msim_error err = {.code = 0};
    int rc = msim_checkpoint_convert(path, fuzz_path(out, "o.safetensors"), dtype, &err);
    check_status(rc, &err);
    if (rc < 0) return;
    check_status(rc = msim_checkpoint_get_info(out, &again, &err), &err);
    MUST(rc >= 0 && again.dim == info->dim && again.depth == info->depth);
    MUST(again.heads == info->heads && again.vocab == info->vocab);
    MUST(strcmp(again.sha256, info->sha256) == 0);
    unlink(out);
}

static void embed(const char *path) {
    msim_model *model;
    msim_context *context;
    msim_error err = {.code = 0};
    msim_options options = one_thread();
    options.max_batch_tokens = 64;
    options.max_batch_seqs = 1;
    int rc = msim_model_open(path, &options, &model, &err);
    check_status(rc, &err);
    if (rc < 0) return;
    msim_model_info info = {.size = sizeof info};
    MUST(msim_model_get_info(model, &info) >= 0);
    float *out = block((size_t)info.dim, sizeof *out);
    int32_t ids[8];
    int64_t starts[] = {0, 8};
    for (int i = 0; i < 8; i++) ids[i] = (int32_t)(i * 37 % info.vocab);
    rc = msim_context_open(model, &options, &context, &err);
    check_status(rc, &err);
    if (rc >= 0) {
        check_status(msim_context_embed(context, ids, starts, 1, NULL, out, &err), &err);
        msim_context_close(context);
    }
    free(out);
    msim_model_close(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX];
    msim_checkpoint_info info = {.size = sizeof info};
    msim_error err = {.code = 0};
    int rc = msim_checkpoint_get_info(as_file(path, "m.ckpt", data, n_bytes), &info, &err);
    check_status(rc, &err);
    if (rc < 0) return 0;
    MUST(info.dim > 0 && info.depth > 0 && info.heads > 0 && info.vocab > 0);
    if (info.dim > DIM_MOST || info.depth > DEPTH_MOST || info.heads > HEADS_MOST ||
        info.vocab > VOCAB_MOST)
        return 0;
    convert(path, &info, MSIM_DTYPE_F32);
    convert(path, &info, MSIM_DTYPE_BF16);
    embed(path);
    return 0;
}
