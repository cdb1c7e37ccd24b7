/* Describes a checkpoint and writes it as safetensors: msim_checkpoint_* of include/midisim.h. Both
 * open the file as a model would, so a file that passes here can also embed. docs/FORMATS.md,
 * Checkpoints. */
#include "checkpoint/safetensors.h"
#include "base/sized.h"
#include "model/weights.h"
#include <stdio.h>
#include <string.h>

static const char inv_freq_name[] = "attn_layers.rotary_pos_emb.inv_freq";

int msim_checkpoint_get_info(const char *path, msim_checkpoint_info *out, msim_error *err) {
    ms_weights w;
    int rc = ms_weights_open(path, &w, err);
    if (rc < 0) return rc;
    const ms_stored *s = w.stored;
    msim_checkpoint_info info = {
        .dim = w.dim, .depth = w.depth, .heads = w.heads, .vocab = w.vocab, .all_f32 = w.all_f32};
    info.tensors = (int64_t)s->n_tensors;
    /* The rotary frequencies are a buffer, not parameters. */
    for (size_t i = 0; i < s->n_tensors; i++)
        if (strcmp(s->tensors[i].name, inv_freq_name) != 0) info.parameters += s->tensors[i].n;
    snprintf(info.container, sizeof info.container, "%s", s->container);
    memcpy(info.family, w.family, sizeof info.family);
    memcpy(info.sha256, w.sha256, sizeof info.sha256);
    ms_weights_close(&w);
    return ms_sized_out(out, &info, sizeof info);
}

/* bf16 precision rounds the operands of matrix products and the biases added to them; the token
 * table, the gammas and the rotary frequencies are used in f32 (docs/MODEL.md). Only what is
 * rounded anyway is stored as bf16, so that an f32 and a bf16 file give the same bits. */
static bool is_rounded(const ms_stored_tensor *t) {
    size_t n = strlen(t->name);
    return strncmp(t->name, "token_emb.", 10) != 0 && strcmp(t->name, inv_freq_name) != 0 &&
           (n < 6 || strcmp(t->name + n - 6, ".gamma") != 0);
}

static int write_weights(const ms_weights *w, const char *out_path, int dtype, msim_error *err) {
    const ms_stored *s = w->stored;
    char dim[24], depth[24], heads[24], vocab[24];
    snprintf(dim, sizeof dim, "%lld", (long long)w->dim);
    snprintf(depth, sizeof depth, "%lld", (long long)w->depth);
    snprintf(heads, sizeof heads, "%lld", (long long)w->heads);
    snprintf(vocab, sizeof vocab, "%lld", (long long)w->vocab);
    const ms_metadata metadata[] = {{"format", "pt"},
                                    {"family", w->family},
                                    {"dim", dim},
                                    {"depth", depth},
                                    {"heads", heads},
                                    {"vocab", vocab},
                                    {"source_sha256", w->sha256}};
    ms_safetensor *list = ms_alloc(s->n_tensors, sizeof *list, "tensors", err);
    if (!list) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < s->n_tensors; i++) {
        list[i].tensor = &s->tensors[i];
        list[i].dtype = dtype == MSIM_DTYPE_BF16 && is_rounded(&s->tensors[i]) ? MSIM_DTYPE_BF16
                                                                               : MSIM_DTYPE_F32;
    }
    int rc = ms_safetensors_write(out_path, list, s->n_tensors, metadata,
                                  sizeof metadata / sizeof *metadata, err);
    ms_free(list);
    return rc;
}

int msim_checkpoint_convert(const char *path, const char *out_path, int dtype, msim_error *err) {
    if (dtype != MSIM_DTYPE_F32 && dtype != MSIM_DTYPE_BF16)
        return ms_fail(err, MSIM_E_ARG, "convert: expected dtype f32 or bf16, got %d", dtype);
    ms_weights w;
    int rc = ms_weights_open(path, &w, err);
    if (rc < 0) return rc;
    rc = write_weights(&w, out_path, dtype, err);
    ms_weights_close(&w);
    return rc;
}
